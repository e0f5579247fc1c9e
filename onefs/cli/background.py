"""Owns going to the background: the caller waits until the daemon is usable, or learns why it is not."""

import os
import signal
import sys
from collections.abc import Callable

from onefs.errors import OnefsError, UsageError

_READY = b"ready"


def in_background(serve: Callable[[Callable[[], None]], None]) -> None:
    """Run `serve` in a process of its own and return once it calls what it is given.

    Raises what `serve` raised before that, as an `OnefsError` with the same words.
    """
    reader, writer = os.pipe()
    # What the daemon and its helpers print. If they held our own standard error, whoever reads it to its end
    # would wait for the end of the mount.
    said = os.memfd_create("onefs")
    child = os.fork()
    if child:
        os.close(writer)
        with os.fdopen(reader, "rb") as answers, os.fdopen(said, "rb") as words:
            try:
                answer = answers.read()
            except KeyboardInterrupt:
                os.kill(child, signal.SIGTERM)  # it has a session of its own, so the terminal did not tell it
                raise
            words.seek(0)
            sys.stderr.buffer.write(words.read())
            sys.stderr.flush()
        _relay(answer)
        return
    os.close(reader)
    os._exit(_child(serve, writer, said))


def _relay(answer: bytes) -> None:
    if answer == _READY:
        return
    if not answer:
        raise OnefsError("The daemon ended before it was usable.", "Run it with --foreground to see why.")
    kind, reason, remedy = answer.decode(errors="replace").split("\0")
    raise (UsageError if kind == UsageError.__name__ else OnefsError)(reason, remedy)


def _child(serve: Callable[[Callable[[], None]], None], writer: int, said: int) -> int:
    answered = False

    def answer(*words: str) -> None:
        nonlocal answered
        if not answered:
            os.write(writer, "\0".join(word.replace("\0", " ") for word in words).encode(errors="replace"))
            os.close(writer)
            answered = True

    def ready() -> None:
        answer(_READY.decode())
        os.chdir("/")
        for stream in (1, 2):
            os.dup2(null, stream)

    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        for stream in (1, 2):
            os.dup2(said, stream)
        serve(ready)
    except OnefsError as error:
        answer(type(error).__name__, error.reason, error.remedy)
        return 1
    except BaseException as error:  # noqa: BLE001 - the process ends here, and somebody waits for its word
        answer("", f"Unforeseen failure: {error!r}.", "Run it with --foreground to see more.")
        return 1
    return 0
