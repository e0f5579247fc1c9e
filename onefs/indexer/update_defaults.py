"""Which editions become the default, or cease to be, where files were added to sessions or have gone."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from onefs import alf
from onefs.indexer.update_matches import path_key, split_name


class Edition(NamedTuple):
    """An edition of a dataset. `place` is its row, or the number of a new file."""

    revision: str
    place: int
    is_new: bool = False
    is_gone: bool = False
    is_default: bool | None = None


def edition_key(eid: bytes, path: str) -> tuple[bytes, str]:
    """What tells a dataset from all others of whatever revision, and the revision that the path is of."""
    collection, revision, name = alf.split_relative(split_name(path)[0])
    return path_key(eid, f"{collection}/{name}"), revision


@dataclass(slots=True)
class DefaultChanges:
    """Collects the editions of the datasets that changed, by their `edition_key`."""

    changed: set[bytes] = field(default_factory=set)
    _editions: dict[bytes, list[Edition]] = field(default_factory=dict)

    def add_row(self, key: bytes, edition: Edition) -> None:
        """Add an edition that a table has, if its dataset changed."""
        if key in self.changed:
            self._editions.setdefault(key, []).append(edition)

    def add_new(self, key: bytes, edition: Edition) -> None:
        """Add a new edition, if the table has others of that dataset. All that it has are added before."""
        if key in self._editions:
            self._editions[key].append(edition)

    def decided(self) -> tuple[dict[int, bool], dict[int, bool]]:
        """What rows change to, and what new files are whose dataset the table has."""
        rows, new = {}, {}
        for editions in self._editions.values():
            for edition, is_default in _decided(editions):
                if edition.is_new:
                    new[edition.place] = is_default
                elif edition.is_default is not is_default:
                    rows[edition.place] = is_default
        return rows, new


def _decided(editions: list[Edition]) -> Iterator[tuple[Edition, bool]]:
    """The editions that are not gone, and whether each is the default.

    It is the greatest if that was so before, or if none would be left; else it stays what it was.
    """
    before = [each for each in editions if not each.is_new]
    after = [each for each in editions if not each.is_gone]
    was_greatest = any(each.is_default for each in _greatest(before)) or not any(
        each.is_default for each in after if not each.is_new
    )
    if was_greatest:
        greatest = list(_greatest(after))
        yield from ((each, each in greatest) for each in after)
    else:
        yield from ((each, bool(each.is_default)) for each in after)


def _greatest(editions: Iterable[Edition]) -> Iterator[Edition]:
    """Those of the greatest revision."""
    editions = list(editions)
    last = max((each.revision for each in editions), default="")
    return (each for each in editions if each.revision == last)
