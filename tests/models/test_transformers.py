"""Transformers as people write them become one canonical form; what has none is named with the reason."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import HEADS, SHAPE, TOKENS, WIDTH, WRITTEN, ByHand, Encoder, Residual, torch_layer

from secateur.errors import UserError
from secateur.models.canonical import to_network
from secateur.models.tokens import Attention, Bias, ChannelNorm


@pytest.mark.slow
@pytest.mark.parametrize("name", list(WRITTEN))
def test_every_way_of_writing_is_recognised(name):
    """The canonical network computes what the module does, and its attentions are modules."""
    make, shape, attentions = WRITTEN[name]
    torch.manual_seed(0)
    module = make().eval()
    network = to_network(module, shape, name)
    x = torch.randn(4, *shape)
    with torch.no_grad():
        assert (network.module(x) - module(x)).abs().max() <= 1e-6
    assert sum(isinstance(m, Attention) for m in network.module.modules()) == attentions


class Scaled(Encoder):
    """Positions and patches, the second of them halved."""

    def __init__(self, positions_first):
        super().__init__(torch_layer(True))
        self.positions_first = positions_first

    def forward(self, x):
        tokens = self.patches(x).transpose(1, 2)
        pair = (self.positions, tokens) if self.positions_first else (tokens, self.positions)
        return self.head(self.norm(self.blocks[0](torch.add(*pair, alpha=0.5))).mean(1))


def test_alpha_multiplies_the_second_of_two():
    """torch.add(a, b, alpha=s) is a + s b; scaled tokens beside a constant that is not one a channel are refused."""
    torch.manual_seed(0)
    with pytest.raises(UserError, match="scales tokens and adds different constants"):
        to_network(Scaled(True), SHAPE, "net")
    module = Scaled(False).eval()
    network = to_network(module, SHAPE, "net")
    x = torch.randn(4, *SHAPE)
    with torch.no_grad():
        assert (network.module(x) - module(x)).abs().max() <= 1e-6


def test_the_network_keeps_its_names():
    """Layers stand under their own paths; projections of torch's attention below its path."""
    torch.manual_seed(0)
    network = to_network(Encoder(torch_layer(True)), SHAPE, "net")
    attention = [f"blocks.0.self_attn.{part}" for part in ("q", "k", "v", "attention", "out")]
    wanted = ["patches", "blocks.0.norm1", *attention, "blocks.0.linear1", "blocks.0.linear2", "norm", "head"]
    assert set(wanted) <= {str(n.target) for n in network.graph.nodes}


def test_positions_and_class_token_are_one_bias():
    """Zeros beside the tokens, the class token and the positions are added at once."""
    torch.manual_seed(0)
    make, shape, _ = WRITTEN["picture, class token"]
    network = to_network(make(), shape, "net")
    assert [tuple(m.bias.shape) for m in network.module.modules() if isinstance(m, Bias)] == [(WIDTH, 10)]


def causal(q, k, v):
    return functional.scaled_dot_product_attention(q, k, v, is_causal=True)


def masked(q, k, v):
    scores = q @ k.transpose(-2, -1) + torch.triu(torch.full((TOKENS, TOKENS), -9.0), 1)
    return scores.softmax(-1) @ v


def over_queries(q, k, v):
    return (q @ k.transpose(-2, -1)).softmax(-2) @ v


def no_softmax(q, k, v):
    return (q @ k.transpose(-2, -1)) @ v


def transposed_keys(q, k, v):
    return (q @ k.transpose(1, 2).reshape(*k.shape[:2], 4, TOKENS)).softmax(-1) @ v


class SharedKeys(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 4), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        q, v = (layer(x).unflatten(2, (HEADS, 4)).transpose(1, 2) for layer in (self.q, self.v))
        k = self.k(x)[:, None].expand(-1, HEADS, -1, -1)
        return ((q @ k.transpose(2, 3)).softmax(-1) @ v).transpose(1, 2).flatten(2)


class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm((TOKENS, WIDTH))

    def forward(self, x):
        return self.norm(x)


class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens = nn.Linear(TOKENS, TOKENS)

    def forward(self, x):
        return self.tokens(x.transpose(1, 2)).transpose(1, 2)


class Weights(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

    def forward(self, x):
        y, weights = self.inner(x, x, x)
        return y * weights.mean((1, 2))[:, None, None]


class SamplesFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.MultiheadAttention(WIDTH, HEADS)

    def forward(self, x):
        return self.inner(x, x, x)[0]


class KeyMask(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

    def forward(self, x):
        return self.inner(x, x, x, attn_mask=torch.zeros(TOKENS, TOKENS))[0]


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (lambda: ByHand(causal), "with a mask or shared keys; only attention of all tokens to all"),
        (lambda: ByHand(masked), "masks are not supported"),
        (lambda: ByHand(over_queries), "softmax is over the keys"),
        (lambda: ByHand(no_softmax), "normalized over the keys"),
        (lambda: ByHand(transposed_keys), "matmul: mixes positions with channels"),
        (SharedKeys, "uses channels more than once, as attention with shared keys or values does"),
        (Both, "normalizes 2 dimensions together; only the channels of each token"),
        (Mixer, "mixes positions with channels"),
        (Weights, "attention weights are scaled"),
        (KeyMask, "with a mask; only attention of all tokens to all"),
        (SamplesFirst, "batch_first=False, so samples attend to one another"),
    ],
)
def test_what_has_no_canonical_form_is_refused(block, reason):
    """One line names the operator and the reason."""
    torch.manual_seed(0)
    with pytest.raises(UserError) as found:
        to_network(Encoder(Residual(block())), SHAPE, "net")
    assert "blocks.0.attention" in str(found.value)
    assert reason in str(found.value)


def test_what_follows_a_refused_attention_is_read_on():
    """A mean over what an attention with a mask gives; it is listed alone."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.masked, self.head = KeyMask(), nn.Linear(WIDTH, 3)

        def forward(self, x):
            return self.head(self.masked(x.transpose(1, 2)).mean(1))

    with pytest.raises(UserError, match=r"net: 1 unsupported operator.*masked.inner .MultiheadAttention: with a mask"):
        to_network(Net(), (WIDTH, TOKENS), "net")


def test_norms_know_their_epsilon():
    """Of a module and of the function."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.head = nn.Conv1d(6, 8, 1), nn.LayerNorm(8, eps=0.1), nn.Linear(8, 3)

        def forward(self, x):
            x = self.norm(self.conv(x).transpose(1, 2))
            return self.head(functional.layer_norm(x, (8,), eps=0.2).mean(1))

    network = to_network(Net(), SHAPE, "net")
    assert [m.eps for m in network.module.modules() if isinstance(m, ChannelNorm)] == [0.1, 0.2]


def test_one_operator_is_named_once():
    """What follows from an unsupported operator is not listed beside it."""
    torch.manual_seed(0)
    with pytest.raises(UserError, match="1 unsupported operator"):
        to_network(Encoder(Residual(ByHand(lambda q, k, v: torch.cumsum(q, 2)))), SHAPE, "net")


def test_tokens_flattened_for_a_classifier():
    """Tokens in a row, (n, tokens * channels), are the channels first flattened and the columns turned."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.head = nn.Conv1d(6, 8, 3, 3), nn.LayerNorm(8), nn.Linear(8 * TOKENS, 3)

        def forward(self, x):
            return self.head(self.norm(self.conv(x).transpose(1, 2)).flatten(1))

    torch.manual_seed(0)
    module = Net().eval()
    x = torch.randn(4, *SHAPE)
    assert (to_network(module, SHAPE, "net").module(x) - module(x)).abs().max() <= 1e-6
