"""Dicts whose keys are attributes too: `Bunch` for records, `AlfBunch` for the arrays of an ALF object."""

import copy
import logging
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from onefs.one_errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger(__name__)
_PAIRED = re.compile(r"(.+)_[01]")
MOST_COLUMNS_OF_A_KEY = 10


class KeysDisagreeError(UsageError, NotImplementedError):
    """Bunches of different keys cannot be appended."""

    default_remedy = "Make frames of both with to_df and join these with pandas."


class Bunch(dict[str, Any]):
    """A dict whose keys are attributes too. A key of a method's name (`values`, `items`) hides the method."""

    __slots__ = ()  # its items are in the dict alone: a bunch that refers to itself would keep its arrays alive

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("__") and dict.__contains__(self, name):
            return self[name]
        return super().__getattribute__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        if name not in self:
            raise AttributeError(f"{type(self).__name__} has no key {name!r}")
        del self[name]

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(key for key in self if isinstance(key, str))]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)

    def copy(self, deep: bool = False) -> Self:
        """A copy, with copies of the values too if `deep`."""
        return copy.deepcopy(self) if deep else type(self)(self)

    def save(self, npz_file: str | os.PathLike[str], compress: bool = False) -> None:
        """Write the arrays into one `npz` file."""
        import numpy as np

        write = np.savez_compressed if compress else np.savez
        write(npz_file, **self)

    @classmethod
    def load(cls, npz_file: str | os.PathLike[str]) -> Self:
        """Read the arrays of an `npz` file."""
        import numpy as np

        with np.load(npz_file) as arrays:
            return cls(arrays)


class AlfBunch(Bunch):
    """The arrays of an ALF object by key, all of one length."""

    __slots__ = ()

    @property
    def check_dimensions(self) -> int:
        """0 if the lengths agree, else 1."""
        return check_dimensions(self)

    def to_df(self) -> "pd.DataFrame":
        """A frame with a column for each key; see `dataframe`."""
        return dataframe(self)

    @classmethod
    def from_df(cls, df: "pd.DataFrame") -> Self:
        """A bunch with a key for each column, in its own dtype; `x_0` and `x_1` become `x` of shape (n, 2)."""
        import numpy as np

        columns = {name: np.require(series.to_numpy(), requirements="W") for name, series in df.items()}
        made = cls()
        for name, values in columns.items():
            match = _PAIRED.fullmatch(name) if isinstance(name, str) else None
            stem = match[1] if match else ""
            pair = [columns[f"{stem}_{place}"] for place in (0, 1) if stem and f"{stem}_{place}" in columns]
            if len(pair) < 2 or stem in columns:
                made[name] = values
            elif stem not in made:
                made[stem] = np.column_stack(pair)
        return made

    def append(self, b: Mapping[str, Any], inplace: bool = False) -> Self:
        """A bunch of the same keys with the arrays and lists of `b` after its own; itself if `inplace`."""
        import numpy as np

        result = self if inplace else copy.deepcopy(self)
        if not result:
            dict.update(result, b)
            return result
        if not b:
            return result
        if set(result) != set(b):
            raise KeysDisagreeError(f"Only bunches of the same keys can be appended: {_names(result)}, {_names(b)}.")
        for key, values in dict.items(result):
            if isinstance(values, np.ndarray):
                result[key] = np.concatenate((values, b[key]), axis=0)
            elif isinstance(values, list):
                values.extend(b[key])
            else:
                _log.warning("Key %r stays as it is: a %s cannot be appended to.", key, type(values).__name__)
        warn_of_lengths(result)
        return result


def check_dimensions(dico: Mapping[str, Any]) -> int:
    """0 if all arrays and frames have one length, 1 if not. Length 1 goes with all, as do timestamps of (2, 2)."""
    lengths = set()
    for key, shape in _shapes(dico).items():
        if is_timestamps(key) and len(shape) > 1 and shape[1] != 1:
            if shape != (2, 2):
                return 1
        else:
            lengths.add(shape[0])
    return int(not lengths <= {1, max(lengths, default=1)})


def is_timestamps(key: object) -> bool:
    """Whether a key is of times that may be given as two (sample, time) rows."""
    return isinstance(key, str) and key.startswith("timestamps")


def common_length(dico: Mapping[str, Any]) -> int | None:
    """The length of all but timestamps; None if they have none, or several."""
    lengths = {shape[0] for key, shape in _shapes(dico).items() if not is_timestamps(key)}
    return max(lengths) if lengths and lengths <= {1, max(lengths)} else None


def warn_of_lengths(dico: Mapping[str, Any], name: str = "") -> None:
    """Log a warning with all shapes if the lengths disagree."""
    if check_dimensions(dico):
        shapes = ", ".join(f"{key} {shape}" for key, shape in _shapes(dico).items())
        _log.warning("The lengths of %s disagree: %s", name or "the keys", shapes)


def ts2vec(ts: Any, n_samples: int) -> Any:
    """Times of `n_samples` samples: interpolated if `ts` has rows (sample, time), else `ts` as a vector."""
    import numpy as np

    if ts.ndim == 1:
        return ts
    if ts.ndim == 2 and ts.shape[1] == 1:
        return ts.reshape(-1)
    if ts.ndim != 2 or ts.shape[1] != 2:
        raise UsageError(
            f"Timestamps of shape {ts.shape} are no times.", "Give a vector, or rows of two: (sample, time)."
        )
    return np.interp(np.arange(n_samples), ts[:, 0], ts[:, 1])


def dataframe(adict: Mapping[str, Any]) -> "pd.DataFrame":
    """A frame with a column for each array; of two dimensions `key_0` … `key_9`. Raises if the lengths disagree."""
    import pandas as pd

    if check_dimensions(adict):
        shapes = ", ".join(f"{key} {shape}" for key, shape in _shapes(adict).items())
        raise UsageError(
            f"Arrays of several lengths make no frame: {shapes}.", "Leave out keys until one length is left."
        )
    length = common_length(adict)
    columns: dict[str, Any] = {}
    for key, values in dict(adict).items():
        if length is not None and is_timestamps(key) and getattr(values, "shape", ()) == (2, 2):
            columns[key] = ts2vec(values, length)
        else:
            columns |= _columns_of(key, values)
    n_rows = max((len(each) for each in columns.values()), default=0)
    return pd.DataFrame({key: _repeated(values, n_rows) for key, values in columns.items()})


def _columns_of(key: str, values: Any) -> dict[str, Any]:
    n_dimensions = len(getattr(values, "shape", ()))
    if n_dimensions == 1:
        return {key: values}
    if n_dimensions != 2:
        _log.warning("Key %r becomes no column: it is no array of one or two dimensions.", key)
        return {}
    columns = getattr(values, "iloc", values)
    if values.shape[1] == 1:
        return {key: columns[:, 0]}
    return {f"{key}_{place}": columns[:, place] for place in range(min(values.shape[1], MOST_COLUMNS_OF_A_KEY))}


def _repeated(values: Any, n_rows: int) -> Any:
    """An array of the values; a single one stands for all rows."""
    import numpy as np

    return np.repeat(values, n_rows) if len(values) == 1 else np.asarray(values)


def _shapes(dico: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shapes of what has any: arrays, frames and columns of one."""
    shapes = {key: getattr(values, "shape", ()) for key, values in dict(dico).items()}
    return {key: shape for key, shape in shapes.items() if shape}


def _names(dico: Mapping[str, Any]) -> str:
    return ", ".join(sorted(map(str, dico)))
