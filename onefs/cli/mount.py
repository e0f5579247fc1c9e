"""`onefs mount`: mount an archive, in the background once it is usable."""

import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onefs.cli.background import in_background
from onefs.cli.completion import complete_sources
from onefs.cli.options import PATH, CommandWithSettings, settings_from, with_settings
from onefs.cli.printing import complain
from onefs.cli.progress import Shown
from onefs.daemon import systemd
from onefs.daemon.stacks import StackWriter
from onefs.errors import OnefsError, UsageError
from onefs.settings import Settings
from onefs.sources.names import SYSTEM_FOLDER, Named, is_name, look_up

if TYPE_CHECKING:
    from onefs.sources.source import Source


@click.command("mount", cls=CommandWithSettings)
@click.argument("source", shell_complete=complete_sources)
@click.argument("mountpoint", type=PATH, required=False)
@click.option("--foreground", "-f", is_flag=True, help="stay in the foreground and log to standard error")
@click.option("--mounted-at", type=PATH, metavar="PATH", help="the folder that is mounted, if MOUNTPOINT is /dev/fd/N")
@with_settings
def command(source: str, mountpoint: Path | None, foreground: bool, mounted_at: Path | None, **flags: Any) -> None:
    """Mount SOURCE at MOUNTPOINT.

    SOURCE is the URL of an Alyx database, a name given by onefs setup, openalyx, the URL of a folder with cache
    tables (https:// or s3://), such a folder on this machine, or demo. A folder on this machine that has no tables is
    indexed first. MOUNTPOINT is an empty directory; leave it out if the file of a name has a line mountpoint = "…". It
    may be /dev/fd/N, an open /dev/fuse that is mounted already.
    """
    try:
        named = look_up(source)
        place = mountpoint or _mountpoint_of(source, named)
        settings = settings_from(flags, named.file)
        mount(
            named.source, settings, place.absolute(), foreground=foreground, mounted_at=mounted_at or named.mountpoint
        )
    except OnefsError as error:
        complain(str(error), systemd.ERROR_PREFIX if systemd.is_journal() else "")
        raise click.exceptions.Exit(systemd.failed(error)) from error


def _mountpoint_of(source: str, named: Named) -> Path:
    """The mountpoint in a name's file; makes the directory if it is missing. Raises `UsageError`."""
    if named.mountpoint is not None:
        _make(named.mountpoint)
        return named.mountpoint
    if named.file is not None:
        raise UsageError(
            f"{named.file} does not say where {source} is mounted.",
            f'Give MOUNTPOINT, or add a line to it: mountpoint = "/mnt/{source}".',
        )
    file = f", and there is no {SYSTEM_FOLDER}/{source}.toml that says it" if is_name(source) else ""
    raise UsageError(f"No MOUNTPOINT is given{file}.", "Give an empty directory: onefs mount SOURCE MOUNTPOINT")


def _make(mountpoint: Path) -> None:
    """Make a directory that every user may enter, unless it exists. Mounting reports it if this fails."""
    umask = os.umask(0o022)
    try:
        with suppress(OSError):
            mountpoint.mkdir(parents=True, exist_ok=True)
    finally:
        os.umask(umask)


def mount(
    source: str,
    settings: Settings,
    mountpoint: Path,
    *,
    foreground: bool,
    shown_as: str = "",
    mounted_at: Path | None = None,
    instead: "Callable[[Source], Source]" = lambda source: source,
) -> None:
    """Serve until the end in the foreground, or return once the mountpoint is usable.

    The other arguments are those of `running.serve`.
    """

    def serve(ready: Callable[[], None]) -> None:
        stacks = StackWriter()
        from onefs.daemon.running import serve

        serve(
            source,
            settings,
            mountpoint,
            ready,
            stacks,
            log_to_file=not foreground,
            shown_as=shown_as,
            mounted_at=mounted_at,
            instead=instead,
        )

    if foreground:
        with ExitStack() as showing:
            showing.enter_context(Shown())
            showing.enter_context(systemd.StartSteps())
            serve(showing.close)
    else:
        in_background(serve)
