"""`SavedSearches`: search results saved under a name: the terms, and the eids that were found."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from onefs.alf import is_safe_part
from onefs.cache.atomic import cache_errors, make_folder, write_json
from onefs.errors import CacheDamagedError, NotInCatalogueError, UsageError

FOLDER = "searches"
SUFFIX = ".json"
LONGEST_NAME_BYTES = 200


@dataclass(frozen=True, slots=True)
class SavedSearch:
    """A saved search: its terms as `term=value`, the eids found, newest session first, and when (seconds, UTC)."""

    words: tuple[str, ...]
    eids: tuple[UUID, ...]
    saved_s: float


class SavedSearches:
    """The saved searches of a source, as files in its state directory. Safe for several processes."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / FOLDER

    def names(self) -> list[str]:
        """Their names, sorted. Raises `CacheDamagedError`."""
        with cache_errors("the saved searches", self._folder):
            try:
                found = [file.name for file in self._folder.iterdir() if file.suffix == SUFFIX]
            except FileNotFoundError:
                return []
        return sorted(name for name in (file.removesuffix(SUFFIX) for file in found) if not why_no_name(name))

    def written(self, name: str) -> tuple[int, int] | None:
        """What is another whenever a search is saved anew; None if there is none. Raises `CacheDamagedError`."""
        if why_no_name(name):
            return None
        with cache_errors("the saved search", self._file(name)):
            try:
                found = self._file(name).stat()
            except FileNotFoundError:
                return None
        return found.st_ino, found.st_mtime_ns

    def read(self, name: str) -> SavedSearch | None:
        """A search by its name; None if there is none. Raises `CacheDamagedError`."""
        if why_no_name(name):
            return None
        file = self._file(name)
        with cache_errors("the saved search", file):
            try:
                text = file.read_text(encoding="utf-8")
            except FileNotFoundError:
                return None
        try:
            told = json.loads(text)
            return SavedSearch(tuple(map(str, told["terms"])), tuple(map(UUID, told["eids"])), float(told["saved"]))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise CacheDamagedError(
                f"The saved search {file} is damaged: {error}.", f"Save it anew: onefs search … --save {name}"
            ) from error

    def save(self, name: str, words: Sequence[str], eids: Sequence[UUID], *, clobber: bool = False) -> None:
        """Save a search. One of the same name is replaced if it is damaged or has the same terms, or to `clobber`.

        Raises `UsageError` or `CacheDamagedError`.
        """
        check_name(name)
        file = self._file(name)
        if not clobber:
            self._check_same(name, words)
        told = {"terms": list(words), "eids": list(map(str, eids)), "saved": datetime.now(UTC).timestamp()}
        with cache_errors("the saved search", file):
            make_folder(self._folder)
            write_json(file, told)

    def _check_same(self, name: str, words: Sequence[str]) -> None:
        """Raise `UsageError` if a search of other terms is saved under a name."""
        known = None
        with suppress(CacheDamagedError):
            known = self.read(name)
        if known is not None and sorted(known.words) != sorted(words):
            raise UsageError(
                f"Another search is saved as {name}: {' '.join(known.words)}.",
                "Give another name, or replace it: --clobber.",
            )

    def forget(self, name: str) -> None:
        """Remove a search. Raises `NotInCatalogueError` if there is none of that name, or `CacheDamagedError`."""
        check_name(name)
        with cache_errors("the saved search", self._file(name)):
            try:
                self._file(name).unlink()
            except FileNotFoundError:
                raise NotInCatalogueError(
                    f"There is no saved search {name!r}.", f"Saved are: {', '.join(self.names()) or 'none'}."
                ) from None

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}{SUFFIX}"


def why_no_name(name: str) -> str:
    """Why a search cannot be saved under a name; "" if it can."""
    if not name or name.startswith((".", "-")):
        return "it is empty, or begins with a dot or a dash"
    if not is_safe_part(name) or not name.isprintable() or "=" in name:
        return "a slash, =, and what cannot be printed, cannot stand in it"
    return f"it is longer than {LONGEST_NAME_BYTES} bytes" if len(name.encode()) > LONGEST_NAME_BYTES else ""


def check_name(name: str) -> None:
    """Raise `UsageError` if a search cannot be saved under a name."""
    if why := why_no_name(name):
        raise UsageError(f"A search cannot be saved as {name!r}: {why}.", "Give another name.")
