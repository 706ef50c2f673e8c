"""One kernel for every operator, by descriptor; all operators without one are named at once."""

from __future__ import annotations

from collections.abc import Sequence

from secateur.errors import UserError
from secateur.firmware.kernels.catalogue import KERNELS
from secateur.firmware.kernels.descriptor import Kernel
from secateur.models.program import Program

LARGEST_DIMENSION = 32767

Selection = tuple[Kernel, ...]
"""The kernel of each operator, in order."""


def choose_kernels(program: Program, features: tuple[str, ...], kernels: Sequence[Kernel] = KERNELS) -> Selection:
    """The first kernel of `kernels` that applies to each operator on a core with `features`.

    Raises UserError listing every operator that no kernel computes, with the reason.
    """
    chosen: list[Kernel] = []
    wide = [t.name for t in program.tensors if t.data is None and max(t.shape, default=0) > LARGEST_DIMENSION]
    if wide:
        raise UserError(
            f"{program.name}: {', '.join(wide)}: a dimension above {LARGEST_DIMENSION}, which the C kernels' 16-bit "
            "sizes do not hold; use a shorter window or a smaller picture"
        )
    refused: list[str] = []
    lacks: list[str] = []
    for position, op in enumerate(program.ops):
        kernel = next((k for k in kernels if k.applies(program, op, features)), None)
        if kernel is not None:
            chosen.append(kernel)
            continue
        near = [k for k in kernels if k.answers(program, op)]
        near = [k for k in near if k.own_type] or near
        reasons = {r for k in near if (r := k.refuses(program, op))}
        reasons = {r for r in reasons if not r.startswith("types ")} or reasons  # those of kernels for other types
        able = [k for k in near if k.refuses(program, op) is None]
        lacking = {f"{n}, which the target lacks" for k in able for n in k.needs(program, op) if n not in features}
        lacks += sorted({n for k in able for n in k.needs(program, op) if n not in features})
        reasons = lacking or reasons
        refused.append(f"{op.kind} (operator {position}{': ' + ', '.join(sorted(reasons)) if reasons else ''})")
    if len(refused) > 3 and len(lacks) == len(refused) and len(set(lacks)) == 1:
        raise UserError(
            f"{program.name}: {len(refused)} operators compute {lacks[0]}, which the target lacks. Quantize the "
            "network to int8, or choose another target (secateur targets)"
        )
    if refused:
        raise UserError(f"{program.name}: no kernel for {'; '.join(refused)}. Replace these operators, or cut them off")
    return tuple(chosen)
