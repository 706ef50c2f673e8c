"""What network cuts require and promise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from secateur.models.network import Network
from secateur.passes.network.macs import network_parameters


class Measured(Protocol):
    """Scores of any kind: they know the network that they were measured on."""

    @property
    def network_hash(self) -> str: ...


def measured_on(scores: Measured | None) -> Callable[[Network], None]:
    """A check that the scores, if any, belong to the very network that is cut."""

    def check(network: Network) -> None:
        if scores is not None:
            assert scores.network_hash == network.hash(), "the scores were measured on another network"

    return check


def fewer_parameters(before: Network, after: Network) -> None:
    """The cut took parameters away."""
    was, now = network_parameters(before), network_parameters(after)
    assert now < was, f"{was} parameters became {now}"
