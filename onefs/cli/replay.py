"""`onefs replay`: whether an archive still gives what was read, and a mount or a folder of exactly that."""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onefs.cli.completion import complete_sources
from onefs.cli.mount import mount
from onefs.cli.options import PATH, CommandWithSettings, settings_from, with_settings_of
from onefs.cli.printing import complain, say
from onefs.cli.verb_settings import MOUNT_ONLY, REPLAY
from onefs.errors import GoneError, MismatchError, MissingOnServerError, NotInCatalogueError, OnefsError, UsageError
from onefs.settings import Settings
from onefs.sources.names import look_up
from onefs.text import counted, visible

if TYPE_CHECKING:
    from onefs.daemon.fates import Report
    from onefs.daemon.handing_over import Missing, Progress
    from onefs.daemon.recorded import Recorded

MANY = 20
LASTING = (MismatchError, MissingOnServerError, GoneError, NotInCatalogueError)
"""Failures that the same command would meet again."""

AGAIN = "Give the same command again to go on."
NOT_AS_READ = "The others are not to be had as they were read: ask whoever keeps the archive."
HOLDING = ("auto", "strict")


@click.command("replay", cls=CommandWithSettings)
@click.argument("manifest", type=PATH)
@click.option(
    "--source",
    metavar="SOURCE",
    shell_complete=complete_sources,
    help="where the datasets are to be had, if not where the manifest says",
)
@click.option("--check", is_flag=True, help="tell whether the archive still gives the same bytes  [without the others]")
@click.option("--mount", "mountpoint", type=PATH, metavar="DIR", help="mount a tree of exactly the datasets at DIR")
@click.option("--fetch", "folder", type=PATH, metavar="DIR", help="fetch exactly the datasets into the folder DIR")
@click.option("--json", "as_json", is_flag=True, help="print JSON, for programs; with --check")
@click.option("--foreground", "-f", is_flag=True, help="stay in the foreground, with --mount")
@with_settings_of(REPLAY)
def command(
    manifest: Path,
    source: str | None,
    check: bool,
    mountpoint: Path | None,
    folder: Path | None,
    as_json: bool,
    foreground: bool,
    **flags: Any,
) -> None:
    """Have again what a recording's MANIFEST says was read.

    --check, the default, downloads nothing: it compares hashes and sizes with the newest tables of the archive. Each
    dataset is the same; the same with a newer default edition beside it; changed; unknown, if nothing tells; or gone.
    The exit code is 0 if all are of the first two kinds, else 1.

    --mount shows every edition that was read, and with --view default the one of each file that was the default then.
    --mount and --fetch give the bytes that the manifest says, verified by its hashes, also where the archive no longer
    lists them but its servers have them still. The folder that --fetch makes has tables of its own, so that
    onefs mount and One(cache_dir=DIR, mode='local') open it; if it was interrupted, or something could not be had, the
    same command goes on. The exit code is 1 if something could not be had.
    """
    if sum((check, mountpoint is not None, folder is not None)) > 1:
        raise UsageError("--check, --mount and --fetch are three things.", "Give one of them.")
    own = {"json": as_json, "foreground": foreground}
    _check_options(flags | own, is_check=not (mountpoint or folder), is_mount=mountpoint is not None)
    from onefs.daemon.recorded import read_recorded
    from onefs.daemon.replaying import settings_of_replay

    named = look_up(source) if source else None
    recorded = read_recorded(manifest, named.source if named else "")
    settings = settings_from(flags, named.file if named else None)
    settings = settings_of_replay(settings, settings.view if flags["view"] else "full")
    if mountpoint is not None:
        _mount(recorded, settings, mountpoint.absolute(), foreground=foreground)
    elif folder is not None:
        _fetch(recorded, settings, folder)
    else:
        _check(recorded, settings, as_json=as_json)


def _check_options(flags: Mapping[str, Any], *, is_check: bool, is_mount: bool) -> None:
    """Raise `UsageError` for an option that would change nothing, so that nobody believes that it did."""
    if flags["verify"] not in (None, *HOLDING):
        raise UsageError(
            f"--verify {flags['verify']} has no meaning here: a replay gives the bytes of its manifest, or none.",
            f"Leave it out, or give one of {', '.join(HOLDING)}.",
        )
    for key in () if is_mount else (*sorted(MOUNT_ONLY), "foreground"):
        if flags[key]:
            raise UsageError(f"{_flag(key)} is about a mount.", "Give it with --mount DIR, or leave it out.")
    if flags["json"] and not is_check:
        raise UsageError("--json is about the check.", "Give it with --check, or leave it out.")


def _flag(key: str) -> str:
    return "--" + key.replace("_", "-")


def _check(recorded: "Recorded", settings: Settings, *, as_json: bool) -> None:
    from onefs.daemon.replaying import check

    report = check(recorded, settings)
    if as_json:
        facts = [finding.facts() for finding in report.findings]
        told = {"source": recorded.source, "tables": report.created, "warning": report.warning, "datasets": facts}
        click.echo(json.dumps(told, indent=1))
    else:
        _print(report)
    others = sum(not finding.is_same for finding in report.findings)
    if others:
        raise OnefsError(
            f"{others} of {counted(len(report.findings), 'dataset')} cannot be shown to be what was read.",
            "Try onefs replay with --mount or --fetch, which ask the servers themselves.",
        )


def _print(report: "Report") -> None:
    if report.warning:
        complain(report.warning)
    width = max(len(finding.fate) for finding in report.findings)
    for finding in report.findings:
        note = f"  ({finding.note})" if finding.note else ""
        click.echo(f"{finding.fate:<{width}}  {visible(finding.entry.path)}{visible(note)}")
    click.echo(f"By the tables of {report.created}: {report.counts()}.")


def _mount(recorded: "Recorded", settings: Settings, mountpoint: Path, *, foreground: bool) -> None:
    from onefs.daemon.replaying import source_of_replay

    mount(
        recorded.source,
        settings,
        mountpoint,
        foreground=foreground,
        instead=lambda source: source_of_replay(recorded, source, settings, _tell),
    )


def _fetch(recorded: "Recorded", settings: Settings, folder: Path) -> None:
    from onefs.daemon.handing_over import hand_over

    missing = hand_over(recorded, settings, folder, _shown_progress(), _tell)
    count = len(recorded.datasets)
    if missing:
        _tell_missing(missing)
        raise OnefsError(
            f"{folder} holds {count - len(missing)} of {counted(count, 'dataset')}.",
            NOT_AS_READ if all(isinstance(each.error, LASTING) for each in missing) else AGAIN,
        )
    say(f"{folder} holds {'the one dataset' if count == 1 else f'all {count} datasets'}.")


def _tell_missing(missing: "list[Missing]") -> None:
    for each in missing[:MANY]:
        complain(str(each.error))
    if len(missing) > MANY:
        complain(f"{len(missing) - MANY} more could not be had.")


def _tell(sentence: str) -> None:
    complain(sentence)


def _shown_progress() -> "Callable[[Progress], None]":
    """On a terminal one line that is written again and again; elsewhere a line at each tenth."""
    is_terminal = sys.stderr.isatty()
    told = -1

    def show(progress: "Progress") -> None:
        nonlocal told
        text = f"{progress.files} of {counted(progress.all_files, 'dataset')}, {progress.bytes / 1e6:.1f} MB"
        if is_terminal:
            end = "\n" if progress.files == progress.all_files else ""
            click.echo(f"\r\x1b[K{text}{end}", nl=False, err=True)
            return
        tenth = 10 * progress.files // progress.all_files
        if tenth != told:
            told = tenth
            click.echo(text, err=True)

    return show
