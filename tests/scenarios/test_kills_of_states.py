"""SIGKILL in each state of a fetch: afterwards every byte is right, and hardly any is sent twice."""

import hashlib
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from archives import MADE_SESSION, make_tables, on_servers
from mounted import Mounted
from servers import Fault, FaultServer
from waiting import PATIENCE_S, wait_until

from onefs.catalogue.records import Dataset

MIB = 1 << 20
SIZES = {"small": 10_000, "whole": 8 * MIB, "blocks": 32 * MIB}
IN_MEMORY = {"blocks": 32 * MIB}
FLAGS = (
    *("--whole-file-max", "12MiB", "--max-transfers", "4", "--read-timeout", "10min", "--open-wait", "10min"),
    *("--prefetch", "off"),
)
SLOTS = 4
DISK_BYTES = 6 * MIB
"""Too few for the larger files, which then come through memory or not at all."""

SENT_AGAIN = 1.05
"""Most bytes that may be sent of a file, to its size. What is in sockets when a connection ends is among them."""

BLOCKERS = [f"raw/blocker{number}.raw.bin" for number in range(SLOTS)]
STATES = ("queued", "checking", "fetching", "hashing", "idle", "verified", "failed")
SPARSE_BYTES = 64 << 30
"""Hashing so many takes longer than the test."""


@dataclass(frozen=True, slots=True)
class File:
    """One of the archive: its bytes, and where they are."""

    data: bytes = field(repr=False)
    dataset: Dataset
    path: Path

    @property
    def url(self) -> str:
        """Its path on the server."""
        return on_servers(self.dataset)

    @property
    def half(self) -> int:
        """A place in its middle, between two blocks of a large one."""
        return len(self.data) // 2

    @property
    def name(self) -> str:
        """Its path in the archive."""
        return f"{MADE_SESSION}/{self.dataset.rel_path}"


class Archive:
    """A file of each kind for each state, behind a server that can hold its answers, and a mount of them."""

    def __init__(self, home: Path, server: FaultServer, sizes: dict[str, int]) -> None:
        self.server = server
        self.readers: list[subprocess.Popen[bytes]] = []
        self.is_in_memory = sizes is IN_MEMORY
        contents = {}
        for kind, size_bytes in sizes.items():
            data = random.Random(kind).randbytes(size_bytes)
            contents |= {_name(kind, state): data for state in STATES}
        names = list(contents)
        contents |= dict.fromkeys(BLOCKERS, b"not read")
        datasets = make_tables(home / "tables", contents)
        _forget_sizes(home / "tables", [name for name in names if "/checking." in name])
        for name, data in contents.items():
            server.put(on_servers(datasets[name]), data)
        self.mount = Mounted(home / "tables", home, "--data-url", server.url, *FLAGS)
        self.files = {
            name: File(data, datasets[name], self.mount.path / MADE_SESSION / name) for name, data in contents.items()
        }

    def read(self, file: File, offset: int = 0) -> "subprocess.Popen[bytes]":
        """Start a program that reads a file from somewhere to its end."""
        command = ["tail", "-c", f"+{offset + 1}", file.path]
        self.readers.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return self.readers[-1]

    def end_readers(self) -> None:
        """End the programs that read, whatever they wait for."""
        for reader in self.readers:
            reader.kill()
            reader.communicate(timeout=PATIENCE_S)
        self.readers.clear()

    def kill(self) -> None:
        """Kill the daemon, and make the server well."""
        self.mount.kill()
        self.server.stop()
        self.server.start()
        for file in self.files.values():
            self.server.fault(file.url)
        self.end_readers()

    def done_bytes(self, file: File) -> int:
        """How many bytes of a transfer the daemon has; -1 if it is not under way."""
        transfers = {each["path"]: each["done_bytes"] for each in self.mount.status()["transfers"]}
        return int(transfers.get(file.name, -1))

    def is_under_way(self, file: File) -> bool:
        """Whether the daemon says that it fetches or hashes a file, or would if it could."""
        return self.done_bytes(file) >= 0

    def sent_bytes(self, file: File) -> int:
        """How much of a file the server has sent."""
        return self.server.bytes_sent(file.url)


def _name(kind: str, state: str) -> str:
    return f"alf/{state}.{kind}.npy"


def _forget_sizes(tables: Path, names: list[str]) -> None:
    """Have the tables not know how large some files are: no copy of them is wrong before it was hashed."""
    found = pq.read_table(tables / "datasets.pqt")
    rows = zip(found["rel_path"].to_pylist(), found["file_size"].to_pylist(), strict=True)
    sizes = pa.array([None if path in names else size for path, size in rows], found.schema.field("file_size").type)
    place = found.schema.get_field_index("file_size")
    pq.write_table(found.set_column(place, found.schema.field("file_size"), sizes), tables / "datasets.pqt")


def queue(archive: Archive, files: list[File]) -> None:
    """All that may be fetched at once is, and its server is silent."""
    blockers = [archive.files[name] for name in BLOCKERS]
    for blocker in blockers:
        archive.server.fault(blocker.url, Fault(stall_before_headers=True))
    for blocker in blockers:
        archive.read(blocker)
    wait_until(lambda: all(archive.server.requests(each.url) for each in blockers), "all that may be fetched is")
    for file in files:
        archive.read(file)
        wait_until(lambda file=file: archive.is_under_way(file), f"{file.name} waits for its turn")
        assert not archive.server.requests(file.url)


def check(archive: Archive, files: list[File]) -> None:
    """A copy that is there is hashed, which takes long."""
    for file in files:
        copy = archive.mount.cache / file.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.touch()
        os.truncate(copy, SPARSE_BYTES)
        os.utime(copy, (1, 1))
        archive.read(file)
    for file in files:
        wait_until(lambda file=file: archive.done_bytes(file) > 0, f"the copy of {file.name} is hashed")


def fetch(archive: Archive, files: list[File]) -> None:
    """One half has come."""
    for file in files:
        archive.server.fault(file.url, Fault(held=(file.half, len(file.data))))
        archive.read(file)
    for file in files:
        wait_until(lambda file=file: archive.sent_bytes(file) >= file.half, f"a half of {file.name} is sent")
        if not archive.is_in_memory:  # where only what is read next is kept
            wait_until(lambda file=file: archive.done_bytes(file) >= file.half, f"a half of {file.name} has come")


def hash_(archive: Archive, files: list[File]) -> None:
    """All has been sent, the first byte of a large file last, without which nothing of it can be hashed."""
    for file in files:
        is_large = file.dataset.rel_path == _name("blocks", "hashing")
        if is_large:
            archive.read(file, file.half).communicate(timeout=PATIENCE_S)
            wait_until(lambda file=file: not archive.is_under_way(file), "its second half is there")
            assert archive.sent_bytes(file) < len(file.data)
        last = 0 if is_large else len(file.data) - 1
        asked = archive.server.requests(file.url)
        archive.server.fault(file.url, Fault(held=(last, last + 1)))
        archive.read(file)
        archive.server.wait_for_requests(asked + 1, file.url)
        if not is_large:
            wait_until(lambda file=file, last=last: archive.done_bytes(file) >= last, "all but a byte has come")
    archive.server.release()
    for file in files:
        wait_until(lambda file=file: archive.sent_bytes(file) >= len(file.data), "all of it was sent", pause_s=0.001)


def idle(archive: Archive, files: list[File]) -> None:
    """A part was read, and nobody wants more."""
    for file in files:
        with file.path.open("rb", buffering=0) as opened:
            assert opened.read(MIB) == file.data[:MIB]
            wait_until(lambda file=file: not archive.is_under_way(file), f"nothing of {file.name} is fetched any more")


def verify(archive: Archive, files: list[File]) -> None:
    """All was read, and is what it should be."""
    for file in files:
        assert file.path.read_bytes() == file.data


def fail(archive: Archive, files: list[File]) -> None:
    """A half has come, and the rest is nowhere to be had."""
    fetch(archive, files)
    for file in files:
        archive.server.fault(file.url, Fault(status=404))
    archive.server.stop()
    archive.server.start()
    for reader in archive.readers:
        reader.communicate(timeout=PATIENCE_S)
        assert reader.returncode


REACH: dict[str, Callable[[Archive, list[File]], None]] = {
    "queued": queue,
    "checking": check,
    "fetching": fetch,
    "hashing": hash_,
    "idle": idle,
    "verified": verify,
    "failed": fail,
}


@contextmanager
def mounted(home: Path, sizes: dict[str, int]) -> Iterator[Archive]:
    """A mount that goes from one test to the next."""
    with FaultServer() as server:
        archive = Archive(home, server, sizes)
        archive.mount.may_log_errors = True  # servers fail, and copies are wrong
        with archive.mount:
            try:
                yield archive
            finally:
                archive.end_readers()


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with mounted(tmp_path_factory.mktemp("disk"), SIZES) as archive:
        yield archive


@pytest.fixture(scope="module")
def in_memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """With a cache on a disk that has no room for a large file."""
    home = tmp_path_factory.mktemp("memory")
    cache = home / "cache"
    cache.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "tmpfs", cache], check=True)
    try:
        with mounted(home, IN_MEMORY) as archive:
            yield archive
    finally:
        subprocess.run(["umount", "-l", cache], check=True)


def kill_in(archive: Archive, state: str, kinds: tuple[str, ...]) -> dict[str, int]:
    """Bring a file of each kind into a state, kill the daemon, and read them; the bytes sent before the kill."""
    files = {kind: archive.files[_name(kind, state)] for kind in kinds}
    REACH[state](archive, list(files.values()))
    archive.kill()
    if state == "checking":
        for file in files.values():
            os.truncate(archive.mount.cache / file.name, 1)  # whoever hashed it would hash it again
            os.utime(archive.mount.cache / file.name, (1, 1))  # nobody seems to be writing it
    archive.mount.start()
    sent_before = {kind: archive.sent_bytes(file) for kind, file in files.items()}
    for kind, file in files.items():
        digest = hashlib.md5(file.path.read_bytes()).hexdigest()
        assert digest == file.dataset.md5, f"{kind} file, killed when {state}"
    return sent_before


@pytest.mark.parametrize("state", STATES)
def test_a_kill_on_the_way_to_the_disk(on_disk: Archive, state: str) -> None:
    kinds = ("blocks",) if state == "idle" else tuple(SIZES)
    kill_in(on_disk, state, kinds)
    for kind in kinds:
        file = on_disk.files[_name(kind, state)]
        most = 2.0 if kind == "small" else SENT_AGAIN  # a small file comes in one piece
        sent = on_disk.sent_bytes(file) / len(file.data)
        assert sent <= most, f"{kind} file: {sent:.2f} times its size was sent"
        wait_until(lambda file=file: on_disk.mount.xattr(file.name, "state") == "verified", f"{file.name} is verified")


@pytest.mark.needs_mount
@pytest.mark.parametrize("state", [state for state in STATES if state != "checking"])
def test_a_kill_on_the_way_through_memory(in_memory: Archive, state: str) -> None:
    """Nothing outlives the daemon, so the file comes once more, but not more than that."""
    sent_before = kill_in(in_memory, state, ("blocks",))
    file = in_memory.files[_name("blocks", state)]
    sent = (in_memory.sent_bytes(file) - sent_before["blocks"]) / len(file.data)
    assert sent <= SENT_AGAIN, f"{sent:.2f} times its size was sent"
    assert in_memory.mount.xattr(file.name, "cache_path") == ""
