"""Every key of the status is documented, and every key that is documented occurs, in real mounts of several states."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from alyx_archive import AlyxArchive
from alyx_mounts import control, mount_of
from archives import MADE_SESSION, make_tables, on_servers
from mounted import Mounted
from servers import Fault, FaultServer
from waiting import wait_until

import onefs
from onefs.demo.server import DemoServer

HELP = Path(onefs.__file__).parent / "help" / "status.md"
TYPES = {
    "text": str,
    "time": str,
    "integer": int,
    "number": (int, float),
    "true or false": bool,
    "any": object,
    "list": list,
}
LOADED, MORE, STALLED, GONE, BUSY = (f"alf/{letter}.times.npy" for letter in "abcde")
FILES = {name: name.encode() * 100 for name in (LOADED, MORE, STALLED, GONE, BUSY)}
UNSAFE = "../../etc/passwd"


def documented() -> dict[str, tuple[str, str]]:
    """The type and the words about null or absence, by key."""
    found = {}
    for line in HELP.read_text().splitlines():
        if line.startswith("| `"):
            key, kind, _, absent = (cell.strip() for cell in line.strip("|").split("|"))
            found[key.strip("`")] = (kind.partition(",")[0], absent)
    return found


def leaves(value: object, key: str = "") -> Iterator[tuple[str, object]]:
    """The keys of a value as the help writes them, with what stands there."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, f"{key}[]")
    else:
        yield key, value


def pattern(key: str) -> str:
    """A regular expression for a documented key: a word in capitals stands for any key."""
    return re.sub(r"[A-Z]{3,}", "[^.]+(?:[.][^.]+)*", re.escape(key))


class Seen:
    """What was seen in any state."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.faults: set[str] = set()
        self._documented = documented()

    def look(self, facts: dict[str, Any]) -> None:
        for key, value in leaves(facts):
            known = next((each for each in self._documented if re.fullmatch(pattern(each), key)), None)
            if known is None:
                self.faults.add(f"{key} is not documented")
                continue
            self.keys.add(known)
            kind, absent = self._documented[known]
            if value is None:
                if "null" not in absent:
                    self.faults.add(f"{key} is null")
            elif not isinstance(value, TYPES[kind]) or (kind == "integer" and isinstance(value, bool)):
                self.faults.add(f"{key} is {value!r}, not {kind}")
            elif kind == "time" and not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", str(value)):
                self.faults.add(f"{key} is {value!r}, not a time")


def lead(link: Path, target: Path) -> None:
    """Have a link lead to a target, at once if it led elsewhere."""
    (link.parent / "new").symlink_to(target)
    (link.parent / "new").rename(link)


@contextmanager
def reader(path: Path) -> Iterator[None]:
    """A block during which another process begins to read a file, and at whose end it must come to its end."""
    with subprocess.Popen(["cat", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        except BaseException:
            process.kill()
            raise


def see_rest_work_and_trouble(seen: Seen, home: Path) -> None:
    datasets = make_tables(home / "tables", {**FILES, UNSAFE: b"x"})
    with FaultServer() as server:
        for name in (LOADED, MORE, STALLED, BUSY):
            server.put(on_servers(datasets[name]), FILES[name])
        server.fault(on_servers(datasets[STALLED]), Fault(stall_after=10))
        server.fault(on_servers(datasets[BUSY]), Fault(status=503, headers=(("Retry-After", "4"),)))
        mount = Mounted(home / "tables", home, "--data-url", server.url, "--read-timeout", "10min", "--crawl-warn", "1")
        (home / "disk").mkdir()
        lead(mount.cache, home / "disk")
        with mount:
            seen.look(mount.status())
            assert control(mount, f"record on --label thesis --pid {mount.pid}") == 0
            session = mount.path / MADE_SESSION
            assert subprocess.check_output(["cat", session / LOADED, session / MORE]) == FILES[LOADED] + FILES[MORE]
            (lab,) = mount.status()["cache"]["labs"]
            assert (lab["lab"], lab["files"]) == ("lab", 2)
            assert control(mount, f"fetch {MADE_SESSION}/{GONE} {MADE_SESSION}/{LOADED}") == 0
            with reader(session / STALLED), reader(session / BUSY):
                wait_until(lambda: mount.status()["transfers"] and mount.status()["errors"], "one comes, one failed")
                wait_until(lambda: mount.status()["jobs"][0]["ended"] is not None, "the job has ended")
                wait_until(lambda: [each for each in mount.status()["passed_over"] if each["waiting"]], "one waits")
                seen.look(mount.status())
                for name in (STALLED, BUSY):
                    server.fault(on_servers(datasets[name]))
                server.release()
            lead(mount.cache, home / "nowhere")
            seen.look(mount.status())
            lead(mount.cache, home / "disk")


def see_a_server_away_and_tables_of_a_user(seen: Seen, home: Path) -> None:
    archive = AlyxArchive(home / "archive")
    archive.put("lab/Subjects/mouse/2024-01-02/001/alf/a.times.npy", b"bytes")
    archive.publish()
    make_tables(home / "own", FILES)
    with DemoServer(archive.directory) as server, mount_of(server, home) as mount:
        server.stop()
        assert control(mount, "refresh") != 0
        seen.look(mount.status())
        assert control(mount, f"tables load {home / 'own'}") == 0
        seen.look(mount.status())
        assert mount.status()["concerns"]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    seen = Seen()
    see_rest_work_and_trouble(seen, tmp_path_factory.mktemp("files"))
    see_a_server_away_and_tables_of_a_user(seen, tmp_path_factory.mktemp("database"))
    return seen


def test_every_key_is_documented_with_its_type(seen: Seen) -> None:
    assert seen.faults == set()


def test_every_documented_key_occurs(seen: Seen) -> None:
    assert {key for key, (kind, _) in documented().items() if kind != "list"} - seen.keys == set()
