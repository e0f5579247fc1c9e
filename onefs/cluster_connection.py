"""Connecting to a Dask scheduler, and checking that its cluster can run tasks of this version of onefs."""

import json
import logging
import shlex
import threading
import time
import warnings
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

from onefs.errors import ClusterError, UsageError
from onefs.progress import report, warn

if TYPE_CHECKING:
    from distributed import Client

CONNECT_S = 10.0
"""How long to try to connect, unless dask's configuration has less."""
WRITTEN_S = 0.5
"""How long a scheduler may take to finish writing its file."""
_START_ONE = "Start a scheduler and workers there (dask scheduler, dask worker), or correct --scheduler."
_log = logging.getLogger(__name__)


def connect(scheduler: str) -> "Client":
    """A client of the scheduler. Raises `ClusterError` if there is none, within a bounded time."""
    try:
        import dask
        from dask.utils import parse_timedelta
        from distributed import Client
    except ModuleNotFoundError as error:
        raise UsageError(
            f"The package {error.name} is not installed, which --scheduler needs.", "Run: pip install 'onefs[cluster]'"
        ) from error
    _silence()
    address = _address_in(Path(scheduler)) if scheduler.endswith(".json") else scheduler
    _check_address(address, scheduler)
    report(f"connecting to the Dask scheduler at {scheduler}")
    timeout_s = min(parse_timedelta(dask.config.get("distributed.comm.timeouts.connect")), CONNECT_S)
    connected: Future[Client] = Future()

    def begin() -> None:
        try:
            connected.set_result(Client(address, timeout=timeout_s, set_as_default=False))
        except Exception as error:  # noqa: BLE001 - raised where the result is asked for
            connected.set_exception(error)

    # In a thread: distributed waits forever for the first word of a server that accepts and stays silent.
    threading.Thread(target=begin, name="onefs-cluster", daemon=True).start()
    try:
        return connected.result(2 * timeout_s)
    except Exception as error:
        why = str(error) or "it accepts connections but does not answer"
        raise ClusterError(f"No Dask scheduler answers at {scheduler}: {why}.", _START_ONE) from error


def _check_address(address: str, scheduler: str) -> None:
    """Raise `UsageError` if an address cannot be one. A client that is begun with it takes long to end."""
    from distributed.comm.addressing import get_address_host

    try:
        get_address_host(address)
    except ValueError as error:
        remedy = "Write HOST:PORT, tcp://HOST:PORT, or the path of a scheduler file, FILE.json."
        raise UsageError(f"{scheduler!r} is not the address of a Dask scheduler: {error}.", remedy) from error


def _silence() -> None:
    """Keep the log of distributed off the terminal: its failures are raised as errors, too."""
    from distributed.versions import VersionMismatchWarning

    for name in ("distributed", "distributed.client", "distributed.gc", "tornado.application"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore", VersionMismatchWarning)


def _address_in(file: Path) -> str:
    """The address in a scheduler file. Waits for one that is just being written."""
    try:
        end_s = time.monotonic() + WRITTEN_S
        while not (text := file.read_text(encoding="utf-8")).rstrip().endswith("}") and time.monotonic() < end_s:
            time.sleep(0.01)
        return str(json.loads(text)["address"])
    except OSError as error:
        why = (error.strerror or "unknown").lower()
        remedy = "Start the scheduler with: dask scheduler --scheduler-file FILE.json"
    except (ValueError, KeyError, TypeError):
        why, remedy = "it is no scheduler file", "Give the file that the scheduler writes."
    raise UsageError(f"The address of the Dask scheduler cannot be read from {file}: {why}.", remedy)


def await_workers(client: "Client", scheduler: str, longest_s: float) -> None:
    """Wait until there is a worker. Raises `ClusterError` if none comes."""
    if client.nthreads():
        return
    report(f"waiting for workers of the Dask scheduler at {scheduler}")
    try:
        client.wait_for_workers(1, timeout=longest_s)
    except TimeoutError as error:
        raise no_workers(scheduler) from error


def check_versions(client: "Client") -> None:
    """Raise `ClusterError` if a part of the cluster has no onefs, or another version of it or of Python."""
    found = client.get_versions(packages=["onefs"])
    ours = found["client"]["packages"]
    parts = {"the scheduler": found["scheduler"]}
    parts |= {f"the worker {address}": worker for address, worker in found["workers"].items()}
    for part, told in parts.items():
        theirs = told["packages"]
        if theirs.get("onefs") is None:
            raise without_onefs(part)
        for package, here, there in (
            ("onefs", ours["onefs"], theirs["onefs"]),
            ("Python", *(".".join(each["python"].split(".")[:2]) for each in (ours, theirs))),
        ):
            if here != there:
                raise other_versions(package, here, part, there)
        if ours["distributed"] != theirs["distributed"]:
            warn(_log, f"distributed is {ours['distributed']} here and {theirs['distributed']} on {part}.")


def no_workers(scheduler: str) -> ClusterError:
    return ClusterError(
        f"The Dask scheduler at {scheduler} has no workers.", f"Start some: dask worker {shlex.quote(scheduler)}"
    )


def without_onefs(part: str) -> ClusterError:
    return ClusterError(f"onefs is not installed on {part}.", "Install it there: pip install 'onefs[cluster]'")


def other_versions(package: str, here: str, part: str, there: str) -> ClusterError:
    return ClusterError(
        f"{package} is {here} here and {there} on {part}.", "Use the same environment for all parts of the cluster."
    )
