"""For transformers: a block less against heads and hidden units less in every block, at an equal number of parameters.

Sources: Yamamoto et al., "MoP: Mixture of Pruners", 2026 (arXiv 2602.06127): each iteration removes one
layer-equivalent of parameters by depth or by width. Width is AMP's: Mugnaini et al., IJCNN 2025 (arXiv 2504.21174), one
ratio for every block, lowest scores first. Differences: the child most like the parent goes on, by debiased CKA, where
the released code follows a drawn string of letters; any block that may go competes, there always the third-to-last;
hidden units make up for rounded heads in parameters, there in units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from secateur.compiler.budget import saving
from secateur.compiler.policies.policy import Choice, Policy
from secateur.errors import UserError
from secateur.models.network import Network
from secateur.passes.network.amp import Amp
from secateur.passes.network.channels import FilterGroup, find_filters
from secateur.passes.network.layers import NO_STAGE, LayerUnit, find_layers
from secateur.passes.network.macs import network_parameters
from secateur.passes.network.network_similarity import network_similarity
from secateur.passes.network.removal import Removal, apply_all
from secateur.passes.network.scores import FilterScores
from secateur.passes.program.cost import Cost

if TYPE_CHECKING:
    from secateur.compiler.search_state import SearchState


@dataclass(frozen=True)
class Block:
    """An attention and what follows it up to the next one. `units`: the layers, in network order.

    `heads`, `hidden`: the groups that width takes from, whether they may lose one or not.
    """

    units: tuple[str, ...]
    removable: bool
    parameters: int
    heads: FilterGroup
    hidden: FilterGroup | None


class Mixture(Policy):
    """One step is a block, or a layer-equivalent of heads and hidden units."""

    layer_score = False
    filter_score = False

    @classmethod
    def check_network(cls, network: Network) -> None:
        if not blocks_of(network, 1):
            raise UserError(
                f"{network.name}: --policy mixture needs attention heads, and there are none; take --policy children"
            )

    def choose(self, state: SearchState, now: Cost) -> Choice:
        """The most similar of all children that lower a violated limit; a tie goes to depth, then to network order."""
        search, floor = self.search, self.options.floor
        blocks = blocks_of(state.network, floor)
        able = [b for b in blocks if b.removable] if len(blocks) > floor else []
        cuts = [tuple(Removal("layer", u) for u in reversed(b.units)) for b in able]
        width = self._width(state.network, blocks)
        cuts += [width] if width else []
        limits = search.limits
        before = limits.excess(now, state)
        children = [(c, apply_all(state.network, c, floor)) for c in cuts]
        children = [(c, n) for c, n in children if saving(before, limits.excess(limits.cost(n), state)) > 0]
        if not children:
            raise search.exhausted(state)
        alike = network_similarity(state.network, [n for _, n in children], search.sample)
        best = max(range(len(children)), key=alike.__getitem__)  # the first of equals
        total, heads = network_parameters(state.network), {b.heads.name for b in blocks}
        for kind, name in (("layer", "depth"), ("filters", "width")):
            of_kind = [i for i, (cut, _) in enumerate(children) if cut[0].kind == kind]
            if of_kind:
                i = max(of_kind, key=alike.__getitem__)
                cut, network = children[i]
                fewer = total - network_parameters(network)
                search.tell(f"     {name} {_told(cut, heads)}: {fewer:,} parameters, CKA {alike[i]:.4f}")
        cut, network = children[best]
        return Choice(cut, network, alike[best])

    def _width(self, network: Network, blocks: list[Block]) -> tuple[Removal, ...]:
        """A layer-equivalent at one ratio of every block, by AMP."""
        groups = [g for b in blocks for g in (b.heads, b.hidden) if g is not None]
        if not any(g.removable for g in groups):
            return ()
        scores = Amp(self.search.sample, seed=self.options.seed)(network)
        return layer_equivalent(network, blocks, scores)


def blocks_of(network: Network, floor: int) -> list[Block]:
    """The blocks of a transformer in order; the first may never go."""
    targets = {n.name: str(n.target) for n in network.graph.nodes if n.op == "call_module"}
    groups = [g for g in find_filters(network) if g.kind in ("heads", "hidden")]
    found: list[tuple[list[LayerUnit], set[str]]] = []
    for unit in find_layers(network, floor):
        inside = {targets[n] for n in unit.nodes if n in targets}
        if unit.stage == NO_STAGE:
            continue
        if any(g.kind == "heads" and g.producers[0] in inside for g in groups):
            found.append(([], set()))
        if found:
            found[-1][0].append(unit)
            found[-1][1].update(inside)
    blocks: list[Block] = []
    for units, inside in found:
        mine = [g for g in groups if g.producers[0] in inside]
        parameters = sum(p.numel() for t in inside for p in network.module.get_submodule(t).parameters())
        blocks.append(
            Block(
                tuple(u.name for u in units),
                bool(blocks) and all(u.removable for u in units),
                parameters,
                next(g for g in mine if g.kind == "heads"),
                next((g for g in mine if g.kind == "hidden"), None),
            )
        )
    return blocks


def layer_equivalent(network: Network, blocks: list[Block], scores: FilterScores) -> tuple[Removal, ...]:
    """About as many parameters as a block has on average, at one ratio r of every block's heads and hidden units.

    Of each block round(r x heads) heads go, and hidden units for what is then left of r x its parameters. One of each
    stays.
    """
    each = [(b, _per_class(network, b.heads), _per_class(network, b.hidden) if b.hidden else 0.0) for b in blocks]
    whole = [per_head * b.heads.size + per_unit * (b.hidden.size if b.hidden else 0) for b, per_head, per_unit in each]
    ratio = min(1.0, sum(b.parameters for b in blocks) / len(blocks) / sum(whole))
    removals = []
    for (block, per_head, per_unit), parameters in zip(each, whole, strict=True):
        heads = 0
        if block.heads.name in scores.values:
            heads = min(round(ratio * block.heads.size), block.heads.size - 1)
            removals.append(Removal("filters", block.heads.name, scores.lowest(block.heads.name, heads)))
        if block.hidden is not None and block.hidden.name in scores.values:
            wanted = round((ratio * parameters - heads * per_head) / per_unit)
            units = min(max(0, wanted), block.hidden.size - 1)
            removals.append(Removal("filters", block.hidden.name, scores.lowest(block.hidden.name, units)))
    return tuple(r for r in removals if r.classes)


def _per_class(network: Network, group: FilterGroup) -> float:
    """Parameters that go with one class: its rows where it is written, its columns where it is read."""
    written = [p for t in group.producers for p in network.module.get_submodule(t).parameters()]
    read = [network.module.get_submodule(t).get_parameter("weight") for t in group.consumers]
    return sum(p.numel() for p in (*written, *read)) / group.size


def _told(cut: tuple[Removal, ...], heads: set[str]) -> str:
    if cut[0].kind == "layer":
        return ", ".join(r.unit for r in reversed(cut))
    gone = sum(len(r.classes) for r in cut if r.unit in heads)
    return f"{gone} heads, {sum(len(r.classes) for r in cut) - gone} hidden units"
