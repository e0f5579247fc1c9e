"""The bundle of `onefs doctor --bundle`: what a bug report needs to know of a machine, without secrets or data."""

import io
import json
import os
import platform
import resource
import shutil
import stat
import subprocess
import sys
import tarfile
import threading
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeVar

from onefs import __version__
from onefs.alf import STATE_FOLDER
from onefs.configuration import SOURCE_KEY, config_file
from onefs.daemon.known_secrets import known_secrets
from onefs.errors import NotSavedError, UsageError
from onefs.fuse.mounting import Mount, health, mounts
from onefs.mountinfo import FILE_SYSTEM_TYPE
from onefs.redaction import REDACTED, is_secret_name, redacted, redacted_values
from onefs.settings import PREFIX, Settings, settings_text, table
from onefs.sources.names import SYSTEM_FOLDER

PART_TIMEOUT_S = 10.0
"""How long one part may take: what hangs, as a mount does whose daemon hangs, is left out."""
MOST_LETTERS = 1 << 20
"""The most of one part that is taken, from its end."""
MOST_BYTES = 64 << 20
"""The most that is read of a control file: any user may mount something that calls itself onefs, and is endless."""
LOG_LINES = 500
LIBRARIES = (
    "pyfuse3", "trio", "urllib3", "requests", "pyarrow", "numpy", "pandas", "click", "rich", "filelock", "cachetools",
    "botocore", "ONE-api",
)  # fmt: skip
ABOUT_MOUNT = ("status.json", "errors", "log", "control")
UNITS = "onefs*"
VARIABLES = (
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "xdg_config_home",
    "xdg_cache_home",
    "lang",
    "lc_all",
)
LIMITS = ("RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_AS", "RLIMIT_MEMLOCK", "RLIMIT_CORE", "RLIMIT_FSIZE")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BundleFile:
    """One file of the bundle. `look` gives its text, in a thread that may never come back."""

    name: str
    look: Callable[[], str]


def check_new(file: Path) -> None:
    """Raise `UsageError` if there is such a file already."""
    if os.path.lexists(file):
        raise UsageError(f"{file} exists already.", "Give the name of a new file.")


def write_bundle(file: Path, settings: Settings, findings: str) -> list[str]:
    """Write the bundle, which only its owner may read, and return the names of its parts.

    `findings` is what doctor says. Raises `UsageError` if the file exists, `NotSavedError` if it cannot be written.
    """
    check_new(file)
    try:
        secrets = _within_time(partial(known_secrets, settings))
    except TimeoutError:
        raise NotSavedError(
            "There is no bundle: the files with logins did not answer, so secrets could not be told.",
            "Check the disk that your home directory is on.",
        ) from None
    texts = {"doctor.txt": findings} | {part.name: _text(part) for part in _parts(settings, mounts())}
    texts = {name: _clean(name, text, secrets) for name, text in texts.items()}
    try:
        _write(file, texts)
    except OSError as error:
        raise NotSavedError(f"{file} cannot be written: {error.strerror}.", "Give another place.") from error
    return list(texts)


def _parts(settings: Settings, present: Sequence[Mount]) -> Iterator[BundleFile]:
    yield BundleFile("versions.txt", _versions)
    yield BundleFile("settings.txt", partial(settings_text, settings))
    yield BundleFile("environment.txt", _environment)
    yield BundleFile("configuration.txt", _configuration)
    yield BundleFile("mountinfo.txt", _mountinfo)
    yield BundleFile("fuse.conf", Path("/etc/fuse.conf").read_text)
    yield BundleFile("limits.txt", _limits)
    yield BundleFile("units.txt", _units)
    yield BundleFile("journal.txt", _journal)
    for number, mount in enumerate(present, 1):
        folder = f"mount-{number}"
        yield BundleFile(f"{folder}/health.txt", partial(_health, mount))
        for name in ABOUT_MOUNT:
            yield BundleFile(f"{folder}/{name}", partial(said_by, mount, name))
        yield BundleFile(f"{folder}/cache.txt", partial(_cache_disk, mount))


def _text(part: BundleFile) -> str:
    """The text of a part, or why there is none."""
    try:
        return _end(_within_time(part.look))
    except (TimeoutError, subprocess.TimeoutExpired):
        return f"Left out: this took longer than {PART_TIMEOUT_S:.0f} s.\n"
    except Exception as error:  # noqa: BLE001 - whatever it is, the other parts are wanted
        return f"Left out: {type(error).__name__}: {error}\n"


def _end(text: str) -> str:
    """The last whole lines of a long text: half of a secret would not be known for one."""
    if len(text) <= MOST_LETTERS:
        return text
    return f"{REDACTED}\n{text[-MOST_LETTERS:].partition(chr(10))[2]}"


def _within_time(look: Callable[[], T]) -> T:
    """What a function returns or raises. Raises `TimeoutError` if that takes too long."""
    answers: SimpleQueue[tuple[T, None] | tuple[None, Exception]] = SimpleQueue()

    def run() -> None:
        try:
            answers.put((look(), None))
        except Exception as error:  # noqa: BLE001 - raised again below
            answers.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        answer, error = answers.get(timeout=PART_TIMEOUT_S + 1)
    except Empty:
        raise TimeoutError from None
    if error is not None:
        raise error
    return answer  # type: ignore[return-value]


def _output(*words: str) -> str:
    """What a program prints. It is left behind if it takes too long, as it may not even be able to end."""
    program = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        return program.communicate(timeout=PART_TIMEOUT_S)[0].decode(errors="replace")
    except subprocess.TimeoutExpired:
        program.kill()
        if program.stdout is not None:
            program.stdout.close()
        threading.Thread(target=program.wait, daemon=True).start()
        raise


def _versions() -> str:
    os_release = platform.freedesktop_os_release().get("PRETTY_NAME", "unknown")
    lines = [
        f"onefs: {__version__}",
        f"Python: {sys.version}",
        f"system: {os_release}, {platform.release()} {platform.machine()}, {platform.libc_ver()}",
        f"made: {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}",
        f"fusermount3: {_output('fusermount3', '-V').strip() if shutil.which('fusermount3') else 'none'}",
    ]
    for library in LIBRARIES:
        try:
            lines.append(f"{library}: {metadata.version(library)}")
        except metadata.PackageNotFoundError:
            lines.append(f"{library}: none")
    return "\n".join([*lines, ""])


def _environment() -> str:
    """The variables that onefs reads. Those of secrets, and what is no setting, stand there without their values."""
    known = {entry.variable for entry in table() if not entry.secret}
    return "".join(
        f"{name}={REDACTED if is_secret_name(name) or (name.startswith(PREFIX) and name not in known) else value}\n"
        for name, value in sorted(os.environ.items())
        if name.startswith((PREFIX, "ONE_")) or name.lower() in VARIABLES
    )


def _configuration() -> str:
    """The files of settings: of each its mode and owner, and its settings. What is no setting may be a secret."""
    known = {SOURCE_KEY, *(entry.key for entry in table() if not entry.secret)}
    lines = []
    for file in (each for folder in (config_file().parent, SYSTEM_FOLDER) for each in sorted(folder.glob("*.toml"))):
        status = file.stat()
        lines.append(f"{file}: {stat.filemode(status.st_mode)}, owner {status.st_uid}, {status.st_size} bytes")
        if file.name == "credentials.toml":
            continue
        try:
            values = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            lines.append(f"  cannot be read: {error}")
            continue
        lines += [
            f"  {key} = {json.dumps(value, default=str) if key in known else REDACTED}" for key, value in values.items()
        ]
    return "\n".join([*lines, ""])


def _mountinfo() -> str:
    lines = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines(keepends=True)
    return "".join(line for line in lines if f" - {FILE_SYSTEM_TYPE} " in line)


def _limits() -> str:
    lines = [f"uid {os.getuid()}, gid {os.getgid()}, groups {os.getgroups()}"]
    lines += [f"{name}: {resource.getrlimit(getattr(resource, name))}" for name in LIMITS]
    for file in (Path("/proc/sys/fs/file-max"), Path("/proc/sys/user/max_user_namespaces"), Path("/proc/meminfo")):
        lines += [f"{file}: {line}" for line in file.read_text().splitlines()[:3]]
    return "\n".join([*lines, ""])


def _units() -> str:
    if not Path("/run/systemd/system").is_dir():
        return "systemd does not run here.\n"
    words = ("status", "--no-pager", "--full", "--lines=0", "--all", UNITS)
    return _output("systemctl", *words) + _output("systemctl", "--user", *words)


def _journal() -> str:
    if not Path("/run/systemd/system").is_dir():
        return "systemd does not run here.\n"
    whose = (f"--unit={UNITS}", f"--user-unit={UNITS}")
    return _output("journalctl", "--no-pager", "--output=short-iso", f"--lines={LOG_LINES}", *whose)


def _health(mount: Mount) -> str:
    return f"{mount.source} at {mount.mountpoint}: {health(mount.mountpoint).value}\n"


def said_by(mount: Mount, name: str) -> str:
    """A control file of a mount, read by another process: whoever reads in a mount that hangs cannot end."""
    return _output("head", "-c", str(MOST_BYTES), str(mount.mountpoint / STATE_FOLDER / name))


def _cache_disk(mount: Mount) -> str:
    return _output("df", "-h", "-T", str(json.loads(said_by(mount, "status.json"))["cache"]["directory"]))


def _clean(name: str, text: str, secrets: set[str]) -> str:
    if name.endswith(".json"):
        try:
            return json.dumps(redacted_values(json.loads(text), secrets), indent=1) + "\n"
        except ValueError:
            pass
    return redacted(text, secrets)


def _write(file: Path, texts: Mapping[str, str]) -> None:
    """Write it whole, or not at all. Raises OSError."""
    folder = file.name.partition(".")[0] or "onefs"
    number = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(number, "wb") as stream, tarfile.open(fileobj=stream, mode="w:gz") as archive:
            for name, text in texts.items():
                data = text.encode(errors="backslashreplace")
                entry = tarfile.TarInfo(f"{folder}/{name}")
                entry.size, entry.mode, entry.mtime = len(data), 0o600, time.time()
                archive.addfile(entry, io.BytesIO(data))
    except BaseException:
        file.unlink(missing_ok=True)
        raise
