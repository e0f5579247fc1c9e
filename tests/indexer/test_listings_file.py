"""The database of what was listed and hashed: damaged, moved, not writable, without room, or in use."""

import os
import random
import resource
import shutil
import sqlite3
import subprocess
from hashlib import md5

import pytest
from indexed import contents, fill, hashes, left_over, make_tables
from privileges import as_ordinary_user, remount

import onefs.indexer.listings
from onefs.errors import BusyError, NoRoomError, SourceError, TableError
from onefs.indexer.hash import Hashed
from onefs.indexer.listings import Listings
from onefs.indexer.scan import ScanOptions, scan_folders
from onefs.indexer.write import eid_of, key_of

FILES = tuple(f"S{n}/2020-07-01/001/alf/{name}.b.npy" for n in range(12) for name in "abcdefgh")
MD5S = {path: md5(path.encode()).hexdigest() for path in FILES}


@pytest.fixture
def root(tmp_path):
    return fill(tmp_path / "data", *FILES)


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def database(out):
    (path,) = (out / ".onefs").glob("listings-*.db")
    return path


# -- damaged ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0, 1, 99, 4096, 5000, 0.5, 0.9])
def test_a_truncated_database_is_begun_anew(keep, root, out):
    make_tables(root, out, hash_files=True)
    file = database(out)
    os.truncate(file, int(keep if keep == int(keep) else file.stat().st_size * keep))
    assert make_tables(root, out, hash_files=True).n_hashed == len(FILES)
    assert hashes(out) == MD5S


def test_random_bytes_anywhere_never_make_a_wrong_md5(root, out):
    make_tables(root, out, hash_files=True)
    file = database(out)
    good = file.read_bytes()
    used = [at for at, byte in enumerate(good) if byte]  # in pages without rows nothing can be wrong
    dice = random.Random(12)
    n_hashed = 0
    for _ in range(40):
        bad = bytearray(good)
        at, length = dice.choice(used), dice.choice([1, 1, 16, 512])
        bad[at : at + length] = dice.randbytes(len(bad[at : at + length]))
        file.write_bytes(bad)
        try:
            n_hashed += make_tables(root, out, hash_files=True, replaces=True).n_hashed
        except TableError as error:
            assert "another version" in str(error)
            continue
        assert hashes(out) == MD5S
    assert n_hashed >= 10 * len(FILES)


def test_a_wrong_md5_in_a_sound_database_is_found_out(root, out):
    make_tables(root, out, hash_files=True)
    with sqlite3.connect(database(out)) as db:
        db.execute("UPDATE session SET md5s = randomblob(length(md5s)) WHERE number = 3")
    db.close()
    assert make_tables(root, out, hash_files=True).n_hashed == len(FILES)
    assert hashes(out) == MD5S


def test_a_log_of_another_database_does_no_harm(root, out):
    make_tables(root, out, hash_files=True)
    file = database(out)
    file.with_name(f"{file.name}-wal").write_bytes(random.Random(1).randbytes(50_000))
    file.with_name(f"{file.name}-shm").write_bytes(bytes(32768))
    make_tables(root, out, hash_files=True)
    assert hashes(out) == MD5S


def test_a_database_of_another_version_stays(root, out):
    make_tables(root, out)
    db = sqlite3.connect(database(out))
    db.execute("PRAGMA user_version = 7")
    db.close()
    with pytest.raises(TableError, match=r"another version of onefs\. Update onefs, or remove that file"):
        make_tables(root, out)


# -- moved -----------------------------------------------------------------------------------------------------------


def test_a_folder_that_is_moved_with_its_tables_keeps_its_hashes(root, tmp_path):
    make_tables(root, hash_files=True)
    root.rename(tmp_path / "elsewhere")
    result = make_tables(tmp_path / "elsewhere", hash_files=True)
    assert (result.n_hashed, result.is_new) == (0, True)  # they tell where they come from
    assert make_tables(tmp_path / "elsewhere").is_new is False
    assert hashes(tmp_path / "elsewhere") == MD5S


def test_a_copy_of_a_folder_and_its_tables_is_hashed_by_itself(root, tmp_path):
    make_tables(root, hash_files=True)
    shutil.copytree(root, tmp_path / "copy", symlinks=True)
    assert make_tables(tmp_path / "copy", hash_files=True).n_hashed == len(FILES)
    assert make_tables(root, hash_files=True).is_new is False


def test_tables_of_another_folder_stay(root, out, tmp_path):
    make_tables(root, out)
    before = contents(out)
    other = fill(tmp_path / "other", "S/2020-07-01/001/a.b.npy")
    with pytest.raises(TableError, match=r"is of .*, not of .*other"):
        make_tables(other, out)
    assert contents(out) == before


# -- in use ----------------------------------------------------------------------------------------------------------


def test_one_run_at_a_time_into_one_directory(root, out, tmp_path):
    other = fill(tmp_path / "other", "S/2020-07-01/001/a.b.npy")
    with Listings(str(root), out):
        for folder in (root, other):
            with pytest.raises(BusyError, match="Another process is indexing into"):
                make_tables(folder, out)
    make_tables(root, out)


# -- interrupted -----------------------------------------------------------------------------------------------------


def test_hashes_are_taken_in_once_if_the_process_dies_after_any_commit(root, out, monkeypatch):
    make_tables(root, out)
    with Listings(str(root), out) as listings:
        (first, *_) = listings.sessions()
        files, n = first.files, first.number
        hashed = [Hashed(n, at, "", files.facts_of(at), bytes([at + 1] * 16)) for at in range(3, 8)]
        listings.add_hashes([*(Hashed(n, at, "", is_gone=True) for at in range(3)), *hashed])
    monkeypatch.setattr(onefs.indexer.listings, "COMMIT_AFTER", 1)
    changed = Listings._changed

    def die_when_it_is_committed(self):
        changed(self)
        os._exit(9)

    pid = os.fork()
    if not pid:
        Listings._changed = die_when_it_is_committed
        with Listings(str(root), out):
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    with Listings(str(root), out) as listings:
        (now,) = [each.files for each in listings.sessions() if each.number == n]
    assert now.by_path() == {files.paths[each.at]: (each.facts, each.md5) for each in hashed}


def test_an_error_in_the_midst_of_a_change_leaves_none_of_it(root, out):
    make_tables(root, out, hash_files=True)
    (root / FILES[0]).unlink()
    scanned = scan_folders([str(root)], ScanOptions())

    def interrupted() -> None:
        with Listings(str(root), out) as listings:
            for listing in scanned.listings:
                listings.put(listing, eid_of(key_of(listing.folder, "")))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with Listings(str(root), out) as listings:
        assert list(listings.gone()) == []
        assert listings.totals()[1] == len(FILES)


# -- not writable, no room -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["", ".onefs", "database", "lock"])
def test_what_is_not_writable_is_one_sentence(part, root, out):
    make_tables(root, out)
    before = contents(out)
    path = {"database": database(out), "lock": out / ".onefs/index.lock"}.get(part, out / part)
    path.chmod(0o555 if path.is_dir() else 0o444)
    fill(root, "T/2020-07-01/001/a.b.npy")
    with pytest.raises(TableError, match="cannot be") as caught:
        as_ordinary_user(make_tables, root, out)
    assert "\n" not in str(caught.value)
    assert contents(out) == before
    path.chmod(0o755)
    assert make_tables(root, out).n_files == len(FILES) + 1


@pytest.fixture
def disk(tmp_path):
    """A small disk."""
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", path], check=True)
    yield path
    subprocess.run(["umount", "-l", path], check=True)


@pytest.mark.needs_mount
def test_a_read_only_disk_is_one_sentence(root, disk):
    make_tables(root, disk)
    before = contents(disk)
    fill(root, "T/2020-07-01/001/a.b.npy")
    remount(disk, "ro")
    with pytest.raises(TableError, match=r"Read-only|readonly"):
        make_tables(root, disk)
    assert contents(disk) == before
    remount(disk, "rw")
    assert make_tables(root, disk).n_files == len(FILES) + 1


@pytest.mark.needs_mount
def test_on_a_full_disk_the_tables_stay_whatever_there_is_no_room_for(root, disk):
    make_tables(root, disk, hash_files=True)
    before = contents(disk)
    more = tuple(f"T/2020-07-{day:02d}/001/{'n' * 60}{n}.b.npy" for day in range(1, 20) for n in range(60))
    fill(root, *more)
    refused = 0
    free = os.statvfs(disk).f_bavail * 4096
    for left in range(0, free, 24 << 10):
        (disk / "ballast").write_bytes(bytes(free - left))
        try:
            make_tables(root, disk, hash_files=True)
        except NoRoomError as error:
            assert "\n" not in str(error)
            refused += 1
            assert contents(disk) == before
        else:
            break
        finally:
            (disk / "ballast").unlink()
        assert set(left_over(disk)) == set()
    assert refused > 5
    make_tables(root, disk, hash_files=True)
    assert hashes(disk) == MD5S | {path: md5(path.encode()).hexdigest() for path in more}
    assert left_over(disk) == []


def limited_to(n_bytes, *arguments):
    """Index where no file may be larger, as with some quotas."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))
    return make_tables(*arguments)


def test_files_that_may_not_grow_are_one_sentence(root, out):
    make_tables(root, out)
    before = contents(out)
    fill(root, *(f"T/2020-07-{day:02d}/001/{'n' * 60}{n}.b.npy" for day in range(1, 20) for n in range(60)))
    for n_bytes in range(1 << 12, 1 << 17, 1 << 14):
        with pytest.raises(TableError, match=r"cannot be (read or )?written"):
            as_ordinary_user(limited_to, n_bytes, root, out)
        assert contents(out) == before
    make_tables(root, out)


def test_tables_of_nothing_are_not_made(tmp_path):
    with pytest.raises(SourceError, match="no session folder"):
        make_tables(tmp_path)
    assert not (tmp_path / "sessions.pqt").exists()
