"""onefs mounts an ALF archive as a file system of verified data, and opens it to Python: `from onefs import ONE`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onefs.api import ONE, One, OneAlyx

__all__ = ["ONE", "One", "OneAlyx"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`ONE`, `One` and `OneAlyx`, imported when they are first asked for: the commands do without them."""
    if name in __all__:
        from onefs import api

        return getattr(api, name)
    raise AttributeError(f"module 'onefs' has no attribute {name!r}")
