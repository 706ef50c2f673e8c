"""SisFall: is this 2.56 s window of a belt-worn sensor a fall? (38 people, 50 Hz, acceleration and rotation.)

Reads har/sisfall_50hz.npz from the folder SECATEUR_DATA, or ../shared/data beside the repository. A fall is the window
with the largest acceleration of a fall's recording; every fourth window of the daily activities is the rest. People who
did no falls (most of the elderly) are left out, so that every group has both classes.

    secateur bench pruning docs/examples/sisfall.py:network --data docs/examples/sisfall.py:recordings --folds 4 \\
        --metric balanced --target esp32c3 --shares 50,25 -o OUT
"""

import os
from pathlib import Path

import numpy as np


def folder():
    named = os.environ.get("SECATEUR_DATA")
    return Path(named) if named else Path(__file__).resolve().parents[2].parent / "shared" / "data"


def recordings():
    """Windows in g and deg/s, channels first; class 1 is a fall; the person is the group."""
    with np.load(folder() / "har" / "sisfall_50hz.npz") as file:
        codes = file["activity_codes"].astype(str)[file["activity"]]
        falls = np.char.startswith(codes, "F")
        fallers = np.isin(file["subject"], np.unique(file["subject"][falls]))
        daily = ~falls & (np.arange(len(falls)) % 4 == 0)
        kept = fallers & (daily | (falls & file["is_peak_window"]))
        x = file["windows"][kept].astype(np.float32) * file["scale"]
        return {"x": x.transpose(0, 2, 1), "y": falls[kept].astype(np.int64), "groups": file["subject"][kept]}


def network():
    """The residual network of `zoo:har-resnet`, for two classes and windows of 128."""
    from secateur.models.zoo.har import har_resnet

    return har_resnet(6, 2), {"input_shape": (6, 128), "labels": ("daily", "fall")}
