"""The recordings of one mount: keeping them until they are saved, saving them, and the commands for both."""

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from onefs.catalogue.records import Dataset
from onefs.errors import UsageError
from onefs.fetch.descriptors import Edition
from onefs.recording.labels import EVERYTHING, check_label
from onefs.recording.programs import ProgramFiles
from onefs.recording.recorder import Recorder
from onefs.recording.saving import Saved, write_recording
from onefs.recording.unsaved import Unsaved, unsaved_file
from onefs.vfs.control import Command

_log = logging.getLogger(__name__)


class Recording:
    """The recorder of one mount with all that is around it. Safe to use from several threads."""

    def __init__(
        self,
        source: str,
        mountpoint: Path,
        state_dir: Path,
        md5_of: Callable[[Dataset, Edition | None], str],
        is_default: Callable[[Dataset], bool],
        tables_dir: Callable[[], Path],
        check_outside: Callable[[Path, str], None],
    ) -> None:
        """`tables_dir` is where recordings are saved if nobody says where.

        `check_outside` refuses a directory in the mount itself, with a remedy.
        """
        self._tables_dir = tables_dir
        self._check_outside = check_outside
        self._unsaved = Unsaved(unsaved_file(state_dir, mountpoint, source), lambda: self.recorder.own_entries())
        self._programs = ProgramFiles(state_dir, source)
        self.recorder = Recorder(
            source,
            md5_of,
            is_default=is_default,
            others=self._programs,
            on_added=self._unsaved.add,
            on_taken_away=self._unsaved.rewrite,
        )
        self._saving = threading.Lock()  # held while one save finds a name, writes and clears
        self._saved: Saved | None = None

    def begin(self, *, is_on: bool) -> None:
        """Take up what the last mount here did not save, and record from the start if `is_on`."""
        found = self._unsaved.load()
        if found:
            count = self.recorder.restore(found)
            self._unsaved.rewrite()
            _log.info("%d datasets that were recorded before are not saved yet: onefs record save, or clear", count)
        if is_on:
            self.recorder.turn_on()

    def close(self) -> None:
        """End, with all on the disk."""
        self._unsaved.close()

    def facts(self) -> dict[str, Any]:
        """What status tells of it."""
        labels = [{"label": label, **facts} for label, facts in self.recorder.facts().items()]
        saved = self._saved
        return {
            "saved": str(saved.ids) if saved else None,
            "manifest": str(saved.manifest) if saved else None,
            "recordings": labels,
        }

    @property
    def is_on(self) -> bool:
        """Whether every read is recorded."""
        return bool(self.recorder.facts().get(EVERYTHING, {}).get("on"))

    def save(self, label: str | None, directory: Path | None, *, sessions_only: bool, keep: bool) -> None:
        """Write what was recorded under a label, or under any, as ONE does, with a manifest; then forget it.

        Nothing recorded: no file. Raises an `OnefsError` if it cannot be written; then all is as it was.
        """
        if directory is not None:
            self._check_outside(directory, "Save to a directory outside it.")
        with self._saving, self._alone(label) as with_others:
            entries = self.recorder.entries(label) if with_others else self.recorder.own_entries(label)
            if not entries or (sessions_only and all(entry.eid is None for entry in entries)):
                _log.warning("Nothing was recorded, so nothing is saved; onefs record on begins to")
                self._saved = None
                return
            place = directory or self._tables_dir()
            self._saved = write_recording(place, entries, self._labels(label), sessions_only=sessions_only)
            if not keep:
                self.recorder.clear(label, entries)
                if with_others:
                    self._programs.remove()
        _log.info("Saved what was recorded: %s", self._saved.ids)

    @contextmanager
    def _alone(self, label: str | None) -> Iterator[bool]:
        """Keep programs from writing and saving meanwhile, if what they recorded is meant too; whether it is.

        It stands under no label. Where its folder cannot be written, it stays as it is.
        """
        with ExitStack() as stack:
            is_locked = False
            if label is None:
                try:
                    stack.enter_context(self._programs.locked())
                    is_locked = True
                except OSError as error:
                    _log.warning("What programs recorded is left as it is: %s", error)
            yield is_locked

    def _labels(self, label: str | None) -> list[str]:
        """The labels under which something is recorded, or the one that is asked for."""
        if label is not None:
            return [label]
        return [name for name, facts in self.recorder.facts().items() if name and facts["datasets"]]

    def commands(self) -> list[Command]:
        """The members of the family `record`."""
        return [
            Command(
                "on [--label NAME [--pid PID]]", "record every read, or those of a process and below", self._on, 0, 4
            ),
            Command("off [--label NAME [--pid PID]]", "record no more", self._off, 0, 4),
            Command(
                "save [sessions] [keep] [--label NAME] [--to DIR]",
                "write the ids as ONE does, and a manifest",
                self._save,
                0,
                6,
            ),
            Command("clear [--label NAME]", "forget what was recorded", self._clear, 0, 2),
        ]

    def _on(self, words: list[str]) -> None:
        _, values = _parse(words, (), ("--label", "--pid"))
        label, pid = values.get("--label"), values.get("--pid")
        if label is None and pid is not None:
            raise UsageError("Reads of one program need a label.", "Write: record on --label NAME --pid PID")
        self.recorder.turn_on(EVERYTHING if label is None else label, _pid(pid))

    def _off(self, words: list[str]) -> None:
        _, values = _parse(words, (), ("--label", "--pid"))
        self.recorder.turn_off(values.get("--label"), _pid(values.get("--pid")))

    def _save(self, words: list[str]) -> None:
        flags, values = _parse(words, ("sessions", "keep"), ("--label", "--to"))
        to = values.get("--to")
        directory = None if to is None else _absolute(to)
        self.save(values.get("--label"), directory, sessions_only="sessions" in flags, keep="keep" in flags)

    def _clear(self, words: list[str]) -> None:
        _, values = _parse(words, (), ("--label",))
        label = values.get("--label")
        with self._saving, self._alone(label) as with_others:
            self.recorder.clear(label)
            if with_others:
                self._programs.remove()


def _parse(words: list[str], flags: Sequence[str], options: Sequence[str]) -> tuple[set[str], dict[str, str]]:
    """The words of a command as flags, and as options with their values. Raises `UsageError`."""
    found: set[str] = set()
    values: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        if word in flags and word not in found:
            found.add(word)
        elif word in options and word not in values:
            value = next(rest, None)
            if value is None:
                raise UsageError(f"{word} needs a value.", f"Write: {word} VALUE")
            values[word] = check_label(value) if word == "--label" else value
        else:
            raise UsageError(f"{word!r} is not understood here.", f"Use one of: {', '.join((*flags, *options))}")
    return found, values


def _pid(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:10]) < 1 << 31:
        raise UsageError(f"{text!r} is no number of a process.", "Give the PID of one that runs.")
    return int(text[:10])


def _absolute(text: str) -> Path:
    if not os.path.isabs(text):  # noqa: PTH117 - "" is none
        raise UsageError(f"{text!r} is no whole path.", "Give the directory's path from / on.")
    return Path(text)
