"""The smartwatch recordings: what is in them, how they are cut, and what happens where they are missing."""

from __future__ import annotations

import importlib.util
import io
import pickle
from pathlib import Path

import numpy as np
import pytest

from secateur.errors import UserError
from secateur.models.zoo import watch

installed = pytest.mark.skipif(importlib.util.find_spec("seglearn") is None, reason=f"no seglearn; {watch.INSTALL}")


@installed
def test_every_person_did_every_exercise_with_both_arms():
    """140 recordings: 10 people, 7 exercises, 2 arms, six finite channels of at least 18 s."""
    recordings = watch.watch_recordings()
    assert len(recordings) == 140
    assert len({(r.person, r.exercise, r.right_arm) for r in recordings}) == 140
    assert {r.samples.shape[1] for r in recordings} == {6}
    assert min(len(r.samples) for r in recordings) > 18 * watch.RATE_HZ
    assert all(np.isfinite(r.samples).all() for r in recordings)


@installed
def test_whole_people_are_held_out():
    """Six people recovery, two validation, two test; the same people every time, and all of each one's windows."""
    data = watch.watch_data()
    people = [sorted(set(s.groups.tolist())) for s in (data.recovery, data.validation, data.test)]
    assert people == [[1, 2, 4, 6, 9, 10], [3, 8], [5, 7]]
    assert [s.x.shape for s in (data.recovery, data.validation, data.test)] == [
        (2217, 6, 128), (606, 6, 128), (782, 6, 128)
    ]  # fmt: skip
    for split in (data.recovery, data.validation, data.test):
        assert set(split.y.tolist()) == set(range(7))


def test_windows_overlap_by_the_hop_and_drop_the_tail():
    """Window k begins at k hops; what does not fill a window is left; a short recording gives none."""
    samples = np.arange(2 * 300, dtype=np.float32).reshape(300, 2)
    cut = watch.windows(samples, 128, 64)
    assert cut.shape == (3, 2, 128)
    assert np.array_equal(cut[2], samples[128:256].T)
    assert watch.windows(samples[:100], 128, 64).shape == (0, 2, 128)


def test_standardize_uses_each_channels_own_numbers():
    """Mean and deviation over samples and time; a constant channel is the user's error."""
    x = np.random.default_rng(0).normal([[3], [-1]], [[2], [5]], size=(500, 2, 40)).astype(np.float32)
    out = watch.standardize(x)(x)
    assert out.mean((0, 2)) == pytest.approx(0, abs=1e-4)
    assert out.std((0, 2)) == pytest.approx(1, abs=1e-4)
    x[:, 1] = 7
    with pytest.raises(UserError, match="channel 1 is constant"):
        watch.standardize(x)


def test_a_missing_package_names_the_command(monkeypatch):
    """Without seglearn: one line with the pip command."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install --no-deps seglearn==1\.2\.5"):
        watch.watch_recordings()


def test_another_file_is_not_unpickled(tmp_path):
    """A file with another hash is refused before anything in it is read."""
    path = tmp_path / "watch_dataset.npy"
    np.save(path, np.array({"X": 1}, dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match=r"has SHA-256 [0-9a-f]{12}"):
        watch._read(path)
    with pytest.raises(UserError, match="No such file"):
        watch._read(tmp_path / "absent.npy")


def test_the_unpickler_builds_arrays_only():
    """Even with the right hash, a pickle that asks for anything but arrays is refused."""
    with pytest.raises(UserError, match="refused"):
        watch._Restricted(io.BytesIO(pickle.dumps(Path("x")))).load()
