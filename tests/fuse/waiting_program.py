"""Waits in one operation on a path, with the usual signal actions, and says so just before.

usage: waiting_program.py OPERATION PATH; it handles SIGALRM
"""

import mmap
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

HALF = 1 << 20
"""Where to read: what is before it has come."""
_ALIGNED_BYTES = 4096
Act = Callable[[], object]


def _opened(path: Path, flags: int = os.O_RDONLY) -> int:
    return os.open(path, flags)


def _direct(path: Path) -> Act:
    number, room = _opened(path, os.O_DIRECT), mmap.mmap(-1, _ALIGNED_BYTES)
    return lambda: os.preadv(number, [room], HALF)


def _mapped(path: Path) -> Act:
    mapped = mmap.mmap(_opened(path), 0, prot=mmap.PROT_READ)
    return lambda: mapped[HALF]


def _sendfile(path: Path) -> Act:
    number, sink = _opened(path), _opened(Path(os.devnull), os.O_WRONLY)
    return lambda: os.sendfile(sink, number, HALF, 1)


def _splice(path: Path) -> Act:
    number, (_, pipe) = _opened(path), os.pipe()
    return lambda: os.splice(number, pipe, _ALIGNED_BYTES, offset_src=HALF)


PREPARE: dict[str, Callable[[Path], Act]] = {
    "open": lambda path: partial(_opened, path),
    "read": lambda path: partial(os.pread, _opened(path), 1, HALF),
    "read with O_DIRECT": _direct,
    "mmap": _mapped,
    "sendfile": _sendfile,
    "splice": _splice,
    "lookup": lambda path: partial(os.lstat, path),
    "readdir": lambda path: partial(os.listdir, path),
    "readlink": lambda path: partial(os.readlink, path),
    "getxattr": lambda path: partial(os.getxattr, path, "user.onefs.datasets"),
    "write": lambda path: partial(os.write, _opened(path, os.O_WRONLY), b"hold\n"),
    "statfs": lambda path: partial(os.statvfs, path),
}
"""For each operation what gives that which may have to wait."""


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, lambda *_: None)
    act = PREPARE[sys.argv[1]](Path(sys.argv[2]))
    os.write(1, b"\n")
    act()


if __name__ == "__main__":
    main()
