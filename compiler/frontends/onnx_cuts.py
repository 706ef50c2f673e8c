"""Where an ONNX network can end before what is not supported: the names that an error proposes for --cut-at."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx

MOST = 4  # names in an error


def behind(nodes: Sequence[onnx.NodeProto], refused: Sequence[onnx.NodeProto]) -> set[str]:
    """The values that depend on a refused node; `nodes` in the file's order."""
    ids, found = {id(n) for n in refused}, set[str]()
    for node in nodes:
        if id(node) in ids or not found.isdisjoint(node.input):
            found.update(node.output)
    return found


def proposed(
    nodes: Sequence[onnx.NodeProto], refused: Sequence[onnx.NodeProto], may_end: Callable[[str], bool]
) -> list[str]:
    """What the refused nodes read and a network may end in, else the last value before them that it may."""
    gone = behind(nodes, refused)
    whole = [o for n in nodes for o in n.output if o and o not in gone and may_end(o)]
    read = {i for n in refused for i in n.input}
    return ([v for v in whole if v in read] or whole[-1:])[-MOST:]


def advice(
    nodes: Sequence[onnx.NodeProto], refused: Sequence[onnx.NodeProto], entry: str, may_end: Callable[[str], bool]
) -> str:
    """The end of an error's line: what to do about the refused nodes."""
    names = proposed(nodes, refused, may_end)
    if names:
        return f"Replace them, or end the network before them with --cut-at NAME: {', '.join(names)}."
    if any(entry in n.input for n in refused):
        return (
            f"Replace them; what only prepares the input {entry} is cut off with "
            "onnx.utils.extract_model(FILE, NEW, [VALUE BEHIND IT], [OUTPUT])."
        )
    return "Replace them; nothing before them can be the network's output (--cut-at)."
