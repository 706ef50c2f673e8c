"""secateur: prune a trained network until it fits a device, then build, run and verify it there."""

__version__ = "0.1.0"
