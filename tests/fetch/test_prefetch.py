"""Which files are chosen to be fetched ahead: the decision alone, over folders in memory."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from uuid import NAMESPACE_URL, UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onefs.fetch.prefetch import Counts, Prefetcher

SIZE = 10_000
USER, OTHER_USER = 1000, 1001


@dataclass(eq=False)
class InFolder:
    """A file of the archive below, which knows whether it was fetched."""

    path: str
    size_bytes: int = SIZE
    is_missing: bool = True

    def __post_init__(self) -> None:
        self.id: UUID = uuid5(NAMESPACE_URL, self.path)
        self.name = self.path.rpartition("/")[2]


@dataclass
class ByPlace:
    """The order of a folder's names, or that of one name in the folders."""

    key: object
    files: list[InFolder]
    is_folder: bool = True

    def after(self, file: InFolder | None) -> Iterator[InFolder]:
        return iter(self.files if file is None else self.files[self.files.index(file) + 1 :])

    def group(self, file: InFolder) -> str:
        return file.name.partition(".")[0] if self.is_folder else ""

    def members(self, group: str) -> Iterator[InFolder]:
        return (each for each in self.files if group and self.group(each) == group)


@dataclass
class Archive:
    """Folders of files, and what a reader of them and a prefetcher fetch."""

    folders: dict[str, list[InFolder]]
    prefetcher: Prefetcher[InFolder] = field(default_factory=lambda: Prefetcher(64, 1 << 20))
    chosen: list[str] = field(default_factory=list)
    comes: bool = True
    """Whether what is prefetched comes."""

    def __post_init__(self) -> None:
        self.by_name: dict[str, list[InFolder]] = {}
        for files in self.folders.values():
            for file in files:
                self.by_name.setdefault(file.name, []).append(file)

    def open(self, path: str, user: int = USER) -> InFolder:
        folder, _, name = path.rpartition("/")
        file = next(each for each in self.folders[folder] if each.path == path)
        if file.is_missing:
            in_folder = ByPlace(folder, self.folders[folder])
            in_name = ByPlace(("name", name), self.by_name[name], is_folder=False)
            file.is_missing = False
            self._fetch(self.prefetcher.opened(user, file, in_folder, in_name))
        return file

    def read(self, path: str, user: int = USER) -> None:
        self._fetch(self.prefetcher.read(user, self.open(path, user)))

    def read_all(self, paths: Sequence[str]) -> None:
        for path in paths:
            self.read(path)

    def _fetch(self, files: list[InFolder]) -> None:
        for file in files:
            assert file.is_missing
            file.is_missing = not self.comes
            self.chosen.append(file.path)


def folder_of(n_files: int, folder: str = "a", size: int = SIZE) -> dict[str, list[InFolder]]:
    return {folder: [InFolder(f"{folder}/object{number:03d}.attribute.npy", size) for number in range(n_files)]}


def paths(archive: Archive, folder: str = "a") -> list[str]:
    return [file.path for file in archive.folders[folder]]


def test_the_second_file_in_a_row_begins_and_the_window_doubles() -> None:
    archive = Archive(folder_of(50))
    names = paths(archive)
    archive.read(names[0])
    assert archive.chosen == []
    archive.open(names[1])
    assert archive.chosen == names[2:3]
    ahead = []
    for number in range(1, 12):
        archive.read(names[number])
        ahead.append(len(archive.chosen) + 2 - (number + 1))
    assert ahead == [1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12]  # at most twice as many, and no more than were read


def test_a_walk_fetches_each_file_once_and_asks_for_few_itself() -> None:
    archive = Archive(folder_of(50))
    archive.read_all(paths(archive))
    assert archive.chosen == paths(archive)[2:]
    assert archive.prefetcher.counts == Counts(48, 48, 0)


def test_a_run_goes_on_in_the_next_folder_with_its_window() -> None:
    archive = Archive(folder_of(50) | folder_of(50, "b"))
    archive.read_all(paths(archive))
    archive.open(paths(archive, "b")[0])
    assert archive.chosen[48:] == paths(archive, "b")[1:]


def test_who_leaves_a_folder_before_its_end_begins_anew() -> None:
    archive = Archive(folder_of(50) | folder_of(50, "b"))
    archive.read_all(paths(archive)[:10])
    begun = len(archive.chosen)
    archive.read(paths(archive, "b")[0])
    assert len(archive.chosen) == begun


@pytest.mark.parametrize("seed", range(5))
def test_files_in_no_order_prefetch_nothing(seed: int) -> None:
    folders = {name: files for at in range(20) for name, files in folder_of(50, f"folder{at:02d}").items()}
    archive = Archive(folders)
    some = [files[number * 7 % 50].path for number, files in enumerate(folders.values())]
    random.Random(seed).shuffle(some)
    archive.read_all(some)
    assert archive.chosen == []


def test_one_file_here_and_there_in_a_folder_prefetches_nothing() -> None:
    archive = Archive(folder_of(50))
    archive.read_all([paths(archive)[number] for number in (3, 40, 8, 21, 12, 30)])
    assert archive.chosen == []


def test_the_other_attributes_of_an_object_come_first() -> None:
    names = ["clusters.depths", "spikes.amps", "spikes.clusters", "spikes.depths", "spikes.times", "trials.table"]
    archive = Archive({"alf": [InFolder(f"alf/{name}") for name in names]})
    archive.read_all(["alf/spikes.times", "alf/spikes.clusters"])
    assert archive.chosen == ["alf/spikes.amps"]
    archive.read_all(["alf/spikes.amps", "alf/spikes.depths"])
    assert archive.chosen == ["alf/spikes.amps", "alf/spikes.depths", "alf/trials.table"]


def test_one_name_in_session_after_session() -> None:
    folders = {f"session{at}": [InFolder(f"session{at}/{name}") for name in "abcd"] for at in range(10)}
    archive = Archive(folders)
    archive.read_all([f"session{at}/b" for at in range(10)])
    assert archive.chosen == [f"session{at}/b" for at in range(2, 10)]
    assert archive.prefetcher.counts == Counts(8, 8, 0)


def test_two_names_of_each_session_are_no_one_name() -> None:
    folders = {f"session{at}": [InFolder(f"session{at}/{name}") for name in "abcd"] for at in range(10)}
    archive = Archive(folders)
    archive.read_all([f"session{at}/{name}" for at in range(10) for name in "bd"])
    assert archive.chosen == []


def test_folders_that_are_read_whole_prefetch_no_name_of_later_sessions() -> None:
    folders = {f"session{at}": [InFolder(f"session{at}/{name}") for name in "abcdef"] for at in range(4)}
    archive = Archive(folders)
    archive.read_all([f"session{at}/{name}" for at in range(2) for name in "abcdef"])
    assert not [path for path in archive.chosen if path > "session2"]


def test_who_stops_reading_wastes_no_more_than_was_read() -> None:
    archive = Archive(folder_of(50))
    archive.read_all(paths(archive)[:10])
    prefetched = len(archive.chosen)
    assert prefetched == 8 + 10
    archive.prefetcher.forget()
    assert archive.prefetcher.counts == Counts(18, 8, 10)


def test_files_that_are_opened_and_not_read_prefetch_nothing() -> None:
    archive = Archive(folder_of(50))
    for path in paths(archive):
        archive.open(path)
    assert archive.chosen == []


def test_who_jumps_about_closes_the_window() -> None:
    archive = Archive(folder_of(200))
    names = paths(archive)
    archive.read_all(names[:10])
    begun = len(archive.chosen)
    archive.read_all(names[40:200:20])
    assert len(archive.chosen) == begun
    assert archive.prefetcher.counts.wasted == begun - 8
    archive.read_all(names[195:197])  # in a row again
    assert archive.chosen[begun:] == names[197:198]


def test_eight_readers_of_one_order_keep_the_window_open() -> None:
    archive = Archive(folder_of(400))
    names = paths(archive)
    rng = random.Random(3)
    for begin in range(0, 400, 8):
        eight = names[begin : begin + 8]
        rng.shuffle(eight)
        archive.read_all(eight)
    counts = archive.prefetcher.counts
    assert counts.used > 250
    assert counts.wasted < 20


def test_what_does_not_come_is_asked_for_no_further() -> None:
    archive = Archive(folder_of(50), comes=False)
    archive.read_all(paths(archive))
    counts = archive.prefetcher.counts
    assert counts.used == 0
    assert counts.prefetched - counts.wasted <= 1


def test_another_users_reading_is_no_evidence() -> None:
    archive = Archive(folder_of(50))
    names = paths(archive)
    for number, path in enumerate(names[:20]):
        archive.read(path, OTHER_USER + number)
    assert archive.chosen == []
    archive.read_all(names[20:22])
    archive.read(names[22], OTHER_USER)  # which is ahead
    assert archive.chosen == names[22:23]
    assert archive.prefetcher.counts == Counts(1, 1, 0)


def test_files_at_hand_are_passed_by() -> None:
    archive = Archive(folder_of(50))
    for file in archive.folders["a"][1::2]:
        file.is_missing = False
    archive.read_all(paths(archive))
    assert archive.chosen == paths(archive)[4::2]


def test_a_large_file_waits_until_as_much_was_read() -> None:
    archive = Archive(folder_of(20))
    archive.folders["a"][5].size_bytes = 4 * SIZE
    names = paths(archive)
    archive.read_all(names[:3])
    assert names[5] not in archive.chosen
    archive.read_all(names[3:5])
    assert names[5] in archive.chosen


def test_bytes_ahead_are_limited_too() -> None:
    archive = Archive(folder_of(100), Prefetcher(64, 3 * SIZE))
    archive.read_all(paths(archive)[:40])
    assert len(archive.chosen) == 38 + 3


def test_many_folders_leave_nothing_behind() -> None:
    folders = {name: files for at in range(1200) for name, files in folder_of(3, f"folder{at:04d}").items()}
    archive = Archive(folders)
    for folder in folders:
        archive.read_all([archive.folders[folder][0].path, archive.folders[folder][1].path])
    prefetcher = archive.prefetcher
    assert len(prefetcher._runs) <= 1000
    assert len(prefetcher._ahead) <= 1000
    counts = prefetcher.counts
    assert counts == Counts(1200, 0, 1200 - len(prefetcher._ahead))


@st.composite
def readings(draw: st.DrawFn) -> tuple[dict[str, list[InFolder]], list[tuple[str, int, int, bool]]]:
    """Folders of files of any size, and steps: what is opened by whom, and whether it is read."""
    sizes = st.lists(st.integers(1, 100), min_size=1, max_size=12)
    folders = {
        f"f{at}": [InFolder(f"f{at}/o{number // 3}.a{number}", size) for number, size in enumerate(draw(sizes))]
        for at in range(draw(st.integers(1, 4)))
    }
    steps = st.tuples(st.sampled_from(sorted(folders)), st.integers(0, 11), st.integers(1, 2), st.booleans())
    return folders, draw(st.lists(steps, max_size=60))


@given(readings(), st.booleans())
def test_never_more_bytes_are_ahead_than_were_read(
    reading: tuple[dict[str, list[InFolder]], list[tuple[str, int, int, bool]]], comes: bool
) -> None:
    folders, steps = reading
    archive = Archive(folders, comes=comes)
    prefetcher = archive.prefetcher
    sizes = {file.path: file.size_bytes for files in folders.values() for file in files}
    read_bytes = 0
    for folder, number, user, is_read in steps:
        files = folders[folder]
        file = archive.open(files[number % len(files)].path, user)
        if is_read:
            read_bytes += file.size_bytes
            archive.read(file.path, user)
        for run in prefetcher._runs.values():
            assert run.ahead_bytes == sum(each.size_bytes for each in run.ahead.values())
            assert run.ahead_bytes + run.wasted_bytes <= run.read_bytes
        counts = prefetcher.counts
        assert counts.prefetched == counts.used + counts.wasted + len(prefetcher._ahead) == len(archive.chosen)
    # Each file may count in the run of its folder, and in that of its name.
    assert sum(sizes[path] for path in archive.chosen) <= 3 * read_bytes
