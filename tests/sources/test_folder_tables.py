"""Tables of a folder that has none: made of its files, kept, made anew, and what of the folder they have."""

import os
import re
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from archives import make_tables
from filelock import FileLock
from mounted import is_alive
from waiting import PATIENCE_S, wait_until

from onefs.archive.archive import Archive
from onefs.archive.opening import opened
from onefs.catalogue.records import Dataset
from onefs.errors import SourceError, TableError, UsageError, WorkerLostError
from onefs.modes import Mode
from onefs.progress import Listener, Step
from onefs.settings import Settings
from onefs.sources.folder_tables import as_indexed, index_folder, kept_tables, read_note, renewed_tables
from onefs.sources.source import Source, resolve

SETTINGS = Settings()
SESSION = "lab/Subjects/mouse/2024-01-02/001"
FILE = f"{SESSION}/alf/a.times.npy"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return tmp_path


@pytest.fixture
def folder(home: Path) -> Path:
    return put(home / "data", FILE)


def put(folder: Path, *files: str) -> Path:
    """Make files whose bytes are their paths from `folder` on."""
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(file)
    return folder


def source_of(folder: Path, settings: Settings = SETTINGS) -> Source:
    with opened(str(folder), settings) as source:
        return source


def indexed(folder: Path, settings: Settings = SETTINGS) -> Source:
    """The source of a folder whose files are indexed now, in this process."""
    source = as_indexed(resolve(str(folder), settings))
    index_folder(str(source.indexed_dir), str(source.tables_dir), "")
    return source_of(folder, settings)


def shown(source: Source) -> dict[str, str]:
    """What is read of all files that an archive shows, by their paths in the tree."""
    archive = Archive(source, SETTINGS)
    try:
        rows = [archive.tables.datasets(row) for row in range(archive.tables.n_sessions)]
        return {each.path: read(archive, each) for of in rows for each in map(of.dataset, range(len(of)))}
    finally:
        archive.close()


def read(archive: Archive, dataset: Dataset) -> str:
    file = archive.content.open(dataset, may_fetch=False)
    try:
        file.wait_whole()
        return (file.read(0, 1 << 20) or b"").decode()
    finally:
        file.close()


# -- where the sessions stand ------------------------------------------------------------------------------------------

DAY = "2024-01-02"
LAYOUTS = {
    "labs": (".", [FILE, f"other/Subjects/rat/{DAY}/002/alf/a.times.npy"]),
    "a lab": ("lab", [FILE]),
    "the subjects of a lab": ("lab/Subjects", [FILE, f"lab/Subjects/rat/{DAY}/012/raw/b.times.npy"]),
    "a subject of a lab": ("lab/Subjects/mouse", [FILE]),
    "a day of a lab": (f"lab/Subjects/mouse/{DAY}", [FILE]),
    "a session of a lab": (SESSION, [FILE]),
    "subjects": (".", [f"mouse/{DAY}/001/a.times.npy", f"rat/{DAY}/001/a.times.npy"]),
    "a subject": ("mouse", [f"mouse/{DAY}/001/a.times.npy"]),
    "a session": (f"mouse/{DAY}/100", [f"mouse/{DAY}/100/a.times.npy"]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_a_folder_holds_is_shown_and_can_be_read(home: Path, layout: str) -> None:
    inner, files = LAYOUTS[layout]
    put(home / "data", *files)
    source = indexed(home / "data" / inner)
    assert shown(source) == {file: file for file in files}
    noted = read_note(source)
    assert noted is not None
    assert noted.warning == ""
    assert not (home / ".onefs").exists()


def test_sessions_that_are_all_deeper_inside_are_shown(home: Path) -> None:
    put(home / "data/extra", FILE)
    assert shown(indexed(home / "data")) == {FILE: FILE}


ELSEWHERE = {
    "deeper inside": f"extra/{SESSION}x/Subjects/rat/{DAY}/001/alf/a.times.npy",
    "without a lab beside labs": f"lab/rat/{DAY}/001/alf/a.times.npy",
    "number of one digit": f"lab/Subjects/mouse/{DAY}/2/alf/a.times.npy",
    "the same session, deeper inside": f"extra/{FILE}",
    "the same session, number of one digit": f"lab/Subjects/mouse/{DAY}/1/alf/other.times.npy",
}


@pytest.mark.parametrize("case", ELSEWHERE)
def test_sessions_that_stand_elsewhere_are_told_and_never_shown_with_other_bytes(home: Path, case: str) -> None:
    left_out = ELSEWHERE[case]
    put(home / "data", FILE, f"lab/Subjects/rat/{DAY}/001/a.times.npy", left_out)
    source = indexed(home / "data")
    assert shown(source).keys() == {FILE, f"lab/Subjects/rat/{DAY}/001/a.times.npy"}
    assert all(path == text for path, text in shown(source).items())
    noted = read_note(source)
    assert noted is not None
    session = left_out.partition("/alf")[0]
    assert noted.warning.startswith(
        f"1 session in {source.indexed_dir} cannot be shown, such as {home}/data/{session}:"
    )


def test_the_place_of_the_sessions_stays_though_there_are_more_elsewhere(folder: Path) -> None:
    assert indexed(folder).data_dir == folder
    put(folder / "extra", *(f"lab/Subjects/rat/{DAY}/{n:03}/a.times.npy" for n in range(3)))
    source = indexed(folder)
    assert (source.data_dir, shown(source)) == (folder, {FILE: FILE})


def test_numbers_that_are_all_without_three_digits_are_refused(home: Path) -> None:
    put(home / "data", f"lab/Subjects/mouse/{DAY}/1/alf/a.times.npy")
    with pytest.raises(SourceError, match="Give the folders' numbers three digits"):
        source_of(home / "data")


# -- making them, and keeping them -------------------------------------------------------------------------------------


def test_they_are_made_once_which_is_told_and_are_kept(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = source_of(folder)
    assert f"{folder} has no cache tables; indexing its files." in caplog.text
    assert (source.mode, source.is_cache, source.name) == (Mode.LOCAL, False, str(folder))
    assert source.tables_dir.is_relative_to(folder / ".onefs")
    assert shown(source) == {FILE: FILE}
    caplog.clear()
    put(folder, f"{SESSION}/alf/new.times.npy")
    assert shown(source_of(folder)) == {FILE: FILE}, "without another look at the files"
    assert caplog.text == ""


def test_the_folder_s_own_place_is_not_written_to(folder: Path) -> None:
    source_of(folder)
    assert {each.name for each in folder.iterdir()} == {"lab", ".onefs"}
    assert [path for path in (folder / "lab").rglob("*") if path.is_file()] == [folder / FILE]


def test_progress_is_told(folder: Path) -> None:
    steps = Steps()
    with steps:
        source_of(folder)
    assert f"listing {folder}: 1 file" in steps.seen


def test_two_folders_may_have_one_state_directory(home: Path, folder: Path) -> None:
    settings = Settings(cache_dir=home / "cache")
    put(home / "two", f"lab/Subjects/rat/{DAY}/001/a.times.npy")
    one, two = indexed(folder, settings), indexed(home / "two", settings)
    assert one.state_dir == two.state_dir
    assert shown(one).keys() == {FILE}
    assert shown(two).keys() == {f"lab/Subjects/rat/{DAY}/001/a.times.npy"}
    assert not (folder / ".onefs").exists()


def test_tables_that_appear_in_the_folder_are_used(folder: Path) -> None:
    indexed(folder)
    make_tables(folder, {"alf/b.times.npy": b"b"})
    source = source_of(folder)
    assert (source.tables_dir, source.indexed_dir) == (folder, None)


@pytest.mark.parametrize("present", ["sessions.pqt", "datasets.pqt"])
def test_a_folder_with_one_table_is_not_indexed(folder: Path, present: str) -> None:
    make_tables(folder, {"alf/b.times.npy": b"b"})
    for name in {"sessions.pqt", "datasets.pqt"} - {present}:
        (folder / name).unlink()
    with pytest.raises(TableError, match="There is no cache table"):
        Archive(source_of(folder), SETTINGS)


def test_damaged_tables_are_not_indexed_over(folder: Path) -> None:
    for name in ("sessions.pqt", "datasets.pqt"):
        (folder / name).write_bytes(b"damaged")
    with pytest.raises(TableError, match="cannot be read"):
        Archive(source_of(folder), SETTINGS)


def test_a_cache_of_files_from_a_server_is_not_indexed(folder: Path) -> None:
    source = source_of(folder, Settings(data_url="http://127.0.0.1:1"))
    assert source.indexed_dir is None
    with pytest.raises(TableError, match="There is no cache table"):
        Archive(source, Settings())


def test_a_tag_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="--tag needs a database"):
        source_of(folder, Settings(tag="2024_Q1"))


def test_a_folder_without_sessions_is_refused(home: Path) -> None:
    (home / "empty/lab/Subjects").mkdir(parents=True)
    with pytest.raises(SourceError, match=f"There is no session folder below {home}/empty"):
        source_of(home / "empty")


@pytest.mark.parametrize("damage", ["sessions.pqt", "datasets.pqt", ".onefs/indexed.json", ".onefs/index"])
def test_kept_tables_that_are_damaged_or_gone_are_made_anew(folder: Path, damage: str) -> None:
    source = indexed(folder)
    place = source.tables_dir / damage
    if place.is_dir():
        shutil.rmtree(place)
    elif damage.startswith("s"):
        place.unlink()
    else:
        place.write_bytes(b"damaged")
    assert shown(source_of(folder)) == {FILE: FILE}


def test_a_pair_of_which_only_one_was_replaced_is_not_used(folder: Path) -> None:
    """As a process leaves it that was killed between the two."""
    source = indexed(folder)
    old = (source.tables_dir / "sessions.pqt").read_bytes()
    put(folder, f"lab/Subjects/rat/{DAY}/001/a.times.npy")
    indexed(folder)
    (source.tables_dir / "sessions.pqt").write_bytes(old)
    assert len(shown(source_of(folder))) == 2


# -- as the files are now ----------------------------------------------------------------------------------------------


def test_new_removed_and_changed_files_are_found(folder: Path) -> None:
    put(folder, f"{SESSION}/alf/gone.times.npy")
    source = source_of(folder)
    new = f"{SESSION}/alf/new.times.npy"
    put(folder, new)
    (folder / f"{SESSION}/alf/gone.times.npy").unlink()
    (folder / FILE).write_text("longer than it was before, by far, so that its size is another one")
    tables, noted = renewed_tables(source)
    assert tables.n_datasets == 2
    assert shown(source) == {FILE: (folder / FILE).read_text(), new: new}
    again, noted_again = renewed_tables(source)
    assert (noted_again.stats, noted_again.warning) == (noted.stats, "")
    assert noted_again.looked_s > noted.looked_s
    assert again.metadata == tables.metadata


def test_a_folder_that_has_become_empty_keeps_its_tables(folder: Path) -> None:
    """As the folder of a disk that is not mounted."""
    source = indexed(folder, Settings(cache_dir=folder.parent / "cache"))
    (folder / "lab").rename(folder.parent / "elsewhere")
    with pytest.raises(SourceError, match="There is no session folder"):
        renewed_tables(source)
    assert kept_tables(source)[0].n_datasets == 1
    (folder.parent / "elsewhere").rename(folder / "lab")
    assert renewed_tables(source)[0].n_datasets == 1


@pytest.mark.parametrize("is_empty", [False, True], ids=["gone", "empty"])
def test_nothing_is_written_where_the_folder_was(folder: Path, *, is_empty: bool) -> None:
    """Else it could not be moved back there, or its disk not be mounted there."""
    source = indexed(folder)
    away = folder.rename(folder.parent / "away")
    if is_empty:
        folder.mkdir()
    with pytest.raises(SourceError, match=f"There is no session folder below {folder}: .*move it back"):
        renewed_tables(source)
    if is_empty:
        folder.rmdir()
    away.rename(folder)
    assert renewed_tables(source)[0].n_datasets == 1


def test_sessions_that_have_moved_as_a_whole_are_told(folder: Path) -> None:
    source = indexed(folder)
    (folder / "extra").mkdir()
    (folder / "lab").rename(folder / "extra/lab")
    with pytest.raises(SourceError, match=f"stand below {folder}/extra now, and no longer below {folder}. Mount it"):
        renewed_tables(source)
    assert shown(source_of(folder)) == {FILE: FILE}


def test_another_process_that_indexes_is_waited_for_and_its_tables_used(folder: Path) -> None:
    source = as_indexed(resolve(str(folder), SETTINGS))
    steps = Steps()
    with ThreadPoolExecutor(1) as pool, steps:
        with locked(source):
            other = pool.submit(source_of, folder)
            waiting = f"waiting for another onefs that is indexing {folder}"
            wait_until(lambda: steps.seen.count(waiting) > 1, "it waits, and says so more than once")
        found = other.result(PATIENCE_S)
    assert shown(found) == {FILE: FILE}


# -- the process -------------------------------------------------------------------------------------------------------

INDEXING = """
import sys
from onefs.archive.opening import opened
from onefs.settings import Settings
with opened(sys.argv[1], Settings()):
    pass
"""


def children_of(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that has ended since
            found += map(int, (task / "children").read_text().split())
    return found


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_the_one_that_waits_for_it(folder: Path, number: int) -> None:
    source = as_indexed(resolve(str(folder), SETTINGS))
    with locked(source):
        process = subprocess.Popen([sys.executable, "-c", INDEXING, folder], stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: children_of(process.pid), "it has started a process")
            (child,) = children_of(process.pid)
            wait_until(lambda: heeds_sigterm(child), "that has begun its work")
            process.send_signal(number)
            process.wait(PATIENCE_S)
            wait_until(lambda: not is_alive(child), "that has ended, too")
        finally:
            process.kill()
            process.wait()
    assert shown(source_of(folder)) == {FILE: FILE}


def test_a_process_that_is_killed_is_told(folder: Path) -> None:
    source = as_indexed(resolve(str(folder), SETTINGS))
    with ThreadPoolExecutor(1) as pool, locked(source):
        before = set(children_of(os.getpid()))
        opening = pool.submit(source_of, folder)
        wait_until(lambda: set(children_of(os.getpid())) - before, "it is started")
        (child,) = set(children_of(os.getpid())) - before
        os.kill(child, signal.SIGKILL)
        with pytest.raises(WorkerLostError, match=f"The process that was to index {folder} is gone: it ended with -9"):
            opening.result(PATIENCE_S)


class Steps(Listener):
    """Keeps what is reported."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def show(self, step: Step) -> None:
        self.seen.append(str(step))


def locked(source: Source) -> FileLock:
    """What another process holds that indexes the folder of a source."""
    (source.tables_dir / ".onefs").mkdir(parents=True)
    return FileLock(source.tables_dir / ".onefs/indexing.lock")


def heeds_sigterm(pid: int) -> bool:
    """Whether a process has a handler of its own for SIGTERM."""
    (caught,) = re.findall(r"SigCgt:\t(\w+)", Path(f"/proc/{pid}/status").read_text())
    return bool(int(caught, 16) >> signal.SIGTERM - 1 & 1)
