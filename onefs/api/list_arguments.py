"""`accepts_lists`: a decorator for functions that, given a list in place of one value, answer with a list."""

from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def is_list(value: object) -> bool:
    """Whether a value is an iterable of values; not a text, dict, pandas frame or series."""
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        return False
    return not hasattr(value, "iloc")


def accepts_lists(function: Function) -> Function:
    """Have a function or method, given a list as its first argument, call itself for each member and return a list."""
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
