"""Objects of arrays that Hypothesis makes up."""

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from onefs.alf_files.bunch import AlfBunch

KEYS = st.text("abcxyz", min_size=1, max_size=3).filter(lambda key: not hasattr(AlfBunch, key))
DTYPES = st.sampled_from([np.dtype(name) for name in ("f8", "f4", "i8", "u2", "?", "M8[ns]")])


@st.composite
def objects(draw: st.DrawFn, widths: tuple[int, ...] = (0, 2)) -> dict[str, NDArray[Any]]:
    """Arrays of one length, vectors (width 0) or of so many columns."""
    length = draw(st.integers(2, 6))
    made = {}
    for key in draw(st.lists(KEYS, min_size=1, max_size=4, unique=True)):
        width = draw(st.sampled_from(widths))
        made[key] = draw(arrays(draw(DTYPES), (length, width) if width else (length,)))
    return made
