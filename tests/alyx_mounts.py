"""Mounts of an Alyx for tests: `onefs mount URL` of a demo server, with the login of a user of ONE."""

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from mounted import Mounted

from onefs.alf import STATE_FOLDER, TABLE_NAMES
from onefs.catalogue.snapshot import load_snapshot
from onefs.demo.archive import TABLES_DIR
from onefs.demo.server import DemoServer

USER = PASSWORD = "demo"
WATCHER = """
import os, sys
_notes = os.open(os.environ["SOCKETS_NOTED_IN"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def _watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        where = arguments[1] if event in ("socket.connect", "socket.sendto") else arguments[:2]
        if isinstance(where, tuple):
            os.write(_notes, f"{event} {where}\\n".encode())
sys.addaudithook(_watch)
"""


class SocketWatch:
    """Notes every connection and every look-up of a host that a daemon begins, from its very start."""

    def __init__(self, home: Path) -> None:
        self._notes = home / "sockets.txt"
        folder = home / "watch"
        folder.mkdir(parents=True)
        (folder / "sitecustomize.py").write_text(WATCHER)
        path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
        self.environment = {"PYTHONPATH": path, "SOCKETS_NOTED_IN": str(self._notes)}

    def noted(self) -> list[str]:
        """One line for each so far."""
        return self._notes.read_text().splitlines() if self._notes.exists() else []


def mount_of(
    server: DemoServer,
    home: Path,
    *flags: str,
    password: str = PASSWORD,
    data_server_login: bool = True,
    **environment: str,
) -> Mounted:
    """A mount of a demo server's Alyx, not begun yet. The bucket is tried before the data server.

    The login is in the environment; that of the data server is where ONE keeps it. The server's tables of now are
    indexed already: a mount does that in a process of its own, which takes longer than many a test.
    """
    index_tables(server, home / "cache" / STATE_FOLDER)
    if data_server_login:
        _write_one_parameters(home / ".one", server)
    given = {"HOME": str(home), "ONEFS_ALYX_USER": USER, "ONEFS_ALYX_PASSWORD": password, **environment}
    return Mounted(server.url, home, *flags, **given)


def index_tables(server: DemoServer, state_dir: Path) -> None:
    """Index the tables of a server, so that whoever fetches them finds them indexed."""
    tables = server.directory / TABLES_DIR
    if all((tables / name).exists() for name in TABLE_NAMES):
        load_snapshot(tables, state_dir)


def _write_one_parameters(folder: Path, server: DemoServer) -> None:
    """What ONE keeps of a database after its set-up."""
    folder.mkdir(parents=True, exist_ok=True)
    known = {
        "ALYX_URL": server.url,
        "ALYX_LOGIN": USER,
        "HTTP_DATA_SERVER": server.data_url,
        "HTTP_DATA_SERVER_LOGIN": USER,
        "HTTP_DATA_SERVER_PWD": PASSWORD,
    }
    (folder / f".{server.url.removeprefix('http://').replace(':', '_')}").write_text(json.dumps(known))


class Asked:
    """The requests that a server sees from now on."""

    def __init__(self, server: DemoServer) -> None:
        self._server = server
        self._before = len(server.requests())

    def paths(self) -> list[str]:
        """The paths that were asked for, in order."""
        return [each.path for each in self._server.requests()[self._before :]]

    def kinds(self) -> Counter[str]:
        """How often each endpoint was asked."""
        return Counter(path.split("/")[1] for path in self.paths())


def tree_of(root: Path) -> set[str]:
    """The files below a folder, without the tables."""
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.parent != root}


def errno_of(act: Callable[[], object]) -> int | None:
    """The errno with which something fails; 0 if it does not."""
    try:
        act()
    except OSError as error:
        return error.errno
    return 0


def control(mount: Mounted, line: str) -> int | None:
    """Give a mount a command; the errno with which it fails, or 0."""
    return errno_of(lambda: (mount.path / ".onefs/control").write_text(f"{line}\n"))
