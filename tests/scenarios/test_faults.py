"""What goes wrong on the way: each fault is told, none is served, none hangs, and the mount lives on."""

import errno
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from archives import MADE_SESSION, make_tables, on_servers
from mounted import Mounted, is_alive
from servers import Fault, FaultServer
from waiting import PATIENCE_S, wait_until

SMALL = random.Random(1).randbytes(10_000)
LARGE = random.Random(2).randbytes(8 << 20)
FILES = {"alf/spikes.times.npy": SMALL, "alf/spikes.amps.npy": SMALL[::-1], "raw/video.raw.mp4": LARGE}
NAME = "alf/spikes.times.npy"
BIG = "raw/video.raw.mp4"


class Archive:
    """A made archive behind a server that fails as it is told, and a mount of it."""

    def __init__(self, home: Path, server: FaultServer, *flags: str) -> None:
        self.server = server
        self.datasets = make_tables(home / "tables", FILES)
        for name, dataset in self.datasets.items():
            server.put(on_servers(dataset), FILES[name])
        self.mount = Mounted(home / "tables", home, "--data-url", server.url, *flags)

    def url(self, name: str) -> str:
        """A file's path on the server."""
        return on_servers(self.datasets[name])

    def fault(self, name: str, fault: Fault) -> None:
        """Set what is wrong with a file."""
        self.server.fault(self.url(name), fault)

    def path(self, name: str) -> Path:
        """A file's path in the mount."""
        return self.mount.path / MADE_SESSION / name


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


@pytest.fixture
def archive(server: FaultServer, tmp_path: Path) -> Iterator[Archive]:
    archive = Archive(tmp_path, server)
    with archive.mount:
        yield archive


def reader(path: Path) -> "subprocess.Popen[bytes]":
    """A program that reads a file and writes its MD5."""
    return subprocess.Popen(["md5sum", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(cut_after=4_000_000, times=1),
        Fault(reset_after=4_000_000, times=2),
        Fault(cut_after=0, times=1),
        Fault(chunked=True),
        Fault(ignore_range=True, times=None),
        Fault(wrong_bytes=True, cut_after=100_000, times=1),
    ],
    ids=["cut", "reset twice", "empty", "no length", "no ranges", "wrong then cut"],
)
def test_a_broken_transfer_is_mended(archive: Archive, fault: Fault) -> None:
    archive.fault(BIG, fault)
    assert archive.path(BIG).read_bytes() == LARGE
    assert archive.mount.xattr(f"{MADE_SESSION}/{BIG}", "state") == "verified"


@pytest.mark.parametrize(
    ("fault", "number"),
    [
        (Fault(wrong_bytes=True), errno.EIO),
        (Fault(cut_after=0), errno.EIO),
        (Fault(status=500), errno.EIO),
        (Fault(status=404), errno.EIO),
        (Fault(status=403), errno.EACCES),
        (Fault(stall_before_headers=True), errno.ETIMEDOUT),
    ],
    ids=["wrong bytes", "always short", "500", "404", "403", "silent"],
)
def test_a_lasting_fault_is_told_and_the_next_file_is_fine(
    server: FaultServer, tmp_path: Path, fault: Fault, number: int
) -> None:
    flags = ("--read-timeout", "1s") if number == errno.ETIMEDOUT else ()
    archive = Archive(tmp_path, server, *flags)
    archive.fault(NAME, fault)
    with archive.mount:
        with pytest.raises(OSError) as failure:
            archive.path(NAME).read_bytes()
        assert failure.value.errno == number
        assert f"{errno.errorcode[number]}\t{MADE_SESSION}/{NAME}" in archive.mount.errors()
        assert archive.mount.xattr(f"{MADE_SESSION}/{NAME}", "error")
        assert not (archive.mount.cache / MADE_SESSION / NAME).exists()
        assert archive.path("alf/spikes.amps.npy").read_bytes() == SMALL[::-1]


def test_a_server_that_is_down_is_ehostunreach(archive: Archive) -> None:
    archive.server.stop()
    with pytest.raises(OSError) as failure:
        archive.path(NAME).read_bytes()
    assert failure.value.errno == errno.EHOSTUNREACH
    assert "127.0.0.1" in archive.mount.errors()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_reader_of_a_stalled_file_can_be_stopped(server: FaultServer, tmp_path: Path, number: int) -> None:
    archive = Archive(tmp_path, server, "--read-timeout", "10min")
    archive.fault(BIG, Fault(stall_after=1_000_000))
    with archive.mount:
        stuck = reader(archive.path(BIG))
        server.wait_for_requests(1)
        stuck.send_signal(number)
        stuck.communicate(timeout=PATIENCE_S)
        assert archive.path(NAME).read_bytes() == SMALL
        server.release()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("first_goes", [False, True], ids=["first waits", "first was stopped"])
def test_a_second_reader_of_a_stalled_file_can_be_stopped_too(
    server: FaultServer, tmp_path: Path, number: int, first_goes: bool
) -> None:
    archive = Archive(tmp_path, server, "--read-timeout", "10min", "--open-wait", "0s")
    archive.fault(BIG, Fault(stall_after=1_000_000))
    with archive.mount:
        first = reader(archive.path(BIG))
        server.wait_for_requests(1)
        wait_until(lambda: is_blocked(first.pid), "the first waits for a page")
        if first_goes:
            first.send_signal(number)
            first.communicate(timeout=PATIENCE_S)
        second = reader(archive.path(BIG))
        wait_until(lambda: is_blocked(second.pid), "the second waits for it, too")
        second.send_signal(number)
        second.communicate(timeout=PATIENCE_S)
        server.release()
        assert archive.path(BIG).read_bytes() == LARGE
        first.communicate(timeout=PATIENCE_S)


def is_blocked(pid: int) -> bool:
    """Whether a program waits for a file system, killable or not."""
    return "\nState:\tD" in Path(f"/proc/{pid}/status").read_text()


def test_a_python_reader_with_a_handler_is_interrupted(server: FaultServer, tmp_path: Path) -> None:
    """A handled SIGINT does not end the process, so the kernel alone would leave it waiting."""
    archive = Archive(tmp_path, server, "--read-timeout", "10min", "--open-wait", "10min")
    archive.fault(NAME, Fault(stall_before_headers=True))
    with archive.mount:
        program = f"open({str(archive.path(NAME))!r}, 'rb').read()"
        stuck = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE)
        server.wait_for_requests(1)
        stuck.send_signal(signal.SIGINT)
        _, said = stuck.communicate(timeout=PATIENCE_S)
        assert b"KeyboardInterrupt" in said
        server.release()


def test_other_signals_do_not_break_a_read(archive: Archive) -> None:
    archive.fault(BIG, Fault(trickle_bytes=1 << 20, trickle_pause_s=0.05))
    program = (
        "import signal, sys, hashlib\n"
        "signal.signal(signal.SIGALRM, lambda *_: None)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)\n"
        "print(hashlib.md5(open(sys.argv[1], 'rb').read()).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", program, archive.path(BIG)], capture_output=True, text=True)
    assert done.stdout.strip() == hashlib.md5(LARGE).hexdigest(), done.stderr


def test_a_killed_daemon_starts_again_and_goes_on(server: FaultServer, tmp_path: Path) -> None:
    archive = Archive(tmp_path, server, "--read-timeout", "10min")
    archive.fault(BIG, Fault(stall_after=6_000_000, times=1))
    archive.mount.start()
    stuck = reader(archive.path(BIG))
    partial = archive.mount.cache / ".onefs" / "partial"
    wait_until(lambda: sum(p.stat().st_size for p in partial.glob("*")) >= 5_000_000, "most of it has come")
    archive.mount.kill()
    _, said = stuck.communicate(timeout=PATIENCE_S)
    assert stuck.returncode != 0, said
    assert not (archive.mount.cache / MADE_SESSION / BIG).exists()
    server.release()
    with archive.mount:
        assert archive.path(BIG).read_bytes() == LARGE
    assert server.bytes_sent(archive.url(BIG)) < 1.5 * len(LARGE)


@pytest.mark.needs_mount
def test_a_cache_without_room_is_enospc_and_recovers(server: FaultServer, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", cache], check=True)
    try:
        archive = Archive(tmp_path, server)
        with archive.mount as mount:
            with pytest.raises(OSError) as failure:
                archive.path(BIG).read_bytes()
            assert failure.value.errno == errno.ENOSPC
            assert "ENOSPC" in mount.errors()
            assert archive.path(NAME).read_bytes() == SMALL
    finally:
        subprocess.run(["umount", "-l", cache], check=True)


def test_a_cache_deleted_under_the_daemon_is_made_again(archive: Archive) -> None:
    assert archive.path(NAME).read_bytes() == SMALL
    with archive.path("alf/spikes.amps.npy").open("rb") as held:
        first = held.read(10)
        shutil.rmtree(archive.mount.cache / "lab")
        shutil.rmtree(archive.mount.cache / ".onefs", ignore_errors=True)
        assert first + held.read() == SMALL[::-1]
    assert archive.path(BIG).read_bytes() == LARGE
    subprocess.run(["dd", f"if={archive.path(NAME)}", "of=/dev/null", "iflag=direct", "status=none"], check=True)
    assert archive.path(NAME).read_bytes() == SMALL


def test_a_copy_changed_in_the_cache_is_noticed(archive: Archive) -> None:
    copy = archive.mount.cache / MADE_SESSION / NAME
    assert archive.path(NAME).read_bytes() == SMALL
    os.chmod(copy, 0o644)
    copy.write_bytes(b"x" * len(SMALL))
    around_kernel = ["dd", f"if={archive.path(NAME)}", "iflag=direct", "status=none"]
    assert subprocess.run(around_kernel, capture_output=True, check=True).stdout == SMALL
    assert archive.path(NAME).read_bytes() == SMALL


def test_files_that_another_client_put_there_are_used(server: FaultServer, tmp_path: Path) -> None:
    archive = Archive(tmp_path, server)
    copy = archive.mount.cache / MADE_SESSION / NAME
    copy.parent.mkdir(parents=True)
    copy.write_bytes(SMALL)
    with archive.mount as mount:
        assert mount.xattr(f"{MADE_SESSION}/{NAME}", "state") == "cached"
        assert archive.path(NAME).read_bytes() == SMALL
        assert mount.xattr(f"{MADE_SESSION}/{NAME}", "state") == "verified"
        assert server.requests(archive.url(NAME)) == 0


def test_two_daemons_on_one_cache_fetch_a_file_once(server: FaultServer, tmp_path: Path) -> None:
    first = Archive(tmp_path, server)
    first.fault(BIG, Fault(trickle_bytes=1 << 20, trickle_pause_s=0.02))
    second = Mounted(tmp_path / "tables", tmp_path, "--data-url", server.url)
    second.path = tmp_path / "second"
    with first.mount, second:
        readers = [reader(mount.path / MADE_SESSION / BIG) for mount in (first.mount, second)]
        for each in readers:
            out, said = each.communicate(timeout=PATIENCE_S)
            assert out.split()[0].decode() == hashlib.md5(LARGE).hexdigest(), said
    assert server.requests(first.url(BIG)) == 1


def test_many_readers_of_one_file_cause_one_fetch(archive: Archive) -> None:
    archive.fault(BIG, Fault(trickle_bytes=1 << 20, trickle_pause_s=0.02))
    readers = [reader(archive.path(BIG)) for _ in range(20)]
    for each in readers:
        out, said = each.communicate(timeout=PATIENCE_S)
        assert out.split()[0].decode() == hashlib.md5(LARGE).hexdigest(), said
    assert archive.server.requests(archive.url(BIG)) == 1


def test_a_fetch_goes_on_when_its_reader_is_gone(archive: Archive) -> None:
    archive.fault(BIG, Fault(trickle_bytes=1 << 20, trickle_pause_s=0.05))
    gone = reader(archive.path(BIG))
    archive.server.wait_for_requests(1)
    gone.kill()
    gone.communicate()
    wait_until((archive.mount.cache / MADE_SESSION / BIG).exists, "the file is whole")
    assert archive.path(BIG).read_bytes() == LARGE
    assert archive.server.requests(archive.url(BIG)) == 1


def test_stalled_files_do_not_hold_up_anything_else(server: FaultServer, tmp_path: Path) -> None:
    """200 programs wait in open; listing and reading other files go on meanwhile."""
    archive = Archive(tmp_path, server, "--read-timeout", "10min", "--open-wait", "10min")
    archive.fault(NAME, Fault(stall_before_headers=True))
    with archive.mount as mount:
        stuck = [reader(archive.path(NAME)) for _ in range(200)]
        server.wait_for_requests(1)
        listing = subprocess.run(["ls", "-l", archive.path("alf")], capture_output=True, timeout=PATIENCE_S, check=True)
        assert b"spikes.times.npy" in listing.stdout
        assert archive.path("alf/spikes.amps.npy").read_bytes() == SMALL[::-1]
        assert all(each.poll() is None for each in stuck)
        server.release()
        for each in stuck:
            out, said = each.communicate(timeout=PATIENCE_S)
            assert out.split()[0].decode() == hashlib.md5(SMALL).hexdigest(), said
        assert is_alive(mount.pid)


def test_stalled_reads_do_not_hold_up_another_file(server: FaultServer, tmp_path: Path) -> None:
    """The kernel lets only a dozen reads ahead through unless it is told otherwise; these wait in read, not in open."""
    files = {f"alf/stalled{number}.times.npy": SMALL for number in range(20)} | {"alf/sound.times.npy": SMALL}
    datasets = make_tables(tmp_path / "tables", files)
    for name, dataset in datasets.items():
        server.put(on_servers(dataset), SMALL)
        if "stalled" in name:
            server.fault(on_servers(dataset), Fault(stall_after=100))
    flags = ("--data-url", server.url, "--read-timeout", "10min", "--open-wait", "10ms")
    with Mounted(tmp_path / "tables", tmp_path, *flags) as mount:
        session = mount.path / MADE_SESSION
        stuck = [reader(session / name) for name in files if "stalled" in name]
        server.wait_for_requests(20)
        done = subprocess.run(["md5sum", session / "alf/sound.times.npy"], capture_output=True, timeout=PATIENCE_S)
        assert done.stdout.split()[0].decode() == hashlib.md5(SMALL).hexdigest()
        assert all(each.poll() is None for each in stuck)
        server.release()
        for each in stuck:
            each.communicate(timeout=PATIENCE_S)
