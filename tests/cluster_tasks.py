"""Functions that tests run on the workers of a cluster."""

import os
import uuid
from pathlib import Path

from waiting import wait_until

from onefs.cluster import is_wanted
from onefs.errors import MismatchError


def new_id(*arguments: object) -> str:
    """Another text at each call."""
    del arguments
    return uuid.uuid4().hex


def fail(path: str) -> None:
    """Fail as tasks of onefs do."""
    raise MismatchError(f"{path} is wrong.", "Look at it.", retry_after_s=2.0)


def pid_once_there(started: str, file: str) -> int:
    """Tell of the start in a folder; the process's number, once a file is there."""
    Path(started, str(os.getpid())).touch()
    wait_until(Path(file).exists)
    return os.getpid()


def end_process() -> None:
    """End the worker, as running out of memory does."""
    os._exit(1)


def touch_when_unwanted(started: str, file: str) -> None:
    """Run until nobody waits for it any more, and tell so by a file."""
    Path(started).touch()
    wait_until(lambda: not is_wanted())
    Path(file).touch()


def host() -> str:
    """The address of the worker, without the port."""
    from distributed import get_worker

    return str(get_worker().address).rpartition(":")[0]
