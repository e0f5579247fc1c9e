"""The life of one daemon, from a source's name to the end of its mount."""

import contextlib
import gc
import logging
import pwd
import resource
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from onefs import memory
from onefs.archive.opening import opened
from onefs.daemon import logs, run_as, signals
from onefs.daemon.service import Service
from onefs.daemon.stacks import StackWriter
from onefs.errors import MountError, OnefsError
from onefs.fuse import mounting
from onefs.fuse.mounters import Mounter
from onefs.fuse.root_helper import RootHelper
from onefs.settings import Settings
from onefs.sources.logins import read_files
from onefs.sources.source import Source, prepare

_log = logging.getLogger(__name__)


def serve(
    source_name: str,
    settings: Settings,
    mountpoint: Path,
    ready: Callable[[], None],
    stacks: StackWriter,
    *,
    log_to_file: bool,
    shown_as: str = "",
    instead: Callable[[Source], Source] = lambda source: source,
) -> None:
    """Mount a source and serve it until it is unmounted or a signal ends it. Raises any `OnefsError`.

    `shown_as` is the source in the kernel's table of mounts, "" for its own name. `instead` gives what is to be mounted
    in place of the source, once that is ready. `stacks` is told of the mount.
    """
    memory.keep_pandas_out()
    _raise_file_limit()
    user = run_as.user_of(settings)
    mounting.check_machine()
    mounting.check_mountpoint(mountpoint)
    signals.unwind()
    if not log_to_file:
        logs.install(settings.log, None)
    with _root_given_up(user, mountpoint, settings) as (mounter, settings), opened(source_name, settings) as source:
        mounter.shown_as = shown_as
        _check_apart(source, mountpoint)
        prepare(source)
        log_file = source.state_dir / logs.file_name(mountpoint) if log_to_file else None
        if log_file is not None:
            logs.install(settings.log, log_file)
        try:
            service = Service(instead(source), settings, mounter, log_file)
            stacks.observe(service)
            _collect_rarely()
            service.run(ready)
        except OnefsError as error:
            if log_to_file:  # whoever started it prints the error, too
                _log.error("%s", error)
            raise
        except Exception:
            _log.exception("The daemon ended")
            raise


@contextlib.contextmanager
def _root_given_up(
    user: pwd.struct_passwd | None, mountpoint: Path, settings: Settings
) -> Iterator[tuple[Mounter, Settings]]:
    """A block that runs as that user, with the settings for it and what mounts; as it is if there is none."""
    if user is None:
        yield Mounter(mountpoint), settings
        return
    settings = replace(read_files(settings), allow_other=True)
    mounter = RootHelper(mountpoint, user.pw_uid, user.pw_gid)
    try:
        run_as.become(user)
        if settings.cache_dir:
            run_as.check_cache(settings.cache_dir, user)
        yield mounter, settings
    finally:
        mounter.close()


def _collect_rarely() -> None:
    """Keep the garbage collector to young objects: a look at all nodes that are kept stops every reader for 0.2 s."""
    gc.freeze()
    gc.set_threshold(10_000, 5, 1000)


def _check_apart(source: Source, mountpoint: Path) -> None:
    """Raise `MountError` if the mount would cover what it reads: the daemon would wait for itself."""
    covered = mountpoint.parent.resolve() / mountpoint.name
    for place in (source.data_dir, source.state_dir, source.tables_dir):
        if place.resolve().is_relative_to(covered):
            raise MountError(
                f"{place} lies inside the mountpoint {mountpoint}.", "Choose another mountpoint, or --cache-dir."
            )


def _raise_file_limit() -> None:
    """Allow as many open files as this process may have: each open file of the mount, and each connection, is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # where even that is more than the kernel now gives
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
