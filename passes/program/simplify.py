"""Simplify: every exact simplification of a Program, again and again until none finds anything."""

from __future__ import annotations

from secateur.models.program import Program
from secateur.passes.contract import Pass
from secateur.passes.program.fold_constants import FoldConstants
from secateur.passes.program.fuse_padding import FusePadding
from secateur.passes.program.remove_constant_channels import RemoveConstantChannels
from secateur.passes.program.remove_identities import RemoveIdentities
from secateur.passes.program.share_constants import ShareConstants
from secateur.passes.program.value_ranges import exact

STRUCTURE: tuple[Pass[Program], ...] = (RemoveIdentities(), FusePadding())
"""What shapes alone decide; all that a float Program gets, so that its predicted sizes are those after export."""

VALUES: tuple[Pass[Program], ...] = (FoldConstants(), RemoveConstantChannels(), ShareConstants())
"""What follows from the integers of an exact Program."""


def simplify(program: Program, cut_channels: bool = True) -> Program:
    """The same outputs, bit for bit, with fewer operators, channels (if `cut_channels`) and constants."""
    passes = (*STRUCTURE, *VALUES) if exact(program) else STRUCTURE
    if not cut_channels:
        passes = tuple(p for p in passes if not isinstance(p, RemoveConstantChannels))
    while True:
        before = program
        for each in passes:
            program = each(program)
        if program == before:
            return program
