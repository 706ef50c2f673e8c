"""report.json: schema 1 holds, every number says where it is from, an unknown stays null."""

import copy
import json
import math
from dataclasses import fields, replace

import numpy as np
import pytest

from secateur.compiler.report import document, record
from secateur.compiler.report.document import ReportError, from_json, to_document, to_json, validate
from secateur.compiler.report.folder import read_report, write_report
from secateur.compiler.report.record import Measured, Side
from secateur.errors import UserError

RECORDS = {
    "layer": record.Layer,
    "side": record.Side,
    "violation": record.Violation,
    "step": record.Step,
    "confusion": record.Confusion,
    "placement": record.Placement,
    "memory_map": record.MemoryMap,
    "clock": record.Clock,
    "layer_error": record.LayerError,
    "sizes": record.Sizes,
    "data": record.DataFacts,
    "certificate": record.Certificate,
    "attempt": record.Attempt,
    "control": record.Control,
    "verification": record.Verification,
    "details": record.Details,
}
TOP = {"tool": record.Tool, "target": record.TargetFacts, "budget": record.Budget}


def schema():
    return json.loads(document.SCHEMA.read_text(encoding="utf-8"))


def keys(kind):
    return [f.metadata.get("key", f.name) for f in fields(kind)]


def at(value, pointer):
    for key in pointer.split("/")[1:]:
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value


def test_design_names_are_all_there(example):
    """The keys that DESIGN.md promises, by name."""
    found = to_document(example)
    side = """accuracy_float accuracy_int8 accuracy_interval macs params arena_bytes
        arena_lower_bound_bytes stack_bytes ram_bytes weights_bytes flash_bytes instructions cycles
        latency_ms latency_ms_low latency_ms_high layers"""
    assert list(found["result"]) == list(found["baseline"]) == side.split()
    top = (
        "schema tool target baseline result budget verification steps details task metric robustness energy provenance"
    )
    assert list(found) == top.split()
    assert list(found["steps"][0]) == [
        *("pass", "unit", "score", "accuracy_cut", "accuracy_recovered"),
        *("macs", "ram_bytes", "flash_bytes", "latency_ms"),
        *("samples", "margin", "margin_error", "tie"),
    ]
    assert set(found["verification"]) >= {"golden", "samples", "outputs", "mismatches"}
    assert set(found["budget"]) >= {"ram_bytes", "flash_bytes", "latency_ms", "max_drop", "met", "violations"}


@pytest.mark.parametrize("name", ["example", "bare"])
def test_a_report_obeys_the_schema(name, request):
    """Full and nearly empty reports validate."""
    validate(json.loads(to_json(request.getfixturevalue(name))))


@pytest.mark.parametrize("name", [*RECORDS, *TOP])
def test_schema_and_records_name_the_same_keys(name):
    """A field added to one and not to the other is found here."""
    node = schema()["$defs"][name] if name in RECORDS else schema()["properties"][name]
    assert list(node["properties"]) == keys(RECORDS.get(name) or TOP[name])
    assert node["required"] == list(node["properties"])
    assert node["additionalProperties"] is False


def test_every_field_is_described():
    """No property of the schema goes without words."""

    def bare(node, where):
        if isinstance(node, dict):
            for key, child in node.get("properties", {}).items():
                if {"if", "then", "else"} & set(where.split("/")):
                    continue
                if "description" not in child and "$ref" not in child:
                    yield f"{where}/{key}"
            for key, child in node.items():
                yield from bare(child, f"{where}/{key}")

    assert list(bare(schema(), "")) == []


WRONG = {
    "schema 2": ("/schema", 2),
    "a number as text": ("/result/ram_bytes", "7984"),
    "a negative size": ("/result/flash_bytes", -1),
    "an accuracy of 101 %": ("/result/accuracy_int8", 101),
    "half an interval": ("/result/accuracy_interval", [88.0]),
    "an unknown verdict": ("/budget/met", "perhaps"),
    "not met without a violation": ("/budget/met", "no"),
    "an unknown kind": ("/provenance/~result~macs/kind", "guessed"),
    "an empty source": ("/provenance/~result~macs/source", ""),
    "a list as verification": ("/verification", []),
    "a layer without a name": ("/result/layers/0/name", None),
    "an unknown key": ("/result/colour", "red"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_the_schema_refuses(fault, example):
    """One thing wrong at a time."""
    wrong = to_document(example)
    pointer, value = WRONG[fault]
    *path, last = [k.replace("~", "/") for k in pointer.split("/")[1:]]
    place = wrong
    for key in path:
        place = place[int(key)] if isinstance(place, list) else place[key]
    place[last] = value
    with pytest.raises(ReportError):
        validate(wrong)


@pytest.mark.parametrize("key", ["schema", "tool", "result", "budget", "verification", "provenance", "details"])
def test_the_schema_misses(key, example):
    """No top-level key may be absent."""
    wrong = to_document(example)
    del wrong[key]
    with pytest.raises(ReportError):
        validate(wrong)


def test_every_number_says_where_it_is_from(example):
    """The numbers of baseline, result and steps, found by an independent walk, are those in provenance."""
    found = to_document(example)

    def numbers(value, pointer):
        if isinstance(value, dict):
            return [p for k, v in value.items() for p in numbers(v, f"{pointer}/{k}")]
        if isinstance(value, list):
            return [p for i, v in enumerate(value) for p in numbers(v, f"{pointer}/{i}")]
        return [pointer] if isinstance(value, int | float) and not isinstance(value, bool) else []

    needed = [p for key in ("baseline", "result", "steps") for p in numbers(found[key], f"/{key}")]
    assert len(needed) > 100
    assert set(needed) == {
        p for p in found["provenance"] if not p.startswith(("/details/", "/robustness/", "/energy/"))
    }
    assert found["provenance"]["/result/accuracy_interval/1"]["kind"] == "measured"
    assert found["provenance"]["/result/layers/0/instructions"]["kind"] == "emulated"


def test_a_number_without_provenance_is_refused(example):
    """And so is provenance of what is not there, or is no number."""
    whole = to_document(example)
    less = copy.deepcopy(whole)
    del less["provenance"]["/steps/2/ram_bytes"]
    with pytest.raises(ReportError, match="/steps/2/ram_bytes: a number without provenance"):
        validate(less)
    more = copy.deepcopy(whole)
    more["provenance"]["/result/cycles"] = {"kind": "measured", "source": "nobody"}
    with pytest.raises(ReportError, match="/result/cycles: provenance of what is no number"):
        validate(more)


def test_unknown_is_null(bare):
    """None is written as null, without provenance, and never as 0."""
    found = json.loads(to_json(bare))
    assert found["result"]["flash_bytes"] is None and found["verification"] is None
    assert found["result"]["accuracy_interval"] is None
    assert list(found["provenance"]) == ["/baseline/ram_bytes", "/result/ram_bytes"]


def test_zero_is_zero(example):
    """A known 0 keeps its provenance: a layer without MACs is not an unknown."""
    found = to_document(example)
    i = next(i for i, x in enumerate(found["result"]["layers"]) if x["op"] == "ADD")
    assert found["result"]["layers"][i]["macs"] == 0
    assert f"/result/layers/{i}/macs" in found["provenance"]


def test_same_bytes_twice(example):
    """Writing is a function of the report; reading and writing again changes nothing."""
    text = to_json(example)
    assert text == to_json(copy.deepcopy(example)) == to_json(from_json(text))
    assert text.endswith("}\n") and not text.endswith("\n\n")


def test_reading_gives_the_records_back(bare):
    """What is read is typed and equal, provenance included."""
    assert from_json(to_json(bare)) == bare


def test_floats_are_rounded_to_six_digits(bare):
    """So that a last bit of another machine does not change the file; numpy's scalars are numbers too."""
    side = Side(
        latency_ms_high=Measured(np.float64(12.345678901), "predicted", "x"),
        macs=Measured(np.int64(7), "exact", "y"),
    )
    found = to_document(replace(bare, result=side))["result"]
    assert (found["latency_ms_high"], found["macs"]) == (12.3457, 7)
    assert type(found["macs"]) is int


def test_nan_is_no_number(bare):
    """An unknown must be None: NaN and infinity are refused by place."""
    for x in (math.nan, math.inf):
        with pytest.raises(ReportError, match="/result/latency_ms: "):
            to_json(replace(bare, result=Side(latency_ms=Measured(x, "measured", "board"))))


def test_a_value_without_source_cannot_be_made():
    """Provenance is not optional."""
    with pytest.raises(AssertionError):
        Measured(1, "exact", "")


def test_write_and_read_a_folder(example, tmp_path):
    """Both files, nothing half-written beside them."""
    paths = write_report(example, tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["report.html", "report.json"]
    assert [p.name for p in paths] == ["report.json", "report.html"]
    assert to_json(read_report(tmp_path / "out")) == to_json(example)


def test_a_broken_report_writes_nothing(example, tmp_path):
    """The check stands before the first byte."""
    broken = replace(example, budget=replace(example.budget, met="no"))
    with pytest.raises(ReportError):
        write_report(broken, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_or_foreign_report_is_the_users_fault(tmp_path):
    """One line with the next step."""
    with pytest.raises(UserError, match="no report there"):
        read_report(tmp_path)
    for text in ('{"schema": 2}', "[]", "3", "{", ""):
        (tmp_path / "report.json").write_text(text)
        with pytest.raises(UserError, match="schema 1"):
            read_report(tmp_path)
