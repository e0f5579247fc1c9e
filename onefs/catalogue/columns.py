"""Reading parquet columns, of whatever types, as numpy arrays."""

from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import date
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from onefs.catalogue.layout import LARGEST_SIZE, UNKNOWN_SIZE, Strings
from onefs.catalogue.schema import NEW_TABLES, QC_NAMES, Column, sources
from onefs.errors import TableError

if TYPE_CHECKING:
    import pyarrow as pa

Ids = NDArray[np.uint8]
Mask = NDArray[np.bool_]

BATCH_ROWS = 1 << 19
_CHUNK_ROWS = 1 << 15
_UUID_DIGITS = np.array([at for at in range(36) if at not in (8, 13, 18, 23)])
_MD5_DIGITS = np.arange(32)
_NOT_HEX = 255
_NIBBLES = np.full(256, _NOT_HEX, np.uint8)
_NIBBLES[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)
_NIBBLES[np.frombuffer(b"ABCDEF", np.uint8)] = np.arange(10, 16)

NO_ID = ("", "None", "nan", "NaN", "<NA>")
"""What stands in text columns where an id was null when pandas turned the column into text."""

_NOTHING = rf"^\s*({'|'.join(NO_ID)})\s*$"

QC_CODE_OF_NAME = {name: code for code, name in enumerate(QC_NAMES)}
QC_CODE_OF_VALUE: dict[float, int] = {0: 0, 10: 1, 30: 2, 40: 3, 50: 4}


def batches(
    file: Path, columns: Iterable[Column], as_codes: Collection[str] = ()
) -> "Iterator[dict[str, list[pa.Array]]]":
    """A table in pieces: for each of the columns that it has, the arrays to make it from.

    Texts of the columns in `as_codes` come as dictionaries. To be used inside `table_errors`, as all of this module.
    """
    import pyarrow.parquet as pq

    # Once, for another file may take the name meanwhile; by Python, for pyarrow takes no path that is not UTF-8.
    with file.open("rb") as opened:
        schema = pq.read_schema(opened)
        groups = sources(columns, schema.names, file)
        for name, group in groups.items():
            _check_types(file, name, [schema.field(one).type for one in group])
        coded = [one for name in as_codes for one in groups.get(name, ()) if _is_text(schema.field(one).type)]
        names = list(dict.fromkeys(chain.from_iterable(groups.values())))
        # Without pre_buffer, which would hold all of the file's bytes at once.
        with pq.ParquetFile(opened, read_dictionary=coded, pre_buffer=False) as parquet:
            for batch in parquet.iter_batches(BATCH_ROWS, columns=names):
                yield {name: [batch.column(one) for one in group] for name, group in groups.items()}


def _check_types(file: Path, name: str, kinds: "list[pa.DataType]") -> None:
    """Refuse a column of a type that its reader cannot take, found by giving the reader no rows of that type."""
    import pyarrow as pa

    try:
        READERS[name]([pa.nulls(0, kind) for kind in kinds])
    except pa.ArrowException as error:
        held = " and ".join(str(kind) for kind in kinds)
        raise TableError(
            f"The column {name!r} of the cache table {file} holds {held}, not what belongs there.", NEW_TABLES
        ) from error


def release() -> None:
    """Give memory that pyarrow keeps for later tables back to the system."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()


def _is_text(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def plain(array: "pa.Array") -> "pa.Array":
    """An array without dictionary or extension type."""
    import pyarrow as pa

    array = _bare(array)
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _bare(array: "pa.Array") -> "pa.Array":
    """An array without an extension type, such as pyarrow's for UUIDs."""
    import pyarrow as pa

    return array.storage if isinstance(array, pa.ExtensionArray) else array


def encoded(array: "pa.Array") -> tuple[NDArray[np.int64], "pa.Array"]:
    """Codes (-1 for null) and the values they stand for."""
    import pyarrow as pa

    array = _bare(array)
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    codes = array.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False).copy()
    return codes, array.dictionary


def texts(array: "pa.Array") -> list[str]:
    """Texts, "" for null. Raises `UnicodeDecodeError` or `pyarrow.ArrowInvalid` if they are not UTF-8."""
    import pyarrow as pa

    return [text or "" for text in plain(array).cast(pa.large_string()).to_pylist()]


def uuids(columns: "list[pa.Array]") -> tuple[Ids, Mask]:
    """Ids of shape (n, 16), nil where there is none, and which rows hold an id or none rather than rubbish."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if len(columns) == 2:  # ONE's old form: the 16 bytes as two int64
        halves = [column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False) for column in columns]
        pairs = np.stack(halves, axis=1).astype("<i8")
        return pairs.view(np.uint8).reshape(-1, 16), np.ones(len(pairs), bool)
    array = _bare(columns[0])
    if pa.types.is_dictionary(array.type):
        codes, values = encoded(array)
        ids, valid = uuids([values])
        ids = np.concatenate((ids, np.zeros((1, 16), np.uint8)))  # code -1, null, finds the last
        return ids[codes], np.append(valid, True)[codes]
    if pa.types.is_fixed_size_binary(array.type) and array.type.byte_width == 16:
        filled = array.fill_null(bytes(16))
        return _fixed_bytes(filled, 16), np.ones(len(filled), bool)
    ids, valid = _hex(array, _UUID_DIGITS, 36)
    if not valid.all():
        rest = array.cast(pa.large_string()).filter(pa.array(~valid)).fill_null("")
        nothing = pc.is_in(rest, value_set=pa.array(NO_ID, pa.large_string()))
        valid[np.flatnonzero(~valid)] = nothing.to_numpy(zero_copy_only=False)
    return ids, valid


def md5s(array: "pa.Array") -> tuple[Ids, Mask]:
    """MD5s of shape (n, 16), zero where unknown, and which are known. Dashes as in a UUID are allowed."""
    array = plain(array)
    found, known = _hex(array, _MD5_DIGITS, 32)
    if not known.all():
        dashed, is_dashed = _hex(array, _UUID_DIGITS, 36)
        found |= dashed
        known |= is_dashed
    return found, known


def stated(array: "pa.Array", among: Mask) -> Mask:
    """Which of the rows `among` hold a text that stands for something, neither null nor blank."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = np.flatnonzero(among)
    texts = plain(array.take(pa.array(rows))).cast(pa.large_binary()).fill_null(b"")
    nothing = pc.match_substring_regex(texts, _NOTHING).to_numpy(zero_copy_only=False)
    found = np.zeros(len(among), bool)
    found[rows] = ~nothing
    return found


def sizes(array: "pa.Array") -> NDArray[np.int64]:
    """Sizes in bytes; null and negative ones, and those above `LARGEST_SIZE`, are `UNKNOWN_SIZE`."""
    numbers = integers(array)
    numbers[(numbers < 0) | (numbers > LARGEST_SIZE)] = UNKNOWN_SIZE
    return numbers


def oversized(array: "pa.Array") -> Mask:
    """Which rows claim a size above `LARGEST_SIZE`."""
    import pyarrow as pa

    values = plain(array).cast(pa.float64(), safe=False).fill_null(0.0)
    above: Mask = values.to_numpy(zero_copy_only=False) > LARGEST_SIZE
    return above


def integers(array: "pa.Array") -> NDArray[np.int64]:
    """Whole numbers; what is null, no whole number, or beyond 64 bits is -1."""
    import pyarrow as pa

    array = plain(array)
    if pa.types.is_integer(array.type):
        whole: NDArray[np.int64] = array.cast(pa.int64(), safe=False).fill_null(-1).to_numpy(zero_copy_only=False)
        return whole.copy()
    values = array.cast(pa.float64()).fill_null(-1.0).to_numpy(zero_copy_only=False)
    usable = (np.abs(values) < 2**63) & (values == np.floor(values))
    return np.where(usable, values, -1.0).astype(np.int64)


def truths(columns: "list[pa.Array]") -> tuple[Mask, Mask]:
    """Which rows are true in any of the columns, and which are not null in any of them."""
    import pyarrow as pa

    arrays = [plain(column).cast(pa.bool_()) for column in columns]
    true = [array.fill_null(False).to_numpy(zero_copy_only=False) for array in arrays]
    known = [array.is_valid().to_numpy(zero_copy_only=False) for array in arrays]
    return np.logical_or.reduce(true), np.logical_or.reduce(known)


def qc_codes(array: "pa.Array") -> NDArray[np.uint8]:
    """QC codes 0 to 4 from names or from Alyx's numbers; what is null or unknown is NOT_SET."""
    codes, values = encoded(array)
    table = [_qc_code(value) for value in values.to_pylist()]
    return np.array([*table, 0], np.uint8)[codes]


def _qc_code(value: object) -> int:
    if isinstance(value, str):
        return QC_CODE_OF_NAME.get(value.upper(), 0)
    return QC_CODE_OF_VALUE.get(value, 0) if isinstance(value, int | float) else 0


def days(array: "pa.Array", missing: int) -> NDArray[np.int64]:
    """Dates as days since 1970, from dates, timestamps and texts that begin with YYYY-MM-DD."""
    import pyarrow as pa

    array = plain(array)
    if _is_text(array.type):
        array = pa.array([_day(text[:10]) for text in texts(array)], pa.date32())
    dates = array.cast(pa.date32(), safe=False).cast(pa.int32()).fill_null(missing)
    numbers: NDArray[np.int32] = dates.to_numpy(zero_copy_only=False)
    return numbers.astype(np.int64)


@cache
def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def strings(array: "pa.Array") -> Strings:
    """A large_string array without nulls as bytes and offsets."""
    offsets, data = _buffers(array)
    return Strings(offsets - offsets[0], data[offsets[0] : offsets[-1]])


def _buffers(array: "pa.Array") -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    _, offsets, data = array.buffers()
    bytes_ = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    if not len(array):
        return np.zeros(1, np.int64), bytes_
    return np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1], bytes_


READERS: "dict[str, Callable[[list[pa.Array]], object]]" = {
    "id": uuids,
    "eid": uuids,
    "lab": lambda arrays: texts(arrays[0]),
    "subject": lambda arrays: texts(arrays[0]),
    "task_protocol": lambda arrays: texts(arrays[0]),
    "projects": lambda arrays: texts(arrays[0]),
    "rel_path": lambda arrays: texts(arrays[0]),
    "name": lambda arrays: texts(arrays[0]),
    "date": lambda arrays: days(arrays[0], 0),
    "number": lambda arrays: integers(arrays[0]),
    "file_size": lambda arrays: sizes(arrays[0]),
    "hash": lambda arrays: md5s(arrays[0]),
    "exists": truths,
    "default_revision": truths,
    "qc": lambda arrays: qc_codes(arrays[0]),
}
"""What reads each column of the tables."""


def _hex(array: "pa.Array", digits: NDArray[np.int64], width: int) -> tuple[Ids, Mask]:
    """16 bytes for every text of `width` characters that has hex digits at `digits`, and which rows are such."""
    import pyarrow as pa
    import pyarrow.compute as pc

    array = array.cast(pa.large_binary())
    fits = pc.binary_length(array).fill_null(0).to_numpy(zero_copy_only=False) == width
    rows = np.flatnonzero(fits)
    if len(rows) < len(array):
        array = array.filter(pa.array(fits))
    offsets, data = _buffers(array)
    characters = data[offsets[0] : offsets[-1]].reshape(-1, width)
    dashes = np.setdiff1d(np.arange(width), digits)
    ids = np.zeros((len(fits), 16), np.uint8)
    valid = np.zeros(len(fits), bool)
    for begin in range(0, len(rows), _CHUNK_ROWS):  # in pieces that stay in the processor's cache
        chunk = characters[begin : begin + _CHUNK_ROWS]
        nibbles = _NIBBLES[chunk[:, digits]]
        good = (nibbles != _NOT_HEX).all(axis=1) & (chunk[:, dashes] == ord("-")).all(axis=1)
        decoded = nibbles[:, 0::2] << 4 | nibbles[:, 1::2]
        decoded[~good] = 0
        ids[rows[begin : begin + _CHUNK_ROWS]] = decoded
        valid[rows[begin : begin + _CHUNK_ROWS]] = good
    return ids, valid


def _fixed_bytes(array: "pa.Array", width: int) -> Ids:
    data = np.frombuffer(array.buffers()[1], np.uint8)
    return data[array.offset * width : (array.offset + len(array)) * width].reshape(-1, width)
