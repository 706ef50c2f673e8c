"""secateur: prune a trained network until it fits a device, then build, run and verify it there.

>>> import secateur
>>> secateur.Budget(ram_bytes=64 << 10).max_drop
1.0
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from secateur.compiler.api import Budget, Build, Extras, Result, SearchOptions, compile

__version__ = "0.1.0"
__all__ = ["compile", "Budget", "SearchOptions", "Build", "Extras", "Result"]


def __getattr__(name: str) -> Any:
    """The Python interface, on first use: importing secateur alone stays light."""
    if name not in __all__:
        raise AttributeError(f"module 'secateur' has no attribute {name!r}")
    from secateur.compiler import api

    return getattr(api, name)
