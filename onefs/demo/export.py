"""Owns a folder of cache tables as Alyx exports it: the tables, what they say of themselves, and all of it as a zip."""

import io
import json
import os
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from onefs.catalogue.records import Dataset, Session
from onefs.catalogue.schema import METADATA_KEY
from onefs.catalogue.tables import write_tables
from onefs.demo.plan import CREATED, CREATED_S, ORIGIN

TABLES = ("sessions.pqt", "datasets.pqt")
INFO = "cache_info.json"
ZIP = "cache.zip"
QC_SUMMARY = "QC.json"
TABLE_FILES = (*TABLES, INFO, ZIP, QC_SUMMARY)
MIN_API_VERSION = "2.10"


def write_export(
    directory: Path,
    sessions: Sequence[Session],
    datasets: Sequence[Dataset],
    *,
    tag: str = "",
    qc: list[dict[str, object]] | None = None,
    created: str = CREATED,
) -> None:
    """Export tables into an empty directory, with QC by session where given. The same bytes for the same values."""
    files = write_tables(directory, sessions, datasets, created=created, origin=ORIGIN)
    if tag:
        for path in (files.sessions, files.datasets):
            _add_tag(path, tag)
    if qc is not None:
        (directory / QC_SUMMARY).write_text(json.dumps(qc))
    (directory / INFO).write_text(json.dumps(describe(directory), indent=1))
    (directory / ZIP).write_bytes(pack(directory))
    for path in directory.iterdir():
        if path.is_file():
            os.utime(path, (CREATED_S, CREATED_S))


def _add_tag(path: Path, tag: str) -> None:
    """Say in a table's metadata which release it is restricted to."""
    table = pq.read_table(path)
    metadata = dict(table.schema.metadata)
    metadata[METADATA_KEY] = json.dumps({**json.loads(metadata[METADATA_KEY]), "database_tags": [tag]}).encode()
    pq.write_table(table.replace_schema_metadata(metadata), path)


def describe(directory: Path) -> dict[str, object]:
    """What `cache_info.json` says of the tables in a directory. Raises `OSError` if they are not there."""
    footers = {Path(name).stem: pq.read_metadata(directory / name) for name in TABLES}
    own = json.loads((footers["datasets"].metadata or {}).get(METADATA_KEY, b"{}"))
    info: dict[str, object] = {
        "date_created": own.get("date_created", CREATED),
        "origin": own.get("origin", ORIGIN),
        "min_api_version": own.get("min_api_version", MIN_API_VERSION),
    }
    if own.get("database_tags"):
        info["database_tags"] = own["database_tags"]
    info["tables"] = {name: {"nrecs": each.num_rows, "size": each.serialized_size} for name, each in footers.items()}
    return info


def pack(directory: Path) -> bytes:
    """What `cache.zip` holds for the tables in a directory."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in (*TABLES, QC_SUMMARY, INFO):
            path = directory / name
            if path.is_file() or name in TABLES:
                content = path.read_bytes()
            elif name == INFO:
                content = json.dumps(describe(directory), indent=1).encode()
            else:
                continue
            entry = zipfile.ZipInfo(name, time.gmtime(CREATED_S)[:6])
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return stream.getvalue()


def is_current(path: Path) -> bool:
    """Whether a file that tells of the tables beside it is there, and no older than they are."""
    try:
        newest = max(path.with_name(name).stat().st_mtime_ns for name in TABLES)
        return path.stat().st_mtime_ns >= newest
    except (FileNotFoundError, NotADirectoryError):
        return False
