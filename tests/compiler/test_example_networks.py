"""The pretrained networks of shared/data through the same door as everything else, with the loaders of docs/examples.

Nothing of the data is in the repository; without it these tests are skipped.
"""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from secateur.compiler.session import Request, Result, compile_to

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
CIFAR10 = f"{EXAMPLES / 'cifar10.py'}:loader"
DEVICES = ("qemu-riscv32", "qemu-cortex-m4", "qemu-xtensa", "esp32", "esp32c3")


@pytest.fixture(autouse=True)
def _loaders_read_the_same_folder(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECATEUR_DATA", str(shared_data))


def _mlperf(shared_data: Path) -> str:
    return str(shared_data / "mlperf_tiny" / "image_classification" / "pretrainedResnet_quant.tflite")


def _int8_percent_of_all_test_images(result: Result) -> float:
    """Validation and test are the halves of the 2,000 test images."""
    validation, test = result.compiled.after.validation, result.compiled.after.test
    assert validation is not None and test is not None
    halves = ((validation.int8_percent, len(validation.split)), (test.int8_percent, len(test.split)))
    assert sum(n for _, n in halves) == 2000
    return sum(percent * n for percent, n in halves) / 2000


def _litert_reference_percent(shared_data: Path) -> float:
    """The same file and images through an interpreter that shares no code with ours."""
    runtime = Interpreter(_mlperf(shared_data), experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    runtime.allocate_tensors()
    entry, end = runtime.get_input_details()[0], runtime.get_output_details()[0]
    right = 0
    with np.load(shared_data / "cifar10" / "cifar10_test2k.npz") as test:
        for image, label in zip(test["images"], test["labels"], strict=True):
            runtime.set_tensor(entry["index"], (image.astype(np.int16) - 128).astype(np.int8)[None])
            runtime.invoke()
            right += int(runtime.get_tensor(end["index"])[0].argmax() == label)
    return 100 * right / 2000


@pytest.mark.slow
@pytest.mark.emulator
@pytest.mark.parametrize("target", DEVICES)
def test_mlperf_resnet_as_it_is_runs_exactly_on_every_back_end(shared_data: Path, target: str, tmp_path: Path) -> None:
    """An int8 file that another converter wrote: exit 0 and no mismatch on each device."""
    result = compile_to(Request(_mlperf(shared_data), target), tmp_path / "out", print)
    comparison = result.compiled.after.deployed.comparison
    assert result.exit_code == 0
    assert comparison is not None and (comparison.samples, comparison.values, comparison.mismatches) == (32, 320, 0)


@pytest.mark.slow
def test_mlperf_resnet_has_its_published_accuracy(shared_data: Path, tmp_path: Path) -> None:
    """Image for image what LiteRT's reference kernels give: 86.95 % of the 2,000 test images.

    87.00 % is published, from XNNPACK, which rounds otherwise: one image of 2,000 differs. LiteRT's optimized
    kernels give 87.30 %. Seen data certifies nothing.
    """
    result = compile_to(Request(_mlperf(shared_data), "host", CIFAR10), tmp_path / "out", print)
    assert result.exit_code == 0
    found = _int8_percent_of_all_test_images(result)
    assert found == pytest.approx(_litert_reference_percent(shared_data), abs=1e-9)
    assert found == pytest.approx(87.0, abs=0.051)
    assert any("certify nothing" in note for note in result.compiled.notes)


@pytest.mark.slow
@pytest.mark.emulator
def test_resnet20_fits_256k_and_keeps_its_accuracy_in_int8(shared_data: Path, tmp_path: Path) -> None:
    """A factory and published weights to a Cortex-M4: exact, and within a point and a half of float on 400 images."""
    (tmp_path / "some.py").write_text(
        f"import runpy\nloader = runpy.run_path({str(EXAMPLES / 'cifar10.py')!r})['loader']\n"
        "def some():\n    every = loader()\n"
        "    return every | {k: every[k][:400] for k in ('x_test', 'y_test')}\n"
    )
    request = Request(
        f"{EXAMPLES / 'resnet20.py'}:factory", "qemu-cortex-m4", f"{tmp_path / 'some.py'}:some", max_ram="256K",
        quantization_aware="off",
        weights=shared_data / "cifar10" / "resnet20_akamaster.pt",
    )  # fmt: skip
    result = compile_to(request, tmp_path / "out", print)
    comparison = result.compiled.after.deployed.comparison
    assert result.exit_code == 0
    assert comparison is not None and comparison.mismatches == 0
    scores = [s for s in (result.compiled.after.validation, result.compiled.after.test) if s is not None]
    assert sum(len(s.split) for s in scores) == 400
    int8, floats = (np.mean([getattr(s, n) for s in scores]) for n in ("int8_percent", "float_percent"))
    assert int8 == pytest.approx(floats, abs=1.5) and floats == pytest.approx(92.4, abs=3)
    assert "certify nothing" in (tmp_path / "out" / "report.json").read_text()


def test_all_of_cifar_10_is_read_from_its_binary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Label first, then planes; the last images of every class choose; a folder that lacks a file is named."""
    full = runpy.run_path(str(EXAMPLES / "cifar10.py"))["full"]
    rng = np.random.default_rng(0)
    monkeypatch.setenv("SECATEUR_CIFAR10", str(tmp_path))
    for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
        with pytest.raises(FileNotFoundError, match="binary version"):
            full()
        rows = rng.integers(0, 256, (1010, 3073), dtype=np.uint8)
        rows[:, 0] = np.arange(1010) % 10
        rows.tofile(tmp_path / name)
    found = full()
    assert [len(found[f"x_{part}"]) for part in ("train", "validation", "test")] == [50, 5000, 1010]
    assert found["x_test"].shape[1:] == (32, 32, 3) and found["y_test"][3] == 3
    assert (found["x_test"][3, :, :, 1].ravel() == rows[3, 1 + 1024 : 1 + 2048]).all()
