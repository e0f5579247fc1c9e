"""The views of a mount, and what it shows itself, while people work in it."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import pytest
from archives import MADE_SESSION, make_tables
from asking import a_dataset, a_session
from mounted import Mounted, run_onefs

from onefs.catalogue.records import QC, Dataset, Session
from onefs.catalogue.tables import write_tables

FIRST, SECOND, THIRD = "alf/a.b.npy", "alf/#2023-01-01#/a.b.npy", "alf/#2024-05-06#/a.b.npy"
WORST, UNSET = "alf/bad.b.npy", "raw/new.b.npy"
BYTES = {path: path.encode() for path in (FIRST, SECOND, THIRD, WORST, UNSET)}
SHOWN = {FIRST, SECOND, THIRD, UNSET}
LONG = a_session(subject="rat")
LONG_FILES = {f"{folder}a{n}.b.npy": folder.encode() for n in range(200) for folder in ("", "#2024-05-06#/")}


def write_archive(home: Path) -> None:
    """A folder that holds its files and tables. The default edition is the second, but in a session with many files."""
    made = make_tables(home, BYTES)
    changes = {FIRST: {"default_revision": False}, THIRD: {"default_revision": False}}
    worse = {WORST: {"qc": QC.CRITICAL}, UNSET: {"qc": QC.NOT_SET}}
    datasets = {path: replace(row, **changes.get(path, {}), **worse.get(path, {})) for path, row in made.items()}  # type: ignore[arg-type]
    session = Session(uuid5(NAMESPACE_URL, "lab"), "lab", "mouse", date(2024, 1, 2), 1, "t", "p")
    rows: list[Dataset] = [*datasets.values(), *(a_dataset(LONG, path, data) for path, data in LONG_FILES.items())]
    write_tables(home, [session, LONG], rows, created="2024-01-03 00:00", origin="tests")
    for folder, files in {MADE_SESSION: BYTES, LONG.path: LONG_FILES}.items():
        for path, data in files.items():
            file = home / folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("archive")
    write_archive(home)
    return home


@pytest.fixture(scope="module")
def mounted(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mounted]:
    with Mounted(archive, tmp_path_factory.mktemp("mount")) as mount:
        yield mount


@pytest.fixture(scope="module")
def visible(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mounted]:
    """Another mount of the same archive, whose control directory is listed."""
    with Mounted(archive, tmp_path_factory.mktemp("visible"), "--control-dir", "visible") as mount:
        yield mount


@pytest.fixture
def mount(mounted: Mounted) -> Iterator[Mounted]:
    """The same for all tests, each of which finds it as it was mounted."""
    yield mounted
    tell(mounted, "as-of none")
    tell(mounted, "qc FAIL")


def tell(mount: Mounted, line: str) -> None:
    (mount.path / ".onefs/control").write_text(line)


@contextmanager
def opened_folder(folder: Path) -> Iterator[int]:
    """A descriptor of a folder, which a test that fails does not leave open: the mount would live as long."""
    number = os.open(folder, os.O_RDONLY)
    try:
        yield number
    finally:
        os.close(number)


def below(folder: Path) -> set[str]:
    """The files of the session, in the tree or in a view."""
    top = folder / MADE_SESSION
    return {str(path.relative_to(top)) for path in top.rglob("*") if path.is_file()}


def test_a_view_gives_the_bytes_of_one_edition_under_the_plain_name(mount: Mounted) -> None:
    views = mount.path / ".onefs"
    assert below(mount.path) == SHOWN
    given = {"default": SECOND, "as-of/2022-12-31": FIRST, "as-of/2023-01-01": SECOND, "as-of/2025-01-01": THIRD}
    for view, edition in given.items():
        assert below(views / view) == {FIRST, UNSET}
        file = views / view / MADE_SESSION / FIRST
        assert file.read_bytes() == BYTES[edition]
        assert os.getxattr(file, "user.onefs.revision").decode() == ([*edition.split("#"), ""])[1]
        mine, other = file.stat(), (mount.path / MADE_SESSION / edition).stat()
        fields = ("st_ino", "st_size", "st_mtime_ns", "st_blocks", "st_mode")
        assert [getattr(mine, name) for name in fields] == [getattr(other, name) for name in fields]
    assert sorted(os.listdir(views / "as-of")) == ["2023-01-01", "2024-05-06"]


def test_no_walk_meets_a_view_nor_the_control_directory_in_one(mount: Mounted, visible: Mounted) -> None:
    def names(top: Path) -> set[str]:
        return {name for _, folders, files in os.walk(top) for name in (*folders, *files)}

    assert ".onefs" not in names(mount.path)
    for view in ("default", "as-of/2024-01-01", "via/local"):
        assert ".onefs" not in names(mount.path / ".onefs" / view)
        assert not (mount.path / ".onefs" / view / ".onefs").exists()
    assert ".onefs" in os.listdir(visible.path)
    assert ".onefs" not in os.listdir(visible.path / ".onefs/default")


def test_tables_stand_only_where_the_names_are_theirs(mount: Mounted) -> None:
    tables = {"sessions.pqt", "datasets.pqt"}
    for place in ("", ".onefs/via/local"):
        assert tables <= set(os.listdir(mount.path / place))
    for view in ("default", "as-of/2023-01-01"):
        assert not tables & set(os.listdir(mount.path / ".onefs" / view))
        assert not (mount.path / ".onefs" / view / "datasets.pqt").exists()


def test_critical_is_nowhere_unless_it_is_asked_for(mount: Mounted) -> None:
    places = [mount.path, *(mount.path / ".onefs" / view for view in ("default", "as-of/2025-01-01", "via/local"))]
    for place in places:
        assert not (place / MADE_SESSION / WORST).exists()
        assert WORST not in below(place)
    tell(mount, "qc CRITICAL")
    for place in places:
        assert (place / MADE_SESSION / WORST).read_bytes() == BYTES[WORST]
        assert WORST in below(place)
    tell(mount, "qc NOT_SET")
    for place in places:
        assert below(place) == {UNSET}
        assert os.listdir(place / MADE_SESSION) == ["raw"]


def test_a_switch_changes_listings_at_once_and_lets_open_files_live(mount: Mounted) -> None:
    session = mount.path / MADE_SESSION
    default = mount.path / ".onefs/default" / MADE_SESSION / FIRST
    with opened_folder(session / "alf") as here, (session / THIRD).open("rb") as third, default.open("rb") as second:
        assert third.read(4) == BYTES[THIRD][:4]
        tell(mount, "as-of 2022-06-01")
        assert below(mount.path) == {FIRST, UNSET}
        assert os.listdir(here) == ["a.b.npy"]
        assert not (session / THIRD).exists()
        assert default.read_bytes() == BYTES[FIRST]
        assert (mount.path / ".onefs/as-of/2025-01-01" / MADE_SESSION / FIRST).read_bytes() == BYTES[THIRD]
        assert third.read() == BYTES[THIRD][4:]
        assert os.fstat(third.fileno()).st_size == len(BYTES[THIRD])
        assert second.read() == BYTES[SECOND]
        assert Path(f"/proc/self/fd/{third.fileno()}").read_bytes() == BYTES[THIRD]
        tell(mount, "as-of 2024-05-06")
        assert below(mount.path) == SHOWN
        assert default.read_bytes() == BYTES[THIRD]
        assert (session / THIRD).stat().st_ino == os.fstat(third.fileno()).st_ino
    tell(mount, "as-of none")
    assert default.read_bytes() == BYTES[SECOND]


def test_a_listing_that_goes_on_during_a_switch_leaves_no_name_to_the_edition_before(mount: Mounted) -> None:
    """A program reads a long listing piece by piece; the kernel would keep what the later pieces say."""
    folder = mount.path / ".onefs/default" / LONG.path
    with os.scandir(folder) as listing:
        for count, entry in enumerate(listing):
            assert entry.stat().st_size == len("#2024-05-06#/") * (count <= 20)
            if count == 20:
                tell(mount, "as-of 2024-01-01")
    assert count == 199
    assert {(folder / f"a{n}.b.npy").read_bytes() for n in range(200)} == {b""}


def test_whoever_works_in_a_folder_stays_in_it(mount: Mounted, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel forgets the names that changed, not the folders above them."""
    for view in ("", ".onefs/default", ".onefs/as-of/2024-01-01"):
        monkeypatch.chdir(mount.path / view / MADE_SESSION / "alf")
        for line in ("as-of 2022-06-01", "qc CRITICAL", "as-of none", "qc FAIL"):
            tell(mount, line)
            assert Path.cwd() == mount.path / view / MADE_SESSION / "alf"
            assert os.path.samestat(os.stat(".."), os.stat(mount.path / view / MADE_SESSION))
    monkeypatch.chdir("/")


def test_a_name_that_was_absent_is_found_when_it_comes(mount: Mounted) -> None:
    tell(mount, "qc PASS")
    tell(mount, "as-of 2022-06-01")
    for place in (mount.path, mount.path / ".onefs/default"):
        assert not (place / MADE_SESSION / "alf/#2024-05-06#").exists()
        assert not (place / MADE_SESSION / WORST).exists()
    tell(mount, "qc CRITICAL")
    tell(mount, "as-of none")
    assert (mount.path / MADE_SESSION / THIRD).exists()
    assert (mount.path / ".onefs/default" / MADE_SESSION / WORST).exists()


@pytest.mark.parametrize("line", ["as-of ''", "as-of", "as-of 2024-01-01 x", "qc BAD", "qc"])
def test_what_cannot_be_meant_is_refused_and_changes_nothing(mount: Mounted, line: str) -> None:
    with pytest.raises(OSError, match="Invalid argument") as refused:
        tell(mount, line)
    assert refused.value.errno == errno.EINVAL
    assert below(mount.path) == SHOWN
    assert (line.split()[1] if line.count(" ") == 1 else "Write: ") in mount.errors()


def test_the_verbs_say_what_is_shown_now(mount: Mounted) -> None:
    done = run_onefs("as-of", "2022-06-01", mount.path)
    assert (done.returncode, done.stdout) == (0, f"{mount.path} is as of 2022-06-01 now.\n")
    done = run_onefs("qc", "pass", mount.path)
    assert (done.returncode, done.stdout) == (0, f"{mount.path} shows outcomes up to PASS now.\n")
    control = (mount.path / ".onefs/control").read_text().splitlines()
    assert {"as_of: 2022-06-01", "qc: PASS"} <= set(control)
    shown = {"view": "full", "as_of": "2022-06-01", "qc": "PASS", "ignore_qc_not_set": False}
    assert mount.status()["shown"] == shown
    assert run_onefs("as-of", "none", mount.path).stdout == f"{mount.path} shows every edition now.\n"
    for verb, word in (("as-of", ""), ("qc", "worse")):
        done = run_onefs(verb, word, mount.path)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"'{word}' is not " in done.stderr


@pytest.mark.parametrize(("bound", "shown"), [("2022", FIRST), ("2024-05", SECOND), ("b/%2F 'x", THIRD)])
def test_a_bound_that_is_no_date_is_the_same_everywhere(
    mount: Mounted, archive: Path, tmp_path: Path, bound: str, shown: str
) -> None:
    folder = mount.path / ".onefs/as-of" / bound.replace("%", "%25").replace("/", "%2F")
    assert (folder / MADE_SESSION / FIRST).read_bytes() == BYTES[shown]
    told = run_onefs("as-of", bound, mount.path).stdout
    assert told == f"{mount.path} shows editions up to the text {bound!r} now, which is no date.\n"
    assert run_onefs("as-of", mount.path).stdout == f"{bound}\n"
    assert (mount.path / ".onefs/default" / MADE_SESSION / FIRST).read_bytes() == BYTES[shown]
    for flags, variables in ((["--as-of", bound], {}), ([], {"ONE_REVISION_LAST_BEFORE": bound})):
        listed = run_onefs("list", "datasets", "--source", archive, "--cache-dir", tmp_path, *flags, **variables)
        paths = (os.path.relpath(path, MADE_SESSION) for path in listed.stdout.splitlines())
        assert {path for path in paths if not path.startswith("..")} == below(mount.path)


def test_a_single_word_with_a_slash_is_a_path(mount: Mounted, tmp_path: Path) -> None:
    done = run_onefs("as-of", f"{tmp_path}/nothing")
    assert (done.returncode, "is in no onefs mount" in done.stderr) == (1, True)
    assert mount.status()["shown"]["as_of"] is None


def test_names_that_are_no_bounds_are_no_views(mount: Mounted) -> None:
    for name in (".hidden", "none", " ", "a\nb"):
        assert not (mount.path / ".onefs/as-of" / name).exists()
    assert not (mount.path / ".onefs/tag/2024_Q1").exists()
    assert os.listdir(mount.path / ".onefs/tag") == []


def test_any_number_of_dates_can_be_entered_and_none_is_taken_for_another(mount: Mounted) -> None:
    """There are fewer numbers than dates, and who works in one of them keeps it."""
    top = mount.path / ".onefs/as-of"
    first = os.open(top / "2022-01-01" / MADE_SESSION / "alf", os.O_RDONLY)
    before = os.fstat(first)
    for day in range(1200):
        then = f"{1900 + day // 28 // 12}-{day // 28 % 12 + 1:02}-{day % 28 + 1:02}"
        assert stat.S_ISDIR((top / then / MADE_SESSION).stat().st_mode)
        if day % 400 == 0:
            assert below(top / then) == {FIRST, UNSET}
            assert (top / then / MADE_SESSION / FIRST).read_bytes() == BYTES[FIRST]
    assert os.path.samestat(os.fstat(first), before)
    assert os.listdir(first) == ["a.b.npy"]
    with open("a.b.npy", "rb", opener=lambda name, flags: os.open(name, flags, dir_fd=first)) as file:
        assert file.read() == BYTES[FIRST]
    assert (top / "2024-05-06" / MADE_SESSION / FIRST).read_bytes() == BYTES[THIRD]
    os.close(first)


def test_a_mount_can_be_as_of_a_date_and_show_one_edition_from_the_start(archive: Path, tmp_path: Path) -> None:
    flags = ("--view", "default", "--ignore-qc-not-set", "on")
    with Mounted(archive, tmp_path, *flags, ONE_REVISION_LAST_BEFORE="2024-05-06") as mount:
        assert below(mount.path) == {FIRST}
        assert (mount.path / MADE_SESSION / FIRST).read_bytes() == BYTES[THIRD]
        id_ = mount.xattr(f"{MADE_SESSION}/{FIRST}", "id")
        link = mount.path / ".onefs/by-id" / id_
        assert link.read_bytes() == BYTES[THIRD]
        assert mount.status()["shown"]["view"] == "default"
        assert link.resolve() == mount.path / MADE_SESSION / FIRST
        tell(mount, "as-of none")
        assert (mount.path / MADE_SESSION / FIRST).read_bytes() == BYTES[SECOND]
        assert mount.xattr(f"{MADE_SESSION}/{FIRST}", "id") != id_
        assert (mount.path / ".onefs/as-of/2022-01-01" / MADE_SESSION / FIRST).read_bytes() == BYTES[FIRST]


def test_a_mount_of_an_impossible_bound_is_refused(archive: Path, tmp_path: Path) -> None:
    done = run_onefs("mount", archive, tmp_path, ONE_REVISION_LAST_BEFORE="a\tb")
    assert done.returncode == 2
    assert "ONE_REVISION_LAST_BEFORE in the environment cannot be 'a\\tb'" in done.stderr


def test_folders_of_views_have_the_same_numbers_in_every_mount(mount: Mounted, visible: Mounted) -> None:
    def numbers(mount: Mounted) -> list[int]:
        views = ("default", "as-of/2024-02-29", "as-of/2021-07-01", "via/local")
        return [(mount.path / ".onefs" / view / MADE_SESSION / "alf").stat().st_ino for view in views]

    first = numbers(mount)
    assert numbers(visible) == first
    assert len(set(first)) == len(first)
