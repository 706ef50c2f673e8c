"""report.html: one file, well formed, safe against names, and complete whatever is unknown."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from secateur.compiler.report.html import SHOWN_LAYERS, layer_bars, render, sources
from secateur.compiler.report.record import Confusion, Layer, Measured, Side, Verification

VOID = {"meta", "br", "link", "img", "input", "hr"}
EXTERNAL = ("src", "srcset", "data", "action", "poster", "xlink:href")


class Checker(HTMLParser):
    """Every start tag is closed in order; collects tags, text and what could load something."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.text, self.loads = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        assert len(attrs) == len(dict(attrs)), f"{tag} has an attribute twice"
        self.loads += [(tag, k, v) for k, v in attrs if k in EXTERNAL or (k == "href" and not v.startswith("#"))]
        if tag in ("script", "link", "iframe", "object", "embed", "img"):
            self.loads.append((tag, "", ""))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]} at {self.getpos()}"
        self.open.pop()

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text.append(data)


def parsed(text):
    checker = Checker()
    checker.feed(text)
    checker.close()
    assert checker.open == []
    return checker


def words(checker):
    return " ".join(" ".join(checker.text).split())


@pytest.mark.parametrize("name", ["example", "bare"])
def test_well_formed_and_self_contained(name, request):
    """No request leaves the page, and every tag is closed."""
    text = render(request.getfixturevalue(name))
    assert parsed(text).loads == []
    assert not re.search(r"https?:|//[a-z]|url\(|@import", text)


def test_same_bytes_twice(example):
    """Rendering is a function of the report."""
    assert render(example) == render(replace(example))


def test_met_says_how_and_what_never_ran(example):
    """The verdict is first, in words, and an emulator is not a board."""
    text = words(parsed(render(example)))
    assert "The budget is met." in text and "Nothing has run on silicon." in text
    assert "32 samples, 224 values, 0 mismatches" in text
    assert text.index("The budget is met.") < text.index("RAM 7.8 KiB of 8 KiB (emulated)") < text.index("Step by step")


def test_a_measured_verdict_does_not_deny_the_board(example):
    """With a board, the note on silicon goes."""
    text = words(parsed(render(replace(example, budget=replace(example.budget, met="measured")))))
    assert "Measured on a board." in text and "silicon" not in text


def test_not_met_names_limit_and_reason(bare):
    """A violation shows in the headline, with the sentence that explains it."""
    text = words(parsed(render(bare)))
    assert "The budget is not met: RAM." in text
    assert "block0.conv1 alone needs 12,288 bytes" in text


def test_a_mismatch_overrules_a_met_budget(example):
    """Wrong outputs are never a success."""
    wrong = replace(example, verification=Verification("TFLM", 32, 224, 3, "qemu"))
    text = words(parsed(render(wrong)))
    assert "The outputs are wrong." in text and "The budget is met" not in text


def test_unknowns_render_as_unknown(bare):
    """Zero steps, no run, no latency: said, and no section is a hole."""
    text = words(parsed(render(bare)))
    assert "Nothing was removed." in text
    assert "Outputs not compared with a golden runtime" in text
    assert "No data was given" in text
    assert "Latency limit 20.0 ms before unknown after unknown" in text
    assert "None" not in text and "nan" not in text


def test_nothing_known_at_all(bare):
    """Even an empty result renders."""
    parsed(render(replace(bare, baseline=Side(), result=Side())))


HOSTILE = "<script>alert(1)</script>\"'&</title></svg></style>{{ 7 * 7 }}"


def test_hostile_names_are_escaped(example):
    """Names of models, layers, tensors, labels, sources and units are text, wherever they stand."""
    d = example.details
    m = d.memory_result
    hostile = replace(
        example,
        target=replace(example.target, name=HOSTILE),
        result=replace(
            example.result,
            layers=(Layer(HOSTILE, HOSTILE, instructions=Measured(5, "emulated", HOSTILE)),),
            ram_bytes=Measured(5, "emulated", HOSTILE),
        ),
        steps=tuple(replace(s, unit=HOSTILE, pass_name=HOSTILE) for s in example.steps),
        verification=replace(example.verification, golden=HOSTILE),
        details=replace(
            d,
            model=HOSTILE,
            labels=(HOSTILE,) * 7,
            notes=(HOSTILE,),
            data=replace(d.data, name=HOSTILE),
            certificate=replace(d.certificate, why=HOSTILE),
            attempts=tuple(replace(a, name=HOSTILE, path=HOSTILE) for a in d.attempts),
            quantization_errors=tuple(replace(e, layer=HOSTILE) for e in d.quantization_errors),
            memory_result=replace(
                m,
                steps=(HOSTILE,) * len(m.steps),
                tensors=tuple(replace(t, tensor=HOSTILE) for t in m.tensors),
            ),
        ),
    )
    text = render(hostile)
    page, plain = parsed(text), parsed(render(example))
    assert page.loads == [] and "<script" not in text
    assert {t for t, _ in page.tags} <= {t for t, _ in plain.tags}
    assert HOSTILE in "".join(page.text), "shown as it is, escaped, and no template of ours runs in it"


def test_charts_speak(example):
    """Every chart has a role and a description, and its marks have titles."""
    page = parsed(render(example))
    charts = [a for t, a in page.tags if t == "svg" and "role" in a]
    assert len(charts) == 6 + 4
    assert all(a["role"] == "img" and len(a["aria-label"]) > 20 for a in charts)


def test_every_known_number_of_the_headline_has_a_tag(example):
    """exact, predicted, emulated or measured stands beside it, with the source in the title."""
    page = parsed(render(example))
    tags = [a for t, a in page.tags if a.get("class") == "tag" and "title" in a]
    assert len(tags) >= 2 * 13
    assert "sections of firmware.elf" in {a["title"] for a in tags}


def test_source_table_covers_all_provenance(example):
    """The grouped lines count every number once."""
    from secateur.compiler.report.document import to_document

    assert sum(s.numbers for s in sources(example)) == len(to_document(example)["provenance"])
    assert any(s.pointer == "/result/layers/*/instructions" and s.numbers == 15 for s in sources(example))


def test_layer_bars_fall_back_to_macs_and_say_so(example):
    """Without a run there are no instructions, and the bars are MACs."""
    static = replace(example.result, layers=tuple(replace(x, instructions=None) for x in example.result.layers))
    bars, unit = layer_bars(replace(example, result=static))
    assert unit == "MACs" and bars[0].width <= 100
    assert "Layers by MACs" in render(replace(example, result=static))


def test_many_layers_end_in_one_bar(example):
    """The rest is summed, so that the shares add up to all."""
    many = tuple(Layer(f"l{i}", "ADD", instructions=Measured(100 - i, "emulated", "x")) for i in range(60))
    bars, _ = layer_bars(replace(example, result=replace(example.result, layers=many)))
    assert len(bars) == SHOWN_LAYERS + 1 and bars[-1].name == "44 smaller layers"
    total = sum(int(b.text.replace(",", "")) for b in bars)
    assert total == sum(range(41, 101))


def test_many_classes_show_the_worst_confusions(example):
    """A matrix of a hundred classes is no picture; its largest confusions are."""
    counts = [[0] * 100 for _ in range(100)]
    for i in range(100):
        counts[i][i] = 9
    counts[7][3] = 5
    confusion = Confusion("test", "int8", tuple(map(tuple, counts)))
    labels = tuple(f"class {i}" for i in range(100))
    page = parsed(render(replace(example, details=replace(example.details, labels=labels, confusion_result=confusion))))
    assert "class 7 class 3 5" in words(page)


def test_one_step_and_equal_values(example):
    """A flat chart divides by nothing."""
    page = parsed(render(replace(example, steps=example.steps[:1])))
    assert "1 removal," in words(page)


def test_what_was_put_back_is_counted_as_such(example):
    """Growth's steps are a removal and what is put back."""
    first, *others = example.steps
    steps = (first, *(replace(s, pass_name="restore_layer") for s in others))
    said = words(parsed(render(replace(example, steps=steps))))
    assert f"1 removal, {len(others)} put back, in order" in said
    assert f"put back {others[0].unit}" in said
    assert f"{len(example.steps)} removals, in order" in words(parsed(render(example)))


def test_nothing_lost_has_no_sign(example):
    """Neither minus zero nor what rounds to it."""
    lost = replace(
        example.details.certificate,
        test_drop=Measured(-0.04, "measured", "test set"),
        test_drop_interval=Measured((-0.0, 0.0), "measured", "paired bootstrap"),
    )
    said = words(parsed(render(replace(example, details=replace(example.details, certificate=lost)))))
    assert "0.0 points, 90 % interval 0.0 to 0.0" in said and "-0.0" not in said
