"""`onefs index --update`: which revisions become the default, or cease to be, where files were added or are gone."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from onefs import alf
from onefs.indexer.update_matches import path_key, split_name


class Revision(NamedTuple):
    """A revision of a dataset. `place` is its row in the table, or the number of a new file."""

    revision: str
    place: int
    is_new: bool = False
    is_gone: bool = False
    is_default: bool | None = None


def dataset_key(eid: bytes, path: str) -> tuple[bytes, str]:
    """The key of a dataset, the same for all its revisions; and the revision of this path."""
    collection, revision, name = alf.split_relative(split_name(path)[0])
    return path_key(eid, f"{collection}/{name}"), revision


@dataclass(slots=True)
class DefaultChanges:
    """The revisions of the datasets that changed, by their `dataset_key`."""

    changed: set[bytes] = field(default_factory=set)
    _revisions: dict[bytes, list[Revision]] = field(default_factory=dict)

    def add_row(self, key: bytes, revision: Revision) -> None:
        """Add a revision that a table has, if its dataset changed."""
        if key in self.changed:
            self._revisions.setdefault(key, []).append(revision)

    def add_new(self, key: bytes, revision: Revision) -> None:
        """Add a new revision, if the table has others of that dataset. All that it has are added before."""
        if key in self._revisions:
            self._revisions[key].append(revision)

    def decided(self) -> tuple[dict[int, bool], dict[int, bool]]:
        """Whether rows that change become the default; and whether new files of datasets in the table are."""
        rows, new = {}, {}
        for revisions in self._revisions.values():
            for revision, is_default in _decided(revisions):
                if revision.is_new:
                    new[revision.place] = is_default
                elif revision.is_default is not is_default:
                    rows[revision.place] = is_default
        return rows, new


def _decided(revisions: list[Revision]) -> Iterator[tuple[Revision, bool]]:
    """The revisions that are not gone, and whether each is the default.

    It is the greatest if that was so before, or if none would be left; else it stays what it was.
    """
    before = [each for each in revisions if not each.is_new]
    after = [each for each in revisions if not each.is_gone]
    was_greatest = any(each.is_default for each in _greatest(before)) or not any(
        each.is_default for each in after if not each.is_new
    )
    if was_greatest:
        greatest = list(_greatest(after))
        yield from ((each, each in greatest) for each in after)
    else:
        yield from ((each, bool(each.is_default)) for each in after)


def _greatest(revisions: Iterable[Revision]) -> Iterator[Revision]:
    """Those of the greatest revision."""
    revisions = list(revisions)
    last = max((each.revision for each in revisions), default="")
    return (each for each in revisions if each.revision == last)
