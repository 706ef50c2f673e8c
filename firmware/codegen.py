"""A planned Program as C99: tables and a list of kernel calls. The loops are in the kernels, not here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jinja2
import numpy as np

from secateur.errors import UserError
from secateur.firmware import cgen
from secateur.firmware.generated import GeneratedModel
from secateur.firmware.kernels.descriptor import Call, Constant, Kernel, Ref
from secateur.models.program import Program

KERNEL_FOLDER = Path(__file__).parent / "kernels"
TEMPLATE_FOLDER = Path(__file__).parent / "templates"
ALIGNMENT = 16


@dataclass(frozen=True)
class Layer:
    """One operator in C: its calls, or none where the planner made it free."""

    name: str
    calls: tuple[str, ...]


def generate(
    program: Program, kernels: tuple[Kernel, ...], tensor_offsets: dict[int, int], arena_bytes: int, name: str
) -> GeneratedModel:
    """The C files of a quantized Program with one input and one output.

    `kernels`: one an operator. `tensor_offsets`: arena byte of each activation.
    Raises UserError for several inputs or outputs.
    """
    if len(program.inputs) != 1 or len(program.outputs) != 1:
        raise UserError(
            f"{program.name}: {len(program.inputs)} inputs and {len(program.outputs)} outputs; "
            "the generated interface takes one of each so far. Split the network, or cut one off"
        )
    prefix = cgen.identifier(name)
    constants: list[dict[str, str]] = []
    params: list[str] = []
    layers: list[Layer] = []
    for step, (op, kernel) in enumerate(zip(program.ops, kernels, strict=True)):
        calls = []
        for part, call in enumerate(kernel.calls(program, op)):
            if _is_free(call, tensor_offsets):
                continue
            suffix = f"{step}" if part == 0 else f"{step}_{part}"
            params.append(f"static const {call.params_type} p{suffix} = {{{cgen.initialiser(call.params)}}};")
            arguments = [f"&p{suffix}"]
            for argument in (*call.arguments, call.output):
                if isinstance(argument, Constant):
                    symbol = f"{prefix}_{argument.role}{suffix}"
                    constants.append(
                        {"ctype": argument.ctype, "symbol": symbol, "count": str(argument.values.size),
                         "values": cgen.table(argument.values)}
                    )  # fmt: skip
                    arguments.append(symbol)
                else:
                    arguments.append(f"a + {tensor_offsets[argument.tensor] + argument.offset}")
            calls.append(f"{call.function}({', '.join(arguments)});")
        layers.append(Layer(f"{op.kind} {program.tensors[op.outputs[0]].name}", tuple(calls)))
    x, y = program.tensors[program.inputs[0]], program.tensors[program.outputs[0]]
    headers = sorted({k.header for k in kernels})
    context = {
        "prefix": prefix, "upper": prefix.upper(), "program": program, "layers": layers, "params": params,
        "constants": constants, "headers": headers, "arena_bytes": max(arena_bytes, 1), "alignment": ALIGNMENT,
        "input": x, "output": y, "input_offset": tensor_offsets[program.inputs[0]],
        "output_offset": tensor_offsets[program.outputs[0]],
        "labels": [cgen.string(label) for label in program.labels],
        "hex": lambda v: float(np.float32(v)).hex(),
    }  # fmt: skip
    files = {
        f"{prefix}.h": _template("model.h.j2").render(context),
        f"{prefix}.c": _template("model.c.j2").render(context),
        f"{prefix}_weights.h": _template("weights.h.j2").render(context),
        f"{prefix}_weights.c": _template("weights.c.j2").render(context),
    }
    for header in _with_includes(headers):
        files[f"kernels/{header}"] = (KERNEL_FOLDER / header).read_text()
    return GeneratedModel(
        prefix,
        files,
        max(arena_bytes, 1),
        ALIGNMENT,
        x.elements,
        y.elements,
        tuple(layer.name for layer in layers),
    )


def _is_free(call: Call, offsets: dict[int, int]) -> bool:
    """A copy of the whole tensor onto itself: a reshape that the planner put in place."""
    if call.function != "sec_copy_s8" or call.params["blocks"] != 1:
        return False
    source = call.arguments[0]
    assert isinstance(source, Ref)
    return offsets[source.tensor] + source.offset == offsets[call.output.tensor] + call.output.offset


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


def _with_includes(headers: list[str]) -> list[str]:
    """`headers` and the kernel headers that they include."""
    found: list[str] = []
    waiting = list(headers)
    while waiting:
        header = waiting.pop()
        if header in found:
            continue
        found.append(header)
        for line in (KERNEL_FOLDER / header).read_text().splitlines():
            if line.startswith('#include "'):
                waiting.append(line.split('"')[1])
    return sorted(found)
