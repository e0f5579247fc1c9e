"""Which texts of a column contain a text, match a regular expression, or are paths of a file name.

Regular expressions mean what Python's `re` means by them. RE2, which pyarrow uses, takes their place where there are
many texts, or where `re` may take very long: for expressions whose meaning is the same, on texts of printable ASCII.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from onefs.catalogue.layout import Strings
from onefs.catalogue.stored import CHUNK_ROWS, StoredTexts

if TYPE_CHECKING:
    import pyarrow as pa

Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]

FEW = 1 << 14
"""Texts that Python looks at one by one in less time than pyarrow takes to be imported."""

_QUANTIFIER = r"(?:[*+?]|\{\d+(?:,\d*)?\})"
_SET = r"\[\^?(?:[\w ./,:;=!@#%*+?(){}|$-]|\\[wdsWDS\\.\-\[\]/^$*+?(){}|])+\]"
_SAME_IN_RE2 = re.compile(
    rf"(?:\(\?i\))?(?:(?:[\w /,:;=!@#%~\"'<>-]|\\[wdsWDSbA\\.\-\[\]/^$*+?(){{}}|]|[.^$|]|{_SET}|\((?:\?:)?(?!\?)|\))"
    rf"(?:{_QUANTIFIER}\??(?![*+?{{]))?)*",
    re.ASCII,
)
"""Expressions that mean the same in `re` and RE2, on printable ASCII."""

_MAY_BE_SLOW = re.compile(r"\)[*+?{]|(?:[*+{].*){3}", re.DOTALL)
"""Expressions for which `re` may try very many ways: with a repeated group, or with several repetitions."""

_MAY_HANG = re.compile(r"\)[*+{]|(?:[*+{].*){5}", re.DOTALL)
"""Expressions for which `re` may try for years: with a repeated group, or with many repetitions."""


class TextSequence(Protocol):
    """Texts by their number."""

    def __len__(self) -> int: ...
    def __getitem__(self, at: int, /) -> str: ...


@dataclass(frozen=True, slots=True)
class JoinedTexts:
    """The texts of two sequences, one after the other."""

    first: TextSequence
    second: TextSequence

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, at: int) -> str:
        at = range(len(self))[at]
        return self.first[at] if at < len(self.first) else self.second[at - len(self.first)]


class Pattern(Protocol):
    """What a text may match."""

    @property
    def needs_arrow(self) -> bool:
        """Whether even few texts are better left to pyarrow."""

    def matches(self, text: str) -> bool:
        """Whether a text matches."""

    def arrow_matches(self, texts: "pa.Array") -> "pa.Array | None":
        """Which texts of printable ASCII match; None if pyarrow cannot tell."""


@dataclass(frozen=True, slots=True)
class Part:
    """A text that is part of others."""

    text: str
    needs_arrow = False

    def matches(self, text: str) -> bool:
        """Whether a text contains this one."""
        return self.text in text

    def arrow_matches(self, texts: "pa.Array") -> "pa.Array | None":
        """Which texts contain this one."""
        import pyarrow.compute as pc

        return pc.match_substring(texts, self.text) if self.text.isascii() else None


@dataclass(frozen=True, slots=True)
class FileName:
    """A file's name, the last part of paths."""

    name: str
    needs_arrow = False

    def matches(self, path: str) -> bool:
        """Whether a path ends in this name."""
        return path.rpartition("/")[2] == self.name

    def arrow_matches(self, paths: "pa.Array") -> "pa.Array | None":
        """Which paths end in this name."""
        import pyarrow.compute as pc

        if not self.name or "/" in self.name or not self.name.isascii():
            return None
        return pc.or_(pc.ends_with(paths, f"/{self.name}"), pc.equal(paths, self.name))


@dataclass(frozen=True, slots=True)
class Expression:
    """A regular expression, found anywhere in a text. Raises `re.error` if it is none."""

    text: str
    compiled: re.Pattern[str] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "compiled", re.compile(self.text))

    @property
    def is_same_in_re2(self) -> bool:
        """Whether RE2 finds the same."""
        return _SAME_IN_RE2.fullmatch(self.text) is not None

    @property
    def may_hang(self) -> bool:
        """Whether a search may not end, and RE2 cannot take its place. No other thread runs during one by `re`."""
        if not _MAY_HANG.search(self.text):
            return False
        import pyarrow as pa

        return self.arrow_matches(pa.array([""], pa.large_string())) is None

    @property
    def needs_arrow(self) -> bool:
        """Whether `re` may take very long over a text."""
        return _MAY_BE_SLOW.search(self.text) is not None and self.is_same_in_re2

    def matches(self, text: str) -> bool:
        """Whether it is found in a text."""
        return self.compiled.search(text) is not None

    def arrow_matches(self, texts: "pa.Array") -> "pa.Array | None":
        """Which texts it is found in."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if not self.is_same_in_re2:
            return None
        try:
            return pc.match_substring_regex(texts, self.text)
        except pa.ArrowInvalid:  # too large for RE2
            return None


def matching_texts(texts: TextSequence, pattern: Pattern, needed: Mask | None = None) -> Mask:
    """Which of the texts match; of those not `needed` none."""
    found = np.zeros(len(texts), bool)
    n_needed = len(texts) if needed is None else int(np.count_nonzero(needed))
    by_arrow = pattern.needs_arrow or n_needed > FEW
    begin = 0
    for piece in pieces(texts):
        end = begin + len(piece)
        rows = np.arange(len(piece)) if needed is None else np.flatnonzero(needed[begin:end])
        if len(rows):
            found[begin + rows] = _matching(piece, rows, pattern, by_arrow=by_arrow)
        begin = end
    return found


def pieces(texts: TextSequence) -> Iterator[Strings]:
    """All texts as UTF-8 (of halves of characters, too), a piece at a time."""
    if isinstance(texts, JoinedTexts):
        yield from pieces(texts.first)
        yield from pieces(texts.second)
        return
    for begin in range(0, len(texts), CHUNK_ROWS):
        end = min(begin + CHUNK_ROWS, len(texts))
        if isinstance(texts, Strings | StoredTexts):
            offsets = texts.offsets[begin : end + 1]
            yield Strings(offsets - offsets[0], texts.data[int(offsets[0]) : int(offsets[-1])])
        else:
            encoded = [texts[at].encode(errors="surrogatepass") for at in range(begin, end)]
            ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
            yield Strings(ends, np.frombuffer(b"".join(encoded), np.uint8))


def _matching(piece: Strings, rows: Rows, pattern: Pattern, *, by_arrow: bool) -> Mask:
    """Which of these rows of a piece match."""
    plain = ~_are_odd(piece)[rows] if by_arrow else np.zeros(len(rows), bool)
    if plain.any():
        matches = pattern.arrow_matches(_as_arrow(piece, rows[plain]))
        if matches is not None:
            found = ~plain
            found[plain] = matches.to_numpy(zero_copy_only=False)
            found[~plain] = _matching_one_by_one(piece, rows[~plain], pattern)
            return found
    return _matching_one_by_one(piece, rows, pattern)


def _matching_one_by_one(piece: Strings, rows: Rows, pattern: Pattern) -> Mask:
    begins, ends = piece.offsets[rows].tolist(), piece.offsets[rows + 1].tolist()
    places, data = zip(begins, ends, strict=True), piece.data.tobytes()
    if data.isascii():
        whole = data.decode()
        texts = (whole[begin:end] for begin, end in places)
    else:
        texts = (data[begin:end].decode(errors="surrogatepass") for begin, end in places)
    return np.fromiter(map(pattern.matches, texts), bool, len(rows))


def _are_odd(piece: Strings) -> Mask:
    """Which texts have characters other than printable ASCII."""
    odd = np.zeros(len(piece), bool)
    if len(piece.data) and (piece.data.min() < ord(" ") or piece.data.max() > ord("~")):
        places = np.flatnonzero((piece.data < ord(" ")) | (piece.data > ord("~")))
        odd[np.searchsorted(piece.offsets, places, "right") - 1] = True
    return odd


def _as_arrow(piece: Strings, rows: Rows) -> "pa.Array":
    import pyarrow as pa

    buffers = [None, pa.py_buffer(np.ascontiguousarray(piece.offsets)), pa.py_buffer(np.ascontiguousarray(piece.data))]
    texts = pa.Array.from_buffers(pa.large_string(), len(piece), buffers)
    return texts if len(rows) == len(piece) else texts.take(pa.array(rows))
