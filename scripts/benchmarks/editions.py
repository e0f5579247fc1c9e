"""Owns an archive on a server whose tables come in editions: large made-up ones, with some files that are there."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.archive import Archive, make_archive
from benchmarks.bench import Bench
from benchmarks.tables import Made, tables

TABLES = ("sessions.pqt", "datasets.pqt")
KEY = b"one_metadata"


@dataclass(slots=True)
class Editions:
    """`archive.served` is the folder on the server, with one edition of the tables in it at a time."""

    archive: Archive
    large: Path
    number: int = 0

    @property
    def created(self) -> str:
        """When the edition in its place was made, as it says itself."""
        return f"2025-01-02 03:{self.number:02d}"

    @classmethod
    def of(cls, bench: Bench, home: Path) -> "Editions":
        """The first edition, in its place."""
        sizes = bench.sizes
        large = tables(bench.kept_dir, Made("real", sizes.datasets, sizes.sessions))
        made = cls(make_archive(home, sizes.files, sizes.file_bytes), large)
        made.put_next(0)
        return made

    def put_next(self, changed: int) -> None:
        """Put the next edition in its place, in which so many datasets, each of another session, have other sizes."""
        self.number += 1
        aside = self.archive.tables / "next"
        aside.mkdir()
        for name in TABLES:
            table = self._joined(name)
            if name == "datasets.pqt" and changed:
                table = _with_other_sizes(table, changed, self.number)
            _write(table, aside / name, self.created)
        for name in TABLES:
            (aside / name).replace(self.archive.served / name)
        shutil.rmtree(aside)
        (self.archive.served / "cache_info.json").write_text(json.dumps({"date_created": self.created}))

    def session_folders(self, count: int) -> list[str]:
        """Paths of some sessions of the large tables, from first to last."""
        sessions = pq.read_table(self.large / "sessions.pqt").to_pandas(ignore_metadata=True)
        some = sessions.iloc[:: max(1, len(sessions) // count)][:count]
        return [f"{row.lab}/Subjects/{row.subject}/{row.date}/{row.number:03d}" for row in some.itertuples(index=False)]

    def _joined(self, name: str) -> pa.Table:
        large = pq.read_table(self.large / name)
        small = pq.read_table(self.archive.tables / name).select(large.column_names)
        return pa.concat_tables([large, small.cast(large.schema)])


def _with_other_sizes(table: pa.Table, changed: int, by: int) -> pa.Table:
    """Large tables are sorted by session, so that rows far from each other are of different sessions."""
    at = table.schema.get_field_index("file_size")
    sizes = table.column(at).to_numpy().copy()
    sizes[: len(sizes) // changed * changed : len(sizes) // changed] += by
    return table.set_column(at, table.schema.field(at), pa.array(sizes, table.schema.field(at).type))


def _write(table: pa.Table, file: Path, created: str) -> None:
    metadata = dict(table.schema.metadata)
    metadata[KEY] = json.dumps({**json.loads(metadata[KEY]), "date_created": created}).encode()
    pq.write_table(table.replace_schema_metadata(metadata), file)
