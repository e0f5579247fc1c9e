"""Pruning a cache directory by the tables in it: what counts as listed, what stays, and what goes."""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from caches import BYTES, DAY, FOLDER, SESSION, fetched, put, tables
from table_shapes import a_dataset, a_session, an_id
from waiting import wait_until

from onefs import alf
from onefs.api.cache import make_parquet_db
from onefs.archive.cache_tables import DAY_S, CacheTables
from onefs.archive.pruning import Rules, Unlisted, prune
from onefs.cache.prunable import CHANGED, IN_USE, MAY_BE_PINNED, NOT_OURS, PINNED, RECENT
from onefs.cache.store import ContentStore
from onefs.catalogue.tables import write_tables
from onefs.errors import BusyError, OnefsError, TableError, UsageError

DELETE = Rules(is_delete=True, emptied_folders=True)
"""As if all files had been there for long."""
A_DAY_OLD = Rules(is_delete=True, others_before_s=time.time() - 86400, emptied_folders=True)


def pruned(cache: Path, rules: Rules = DELETE) -> list[Unlisted]:
    return list(prune(cache, CacheTables(cache), rules))


def going(found: Iterable[Unlisted]) -> list[str]:
    return [each.path for each in found if not (each.stays or each.failure)]


def everything(cache: Path) -> set[Path]:
    return {path for path in cache.rglob("*") if alf.STATE_FOLDER not in path.parts}


# -- what counts as listed -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        f"{FOLDER}/alf/a.b.npy",
        f"{FOLDER}/alf/a.b.{an_id('any')}.npy",
        "lab/Subjects/S/2020-07-01/1/alf/a.b.npy",
        "S/2020-07-01/001/alf/a.b.npy",
        f"{FOLDER}/alf/probe00/#2024-01-01#/a.b.npy",
        f"{FOLDER}/gone.b.npy",
        "any/Subjects/nolab/2020-07-01/003/a.b.npy",
        f"{FOLDER}/of.release.npy",
        f"{FOLDER}/of.replay.npy",
    ],
)
def test_what_any_table_has_is_not_touched(path: str, tmp_path: Path) -> None:
    without_lab = a_session("without lab", "", "nolab", DAY, 3)
    tables(
        tmp_path,
        a_dataset(SESSION, "alf/probe00/#2024-01-01#/a.b.npy"),
        a_dataset(SESSION, "gone.b.npy", exists=False),
        a_dataset(without_lab, "a.b.npy"),
        sessions=[without_lab],
    )
    tables(tmp_path / "2024_release", a_dataset(SESSION, "of.release.npy"))
    tables(tmp_path / ".onefs/replay/0123abcd", a_dataset(SESSION, "of.replay.npy"))
    put(tmp_path, path)
    assert pruned(tmp_path) == []
    assert (tmp_path / path).read_bytes() == BYTES


def test_what_the_tables_do_not_have_goes_and_nothing_else(tmp_path: Path) -> None:
    tables(tmp_path)
    listed = put(tmp_path, f"{FOLDER}/alf/a.b.npy")
    others = put(
        tmp_path,
        f"{FOLDER}/alf/notes.txt",
        f"{FOLDER}/alf/array.zarr/0.0.0",
        "other/Subjects/S/2020-07-01/001/read me",
        "aggregates/Subjects/S/a.b.npy",
        "a.b.npy",
        f"{FOLDER}/.onefs/a.b.npy",
        ".onefs/lab/Subjects/S/2020-07-01/001/a.b.npy",
        ".onefs/quarantine/a.b.npy",
        ".onefs/partial/a.b.npy",
    )
    missing = [
        f"{FOLDER}/a.b.npy",
        f"{FOLDER}/alf/#2024-01-01#/a.b.npy",
        "lab/Subjects/S/2020-07-01/002/alf/a.b.npy",
        "lab/Subjects/S/2020-07-01/002",
        "lab/Subjects/T/2020-07-01/001/alf/a.b.npy",
        "lab/Subjects/T/2020-07-01/001",
        "other/Subjects/S/2020-07-01/001/alf/a.b.npy",
    ]
    put(tmp_path, *(path for path in missing if path.endswith(".npy")))
    before = everything(tmp_path)
    assert going(pruned(tmp_path, replace(DELETE, is_delete=False))) == missing
    assert everything(tmp_path) == before
    assert going(pruned(tmp_path)) == missing
    assert all(file.read_bytes() == BYTES for file in (*listed, *others))
    assert {path.relative_to(tmp_path).as_posix() for path in before - everything(tmp_path)} == {
        *missing,
        f"{FOLDER}/alf/#2024-01-01#",
        "lab/Subjects/S/2020-07-01/002/alf",
        "lab/Subjects/T/2020-07-01/001/alf",
        "lab/Subjects/T/2020-07-01",
        "lab/Subjects/T",
        "other/Subjects/S/2020-07-01/001/alf",
    }
    assert pruned(tmp_path) == []


def test_empty_folders_of_unknown_sessions_go_and_those_of_known_ones_stay(tmp_path: Path) -> None:
    tables(tmp_path)
    for folder in (f"{FOLDER}/alf/empty", "T/2020-07-01/001/alf/empty", "T/2020-07-01/002", "not/a/session"):
        (tmp_path / folder).mkdir(parents=True)
    assert [each.stays for each in pruned(tmp_path, A_DAY_OLD)] == [RECENT, RECENT]
    assert going(pruned(tmp_path)) == ["T/2020-07-01/001", "T/2020-07-01/002"]
    assert not (tmp_path / "T").exists()
    assert (tmp_path / FOLDER / "alf/empty").is_dir()
    assert (tmp_path / "not/a/session").is_dir()


def test_other_archives_below_are_left_alone(tmp_path: Path) -> None:
    tables(tmp_path)
    tables(tmp_path / "archives/other")
    (tmp_path / "archives/cache/.onefs").mkdir(parents=True)
    files = put(tmp_path, "archives/other/T/2020-07-01/001/a.b.npy", "archives/cache/T/2020-07-01/001/a.b.npy")
    assert pruned(tmp_path) == []
    assert all(file.exists() for file in files)


@pytest.mark.parametrize(
    ("part", "below"),
    [("lab", ""), ("lab", "/Subjects"), ("lab/Subjects/S", ""), ("lab/Subjects/S", "/2020-07-01/001")],
)
def test_a_folder_that_is_renamed_with_its_tables_keeps_its_files(part: str, below: str, tmp_path: Path) -> None:
    (file,) = put(tmp_path, f"{FOLDER}/alf/a.b.npy")
    make_parquet_db(Path(f"{tmp_path}/{part}{below}"))
    (tmp_path / part).rename(tmp_path / f"{part}2")
    assert pruned(Path(f"{tmp_path}/{part}2{below}")) == []
    assert not file.exists()
    assert len(list(tmp_path.rglob("a.b.npy"))) == 1


def test_links_are_neither_followed_nor_removed(tmp_path: Path) -> None:
    cache = tables(tmp_path / "cache")
    (outside,) = put(tmp_path / "outside", "2020-07-01/001/a.b.npy")
    put(cache, f"{FOLDER}/alf/a.b.npy", "U/2020-07-01/001/c.d.npy")
    links = [cache / "linked", cache / FOLDER / "alf/more", cache / "U/2020-07-01/002", cache / FOLDER / "x.y.npy"]
    for link, target in zip(links, [outside.parents[2], outside.parent, outside.parent, outside], strict=True):
        link.symlink_to(target)
    assert going(pruned(cache)) == ["U/2020-07-01/001/c.d.npy", "U/2020-07-01/001"]
    assert all(link.is_symlink() for link in links)
    assert outside.read_bytes() == BYTES


# -- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", ["no folder", "no tables", "one table", "no sessions", "no datasets", "odd", "a session lost", "damaged"]
)
def test_without_whole_tables_nothing_is_touched(fault: str, tmp_path: Path) -> None:
    cache = tables(tmp_path / "cache")
    put(cache, f"{FOLDER}/x.y.npy")
    error: type[OnefsError] = TableError
    match fault:
        case "no folder":
            cache, error = tmp_path / "other", UsageError
        case "no tables":
            (cache / "sessions.pqt").unlink()
            (cache / "datasets.pqt").rename(cache / "old")
        case "one table":
            (cache / "datasets.pqt").unlink()
        case "no sessions":
            write_tables(cache, [], [], created="2024-01-03 00:00", origin="x")
        case "no datasets":
            write_tables(cache, [SESSION], [], created="2024-01-03 00:00", origin="x")
        case "odd":
            tables(cache, a_dataset(SESSION, "alf//x.y.npy"))
        case "a session lost":
            rows = [a_dataset(each, "a.b.npy") for each in (SESSION, a_session("lost", "lab", "T", DAY, 1))]
            write_tables(cache, [SESSION], rows, created="2024-01-03 00:00", origin="x")
        case "damaged":
            tables(cache / "release")
            (cache / "release" / "datasets.pqt").write_bytes(b"PAR1")
    before = everything(tmp_path)
    with pytest.raises(error):
        pruned(cache)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("where", ["", "2024_release", ".onefs/replay/0123abcd"])
def test_it_ends_when_tables_are_replaced_or_added_meanwhile(where: str, tmp_path: Path) -> None:
    tables(tmp_path)
    put(tmp_path, f"{FOLDER}/x.y.npy", "T/2020-07-01/001/x.y.npy")
    found = prune(tmp_path, CacheTables(tmp_path), DELETE)
    assert next(found).path == "T/2020-07-01/001/x.y.npy"
    tables(tmp_path / where, a_dataset(SESSION, "x.y.npy"))
    with pytest.raises(BusyError):
        list(found)
    assert (tmp_path / FOLDER / "x.y.npy").exists()


# -- what stays ------------------------------------------------------------------------------------------------------


def test_what_others_put_there_stays_for_a_day_and_what_onefs_fetched_does_not(tmp_path: Path) -> None:
    tables(tmp_path)
    put(tmp_path, f"{FOLDER}/a.others.npy")
    changed, ours = a_dataset(SESSION, "b.changed.npy"), a_dataset(SESSION, "c.ours.npy")
    fetched(tmp_path, ours)
    fetched(tmp_path, changed).write_bytes(b"other bytes")
    fetched(tmp_path, a_dataset(SESSION, "d.verified.npy"), source="")
    with_uuid = a_dataset(SESSION, "e.uuid.npy")
    fetched(tmp_path, with_uuid, with_uuid=True)
    found = {Path(each.path).name: each.stays for each in pruned(tmp_path, A_DAY_OLD)}
    assert found == {
        "a.others.npy": RECENT,
        "b.changed.npy": RECENT,
        "c.ours.npy": "",
        "d.verified.npy": RECENT,
        f"e.uuid.{with_uuid.id}.npy": "",
    }
    assert {path.name for path in (tmp_path / FOLDER).iterdir()} == {"a.others.npy", "b.changed.npy", "d.verified.npy"}
    with closing(ContentStore(tmp_path, tmp_path / alf.STATE_FOLDER)) as store:
        assert store.state.stamp(ours.id) is None
        assert store.state.stamp(changed.id) is not None
    assert len(going(pruned(tmp_path))) == 3


def test_what_is_newer_than_the_tables_stays_and_all_where_they_are_indexed(tmp_path: Path) -> None:
    put(tmp_path / "a", f"{FOLDER}/a.b.npy")
    make_parquet_db(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    (tmp_path / "link").symlink_to("a")
    later_s = time.time() + 10 * DAY_S
    stays = {}
    for name in ("a", "link", "copy"):
        folder = tmp_path / name
        put(folder, f"{FOLDER}/new.b.npy")
        cache = CacheTables(folder)
        found = prune(folder, cache, Rules(is_delete=True, others_before_s=cache.others_before_s(later_s)))
        stays[name] = [each.stays for each in found]
        assert (folder / FOLDER / "new.b.npy").exists()
    assert stays == {"a": [NOT_OURS], "link": [NOT_OURS], "copy": [RECENT]}


@pytest.mark.parametrize("of", ["another archive", "a release"])
def test_by_other_tables_than_those_of_the_archive_only_what_onefs_fetched_goes(of: str, tmp_path: Path) -> None:
    tables(tmp_path if of == "another archive" else tmp_path / "2024_release")
    put(tmp_path, f"{FOLDER}/x.y.npy", "T/2020-07-01/001/alf/a.b.npy")
    if of == "a release":
        put(tmp_path, f"{FOLDER}/alf/a.b.npy")
    (tmp_path / "U/2020-07-01/001").mkdir(parents=True)
    ours = fetched(tmp_path, a_dataset(SESSION, "ours.b.npy"))
    cache = CacheTables(tmp_path)
    found = list(prune(tmp_path, cache, replace(DELETE, others_before_s=cache.others_before_s(time.time()))))
    assert {each.path: each.stays for each in found} == {
        "T/2020-07-01/001/alf/a.b.npy": NOT_OURS,
        "U/2020-07-01/001": NOT_OURS,
        f"{FOLDER}/ours.b.npy": "",
        f"{FOLDER}/x.y.npy": NOT_OURS,
    }
    assert not ours.exists()


def test_what_is_pinned_stays_whoever_fetched_it(tmp_path: Path) -> None:
    tables(tmp_path)
    ours, theirs = a_dataset(SESSION, "ours.b.npy"), a_dataset(SESSION, "theirs.b.npy")
    named, moved = a_dataset(SESSION, "named.b.npy"), a_dataset(SESSION, "moved.b.npy")
    fetched(tmp_path, ours)
    fetched(tmp_path, theirs, source="").write_bytes(b"changed since")
    fetched(tmp_path, moved)
    tables(tmp_path, replace(moved, rel_path="elsewhere.b.npy"))
    put(tmp_path, alf.archive_path(named.path, named.id), f"{FOLDER}/other.b.npy")
    store = ContentStore(tmp_path, tmp_path / ".onefs")
    for dataset in (ours, theirs, moved):
        store.pin(dataset)
    assert going(pruned(tmp_path, replace(DELETE, is_delete=False)))[-1] == f"{FOLDER}/other.b.npy"
    store.pin(named)
    found = pruned(tmp_path)
    assert {each.path.rpartition("/")[2]: each.stays for each in found} == {
        "moved.b.npy": PINNED,
        f"named.b.{named.id}.npy": PINNED,
        "other.b.npy": MAY_BE_PINNED,  # as no stamp tells that it is not the one that is pinned
        "ours.b.npy": PINNED,
        "theirs.b.npy": PINNED,
    }
    assert going(found) == []
    store.unpin(named)
    assert going(pruned(tmp_path)) == [alf.archive_path(named.path, named.id), f"{FOLDER}/other.b.npy"]


def test_what_is_being_fetched_stays(tmp_path: Path) -> None:
    tables(tmp_path)
    dataset = a_dataset(SESSION, "x.y.npy")
    fetched(tmp_path, dataset)
    with ContentStore(tmp_path, tmp_path / ".onefs").lock(dataset.id, threading.Event()):
        assert [each.stays for each in pruned(tmp_path)] == [IN_USE]
    assert [each.stays for each in pruned(tmp_path)] == [""]


def test_a_file_that_is_another_by_now_stays(tmp_path: Path) -> None:
    tables(tmp_path)
    first, second = put(tmp_path, f"{FOLDER}/a.c.npy", f"{FOLDER}/b.c.npy")
    found = prune(tmp_path, CacheTables(tmp_path), DELETE)
    assert next(found).path == f"{FOLDER}/a.c.npy"  # the others of this folder were looked at, too
    beside = tmp_path / "beside"
    beside.write_bytes(BYTES)
    beside.replace(second)
    assert [each.stays for each in found] == [CHANGED]
    assert not first.exists()
    assert second.read_bytes() == BYTES


def test_a_folder_that_somebody_makes_a_link_leads_nowhere(tmp_path: Path) -> None:
    cache = tables(tmp_path / "cache")
    put(cache, f"{FOLDER}/a.c.npy", f"{FOLDER}/alf/x.y.npy")
    found = prune(cache, CacheTables(cache), DELETE)
    next(found)
    (cache / FOLDER / "alf").rename(tmp_path / "aside")
    (cache / FOLDER / "alf").symlink_to(tmp_path / "aside")
    assert [(each.path, bool(each.failure)) for each in found] == [(f"{FOLDER}/alf/x.y.npy", True)]
    assert (tmp_path / "aside/x.y.npy").exists()


# -- failures --------------------------------------------------------------------------------------------------------


def test_what_cannot_be_read_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    tables(tmp_path)
    put(tmp_path, f"{FOLDER}/x.y.npy", "T/2020-07-01/001/x.y.npy", "U/2020-07-01/001/x.y.npy")
    at = os.open(tmp_path / "T/2020-07-01/001", os.O_RDONLY)
    for _ in range(18):  # so deep that the system refuses the path
        os.mkdir("x" * 250, dir_fd=at)
        above, at = at, os.open("x" * 250, os.O_RDONLY, dir_fd=at)
        os.close(above)
    os.close(at)
    found = pruned(tmp_path)
    assert [each.path[:16] for each in found if each.failure] == ["T/2020-07-01/001"]
    assert going(found) == ["U/2020-07-01/001/x.y.npy", "U/2020-07-01/001", f"{FOLDER}/x.y.npy"]
    assert (tmp_path / "T/2020-07-01/001/x.y.npy").exists()


def test_more_folders_inside_each_other_than_python_recurses(tmp_path: Path) -> None:
    tables(tmp_path)
    session = tmp_path / "T/2020-07-01/001"
    session.mkdir(parents=True)
    at = os.open(session, os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("x", dir_fd=at)
        above, at = at, os.open("x", os.O_RDONLY, dir_fd=at)
        os.close(above)
    os.close(at)
    try:
        assert going(pruned(tmp_path)) == ["T/2020-07-01/001"]
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "T"], check=True)  # pytest cannot remove what is so deep


def test_it_can_be_broken_off_and_run_again(tmp_path: Path) -> None:
    tables(tmp_path)
    put(tmp_path, "T/2020-07-01/001/x.y.npy", "U/2020-07-01/001/x.y.npy")
    found = prune(tmp_path, CacheTables(tmp_path), DELETE)
    next(found)
    found.close()
    assert (tmp_path / "U/2020-07-01/001/x.y.npy").exists()
    assert going(pruned(tmp_path)) == ["T/2020-07-01/001", "U/2020-07-01/001/x.y.npy", "U/2020-07-01/001"]


def test_two_at_once_remove_everything_once(tmp_path: Path) -> None:
    tables(tmp_path)
    paths = [f"S{n % 40}/2020-07-01/00{n % 5}/alf/a{n}.b.npy" for n in range(400)]
    put(tmp_path, f"{FOLDER}/alf/a.b.npy", *paths)
    results = list[list[Unlisted]]()
    threads = [threading.Thread(target=lambda: results.append(pruned(tmp_path))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2
    assert not any(each.failure for found in results for each in found)
    removed = [path for found in results for path in going(found) if path.endswith(".npy")]
    assert sorted(removed) == sorted(paths)
    assert everything(tmp_path) == {
        *(tmp_path / FOLDER / "alf/a.b.npy").parents[:7],
        tmp_path / FOLDER / "alf/a.b.npy",
        tmp_path / "sessions.pqt",
        tmp_path / "datasets.pqt",
    } - {tmp_path, *tmp_path.parents}


def test_what_went_counts_no_more_for_the_limit_of_the_cache(tmp_path: Path) -> None:
    tables(tmp_path)
    fetched(tmp_path, a_dataset(SESSION, "x.y.npy"))
    with closing(ContentStore(tmp_path, tmp_path / alf.STATE_FOLDER)) as store:
        store.usage(counts=True)
        wait_until(lambda: store.usage().files == 1, "the cache is counted")
        assert going(pruned(tmp_path)) == [f"{FOLDER}/x.y.npy"]
        usage = store.usage()
        assert (usage.files, usage.used_bytes) == (0, 0)
