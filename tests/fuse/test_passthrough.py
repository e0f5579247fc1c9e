"""Which opens the kernel serves by itself, at a real kernel: in any order, with right bytes, and no id left over."""

import hashlib
import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from archives import make_tables
from bare_session import BareSession, Program
from file_systems import file_system_of
from privileges import another_disk

from onefs.cache.store import ContentStore
from onefs.cache.verify import Verify
from onefs.catalogue.records import Dataset
from onefs.catalogue.snapshot import load_snapshot
from onefs.fetch.access import Content, Patience
from onefs.fuse import passthrough
from onefs.fuse.passthrough import no_passthrough
from onefs.modes import Mode
from onefs.recording.recorder import Recorder
from onefs.transports.base import Location
from onefs.transports.file import FileTransport
from onefs.vfs.tree import Tree
from onefs.vfs.views import View

pytestmark = pytest.mark.needs_root
MIB = 1 << 20
LARGE, SMALL = "alf/large.x.npy", "alf/small.x.npy"
FILES = {
    LARGE: random.Random(1).randbytes(3 * MIB + 1234),
    SMALL: bytes(passthrough.LEAST_BYTES - 1),
    "alf/none.x.npy": b"",
    **{f"alf/{number}.x.npy": bytes([number]) * (passthrough.LEAST_BYTES + number) for number in range(20)},
}


class Archive:
    """An archive in a folder, served through a cache by bare sessions."""

    def __init__(self, home: Path, cache: Path) -> None:
        self.cache = cache
        self.home = home
        self.datasets = make_tables(home / "archive", FILES)
        for name, data in FILES.items():
            path = home / "archive" / self.datasets[name].path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        self.content = Content(
            ContentStore(cache, cache / ".onefs"),
            FileTransport(),
            self.locate,
            self.locate,
            patience=Patience(settled_s=0),
        )
        self.recorder = Recorder("archive", self.content.md5_of)

    def locate(self, dataset: Dataset) -> list[Location]:
        return [Location((self.home / "archive" / dataset.path).as_uri())]

    def file(self, name: str) -> Path:
        """Its copy in the cache."""
        return self.cache / self.datasets[name].path

    def session(self) -> BareSession:
        tree = Tree(load_snapshot(self.home / "archive", self.home / "state"), View(), {})
        files = file_system_of(tree, self.content, Mode.AUTO, recorder=self.recorder)
        numbers = {name.replace("/", "_"): files.forest.find(self.datasets[name].path).ino for name in FILES}
        mountpoint = self.home / "mnt"
        return BareSession(mountpoint, files, numbers, self.recorder)


@contextmanager
def archive_of(home: Path, cache: Path) -> Iterator[Archive]:
    made = Archive(home, cache)
    try:
        yield made
    finally:
        made.content.close()


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with archive_of(tmp_path, tmp_path / "cache") as made:
        yield made


@pytest.fixture
def mount(archive: Archive) -> Iterator[BareSession]:
    with archive.session() as session:
        yield session


def shown(name: str) -> str:
    return name.replace("/", "_")


def reads(program: Program, handle: str, name: str, way: str = "pread", offset: int = 0, size: int = 4 * MIB) -> bool:
    """Whether a program reads the right bytes of an open file."""
    data = FILES[name][offset : offset + size]
    answer = program.ask(way, handle, offset, size)
    assert isinstance(answer, list), answer
    return bool(answer == [len(data), hashlib.md5(data).hexdigest()])


def test_a_verified_file_is_read_without_asking_in_every_way(mount: BareSession) -> None:
    program = mount.program()
    assert program.open("a", shown(LARGE)) == len(FILES[LARGE])
    for way in ("pread", "read_aligned", "mapped", "shared", "sent", "spliced"):
        for offset, size in ((0, 4 * MIB), (5, 10), (MIB - 3, 7), (3 * MIB, 4 * MIB)):
            assert reads(program, "a", LARGE, way, offset, size), way
    assert program.open("direct", shown(LARGE), os.O_RDONLY | os.O_DIRECT) == len(FILES[LARGE])
    assert reads(program, "direct", LARGE, "read_aligned", 8192, MIB)
    assert mount.n_reads == 0
    assert mount.counters.passed_through == 2
    assert len(mount.backings.ids) == mount.passthrough.open_inodes == 1


def test_opens_of_one_inode_in_any_order_are_never_refused(archive: Archive, mount: BareSession) -> None:
    """Passed through, cached and direct ones, by three programs."""
    chance = random.Random(2)
    programs = [mount.program() for _ in range(3)]
    opened: list[tuple[Program, str, str]] = []
    kinds = set()
    for number in range(400):
        if len(opened) < 6 and chance.random() < 0.55:
            kind = chance.choice(("passed", "passed", "cached", "direct"))
            archive.recorder.turn_off() if kind == "passed" else archive.recorder.turn_on()
            mount.is_direct = kind == "direct"
            program, name, before = chance.choice(programs), chance.choice((LARGE, "alf/1.x.npy")), mount.n_reads
            assert program.open(str(number), shown(name)) == len(FILES[name])
            opened.append((program, str(number), name))
            assert reads(program, str(number), name, offset=chance.randrange(1000), size=5000)
            kinds.add((kind, mount.n_reads > before))
        elif opened:
            program, handle, name = opened.pop(chance.randrange(len(opened)))
            assert reads(program, handle, name, chance.choice(("pread", "mapped", "sent")))
            program.close(handle)
    assert {("passed", False), ("cached", True), ("direct", True), ("direct", False)} <= kinds
    for program, handle, _ in opened:
        program.close(handle)
    wait_for_releases(programs[0])
    assert mount.backings.ids == set()
    assert mount.errors == []


def wait_for_releases(program: Program) -> None:
    """Have the releases answered that were sent before: requests are answered one after the other."""
    program.open("last", shown("alf/none.x.npy"))
    program.close("last")


def test_there_are_as_many_backing_ids_as_inodes_open(archive: Archive, mount: BareSession) -> None:
    chance, program = random.Random(3), mount.program()
    names = [name for name in FILES if len(FILES[name]) >= passthrough.LEAST_BYTES]
    opened: list[tuple[str, str]] = []
    for number in range(1000):
        name = chance.choice(names)
        program.open(str(number), shown(name))
        opened.append((str(number), name))
        while len(opened) > chance.randrange(40):
            program.close(opened.pop(chance.randrange(len(opened)))[0])
        if number % 100 == 0:
            wait_for_releases(program)
            assert len(mount.backings.ids) == mount.passthrough.open_inodes == len({name for _, name in opened})
    for handle, _ in opened:
        program.close(handle)
    wait_for_releases(program)
    assert mount.backings.ids == set()
    assert mount.counters.passed_through == 1000
    inside = [link for each in os.listdir("/proc/self/fd") if (link := target(each)).startswith(f"{archive.cache}/lab")]
    assert {Path(each).name for each in inside} <= {"none.x.npy"}, "whose release may be under way"


def target(number: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        return ""


def test_a_small_file_and_one_that_others_read_by_request_are_not_passed_through(
    archive: Archive, mount: BareSession
) -> None:
    first, second = mount.program(), mount.program()
    first.open("none", shown("alf/none.x.npy"))
    first.open("small", shown(SMALL))
    assert reads(first, "small", SMALL)
    archive.recorder.turn_on()
    first.open("a", shown(LARGE))
    archive.recorder.turn_off()
    second.open("a", shown(LARGE))
    assert mount.counters.passed_through == 0
    assert reads(second, "a", LARGE)
    assert mount.n_reads
    first.close("a")
    second.close("a")
    wait_for_releases(second)
    second.open("b", shown(LARGE))
    assert mount.counters.passed_through == 1


def test_while_something_is_recorded_only_what_is_passed_through_already_is(
    archive: Archive, mount: BareSession
) -> None:
    program, other = mount.program(), mount.program()
    program.open("a", shown(LARGE))
    archive.recorder.turn_on()
    other.open("a", shown(LARGE))
    other.open("b", shown("alf/1.x.npy"))
    assert mount.counters.passed_through == 2
    assert reads(other, "a", LARGE)
    assert reads(other, "b", "alf/1.x.npy")
    assert mount.n_reads


def test_a_file_that_is_evicted_while_open_is_read_on_and_opened_again(archive: Archive, mount: BareSession) -> None:
    program, other = mount.program(), mount.program()
    program.open("a", shown(LARGE))
    archive.content.flush()
    assert archive.content.keeping.evict(archive.datasets[LARGE])
    assert not archive.file(LARGE).exists()
    assert reads(program, "a", LARGE)
    other.open("a", shown(LARGE))
    program.close("a")
    assert reads(other, "a", LARGE, "mapped")
    assert archive.file(LARGE).exists(), "it is fetched again"
    other.close("a")
    wait_for_releases(other)
    assert mount.backings.ids == set()


def test_a_file_that_is_touched_while_open_is_opened_again_once_it_is_verified(
    archive: Archive, mount: BareSession
) -> None:
    program, other = mount.program(), mount.program()
    program.open("a", shown(LARGE))
    os.utime(archive.file(LARGE), (1, 1))
    assert other.open("a", shown(LARGE)) == len(FILES[LARGE])
    assert reads(other, "a", LARGE)
    assert mount.counters.passed_through == 2


@pytest.mark.parametrize("is_told_by_mtime", [True, False])
def test_a_damaged_file_that_is_open_is_given_to_nobody_else_until_it_is_closed(
    archive: Archive, mount: BareSession, *, is_told_by_mtime: bool
) -> None:
    program, other = mount.program(), mount.program()
    program.open("a", shown(LARGE))
    before = archive.file(LARGE).stat()
    with archive.file(LARGE).open("r+b") as file:
        file.write(b"damaged")
    if not is_told_by_mtime:
        os.utime(archive.file(LARGE), ns=(before.st_atime_ns, before.st_mtime_ns))
    assert other.open("a", shown(LARGE)) == "Input/output error"
    [error] = mount.errors
    assert "damaged or replaced while programs have it open" in error.reason
    assert archive.file(LARGE).read_bytes() == FILES[LARGE]
    assert list((archive.cache / ".onefs" / "quarantine").glob("*.npy"))
    program.close("a")
    wait_for_releases(program)
    assert other.open("a", shown(LARGE)) == len(FILES[LARGE])
    assert reads(other, "a", LARGE)
    assert mount.counters.passed_through == 2


def test_a_file_that_verifying_moves_to_quarantine_is_given_to_nobody_else(
    archive: Archive, mount: BareSession
) -> None:
    """As when the disk has changed bytes, which no time tells."""
    program, other = mount.program(), mount.program()
    program.open("a", shown(LARGE))
    path = archive.file(LARGE)
    status = path.stat()
    with path.open("r+b") as file:
        file.write(b"damaged")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    archive.content.keeping.verify(archive.datasets[LARGE], lambda size: None)
    assert not path.exists()
    assert other.open("a", shown(LARGE)) == "Input/output error"


def test_a_cache_on_overlayfs_is_read_by_request(tmp_path: Path) -> None:
    with another_disk(tmp_path / "disk"):
        for name in ("lower", "upper", "work", "merged"):
            (tmp_path / "disk" / name).mkdir()
        merged = tmp_path / "disk" / "merged"
        layers = ",".join(f"{each}dir={tmp_path}/disk/{each}" for each in ("lower", "upper", "work"))
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, merged], check=True)
        with archive_of(tmp_path, merged / "cache") as archive, archive.session() as mount:
            program = mount.program()
            for handle in "ab":
                program.open(handle, shown(LARGE))
                assert reads(program, handle, LARGE)
            assert mount.n_reads
            assert mount.counters.passed_through == 0
            assert mount.passthrough.why_not == passthrough.STACKED
        subprocess.run(["umount", "--lazy", merged], check=True)


def test_a_file_that_others_can_write_is_read_by_request(archive: Archive, mount: BareSession) -> None:
    program = mount.program()
    program.open("a", shown(LARGE))
    program.close("a")
    for change in (lambda: archive.file(LARGE).chmod(0o666), lambda: os.chown(archive.file(LARGE), 65534, 0)):
        archive.file(LARGE).chmod(0o644)
        change()
        wait_for_releases(program)
        program.open("b", shown(LARGE))
        assert reads(program, "b", LARGE)
        program.close("b")
    assert mount.counters.passed_through == 1
    assert mount.n_reads


def test_for_an_ordinary_user_everything_is_read_by_request(archive: Archive) -> None:
    session = archive.session()
    session.has_rights = False
    with session as mount:
        program = mount.program()
        for handle in "ab":
            program.open(handle, shown(LARGE))
            assert reads(program, handle, LARGE)
        assert mount.n_reads
        assert mount.counters.passed_through == 0
        assert mount.passthrough.why_not == passthrough.NOT_ALLOWED


@pytest.mark.parametrize("policy", list(Verify))
def test_only_a_private_cache_whose_files_are_verified_is_read_by_the_kernel(tmp_path: Path, policy: Verify) -> None:
    private, shared = tmp_path / "private", tmp_path / "shared"
    private.mkdir()
    shared.mkdir()
    shared.chmod(0o777)
    assert bool(no_passthrough(private, policy, is_local=True)) == (policy in (Verify.WARN, Verify.OFF))
    assert no_passthrough(private, policy, is_local=False)
    assert no_passthrough(shared, policy, is_local=True)
