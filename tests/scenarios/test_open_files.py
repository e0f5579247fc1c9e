"""Very many files that are open at once: more than the daemon may have descriptors, and some of them removed."""

import errno
import json
import os
import random
import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from archives import MADE_SESSION, make_served_folder, make_tables
from mounted import Mounted, run_onefs
from servers import Nginx
from waiting import wait_until

LIMIT = 200
"""Of descriptors in the daemon."""
SMALL = {f"alf/part{number % 10}/object{number:03d}.times.npy": os.urandom(100) for number in range(400)}
LARGE = {f"raw/video{number:02d}.raw.mp4": bytes([number]) * (3 << 20) for number in range(80)}


class Archive:
    """A made archive behind nginx, and a mount of it whose daemon may have few descriptors."""

    def __init__(self, home: Path, files: dict[str, bytes], *flags: str) -> None:
        self.served = home / "served"
        make_served_folder(self.served, files, with_uuids=True)
        self._server = Nginx(self.served)
        self.mount = Mounted(self._server.url, home, *flags)

    @contextmanager
    def mounted(self) -> Iterator[None]:
        """Served, and mounted."""
        with self._server, self.mount:
            resource.prlimit(self.mount.pid, resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
            yield

    def opened(self, stack: ExitStack, name: str) -> int:
        """A descriptor of a file of the mount, until the stack ends."""
        number = os.open(self.mount.path / MADE_SESSION / name, os.O_RDONLY)
        stack.callback(os.close, number)
        return number

    def cached(self, name: str) -> Path:
        """The file in the cache."""
        return self.mount.cache / MADE_SESSION / name

    def open_in_daemon(self) -> list[Path]:
        """What the daemon has descriptors of."""
        folder = Path(f"/proc/{self.mount.pid}/fd")
        found = []
        for number in os.listdir(folder):
            with suppress(FileNotFoundError):
                found.append((folder / number).readlink())
        return found

    def leave_none(self) -> None:
        """Let the daemon open nothing more."""
        numbers = {int(number) for number in os.listdir(f"/proc/{self.mount.pid}/fd")}
        least = next((number for number in range(LIMIT) if number not in numbers), LIMIT)
        resource.prlimit(self.mount.pid, resource.RLIMIT_NOFILE, (least, LIMIT))


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Archive]:
    archive = Archive(tmp_path, SMALL, "--passthrough", "off")
    with archive.mounted():
        yield archive


def drop_pages(numbers: dict[str, int]) -> None:
    """Have what is read next come from the daemon."""
    for number in numbers.values():
        os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED)


def test_more_files_are_open_than_the_daemon_may_have_descriptors(small: Archive) -> None:
    with ExitStack() as stack:
        numbers = {name: small.opened(stack, name) for name in SMALL}
        names = list(SMALL)
        for seed in range(2):
            drop_pages(numbers)
            random.Random(seed).shuffle(names)
            for name in names:
                assert os.pread(numbers[name], 200, 0) == SMALL[name]
            assert small.mount.status()["pid"] == small.mount.pid
            assert LIMIT // 3 < len(small.open_in_daemon()) < LIMIT
        removed = names[::4]
        for name in removed:
            small.cached(name).unlink()
        drop_pages(numbers)
        for name in reversed(names):
            assert os.pread(numbers[name], 200, 0) == SMALL[name], "one that was removed is fetched again"
        assert 0 < sum(small.cached(name).exists() for name in removed) <= len(removed)
        assert small.mount.errors() == ""
    wait_until(lambda: len(small.open_in_daemon()) < LIMIT // 3)


def test_without_the_dataset_a_removed_copy_is_not_replaced(small: Archive) -> None:
    first, second = "alf/part0/object000.times.npy", "alf/part1/object001.times.npy"
    for name in SMALL:
        (small.mount.path / MADE_SESSION / name).read_bytes()
    with ExitStack() as stack:
        numbers = {name: small.opened(stack, name) for name in (first, second)}
        for name in SMALL.keys() - numbers.keys():  # so many that the daemon closes the two
            os.pread(small.opened(stack, name), 200, 0)
        wait_until(lambda: not {small.cached(name) for name in numbers} & set(small.open_in_daemon()))
        drop_pages(numbers)
        for name in numbers:
            small.cached(name).unlink()
        make_tables(small.served, {second: SMALL[second]}, created="2024-01-04 00:00")
        (small.served / "cache_info.json").write_text('{"date_created": "2024-01-04 00:00"}')
        done = run_onefs("refresh", small.mount.path)
        assert done.returncode == 0, done.stderr
        assert os.pread(numbers[second], 200, 0) == SMALL[second]
        with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
            os.pread(numbers[first], 200, 0)


def test_the_status_answers_when_the_daemon_is_out_of_descriptors(tmp_path: Path) -> None:
    archive = Archive(tmp_path, LARGE, "--whole-file-max", "1MiB", "--read-ahead-max", "1MiB")
    with archive.mounted(), ExitStack() as stack:
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            for name, data in LARGE.items():
                number = archive.opened(stack, name)
                assert os.pread(number, 10, 0) == data[:10]
        archive.leave_none()
        assert json.loads((archive.mount.path / ".onefs" / "status.json").read_text())["pid"] == archive.mount.pid
        done = run_onefs("status", archive.mount.path)
        assert (done.returncode, str(archive.mount.path) in done.stdout) == (0, True), done.stdout + done.stderr
        for name in ("metrics", "log", "control"):
            assert (archive.mount.path / ".onefs" / name).read_text()
        assert "ulimit -n" in archive.mount.errors()
