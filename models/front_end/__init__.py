"""From raw samples to what a network takes, and from its outputs to decisions: integers, the same in Python and C."""
