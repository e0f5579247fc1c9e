"""Mounts that root makes for a user of the machine, with a copy of onefs that this user may read too."""

import os
import pwd
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from forked import ForkServer
from lab_members import MEMBERS
from mounted import Mounted
from waiting import PATIENCE_S

import onefs

USER = pwd.getpwnam(MEMBERS[0])
"""Whom the daemon runs as."""
OTHER = pwd.getpwnam(MEMBERS[1])
HALF_WRITTEN = shutil.ignore_patterns("*.pyc.*")
"""What another process may be compiling just now."""


@contextmanager
def system_folder() -> Iterator[Path]:
    """A folder that every user may look into, with a `cache` of the daemon's user."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="onefs-system-") as made:
        home = Path(made)
        home.chmod(0o755)
        shutil.copytree(Path(onefs.__file__).parent, home / "onefs", ignore=HALF_WRITTEN)
        if not _is_for_all(Path(sys.base_prefix)):
            _copy_python(home / "python")
        (home / "cache").mkdir()
        os.chown(home / "cache", USER.pw_uid, USER.pw_gid)
        yield home


def _is_for_all(path: Path) -> bool:
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.parents))


def _copy_python(folder: Path) -> None:
    """Links to what makes up this interpreter, which stands in somebody's home."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    prefix = Path(sys.base_prefix)
    for part in (prefix / "bin" / version, *(prefix / "lib").glob("lib*.so*")):
        (folder / part.parent.name).mkdir(parents=True, exist_ok=True)
        (folder / part.parent.name / part.name).hardlink_to(part)
    left_out = shutil.ignore_patterns("test", "site-packages", "idlelib", "lib2to3", "*.pyc.*", "*.opt-?.pyc")
    shutil.copytree(prefix / "lib" / version, folder / "lib" / version, ignore=left_out, copy_function=os.link)


def surroundings(home: Path) -> dict[str, str]:
    """The environment in which onefs is that of the folder."""
    path = f"{home}:{sysconfig.get_path('purelib')}"
    mine = {"PYTHONPATH": path, "LD_LIBRARY_PATH": str(home / "python" / "lib"), "HOME": str(home)}
    return {**os.environ, **mine}


def onefs_of(home: Path) -> list[str]:
    """The command onefs of the folder."""
    python = next((home / "python" / "bin").glob("python*"), Path(sys.executable))
    return [str(python), "-m", "onefs"]


def run_root(home: Path, *words: str | Path, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run a command line of the folder's onefs, as root if no other user is given."""
    command = [*onefs_of(home), *map(str, words)]
    return subprocess.run(
        command, cwd="/", env=surroundings(home), capture_output=True, text=True, check=False, **options
    )


class Installation:
    """Runs command lines of a folder's onefs as root, in processes that are forked from one: see `forked`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._server = ForkServer(onefs_of(home)[0], surroundings(home))

    def run(self, *words: str | Path) -> "subprocess.CompletedProcess[str]":
        """Run one to its end."""
        with open(os.devnull, "rb") as stdin:
            return self._server.run([*map(str, words)], surroundings(self.home), "/", stdin.fileno(), 2 * PATIENCE_S)

    def close(self) -> None:
        """End the process that is forked."""
        self._server.close()


class SystemMount(Mounted):
    """A mount that root made, and whose daemon runs as another user."""

    def __init__(self, source: str | Path, installation: Installation, *flags: str) -> None:
        super().__init__(source, installation.home, "--run-as", USER.pw_name, *flags)
        self.installation = installation

    def run_mount(self, *words: str | Path) -> "subprocess.CompletedProcess[str]":
        """Run the command line that mounts."""
        return self.installation.run(*words)


def as_user(user: pwd.struct_passwd, *command: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run a command as a user of this machine."""
    return subprocess.run(
        command, user=user.pw_uid, group=user.pw_gid, extra_groups=[], capture_output=True, text=True, check=False
    )
