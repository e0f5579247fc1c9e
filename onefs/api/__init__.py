"""onefs for Python programs, with the names, arguments and answers of ONE."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onefs.api.factory import ONE
    from onefs.api.one import One
    from onefs.api.one_alyx import OneAlyx

__all__ = ["ONE", "One", "OneAlyx"]


def __getattr__(name: str) -> Any:
    """The classes, imported when they are first asked for."""
    if name == "ONE":
        from onefs.api.factory import ONE as FACTORY

        return FACTORY
    if name == "One":
        from onefs.api.one import One

        return One
    if name == "OneAlyx":
        from onefs.api.one_alyx import OneAlyx

        return OneAlyx
    raise AttributeError(f"module 'onefs.api' has no attribute {name!r}")
