"""From raw sensor samples to what a network takes, and from its outputs to decisions: integers, as in C."""
