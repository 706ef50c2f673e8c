"""A planned Program as C99: tables and a list of kernel calls. The loops are in the kernels, not here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jinja2
import numpy as np

from secateur.firmware import cgen
from secateur.firmware.front_end import image, stream
from secateur.firmware.generated import GeneratedModel, Port
from secateur.firmware.kernels.descriptor import Call, Constant, Kernel, Ref
from secateur.models.program import Program, Tensor, slots
from secateur.models.reference_float import arithmetic

KERNEL_FOLDER = Path(__file__).parent / "kernels"
TEMPLATE_FOLDER = Path(__file__).parent / "templates"
ALIGNMENT = 16
STACK_BYTES = 1024
"""What one inference may take at most; the harness measures what it does take."""


@dataclass(frozen=True)
class Layer:
    """One operator in C: its calls, or none where the planner made it free."""

    name: str
    calls: tuple[str, ...]


def generate(
    program: Program, kernels: tuple[Kernel, ...], tensor_offsets: dict[int, int], arena_bytes: int, name: str,
    slow_tensors: frozenset[int] = frozenset(), slow_arena_bytes: int = 0,
) -> GeneratedModel:  # fmt: skip
    """The C files of an exact Program.

    `kernels`: one an operator. `tensor_offsets`: arena byte of each activation; of `slow_tensors`, in the slow arena.
    """
    prefix = cgen.identifier(name)
    places = {i: Place(i in slow_tensors, offset) for i, offset in tensor_offsets.items()}
    inputs = _ports(program, program.inputs, places)
    outputs = _ports(program, program.outputs, places)
    states = _states(program, places, prefix)
    constants: list[dict[str, str]] = []
    params: list[str] = []
    layers: list[Layer] = []
    known: dict[tuple[str, bytes], str] = {}  # equal tables are one table
    checked = False
    for step, (op, kernel) in enumerate(zip(program.ops, kernels, strict=True)):
        calls = []
        for part, call in enumerate(kernel.calls(program, op)):
            if _is_free(call, places):
                continue
            suffix = f"{step}" if part == 0 else f"{step}_{part}"
            params.append(f"static const {call.params_type} p{suffix} = {{{cgen.initialiser(call.params)}}};")
            arguments = [f"&p{suffix}"]
            written = (*call.further, call.output)
            for argument in (*call.arguments, *written):
                if isinstance(argument, Constant):
                    symbol = f"{prefix}_{argument.role}{suffix}"
                    exact = np.float32 if argument.ctype == "float" else np.int64
                    content = (argument.ctype, np.ascontiguousarray(argument.values, exact).tobytes())
                    if content in known:
                        arguments.append(known[content])
                        continue
                    known[content] = symbol
                    constants.append(
                        {"ctype": argument.ctype, "symbol": symbol, "count": str(argument.values.size),
                         "values": cgen.table(argument.values)}
                    )  # fmt: skip
                    arguments.append(symbol)
                else:
                    is_written = any(argument is w for w in written)
                    arguments.append(_address(program, call, argument, places, is_written))
            made = f"{call.function}({', '.join(arguments)})"
            checked |= call.checked
            calls.append(f"if ({made}) {{ return {prefix.upper()}_E_INDEX; }}" if call.checked else f"{made};")
        layers.append(Layer(f"{op.kind} {program.tensors[op.outputs[0]].name}", tuple(calls)))
    constants += [s.table for s in states if s.table]
    headers = sorted({k.header for k in kernels})
    front = stream.parts(program)
    if front is not None:
        entry = places[program.inputs[0]]
        memory = stream.memory(front, program, 0 if entry.slow else entry.offset, arena_bytes)
        arena_bytes = memory.arena_bytes
    seen = image.parts(program)
    context = {
        "prefix": prefix, "upper": prefix.upper(), "program": program, "layers": layers, "params": params,
        "constants": constants, "headers": headers, "arena_bytes": max(arena_bytes, 1), "alignment": ALIGNMENT,
        "inputs": inputs, "outputs": outputs, "states": states, "slow_arena_bytes": slow_arena_bytes,
        "all_slow": bool(slow_tensors) and slow_tensors >= set(tensor_offsets),
        "input_bytes": slots(program, program.inputs)[-1], "output_bytes": slots(program, program.outputs)[-1],
        "labels": [cgen.string(label) for label in program.labels],
        "arithmetic": arithmetic(program), "real": cgen.real, "stack_bytes": STACK_BYTES,
        "checked": checked,
        "stream": None if front is None else stream.context(front, program, memory, prefix),
        "picture": None if seen is None else seen.context(program, prefix), "formats": image.FORMATS,
        "first_layer": 0 if front is None and seen is None else 1,
        "mean": [cgen.real(v) for v in program.preprocess.mean], "std": [cgen.real(v) for v in program.preprocess.std],
    }  # fmt: skip
    several = len(inputs) > 1 or len(outputs) > 1
    context["several"] = several
    context["parameters"] = (
        f"const {prefix}_inputs *input, const {prefix}_outputs *output" if several
        else f"const {inputs[0].port.ctype} *input, {outputs[0].port.ctype} *output"
    )  # fmt: skip
    files = {
        f"{prefix}.h": _template("model.h.j2").render(context),
        f"{prefix}.c": _template("model.c.j2").render(context),
        f"{prefix}_weights.h": _template("weights.h.j2").render(context),
        f"{prefix}_weights.c": _template("weights.c.j2").render(context),
    }
    for header in _with_includes(headers, KERNEL_FOLDER):
        files[f"kernels/{header}"] = (KERNEL_FOLDER / header).read_text()
    if front is not None:
        files[f"{prefix}_stream.c"] = _template("stream.c.j2").render(context)
        used = ["sec_stream.h", *context["stream"]["headers"]]  # type: ignore[index]
        for header in _with_includes(used, stream.HERE):
            files[f"front_end/{header}"] = (stream.HERE / header).read_text()
    if seen is not None:
        files[f"{prefix}_picture.c"] = _template("picture.c.j2").render(context)
        for header in _with_includes(["sec_image.h", "sec_stream.h"], stream.HERE):
            files[f"front_end/{header}"] = (stream.HERE / header).read_text()
    output_bytes = slots(program, program.outputs)[-1]
    return GeneratedModel(
        prefix,
        files,
        max(arena_bytes, 1),
        ALIGNMENT,
        slots(program, program.inputs)[-1],
        slots(program, program.outputs)[-1],
        (*(() if front is None and seen is None else ("front end",)), *(layer.name for layer in layers)),
        *((), ()) if _is_plain(inputs, outputs) else (tuple(p.port for p in inputs), tuple(p.port for p in outputs)),
        bool(states) or front is not None or seen is not None,
        slow_arena_bytes,
        None if front is None else stream.shape(front, output_bytes),
        None if seen is None else seen.shape(output_bytes),
    )


CTYPES = {
    "int8": "int8_t", "uint8": "uint8_t", "int16": "int16_t", "int32": "int32_t", "int64": "int64_t",
    "float32": "float", "bool": "uint8_t",
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where a tensor lies: `offset` bytes from the start of one of two arenas."""

    slow: bool
    offset: int

    @property
    def arena(self) -> str:
        """The name of the arena in the generated `init` and in the state."""
        return "slow_arena" if self.slow else "arena"

    def __str__(self) -> str:
        """The address in the generated `invoke`."""
        return f"{'b' if self.slow else 'a'} + {self.offset}"


@dataclass(frozen=True)
class _End:
    """One input or output of the network, for the templates."""

    port: Port
    tensor: Tensor
    place: Place


def _ports(program: Program, ends: tuple[int, ...], places: dict[int, Place]) -> list[_End]:
    found: list[_End] = []
    for i, offset in zip(ends, slots(program, ends), strict=False):
        tensor = program.tensors[i]
        name = cgen.identifier(tensor.name)
        if any(e.port.name == name for e in found):
            name = f"{name}_{len(found)}"
        found.append(_End(Port(name, CTYPES[tensor.dtype], offset), tensor, places[i]))
    return found


def _is_plain(inputs: list[_End], outputs: list[_End]) -> bool:
    """One int8 input and one int8 output: the harness's own types."""
    return [e.tensor.dtype for e in (*inputs, *outputs)] == ["int8", "int8"] and len(inputs) == 1


@dataclass(frozen=True)
class _State:
    """`place`: where it lies between calls; `after`: where its new value is, None where that is the same place.

    `fill`: the byte that all of its first value is made of, else `table` holds that value.
    """

    place: Place
    after: Place | None
    size: int
    fill: int | None
    table: dict[str, str] | None


def _states(program: Program, places: dict[int, Place], prefix: str) -> list[_State]:
    found = []
    for number, state in enumerate(program.states):
        content = np.ascontiguousarray(state.initial).reshape(-1).view(np.uint8)
        fill = int(content[0]) if (content == content[0]).all() else None
        table = None
        if fill is None:
            values = content.view(np.int8)
            table = {"ctype": "int8_t", "symbol": f"{prefix}_state{number}", "count": str(values.size),
                     "values": cgen.table(values)}  # fmt: skip
        place, after = places[state.before], places[state.after]
        found.append(_State(place, None if after == place else after, int(content.size), fill, table))
    return found


def _address(program: Program, call: Call, ref: Ref, places: dict[int, Place], written: bool) -> str:
    """The C expression of a tensor's place, in the type that the function takes."""
    ctype = CTYPES[program.tensors[ref.tensor].dtype]
    place = str(_at(ref, places))
    if call.as_bytes or ctype.endswith("int8_t"):
        return place
    return f"({'' if written else 'const '}{ctype} *)(void *)({place})"


def _at(ref: Ref, places: dict[int, Place]) -> Place:
    place = places[ref.tensor]
    return Place(place.slow, place.offset + ref.offset)


def _is_free(call: Call, places: dict[int, Place]) -> bool:
    """A copy of the whole tensor onto itself: a reshape that the planner put in place."""
    if call.function != "sec_copy_s8" or call.params["blocks"] != 1:
        return False
    source = call.arguments[0]
    if not isinstance(source, Ref):
        return False  # a constant part of a concatenation
    return _at(source, places) == _at(call.output, places)


@cache
def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATE_FOLDER),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["comment"] = cgen.comment
    return environment.get_template(name)


def _with_includes(headers: list[str], folder: Path) -> list[str]:
    """`headers` of `folder` and those beside them that they include."""
    found: list[str] = []
    waiting = list(headers)
    while waiting:
        header = waiting.pop()
        if header in found:
            continue
        found.append(header)
        for line in (folder / header).read_text().splitlines():
            if line.startswith('#include "'):
                waiting.append(line.split('"')[1])
    return sorted(found)
