"""What is raised where an operator has no place in the canonical vocabulary."""

from __future__ import annotations


class Unsupported(Exception):
    """This operator, as it is used here, has no canonical form. The text is the reason."""
