"""Operators whose output TFLite gives one scale and zero point, whatever values occur, and who may share them."""

from __future__ import annotations

from dataclasses import replace

from secateur.models.program import Op, Options, Program, Quantization

Range = tuple[float, float]
FIXED = {
    "SOFTMAX": Quantization((1 / 256,), (-128,)),
    "LOGISTIC": Quantization((1 / 256,), (-128,)),
    "TANH": Quantization((1 / 128,), (0,)),
    "L2_NORMALIZATION": Quantization((1 / 128,), (0,)),
}


def separate_fixed(
    program: Program, ranges: dict[int, Range], moves: tuple[str, ...]
) -> tuple[Program, dict[int, Range]]:
    """A QUANTIZE wherever an operator of `moves` takes a fixed output to values that its scale cannot say.

    `moves` hand on their input's scale. So a concatenation of a logistic function with wider values takes the former
    in the scale of the latter, and what only reshapes or pools the former keeps its scale.
    """
    fixed: dict[int, Quantization] = {}
    tensors, ops, found = list(program.tensors), list[Op](), dict(ranges)
    for op in program.ops:
        out = op.outputs[0]
        if op.kind in FIXED:
            fixed[out] = FIXED[op.kind]
        elif op.kind in moves:
            held = {i: fixed[i] for i in dict.fromkeys(op.inputs) if i in fixed}
            if held and all(fits(ranges[out], q) for q in held.values()) and len(set(held.values())) == 1:
                fixed[out] = next(iter(held.values()))
            elif held:
                for i in held:
                    tensors.append(replace(tensors[i], name=f"{tensors[i].name}_for_{tensors[out].name}"))
                    made = len(tensors) - 1
                    found[made] = ranges[i]
                    ops.append(Op("QUANTIZE", (i,), (made,), Options(), tensors[made].name))
                    op = replace(op, inputs=tuple(made if j == i else j for j in op.inputs))
        ops.append(op)
    return replace(program, tensors=tuple(tensors), ops=tuple(ops)), found


def fits(values: Range, quantization: Quantization) -> bool:
    """Whether int8 of this scale can say all values, but for half a step."""
    scale, zero_point = quantization.scale[0], quantization.zero_point[0]
    return values[0] >= (-129 - zero_point) * scale and values[1] <= (128 - zero_point) * scale
