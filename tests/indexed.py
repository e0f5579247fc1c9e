"""Folders of ALF files that are indexed, and what their tables tell."""

import os
from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq

from onefs.indexer.run import IndexOptions, IndexResult, index
from onefs.indexer.scan import Skipped
from onefs.workers import LocalWorkers, Workers

OLD_NS = 1_577_836_800_000_000_001
"""So old that a file's mtime tells every change."""


def fill(root: Path, *files: str) -> Path:
    """Make files that have their path as contents."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(os.fsencode(file))
        os.utime(root / file, ns=(OLD_NS, OLD_NS))
    return root


def make_tables(root: Path, out: Path | None = None, *, workers: Workers | None = None, **options) -> IndexResult:
    """Index a folder."""
    if workers:
        return index(root, out or root, IndexOptions(**options), workers)
    with LocalWorkers(2) as local:
        return index(root, out or root, IndexOptions(**options), local)


def skipped(root: Path, out: Path) -> dict[str, Skipped]:
    """Why each path from the root on is not indexed."""
    found: list[tuple[Skipped, str]] = []
    with LocalWorkers(2) as workers:
        result = index(root, out, IndexOptions(may_be_empty=True), workers, lambda *each: found.append(each))
    assert sum(result.skipped.values()) == len(found)
    return {path.removeprefix(f"{root}/"): why for why, path in found}


def table_rows(file: Path) -> list[dict]:
    """The rows of a table. pyarrow takes no path that is not UTF-8."""
    with file.open("rb") as stream:
        return pq.read_table(stream).to_pylist()


def rows(out: Path) -> dict[str, dict]:
    """The rows of the datasets table by path, with the session in it."""
    sessions = {row["id"]: row for row in table_rows(out / "sessions.pqt")}
    found = {}
    for row in table_rows(out / "datasets.pqt"):
        session = sessions[row["eid"]]
        lab = f"{session['lab']}/Subjects/" if session["lab"] else ""
        folder = f"{lab}{session['subject']}/{session['date']}/{session['number']:03d}"
        found[f"{folder}/{row['rel_path']}"] = row
    return found


def hashes(out: Path) -> dict[str, str | None]:
    """The MD5s in the table by path."""
    return {path: row["hash"] for path, row in rows(out).items()}


def contents(out: Path) -> list[list]:
    """All rows of both tables, in their order."""
    return [table_rows(out / name) for name in ("sessions.pqt", "datasets.pqt")]


def left_over(out: Path) -> Iterable[str]:
    """The names of what stands in a directory beside the tables and the state."""
    return sorted({path.name for path in out.iterdir()} - {"sessions.pqt", "datasets.pqt", ".onefs"})
