"""The one folder below which sessions stand at the paths that a cache directory has for them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from onefs.errors import SourceError
from onefs.indexer.scan import session_key


@dataclass(frozen=True, slots=True)
class OnePlace:
    """The folder, and the session folders that do not stand at their paths below it."""

    folder: str = ""
    elsewhere: Sequence[str] = field(default_factory=list)


def one_place(root: str, folders: Sequence[str], wanted: str) -> OnePlace:
    """The folder below which the most of some session folders stand; `wanted` if any of them does stand there.

    `root` is what was indexed. Raises `SourceError` if there are sessions, but none at its path below any folder.
    """
    places = list(map(place_of, folders))
    counts = Counter(filter(None, places))
    if folders and not counts:
        raise SourceError(
            f"No session below {root} stands at a path such as SUBJECT/2024-01-31/001; one is {folders[0]}.",
            "Give the folders' numbers three digits.",
        )
    most = min(counts, key=lambda each: (-counts[each], len(each), each), default="")
    place = wanted if wanted in counts else most
    return OnePlace(place, [folder for folder, its in zip(folders, places, strict=True) if its != place])


def place_of(folder: str) -> str:
    """The folder below which a session's folder stands at its path; "" if there is none, as for a number `1`."""
    key = session_key(folder)
    path = "" if key is None else f"/{key.path}"
    return (folder.removesuffix(path) or "/") if path and folder.endswith(path) else ""
