"""The state database damaged, deleted, locked, full or read-only: no wrong byte is trusted, and all goes on."""

import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest
from archive_and_cache import ArchiveAndCache, dataset_of, read
from seeds import seeded

from onefs.cache.state import PUT_COPY, State
from onefs.cache.verify import CopyRecord, Signature, Stamp, Verdict, Verify, row_of, trusted
from onefs.catalogue.records import Dataset

FILES = 24
DAMAGES = 200
USED_AFTER_EACH = 4
DATA = os.urandom(5000)


def state_in(root: Path) -> State:
    return State(root / ".onefs", root, again_after_s=0.0)


def of_cache(root: Path) -> list[tuple[Dataset, bytes]]:
    """Datasets without a hash in the catalogue, and the bytes that are right, in a cache where each third is torn.

    The torn ones came on an earlier boot and were not synced.
    """
    found = []
    with closing_state(root) as state:
        for number in range(FILES):
            right = random.Random(number).randbytes(100)
            dataset = dataset_of(number, right)
            path = root / dataset.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(100) if number % 3 == 0 else right)
            stamp = Stamp(Signature.of(path.stat()), dataset.md5, source="https://data.example/file")
            if number % 3:
                state.put(dataset, stamp)
            else:
                row = row_of(CopyRecord(dataset, stamp, 1.0), "an earlier boot")
                state.write(lambda connection, row=row: connection.execute(PUT_COPY, row))
            found.append((dataset_of(number, right, md5=""), right))
        assert state.flush()
    return found


def closing_state(root: Path) -> "closing[_Closed]":
    return closing(_Closed(root / ".onefs", root, again_after_s=0.0))


class _Closed(State):
    def close(self, timeout_s: float = 60.0) -> None:
        super().close(timeout_s)


def check_trust(state: State, root: Path, files: list[tuple[Dataset, bytes]]) -> int:
    """How many files are trusted; asserts that the bytes of those are right."""
    count = 0
    for dataset, right in files:
        path = root / dataset.path
        signature = Signature.of(path.stat())
        if trusted(dataset, signature, state.reload(dataset.id), Verify.AUTO) is Verdict.RIGHT:
            assert path.read_bytes() == right, f"wrong bytes of {dataset.path} were trusted"
            count += 1
    return count


def check_use(root: Path, files: list[tuple[Dataset, bytes]]) -> None:
    """Assert that what is put from now on is kept, once all that is damaged was found."""
    dataset, right = files[1]
    for _ in range(3):
        with closing_state(root) as state:
            check_trust(state, root, files)
            signature = Signature.of((root / dataset.path).stat())
            state.put(dataset, Stamp(signature, dataset_of(1, right).md5, source="x"))
            state.pin(dataset.id)
            assert state.flush()
        with closing_state(root) as state:
            is_kept = check_trust(state, root, files) > 0 and state.is_pinned(dataset.id)
            if is_kept and dataset.id in {record.dataset.id for record in state.copies()}:
                return
    pytest.fail("what is put is not kept")


def flip(path: Path, choice: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(choice.choice((1, 1, 8, 200)) if data else 0):
        data[choice.randrange(len(data))] ^= 1 << choice.randrange(8)
    path.write_bytes(data)


def truncate(path: Path, choice: random.Random) -> None:
    os.truncate(path, choice.randrange(path.stat().st_size + 1))


def overwrite(path: Path, choice: random.Random) -> None:
    data = path.read_bytes()
    begin = choice.randrange(len(data) + 1)
    path.write_bytes(data[:begin] + choice.randbytes(choice.randrange(5000)) + data[begin + 4096 :])


def delete(path: Path, choice: random.Random) -> None:
    path.unlink()


def test_random_damages(tmp_path: Path) -> None:
    pristine = tmp_path / "pristine"
    files = of_cache(pristine)
    with closing_state(pristine) as state:
        state.pin(files[5][0].id)
        state.drop(files[7][0].id)
        assert state.flush()
        shutil.copytree(pristine / ".onefs", tmp_path / "as killed")  # with what is in the journal only
    root = tmp_path / "pristine"
    trust = []
    for number in range(DAMAGES):
        choice = seeded(number)
        shutil.rmtree(root / ".onefs")
        shutil.copytree(tmp_path / "as killed", root / ".onefs")
        for _ in range(choice.choice((1, 1, 2))):
            path = choice.choice(sorted((root / ".onefs").glob("state*")))
            choice.choice((flip, flip, truncate, overwrite, delete))(path, choice)
        with closing_state(root) as state:
            trust.append(check_trust(state, root, files))
        if not number % USED_AFTER_EACH:
            check_use(root, files)
    assert min(trust) == 0, "no damage was noticed"
    assert max(trust) >= FILES * 2 // 3 - 1, "what is not damaged counts"


@pytest.mark.parametrize("number", range(12))
def test_random_damages_while_it_is_open(tmp_path: Path, number: int) -> None:
    choice, files = seeded(number), of_cache(tmp_path)
    with closing_state(tmp_path) as state:
        check_trust(state, tmp_path, files)
        name = choice.choice(("state-*.db", "state-*.db-wal", "state.current"))
        for path in (tmp_path / ".onefs").glob(name):
            choice.choice((flip, truncate, overwrite, delete))(path, choice)
        for dataset, right in files[1::3]:
            signature = Signature.of((tmp_path / dataset.path).stat())
            state.put(dataset, Stamp(signature, dataset_of(1, right).md5, source="x"))
            assert state.flush()
            check_trust(state, tmp_path, files)
    check_use(tmp_path, files)


def test_the_state_is_deleted_while_it_is_open(tmp_path: Path) -> None:
    files = of_cache(tmp_path)
    with closing_state(tmp_path) as state, closing_state(tmp_path) as other:
        for each in (state, other):
            assert check_trust(each, tmp_path, files) == FILES * 2 // 3
        shutil.rmtree(tmp_path / ".onefs")
        check_use(tmp_path, files)
        for each in (state, other):
            each.pin(files[3][0].id)
            assert each.is_pinned(files[3][0].id)
    check_use(tmp_path, files)
    databases = [path.name for path in (tmp_path / ".onefs").glob("state-*.db")]
    assert databases == [(tmp_path / ".onefs/state.current").read_text()]


def test_no_name_of_a_database_is_used_again(tmp_path: Path) -> None:
    files = of_cache(tmp_path)
    names = set()
    for _ in range(5):
        (path,) = (tmp_path / ".onefs").glob("state-*.db")
        assert path.name not in names
        names.add(path.name)
        path.write_bytes(b"no database")
        check_use(tmp_path, files)


def test_a_database_of_another_version_is_left_alone(tmp_path: Path) -> None:
    files = of_cache(tmp_path)
    with closing_state(tmp_path) as state:
        state.read(lambda connection: connection.execute("PRAGMA user_version = 99"))
    check_use(tmp_path, files)


LOCKING = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
connection.execute("DELETE FROM pins")
print("locked", flush=True)
time.sleep(600)
"""


class Killed:
    """Kills a process when it is closed."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.close = process.kill


def test_locked_by_a_process_that_is_killed(tmp_path: Path) -> None:
    files = of_cache(tmp_path)
    (path,) = (tmp_path / ".onefs").glob("state-*.db")
    command = [sys.executable, "-c", LOCKING, path]
    dataset, right = dataset_of(100, DATA), DATA
    (tmp_path / dataset.path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / dataset.path).write_bytes(right)
    stamp = Stamp(Signature.of((tmp_path / dataset.path).stat()), dataset.md5, source="x")
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as process,
        closing(Killed(process)),
        closing_state(tmp_path) as state,
    ):
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        check_trust(state, tmp_path, files)
        state.put(dataset, stamp)
        assert state.flush()
        assert state.reload(dataset.id) == stamp
        with pytest.raises(Exception, match="cannot be recorded"):
            state.pin(UUID(int=1))
        assert not state.is_pinned(UUID(int=1))
        process.kill()
        process.wait()
        assert check_trust(state, tmp_path, files) == FILES * 2 // 3
        state.pin(dataset.id)  # now in the file, with what was in memory
    with closing_state(tmp_path) as state:
        assert state.stamp(dataset.id) == stamp
        assert state.pinned() == {str(dataset.id)}, "what could not be recorded then is not recorded later"


@pytest.mark.parametrize("what", ["a table", "the version", "the name"])
def test_pins_outlive_damage_elsewhere(tmp_path: Path, what: str) -> None:
    of_cache(tmp_path)
    with closing_state(tmp_path) as state:
        rows = [(UUID(int=number).bytes,) for number in range(2000)]  # several pages
        state.write(lambda connection: connection.executemany("REPLACE INTO pins VALUES (?)", rows))
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'copies'"
        (page,) = state.read(lambda connection: connection.execute(query).fetchone())
        if what == "the version":
            state.read(lambda connection: connection.execute("PRAGMA user_version = 99"))
    (path,) = (tmp_path / ".onefs").glob("state-*.db")
    if what == "a table":
        with path.open("r+b") as file:
            file.seek((page - 1) * 4096)
            file.write(b"\xff" * 4096)
    if what == "the name":
        (tmp_path / ".onefs/state.current").unlink()
    with closing_state(tmp_path) as state:
        list(state.copies())
        state.write(lambda connection: connection.in_transaction)
        assert len(state.pinned()) == 2000
    assert not path.exists()


def test_on_a_full_disk(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, hard))
    try:
        assert read(content, dataset) == DATA
        content.flush()
        content.close()
        assert read(place.content(), dataset) == DATA, "hashed again"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert place.server.requests() == 1
    again = place.content()
    assert read(again, dataset) == DATA
    again.flush()
    with closing_state(place.cache) as state:
        assert state.stamp(dataset.id) is not None


@pytest.mark.needs_root
@pytest.mark.parametrize("what", ["folder", "file"])
def test_read_only(what: str) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as home:
        root = Path(home)
        root.chmod(0o755)
        files = of_cache(root)
        if what == "file":
            (root / ".onefs").chmod(0o777)
        os.seteuid(4001)
        try:
            with closing_state(root) as state:
                if what == "folder":
                    assert check_trust(state, root, files) == FILES * 2 // 3
                dataset, right = files[1]
                stamp = Stamp(Signature.of((root / dataset.path).stat()), dataset_of(1, right).md5, source="x")
                state.put(dataset, stamp)
                assert state.flush()
                assert state.stamp(dataset.id) == stamp
                with pytest.raises(Exception, match="cannot be recorded"):
                    state.pin(dataset.id)
        finally:
            os.seteuid(0)
        with closing_state(root) as state:
            assert check_trust(state, root, files) == FILES * 2 // 3
            assert not state.is_pinned(dataset.id)


@pytest.mark.needs_root
def test_what_is_written_counts_once_a_folder_that_was_read_only_can_be_written() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as home:
        root = Path(home)
        root.chmod(0o755)
        (dataset, _), *_ = of_cache(root)
        os.seteuid(4001)
        try:
            with closing_state(root) as state:
                assert not state.is_pinned(dataset.id)
                os.seteuid(0)
                (root / ".onefs").chmod(0o777)
                for path in (root / ".onefs").iterdir():
                    path.chmod(0o666)
                os.seteuid(4001)
                state.pin(dataset.id)
                assert state.is_pinned(dataset.id)
        finally:
            os.seteuid(0)
