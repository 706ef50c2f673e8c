"""The table of policies, and what every policy does alike."""

from __future__ import annotations

import pytest

from secateur.compiler import options
from secateur.compiler.policies import POLICIES
from secateur.compiler.search import SearchOptions
from secateur.errors import UserError


def test_the_command_line_offers_every_policy():
    """By the names of the table, which it does not import: that takes seconds."""
    assert options.POLICIES == tuple(POLICIES)


def test_an_unknown_policy_is_refused():
    """From Python too, with the names that there are."""
    with pytest.raises(UserError, match="--policy nothing: unknown; one of everything, layers, filters"):
        SearchOptions("nothing")
