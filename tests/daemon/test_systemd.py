"""What a mount tells the service manager that started it: ready, status, signs of life, and why it could not start."""

import errno
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from archives import make_tables
from mounted import ONEFS, Mounted
from notified import NotifySocket, supervised
from servers import free_port, full_server
from trio.testing import MockClock
from waiting import PATIENCE_S

from onefs.daemon.systemd import ServiceManager, exit_code
from onefs.daemon.watchdog import STATUS_EVERY_S, UnitReporter
from onefs.errors import AccessRefusedError, CacheDamagedError, MountError, OnefsError, UnreachableError, UsageError
from onefs.modes import Mode, ModeState
from onefs.settings import Settings
from onefs.sources.claims import claim, write_source_note
from onefs.sources.source import Kind, prepare, resolve

HOUR_S = 3600.0


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NotifySocket]:
    address = tmp_path / "notify" if request.param == "path" else f"@onefs-test-{tmp_path}"
    with NotifySocket(address) as listener:
        yield listener


def test_a_message_reaches_the_socket_and_children_do_not_inherit_the_variables(listener: NotifySocket) -> None:
    environment = {"NOTIFY_SOCKET": listener.address, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}
    manager = ServiceManager(environment)
    manager.notify("READY=1", "STATUS=two\nlines")
    assert listener.next() == ["READY=1", "STATUS=two\\nlines"]
    assert environment == {}
    assert manager.watchdog_s == 3.0


def test_a_long_status_does_not_cost_the_rest_of_the_message(listener: NotifySocket) -> None:
    ServiceManager({"NOTIFY_SOCKET": listener.address}).notify("READY=1", "STATUS=" + "ü" * 5000)
    ready, status = listener.next()
    assert ready == "READY=1"
    assert len(f"{ready}\n{status}".encode()) <= 4096, "systemd drops what is longer"
    assert set(status.removeprefix("STATUS=")) == {"ü"}


def test_without_a_service_manager_nothing_is_sent(tmp_path: Path) -> None:
    manager = ServiceManager({})
    assert (manager.is_there, manager.watchdog_s) == (False, 0.0)
    manager.notify("READY=1")
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).notify("READY=1")


def test_the_watchdog_of_another_process_is_none_of_ours() -> None:
    environment = {"NOTIFY_SOCKET": "/none", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid() + 1)}
    assert ServiceManager(environment).watchdog_s == 0.0


@dataclass
class Facts:
    """What a status is made of."""

    state: ModeState
    n_transfers: int = 0


@pytest.mark.trio
async def test_the_status_follows_mode_and_transfers(tmp_path: Path, autojump_clock: MockClock) -> None:
    facts = Facts(ModeState(Mode.AUTO, Mode.AUTO))
    with NotifySocket(tmp_path / "notify") as listener:
        reporter = UnitReporter(ServiceManager({"NOTIFY_SOCKET": listener.address}), "x", Path("/mnt"), facts)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reporter.run)
            await trio.sleep(HOUR_S)
            assert listener.pending() == [["READY=1", "STATUS=x at /mnt: mode auto"]], "what stays is told once"
            facts.n_transfers = 2
            await trio.sleep(2 * STATUS_EVERY_S)
            assert listener.pending() == [["STATUS=x at /mnt: mode auto; fetching 2 files"]]
            facts.state, facts.n_transfers = facts.state.fell_back("It is away.", 0, 60), 0
            await trio.sleep(2 * STATUS_EVERY_S)
            words = "mode auto works as local: It is away. Next try at 1970-01-01T00:01:00Z."
            assert listener.pending() == [[f"STATUS=x at /mnt: {words}"]]
            nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_signs_of_life_come_while_requests_are_answered_and_not_otherwise(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    make_tables(tmp_path / "tables", {"alf/a.times.npy": b"a"})
    with NotifySocket(tmp_path / "notify") as listener, Mounted(tmp_path / "tables", tmp_path) as mount:
        environment = {"NOTIFY_SOCKET": listener.address, "WATCHDOG_USEC": "20000000"}
        facts = Facts(ModeState(Mode.LOCAL, Mode.LOCAL))
        reporter = UnitReporter(ServiceManager(environment), "x", mount.path, facts)
        os.kill(mount.pid, signal.SIGSTOP)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(reporter.run)
                await trio.sleep(HOUR_S)  # of the clock that jumps while nothing happens
                assert [message[0] for message in listener.pending()] == ["READY=1"]
                os.kill(mount.pid, signal.SIGCONT)
                assert await trio.to_thread.run_sync(listener.until, "WATCHDOG") == "WATCHDOG=1"
                assert await trio.to_thread.run_sync(listener.until, "WATCHDOG") == "WATCHDOG=1"
                nursery.cancel_scope.cancel()
        finally:
            os.kill(mount.pid, signal.SIGCONT)


def test_the_life_of_a_mount_as_its_unit_sees_it(tmp_path: Path) -> None:
    make_tables(tmp_path / "tables", {"alf/a.times.npy": b"a"})
    with supervised(tmp_path, tmp_path / "tables", WATCHDOG_USEC="200000") as (daemon, listener):
        assert listener.until("STATUS").startswith("STATUS=")
        ready = next(message for message in iter(listener.next, None) if message[0] == "READY=1")
        assert os.path.ismount(tmp_path / "mnt")
        assert ready[1] == f"STATUS={tmp_path / 'tables'} at {tmp_path / 'mnt'}: mode local"
        for _ in range(3):
            assert listener.until("WATCHDOG") == "WATCHDOG=1"
        daemon.send_signal(signal.SIGHUP)
        assert listener.until("RELOADING") == "RELOADING=1"
        assert listener.until("READY") == "READY=1"
        daemon.send_signal(signal.SIGTERM)
        assert listener.until("STOPPING") == "STOPPING=1"
        assert daemon.wait(PATIENCE_S) == 0
    assert not os.path.ismount(tmp_path / "mnt")


def test_with_tables_at_hand_it_is_ready_while_no_server_takes_a_connection(tmp_path: Path) -> None:
    """Each time-out is so long that a start that waited for one would fail here."""
    make_tables(tmp_path / "tables", {"alf/a.times.npy": b"a"})
    with full_server() as url:
        source = resolve(url, Settings(cache_dir=tmp_path / "cache"), Kind.DATABASE)
        prepare(source)
        claim(source.tables_dir, source.state_dir, source.name)
        write_source_note(source.state_dir, source.name, Kind.DATABASE)
        shutil.copytree(tmp_path / "tables", source.tables_dir, dirs_exist_ok=True)
        words = (url, "--connect-timeout", "10min", "--cache-expiry", "0s")
        with supervised(tmp_path, *words) as (_, listener):
            assert listener.until("READY") == "READY=1"
            assert (tmp_path / "mnt" / "lab").is_dir()


def test_a_first_start_without_a_network_fails_with_one_sentence_and_may_be_tried_again(tmp_path: Path) -> None:
    with supervised(tmp_path, f"http://127.0.0.1:{free_port()}") as (daemon, listener):
        assert daemon.stderr is not None
        said = daemon.stderr.read()
        assert daemon.wait(PATIENCE_S) == 1
        extended = [each for message in listener.pending() for each in message]
    assert said.startswith("onefs: 127.0.0.1:"), said
    assert said.count("\n") == 1
    assert "EXTEND_TIMEOUT_USEC=600000000" in extended, "while the server was asked"
    assert f"ERRNO={errno.EHOSTUNREACH}" in extended
    assert f"STATUS={said.removeprefix('onefs: ').rstrip()}" in extended


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("Wrong."), 2),
        (MountError("There is no mountpoint."), 78),
        (AccessRefusedError("Wrong password."), 78),
        (UnreachableError("It is away."), 1),
        (CacheDamagedError("Another onefs fetches."), 1),
    ],
)
def test_exit_codes_tell_what_another_start_cannot_mend(error: OnefsError, code: int) -> None:
    assert exit_code(error) == code


def test_a_cache_of_another_user_is_not_mended_by_another_start() -> None:
    error = CacheDamagedError("It cannot be written.")
    error.__cause__ = PermissionError()
    assert exit_code(error) == 78


def test_a_mountpoint_that_is_not_empty_is_told_as_the_configuration(tmp_path: Path) -> None:
    make_tables(tmp_path / "tables", {"alf/a.times.npy": b"a"})
    (tmp_path / "mnt").mkdir()
    (tmp_path / "mnt" / "file").touch()
    with supervised(tmp_path, tmp_path / "tables") as (daemon, listener):
        assert daemon.wait(PATIENCE_S) == 78
        assert listener.until("ERRNO") == f"ERRNO={errno.EIO}"


@pytest.mark.parametrize(
    ("config", "code", "says"),
    [
        ("modus = 'auto'", 2, "modus"),
        ("mode = 3", 2, "mode"),
        ("", 78, "is not empty"),
    ],
    ids=["unknown setting", "wrong type", "mountpoint in use"],
)
def test_what_stops_the_start_is_one_line_of_the_journal(tmp_path: Path, config: str, code: int, says: str) -> None:
    make_tables(tmp_path / "tables", {"alf/a.times.npy": b"a"})
    (tmp_path / "mnt").mkdir()
    (tmp_path / "mnt" / "file").touch()
    (tmp_path / "onefs").mkdir()
    (tmp_path / "onefs" / "config.toml").write_text(config)
    with (tmp_path / "journal").open("w") as journal:
        status = os.fstat(journal.fileno())
        environment = {
            "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}",
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "XDG_CONFIG_HOME": str(tmp_path),
        }
        words = [*ONEFS, "mount", "--foreground", tmp_path / "tables", tmp_path / "mnt"]
        done = subprocess.run(words, stderr=journal, env={**os.environ, **environment}, check=False)
    (line,) = (tmp_path / "journal").read_text().splitlines()
    assert done.returncode == code
    assert line.startswith("<3>onefs: ")
    assert says in line
