"""What a job does: to which datasets, what to each of them, and the results."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from onefs.catalogue.records import Dataset
from onefs.digests import digest64
from onefs.errors import OnefsError


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one dataset: the word that it is counted under, its size, and how much of that was moved.

    `error` is what is wrong with it, where that is what was to be found out.
    """

    word: str
    size_bytes: int = 0
    moved_bytes: int = 0
    error: OnefsError | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done: `act` to each of the `datasets`, so many at once. Both may raise `OnefsError`s.

    `verb` and `paths` are how it was asked for.
    `datasets` gives them anew each time that it is called. `size` tells a dataset's size, and how much of that is to be
    moved; `is_local`, that no server is asked; `coming`, by their paths, how much of those under way was moved so far;
    `stop` lets go of those under way.
    """

    verb: str
    paths: Sequence[str]
    datasets: Callable[[], Iterator[Dataset]]
    act: Callable[[Dataset], Done]
    size: Callable[[Dataset], tuple[int, int]]
    at_once: int
    is_local: bool = False
    coming: Callable[[], Mapping[str, int]] = dict
    stop: Callable[[], None] = lambda: None

    @property
    def title(self) -> str:
        """What to call it in a sentence."""
        return title_of(self.verb, self.paths)

    @property
    def key(self) -> str:
        """What tells it from other work, for whoever asked for it."""
        return key_of(self.verb, self.paths)


def title_of(verb: str, paths: Sequence[str]) -> str:
    """What to call work in a sentence that is asked for with these words."""
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"{verb} {paths[0]}{more}" if paths else verb


def key_of(verb: str, paths: Sequence[str]) -> str:
    """The key of work that is asked for with these words."""
    return f"{digest64(word.encode(errors='surrogateescape') for word in (verb, *paths)):016x}"
