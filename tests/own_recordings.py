"""Recordings as a reader of docs/tutorial.md has them: a folder a class, a CSV file each, a column with the person."""

from __future__ import annotations

from pathlib import Path

import numpy as np

RATE_HZ = 50
PEOPLE = ("anna", "ben", "cleo", "dora", "emil", "finn", "gina", "hugo", "iris", "jan")
CLASSES = {
    "rest": (0.0, [0.0] * 6),
    "walk": (1.8, [0.2, 0.2, 0.5, 20, 60, 20]),
    "wave": (1.2, [0.9, 0.5, 0.2, 40, 40, 180]),
}
"""Swings a second, and how far they go on each axis."""


def write_recordings(root: Path, seconds: int = 20) -> Path:
    """Six axes in g and degrees a second: gravity, a swing at each person's own pace, noise."""
    random = np.random.default_rng(7)
    for label, (pace_hz, swing) in CLASSES.items():
        (root / label).mkdir(parents=True)
        for who in PEOPLE:
            time = np.arange(seconds * RATE_HZ) / RATE_HZ
            phase = 2 * np.pi * pace_hz * random.uniform(0.9, 1.15) * time[:, None] + random.uniform(0, 6.28, 6)
            size = random.uniform(0.7, 1.3) * random.uniform(0.7, 1, 6) * swing
            tilt = random.normal(0, 0.15, 3)
            still = np.concatenate([np.array([0, 0, 1]) + tilt, random.normal(0, 2, 3)])
            noise = random.normal(0, 1, (len(time), 6)) * [0.08, 0.08, 0.08, 9, 9, 9]
            rows = still + size * np.sin(phase) + noise
            lines = [f"{t:.2f},{who}," + ",".join(f"{v:.3f}" for v in row) for t, row in zip(time, rows, strict=True)]
            header = "t,who,ax,ay,az,gx,gy,gz"
            (root / label / f"{who}.csv").write_text("\n".join([header, *lines, ""]))
    return root
