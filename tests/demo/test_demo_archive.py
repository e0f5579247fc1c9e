"""The demo's archive: every file can be read, agrees with the tables, and is the same whenever it is made."""

import hashlib
import io
import json
import multiprocessing
import shutil
import zipfile
from collections import defaultdict
from datetime import date
from pathlib import Path
from uuid import RFC_4122, UUID

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from one_of_tables import one_of

from onefs import alf
from onefs.demo.archive import Manifest, make_archive
from onefs.demo.raw import LARGE_BYTES, LargeRecording
from onefs.errors import CacheDamagedError, UsageError

pytestmark = pytest.mark.slow

READERS = {
    "npy": np.load,
    "pqt": pd.read_parquet,
    "csv": pd.read_csv,
    "tsv": lambda path: pd.read_csv(path, sep="\t"),
    "htsv": lambda path: pd.read_csv(path, sep="\t"),
    "ssv": lambda path: pd.read_csv(path, sep=" "),
    "json": lambda path: json.loads(path.read_text()),
    "ch": lambda path: json.loads(path.read_text()),
    "jsonable": lambda path: [json.loads(line) for line in path.read_text().splitlines()],
    "meta": lambda path: dict(line.split("=", 1) for line in path.read_text().splitlines()),
    "mp4": lambda path: path.read_bytes()[4:8] == b"ftyp",
    "cbin": lambda path: path.read_bytes()[:2] == b"\x78\x9c",
}
ROWS = ("npy", "pqt", "csv", "tsv", "htsv")


@pytest.fixture(scope="module")
def sessions(archive: Path) -> pd.DataFrame:
    return pd.read_parquet(archive / "tables/sessions.pqt")


@pytest.fixture(scope="module")
def datasets(archive: Path, sessions: pd.DataFrame) -> pd.DataFrame:
    """The table of datasets, with the path of each in the tree and on the server."""
    table = pd.read_parquet(archive / "tables/datasets.pqt").reset_index()
    roots = {eid: alf.session_path(row.lab, row.subject, row.date, row.number) for eid, row in sessions.iterrows()}
    table["path"] = [f"{roots[eid]}/{path}" for eid, path in zip(table.eid, table.rel_path, strict=True)]
    table["served"] = [alf.archive_path(path, UUID(each)) for path, each in zip(table.path, table.id, strict=True)]
    return table


def tree_digest(directory: Path) -> dict[str, str]:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(p.relative_to(directory)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_is_as_large_as_promised(sessions: pd.DataFrame, datasets: pd.DataFrame) -> None:
    assert sessions.lab.nunique() == 2
    assert sessions.subject.nunique() >= 4
    assert len(sessions) >= 12
    assert len(datasets) >= 300
    assert datasets.id.is_unique and datasets.path.is_unique
    assert {"npy", "csv", "tsv", "json", "pqt", "htsv", "meta", "ch", "mp4", "cbin"} <= {
        name.rsplit(".", 1)[1] for name in datasets.rel_path
    }


def test_sizes_and_digests_are_those_of_the_tables(archive: Path, datasets: pd.DataFrame) -> None:
    virtual = Manifest.read(archive).virtual
    on_disk = {str(p.relative_to(archive / "data/public")) for p in (archive / "data/public").rglob("*.*")}
    on_disk = {path for path in on_disk if (archive / "data/public" / path).is_file()}
    aggregates = {path for path in on_disk if path.startswith("aggregates/")}
    assert on_disk == set(datasets.served) - set(virtual) | aggregates
    for row in datasets.itertuples():
        if row.served not in virtual:
            content = (archive / "data/public" / row.served).read_bytes()
            assert (len(content), hashlib.md5(content).hexdigest()) == (row.file_size, row.hash), row.path


def test_one_large_recording_is_served_but_not_stored(archive: Path, datasets: pd.DataFrame) -> None:
    ((path, seed),) = Manifest.read(archive).virtual.items()
    row = datasets.set_index("served").loc[path]
    assert path.endswith(".cbin")
    assert row.file_size == LARGE_BYTES == 256 << 20
    with LargeRecording(seed) as stream:
        assert hashlib.file_digest(io.BufferedReader(stream, 1 << 20), "md5").hexdigest() == row.hash


def test_ids_are_uuids_of_version_4(sessions: pd.DataFrame, datasets: pd.DataFrame, archive: Path) -> None:
    known = json.loads((archive / "database.json").read_text())
    pids = [probe["pid"] for line in json.loads((archive / "tables/QC.json").read_text())
            for probe in line.get("probe_insertions", ())]  # fmt: skip
    ids = [*sessions.index, *datasets.id, *pids, *(each["id"] for each in known["base_sessions"])]
    assert pids and known["base_sessions"]
    assert {(UUID(each).version, UUID(each).variant) for each in ids} == {(4, RFC_4122)}


def test_names_are_alf(datasets: pd.DataFrame) -> None:
    for rel_path in datasets.rel_path:
        assert alf.parse_file_name(alf.split_relative(rel_path).name), rel_path
        assert alf.is_safe_relative(rel_path)


def test_every_file_can_be_read(archive: Path, datasets: pd.DataFrame) -> None:
    for row in datasets.itertuples():
        path = archive / "data/public" / row.served
        if path.exists():
            content = READERS[row.rel_path.rsplit(".", 1)[1]](path)
            assert content is not False and np.size(content) > 0, row.path


def test_the_parts_of_an_object_have_the_same_number_of_rows(archive: Path, datasets: pd.DataFrame) -> None:
    rows = defaultdict(dict)
    for row in datasets.itertuples():
        collection, revision, name = alf.split_relative(row.rel_path)
        parts = alf.parse_file_name(name)
        if parts.extension in ROWS:
            content = READERS[parts.extension](archive / "data/public" / row.served)
            rows[row.eid, collection, parts.object, revision][name] = len(content)
    counts = {key: set(files.values()) for key, files in rows.items()}
    assert all(len(count) == 1 for count in counts.values()), rows
    for (eid, collection, name, revision), count in counts.items():
        if revision and name != "spikes":
            assert count == counts[eid, collection, name, ""]


def test_it_has_revisions_probes_and_every_qc(datasets: pd.DataFrame) -> None:
    assert set(datasets.qc) == {"NOT_SET", "PASS", "WARNING", "FAIL", "CRITICAL"}
    parts = [alf.split_relative(path) for path in datasets.rel_path]
    assert {part.revision for part in parts} >= {"", "2023-10-02", "2024-05-06", "2024-05-06a", "2025-03-03"}
    assert {part.collection for part in parts} >= {"alf/probe00/pykilosort", "alf/probe01/pykilosort"}


def test_every_file_has_one_default_edition(datasets: pd.DataFrame) -> None:
    parts = [alf.split_relative(path) for path in datasets.rel_path]
    names = [f"{part.collection}/{part.name}" for part in parts]
    assert (datasets.groupby([datasets.eid, pd.Series(names)]).default_revision.sum() == 1).all()
    spikes = [part.revision == "2024-05-06" for part in parts]
    assert datasets[spikes].default_revision.all()


def test_a_session_without_datasets_is_there(sessions: pd.DataFrame, datasets: pd.DataFrame) -> None:
    assert len(set(sessions.index) - set(datasets.eid)) == 1


def test_tables_are_packed_as_an_export_packs_them(archive: Path, sessions: pd.DataFrame) -> None:
    info = json.loads((archive / "tables/cache_info.json").read_text())
    assert set(info) == {"date_created", "origin", "min_api_version", "tables"}
    assert info["tables"]["sessions"]["nrecs"] == len(sessions)
    with zipfile.ZipFile(archive / "tables/cache.zip") as packed:
        assert packed.testzip() is None
        assert packed.namelist() == ["sessions.pqt", "datasets.pqt", "QC.json", "cache_info.json"]
        for name in packed.namelist():
            assert packed.read(name) == (archive / "tables" / name).read_bytes()


def test_releases_have_tables_of_their_own(archive: Path, datasets: pd.DataFrame) -> None:
    for tag in ("2024_Q2_Demo_et_al", "Demowide"):
        held = pd.read_parquet(archive / "tables" / tag / "datasets.pqt")
        within = pd.read_parquet(archive / "tables" / tag / "sessions.pqt")
        assert 0 < len(held) < len(datasets)
        assert set(held.index.get_level_values("id")) < set(datasets.id)
        assert set(held.index.get_level_values("eid")) == set(within.index)
        metadata = json.loads(pq.read_schema(archive / "tables" / tag / "datasets.pqt").metadata[b"one_metadata"])
        info = json.loads((archive / "tables" / tag / "cache_info.json").read_text())
        assert metadata["database_tags"] == info["database_tags"] == [tag]


def test_aggregates_join_the_sessions_of_a_subject(archive: Path, sessions: pd.DataFrame) -> None:
    database = json.loads((archive / "database.json").read_text())
    assert len(database["aggregates"]) == sessions.subject.nunique()
    for each in database["aggregates"]:
        path = archive / "data/public/aggregates" / alf.archive_path(each["path"], UUID(each["id"]))
        content = path.read_bytes()
        assert (len(content), hashlib.md5(content).hexdigest()) == (each["size_bytes"], each["md5"])
        assert set(pd.read_parquet(path).session) <= set(sessions.index)


def test_two_processes_at_once_make_the_same_archive_anew(archive: Path, tmp_path: Path) -> None:
    """In the place of an archive of another layout, and beside what was left by one that was killed."""
    (tmp_path / "again/tables").mkdir(parents=True)
    Manifest(layout=0, seed=1, virtual={}).write(tmp_path / "again")
    left_behind = tmp_path / ".again.making.killed" / "data"
    left_behind.mkdir(parents=True)
    context = multiprocessing.get_context("spawn")
    makers = [context.Process(target=make_archive, args=(tmp_path / "again",)) for _ in range(2)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
        assert maker.exitcode == 0
    assert tree_digest(tmp_path / "again") == tree_digest(archive)
    assert {path.name for path in tmp_path.iterdir()} <= {"again", ".again.lock"}


def test_what_is_there_is_not_made_again(archive: Path) -> None:
    before = archive.stat()
    make_archive(archive)
    assert archive.stat() == before


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("all my work")
    with pytest.raises(UsageError, match="something else is there"):
        make_archive(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheDamagedError, match="file/archive"):
        make_archive(tmp_path / "file" / "archive")


@pytest.mark.filterwarnings("ignore")
def test_one_reads_it(archive: Path, datasets: pd.DataFrame, sessions: pd.DataFrame, tmp_path: Path) -> None:
    ephys = next(eid for eid, row in sessions.iterrows() if row.date == date(2023, 4, 18))
    for name in ("sessions.pqt", "datasets.pqt"):
        shutil.copy(archive / "tables" / name, tmp_path)
    for row in datasets[datasets.eid == ephys].itertuples():
        if (archive / "data/public" / row.served).exists():
            (tmp_path / row.path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(archive / "data/public" / row.served, tmp_path / row.path)

    one = one_of(tmp_path)

    assert {str(eid) for eid in one.search()} == set(sessions.index)
    assert len(one.search(lab="southlab", datasets="spikes.times.npy")) >= 2
    trials = one.load_object(ephys, "trials", collection="alf")
    assert len(trials["choice"]) == len(trials["goCueTrigger_times"]) == 180
    spikes = one.load_object(ephys, "spikes", collection="alf/probe01/pykilosort")
    newest = one.load_dataset(ephys, "spikes.times.npy", "alf/probe01/pykilosort", revision="2024-05-06")
    assert np.array_equal(spikes["times"], newest)
    assert len(one.load_object(ephys, "wheel")["position"]) == len(one.load_object(ephys, "wheel")["timestamps"])
