"""Files too large to be waited for: read in parts, in order, by many, through the death of the daemon, and spoilt."""

import ctypes
import errno
import hashlib
import mmap
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from archives import MADE_SESSION, make_tables, on_servers
from mounted import ONEFS, Mounted, is_alive
from servers import PatternServer, pattern, pattern_md5
from waiting import PATIENCE_S, wait_until

MIB = 1 << 20
NAME = "raw/recording.raw.cbin"
HUGE_BYTES = 100 << 30
LARGE_BYTES = 192 * MIB + 4321
LOCKED_BYTES = 4 * MIB
"""No more than any user may lock."""
LIBC = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def server() -> Iterator[PatternServer]:
    with PatternServer() as server:
        yield server


def mounted(server: PatternServer, home: Path, size_bytes: int, md5: str, *flags: str) -> Mounted:
    """A mount of an archive that holds one file, which the server makes while it sends it."""
    datasets = make_tables(home / "tables", {NAME: b""}, size_bytes=size_bytes, md5=md5)
    server.put(on_servers(datasets[NAME]), size_bytes)
    return Mounted(home / "tables", home, "--data-url", server.url, *flags)


def file_in(mount: Mounted) -> Path:
    return mount.path / MADE_SESSION / NAME


def state(mount: Mounted) -> str:
    return mount.xattr(f"{MADE_SESSION}/{NAME}", "state")


def on_disk_bytes(mount: Mounted) -> int:
    return sum(path.stat().st_blocks * 512 for path in (mount.cache / ".onefs" / "partial").glob("*"))


def test_random_places_of_a_huge_file(server: PatternServer, tmp_path: Path) -> None:
    places = random.Random(1)
    with mounted(server, tmp_path, HUGE_BYTES, "0" * 32) as mount, file_in(mount).open("rb", buffering=0) as file:
        assert os.fstat(file.fileno()).st_size == HUGE_BYTES
        for _ in range(200):
            offset = places.randrange(HUGE_BYTES - MIB)
            assert os.pread(file.fileno(), MIB, offset) == pattern(offset, MIB)
        assert server.sent_bytes <= 3 * 200 * MIB
        assert on_disk_bytes(mount) <= server.sent_bytes + MIB
        assert state(mount) == "partial"


def test_the_beginning_of_a_huge_file_in_order(server: PatternServer, tmp_path: Path) -> None:
    with mounted(server, tmp_path, HUGE_BYTES, "0" * 32) as mount:
        with file_in(mount).open("rb", buffering=0) as file:
            for offset in range(0, 128 * MIB, MIB):
                assert file.read(MIB) == pattern(offset, MIB)
        wait_until(lambda: not mount.status()["transfers"], "nothing is fetched any more")
        assert server.sent_bytes <= (128 + 64 + 8) * MIB


def test_many_readers_in_random_order(server: PatternServer, tmp_path: Path) -> None:
    wrong: list[int] = []

    def read(path: Path, number: int) -> None:
        order = list(range(0, LARGE_BYTES, MIB))
        random.Random(number).shuffle(order)
        with path.open("rb", buffering=0) as file:
            wrong.extend(
                offset
                for offset in order
                if os.pread(file.fileno(), MIB, offset) != pattern(offset, min(MIB, LARGE_BYTES - offset))
            )

    with mounted(server, tmp_path, LARGE_BYTES, pattern_md5(LARGE_BYTES)) as mount:
        readers = [threading.Thread(target=read, args=(file_in(mount), number)) for number in range(8)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        assert wrong == []
        wait_until(lambda: state(mount) == "verified", "the file is verified")
        assert server.sent_bytes == LARGE_BYTES


def is_kept(address: ctypes.c_void_p) -> bool:
    """Whether the kernel has all pages of what is mapped there."""
    pages = (ctypes.c_ubyte * (LOCKED_BYTES // mmap.PAGESIZE))()
    assert LIBC.mincore(address, LOCKED_BYTES, pages) == 0
    return all(page & 1 for page in pages)


def test_pages_that_came_before_it_was_verified_stay(server: PatternServer, tmp_path: Path) -> None:
    md5 = pattern_md5(LARGE_BYTES)
    with (
        mounted(server, tmp_path, LARGE_BYTES, md5) as mount,
        file_in(mount).open("rb") as file,
        mmap.mmap(file.fileno(), LOCKED_BYTES, prot=mmap.PROT_READ) as memory,
    ):
        address = ctypes.c_void_p(np.frombuffer(memory, np.uint8).ctypes.data)
        # The kernel may take other pages for other ends, but locked ones only if it is told to forget them.
        assert LIBC.mlock(address, LOCKED_BYTES) == 0, os.strerror(ctypes.get_errno())
        assert state(mount) != "verified"
        assert hashlib.md5(file_in(mount).read_bytes()).hexdigest() == md5
        wait_until(lambda: state(mount) == "verified", "the file is verified")
        with file_in(mount).open("rb", buffering=0) as again:
            assert is_kept(address)
            assert again.read(LOCKED_BYTES) == pattern(0, LOCKED_BYTES)


COPY = """
import os, sys
source, target = sys.argv[1:]
with open(target, "ab") as copy, open(source, "rb", buffering=0) as file:
    file.seek(copy.tell())
    while piece := file.read(1 << 20):
        copy.write(piece)
        copy.flush()
"""


def test_a_daemon_killed_again_and_again(server: PatternServer, tmp_path: Path) -> None:
    server.pause_s = 0.02
    copy = tmp_path / "copy"
    md5 = pattern_md5(LARGE_BYTES)
    mount = mounted(server, tmp_path, LARGE_BYTES, md5)
    for kill in range(4):
        mount.start()
        reader = subprocess.Popen([sys.executable, "-c", COPY, file_in(mount), copy], stderr=subprocess.PIPE)
        reached = (kill + 1) * LARGE_BYTES // 6
        wait_until(lambda reached=reached: copy.exists() and copy.stat().st_size >= reached, "some of it is copied")
        mount.kill()
        reader.communicate(timeout=PATIENCE_S)
        assert reader.returncode
    server.pause_s = 0
    with mount:
        subprocess.run([sys.executable, "-c", COPY, file_in(mount), copy], check=True)
        assert hashlib.md5(copy.read_bytes()).hexdigest() == md5
        wait_until(lambda: state(mount) == "verified", "the file is verified")
    assert server.sent_bytes <= 1.5 * LARGE_BYTES


def test_a_copy_with_a_flipped_byte_fails_and_the_kernel_forgets_it_too(server: PatternServer, tmp_path: Path) -> None:
    server.flip = LARGE_BYTES // 2
    with mounted(server, tmp_path, LARGE_BYTES, pattern_md5(LARGE_BYTES)) as mount:
        with file_in(mount).open("rb", buffering=0) as file:
            assert os.pread(file.fileno(), 1000, LARGE_BYTES - 1000) == pattern(LARGE_BYTES - 1000, 1000)
            assert server.sent_bytes <= 2 * MIB
            copied = subprocess.run(["cp", file_in(mount), tmp_path / "copy"], capture_output=True, text=True)
            assert copied.returncode
            assert os.strerror(errno.EIO) in copied.stderr
            assert "with MD5" in mount.errors()

            def fails() -> bool:
                try:
                    os.pread(file.fileno(), 4096, LARGE_BYTES // 2)
                except OSError as failure:
                    return failure.errno == errno.EIO
                return False

            wait_until(fails, "what is wrong is no longer served, not from the kernel's memory either")
            with pytest.raises(OSError):
                os.pread(file.fileno(), 4096, 0)
        wait_until(lambda: state(mount) == "quarantined", "the file is in quarantine")
        wait_until(lambda: "EIO" in mount.errors(), "the failure is told")
        with pytest.raises(OSError):
            file_in(mount).read_bytes()
        assert not list(mount.cache.glob(f"{MADE_SESSION}/{NAME}"))
        assert is_alive(mount.pid)


def test_a_fetch_that_is_interrupted_at_its_beginning_ends(server: PatternServer, tmp_path: Path) -> None:
    server.pause_s = 0.05
    with mounted(server, tmp_path, 8 * LARGE_BYTES, "0" * 32) as mount:
        with subprocess.Popen([*ONEFS, "fetch", file_in(mount)], stderr=subprocess.PIPE, text=True) as fetch:
            wait_until(lambda: server.sent_bytes > MIB, "it has begun")
            fetch.send_signal(signal.SIGINT)
            assert "was stopped" in fetch.communicate(timeout=PATIENCE_S)[1]
        assert [job["stage"] for job in mount.status()["jobs"]] == ["stopped"]
        wait_until(lambda: not mount.status()["transfers"], "nothing is fetched any more")
        assert server.sent_bytes < 4 * LARGE_BYTES
        assert state(mount) == "partial"


def test_strict_gives_no_byte_of_a_spoilt_file(server: PatternServer, tmp_path: Path) -> None:
    server.flip = LARGE_BYTES - 1
    with mounted(server, tmp_path, LARGE_BYTES, pattern_md5(LARGE_BYTES), "--verify", "strict") as mount:
        with pytest.raises(OSError) as failure, file_in(mount).open("rb", buffering=0) as file:
            os.read(file.fileno(), 1)
        assert failure.value.errno == errno.EIO


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[None]:
    """A cache directory on a disk of 32 MiB."""
    cache = tmp_path / "cache"
    cache.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m,mode=700", "tmpfs", cache], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", cache], check=True)


@pytest.mark.needs_mount
@pytest.mark.usefixtures("full_disk")
def test_a_file_larger_than_the_disk_comes_through_memory(server: PatternServer, tmp_path: Path) -> None:
    with mounted(server, tmp_path, LARGE_BYTES, "0" * 32) as mount:
        places = random.Random(2)
        with file_in(mount).open("rb", buffering=0) as file:
            for offset in range(0, LARGE_BYTES, MIB):
                assert file.read(MIB) == pattern(offset, min(MIB, LARGE_BYTES - offset))
            for _ in range(20):
                offset = places.randrange(LARGE_BYTES - MIB)
                assert os.pread(file.fileno(), MIB, offset) == pattern(offset, MIB)
            assert on_disk_bytes(mount) == 0
            assert state(mount) == "partial"
        wait_until(lambda: not mount.status()["transfers"], "nothing is fetched any more")
        assert "through memory" in mount.log()
        assert resident_bytes(mount) < 250 * MIB


@pytest.mark.needs_mount
@pytest.mark.usefixtures("full_disk")
def test_a_file_that_comes_whole_is_refused_by_a_full_disk(server: PatternServer, tmp_path: Path) -> None:
    with mounted(server, tmp_path, 48 * MIB, "0" * 32) as mount:
        with pytest.raises(OSError) as failure, file_in(mount).open("rb", buffering=0) as file:
            os.pread(file.fileno(), MIB, 7)
        assert failure.value.errno == errno.ENOSPC
        wait_until(lambda: on_disk_bytes(mount) == 0, "what cannot be made whole has gone")
        wait_until(lambda: "ENOSPC" in mount.errors(), "the failure is told")


def resident_bytes(mount: Mounted) -> int:
    """The most memory that the daemon ever had."""
    lines = Path(f"/proc/{mount.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024


MAP = """
import mmap, os, sys
with mmap.mmap(os.open(sys.argv[1], os.O_RDONLY), 0, access=mmap.ACCESS_READ) as mapped:
    for offset in map(int, sys.argv[2:]):
        sys.stdout.buffer.write(mapped[offset : offset + 999])
"""


def test_every_way_to_read_and_no_fetching_in_mode_local(server: PatternServer, tmp_path: Path) -> None:
    with mounted(server, tmp_path, LARGE_BYTES, pattern_md5(LARGE_BYTES)) as mount:
        number = os.open(file_in(mount), os.O_RDONLY)
        direct = os.open(file_in(mount), os.O_RDONLY | os.O_DIRECT)
        offsets = (0, 70 * MIB + 123, LARGE_BYTES - 999)
        # In another process: who waits for a page of memory holds the lock that the server's threads need here.
        mapped = subprocess.check_output([sys.executable, "-c", MAP, file_in(mount), *map(str, offsets)])
        assert mapped == b"".join(pattern(offset, 999) for offset in offsets)
        parts = [bytearray(100), bytearray(MIB)]
        assert os.preadv(number, parts, 90 * MIB - 50) == MIB + 100
        assert bytes(parts[0] + parts[1]) == pattern(90 * MIB - 50, MIB + 100)
        with (tmp_path / "copy").open("w+b") as copy:
            assert os.sendfile(copy.fileno(), number, 30 * MIB + 7, MIB) == MIB
            assert copy.seek(0) == 0
            assert copy.read() == pattern(30 * MIB + 7, MIB)
        with mmap.mmap(-1, MIB) as aligned:
            assert os.preadv(direct, [aligned], 120 * MIB) == MIB
            assert aligned[:] == pattern(120 * MIB, MIB)
        assert os.lseek(number, LARGE_BYTES - 5, os.SEEK_SET) == LARGE_BYTES - 5
        assert os.read(number, 100) == pattern(LARGE_BYTES - 5, 5)
        assert state(mount) == "partial"

        (mount.path / ".onefs" / "mode").write_text("local")
        assert os.preadv(direct, [mmap.mmap(-1, 4096)], 120 * MIB) == 4096
        with pytest.raises(OSError) as failure:
            os.preadv(direct, [mmap.mmap(-1, 4096)], 150 * MIB)
        assert failure.value.errno == errno.ENETDOWN
        (mount.path / ".onefs" / "mode").write_text("auto")
        assert os.pread(number, MIB, 150 * MIB) == pattern(150 * MIB, MIB)
        os.close(number)
        os.close(direct)
