"""Owns the mounts that are measured: onefs's, and rclone's over a local directory or a server."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from benchmarks.bench import ADAPTER_VARIABLE, BenchFailedError, find_program, python

PATIENCE_S = 60.0
QUIET_S = 0.5
ONEFS_PROGRAM = Path(sys.executable).with_name("onefs")
NOBODY = 65534
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")


class Mount(Protocol):
    """What is measured alike of onefs and of a peer."""

    path: Path

    def cpu_s(self) -> float:
        """CPU time that its daemon has used so far, user and system, in all threads."""


class OnefsMount:
    """A context in which `onefs mount` serves `source` at `path`; `seconds_to_usable` from its exec to the first ls."""

    as_user: tuple[str, ...] = ()
    """The words that a command begins with which reads in it."""

    def __init__(self, source: Path | str, home: Path, *flags: str) -> None:
        self.path = home / "onefs"
        self.cache = home / "onefs-cache"
        self.seconds_to_usable = 0.0
        self.pid = 0
        self.command = [str(ONEFS_PROGRAM), "mount", str(source), str(self.path), "--cache-dir", str(self.cache)]
        self.command += flags
        ours = {"XDG_CACHE_HOME": str(home / "xdg"), "XDG_CONFIG_HOME": str(home / "config")}
        others = {
            name: value
            for name, value in os.environ.items()
            if name == ADAPTER_VARIABLE or not name.startswith("ONEFS_")
        }
        self.environment = others | ours

    def __enter__(self) -> Self:
        self.path.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        # In a session of its own: Ctrl-C must not end it half-way, with its daemon going on.
        with subprocess.Popen(
            self.command, env=self.environment, stderr=subprocess.PIPE, start_new_session=True
        ) as process:
            try:
                said = process.communicate()[1].decode(errors="replace")
            except BaseException:
                _end_children(process.pid)
                unmount(self.path)
                raise
        if process.returncode:
            raise BenchFailedError(f"onefs mount failed: {said}")
        self._list()
        self.seconds_to_usable = time.perf_counter() - start
        self.pid = self.status()["pid"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        unmount(self.path)
        wait(lambda: _has_ended(self.pid))

    def status(self) -> dict[str, Any]:
        """What the mount says of itself."""
        facts: dict[str, Any] = json.loads(self._text(self.path / ".onefs" / "status.json"))
        return facts

    def _list(self) -> None:
        os.listdir(self.path)

    def _text(self, file: Path) -> str:
        return file.read_text()

    def private_mb(self) -> float:
        """Memory that is the daemon's alone, in MB."""
        lines = Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) * 1024 / 1e6

    def peak_mb(self) -> float:
        """The largest resident size that the daemon ever had, in MB."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6

    def reads(self) -> int:
        """How often the daemon has read from anything, the kernel's requests included."""
        lines = Path(f"/proc/{self.pid}/io").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("syscr"))

    def cpu_s(self) -> float:
        """CPU time that the daemon has used so far, user and system, in all threads."""
        return _cpu_s(self.pid)

    def settle(self) -> None:
        """Return once the daemon has nothing left to do: it has used no CPU for half a second."""
        used_s = -1.0
        while used_s != (used_s := self.cpu_s()):
            time.sleep(QUIET_S)


class NobodysMount(OnefsMount):
    """The same, mounted by the user nobody, to whom `home` is given. Nobody else may read in it, not even root."""

    as_user = AS_NOBODY

    def __init__(self, source: Path | str, home: Path, *flags: str) -> None:
        super().__init__(source, home, *flags)
        self.command = [*AS_NOBODY, *self.command]
        self.environment |= {"HOME": str(home)}
        self.path.mkdir(parents=True, exist_ok=True)
        for folder in (home, self.path):
            os.chown(folder, NOBODY, NOBODY)

    @staticmethod
    def why_not(home: Path) -> str:
        """Why the user nobody cannot mount there; "" if he can."""
        if os.geteuid():
            return "only root can become another user"
        needed = {
            str(home): ["test", "-x", str(home)],
            "/dev/fuse": ["test", "-w", "/dev/fuse"],
            sys.prefix: [sys.executable, "-c", "import onefs"],
        }
        for what, command in needed.items():
            if subprocess.run([*AS_NOBODY, *command], cwd="/", capture_output=True, check=False).returncode:
                return f"{what} is closed to other users"
        return ""

    def _list(self) -> None:
        subprocess.run([*AS_NOBODY, "ls", str(self.path)], stdout=subprocess.DEVNULL, check=True)

    def _text(self, file: Path) -> str:
        return subprocess.run([*AS_NOBODY, "cat", str(file)], capture_output=True, text=True, check=True).stdout


class ServedMount:
    """A context in which a program in the foreground serves `path`."""

    def __init__(self, path: Path, command: list[str]) -> None:
        self.path = path
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.path.mkdir(parents=True, exist_ok=True)
        # In a session of its own: Ctrl-C must not end it before it is unmounted.
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        try:
            wait(lambda: self.path.is_mount() or self._ended())
        except BaseException:
            self.__exit__(None, None, None)
            raise
        if self._ended():
            said = self._process.communicate()[1].decode(errors="replace")
            raise BenchFailedError(f"{self._command[0]} did not mount: {said.strip()}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None:
            return
        unmount(self.path)
        try:
            self._process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def cpu_s(self) -> float:
        """CPU time that the program has used so far, user and system, in all threads."""
        return _cpu_s(self._process.pid) if self._process else 0.0

    def _ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None


class RcloneMount(ServedMount):
    """A context in which rclone serves a local directory or an HTTP server at `path`, with kernel caching as it has.

    With `leaves_cache` its cache is not removed: for some seconds after many files went, ext4 takes ten times as long
    to make new ones, which whoever is measured next would pay for.
    """

    def __init__(self, source: Path | str, home: Path, *, leaves_cache: bool = False) -> None:
        self._leaves_cache = leaves_cache
        self.cache = home / "rclone-cache"
        config = home / "rclone.conf"
        config.touch()
        remote = [":http:", "--http-url", source] if isinstance(source, str) else [str(source)]
        mode = "full" if isinstance(source, str) else "off"
        path = home / "rclone"
        command = [find_program("rclone") or "rclone", "mount", *remote, str(path), "--read-only"]
        command += ["--vfs-cache-mode", mode, "--config", str(config), "--cache-dir", str(self.cache)]
        super().__init__(path, [*command, "--dir-cache-time", "24h", "--attr-timeout", "24h"])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if not self._leaves_cache:
            shutil.rmtree(self.cache, ignore_errors=True)


class ToyMount(ServedMount):
    """A context in which pyfuse3 serves an empty folder, without anything of onefs."""

    def __init__(self, home: Path) -> None:
        path = home / "toy"
        super().__init__(path, python("toy.py", path))


def unmount(path: Path) -> None:
    """Unmount, lazily, if anything is mounted there."""
    try:
        is_mounted = path.is_mount()
    except OSError:
        is_mounted = True
    if is_mounted:
        command = ["umount", "-l"] if os.geteuid() == 0 else ["fusermount3", "-uz"]
        subprocess.run([*command, str(path)], capture_output=True, check=False)


def _cpu_s(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _end_children(pid: int) -> None:
    """End the daemon that a mount command has started and waits for."""
    with suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            os.kill(int(child), signal.SIGTERM)


def _has_ended(pid: int) -> bool:
    """Whether a process is gone, or was and nobody has asked how: some containers do so late."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def wait(condition: Callable[[], bool]) -> None:
    """Return once a condition holds. Raises `BenchFailedError`."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise BenchFailedError(f"Nothing happened within {PATIENCE_S:.0f} s.")
        time.sleep(0.02)
