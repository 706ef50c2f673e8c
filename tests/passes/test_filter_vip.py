"""VIP: equal to NIPALS from samples, from scikit-learn and from the network's activations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.cross_decomposition import PLSRegression
from torch import nn

from secateur.errors import UserError
from secateur.models.data import Split
from secateur.passes.network.channels import find_filters, trace_channels
from secateur.passes.network.filter_vip import FilterVip, PlsMoments, scored_nodes


def sklearn_vip(x, y, components=2):
    """The formula of the paper on scikit-learn's model, which standardises both sides by ddof = 1."""
    model = PLSRegression(components, scale=True, tol=1e-20, max_iter=100_000).fit(x, y)
    t, w, q = model.x_scores_, model.x_weights_, model.y_loadings_
    s = (t**2).sum(0) * (q**2).sum(0)
    return np.sqrt(x.shape[1] * ((w / np.linalg.norm(w, axis=0)) ** 2 @ s) / s.sum())


def problem(n, m, classes, seed=0):
    """Correlated features of very different size and offset, some of which know the class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    x = rng.normal(size=(n, m)) @ rng.normal(size=(m, m)) + labels[:, None] * rng.normal(size=m)
    return x * np.geomspace(1e-3, 1e3, m) + 100, np.eye(classes)[labels]


@pytest.mark.parametrize(("n", "m", "classes"), [(300, 40, 6), (120, 200, 4), (60, 5, 2), (500, 30, 10)])
def test_equals_scikit_learn(n, m, classes):
    """1e-6, for any batches, more features than samples included; the squares' mean is 1."""
    x, y = problem(n, m, classes)
    moments = PlsMoments()
    for rows in np.array_split(np.arange(n), 7):
        moments.update(x[rows], y[rows])
    assert np.abs(moments.vip() - sklearn_vip(x, y)).max() < 1e-6
    assert np.square(moments.vip()).mean() == pytest.approx(1, abs=1e-12)
    assert np.abs(moments.vip(3) - sklearn_vip(x, y, 3)).max() < 1e-6 or classes == 2


def test_constant_features_weigh_nothing():
    """A dead filter has VIP 0, also far from 0 where rounding could pass for variance."""
    x, y = problem(200, 10, 3)
    x[:, 4], x[:, 7] = 0.0, 1e5 + 0.1
    moments = PlsMoments()
    for rows in np.array_split(np.arange(200), 3):
        moments.update(x[rows], y[rows])
    vip = moments.vip()
    assert vip[4] == vip[7] == 0 and (np.delete(vip, [4, 7]) > 0).all()


def split(network, count=90, classes=3):
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes, count) * 5  # labels need not be 0, 1, 2
    x = rng.normal(size=(count, *network.input_shape)) + 0.1 * y.reshape(-1, *[1] * len(network.input_shape))
    return Split(x.astype(np.float32), y, np.arange(count))


@pytest.mark.parametrize("network", ["resnet_a", "residual_1d", "grouped", "concat", "mlp"], indirect=True)
def test_scores_are_means_over_coupled_channels(network):
    """Global maxima of raw convolution outputs, by hooks; one VIP each; a class has its channels' mean."""
    data = split(network)
    columns, owners = [], []
    channels = trace_channels(network)
    nodes = {n.name: n for n in network.graph.nodes}
    handles = []
    for name in [n.name for n in scored_nodes(network)]:

        def keep(_module, _inputs, output, name=name):
            columns.append(output.flatten(2).max(2).values if output.dim() > 2 else output)
            owners.extend(channels.values[name].tolist())

        module = network.module.get_submodule(str(nodes[name].target))
        handles.append(module.register_forward_hook(keep))
    with torch.no_grad():
        network.module(torch.from_numpy(data.x))
    for handle in handles:
        handle.remove()
    vip = sklearn_vip(torch.cat(columns, 1).double().numpy(), np.eye(3)[data.y // 5])
    scores = FilterVip(data, chunk=32)(network)
    assert scores.network_hash == network.hash() and scores.samples == 90
    for group in find_filters(network):
        if group.removable:
            members = channels.members[group.name]
            expected = [np.mean(vip[np.array(owners) == c]) for c in members]
            assert np.allclose(scores.values[group.name], expected, atol=1e-4), group.name


def test_every_removable_group_has_a_positive_score(network):
    """Live filters of any network get one finite number for each class."""
    scores = FilterVip(split(network))(network)
    groups = {g.name: g.size for g in find_filters(network) if g.removable}
    assert {name: len(v) for name, v in scores.values.items()} == groups
    assert all(np.isfinite(v).all() and (v >= 0).all() and v.any() for v in scores.values.values())


def test_the_classifier_is_no_feature(make):
    """The last weighted layer's outputs would explain the classes by themselves."""
    assert [n.name for n in scored_nodes(make("mlp"))] == ["layers_1", "layers_3", "layers_5", "layers_7"]


def test_filters_that_know_the_class_rank_first(network_of):
    """Of 8 filters 2 see the channel that carries the class: they go last."""
    net = nn.Sequential(nn.Conv1d(4, 8, 1), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(1), nn.Linear(8, 2))
    network = network_of(net, (4, 10))
    with torch.no_grad():
        weight = network.module.get_submodule("0").weight
        weight[:, 0] = 0.0
        weight[[2, 5]] = 0.0
        weight[[2, 5], 0] = 1.0
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    x = rng.normal(size=(400, 4, 10)).astype(np.float32)
    x[:, 0] += y[:, None]
    scores = FilterVip(Split(x, y, np.arange(400)))(network)
    assert scores.lowest("0", 6) == (0, 1, 3, 4, 6, 7)


def test_one_class_is_refused(make):
    """PLS against a constant label has no answer."""
    network = make("mlp")
    data = split(network)
    with pytest.raises(UserError, match=r"one class only \(5\)"):
        FilterVip(Split(data.x, np.full(90, 5), data.groups))(network)
