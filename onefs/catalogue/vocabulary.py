"""Owns the distinct texts of a column that is read in pieces, each piece with a dictionary of its own."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

Codes = NDArray[np.int32]


@dataclass(slots=True)
class Vocabulary:
    """Collects pieces. What is pending is merged when it outgrows what is known, so that neither memory nor time
    grows with the number of pieces in which a text comes again.
    """

    known: "pa.Array | None" = None
    settled: list[Codes] = field(default_factory=list)
    pending: "list[tuple[Codes, pa.Array]]" = field(default_factory=list)

    def add(self, codes: Codes, texts: "pa.Array") -> None:
        """Take a piece: codes into large_string texts without nulls. The codes are changed in place, now and later."""
        if len(texts):
            self.pending.append((codes, texts))
        if sum(len(texts) for _, texts in self.pending) >= (0 if self.known is None else len(self.known)):
            self._merge()

    def finish(self) -> "pa.Array":
        """The distinct texts, sorted by their bytes; the codes of every piece then are codes into these."""
        import pyarrow as pa
        import pyarrow.compute as pc

        self._merge()
        texts = pa.array([], pa.large_string()) if self.known is None else self.known
        order = pc.sort_indices(texts)
        rank = np.empty(len(order), np.int32)
        rank[order.to_numpy()] = np.arange(len(order), dtype=np.int32)
        for codes in self.settled:
            codes[:] = rank[codes]
        self.known = None
        self.settled.clear()
        return texts.take(order)

    def _merge(self) -> None:
        """What is known comes first, so that codes already given stay as they are."""
        import pyarrow as pa

        if not self.pending:
            return
        pieces = [] if self.known is None else [self.known]
        joined = pa.chunked_array([*pieces, *(texts for _, texts in self.pending)]).dictionary_encode()
        for (codes, _), piece in zip(self.pending, joined.chunks[len(pieces) :], strict=True):
            codes[:] = piece.indices.to_numpy(zero_copy_only=False)[codes]
            self.settled.append(codes)
        self.known = joined.chunk(0).dictionary
        self.pending.clear()
