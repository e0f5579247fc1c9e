"""Owns the file formats of the demo: values in, the bytes of a file out."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from onefs.demo.raw import N_CHANNELS, SAMPLE_BYTES, SAMPLE_RATE_HZ, Recording

Columns = Mapping[str, Sequence[object] | NDArray[np.generic]]


def npy(array: NDArray[np.generic]) -> bytes:
    """An array as numpy saves it."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def pqt(columns: Columns) -> bytes:
    """Columns of one length as a parquet table."""
    stream = io.BytesIO()
    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    # ONE reads no parquet file without this key.
    pq.write_table(table.replace_schema_metadata({"one_metadata": "{}"}), stream)
    return stream.getvalue()


def delimited(columns: Columns, delimiter: str = ",") -> bytes:
    """Columns of one length as text, with a line of names first."""
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return stream.getvalue().encode()


def text_json(value: object) -> bytes:
    """A value as indented JSON."""
    return (json.dumps(value, indent=1) + "\n").encode()


def json_lines(values: Iterable[object]) -> bytes:
    """Values as JSON, one a line."""
    return "".join(json.dumps(value) + "\n" for value in values).encode()


def spikeglx_meta(recording: Recording, serial_number: int) -> bytes:
    """The `.meta` that SpikeGLX writes beside a recording; it tells of the uncompressed file."""
    values = {
        "appVersion": "20190214",
        "fileName": "D:/demo/_spikeglx_ephysData_g0_t0.imec.ap.bin",
        "fileSHA1": recording.sha1_uncompressed.upper(),
        "fileSizeBytes": recording.n_samples * SAMPLE_BYTES,
        "fileTimeSecs": recording.n_samples / SAMPLE_RATE_HZ,
        "imAiRangeMax": 0.6,
        "imAiRangeMin": -0.6,
        "imDatPrb_sn": serial_number,
        "imDatPrb_type": 0,
        "imSampRate": SAMPLE_RATE_HZ,
        "nSavedChans": N_CHANNELS,
        "snsApLfSy": f"{N_CHANNELS - 1},0,1",
        "snsSaveChanSubset": f"0:{N_CHANNELS - 1}",
        "typeThis": "imec",
    }
    return "".join(f"{name}={value}\n" for name, value in values.items()).encode()


def mp4(payload: bytes) -> bytes:
    """A file with the boxes that an MP4 begins with; its payload is no video."""
    boxes = ((b"ftyp", b"isom\x00\x00\x02\x00isomiso2mp41"), (b"free", b""), (b"mdat", payload))
    return b"".join((8 + len(body)).to_bytes(4, "big") + kind + body for kind, body in boxes)
