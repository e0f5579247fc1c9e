"""A daemon that root starts for another user: what it still may do, what it leaves, and what is refused."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from archives import MADE_SESSION, make_tables, on_servers
from mounted import is_alive
from servers import FaultServer
from system_mounts import (
    OTHER,
    USER,
    Installation,
    SystemMount,
    as_user,
    onefs_of,
    run_root,
    surroundings,
    system_folder,
)
from waiting import PATIENCE_S, wait_until

from onefs.fuse.root_helper import RootHelper
from onefs.mountinfo import mounted_disks

pytestmark = pytest.mark.needs_root

FILES = {"alf/a.times.npy": os.urandom(3000)}
SETPRIV = shutil.which("setpriv")
FILE = f"{MADE_SESSION}/alf/a.times.npy"


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """Tables, a cache of the daemon's user, and a server that wants a password."""
    with system_folder() as home:
        yield home


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[FaultServer]:
    with FaultServer() as server:
        for name, dataset in make_tables(home / "tables", FILES).items():
            server.put(on_servers(dataset), FILES[name])
        yield server


@pytest.fixture(scope="module")
def installation(home: Path) -> Iterator[Installation]:
    with closing(Installation(home)) as installation:
        yield installation


@pytest.fixture
def mount(installation: Installation, server: FaultServer) -> SystemMount:
    return SystemMount(installation.home / "tables", installation, "--data-url", server.url)


def state_of(pid: int) -> dict[str, str]:
    """What the kernel tells of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines)


def test_the_daemon_is_another_user_for_good(mount: SystemMount) -> None:
    with mount:
        state = state_of(mount.pid)
        assert set(state["Uid"].split()) == {str(USER.pw_uid)}
        assert set(state["Gid"].split()) == {str(USER.pw_gid)}
        assert {int(group) for group in state["Groups"].split()} == set(os.getgrouplist(USER.pw_name, USER.pw_gid))
        assert int(state["CapPrm"], 16) == int(state["CapEff"], 16) == 0
        assert (mount.path / FILE).read_bytes() == FILES["alf/a.times.npy"]
        (kept,) = mount.cache.rglob("a.times.*npy")
        assert kept.stat().st_uid == USER.pw_uid
        control = (mount.path / ".onefs" / "control").read_text()
        assert f"run_as: {USER.pw_name}\n" in control
        assert "allow_other: True\n" in control or "allow_other: on\n" in control


def test_every_user_may_read_it_and_the_daemons_alone_steer_it(mount: SystemMount) -> None:
    with mount:
        assert as_user(OTHER, "cat", mount.path / ".onefs" / "status").returncode == 0
        refused = as_user(OTHER, "sh", "-c", f"echo mode local > {mount.path}/.onefs/control")
        assert refused.returncode != 0
        assert as_user(USER, "sh", "-c", f"echo mode local > {mount.path}/.onefs/control").returncode == 0


def test_it_is_mounted_with_the_flags_of_any_other_mount(mount: SystemMount) -> None:
    with mount:
        (disk,) = [disk for disk in mounted_disks() if disk.mountpoint == str(mount.path)]
        assert disk.kind == "fuse.onefs"
        assert disk.source == str(mount.source)
        assert disk.options >= {"allow_other", f"user_id={USER.pw_uid}", f"group_id={USER.pw_gid}"}
        flags = os.ST_NOSUID | os.ST_NODEV | os.ST_NOATIME
        assert os.statvfs(mount.path).f_flag & flags == flags


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_the_daemon_no_mount_is_left_though_a_program_is_inside(
    mount: SystemMount, number: signal.Signals
) -> None:
    mount.start()
    with (mount.path / FILE).open("rb"):
        os.kill(mount.pid, number)
        wait_until(lambda: not is_alive(mount.pid), "the daemon ends")
        wait_until(lambda: not os.path.ismount(mount.path), "it is unmounted")
    assert os.listdir(mount.path) == []


def test_a_daemon_whose_helper_was_killed_unmounts_as_its_user(mount: SystemMount) -> None:
    with mount:
        (helper,) = Path(f"/proc/{mount.pid}/task/{mount.pid}/children").read_text().split()
        os.kill(int(helper), signal.SIGKILL)
        wait_until(lambda: not is_alive(int(helper)), "the helper is dead")
        assert (mount.path / FILE).read_bytes() == FILES["alf/a.times.npy"]
        os.kill(mount.pid, signal.SIGTERM)
        wait_until(lambda: not is_alive(mount.pid), "the daemon ends")
        assert not os.path.ismount(mount.path)
        assert os.listdir(mount.path) == []


def test_what_is_mounted_over_it_stays_when_the_daemon_is_killed(mount: SystemMount) -> None:
    mount.start()
    (helper,) = Path(f"/proc/{mount.pid}/task/{mount.pid}/children").read_text().split()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", mount.path], check=True)
    try:
        mount.kill()
        wait_until(lambda: not is_alive(int(helper)), "the helper ends")
        assert os.path.ismount(mount.path)
        assert os.listdir(mount.path) == []
    finally:
        subprocess.run(["umount", mount.path], check=True)
        subprocess.run(["umount", mount.path], check=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_mountpoint_that_is_a_link(mount: SystemMount, number: signal.Signals, home: Path) -> None:
    mountpoint = home / "mnt"
    mountpoint.mkdir(exist_ok=True)
    mount.path = home / f"link-{number}"
    mount.path.symlink_to("mnt")
    words = ("mount", mount.source, mount.path, "--cache-dir", mount.cache, *mount.flags)
    done = mount.run_mount(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert (mountpoint / FILE).read_bytes() == FILES["alf/a.times.npy"]
    os.kill(mount.status()["pid"], number)
    wait_until(lambda: not os.path.ismount(mountpoint), "it is unmounted")


def test_a_closed_helper_writes_to_no_file_that_got_the_number_of_its_pipe(tmp_path: Path) -> None:
    """A thread that was left behind may still ask."""
    helper = RootHelper(tmp_path, USER.pw_uid, USER.pw_gid)
    helper.close()
    with ExitStack() as opened:
        files = [opened.enter_context((tmp_path / str(number)).open("wb")) for number in range(10)]
        helper.tune()
        assert not any(os.fstat(file.fileno()).st_size for file in files)


def test_it_is_mounted_where_the_checked_directory_is_though_a_user_put_a_link_there(tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    (tmp_path / "other").mkdir()
    helper = RootHelper(tmp_path / "mnt", USER.pw_uid, USER.pw_gid)
    try:
        (tmp_path / "mnt").rename(tmp_path / "moved")
        (tmp_path / "mnt").symlink_to("other")
        connection = helper.mount("source")
        places = [disk.mountpoint for disk in mounted_disks() if disk.mountpoint.startswith(str(tmp_path))]
        os.close(connection)
    finally:
        helper.close()
    assert places == [str(tmp_path / "moved")]
    assert not os.path.ismount(tmp_path / "moved")


def test_umount_ends_the_daemon_and_its_helper(mount: SystemMount) -> None:
    mount.start()
    helpers = Path(f"/proc/{mount.pid}/task/{mount.pid}/children").read_text().split()
    subprocess.run(["umount", mount.path], check=True)
    wait_until(lambda: not is_alive(mount.pid), "the daemon ends")
    assert helpers
    assert not any(is_alive(int(helper)) for helper in helpers)


def test_a_daemon_in_the_foreground_is_another_user_too(home: Path, server: FaultServer) -> None:
    mountpoint = home / "mnt"
    words = ["mount", home / "tables", mountpoint, "--run-as", USER.pw_name, "--foreground"]
    flags = ["--data-url", server.url, "--cache-dir", home / "cache"]
    command = [*onefs_of(home), *words, *flags]
    with (home / "log").open("w") as log:
        daemon = subprocess.Popen(command, cwd="/", env=surroundings(home), stdout=log, stderr=log)
    try:
        wait_until(lambda: os.path.ismount(mountpoint), "it is mounted")
        assert as_user(OTHER, "cmp", mountpoint / FILE, mountpoint / FILE).returncode == 0
        daemon.terminate()
        assert daemon.wait(PATIENCE_S) == 0
        assert not os.path.ismount(mountpoint)
    finally:
        daemon.kill()
        daemon.wait()
    assert "Traceback" not in (home / "log").read_text()


def test_with_no_new_privileges_and_no_fusermount3_it_is_mounted_and_unmounted(home: Path, server: FaultServer) -> None:
    (home / "mnt").mkdir(exist_ok=True)
    words = ["mount", home / "tables", home / "mnt", "--run-as", USER.pw_name, "--foreground"]
    flags = ["--data-url", server.url, "--cache-dir", home / "cache"]
    command = ["setpriv", "--no-new-privs", *onefs_of(home), *words, *flags]
    environment = {**surroundings(home), "PATH": "/nowhere"}
    daemon = subprocess.Popen(command, cwd="/", env=environment, stderr=subprocess.DEVNULL, executable=SETPRIV)
    try:
        wait_until(lambda: os.path.ismount(home / "mnt"), "it is mounted")
        assert (home / "mnt" / FILE).read_bytes() == FILES["alf/a.times.npy"]
        daemon.terminate()
        assert daemon.wait(PATIENCE_S) == 0
        assert not os.path.ismount(home / "mnt")
    finally:
        daemon.kill()
        daemon.wait()


def refused(installation: Installation, *flags: str | Path, tables: str = "tables", code: int = 1) -> str:
    """The one sentence with which such a mount is refused; nothing is left mounted."""
    mountpoint = installation.home / "mnt"
    mountpoint.mkdir(exist_ok=True)
    done = installation.run("mount", installation.home / tables, mountpoint, *flags)
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == 1
    assert not os.path.ismount(mountpoint)
    return done.stderr


def test_a_user_who_does_not_exist_is_refused(installation: Installation) -> None:
    said = refused(installation, "--run-as", "nobody-of-that-name", code=2)
    assert "'nobody-of-that-name'" in said
    assert "useradd --system" in said


def test_only_root_may_run_as_another_user(home: Path) -> None:
    words = ("mount", home / "tables", home / "mnt", "--run-as", OTHER.pw_name)
    done = run_root(home, *words, user=USER.pw_uid, group=USER.pw_gid)
    assert done.returncode == 2
    assert "only root can run the daemon as another user" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("exists", [True, False])
def test_a_cache_directory_of_another_user_is_refused(
    installation: Installation, server: FaultServer, exists: bool
) -> None:
    cache = installation.home / f"roots-{exists}"
    if exists:
        cache.mkdir(mode=0o755)
    said = refused(installation, "--run-as", USER.pw_name, "--cache-dir", cache, "--data-url", server.url)
    remedy = f"chown -R {USER.pw_name}: {cache}" if exists else f"install -d -o {USER.pw_name} -m 0700 {cache}"
    assert remedy in said


def test_a_cache_directory_in_a_folder_that_is_closed_to_the_user(
    installation: Installation, server: FaultServer
) -> None:
    cache = installation.home / "closed" / "cache"
    cache.mkdir(parents=True)
    cache.parent.chmod(0o700)
    os.chown(cache, USER.pw_uid, USER.pw_gid)
    said = refused(installation, "--run-as", USER.pw_name, "--cache-dir", cache, "--data-url", server.url)
    assert f"{cache} lies in {cache.parent}, which {USER.pw_name} may not enter. Choose another cache_dir." in said


def test_a_cache_directory_of_another_user_is_no_reason_to_start_again(
    installation: Installation, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "@onefs-test-nobody-listens")
    cache = installation.home / "of-root"
    cache.mkdir()
    flags = ("--run-as", USER.pw_name, "--cache-dir", cache, "--data-url", server.url, "--foreground")
    refused(installation, *flags, code=78)


def test_an_error_after_root_is_given_up_is_reported(installation: Installation) -> None:
    said = refused(installation, "--run-as", USER.pw_name, tables="no-tables")
    assert "no-tables" in said


@pytest.mark.parametrize("what", ["onefs", "Python"])
def test_an_installation_that_the_user_may_not_read(home: Path, server: FaultServer, what: str) -> None:
    library = next(iter((home / "python" / "lib").glob("python*")), home / "onefs")
    closed = home / "onefs" if what == "onefs" else library
    closed.chmod(0o700)
    try:
        done = run_root(home, "mount", home / "tables", home / "mnt", "--run-as", USER.pw_name)
    finally:
        closed.chmod(0o755)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert not os.path.ismount(home / "mnt")
    assert "is installed in " in done.stderr
    assert f"where {USER.pw_name} may not read." in done.stderr


def test_a_password_file_that_root_alone_may_read_is_used(installation: Installation, server: FaultServer) -> None:
    secret = installation.home / "password"
    secret.write_text("pw\n")
    secret.chmod(0o600)
    login = ("--data-user", "me", "--data-password-file", str(secret))
    with SystemMount(installation.home / "tables", installation, "--data-url", server.url, *login) as mount:
        assert (mount.path / FILE).read_bytes() == FILES["alf/a.times.npy"]


def test_a_password_file_that_every_user_may_read_is_refused(installation: Installation, server: FaultServer) -> None:
    secret = installation.home / "open-password"
    secret.write_text("pw\n")
    secret.chmod(0o644)
    login = ("--data-user", "me", "--data-password-file", secret)
    said = refused(installation, "--data-url", server.url, *login, code=2)
    assert f"chmod 600 {secret}" in said
