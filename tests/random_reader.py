"""A program that reads files of a mount in every way, at random, and compares each answer with the file itself.

Its arguments: a seed, how many reads, the folder in the mount, the folder with the right files, and names in both. It
prints the first wrong answer and ends with 1.
"""

import errno
import mmap
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

from reading_program import ALIGNED, mapped, pread, read_aligned, sent, shared, spliced

MOST_OPEN, MOST_BYTES = 12, 300 << 10


def sought(file: int, offset: int, size: int) -> bytes:
    """By lseek and read, past the end as well."""
    assert os.lseek(file, offset, os.SEEK_SET) == offset
    data = os.read(file, size)
    assert os.lseek(file, 0, os.SEEK_CUR) == offset + len(data)
    return data


def scattered(file: int, offset: int, size: int) -> bytes:
    """By one read into several pieces of memory."""
    pieces = [bytearray(size // 3), bytearray(size - size // 3)]
    count = os.preadv(file, pieces, offset)
    return b"".join(pieces)[:count]


def at_once(file: int, offset: int, size: int) -> bytes:
    """What is in the kernel's memory, or else by waiting."""
    piece = bytearray(size)
    try:
        count = os.preadv(file, [piece], offset, os.RWF_NOWAIT)
    except (BlockingIOError, OSError):
        count = 0
    return bytes(piece[:count]) + os.pread(file, size - count, offset + count)


def ranged(file: int, offset: int, size: int) -> bytes:
    """By copy_file_range, which may be refused between two file systems."""
    target = os.memfd_create("target")
    try:
        while size and (count := os.copy_file_range(file, target, size, offset)):
            offset, size = offset + count, size - count
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL):
            raise
        return pread(file, offset, size)
    else:
        return os.pread(target, MOST_BYTES, 0)
    finally:
        os.close(target)


def reread(file: int, offset: int, size: int) -> bytes:
    """After the kernel was told to drop its pages."""
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    return os.pread(file, size, offset)


def ahead(file: int, offset: int, size: int) -> bytes:
    """After the kernel was told that it will be read."""
    os.posix_fadvise(file, offset, size, os.POSIX_FADV_WILLNEED)
    return os.pread(file, size, offset)


WAYS: tuple[Callable[[int, int, int], bytes], ...] = (
    pread, mapped, shared, sent, spliced, sought, scattered, at_once, ranged, reread, ahead,
)  # fmt: skip


class Reader:
    """Opens, reads and closes files at random."""

    def __init__(self, seed: str, mount: Path, right: Path, names: list[str]) -> None:
        self._chance = random.Random(seed)
        self._mount = mount
        self._right = {name: (right / name).read_bytes() for name in names}
        self._opened: list[tuple[str, int, bool]] = []

    def step(self) -> None:
        """Read once. Raises AssertionError, and OSError."""
        chance = self._chance
        while len(self._opened) > chance.randrange(MOST_OPEN):
            os.close(self._opened.pop(chance.randrange(len(self._opened)))[1])
        if not self._opened or chance.random() < 0.3:
            name, is_direct = chance.choice(list(self._right)), chance.random() < 0.2
            number = os.open(self._mount / name, os.O_RDONLY | os.O_DIRECT * is_direct)
            self._opened.append((name, number, is_direct))
        name, number, is_direct = chance.choice(self._opened)
        data = self._right[name]
        assert os.fstat(number).st_size == len(data), f"{name} has another size"
        offset, size = self._place(len(data))
        if chance.random() < 0.1:
            self._find(name, number, offset)
        elif is_direct:
            self._check(name, read_aligned, number, offset, size)
        else:
            way = chance.choice(WAYS)
            if data or way not in (mapped, shared):  # nothing cannot be mapped
                self._check(name, way, number, offset, size)

    def _place(self, size_bytes: int) -> tuple[int, int]:
        """An offset, often near a page's edge or the end, and a size."""
        chance = self._chance
        offset = chance.choice((
            chance.randrange(size_bytes + 1),
            chance.randrange(size_bytes + 1) // ALIGNED * ALIGNED + chance.randrange(-2, 3),
            size_bytes + chance.randrange(-ALIGNED, ALIGNED),
            0,
        ))  # fmt: skip
        return max(offset, 0), chance.choice((1, chance.randrange(1, 20_000), ALIGNED, chance.randrange(1, MOST_BYTES)))

    def _check(self, name: str, way: Callable[[int, int, int], bytes], number: int, offset: int, size: int) -> None:
        found, wanted = way(number, offset, size), self._right[name][offset : offset + size]
        if found != wanted:
            pairs = enumerate(zip(found, wanted, strict=False))
            first = next((at for at, (one, other) in pairs if one != other), min(len(found), len(wanted)))
            raise AssertionError(
                f"{name} by {way.__name__}: {len(found)} bytes instead of {len(wanted)} at {offset}, "
                f"of which byte {first} is the first that is wrong: {found[first : first + 16]!r}"
            )

    def _find(self, name: str, number: int, offset: int) -> None:
        """Look for data and holes: all of a file is data."""
        size_bytes = len(self._right[name])
        for whence, place in ((os.SEEK_DATA, offset), (os.SEEK_HOLE, size_bytes), (os.SEEK_END, size_bytes)):
            try:
                found: int | None = os.lseek(number, 0 if whence == os.SEEK_END else offset, whence)
            except OSError as error:
                assert error.errno == errno.ENXIO, error
                found = None
            is_there = whence == os.SEEK_END or offset < size_bytes
            assert found == (place if is_there else None), f"{name}: {found} by lseek to {offset} with {whence}"


def main() -> int:
    """Read as the arguments say. Returns the exit code."""
    seed, count, mount, right, *names = sys.argv[1:]
    reader = Reader(seed, Path(mount), Path(right), names)
    for number in range(int(count)):
        try:
            reader.step()
        except (AssertionError, OSError) as error:
            print(f"Read {number} of the reader with seed {seed}: {error!r}")
            return 1
    return 0


if __name__ == "__main__":
    assert mmap.PAGESIZE == ALIGNED
    sys.exit(main())
