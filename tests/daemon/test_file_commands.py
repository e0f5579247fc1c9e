"""The commands about files, written into the control file of a real mount: what each does, and how it is refused."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from archives import MADE_SESSION, make_tables, on_servers
from mounted import Mounted
from servers import HEALTHY, Fault, FaultServer
from waiting import wait_until

from onefs.catalogue.records import Dataset

NAMES = [f"alf/probe{folder}/a{number}.times.npy" for folder in range(3) for number in range(4)]
FILES = {name: name.encode() * 1000 for name in NAMES}
LARGE = "raw/recording.raw.cbin"
LARGE_DATA = bytes(range(256)) * 4096


class Archive:
    """An archive on a server, mounted, whose files are as the test before left them: each test has its own folder."""

    def __init__(self, mount: Mounted, server: FaultServer, datasets: dict[str, Dataset]) -> None:
        self.mount = mount
        self.server = server
        self.datasets = datasets

    def tell(self, command: str) -> int:
        """Write a command into the control file in one call; the errno with which it fails, 0 if it does not."""
        number = os.open(self.mount.path / ".onefs" / "control", os.O_WRONLY)
        try:
            os.write(number, command.encode())
        except OSError as error:
            return error.errno or -1
        finally:
            os.close(number)
        return 0

    def job(self, command: str) -> dict[str, Any]:
        """The newest job of a command, once it has ended."""

        def newest() -> dict[str, Any]:
            return [job for job in self.mount.status()["jobs"] if job["command"] == command][-1]

        wait_until(lambda: newest()["ended"] is not None, f"{command} has ended")
        return newest()

    def do(self, command: str) -> dict[str, Any]:
        assert self.tell(command) == 0, self.mount.errors()
        return self.job(command)

    def state(self, name: str, attribute: str = "state") -> str:
        return self.mount.xattr(f"{MADE_SESSION}/{name}", attribute)

    def said(self) -> str:
        """The newest failure."""
        return self.mount.errors().splitlines()[-1]

    def cached(self, name: str) -> Path:
        return self.mount.cache / MADE_SESSION / name

    def fault(self, name: str, fault: Fault = HEALTHY) -> None:
        self.server.fault(on_servers(self.datasets[name]), fault)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    home = tmp_path_factory.mktemp("commands")
    files = {**FILES, LARGE: LARGE_DATA}
    datasets = make_tables(home / "tables", files)
    flags = ("--whole-file-max", "512K", "--block-size", "64K")
    with FaultServer() as server:
        for name, data in files.items():
            server.put(on_servers(datasets[name]), data)
        with Mounted(home / "tables", home, "--data-url", server.url, *flags) as mount:
            yield Archive(mount, server, datasets)


@pytest.fixture(autouse=True)
def _emptied(archive: Archive) -> None:
    """Each test begins with an empty cache, in mode auto."""
    assert archive.tell("mode auto") == 0
    assert archive.tell("unpin /") == 0
    assert not archive.do("evict all")["failures"]
    assert archive.tell("retry") == 0


def test_fetch_brings_what_is_missing_and_verifies_the_rest(archive: Archive) -> None:
    job = archive.do(f"fetch {MADE_SESSION}/alf/probe0")
    sizes = sum(len(FILES[name]) for name in NAMES[:4])
    assert (job["stage"], job["files"], job["bytes"]) == ("done", {"fetched": 4}, {"fetched_bytes": sizes})
    assert (job["done_files"], job["total_files"], job["done_bytes"], job["total_bytes"]) == (4, 4, sizes, sizes)
    assert {archive.state(name) for name in NAMES[:4]} == {"verified"}
    assert archive.state(NAMES[4]) == "remote"
    before = archive.server.requests()
    job = archive.do(f"fetch {archive.mount.path}/{MADE_SESSION}/alf/probe[01]/*")
    assert job["files"] == {"cached": 4, "fetched": 4}
    assert archive.server.requests() == before + 4
    assert f"4 in the cache already ({sizes / 1000:.1f} kB), 4 fetched" in job["sentence"]
    assert job["sentence"] in archive.mount.log()


def test_a_large_file_is_fetched_whole(archive: Archive) -> None:
    with (archive.mount.path / MADE_SESSION / LARGE).open("rb", buffering=0) as file:
        assert file.read(1000) == LARGE_DATA[:1000]
        assert archive.state(LARGE) == "partial"
    assert archive.do(f"fetch {MADE_SESSION}/{LARGE}")["files"] == {"fetched": 1}
    assert archive.state(LARGE) == "verified"
    assert archive.cached(LARGE).read_bytes() == LARGE_DATA


def test_what_fails_is_told_and_the_rest_comes(archive: Archive) -> None:
    archive.fault(NAMES[5], Fault(wrong_bytes=True))
    job = archive.do(f"fetch {MADE_SESSION}/alf/probe1")
    assert (job["stage"], job["files"]) == ("done", {"fetched": 3, "failed": 1})
    (failure,) = job["failures"]
    assert failure["path"] == f"{MADE_SESSION}/{NAMES[5]}"
    assert archive.datasets[NAMES[5]].md5 in failure["reason"]
    assert failure["reason"] in archive.mount.errors()
    assert (archive.state(NAMES[5]), archive.state(NAMES[4])) == ("quarantined", "verified")
    # A command about that file alone fails as it does; and once more is asked, whatever is remembered.
    assert archive.tell(f"fetch {MADE_SESSION}/{NAMES[5]}") == errno.EIO
    archive.fault(NAMES[5])
    assert archive.tell(f"fetch {MADE_SESSION}/{NAMES[5]}") == 0
    assert archive.state(NAMES[5]) == "verified"


def test_in_mode_local_nothing_is_fetched(archive: Archive) -> None:
    archive.do(f"fetch {MADE_SESSION}/{NAMES[0]}")
    assert archive.tell("mode local") == 0
    before = archive.server.requests()
    assert archive.tell(f"fetch {MADE_SESSION}") == errno.ENETDOWN
    assert "onefs mode auto" in archive.said()
    assert archive.tell(f"pin {MADE_SESSION}") == errno.ENETDOWN
    assert (archive.mount.path / ".onefs" / "pinned").read_text() == ""
    assert archive.do(f"pin {MADE_SESSION}/{NAMES[0]}")["files"] == {"cached": 1}  # it is there
    assert archive.do("verify")["files"] == {"verified": 1}
    assert archive.server.requests() == before


def test_pinned_files_are_fetched_and_stay(archive: Archive) -> None:
    assert archive.do(f"pin {MADE_SESSION}/alf/probe0/a[01]*")["files"] == {"fetched": 2}
    archive.do(f"fetch {MADE_SESSION}/alf/probe0")
    pinned = [f"{MADE_SESSION}/{name}" for name in NAMES[:2]]
    assert (archive.mount.path / ".onefs" / "pinned").read_text().splitlines() == pinned
    assert archive.mount.status()["cache"]["pinned_files"] == 2
    assert [archive.state(name, "pinned") for name in NAMES[:3]] == ["true", "true", "false"]
    assert archive.tell(f"evict {pinned[0]}") == errno.EBUSY
    assert f"{pinned[0]} is pinned." in archive.said()
    assert "unpin" in archive.said()
    job = archive.do(f"evict {MADE_SESSION}/alf/probe0")
    assert (job["files"], len(job["failures"])) == ({"evicted": 2, "failed": 2}, 2)
    job = archive.do("evict all")
    assert (job["files"], job["failures"]) == ({"pinned": 2}, [])
    assert archive.tell(f"unpin {pinned[0]}") == 0
    assert archive.do(f"evict {pinned[0]}")["files"] == {"evicted": 1}
    assert (archive.state(NAMES[0]), archive.state(NAMES[1])) == ("remote", "verified")


def test_files_of_others_stay(archive: Archive) -> None:
    file = archive.cached(NAMES[8])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(FILES[NAMES[8]])
    assert archive.tell(f"evict {MADE_SESSION}/{NAMES[8]}") == errno.EBUSY
    assert str(file) in archive.said()
    archive.do(f"fetch {MADE_SESSION}/alf/probe2")
    job = archive.do("evict all")
    assert (job["files"], job["failures"]) == ({"evicted": 3, "foreign": 1}, [])
    assert file.read_bytes() == FILES[NAMES[8]]
    file.unlink()


def test_evicted_files_are_gone_but_readable_on(archive: Archive) -> None:
    archive.do(f"fetch {MADE_SESSION}/alf/probe0")
    path = archive.mount.path / MADE_SESSION / NAMES[0]
    assert os.stat(path).st_blocks
    with path.open("rb", buffering=0) as file:
        job = archive.do(f"evict {MADE_SESSION}/alf/probe0")
        assert job["files"] == {"evicted": 4}
        assert job["bytes"]["evicted_bytes"] >= sum(len(FILES[name]) for name in NAMES[:4])
        assert file.read() == FILES[NAMES[0]]
    assert not archive.cached(NAMES[0]).exists()
    assert os.stat(path).st_blocks == 0
    assert archive.do(f"evict {MADE_SESSION}/alf/probe0")["sentence"].endswith("nothing to do.")
    assert path.read_bytes() == FILES[NAMES[0]]


def test_what_there_is_of_a_large_file_is_evicted_too(archive: Archive) -> None:
    with (archive.mount.path / MADE_SESSION / LARGE).open("rb", buffering=0) as file:
        file.read(1000)
    wait_until(lambda: not archive.mount.status()["transfers"], "nothing is fetched any more")
    assert archive.state(LARGE) == "partial"
    assert archive.do("evict all")["files"] == {"evicted": 1}
    assert archive.state(LARGE) == "remote"


def test_verify_finds_what_no_stamp_tells(archive: Archive) -> None:
    archive.do(f"fetch {MADE_SESSION}/alf/probe0")
    file = archive.cached(NAMES[1])
    with (archive.mount.path / MADE_SESSION / NAMES[1]).open("rb", buffering=0) as reader:
        assert reader.read(7) == FILES[NAMES[1]][:7]  # from here on the daemon has it open
        os.posix_fadvise(reader.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        status = file.stat()
        with file.open("r+b") as stream:
            stream.write(b"decayed")
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert os.pread(reader.fileno(), 7, 0) == b"decayed"  # opened anew it would be hashed
        job = archive.do("verify")
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):  # no more of what is known to be wrong
            os.pread(reader.fileno(), 7, 0)
    assert job["files"] == {"verified": 3, "quarantined": 1}
    (failure,) = job["failures"]
    assert archive.datasets[NAMES[1]].md5 in failure["reason"]
    assert archive.state(NAMES[1]) == "quarantined"
    assert failure["reason"] in archive.state(NAMES[1], "error")
    assert failure["reason"] in archive.mount.errors()
    assert (archive.mount.path / MADE_SESSION / NAMES[1]).read_bytes() == FILES[NAMES[1]]
    assert archive.do(f"verify {MADE_SESSION}")["files"] == {"verified": 4}


def test_what_decayed_before_it_was_read_is_fetched_again(archive: Archive) -> None:
    archive.do(f"fetch {MADE_SESSION}/alf/probe0")
    file = archive.cached(NAMES[1])
    with (archive.mount.path / MADE_SESSION / NAMES[1]).open("rb", buffering=0) as reader:
        status = file.stat()
        with file.open("r+b") as stream:
            stream.write(b"decayed")
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert reader.read() == FILES[NAMES[1]]
    assert archive.do("verify")["files"] == {"verified": 4}


def test_a_job_tells_how_far_it_is_and_is_stopped(archive: Archive) -> None:
    archive.fault(LARGE, Fault(trickle_bytes=8 << 10, trickle_pause_s=0.1))
    command = f"fetch {MADE_SESSION}/raw {MADE_SESSION}/alf/probe1"
    title = f"fetch {MADE_SESSION}/raw and 1 more"
    assert archive.tell(command) == 0

    def job() -> dict[str, Any]:
        return [job for job in archive.mount.status()["jobs"] if job["command"] == title][-1]

    def transfers() -> list[dict[str, Any]]:
        return [each for each in archive.mount.status()["transfers"] if each["left_s"]]

    wait_until(lambda: job()["files"].get("fetched") == 4 and job()["left_s"] and transfers(), "the rest takes time")
    facts, (transfer,) = job(), transfers()
    assert (facts["stage"], facts["ended"], facts["total_files"]) == ("running", None, 5)
    assert facts["total_bytes"] == len(LARGE_DATA) + sum(len(FILES[name]) for name in NAMES[4:8])
    assert 0 < facts["done_bytes"] < facts["total_bytes"]
    assert facts["rate_bytes_per_s"] > 0
    assert transfer["path"] == f"{MADE_SESSION}/{LARGE}"
    assert 0 < transfer["done_bytes"] < transfer["total_bytes"] == len(LARGE_DATA)
    assert transfer["rate_bytes_per_s"] > 0
    assert archive.tell(command) == 0  # the same again is not begun twice
    assert job()["number"] == facts["number"]
    text = (archive.mount.path / ".onefs" / "status").read_text()
    assert LARGE.rpartition("/")[2] in text
    assert "/s" in text
    assert archive.tell(f"stop {facts['number']}") == 0
    assert job()["stage"] == "stopped"
    assert "after 4 of 5 files" in job()["sentence"]
    wait_until(lambda: not archive.mount.status()["transfers"], "nothing is fetched any more")
    assert archive.state(LARGE) == "partial"
    archive.fault(LARGE)
    sent = archive.server.bytes_sent(on_servers(archive.datasets[LARGE]))
    assert archive.do(f"fetch {MADE_SESSION}/raw")["files"] == {"fetched": 1}
    assert archive.state(LARGE) == "verified"
    assert archive.server.bytes_sent(on_servers(archive.datasets[LARGE])) - sent < len(LARGE_DATA)


@pytest.mark.parametrize(
    ("command", "number", "words"),
    [
        ("fetch", errno.EINVAL, "Write: fetch PATH"),
        ("pin", errno.EINVAL, "Write: pin PATH"),
        ("evict", errno.EINVAL, "Write: evict PATH"),
        ("stop", errno.EINVAL, "Write: stop JOB"),
        ("stop fast", errno.EINVAL, "no number"),
        ("stop 4711", errno.EINVAL, "No job 4711"),
        ("fetch lab/nowhere", errno.ENOENT, "lab/nowhere is not in the catalogue"),
        ("pin lab/*/nowhere", errno.ENOENT, "No file in the catalogue matches lab/*/nowhere"),
        ("unpin nowhere", errno.ENOENT, "nowhere"),
        ("evict nowhere", errno.ENOENT, "nowhere"),
        ("verify nowhere", errno.ENOENT, "nowhere"),
        ("retry nowhere", errno.ENOENT, "nowhere"),
        ("fetch /etc/passwd", errno.ENOENT, "etc"),
        ("fetch ../../etc", errno.ENOENT, ".."),
        ("fetch sessions.pqt", errno.ENOENT, "no file in sessions.pqt"),
        ("fetch .onefs", errno.ENOENT, "no file in .onefs"),
        ("fetsh lab", errno.EINVAL, "Did you mean fetch?"),
    ],
)
def test_what_cannot_be_meant_is_refused(archive: Archive, command: str, number: int, words: str) -> None:
    assert archive.tell(command) == number
    assert words in archive.said()
