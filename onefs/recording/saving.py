"""Saving a recording: ids in a file as ONE writes them, with a manifest beside it."""

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from onefs.cache.atomic import NO_ROOM
from onefs.errors import NoRoomError, NotSavedError, OnefsError
from onefs.recording.manifest import Entry, manifest_text

LONGEST_LABELS = 120
_ELSEWHERE = "save elsewhere: onefs record save --to DIR"


class Saved(NamedTuple):
    """The files that a recording was saved in."""

    ids: Path
    manifest: Path


def datasets_csv(entries: Iterable[Entry]) -> str:
    """Ids of the datasets, sorted and unique, as ONE writes them."""
    return "".join(f"{line}\n" for line in ("dataset_uuid", *sorted({str(entry.id) for entry in entries})))


def sessions_csv(entries: Iterable[Entry]) -> str:
    """Ids of the sessions that the datasets are of, sorted and unique, as ONE writes them."""
    eids = sorted({str(entry.eid) for entry in entries if entry.eid is not None})
    return "".join(f"{line}\n" for line in ("session_uuid", *eids))


def write_recording(
    directory: Path,
    entries: Sequence[Entry],
    labels: Sequence[str],
    *,
    sessions_only: bool,
    now: Callable[[], datetime] = datetime.now,
) -> Saved:
    """Write ids and a manifest into a directory, both whole or none, over no other file.

    Their names have the local time, as ONE's has, and the labels. Raises an `OnefsError` that says why not.
    """
    ids = sessions_csv(entries) if sessions_only else datasets_csv(entries)
    kind = f"loaded_{'session' if sessions_only else 'dataset'}_uuids.csv"
    moment, named = now(), _named(labels)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        while True:
            begin = f"{moment.strftime('%Y-%m-%dT%H-%M-%S')}_{named}"
            ids_file, manifest = directory / f"{begin}{kind}", directory / f"{begin}manifest.jsonl"
            if not (ids_file.exists() or manifest.exists()):
                with suppress(_TakenError):
                    _write_new({manifest: manifest_text(entries), ids_file: ids})
                    return Saved(ids_file, manifest)
            moment += timedelta(seconds=1)
    except OSError as error:
        raise _refusal(directory, error) from error


def _named(labels: Sequence[str]) -> str:
    """The part of a file name that has the labels: `fig2_`, `fig2+fig3_`, or "" without any."""
    found = "+".join(labels)
    if len(found.encode()) > LONGEST_LABELS and len(labels) > 1:
        found = f"{labels[0]}+{len(labels) - 1}-more"
    return f"{found}_" if found else ""


class _TakenError(Exception):
    """Another process has just given a file that name."""


def _write_new(files: dict[Path, str]) -> None:
    """Write files that are not there yet, all or none. Raises OSError or `_TakenError`."""
    temporaries = {path: path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in files}
    placed: list[Path] = []
    try:
        for path, text in files.items():
            with temporaries[path].open("wb") as stream:
                stream.write(text.encode())
                stream.flush()
                os.fsync(stream.fileno())
        for path, temporary in temporaries.items():
            _place(temporary, path)
            placed.append(path)
    except BaseException:
        for path in placed:
            path.unlink(missing_ok=True)
        raise
    finally:
        for temporary in temporaries.values():
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _place(temporary: Path, path: Path) -> None:
    """Give a file its name, over no other that came meanwhile."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise _TakenError from None
    except OSError:  # a file system without hard links
        if path.exists():
            raise _TakenError from None
        temporary.replace(path)


def _refusal(directory: Path, error: OSError) -> OnefsError:
    sentence = f"What was recorded cannot be saved in {directory}: {error.strerror or error}."
    if error.errno in NO_ROOM:
        return NoRoomError(sentence, f"Free some space, or {_ELSEWHERE}")
    return NotSavedError(sentence, f"Mend that, or {_ELSEWHERE}")
