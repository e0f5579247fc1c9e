"""Mounts by several users of one machine: each with an own user id, all in one group, with one cache. For root."""

import grp
import json
import os
import pwd
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from mounted import ONEFS, Mounted

MEMBERS = tuple(user.pw_name for user in pwd.getpwall() if user.pw_uid)[:3]
"""Any users of this machine: fusermount3 mounts for those alone that it has a name of."""
GROUP = next(group.gr_name for group in grp.getgrall() if group.gr_gid)
UMASK = "002"


def as_member(name: str, *command: str | Path) -> list[str]:
    """A command as a user of the group runs it.

    It may read what it could not, as Python and this repository may be in somebody's home; writing needs permission.
    """
    words = ["sh", "-c", f'umask {UMASK}; exec "$0" "$@"', *map(str, command)]
    who = ["--reuid", name, "--regid", GROUP, "--clear-groups"]
    return ["setpriv", *who, "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search", *words]


@contextmanager
def lab_folder() -> Iterator[Path]:
    """A folder whose `cache` the group may write, in which all that is made stays the group's."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="onefs-lab-") as made, kernel_for_all(Path(made)):
        Path(made).chmod(0o755)
        cache = Path(made) / "cache"
        cache.mkdir()
        os.chown(cache, 0, grp.getgrnam(GROUP).gr_gid)
        cache.chmod(0o2775)
        yield Path(made)


class Member(Mounted):
    """A mount by one of the group's users, who alone can look into it."""

    def __init__(self, name: str, source: str | Path, lab: Path, *flags: str, **environment: str) -> None:
        home = lab / name
        super().__init__(source, home, *flags, HOME=str(home), **environment)
        self.name = name
        self.cache = lab / "cache"
        self.path.mkdir(parents=True)
        for folder in (home, self.path):
            os.chown(folder, pwd.getpwnam(name).pw_uid, -1)

    def start(self) -> Self:
        """Mount and wait until it is usable."""
        words = [*ONEFS, "mount", self.source, self.path, "--cache-dir", self.cache, *self.flags]
        self.run(*words)
        self.pid = self.status()["pid"]
        return self

    def status(self) -> dict[str, Any]:
        """What the daemon says of itself."""
        facts: dict[str, Any] = json.loads(self.run("cat", self.path / ".onefs" / "status.json"))
        return facts

    def xattr(self, path: str | Path, name: str) -> str:
        """One of a file's attributes, by its short name."""
        code = "import os, sys; print(os.getxattr(*sys.argv[1:]).decode())"
        return self.run(ONEFS[0], "-c", code, self.path / path, f"user.onefs.{name}").rstrip("\n")

    def run(self, *command: str | Path) -> str:
        """What a command of this user prints; it must not fail."""
        done = self.begin(*command)
        said, errors = done.communicate(timeout=120)
        assert done.returncode == 0, f"{errors}\n{self.log()}"
        return said

    def begin(self, *command: str | Path) -> "subprocess.Popen[str]":
        """Start a command of this user."""
        return subprocess.Popen(
            as_member(self.name, *command),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **self.environment},
        )

    def md5sums(self, paths: Sequence[str], at_once: int = 8) -> "subprocess.Popen[str]":
        """Start to read files, several at once."""
        listed = self.path.parent / "listed"
        listed.write_text("\n".join(str(self.path / path) for path in paths))
        return self.begin("xargs", "-a", listed, "-P", str(at_once), "-n", "10", "md5sum")


def digests(told: str) -> dict[str, str]:
    """MD5 by name, of what `md5sum` prints of files below mounts or caches."""
    lines = [line.split(maxsplit=1) for line in told.splitlines()]
    return {path.rpartition("/")[2]: md5 for md5, path in lines}


@contextmanager
def kernel_for_all(home: Path) -> Iterator[None]:
    """Let every user reach /dev/fuse, as on an ordinary machine; in some containers only root can."""
    node = os.stat("/dev/fuse")
    if stat.S_IMODE(node.st_mode) == 0o666:
        yield
        return
    beside = home / "fuse"
    os.mknod(beside, stat.S_IFCHR, node.st_rdev)
    beside.chmod(0o666)
    subprocess.run(["mount", "--bind", beside, "/dev/fuse"], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", "/dev/fuse"], check=True)  # a daemon may be ending just now
