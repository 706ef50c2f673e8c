"""UTD-MHAD2 (8 people, 6 activities, 1 s windows of acceleration in g and rotation in deg/s at 50 Hz).

Reads har/utd_mhad2_loso.npz from the folder SECATEUR_DATA, or ../shared/data beside the repository.

    secateur bench loso docs/examples/utd_mhad2.py:recordings --target esp32c3 --max-latency 100ms -o OUT
    SECATEUR_LEFT_OUT=3 secateur compile zoo:har-resnet --data docs/examples/utd_mhad2.py:loader ...
"""

import os
from pathlib import Path

import numpy as np


def folder():
    named = os.environ.get("SECATEUR_DATA")
    return Path(named) if named else Path(__file__).resolve().parents[2].parent / "shared" / "data"


def recordings():
    """All windows, channels first, with the person as group: what `bench loso` divides."""
    with np.load(folder() / "har" / "utd_mhad2_loso.npz") as file:
        return {"x": file["windows"].transpose(0, 2, 1), "y": file["labels"], "groups": file["subjects"]}


def loader():
    """One fold for `--data`: person SECATEUR_LEFT_OUT (0 by default) is the test set, the next two validation."""
    found = recordings()
    people = np.unique(found["groups"])
    left_out = int(os.environ.get("SECATEUR_LEFT_OUT", "0"))
    parts = {"test": [people[left_out]], "validation": people[(left_out + np.array([1, 2])) % len(people)]}
    parts["train"] = np.setdiff1d(people, np.concatenate(list(parts.values())))
    fold = {}
    for part, members in parts.items():
        mask = np.isin(found["groups"], members)
        fold |= {f"{key}_{part}": found[key][mask] for key in ("x", "y", "groups")}
    return fold
