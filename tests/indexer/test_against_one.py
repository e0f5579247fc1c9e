"""The tables of the demo's files, against the demo's own tables row by row, and as ONE reads and makes them."""

import hashlib
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from indexed import contents, fill, make_tables, rows
from mounted import Mounted
from one.alf import cache as reference
from one.alf import io as alfio
from one.alf.path import remove_uuid_string
from one_of_tables import hash_by_mebibytes, one_of

from onefs.catalogue.snapshot import load_snapshot
from onefs.demo.plan import NEVER_DEFAULT

pytestmark = pytest.mark.filterwarnings("ignore")
LONG_AGO = (1_000_000_000, 1_000_000_000)


@pytest.fixture(scope="module")
def folder(demo_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's files by the names that ONE gives them, indexed."""
    folder = tmp_path_factory.mktemp("demo") / "files"
    public = demo_archive / "data/public"
    for file in public.rglob("*.*"):
        if file.is_file():
            copy = folder / remove_uuid_string(file.relative_to(public))
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
            os.utime(copy, LONG_AGO)
    make_tables(folder, hash_files=True)
    return folder


@pytest.fixture(scope="module")
def demo_rows(demo_archive: Path, folder: Path) -> dict[str, dict]:
    """Those of the demo's own rows whose files are there: others are made by its server only when they are read."""
    return {path: row for path, row in rows(demo_archive / "tables").items() if (folder / path).exists()}


@pytest.fixture(scope="module")
def one(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield one_of(folder)


def revision_of(path: str) -> str:
    return path.split("#")[1] if "#" in path else ""


# -- the demo's own tables -------------------------------------------------------------------------------------------


def test_every_row_of_the_demo_comes_back(folder, demo_rows):
    found = rows(folder)
    assert found.keys() == demo_rows.keys()
    assert len(found) > 100
    for path, row in demo_rows.items():
        for name in ("rel_path", "file_size", "hash", "exists"):
            assert found[path][name] == row[name], (path, name)
        assert found[path]["qc"] == "NOT_SET"


def test_default_revisions_come_back_but_for_what_no_name_tells(demo_archive, folder, demo_rows):
    """The demo has revisions that are never the default though they are the greatest, and files that are not there."""
    greatest: dict[str, str] = {}
    for path in demo_rows:
        base = "/".join(_parts(path))
        greatest[base] = max(greatest.get(base, ""), revision_of(path))
    found = rows(folder)
    for path in demo_rows:
        assert found[path]["default_revision"] is (revision_of(path) == greatest["/".join(_parts(path))])
    others = rows(demo_archive / "tables").keys() - demo_rows.keys()
    never = {path for path in demo_rows if revision_of(path) in NEVER_DEFAULT}
    untold = {"/".join(_parts(path)) for path in others | never}
    told = {path for path in demo_rows if "/".join(_parts(path)) not in untold}
    assert len(told) > 100
    assert [found[path]["default_revision"] for path in told] == [demo_rows[path]["default_revision"] for path in told]


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if not part.startswith("#")]


def test_sessions_and_types_come_back(demo_archive, folder):
    columns = ["lab", "subject", "date", "number"]
    ours, theirs = pq.read_table(folder / "sessions.pqt"), pq.read_table(demo_archive / "tables/sessions.pqt")
    sessions = {tuple(row.values()) for row in theirs.select(columns).to_pylist()}
    assert {tuple(row.values()) for row in ours.select(columns).to_pylist()} <= sessions
    assert len(ours) > 1
    for name in ("sessions.pqt", "datasets.pqt"):
        ours, theirs = pq.read_schema(folder / name), pq.read_schema(demo_archive / "tables" / name)
        assert {field.name: field.type for field in ours} == {field.name: field.type for field in theirs}
        frame, of_demo = pd.read_parquet(folder / name), pd.read_parquet(demo_archive / "tables" / name)
        assert dict(frame.dtypes) == dict(of_demo.dtypes)
        assert frame.index.names == of_demo.index.names


def test_names_with_uuids_have_the_same_sizes_and_hashes(demo_archive, demo_rows, tmp_path):
    make_tables(demo_archive / "data/public", tmp_path, hash_files=True)
    found = {str(remove_uuid_string(Path(path))): row for path, row in rows(tmp_path).items()}
    told = {path: (row["file_size"], row["hash"]) for path, row in found.items()}
    assert told == {path: (row["file_size"], row["hash"]) for path, row in demo_rows.items()}


def test_what_is_mounted_has_every_file_with_its_md5(folder, demo_rows, tmp_path):
    with Mounted(folder, tmp_path) as mount:
        for path, row in demo_rows.items():
            data = (mount.path / path).read_bytes()
            assert (len(data), hashlib.md5(data).hexdigest()) == (row["file_size"], row["hash"])
            assert mount.xattr(path, "state") == "verified"
        tops = [top for top in mount.path.iterdir() if top.name != ".onefs"]
        shown = {str(file.relative_to(mount.path)) for top in tops for file in top.rglob("*.*") if file.is_file()}
    assert shown == demo_rows.keys()


# -- ONE -------------------------------------------------------------------------------------------------------------


def test_one_lists_the_same_files(one, demo_rows):
    listed = set()
    for eid in one.search():
        place = one.eid2path(eid)
        paths = one.list_datasets(eid, details=False)
        listed |= {(place / path).relative_to(one.cache_dir).as_posix() for path in paths}
        assert set(one.list_datasets(eid, details=True)["rel_path"]) == set(paths)
        revisions = {revision_of(path) for path in demo_rows if (one.cache_dir / path).is_relative_to(place)}
        assert set(one.list_revisions(eid)) == revisions
    assert listed == demo_rows.keys()


def test_one_loads_what_numpy_loads(one, folder, demo_rows):
    bases = sorted(path for path in demo_rows if path.endswith(".npy") and "#" not in path)
    for path in random.Random(12).sample(bases, 20):
        session = "/".join(path.split("/")[:5])
        collection, _, name = path.removeprefix(f"{session}/").rpartition("/")
        revisions = {revision_of(each) for each in demo_rows if "/".join(_parts(each)) == path}
        newest = f"#{max(revisions)}#/" if any(revisions) else ""
        expected = np.load(folder / session / collection / f"{newest}{name}")
        np.testing.assert_array_equal(one.load_dataset(session, name, collection=collection), expected)


def test_one_loads_objects(one, folder):
    n_loaded = 0
    for eid in one.search(datasets="spikes.times.npy"):
        for collection in one.list_collections(eid, filename="spikes.times.npy"):
            spikes = one.load_object(eid, "spikes", collection=collection)
            theirs = alfio.load_object(newest_of(one.eid2path(eid) / collection), "spikes")
            for name in ("times", "clusters"):
                np.testing.assert_array_equal(spikes[name], theirs[name])
            n_loaded += 1
    assert n_loaded


def newest_of(folder: Path) -> Path:
    return max((each for each in folder.glob("#*#")), default=folder)


def test_the_tables_of_one_are_the_same_but_for_its_faults(folder, tmp_path):
    reference.make_parquet_db(folder, tmp_path)
    theirs, ours = reference.load_tables(tmp_path), reference.load_tables(folder)
    assert told(ours) == told(theirs)
    assert (theirs["datasets"]["hash"] == "").all()
    ids = theirs["datasets"].index.get_level_values("id")
    assert not ids.is_unique
    assert ours["datasets"].index.get_level_values("id").is_unique


def told(tables: dict, *others: str) -> list[tuple]:
    joined = tables["datasets"].join(tables["sessions"], on="eid")
    columns = ["lab", "subject", "date", "number", "rel_path", "file_size", "exists", "qc", "projects", "task_protocol"]
    return sorted(joined[[*columns, *others]].astype(str).itertuples(index=False, name=None))


def test_the_hashes_of_one_are_the_same(tmp_path):
    root, out = (
        fill(tmp_path / "root", *(f"S{n}/2020-07-01/001/alf/{name}.b.npy" for n in "12" for name in "abc")),
        tmp_path,
    )
    make_tables(root, hash_files=True)
    hash_by_mebibytes()
    reference.make_parquet_db(root, out, hash_files=True)
    assert told(reference.load_tables(root), "hash") == told(reference.load_tables(out), "hash")


# -- between the two renames -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["sessions.pqt", "datasets.pqt"])
def test_one_and_onefs_read_a_new_table_beside_an_old_one(table, tmp_path):
    root, out = tmp_path / "root", tmp_path / "out"
    out.mkdir()
    fill(root, "S/2020-07-01/001/alf/a.b.npy", "gone/2020-07-01/001/alf/a.b.npy")
    make_tables(root, out)
    old = {name: (out / name).read_bytes() for name in ("sessions.pqt", "datasets.pqt")}
    shutil.rmtree(root / "gone")
    fill(root, "new/2020-07-01/001/alf/a.b.npy", "S/2020-07-01/001/alf/c.d.npy")
    make_tables(root, out)
    (out / table).write_bytes(old[table])
    sessions, datasets = contents(out)
    known = {row["id"] for row in sessions}
    assert not {row["eid"] for row in datasets} <= known
    snapshot = load_snapshot(out, tmp_path / "index")
    assert [len(snapshot.datasets(row)) for row in range(snapshot.n_sessions)]
    from one.api import One

    one = One(cache_dir=out, mode="local")
    for eid in one.search():
        one.list_datasets(eid)
    assert len(one.search()) == 2
    assert {str(eid) for eid in one.search(datasets="a.b.npy")} <= known
