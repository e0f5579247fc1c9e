"""Which session folders stand where readers of cache tables look for them: at their paths below one base folder."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from onefs.errors import SourceError
from onefs.indexer.write import key_of


class Misplaced(NamedTuple):
    """A session's folder that is not found by the tables, and the path below the base at which it is looked for."""

    folder: str
    path: str


def misplaced(folders: Iterable[str], base: str, lab: str) -> Iterator[Misplaced]:
    """The session folders that do not stand at their paths below `base`. `lab` is that of paths without one."""
    for folder in folders:
        path = key_of(folder, lab).path
        if folder != f"{base.rstrip('/')}/{path}":
            yield Misplaced(folder, path)


def common_base(root: str, folders: Sequence[str], preferred: str) -> str:
    """The folder below which most of some session folders stand at their paths; `preferred` if any does so there.

    `root` is what was indexed. Raises `SourceError` if there are sessions, but none at its path below any folder.
    """
    counts = Counter(filter(None, map(_base_of, folders)))
    if folders and not counts:
        raise SourceError(
            f"No session below {root} stands at a path such as SUBJECT/2024-01-31/001; one is {folders[0]}.",
            "Give the folders' numbers three digits.",
        )
    most = min(counts, key=lambda each: (-counts[each], len(each), each), default="")
    return preferred if preferred in counts else most


def _base_of(folder: str) -> str:
    """The folder below which a session's folder stands at its path; "" if there is none, as for a number `1`."""
    path = f"/{key_of(folder, '').path}"
    return (folder.removesuffix(path) or "/") if folder.endswith(path) else ""
