"""What all tests share: where the data lies, and which tests run where."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
KINDS = ("emulator", "slow", "board", "gpu")


def pytest_configure() -> None:
    """One thread a process: tests run side by side, and spinning threads make each other wait."""
    import torch

    torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test with no other mark is a unit test; board and gpu tests without their hardware are skipped."""
    for item in items:
        marks = {m.name for m in item.iter_markers()}
        if not marks & set(KINDS):
            item.add_marker("unit")
        if "board" in marks and not os.environ.get("SECATEUR_PORT"):
            item.add_marker(pytest.mark.skip(reason="no board: name its serial port in SECATEUR_PORT"))
        if "gpu" in marks and not _gpu():
            item.add_marker(pytest.mark.skip(reason="torch sees no GPU"))


def _gpu() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the recorded data sets: SECATEUR_DATA, or shared/data beside the repository."""
    named = os.environ.get("SECATEUR_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        if named:
            pytest.fail(f"SECATEUR_DATA={named} is not a folder")
        pytest.skip("no shared/data beside the repository; name the folder in SECATEUR_DATA")
    return folder
