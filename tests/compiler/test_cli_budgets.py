"""Each kind of budget ends well, and one that cannot be met says which limit, why, and what was reached."""

from __future__ import annotations

import json

import pytest

from secateur.compiler import driver, proving
from secateur.compiler.deploy import Deployed

NET = ("compile", "zoo:digits-net", "--data", "zoo:digits", "--target", "esp32", "--run", "none", "--json")


def report(called, out, *more):
    """Exit code and the one document on stdout, which is report.json."""
    code, printed, said = called([*NET, "-o", str(out), *more])
    assert "Traceback" not in said
    assert printed == (out / "report.json").read_text()
    return code, json.loads(printed)


def broken(document):
    return {v["limit"]: v["why"] for v in document["budget"]["violations"]}


@pytest.mark.slow
@pytest.mark.parametrize(
    "option,limit,key",
    [
        ("--max-ram", "2600", "ram_bytes"),
        ("--max-flash", "44K", "flash_bytes"),
        ("--max-latency", "500ms", "latency_ms_high"),
    ],
)
def test_a_budget_of_one_limit_ends_met(called, tmp_path, option, limit, key):
    """RAM alone, flash alone, latency alone: each is violated at first, and each holds in the end.

    Candidates are scored on as many samples as are asked for.
    """
    code, found = report(
        called, tmp_path / "out", option, limit, "--steps", "60", "--max-drop", "10", "--patches", "off",
        "--score-samples", "100",
    )  # fmt: skip
    allowed = found["budget"][key.replace("_high", "")]
    assert (code, found["budget"]["met"], broken(found)) == (0, "predicted", {})
    assert found["result"][key] <= allowed < found["baseline"][key]
    assert found["steps"] and {s["samples"] for s in found["steps"]} == {100}


class Larger(Deployed):
    """An image of 2,500 bytes more than predicted."""

    @property
    def flash_bytes(self):
        return super().flash_bytes + 2500


@pytest.mark.slow
def test_an_image_that_is_too_large_is_seen_before_the_last_training(called, tmp_path, monkeypatch):
    """More goes, the last training is made once, and what was looked at is not left behind."""
    asked = []

    def image_of(exported, *, project, **how):
        found = proving.image_of(exported, project=project, **how)
        asked.append((project.name, how.get("quick", False)))
        return Larger(**vars(found))

    monkeypatch.setattr(driver, "image_of", image_of)
    code, found = report(called, tmp_path / "out", "--max-flash", "52K", "--steps", "30", "--max-drop", "10")
    assert [name for name, _ in asked] == ["firmware", "untrained", "untrained", "firmware"]
    assert [quick for _, quick in asked] == [True, True, True, False]
    assert code == 0 and found["result"]["flash_bytes"] <= 52 << 10
    last = json.loads((tmp_path / "out" / "trace.jsonl").read_text().splitlines()[-1])
    assert last["network_steps"] == last["spent_steps"] == 30
    assert not (tmp_path / "out" / "baseline").exists()


@pytest.mark.slow
def test_patches_hold_a_ram_limit_before_anything_is_removed(called, tmp_path):
    """Bands of rows cost operations and no accuracy: nothing is removed, and the report says what is computed twice."""
    code, found = report(called, tmp_path / "out", "--max-ram", "2700")
    patches = found["details"]["patches"]
    assert (code, found["steps"]) == (0, [])
    names = [layer["name"] for layer in found["result"]["layers"]]
    assert names == [layer["name"] for layer in found["baseline"]["layers"]]  # bands of a layer are summed
    assert sum(layer["macs"] or 0 for layer in found["result"]["layers"]) == found["result"]["macs"]
    assert patches and found["result"]["ram_bytes"] <= 2700 < found["baseline"]["ram_bytes"]
    assert found["result"]["macs"] == found["baseline"]["macs"] + sum(p["extra_macs"] for p in patches)
    assert found["result"]["accuracy_int8"] == found["baseline"]["accuracy_int8"]
    assert f"{patches[0]['bands']} bands of rows" in " ".join(found["details"]["notes"])


@pytest.mark.slow
def test_patches_that_make_it_too_slow_are_not_used(called, tmp_path):
    """Where the operations done twice break the latency limit, removal has to hold both."""
    _, first = report(called, tmp_path / "first", "--max-ram", "2700")
    limit = (first["baseline"]["latency_ms_high"] + first["result"]["latency_ms_high"]) / 2
    options = ("--max-ram", "2700", "--max-latency", f"{limit:.1f}ms", "--steps", "60", "--max-drop", "10")
    code, found = report(called, tmp_path / "out", *options)
    assert code == 0 and found["steps"]
    assert found["result"]["ram_bytes"] <= 2700 and found["result"]["latency_ms_high"] <= limit


@pytest.mark.slow
def test_an_impossible_budget_is_3_and_says_which_limit_and_why(called, tmp_path):
    """2 KiB of flash hold no such network: the report and the smallest attempt are there all the same."""
    out = tmp_path / "out"
    code, found = report(called, out, "--max-flash", "2K", "--steps", "0")
    assert (code, found["budget"]["met"]) == (3, "no")
    # precedence: too large (3) comes before too inaccurate (4)
    assert list(broken(found)) == ["flash_bytes", "accuracy"]
    assert "bytes of flash are the least reached, 2,048 allowed" in broken(found)["flash_bytes"]
    assert found["result"]["flash_bytes"] < found["baseline"]["flash_bytes"] / 2
    assert (out / "model.tflite").is_file() and (out / "report.html").is_file()


@pytest.mark.slow
def test_a_broken_floor_is_4_and_keeps_the_best_fitting_and_the_most_accurate(called, tmp_path):
    """Both attempts are files beside the result, and the report names them with what they reach."""
    out = tmp_path / "out"
    options = ("--max-flash", "34K", "--min-accuracy", "99.9", "--recovery", "none")
    code, found = report(called, out, *options)
    assert (code, found["budget"]["met"], list(broken(found))) == (4, "no", ["accuracy"])
    attempts = {a["path"]: a for a in found["details"]["attempts"]}
    assert sorted(attempts) == ["attempts/best-fitting", "attempts/most-accurate"]
    for path in attempts:
        assert (out / path / "model.onnx").is_file() and (out / path / "model.tflite").is_file()
    best, fitting = attempts["attempts/most-accurate"], attempts["attempts/best-fitting"]
    assert fitting["fits"] and best["accuracy_int8"] >= fitting["accuracy_int8"]
    assert (out / "model.tflite").read_bytes() == (out / "attempts/best-fitting/model.tflite").read_bytes()


@pytest.mark.slow
def test_evidence_asked_for_and_not_there_is_3(called, tmp_path):
    """Measured numbers need a board: everything holds but the evidence."""
    code, found = report(called, tmp_path / "out", "--require", "measured", "--steps", "0")
    assert (code, found["budget"]["met"], list(broken(found))) == (3, "no", ["evidence"])
    assert "--require measured" in broken(found)["evidence"]


@pytest.mark.slow
def test_the_same_command_twice_writes_the_same_bytes(called, tmp_path):
    """All of OUT but run.json depends on the inputs alone, also where an earlier run is written over."""
    seen = []
    for name in ("a", "b", "b"):
        out = tmp_path / name
        report(called, out, "--max-flash", "46K", "--steps", "4", "--max-drop", "20")
        files = (p for p in out.rglob("*") if p.is_file() and p.name != "run.json")
        seen.append({p.relative_to(out).as_posix(): p.read_bytes() for p in files})
    assert seen[0].keys() == seen[1].keys() == seen[2].keys()
    assert [n for n in seen[0] if not seen[0][n] == seen[1][n] == seen[2][n]] == []
    assert "checkpoints/state.json" in seen[0]


@pytest.mark.slow
def test_what_fits_no_device_is_3_though_this_computer_could_run_it(called):
    """--all-targets leaves the host out."""
    code, printed, said = called(["check", "zoo:digits-net", "--all-targets", "--max-ram", "1K", "--json"])
    rows = json.loads(printed)
    assert code == 3 and len(rows) >= 5, said
    assert "host" not in {row["target"] for row in rows} and not any(row["fits"] for row in rows)
    assert all(row["why"].endswith("removes until it fits, or says how near it comes") for row in rows)
