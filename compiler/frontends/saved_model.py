"""A SavedModel folder to a trainable Network: its serving signature, constants folded, read without TensorFlow."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from secateur.compiler.frontends import saved_model_constants
from secateur.compiler.frontends.channels_last import MAX_ELEMENTS, ChannelsLast, Refused, Value
from secateur.compiler.frontends.keras_file import as_network
from secateur.compiler.frontends.saved_model_graph import Operator, SavedGraph, Wire
from secateur.compiler.frontends.saved_model_operators import IDLE, OPERATORS, Call, Pending
from secateur.compiler.frontends.tensor_bundle import FLOAT, Bundle, Damaged, integer, messages, shape_of, text
from secateur.errors import UserError
from secateur.models.network import Network
from secateur.models.preprocess import Preprocess

BATCH = 3
_SPACED = ("Conv2D", "DepthwiseConv2dNative", "BatchToSpaceND")
_READS = ("ReadVariableOp", "Identity", "Enter", "StopGradient")


def load_saved_model(
    folder: Path,
    input_shape: tuple[int, ...] | None = None,
    labels: tuple[str, ...] = (),
    cut_at: str | None = None,
    preprocess: Preprocess | None = None,
) -> Network:
    """Import the serving signature of `folder`; no function of it is run but on constants.

    Raises:
        UserError: no SavedModel, several inputs or outputs, or operators that are not supported (all are listed).
    """
    folder = Path(folder)
    try:
        reader = _Reader(folder, input_shape, cut_at)
    except Damaged as error:
        raise UserError(f"{folder}: no SavedModel that can be read: {str(error)[:200]}. Is it complete?") from error
    except (
        RecursionError,
        OverflowError,
        UnicodeDecodeError,
        IndexError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:
        raise UserError(
            f"{folder}: its graph is not understood ({type(error).__name__}: {str(error)[:80]})."
        ) from error
    return as_network(reader.net, reader.held, reader.shape, folder.resolve().name, labels, preprocess)


class _Reader:
    """Walks the operators; a constant is an array, a value of the network a Value, an unknown one None."""

    def __init__(self, folder: Path, given: tuple[int, ...] | None, cut_at: str | None) -> None:
        self.folder, self.net = folder, ChannelsLast()
        self.graph = SavedGraph((folder / "saved_model.pb").read_bytes())
        name, inputs, outputs = self.graph.signature()
        if len(inputs) != 1 or len(outputs) != 1:
            raise UserError(
                f"{folder}: signature {name} has {len(inputs)} inputs ({', '.join(inputs)}) and {len(outputs)} outputs "
                f"({', '.join(outputs)}), one of each expected. Save a model of the part that you deploy."
            )
        entry, result = next(iter(inputs.values())), next(iter(outputs.values()))
        if integer(entry, 2) != FLOAT:
            raise UserError(f"{folder}: input {next(iter(inputs))} is no float32. Save the float network.")
        shapes = messages(entry, 3)
        self.shape = self._sample(shape_of(shapes[-1]) if shapes else None, given)
        self.end = self.graph.wire(text(result, 1))
        self.start = self.graph.wire(text(entry, 1))
        needed = self._needed(self.end)
        self.count = Counter(w for i in needed for w in self.graph.operators[i].inputs)
        self.variables = self._variables()
        self.values: dict[int, Any] = {}
        self.weights: dict[int, str] = {}
        self.problems: list[str] = []
        self.held, self.places = self._layout(needed)
        for i in needed:
            self.values[i] = self._value(i)
            if cut_at is not None and self.graph.operators[i].name == cut_at:
                self.end, self.problems = (i, 0), []
                break
        self._finish(cut_at)

    def _sample(self, declared: tuple[int, ...] | None, given: tuple[int, ...] | None) -> tuple[int, ...]:
        sizes = None if declared is None else list(declared[1:])
        asked = None if given is None else [*given[1:], given[0]]
        if sizes is None or (asked is not None and len(asked) == len(sizes)):
            pairs = zip(sizes or [-1] * len(asked or ()), asked or (), strict=True)
            if asked is None or any(n not in (-1, m) for n, m in pairs):
                raise UserError(f"{self.folder}: its input is {sizes} (channels last); give --input-shape to fit it.")
            sizes = asked
        elif asked is not None:
            raise UserError(f"{self.folder}: its input is {sizes} (channels last), --input-shape says {given}.")
        if not 1 <= len(sizes) <= 4 or min(sizes) < 1 or math.prod(sizes) > MAX_ELEMENTS:
            raise UserError(f"{self.folder}: its input is {sizes} per sample. Fix it with --input-shape.")
        return tuple(sizes)

    def _needed(self, end: Wire) -> list[int]:
        """What `end` depends on; operators stand in order."""
        wanted = {end[0]}
        for i in range(end[0], -1, -1):
            if i in wanted and i != self.start[0]:
                wanted |= {w[0] for w in self.graph.operators[i].inputs}
        return sorted(wanted)

    def _variables(self) -> dict[int, str]:
        """Key in the bundle of each variable's operator, from what loads them."""
        if not self.graph.expand_restore():
            return {}
        found: dict[int, str] = {}
        operators = self.graph.operators
        for op in operators:
            if op.kind not in ("Assign", "AssignVariableOp") or len(op.inputs) < 2:
                continue
            source = op.inputs[1]
            while operators[source[0]].kind == "Identity":
                source = operators[source[0]].inputs[0]
            restore = operators[source[0]]
            if restore.kind == "RestoreV2":
                names = operators[restore.inputs[1][0]]
                keys = saved_model_constants.constant(names)
                if source[1] < len(keys):
                    found[op.inputs[0][0]] = bytes(keys[source[1]]).decode("utf-8", "replace")
        return found

    def _layout(self, needed: list[int]) -> tuple[tuple[int, ...], Any]:
        """As for Keras files: the network begins behind shape operators that add its channel."""
        plain = np.arange(math.prod(self.shape)).reshape(self.shape)
        at, rank = self.start, len(self.shape)
        seen = Value(0, (plain.size,), plain)
        operators = self.graph.operators
        readers = Counter(w for i in needed if operators[i].kind != "Shape" for w in operators[i].inputs)
        for i in needed:
            op = self.graph.operators[i]
            if at not in op.inputs or op.kind == "Shape":
                continue
            if readers[at] != 1:
                break
            if op.kind in IDLE:
                at = (i, 0)
                continue
            if op.kind not in ("Reshape", "ExpandDims", "Transpose"):
                break
            try:
                call = Call(op, [seen, *(self._early(w) for w in op.inputs[1:])], self.net, False, BATCH)
                seen, at = OPERATORS[op.kind](call), (i, 0)
            except (Refused, Damaged):
                break
        if len(seen.shape) == 1 and rank == 2:
            return (1, *self.shape), plain
        target, places = (self.shape, plain) if len(seen.shape) == 1 else (seen.shape, seen.places)
        if len(target) == 3 and rank == 2 and target[-1] == self.shape[-1]:
            target, places = self.shape, plain  # a Conv1D, which TensorFlow computes with one row more
        held = (target[-1], *target[:-1])
        inverse = np.empty(plain.size, np.int64)
        inverse[places.ravel()] = np.moveaxis(np.arange(plain.size).reshape(held), 0, -1).ravel()
        return held, inverse.reshape(self.shape)

    def _early(self, wire: Wire) -> Any:
        op = self.graph.operators[wire[0]]
        if op.kind == "Const":
            return saved_model_constants.constant(op)
        if op.kind == "Pack":  # (batch, then constants), as Keras's Reshape has it
            parts = [self.graph.operators[w[0]] for w in op.inputs]
            rest = [int(saved_model_constants.constant(p)) if p.kind == "Const" else BATCH for p in parts]
            return np.array(rest)
        raise Refused("computed")

    def _value(self, i: int) -> Any:
        op = self.graph.operators[i]
        self.net.where = op.name
        if i == self.start[0]:
            return self.net.input(self.held, self.places)
        if op.kind in ("VarHandleOp", "VariableV2", "Variable", "VariableOp"):
            if i not in self.variables:
                raise UserError(
                    f"{self.folder}: nothing in it loads variable {op.name}. Save it with model.export(FOLDER)."
                )
            found = self._bundle().read(self.variables[i])
            if found.dtype.kind == "f" and not np.isfinite(found).all():
                raise UserError(f"{self.folder}: NaN or infinity in {op.name}. Take an earlier checkpoint.")
            return found
        inputs = [self.values.get(w[0]) if w[1] == 0 else None for w in op.inputs]
        if op.kind == "Const":
            return saved_model_constants.constant(op)
        try:
            if op.kind == "Shape" and isinstance(inputs[0], Value):
                return np.array([BATCH, *inputs[0].shape])
            if any(isinstance(v, (Value, Pending)) for v in inputs):
                return self._operator(op, inputs)
            if any(v is None for v in inputs):
                return self._behind(op)
            if op.kind not in saved_model_constants.FUNCTIONS:
                raise Refused("")
            return saved_model_constants.fold(op, inputs)
        except (Refused, ValueError, TypeError, IndexError, KeyError, OverflowError, MemoryError) as reason:
            said = " ".join(str(reason).split())[:100]
            self.problems.append(f"{op.name} ({op.kind}{': ' + said if said else ''})")
            return None

    def _behind(self, op: Operator) -> None:
        """An operator behind one that is already listed: listed too where no use of it is known."""
        if op.kind not in OPERATORS and op.kind not in IDLE and op.kind not in saved_model_constants.FUNCTIONS:
            self.problems.append(f"{op.name} ({op.kind})")

    def _operator(self, op: Operator, inputs: list[Any]) -> Any:
        if op.kind in IDLE:
            return inputs[0]
        if op.kind not in OPERATORS:
            raise Refused("")
        if any(v is None for v in inputs):
            return None
        for wire, value in zip(op.inputs, inputs, strict=True):
            if op.kind in ("Conv2D", "DepthwiseConv2dNative", "MatMul") and not isinstance(value, Value):
                source = self._source(wire)
                if source in self.weights and self.graph.operators[source].kind != "Const":
                    raise Refused(f"shares its weights with {self.weights[source]}")
                self.weights[source] = op.name
        alone = self.count[op.inputs[0]] == 1
        if any(isinstance(v, Pending) for v in inputs) and op.kind not in ("MatMul", "Reshape", "BiasAdd", *_SPACED):
            raise Refused("between two operators that belong together")
        return OPERATORS[op.kind](Call(op, inputs, self.net, alone, BATCH))

    def _source(self, wire: Wire) -> int:
        """The variable that a constant is read from."""
        at = wire[0]
        while self.graph.operators[at].kind in _READS:
            at = self.graph.operators[at].inputs[0][0]
        return at

    def _bundle(self) -> Bundle:
        if not hasattr(self, "_opened"):
            self._opened = Bundle(self.folder / "variables" / "variables")
        return self._opened

    def _finish(self, cut_at: str | None) -> None:
        last = self.values.get(self.end[0])
        if cut_at is not None and self.graph.operators[self.end[0]].name != cut_at:
            names = ", ".join(self.graph.operators[i].name for i in list(self.values)[-6:])
            raise UserError(f"{self.folder}: --cut-at {cut_at}: no such operator; the last ones are {names}.")
        if isinstance(last, Value) and not self.problems:
            self.net.where = "output"
            try:
                self.net.finish(last)
            except Refused as reason:
                self.problems.append(f"the output ({reason})")
        elif not self.problems:
            raise UserError(f"{self.folder}: its output does not depend on its input.")
        if self.problems:
            listed = "; ".join(self.problems)
            raise UserError(
                f"{self.folder}: {len(self.problems)} unsupported operator(s): {listed}. Supported are "
                f"{', '.join(OPERATORS)}. Replace them, or end the network before them with --cut-at NAME."
            )
