"""Augmentation: what each change does, and what it must not do."""

from __future__ import annotations

import torch

from secateur.models.augment import Augmentation

SERIES = torch.randn(64, 6, 128, generator=torch.Generator().manual_seed(1))
TRIADS = ((0, 1, 2), (3, 4, 5))


def _draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_by_default_nothing_changes():
    """The default is the identity, for series and images."""
    assert torch.equal(Augmentation().noise(Augmentation().geometry(SERIES, _draw()), _draw()), SERIES)


def test_a_rotation_keeps_lengths_and_the_angle_between_sensors():
    """Both triads of a sample turn alike, by no more than the angle allowed; another seed turns otherwise."""
    turn = Augmentation(rotation_degrees=30, triads=TRIADS)
    turned = turn.geometry(SERIES, _draw())
    a, b, was_a, was_b = turned[:, :3], turned[:, 3:], SERIES[:, :3], SERIES[:, 3:]
    torch.testing.assert_close(a.norm(dim=1), was_a.norm(dim=1))
    torch.testing.assert_close((a * b).sum(1), (was_a * was_b).sum(1), rtol=1e-4, atol=1e-4)
    cosine = (a * was_a).sum(1) / (a.norm(dim=1) * was_a.norm(dim=1))
    assert cosine.min() > torch.cos(torch.deg2rad(torch.tensor(30.1)))
    assert cosine.min() < 0.95
    assert not torch.equal(turned, turn.geometry(SERIES, _draw(1)))


def test_a_warp_never_runs_backwards_and_scales_rates():
    """A ramp stays a ramp within its range: time is not reflected; the rate channel grows with the speed."""
    ramp = torch.arange(128.0).expand(64, 1, 128)
    x = torch.cat([ramp, torch.ones(64, 1, 128)], dim=1)
    out = Augmentation(warp=0.3, shift=20, rates=(1,)).geometry(x, _draw())
    steps = out[:, 0].diff(dim=1)
    assert steps.min() >= -1e-4
    assert out[:, 0].min() >= 0
    assert out[:, 0].max() <= 127
    torch.testing.assert_close(steps[:, 64], out[:, 1, 0], rtol=1e-3, atol=1e-3)
    assert out[:, 1, 0].min() < 0.8
    assert out[:, 1, 0].max() > 1.2


def test_a_mirror_changes_the_signs_of_its_channels_together():
    """About half of the samples change sign, in all named channels or in none."""
    ratio = Augmentation(mirror=(0, 4, 5)).geometry(SERIES, _draw()) / SERIES
    assert torch.equal(ratio[:, [1, 2, 3]], torch.ones(64, 3, 128))
    assert torch.equal(ratio[:, 0], ratio[:, 4])
    assert torch.equal(ratio[:, 0], ratio[:, 5])
    assert 16 < (ratio[:, 0, 0] < 0).sum() < 48


def test_an_image_is_shifted_whole_and_flipped():
    """A crop moves all channels by the same offset within its margin and fills with zeros."""
    dot = torch.zeros(200, 2, 9, 9)
    dot[:, :, 4, 4] = 1
    places = Augmentation(crop=2).geometry(dot, _draw())
    assert torch.equal(places.sum((2, 3)), torch.ones(200, 2))
    assert torch.equal(places[:, 0], places[:, 1])
    rows, columns = places[:, 0].nonzero()[:, 1:].unbind(1)
    assert set(rows.tolist()) == set(columns.tolist()) == {2, 3, 4, 5, 6}
    image = torch.arange(9.0).expand(50, 1, 9, 9)
    flipped = Augmentation(flip=True).geometry(image, _draw())
    assert {tuple(row) for row in flipped[:, 0, 0].tolist()} == {tuple(range(9)), tuple(range(8, -1, -1))}
