"""Makes tests/servers.py importable from every test folder, and serves the archives that tests change."""

import ctypes
import os
import signal
from collections.abc import Iterator

import pytest
from alyx_archive import AlyxArchive

from onefs.demo.server import DemoServer

CLONE_NEWNS = 0x20000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
HEEDED = {
    signal.SIGHUP: signal.SIG_DFL,
    signal.SIGINT: signal.default_int_handler,
    signal.SIGQUIT: signal.SIG_DFL,
}
"""What a job in a shell's background may be started without, and hand down to what it starts."""


def pytest_configure(config: pytest.Config) -> None:
    """Tests that run beside others see their own mounts only: «the only mount» means something in each."""
    for number, handler in HEEDED.items():
        signal.signal(number, handler)
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None):
        pytest.exit(f"Mounts cannot be kept apart: {os.strerror(ctypes.get_errno())}. Run the tests without -n.", 1)


@pytest.fixture
def server(archive: AlyxArchive) -> Iterator[DemoServer]:
    """An Alyx of the archive that a module makes."""
    with DemoServer(archive.directory) as server:
        yield server
