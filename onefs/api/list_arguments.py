"""Lists in place of single values: what a function answers for one, it answers for each."""

from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def is_list(value: object) -> bool:
    """Whether this is an iterable of values, not one value: no text, dict, pandas frame or series."""
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        return False
    return not hasattr(value, "iloc")


def accepts_lists(function: Function) -> Function:
    """The function or method, answering a list for a list as its first argument."""
    names = function.__code__.co_varnames
    at = 1 if names[0] == "self" else 0

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        value = args[at] if len(args) > at else kwargs.pop(names[at], None)
        before, behind = args[:at], args[at + 1 :]
        if is_list(value):
            return [call(*before, each, *behind, **kwargs) for each in value]
        return function(*before, value, *behind, **kwargs)

    return call  # type: ignore[return-value]
