"""`warns_when_stale`: a decorator that warns if a cached answer was used because the server cannot be reached."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar
from warnings import warn

from onefs.outages import noting_stale_answers

P = ParamSpec("P")
T = TypeVar("T")


def warns_when_stale(function: Callable[P, T]) -> Callable[P, T]:
    """Have a function give a `RuntimeWarning` if it used cached answers of a server that cannot be reached."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with noting_stale_answers() as freshness:
            found = function(*args, **kwargs)
        if freshness.outage is not None:
            warn(f"{freshness.outage.reason} An earlier answer is used.", RuntimeWarning, stacklevel=3)
        return found

    return call
