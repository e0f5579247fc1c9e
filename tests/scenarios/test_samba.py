"""A mount that Samba shares, as Windows and Mac users get at it: read by a real client through a real server."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from archives import MADE_SESSION, make_tables, on_servers
from mounted import Mounted
from servers import FaultServer
from waiting import PATIENCE_S, wait_until

SMBD = shutil.which("smbd", path=f"{os.environ['PATH']}:/usr/sbin")
pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.skipif(not SMBD or not shutil.which("smbclient"), reason="Samba is not installed"),
]
FILES = {"alf/small.times.npy": os.urandom(3000), "alf/large.times.npy": os.urandom(3 << 20)}
LISTED = re.compile(r"^  (\S+\.npy) +[A-Z]* +(\d+)  ", re.MULTILINE)
# The share as README.md has it. The rest keeps this server apart from others of this machine.
CONFIGURATION = """
[global]
    smb ports = {port}
    interfaces = lo
    bind interfaces only = yes
    disable spoolss = yes
    load printers = no
    map to guest = bad user
    private dir = {home}
    lock directory = {home}
    state directory = {home}
    cache directory = {home}
    pid directory = {home}
    ncalrpc dir = {home}/ncalrpc
    log file = {home}/log

[ibl]
    path = {mountpoint}
    read only = yes
    store dos attributes = no
    guest ok = yes
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that every user may look into, unlike those of pytest."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="onefs-samba-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@contextmanager
def shared(home: Path, mountpoint: Path) -> Iterator[int]:
    """A block during which Samba shares a mountpoint with guests, who are the user nobody; it gives the port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home.mkdir()
    (home / "smb.conf").write_text(CONFIGURATION.format(home=home, mountpoint=mountpoint, port=port))
    command = [str(SMBD), "--foreground", "--no-process-group", f"--configfile={home / 'smb.conf'}"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True) as server:
        try:
            wait_until(lambda: is_listening(port), "Samba answers")
            yield port
        finally:
            server.terminate()


def is_listening(port: int) -> bool:
    with socket.socket() as connection:
        return not connection.connect_ex(("127.0.0.1", port))


def run_client(port: int, folder: Path, commands: str) -> "subprocess.CompletedProcess[str]":
    words = ["smbclient", "--no-pass", f"--port={port}", f"--configfile={folder / 'smb.conf'}", "//127.0.0.1/ibl"]
    return subprocess.run(
        [*words, "--command", commands], cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def test_samba_lists_and_reads_the_mount_and_cannot_write_to_it(home: Path) -> None:
    with FaultServer() as server:
        for name, dataset in make_tables(home / "tables", FILES).items():
            server.put(on_servers(dataset), FILES[name])
        flags = ("--data-url", server.url, "--allow-other", "on")
        with Mounted(home / "tables", home, *flags) as mount, shared(home / "samba", mount.path) as port:
            folder, names = f"{MADE_SESSION}/alf".replace("/", "\\"), [Path(name).name for name in FILES]
            gets = "; ".join(f"get {name}" for name in names)
            done = run_client(port, home / "samba", f"cd {folder}; ls; {gets}; put {names[0]} new")
            sizes = {name: int(size) for name, size in LISTED.findall(done.stdout)}
            assert sizes == {Path(name).name: len(data) for name, data in FILES.items()}
            for name, data in FILES.items():
                assert (home / "samba" / Path(name).name).read_bytes() == data
            assert "NT_STATUS_" in done.stdout.splitlines()[-1]
            assert sorted(os.listdir(mount.path / MADE_SESSION / "alf")) == sorted(names)
