"""How the tests are run: helpers from every folder, mounts of their own, and what --quick and other users leave out."""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from privileges import left_to_root, skip_what_is_not_allowed
from seeds import use_seed

if TYPE_CHECKING:  # slow to import, and a run that uses no fixture of this file need not wait for them
    from alyx_archive import AlyxArchive
    from archive_and_cache import ArchiveAndCache

    from onefs.demo.server import DemoServer

CLONE_NEWNS = 0x20000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
HEEDED = {
    signal.SIGHUP: signal.SIG_DFL,
    signal.SIGINT: signal.default_int_handler,
    signal.SIGQUIT: signal.SIG_DFL,
}
"""What a job in a shell's background may be started without, and hand down to what it starts."""
STARTS_A_PROCESS = {"os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "subprocess.Popen"}
# From scripts/test. Options of pytest's would not do: its workers parse them before they read this file.
IS_QUICK = bool(os.environ.get("QUICK_TESTS"))
FAILURES_DIR = os.environ.get("TEST_FAILURES_DIR")
ADAPTER = os.environ.get("ONEFS_KERNEL_ADAPTER", "auto")
SCENARIOS = Path(__file__).with_name("scenarios")


class Failures:
    """Writes down which tests fail, and what they print."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        self._names, self._reports = directory / "tests", directory / "reports"
        self._names.touch()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add a test's report if it failed: there is one for its set-up, one for its call and one for its end."""
        if not report.failed:
            return
        if report.nodeid not in self._names.read_text().splitlines():
            with self._names.open("a") as names:
                names.write(f"{report.nodeid}\n")
        with self._reports.open("a") as reports:
            reports.write(f"\n{report.nodeid} ({report.when})\n{report.longreprtext}\n")
            reports.writelines(f"{title}:\n{printed}\n" for title, printed in report.sections)


def pytest_configure(config: pytest.Config) -> None:
    """Choose the random examples. Tests beside others see their own mounts only: «the only mount» means something."""
    use_seed(config.getoption("hypothesis_seed"))
    for number, handler in HEEDED.items():
        signal.signal(number, handler)
    is_worker = "PYTEST_XDIST_WORKER" in os.environ
    if FAILURES_DIR and not is_worker:
        config.pluginmanager.register(Failures(Path(FAILURES_DIR)))
    if IS_QUICK:
        sys.addaudithook(_skip_at_a_process)
    elif is_worker:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNS) or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None):
            pytest.exit(f"Mounts cannot be kept apart: {os.strerror(ctypes.get_errno())}. Run the tests without -n.", 1)


def _skip_at_a_process(event: str, arguments: tuple[Any, ...]) -> None:
    """Skip a test that is about to start a process; to mount takes one, too."""
    if event in STARTS_A_PROCESS and "PYTEST_CURRENT_TEST" in os.environ:
        pytest.skip("starts a process")


@pytest.hookimpl(trylast=True)  # after Hypothesis has marked its tests
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what this user may not do, and with --quick what takes long; leave out what the adapter does not do."""
    if ADAPTER == "pyfuse3":
        left_out = [item for item in items if item.get_closest_marker("session_only")]
        items[:] = [item for item in items if not item.get_closest_marker("session_only")]
        config.hook.pytest_deselected(items=left_out)
    skip_what_is_not_allowed(items)
    if IS_QUICK:
        for item in items:
            is_slow = item.get_closest_marker("slow") or item.get_closest_marker("hypothesis")
            if is_slow or SCENARIOS in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="takes long"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests are left to root."""
    if number := left_to_root(terminalreporter.getreports("skipped")):
        terminalreporter.write_line(f"{number} tests were skipped since they need root. Run them as root: scripts/test")


@pytest.fixture(scope="session")
def demo_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's archive, made once for all workers; tests only read it."""
    from onefs.demo.archive import make_archive

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # each worker has a folder of its own in that of the run
    make_archive(folder / "demo" / "archive")
    return folder / "demo" / "archive"


@pytest.fixture
def server(archive: "AlyxArchive") -> "Iterator[DemoServer]":
    """An Alyx of the archive that a module makes."""
    from onefs.demo.server import DemoServer

    with DemoServer(archive.directory) as server:
        yield server


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where nothing of the user who runs the tests is found."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return tmp_path


@pytest.fixture
def _far_from_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process's local time is 14 hours ahead of UTC."""
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "XXX-14")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def place(tmp_path: Path) -> Iterator["ArchiveAndCache"]:
    """An archive on a server that fails on demand, and a cache in front of it."""
    from archive_and_cache import ArchiveAndCache

    with ArchiveAndCache(tmp_path) as place:
        yield place
