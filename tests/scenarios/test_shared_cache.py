"""One cache directory of several daemons, of several users, and of ONE, all at work at the same time."""

import hashlib
import json
import os
import pwd
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from alyx_archive import AlyxArchive
from lab_members import MEMBERS, UMASK, Member, digests, lab_folder
from mounted import Mounted, run_onefs
from servers import Fault, FaultServer, Nginx
from waiting import wait_until

from onefs.demo.archive import DATA_DIR, PUBLIC_DIR, TABLES_DIR
from onefs.demo.server import DemoServer

pytestmark = pytest.mark.needs_root

SESSION = "lab/Subjects/mouse/2024-01-02/001"
FILES = {f"{SESSION}/alf/object{n:03d}.times.npy": random.Random(n).randbytes(5_000 + n) for n in range(500)}
WANTED = {path.rpartition("/")[2]: hashlib.md5(data).hexdigest() for path, data in FILES.items()}
LARGER, LARGER_DATA = f"{SESSION}/raw/frames.times.npy", random.Random(0).randbytes(6 << 20)
ONE_READS_BYTES = 4 << 20
"""ONE writes a file so many bytes at a time."""
ONE_DOWNLOAD = (
    "from sys import argv; from one import webclient; webclient.http_download_file(argv[1], target_dir=argv[2])"
)
ONE_DOWNLOADS = Path(__file__).with_name("one_downloads.py")


@dataclass(frozen=True, slots=True)
class Lab:
    """Three users' mounts of an archive on one cache; their data server, and another with the same for ONE."""

    members: tuple[Member, ...]
    data_server: Nginx
    database: DemoServer
    archive: AlyxArchive
    home: Path

    def downloads(self) -> Counter[str]:
        """How often onefs asked for each file."""
        return Counter(request.path for request in self.data_server.access_log())

    def cached(self, path: str) -> Path:
        """Where a file stands in the cache."""
        return self.home / "cache" / path


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with lab_folder() as home, ExitStack() as stack:
        archive = AlyxArchive(home / "archive")
        archive.put_all({**FILES, LARGER: LARGER_DATA})
        archive.publish()
        data_server = stack.enter_context(Nginx(archive.directory / DATA_DIR / PUBLIC_DIR))
        database = stack.enter_context(DemoServer(archive.directory))
        tables = archive.directory / TABLES_DIR
        members = tuple(
            stack.enter_context(Member(name, tables, home, "--data-url", data_server.url)) for name in MEMBERS
        )
        yield Lab(members, data_server, database, archive, home)


def test_many_daemons_and_one(lab: Lab) -> None:
    one = start_one(lab)
    assert one.stdin is not None
    readers = []
    for seed, member in enumerate(lab.members):
        readers.append(member.md5sums(random.Random(seed).sample(list(FILES), len(FILES))))
    one.stdin.write("go\n")
    one.stdin.flush()
    for reader in readers:
        told, errors = reader.communicate(timeout=120)
        assert reader.returncode == 0, errors
        assert digests(told) == WANTED
    told, errors = one.communicate(timeout=120)
    assert one.returncode == 0, errors
    files = [Path(path) for path in json.loads(told)]
    assert {file.name: hashlib.md5(file.read_bytes()).hexdigest() for file in files} == WANTED
    asked = lab.downloads()
    assert max(asked.values()) <= len(lab.members), "what another fetched at the same time is given up"
    assert len(asked) > len(FILES) / 4
    left = [path for path in lab.cached(f"{SESSION}/alf").iterdir() if path.name not in WANTED]
    assert left == []
    for member in lab.members:  # ONE has put its own in the place of what was there
        assert digests(member.md5sums(list(FILES)).communicate(timeout=120)[0]) == WANTED
        assert member.xattr(next(iter(FILES)), "state") == "verified"
    assert lab.downloads() == asked


def test_what_one_is_writing_is_waited_for(lab: Lab) -> None:
    name = lab.archive.file(LARGER).name
    with FaultServer() as slow:
        slow.put(f"/{name}", LARGER_DATA)
        slow.fault(f"/{name}", Fault(stall_after=ONE_READS_BYTES + (1 << 20)))
        folder = lab.cached(LARGER).parent
        one = subprocess.Popen([sys.executable, "-c", ONE_DOWNLOAD, f"{slow.url}/{name}", folder])
        wait_until(lambda: (folder / name).exists(), "ONE has begun")
        reader = lab.members[0].begin("md5sum", lab.members[0].path / LARGER)
        wait_until(lambda: (folder / name).stat().st_size == ONE_READS_BYTES, "ONE has half of it")
        wait_until(lambda: lab.members[0].status()["transfers"] != [], "onefs waits")
        slow.release()
        told = reader.communicate(timeout=60)[0]
        assert one.wait(60) == 0
    assert told.split()[0] == hashlib.md5(LARGER_DATA).hexdigest()
    assert not [path for path in lab.downloads() if name in path]


def test_root_mounts_it_only_if_all_who_can_write_it_are_trusted(lab: Lab, tmp_path: Path) -> None:
    flags = ("--data-url", lab.data_server.url)
    refused = Mounted(lab.archive.directory / TABLES_DIR, tmp_path, *flags)
    refused.cache = lab.home / "cache"
    words = ("mount", refused.source, tmp_path, "--cache-dir", refused.cache, *flags)
    done = refused.run_mount(*words)
    assert done.returncode == 1
    assert "A mount by root may not use the cache directory" in done.stderr
    assert "--trust-cache on" in done.stderr
    told = run_onefs("doctor", refused.source, "--cache-dir", refused.cache, *flags)
    assert "A mount by root may not use the cache directory" in told.stdout + told.stderr
    trusting = Mounted(refused.source, tmp_path, *flags, "--trust-cache", "on")
    trusting.cache = refused.cache
    trusting.in_new_interpreter = True  # which has the umask that the group's members have
    before = os.umask(int(UMASK, 8))
    try:
        with trusting:
            path = next(iter(FILES))
            assert (trusting.path / path).read_bytes() == FILES[path]
    finally:
        os.umask(before)


def test_state_of_others_that_is_damaged_harms_no_mount(lab: Lab) -> None:
    """Files that are mapped into a daemon's memory kill it if somebody truncates them."""
    readers = [member.md5sums(list(FILES)) for member in lab.members]
    for reader in readers:
        told, errors = reader.communicate(timeout=120)
        assert reader.returncode == 0, errors
        assert digests(told) == WANTED
    victim, attacker = lab.members[1:]
    (state,) = (lab.home / "cache" / ".onefs" / "users").glob(str(pwd.getpwnam(attacker.name).pw_uid))
    files = [path for path in state.rglob("*") if path.is_file()]
    assert files
    for path in files:
        attacker.run("truncate", "--size=0", path)
    assert digests(victim.md5sums(list(FILES)).communicate(timeout=120)[0]) == WANTED
    assert victim.status()["pid"] == victim.pid
    attacker.may_log_errors = True


def start_one(lab: Lab) -> "subprocess.Popen[str]":
    """ONE, with the lab's cache as its own; returns once it knows its datasets."""
    home = lab.home / "one"
    home.mkdir(exist_ok=True)
    eid = str(lab.archive.sessions[SESSION].eid)
    one = subprocess.Popen(
        [sys.executable, ONE_DOWNLOADS, lab.database.url, lab.database.data_url, str(lab.home / "cache"), eid, "alf"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home)},
    )
    assert one.stdout is not None
    said = one.stdout.readline()
    assert said == "ready\n", one.communicate()[1]
    return one
