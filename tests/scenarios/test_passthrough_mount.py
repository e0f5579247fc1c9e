"""Verified files that the kernel reads by itself: bytes, recordings, damage, and many files open at once."""

import errno
import os
import random
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from archives import MADE_SESSION, make_served_folder
from mounted import Mounted, run_onefs
from servers import Nginx

from onefs.fuse import passthrough
from onefs.monitoring.kernel_status import ACTIVE, WHILE_RECORDING
from onefs.recording.manifest import read_manifest

pytestmark = pytest.mark.needs_root
LARGE, SMALL = "raw/video.raw.mp4", "alf/spikes.times.npy"
FILES = {
    LARGE: random.Random(1).randbytes(20 << 20),
    SMALL: b"spikes" * 50_000,
    **{f"alf/object{number:03d}.times.npy": bytes([number]) * passthrough.LEAST_BYTES for number in range(150)},
}
SPOILT = b"spoilt" * 50_000
OPENS = "import sys; file = open(sys.argv[1], 'rb'); print('open', flush=True); input(); print(len(file.read()))"
READS_MUCH = """
import os, random, sys
_, seed, mount, cache, *names = sys.argv
chance, opened = random.Random(seed), []
for _ in range(1000):
    name = chance.choice(names)
    opened.append((os.open(f"{mount}/{name}", os.O_RDONLY), open(f"{cache}/{name}", "rb").read()))
    number, data = chance.choice(opened)
    assert os.pread(number, len(data) + 1, 0) == data
    while len(opened) > chance.randrange(30):
        os.close(opened.pop(chance.randrange(len(opened)))[0])
"""


@contextmanager
def mounted(home: Path, *flags: str) -> Iterator[Mounted]:
    make_served_folder(home / "served", FILES, with_uuids=True)
    with Nginx(home / "served") as server, Mounted(server.url, home, "--kernel-adapter", "session", *flags) as mount:
        assert run_onefs("fetch", mount.path / MADE_SESSION).returncode == 0
        yield mount


@pytest.fixture(scope="module")
def mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mounted]:
    with mounted(tmp_path_factory.mktemp("passthrough")) as made:
        yield made


def path(mount: Mounted, name: str) -> Path:
    return mount.path / MADE_SESSION / name


def command(mount: Mounted, line: str) -> None:
    (mount.path / ".onefs/control").write_text(line + "\n")


def recorded(mount: Mounted) -> list[tuple[str, int]]:
    """Files and processes that read them first."""
    entries = read_manifest(mount.path / ".onefs/recorded/manifest.jsonl").values()
    return [(entry.path.removeprefix(f"{MADE_SESSION}/"), entry.pid) for entry in entries]


def passed(mount: Mounted) -> tuple[int, int]:
    """Opens so far of files that the kernel reads by itself, and such inodes that are open."""
    kernel = mount.status()["kernel"]
    return kernel["passed_through_opens"], kernel["passed_through_inodes"]


@contextmanager
def open_elsewhere(mount: Mounted, name: str) -> Iterator["subprocess.Popen[str]"]:
    """Another program that has a file open, and reads it in the end."""
    command = [sys.executable, "-c", OPENS, path(mount, name)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "open\n"
        yield program
        assert program.communicate("\n")[0] == f"{len(FILES[name])}\n"


def test_a_verified_file_is_read_past_the_daemon(mount: Mounted) -> None:
    before = passed(mount)[0]
    with path(mount, LARGE).open("rb") as file:
        metrics = (mount.path / ".onefs/metrics").read_text()
        assert file.read() == FILES[LARGE]
        assert os.lseek(file.fileno(), 5, os.SEEK_HOLE) == len(FILES[LARGE])
        assert os.lseek(file.fileno(), 5, os.SEEK_DATA) == 5
        assert passed(mount) == (before + 1, 1)
    after = (mount.path / ".onefs/metrics").read_text()
    assert f"onefs_passthrough_opened_files_total {before + 1}.0" in after
    read_bytes = [line for line in metrics.splitlines() if line.startswith('onefs_read_bytes_total{source="cache"}')]
    assert read_bytes[0] in after
    assert passed(mount) == (before + 1, 0)
    assert mount.status()["kernel"]["passthrough"] == ACTIVE


def test_many_opens_by_several_programs_leave_nothing(mount: Mounted) -> None:
    before = passed(mount)[0]
    names = [f"{MADE_SESSION}/{name}" for name in FILES if name != LARGE][:40]
    command = [sys.executable, "-W", "ignore", "-c", READS_MUCH]
    programs = [subprocess.Popen([*command, str(seed), mount.path, mount.cache, *names]) for seed in range(3)]
    assert [program.wait() for program in programs] == [0, 0, 0]
    assert passed(mount) == (before + 3000, 0)


def test_what_is_open_when_a_recording_begins_counts_as_read(mount: Mounted) -> None:
    command(mount, "record clear")
    with open_elsewhere(mount, LARGE) as program:
        assert passed(mount)[1] == 1
        command(mount, "record on")
        assert recorded(mount) == [(LARGE, program.pid)]
        assert mount.status()["kernel"]["passthrough"] == WHILE_RECORDING
        command(mount, "record clear")
        assert recorded(mount) == [(LARGE, program.pid)]
        assert path(mount, SMALL).read_bytes() == FILES[SMALL]
        assert recorded(mount) == [(LARGE, program.pid), (SMALL, os.getpid())]
        with open_elsewhere(mount, LARGE):
            assert passed(mount)[1] == 1
        command(mount, "record off")
    command(mount, "record clear")
    assert recorded(mount) == []
    before = passed(mount)[0]
    assert path(mount, SMALL).read_bytes() == FILES[SMALL]
    assert passed(mount) == (before + 1, 0)


def test_opened_while_recording_is_read_by_request_and_by_nobody_in_another_way(mount: Mounted) -> None:
    command(mount, "record on --label brief")
    with open_elsewhere(mount, LARGE):
        command(mount, "record off --label brief")
        before = passed(mount)[0]
        assert path(mount, LARGE).read_bytes() == FILES[LARGE]
        assert passed(mount) == (before, 0)


def test_a_copy_that_is_damaged_while_it_is_open_is_given_to_nobody_else(mount: Mounted) -> None:
    cached = mount.cache / MADE_SESSION / SMALL
    with path(mount, SMALL).open("rb") as file:
        cached.write_bytes(SPOILT)
        os.utime(cached, (1, 1))
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            path(mount, SMALL).read_bytes()
        assert "was damaged or replaced while programs have it open" in mount.errors()
        assert file.read() == SPOILT
    assert path(mount, SMALL).read_bytes() == FILES[SMALL]
    assert cached.read_bytes() == FILES[SMALL]


def test_a_file_that_is_evicted_while_open_stays_readable(mount: Mounted) -> None:
    with path(mount, LARGE).open("rb") as file:
        assert run_onefs("evict", path(mount, LARGE)).returncode == 0
        assert not (mount.cache / MADE_SESSION / LARGE).exists()
        assert file.read() == FILES[LARGE]
        assert path(mount, LARGE).read_bytes() == FILES[LARGE]


def test_more_files_are_open_than_the_daemon_may_have_descriptors(tmp_path: Path) -> None:
    with mounted(tmp_path) as mount, ExitStack() as stack:
        resource.prlimit(mount.pid, resource.RLIMIT_NOFILE, (200, 200))
        numbers = {}
        for name in FILES:
            numbers[name] = os.open(path(mount, name), os.O_RDONLY)
            stack.callback(os.close, numbers[name])
        assert 20 < passed(mount)[1] <= 50
        for name in list(FILES)[::4]:
            (mount.cache / MADE_SESSION / name).unlink()
        for name in FILES:
            assert os.pread(numbers[name], len(FILES[name]), 0) == FILES[name]


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--passthrough", "off"], passthrough.NOT_WANTED),
        (["--verify", "warn"], passthrough.NOT_STRICT.format(policy="warn")),
        (["--trust-cache", "on"], passthrough.SHARED),
    ],
)
def test_the_status_says_why_the_daemon_reads_all_files(tmp_path: Path, flags: list[str], why: str) -> None:
    (tmp_path / "cache").mkdir()
    if "--trust-cache" in flags:
        (tmp_path / "cache").chmod(0o777)
    with mounted(tmp_path, *flags) as mount:
        assert path(mount, LARGE).read_bytes() == FILES[LARGE]
        assert passed(mount) == (0, 0)
        assert mount.status()["kernel"]["passthrough"] == why
