"""`Session` on a real mount of a small tree: what it answers, and what the kernel need not ask."""

import ctypes
import errno
import fcntl
import mmap
import os
import select
from pathlib import Path

import pytest
from privileges import is_root
from toy_operations import DIRECTORY, LINK, ROOT, ToyOperations, mounted

pytestmark = pytest.mark.needs_mount

SMALL = b"small"
MIB = 1 << 20
FIGETBSZ = 2
"""An ioctl that few file systems answer."""


@pytest.fixture
def operations() -> ToyOperations:
    toy = ToyOperations()
    for letter in b"abc":
        folder = toy.add(ROOT, bytes([letter]), DIRECTORY)
        for number in range(60):
            toy.add(folder, b"file%d" % number, content=SMALL)
    return toy


def walk(path: Path) -> list[tuple[str, list[str], list[str]]]:
    """Everything below a folder, each entry looked at."""
    found = [(folder, sorted(folders), sorted(names)) for folder, folders, names in os.walk(path)]
    for folder, _, names in found:
        for name in names:
            os.lstat(os.path.join(folder, name))
    return sorted(found)


def test_walks_ask_for_each_listing_once(tmp_path: Path, operations: ToyOperations) -> None:
    with mounted(tmp_path / "mnt", operations) as served:
        first = walk(served.path)
        assert [len(names) for _, _, names in first] == [0, 60, 60, 60]
        assert operations.asked["opendir"] == 4
        assert operations.asked["lookup"] == 0
        operations.asked.clear()
        assert walk(served.path) == first
        assert operations.asked["opendir"] == operations.asked["readdir"] == 0
        operations.asked.clear()
        assert walk(served.path) == first
        assert not operations.asked


def test_a_listing_that_was_left_is_kept_once_it_is_read_to_its_end(tmp_path: Path, operations: ToyOperations) -> None:
    with mounted(tmp_path / "mnt", operations) as served:
        with os.scandir(served.path / "a") as entries:
            next(entries)
        names = sorted(os.listdir(served.path / "a"))
        operations.asked.clear()
        assert sorted(os.listdir(served.path / "a")) == names
        assert operations.asked["opendir"] == operations.asked["readdir"] == 0


@pytest.mark.parametrize("how", ["the kernel is told", "attributes are kept for no time"])
def test_changed_listings_are_asked_for_again(tmp_path: Path, operations: ToyOperations, how: str) -> None:
    folder = operations.nodes[ROOT].children[b"a"]
    is_told = how == "the kernel is told"
    if not is_told:
        operations.replace(folder, kept_s=0.0)
    with mounted(tmp_path / "mnt", operations) as served:
        assert len(os.listdir(served.path / "a")) == len(os.listdir(served.path / "a")) == 60
        assert not (served.path / "a" / "new").exists()
        operations.add(folder, b"new", content=SMALL)
        operations.replace(folder, version=1)
        if is_told:
            assert len(os.listdir(served.path / "a")) == 60
            served.session.invalidate_inode(folder, attributes_only=False)
        assert "new" in os.listdir(served.path / "a")
        served.session.invalidate_entry(folder, b"new")
        assert (served.path / "a" / "new").read_bytes() == SMALL


def test_what_the_kernel_does_not_know_cannot_be_invalidated(tmp_path: Path, operations: ToyOperations) -> None:
    with mounted(tmp_path / "mnt", operations) as served:
        os.listdir(served.path)
        with pytest.raises(FileNotFoundError):
            served.session.invalidate_inode(999, attributes_only=True)
        with pytest.raises(FileNotFoundError):
            served.session.invalidate_entry(ROOT, b"nobody asked for it")
    with pytest.raises(OSError, match="closed"):
        served.session.invalidate_inode(ROOT, attributes_only=True)
    with pytest.raises(OSError, match="closed"):
        served.session.open_backing(0)


def test_reads_come_in_requests_of_a_mebibyte(tmp_path: Path, operations: ToyOperations) -> None:
    content = os.urandom(4 * MIB + 100)
    operations.add(ROOT, b"large", content=content)
    with mounted(tmp_path / "mnt", operations) as served:
        file = os.open(served.path / "large", os.O_RDONLY | os.O_DIRECT)
        room = mmap.mmap(-1, 5 * MIB)
        read = os.preadv(file, [room], 0)
        assert room[:read] == content
        assert operations.read_sizes[:4] == [MIB] * 4
        os.close(file)
        assert (served.path / "large").read_bytes() == content


def test_what_is_forgotten_was_told_as_often(tmp_path: Path, operations: ToyOperations) -> None:
    file = operations.nodes[operations.nodes[ROOT].children[b"a"]].children[b"file0"]
    operations.replace(file, kept_s=0.0)
    with mounted(tmp_path / "mnt", operations) as served:
        os.listdir(served.path / "a")
        operations.asked.clear()
        for _ in range(3):
            os.stat(served.path / "a" / "file0")
        assert operations.asked["lookup"] == 3
        served.session.invalidate_entry(operations.nodes[ROOT].children[b"a"], b"file0")
        os.stat(served.path)
        served.in_loop(lambda: None)
    assert operations.forgotten[file] == 4


def test_everything_but_control_files_is_read_only(tmp_path: Path, operations: ToyOperations) -> None:
    operations.add(ROOT, b"link", LINK, content=b"a/file0")
    control = operations.add(ROOT, b"control")
    with mounted(tmp_path / "mnt", operations) as served:
        top = served.path
        assert os.readlink(top / "link") == "a/file0"
        assert (top / "link").read_bytes() == SMALL
        for change in (
            lambda: os.mkdir(top / "new"),
            lambda: os.unlink(top / "a" / "file0"),
            lambda: os.rmdir(top / "a"),
            lambda: os.rename(top / "a", top / "d"),
            lambda: os.symlink("a", top / "d"),
            lambda: os.link(top / "control", top / "d"),
            lambda: os.chmod(top / "a", 0o700),
            lambda: os.setxattr(top / "a", "user.x", b""),
            lambda: os.removexattr(top / "a", "user.x"),
            lambda: (top / "new").write_bytes(b""),
            lambda: os.mkfifo(top / "new"),
        ):
            with pytest.raises(OSError) as failed:
                change()
            assert failed.value.errno == errno.EROFS
        (top / "control").write_bytes(b"x" * (MIB + 1))
        assert operations.nodes[control].content == b"x" * (MIB + 1)


def test_what_is_not_asked_works_all_the_same(tmp_path: Path, operations: ToyOperations) -> None:
    with mounted(tmp_path / "mnt", operations) as served:
        with (served.path / "a" / "file0").open("rb") as file:
            assert os.lseek(file.fileno(), 0, os.SEEK_DATA) == 0
            assert os.lseek(file.fileno(), 0, os.SEEK_HOLE) == len(SMALL)
            os.fsync(file.fileno())
            poll = select.poll()
            poll.register(file, select.POLLIN)
            assert poll.poll()
            with pytest.raises(OSError, match="Inappropriate ioctl"):
                fcntl.ioctl(file.fileno(), FIGETBSZ + 0x7700)
        assert os.getxattr(served.path / "a", "user.long") == b"x" * 5000
        assert os.listxattr(served.path / "a") == ["user.short", "user.long"]
        assert os.statvfs(served.path).f_files == 7
        assert os.access(served.path / "a", os.R_OK)


class FileHandle(ctypes.Structure):
    """A file as NFS servers know it: by its number, whatever its name."""

    _fields_ = (("size", ctypes.c_uint), ("kind", ctypes.c_int), ("content", ctypes.c_ubyte * 128))


def handle_of(path: Path) -> FileHandle:
    """Take a handle of a file."""
    handle, mount_id = FileHandle(128), ctypes.c_int()
    libc = ctypes.CDLL(None, use_errno=True)
    failed = libc.name_to_handle_at(-100, bytes(path), ctypes.byref(handle), ctypes.byref(mount_id), 0)
    assert not failed, os.strerror(ctypes.get_errno())
    return handle


def open_by_handle(top: Path, handle: FileHandle) -> int:
    """Open a file that a handle was taken of, in the mount at `top`. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    root = os.open(top, os.O_RDONLY)
    try:
        file: int = libc.open_by_handle_at(root, ctypes.byref(handle), os.O_RDONLY)
    finally:
        os.close(root)
    if file < 0:
        raise OSError(ctypes.get_errno(), "open_by_handle_at")
    return file


@pytest.mark.skipif(not is_root(), reason="only root may open files by handle")
def test_a_handle_opens_the_same_file_after_a_remount(tmp_path: Path, operations: ToyOperations) -> None:
    with mounted(tmp_path / "mnt", operations) as served:
        handles = [handle_of(served.path / "a" / "file7"), handle_of(served.path / "b")]
    with mounted(tmp_path / "mnt", operations) as served:
        file, folder = (open_by_handle(served.path, handle) for handle in handles)
        assert os.read(file, 100) == SMALL
        assert len(os.listdir(folder)) == 60
        assert os.path.samestat(os.stat("..", dir_fd=folder), os.stat(served.path))
        os.close(file)
        os.close(folder)
        handles[0].content[0] = 255
        with pytest.raises(OSError) as failed:
            open_by_handle(served.path, handles[0])
        assert failed.value.errno == errno.ESTALE


class Wanted:
    """Passthrough of whatever a test has the kernel open."""

    why_not = ""

    def begin(self, kernel: object) -> None:
        """Nothing is to be done."""


@pytest.mark.skipif(not is_root(), reason="only root may pass files through")
def test_the_kernel_reads_a_file_by_itself(tmp_path: Path, operations: ToyOperations) -> None:
    content = os.urandom(100_000)
    backing = Path("/dev/shm") / f"onefs-backing-{os.getpid()}"
    backing.write_bytes(content)
    ino = operations.add(ROOT, b"passed", content=bytes(len(content)))
    try:
        with mounted(tmp_path / "mnt", operations, Wanted()) as served, backing.open("rb") as file:
            os.stat(served.path)
            if served.session.facts.passthrough:
                pytest.skip(served.session.facts.passthrough)
            number = served.session.open_backing(file.fileno())
            assert number > 0
            operations.nodes[ino].reply = {"backing_id": number}
            assert (served.path / "passed").read_bytes() == content
            assert not operations.asked["read"]
            served.session.close_backing(number)
            with pytest.raises(OSError, match="No such file"):
                served.session.close_backing(number)
    finally:
        backing.unlink()
