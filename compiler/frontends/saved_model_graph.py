"""saved_model.pb as one flat graph: the serving signature's operators, with all function calls expanded."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

from secateur.compiler.frontends.tensor_bundle import Damaged, Message, integer, messages, packed, parse, shape_of, text

CALLS = ("PartitionedCall", "StatefulPartitionedCall")
MAX_NODES = 200_000
MAX_DEPTH = 64
_OUTPUTS = dict.fromkeys(
    ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"),
    ("y", "batch_mean", "batch_variance", "reserve_space_1", "reserve_space_2", "reserve_space_3"),
)
"""Names of the outputs of operators that have several."""

Wire = tuple[int, int]
"""An operator's number and which of its outputs."""


@dataclass
class Operator:
    name: str
    kind: str
    inputs: list[Wire]
    attributes: dict[str, Message] = field(repr=False)


class SavedGraph:
    """`operators` in an order in which each stands behind what it reads."""

    def __init__(self, content: bytes) -> None:
        model = parse(content)
        metas = messages(model, 2)
        served = [m for m in metas if any(t == b"serve" for g in messages(m, 1) for t in g.get(4, []))]
        if not (served or metas):
            raise Damaged("no graph in it")
        meta = (served or metas)[0]
        graph = messages(meta, 2)[0] if meta.get(2) else {}
        self.producer = text(messages(meta, 1)[0], 5) if meta.get(1) else ""
        library = messages(graph, 2)
        self.functions = {text(messages(f, 1)[0], 1): f for lib in library for f in messages(lib, 1) if f.get(1)}
        self.operators: list[Operator] = []
        self.nodes = {text(n, 1): n for n in messages(graph, 1)}
        self.made: dict[str, list[Wire]] = {}
        self.signatures = {text(e, 1): messages(e, 2)[0] for e in messages(meta, 5) if e.get(2)}
        self.saver = messages(meta, 3)[0] if meta.get(3) else {}

    def signature(self) -> tuple[str, dict[str, Message], dict[str, Message]]:
        """Name, inputs and outputs of what is served."""
        usable = {k: v for k, v in self.signatures.items() if not k.startswith("__saved_model") and v.get(1)}
        name = "serving_default" if "serving_default" in usable else next(iter(usable), "")
        if not name:
            raise Damaged("no serving signature in it; save it with signatures, or with model.export(FOLDER)")
        found = usable[name]
        sides = [{text(e, 1): messages(e, 2)[0] for e in messages(found, n) if e.get(2)} for n in (1, 2)]
        return name, sides[0], sides[1]

    def wire(self, reference: str) -> Wire:
        """An output in the outermost graph, "node:0", with everything that it depends on."""
        name, _, index = reference.partition(":")
        outputs = self._needed(name)
        at = int(index) if index.isdigit() else 0
        return outputs[at] if at < len(outputs) else (outputs[0][0], at)

    def _needed(self, name: str) -> list[Wire]:
        """Add node `name` of the outermost graph, those before it first; without recursion, graphs are deep."""
        stack = [name]
        while stack:
            top = stack[-1]
            if top in self.made:
                stack.pop()
                continue
            if top not in self.nodes:
                raise Damaged(f"no operator {top} in it")
            node = self.nodes[top]
            sources = _inputs(node)
            missing = [s for s, _ in sources if s not in self.made]
            if missing:
                stack += missing
                if len(stack) > MAX_NODES:
                    raise Damaged("its operators read each other")
                continue
            wires = [_pick(self.made[s], o, "") for s, o in sources]
            self.made[top] = self._add(node, wires, top, 0)
            stack.pop()
        return self.made[name]

    def _add(self, node: Message, inputs: list[Wire], name: str, depth: int) -> list[Wire]:
        attributes = {text(a, 1): messages(a, 2)[0] for a in messages(node, 5) if a.get(2)}
        kind = text(node, 2)
        if kind in CALLS:
            called = messages(attributes.get("f", {}), 10)
            function = self.functions.get(text(called[0], 1)) if called else None
            if function is None:
                raise Damaged(f"{name} calls an unknown function")
            return self._expand(function, inputs, name, depth + 1)
        if kind in self.functions:
            return self._expand(self.functions[kind], inputs, name, depth + 1)
        if len(self.operators) >= MAX_NODES:
            raise Damaged(f"more than {MAX_NODES} operators")
        self.operators.append(Operator(name, kind, inputs, attributes))
        return [(len(self.operators) - 1, 0)]

    def _expand(self, function: Message, inputs: list[Wire], where: str, depth: int) -> list[Wire]:
        if depth > MAX_DEPTH:
            raise Damaged("functions that call themselves")
        signature = messages(function, 1)[0]
        arguments = [text(a, 1) for a in messages(signature, 2)]
        if len(arguments) != len(inputs):
            raise Damaged(f"{where} gives {len(inputs)} values to a function of {len(arguments)}")
        made: dict[str, list[Wire]] = {a: [w] for a, w in zip(arguments, inputs, strict=True)}
        nodes = {text(n, 1): n for n in messages(function, 3)}
        returned = {text(e, 1): text(e, 2) for e in messages(function, 4)}
        results = [returned.get(text(a, 1), "") for a in messages(signature, 3)]
        for reference in results:
            self._function_value(reference, nodes, made, where, depth)
        return [self._function_value(r, nodes, made, where, depth) for r in results]

    def _function_value(
        self, reference: str, nodes: dict[str, Message], made: dict[str, list[Wire]], where: str, depth: int
    ) -> Wire:
        stack = [reference.split(":")[0]]
        while stack:
            top = stack[-1]
            if top in made:
                stack.pop()
                continue
            if top not in nodes:
                raise Damaged(f"no operator {top} in function of {where}")
            sources = _inputs(nodes[top])
            missing = [s for s, _ in sources if s not in made]
            if missing:
                stack += missing
                if len(stack) > MAX_NODES:
                    raise Damaged("its operators read each other")
                continue
            wires = [_pick(made[s], o, text(nodes[s], 2) if s in nodes else "") for s, o in sources]
            made[top] = self._add(nodes[top], wires, f"{where}/{top}" if depth > 8 else top, depth)
            stack.pop()
        name, _, rest = reference.partition(":")
        return _pick(made[name], rest, text(nodes[name], 2) if name in nodes else "")

    def expand_restore(self) -> bool:
        """Add what loads the variables; whether there is such a thing."""
        name = text(self.saver, 3).split(":")[0]
        if name not in self.nodes:
            return False
        node = self.nodes[name]
        called = None
        for a in messages(node, 5):
            if text(a, 1) == "f" and a.get(2):
                called = messages(messages(a, 2)[0], 10)
        if called:
            function = self.functions.get(text(called[0], 1))
            if function is None:
                return False
            wires = [_pick(self._needed(s), o, "") for s, o in _inputs(node)]
            arguments = [text(a, 1) for a in messages(messages(function, 1)[0], 2)]
            made: dict[str, list[Wire]] = {a: [w] for a, w in zip(arguments, wires, strict=False)}
            nodes = {text(n, 1): n for n in messages(function, 3)}
            for one, inner in nodes.items():
                if text(inner, 2).startswith("Assign"):
                    self._function_value(one, nodes, made, name, 1)
            return True
        for one, inner in self.nodes.items():
            if text(inner, 2) in ("Assign", "AssignVariableOp") and one.startswith("save"):
                self._needed(one)
        return True


def _inputs(node: Message) -> list[tuple[str, str]]:
    """(operator, which output); what only orders the execution is left out."""
    names = [v.decode("utf-8", "replace") for v in node.get(3, []) if isinstance(v, bytes)]
    parts = [n.partition(":") for n in names if not n.startswith("^")]
    return [(name, rest) for name, _, rest in parts]


def _pick(outputs: list[Wire], rest: str, kind: str) -> Wire:
    """ "name:0" in a function, "0" outside."""
    name, _, index = rest.partition(":")
    at = int(index) if index.isdigit() else int(name) if name.isdigit() else 0
    if name in _OUTPUTS.get(kind, ()):
        at += _OUTPUTS[kind].index(name)
    if len(outputs) == 1 and at:
        return (outputs[0][0], at)
    if at >= len(outputs):
        raise Damaged(f"output {rest} of {len(outputs)}")
    return outputs[at]


def setting(operator: Operator, name: str) -> Any:
    """An attribute: number, text, list of numbers, shape, or None where it is absent."""
    value = operator.attributes.get(name)
    if value is None:
        return None
    if value.get(1):
        inner = messages(value, 1)[0]
        return packed(inner, 3)
    if value.get(2):
        return text(value, 2)
    for number in (3, 5, 6):
        if value.get(number):
            return integer(value, number)
    if value.get(4):
        return struct.unpack("<f", int(value[4][-1]).to_bytes(4, "little"))[0]
    if value.get(7):
        return shape_of(messages(value, 7)[0])
    return 0 if not value else None
