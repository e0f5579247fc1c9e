"""How a mount ends: by signals, whatever its readers wait for, and by unmounting."""

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from archives import MADE_SESSION, make_tables, on_servers
from lab_members import MEMBERS, Member, as_member, lab_folder
from mounted import ONEFS, Mounted, is_alive, run_onefs
from servers import Fault, FaultServer
from waiting import PATIENCE_S, wait_until

from onefs.fuse import mounting
from onefs.mountinfo import mounted_disks

FILES = {f"alf/{name}.times.npy": os.urandom(3000) for name in "abcd"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultServer]:
    """An archive on it whose first file never comes."""
    with FaultServer() as server:
        for name, dataset in make_tables(tmp_path / "tables", FILES).items():
            server.put(on_servers(dataset), FILES[name])
            if name != "alf/d.times.npy":
                server.fault(on_servers(dataset), Fault(stall_after=10))
        yield server


def flags(server: FaultServer, home: Path) -> list[str]:
    return ["--data-url", server.url, "--read-timeout", "10min", "--cache-dir", str(home / "cache")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("open_wait", ["0", "10min"], ids=["in read", "in open"])
def test_in_the_foreground_a_signal_ends_it_though_readers_wait(
    server: FaultServer, tmp_path: Path, number: int, open_wait: str
) -> None:
    mountpoint = tmp_path / "mnt"
    mountpoint.mkdir()
    command = [*ONEFS, "mount", "--foreground", tmp_path / "tables", mountpoint, "--open-wait", open_wait]
    with (tmp_path / "log").open("w") as log:
        daemon = subprocess.Popen([*command, *flags(server, tmp_path)], stderr=log, stdout=log)
    try:
        wait_until(lambda: os.path.ismount(mountpoint), "it is mounted")
        files = [mountpoint / MADE_SESSION / name for name in list(FILES)[:3]]
        readers = [subprocess.Popen(["cat", path], stderr=subprocess.PIPE) for path in files * 5]
        server.wait_for_requests(3)
        daemon.send_signal(number)
        assert daemon.wait(PATIENCE_S) == 0
        assert not os.path.ismount(mountpoint)
        for reader in readers:
            reader.communicate(timeout=PATIENCE_S)
            assert reader.returncode != 0
    finally:
        daemon.kill()
        daemon.wait()
    said = (tmp_path / "log").read_text()
    assert f"Stopping at {signal.Signals(number).name}" in said
    assert "Traceback" not in said
    assert " ERROR " not in said


def test_in_the_background_too(server: FaultServer, tmp_path: Path) -> None:
    mount = Mounted(tmp_path / "tables", tmp_path, *flags(server, tmp_path))
    with mount:
        reader = subprocess.Popen(["cat", mount.path / MADE_SESSION / "alf/a.times.npy"], stderr=subprocess.PIPE)
        server.wait_for_requests(1)
        os.kill(mount.pid, signal.SIGTERM)
        wait_until(lambda: not is_alive(mount.pid), "the daemon ends")
        assert not os.path.ismount(mount.path)
        reader.communicate(timeout=PATIENCE_S)
    assert "Unmounted" in mount.log() or "Stopping at SIGTERM" in mount.log()


def signal_many_times(pid: int) -> bool:
    """Send so many signals that some arrive at every moment of the daemon's end."""
    with contextlib.suppress(ProcessLookupError):
        for _ in range(100):
            os.kill(pid, signal.SIGTERM)
    return True


def test_a_second_signal_does_no_harm(server: FaultServer, tmp_path: Path) -> None:
    mount = Mounted(tmp_path / "tables", tmp_path, *flags(server, tmp_path))
    with mount:
        wait_until(lambda: not (is_alive(mount.pid) and signal_many_times(mount.pid)), "the daemon ends", pause_s=0)
        assert not os.path.ismount(mount.path)
    assert "Stopping at SIGTERM" in mount.log()


def test_while_it_is_used_unmounting_says_busy_and_lazily_works(server: FaultServer, tmp_path: Path) -> None:
    with Mounted(tmp_path / "tables", tmp_path, *flags(server, tmp_path)) as mount:
        with (mount.path / MADE_SESSION / "alf/d.times.npy").open("rb") as held:
            first = held.read(10)
            done = run_onefs("umount", mount.path)
            assert done.returncode == 1
            assert f"{mount.path} cannot be unmounted: " in done.stderr
            assert "busy" in done.stderr
            assert "onefs umount --lazy" in done.stderr
            assert done.stderr.count("\n") == 1
            assert os.path.ismount(mount.path)
            done = run_onefs("umount", "--lazy", mount.path)
            assert (done.returncode, done.stdout) == (0, f"{mount.path} is unmounted.\n")
            assert not os.path.ismount(mount.path)
            assert first + held.read() == FILES["alf/d.times.npy"]
            assert is_alive(mount.pid)
        wait_until(lambda: not is_alive(mount.pid), "the daemon ends with its last user")


def test_unmounting_while_nobody_uses_it(server: FaultServer, tmp_path: Path) -> None:
    with Mounted(tmp_path / "tables", tmp_path, *flags(server, tmp_path)) as mount:
        assert (mount.path / MADE_SESSION / "alf/d.times.npy").read_bytes() == FILES["alf/d.times.npy"]
        done = run_onefs("umount", mount.path)
        assert done.returncode == 0, done.stderr
        wait_until(lambda: not is_alive(mount.pid), "the daemon ends")
        assert "Unmounted from" in mount.log()


def test_a_dead_daemons_mountpoint_can_be_unmounted(server: FaultServer, tmp_path: Path) -> None:
    mount = Mounted(tmp_path / "tables", tmp_path, *flags(server, tmp_path))
    mount.start()
    mount.kill()
    done = run_onefs("umount", mount.path)
    assert done.returncode == 0, done.stderr
    assert not os.path.ismount(mount.path)
    assert os.listdir(mount.path) == []


@contextlib.contextmanager
def stopped(mount: Mounted) -> Iterator[None]:
    """A block in which the daemon answers nothing, and is unmounted."""
    os.kill(mount.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(mount.pid, signal.SIGCONT)
    wait_until(lambda: not is_alive(mount.pid), "the daemon ends")


def test_a_daemon_that_does_not_answer_is_told_and_can_be_unmounted(server: FaultServer, tmp_path: Path) -> None:
    with Mounted(tmp_path / "tables", tmp_path, *flags(server, tmp_path)) as mount, stopped(mount):
        again = run_onefs("mount", tmp_path / "tables", mount.path, "--cache-dir", tmp_path / "other")
        assert again.returncode == 1
        assert "its daemon does not answer" in again.stderr
        assert f"onefs umount --lazy {mount.path}" in again.stderr
        done = run_onefs("umount", "--lazy", mount.path)
        assert (done.returncode, done.stdout) == (0, f"{mount.path} is unmounted.\n")
        assert not os.path.ismount(mount.path)


@pytest.mark.needs_root
@pytest.mark.parametrize("is_dead", [True, False], ids=["dead", "silent"])
@pytest.mark.parametrize("by_root", [True, False], ids=["by root", "by the user"])
def test_a_mount_for_one_user_alone_can_be_taken_away(is_dead: bool, by_root: bool) -> None:
    with lab_folder() as lab:
        make_tables(lab / "tables", FILES)
        mount = Member(MEMBERS[0], lab / "tables", lab)
        mount.start()
        os.kill(mount.pid, signal.SIGKILL if is_dead else signal.SIGSTOP)
        try:
            if is_dead:
                wait_until(lambda: not is_alive(mount.pid), "the daemon is dead")
            command = [*ONEFS, "umount", "--lazy", mount.path]
            done = subprocess.run(
                command if by_root else as_member(MEMBERS[0], *command), capture_output=True, text=True, check=False
            )
            assert (done.returncode, done.stdout) == (0, f"{mount.path} is unmounted.\n"), done.stderr
            assert not any(disk.mountpoint == str(mount.path) for disk in mounted_disks())
        finally:
            if not is_dead:
                os.kill(mount.pid, signal.SIGCONT)
                wait_until(lambda: not is_alive(mount.pid), "the daemon ends")


def mount_without_daemon(mountpoint: Path, user: int) -> None:
    """Leave a mount as a daemon does that was killed: for that user alone, and dead."""
    connection = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={connection},rootmode=40000,user_id={user},group_id={user}"
    assert not ctypes.CDLL(None).mount(b"dead", bytes(mountpoint), b"fuse.onefs", 0, options.encode())
    os.close(connection)


@pytest.mark.needs_mount
@pytest.mark.parametrize("user", [os.getuid(), 65534], ids=["own", "of another user"])
def test_root_mounts_where_dead_mounts_are_stacked(user: int) -> None:
    with lab_folder() as lab:
        make_tables(lab / "tables", FILES)
        (lab / "mnt").mkdir()
        for _ in range(3):
            mount_without_daemon(lab / "mnt", user)
        done = run_onefs("mount", lab / "tables", lab / "mnt", "--cache-dir", lab / "cache")
        assert done.returncode == 0, done.stderr
        assert "lab" in os.listdir(lab / "mnt")
        assert run_onefs("umount", lab / "mnt").returncode == 0
        assert not any(disk.mountpoint == str(lab / "mnt") for disk in mounted_disks())


def test_it_ends_once_the_last_reader_of_a_lazily_unmounted_mount_is_killed(tmp_path: Path) -> None:
    name, content = "alf/a.times.npy", os.urandom(4 << 20)
    datasets = make_tables(tmp_path / "tables", {name: content})
    with FaultServer() as server:
        server.put(on_servers(datasets[name]), content)
        server.fault(on_servers(datasets[name]), Fault(stall_after=10))
        with Mounted(tmp_path / "tables", tmp_path, *flags(server, tmp_path), "--whole-file-max", "1M") as mount:
            readers = [subprocess.Popen(["cat", mount.path / MADE_SESSION / name]) for _ in range(3)]
            server.wait_for_requests(1)
            assert run_onefs("umount", "--lazy", mount.path).returncode == 0
            for reader in readers:
                reader.kill()
                reader.wait(PATIENCE_S)
            wait_until(lambda: not is_alive(mount.pid), "the daemon ends")
            assert "Unmounted" in mount.log()


@pytest.mark.needs_root
def test_it_unmounts_when_its_connection_is_aborted(server: FaultServer, tmp_path: Path) -> None:
    with Mounted(tmp_path / "tables", tmp_path, *flags(server, tmp_path)) as mount:
        number = mounting.device(mount.path).partition(":")[2]
        Path(f"/sys/fs/fuse/connections/{number}/abort").write_text("1")
        wait_until(lambda: not is_alive(mount.pid), "the daemon ends")
        assert not os.path.ismount(mount.path)
        assert os.listdir(mount.path) == []


@pytest.mark.needs_mount
def test_an_inherited_connection_that_is_not_its_own_does_not_end_it(server: FaultServer, tmp_path: Path) -> None:
    other = os.open("/dev/fuse", os.O_RDWR)  # never mounted, which the kernel tells as ended
    (tmp_path / "mnt").mkdir()
    words = ["mount", tmp_path / "tables", tmp_path / "mnt", *flags(server, tmp_path)]
    subprocess.run([*ONEFS, *words], pass_fds=[other], check=True)
    os.close(other)
    try:
        assert (tmp_path / "mnt" / MADE_SESSION / "alf/d.times.npy").read_bytes() == FILES["alf/d.times.npy"]
    finally:
        assert run_onefs("umount", tmp_path / "mnt").returncode == 0


def test_a_mount_that_answers_is_not_taken_away_for_one_of_the_same_number(server: FaultServer, tmp_path: Path) -> None:
    with Mounted(tmp_path / "tables", tmp_path, *flags(server, tmp_path)) as mount:
        mounting.take_away(mount.path, mounting.device(mount.path))
        assert os.path.ismount(mount.path)
        mount.kill()
        mounting.take_away(mount.path, mounting.device(mount.path))
        assert not os.path.ismount(mount.path)
