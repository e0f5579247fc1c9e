"""Calling a function for several arguments at once, in threads that hold up no interrupt and no end of the program."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from onefs.threads import Workers

T = TypeVar("T")


def each_result(function: Callable[..., T], at_once: int, *arguments: Sequence[Any]) -> list[T]:
    """What a function returns for each argument, or each of several together, in order.

    Raises what the first of them raises, without waiting for the others.
    """
    threads = Workers("onefs-load", at_once)
    try:
        results = [_begun(threads, partial(function, *each)) for each in zip(*arguments, strict=True)]
        return [result.result() for result in results]
    finally:
        threads.close()


def _begun(threads: Workers, function: Callable[[], T]) -> "Future[T]":
    result: Future[T] = Future()
    if not threads.submit(partial(_run, result, function)):
        raise RuntimeError("The machine gives no more threads to load files in.")
    return result


def _run(result: "Future[T]", function: Callable[[], T]) -> None:
    try:
        result.set_result(function())
    except BaseException as error:  # noqa: BLE001 - whoever waits raises it
        result.set_exception(error)
