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
from onefs.cache.sharing import refuse_shared
from onefs.daemon import logs, run_as, signals
from onefs.daemon.service import Service
from onefs.daemon.stacks import StackWriter
from onefs.errors import MountError, OnefsError
from onefs.fuse import mounting
from onefs.fuse.mounters import GivenMount, Mounter, is_given
from onefs.fuse.root_helper import RootHelper
from onefs.settings import Settings
from onefs.sources.logins import read_files
from onefs.sources.source import Source, check_cache_dir, prepare

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
    mounted_at: Path | None = None,
    instead: Callable[[Source], Source] = lambda source: source,
) -> None:
    """Mount a source and serve it until it is unmounted or a signal ends it. Raises any `OnefsError`.

    `mountpoint` may be `/dev/fd/N`, the open connection of a mount that somebody else made; `mounted_at` is the folder
    that is mounted, if the kernel cannot tell. `shown_as` is the source in the kernel's table of mounts, "" for its
    own name. `instead` returns the source to mount in place of the prepared one. `stacks` writes the mount's state.
    """
    memory.keep_pandas_out()
    _raise_file_limit()
    user = run_as.user_of(settings)
    given = GivenMount(mountpoint, mounted_at) if is_given(mountpoint) else None
    if given is not None:
        mountpoint = given.mountpoint
    else:
        mounting.check_machine()
        mounting.check_mountpoint(mountpoint)
    signals.unwind()
    log = None if log_to_file else logs.install(settings.log, None, settings.log_format)
    if user is not None:
        settings = replace(read_files(settings), allow_other=True)
    with (
        contextlib.closing(_mounter(mountpoint, given, user, allow_other=settings.allow_other)) as mounter,
        _opened(source_name, settings, user) as source,
    ):
        mounter.shown_as = shown_as
        _check_apart(source, mountpoint)
        if source.is_cache:
            refuse_shared(source.data_dir, serves_others=settings.allow_other, is_trusted=settings.trust_cache)
        prepare(source)
        if log is None:
            log = logs.install(settings.log, source.state_dir / logs.file_name(mountpoint), settings.log_format)
        with _failures_logged(is_foreground=not log_to_file):
            service = Service(instead(source), settings, mounter, log)
            stacks.observe(service)
            _collect_rarely()
            service.run(ready)


@contextlib.contextmanager
def _failures_logged(*, is_foreground: bool) -> Iterator[None]:
    """A block whose failures are logged. In the foreground an `OnefsError` is not: it is printed where the log goes."""
    try:
        yield
    except OnefsError as error:
        if not is_foreground:
            _log.error("%s", error)
        raise
    except Exception:
        _log.exception("The daemon ended")
        raise


def _mounter(
    mountpoint: Path, given: GivenMount | None, user: pwd.struct_passwd | None, *, allow_other: bool
) -> Mounter:
    """The mounter for a daemon that runs as that user, None for the user of this process."""
    if given is not None:
        return given
    if user is not None:
        return RootHelper(mountpoint, user.pw_uid, user.pw_gid)
    return Mounter(mountpoint, allow_other=allow_other)


@contextlib.contextmanager
def _opened(source_name: str, settings: Settings, user: pwd.struct_passwd | None) -> Iterator[Source]:
    """As `opened`, after this process has become that user."""
    if user is not None:
        run_as.become(user)
    if settings.cache_dir:
        check_cache_dir(settings.cache_dir)
    with opened(source_name, settings) as source:
        yield source


def _collect_rarely() -> None:
    """Keep the garbage collector to young objects: a look at all nodes that are kept stops every reader for 0.2 s."""
    gc.freeze()
    gc.set_threshold(10_000, 5, 1000)


def _check_apart(source: Source, mountpoint: Path) -> None:
    """Raise `MountError` if the mount would cover what it reads: the daemon would wait for itself."""
    covered = mounting.place(mountpoint)
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
