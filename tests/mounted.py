"""A real mount for tests: `onefs mount` as a user runs it, in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from forked import ForkServer
from waiting import PATIENCE_S, wait_until

ONEFS = (sys.executable, "-m", "onefs")
ADAPTER_VARIABLE = "ONEFS_KERNEL_ADAPTER"
FORK_SERVER = ForkServer()


def run_onefs(
    *arguments: str | Path,
    folder: str | Path = ".",
    answers: str = "",
    timeout_s: float = 2 * PATIENCE_S,
    in_new_interpreter: bool = False,
    **environment: str,
) -> "subprocess.CompletedProcess[str]":
    """Run one command line to its end, in a process of its own, whose questions are answered by the lines `answers`."""
    words = [str(argument) for argument in arguments]
    surroundings = {**os.environ, **environment}
    with tempfile.TemporaryFile() as stdin:
        stdin.write(answers.encode())
        stdin.seek(0)
        if not in_new_interpreter and "PYTHONPATH" not in environment:
            return FORK_SERVER.run(words, surroundings, folder, stdin.fileno(), timeout_s)
        return subprocess.run(
            [*ONEFS, *words],
            stdin=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=surroundings,
            cwd=folder,
            check=False,
        )


def is_alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


class Mounted:
    """A context in which an archive is mounted at `path`, with its cache in `cache`.

    The adapter to the kernel is that of the environment, if it names one. At the end the daemon must have unmounted and
    ended without pandas, and without pyfuse3 unless that was the adapter; its log must hold no traceback and no error.
    """

    def __init__(self, source: str | Path, home: Path, *flags: str, **environment: str) -> None:
        self.source = source
        self.path = home / "mnt"
        self.cache = home / "cache"
        self.flags = flags
        self.environment = {
            "XDG_CACHE_HOME": str(home / "xdg"),
            "XDG_CONFIG_HOME": str(home / "config"),
            "ONEFS_REFRESH_JITTER": "0",  # nothing is left to chance
            **environment,
        }
        self.pid = 0
        self.may_log_errors = False
        self.in_new_interpreter = False  # for tests that look at the arguments or the environment of its process

    def start(self) -> Self:
        """Mount and wait until it is usable."""
        self.path.mkdir(parents=True, exist_ok=True)
        words = ("mount", self.source, self.path, "--cache-dir", self.cache, *self.flags)
        done = self.run_mount(*words)
        if done.returncode:
            raise AssertionError(f"mount failed: {done.stdout}{done.stderr}\n{self.log()}")
        self.pid = self.status()["pid"]
        return self

    def run_mount(self, *words: str | Path) -> "subprocess.CompletedProcess[str]":
        """Run the command line that mounts."""
        return run_onefs(*words, in_new_interpreter=self.in_new_interpreter, **self.environment)

    def stop(self) -> None:
        """Unmount, and wait for the daemon's end."""
        done = run_onefs("umount", "--lazy", self.path)
        assert done.returncode == 0, done.stderr
        wait_until(lambda: not is_alive(self.pid), "the daemon ends")

    def kill(self) -> None:
        """End the daemon as a power cut would."""
        os.kill(self.pid, signal.SIGKILL)
        wait_until(lambda: not is_alive(self.pid), "the daemon is dead")

    def status(self) -> dict[str, Any]:
        """What the daemon says of itself."""
        facts: dict[str, Any] = json.loads((self.path / ".onefs" / "status.json").read_text())
        return facts

    def errors(self) -> str:
        """The last failures, as people read them."""
        return (self.path / ".onefs" / "errors").read_text()

    def log(self) -> str:
        """The daemon's log so far."""
        logs = sorted((self.cache / ".onefs").glob("onefs-*.log*"), reverse=True)
        return "".join(log.read_text() for log in logs)

    def loaded_files(self) -> str:
        """The files that the daemon has mapped into memory, its libraries among them; none if it has ended."""
        try:
            return Path(f"/proc/{self.pid}/maps").read_text()
        except OSError:
            return ""

    def xattr(self, path: str | Path, name: str) -> str:
        """One of a file's attributes, by its short name."""
        return os.getxattr(self.path / path, f"user.onefs.{name}").decode()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loaded = self.loaded_files()
        if is_alive(self.pid) or os.path.ismount(self.path):
            self.stop()
        if kind is None and not self.may_log_errors:
            assert "Traceback" not in self.log()
            assert " ERROR " not in self.log()
        if kind is None:
            assert "/pandas/" not in loaded, "the daemon loaded pandas"
        if kind is None and loaded:
            all_adapters = os.environ.get(ADAPTER_VARIABLE)  # then processes are forked off one that has it loaded
            adapter = self.environment.get(ADAPTER_VARIABLE, all_adapters)
            has_pyfuse3 = "/pyfuse3/" in loaded
            is_right = has_pyfuse3 if adapter == "pyfuse3" else not has_pyfuse3 or all_adapters == "pyfuse3"
            assert is_right, f"the adapter is not {adapter or 'the session'}"
