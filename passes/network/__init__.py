"""Passes over a float Network: what can be removed, how similar the rest stays, the cut, the recovery."""
