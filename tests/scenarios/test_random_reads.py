"""Random reads in every way, by several programs, of files in every state: their bytes are those on the server.

`RANDOM_READS=200000` in the environment makes so many.
"""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import random_reader
from archives import MADE_SESSION, make_tables, on_servers
from mounted import Mounted
from seeds import seeded
from servers import Fault, FaultServer
from waiting import wait_until

pytestmark = pytest.mark.seeded
N_READS = int(os.environ.get("RANDOM_READS", "900"))
PROGRAMS = 3
SLOW = Fault(trickle_bytes=32 << 10, trickle_pause_s=0.002)
BY_BLOCKS = "raw/video.raw.mp4"
CHANCE = random.Random(1)
FILES = {
    "alf/none.times.npy": b"",
    "alf/tiny.times.npy": b"0123456789",
    "alf/page.times.npy": CHANCE.randbytes(4096),
    "alf/small.times.npy": CHANCE.randbytes(70_001),
    "alf/passed.times.npy": CHANCE.randbytes(300_000),
    "raw/passed.raw.mp4": CHANCE.randbytes(1 << 20),
    BY_BLOCKS: CHANCE.randbytes((5 << 20) + 1234),
    "raw/other.raw.mp4": CHANCE.randbytes((3 << 20) - 1),
}
FLAGS = ("--whole-file-max", "1M", "--block-size", "64K", "--read-ahead-max", "512K", "--open-wait", "0")


class Archive:
    """A server with the files, a folder with the right ones, and a mount."""

    def __init__(self, home: Path, server: FaultServer) -> None:
        self.right = home / "right"
        self.server = server
        self.datasets = make_tables(home / "tables", FILES)
        for name, data in FILES.items():
            (self.right / name).parent.mkdir(parents=True, exist_ok=True)
            (self.right / name).write_bytes(data)
            self.server.put(on_servers(self.datasets[name]), data)
        self.mount = Mounted(home / "tables", home, "--data-url", server.url, *FLAGS)

    @contextmanager
    def slow_server(self) -> Iterator[None]:
        """Have files come in small pieces."""
        self._answer(SLOW)
        yield
        self._answer(Fault())

    def _answer(self, fault: Fault) -> None:
        for dataset in self.datasets.values():
            self.server.fault(on_servers(dataset), fault)

    def command(self, line: str) -> None:
        """Give a command, and wait for its end."""
        (self.mount.path / ".onefs/control").write_text(line + "\n")
        wait_until(lambda: all(job["stage"] in ("done", "stopped") for job in self.mount.status()["jobs"]), line)

    def cached(self, name: str) -> Path:
        """A file's copy in the cache."""
        return self.mount.cache / self.datasets[name].path

    def state(self, name: str) -> str:
        """What the mount says of a file."""
        return self.mount.xattr(self.datasets[name].path, "state")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with FaultServer() as server:
        archive = Archive(tmp_path_factory.mktemp("reads"), server)
        with archive.mount:
            yield archive


class Readers:
    """Programs that read at random while the body of a `with` runs, which ends when all have ended without fault."""

    def __init__(self, archive: Archive, count: int = N_READS) -> None:
        chance = seeded(7)
        self._arguments = [str(count // PROGRAMS), str(archive.mount.path / MADE_SESSION), str(archive.right), *FILES]
        self._seeds = [str(chance.random()) for _ in range(PROGRAMS)]
        self._programs: list[subprocess.Popen[str]] = []

    @property
    def are_reading(self) -> bool:
        """Whether one has not yet ended."""
        return any(program.poll() is None for program in self._programs)

    def __enter__(self) -> "Readers":
        for seed in self._seeds:
            command = [sys.executable, random_reader.__file__, seed, *self._arguments]
            self._programs.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return self

    def __exit__(self, *_: object) -> None:
        said = [program.communicate()[0] for program in self._programs]
        assert said == [""] * PROGRAMS
        assert [program.returncode for program in self._programs] == [0] * PROGRAMS


def test_while_files_are_fetched_and_evicted(archive: Archive) -> None:
    with archive.slow_server(), Readers(archive) as readers:
        while readers.are_reading:
            archive.command("evict all")
    archive.command("evict all")
    assert archive.state(BY_BLOCKS) == "remote"


def test_of_partly_fetched_and_of_verified_files(archive: Archive) -> None:
    archive.command("evict all")
    with (archive.mount.path / archive.datasets[BY_BLOCKS].path).open("rb", buffering=0) as file:
        assert file.read(10) == FILES[BY_BLOCKS][:10]
    assert archive.state(BY_BLOCKS) == "partial"
    with Readers(archive):
        pass
    archive.command(f"fetch {archive.datasets[BY_BLOCKS].path}")
    assert archive.state(BY_BLOCKS) == "verified"
    with Readers(archive):
        pass


def test_after_spoilt_copies_were_replaced(archive: Archive) -> None:
    archive.command("fetch lab")
    for name, data in FILES.items():
        if data:
            with archive.cached(name).open("r+b") as file:
                file.seek(len(data) // 2)
                file.write(bytes([data[len(data) // 2] ^ 1]))
            os.utime(archive.cached(name), (0, 0))  # else another program may be writing it
    with Readers(archive):
        archive.command("verify")
        assert {archive.state(name) for name in FILES} <= {"verified", "partial", "remote", "quarantined"}
    assert (archive.mount.cache / ".onefs/quarantine").exists()
