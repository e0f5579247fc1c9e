#!/usr/bin/env python3
"""What scripts/test-boot runs in the machine that it boots, once each boot: one list of checks for each.

Runs as root with Debian's Python, without onefs. The archive is the demo's, served by a web server of the machine.
"""

import hashlib
import os
import signal
import subprocess
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

CLONE = Path("/srv/onefs")
ARCHIVE = Path("/srv/archive")
BOOTS_DONE = Path("/srv/boots")
FAILED = Path("/srv/failed")
MOUNTPOINT = Path("/mnt/lab")
AT_ACCESS = Path("/mnt/at-access")
USER = "alice"
USERS_MOUNTPOINT = Path("/home/alice/lab")
SERVICE = "onefs@lab.service"
SOURCE = "http://127.0.0.1:8000/tables"
DATA_URL = "http://127.0.0.1:8000/data/public"
TRIALS = "northlab/Subjects/NL_001/2023-03-06/001/alf/_ibl_trials.table.pqt"
WHEEL = "northlab/Subjects/NL_001/2023-03-06/001/alf/_ibl_wheel.position.npy"
RESTART_S = 5
HIGHEST_EXPOSURE = 45
"""Tenths, as systemd-analyze security counts what a service may do."""
NO_INDEX = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/srv/wheels", "PIP_EXTRA_INDEX_URL": ""}


# ── What the checks are made of


def run(*words: str | Path, user: str = "", env: dict[str, str] | None = None) -> str:
    """Run a command as root or a user; its output. Raises AssertionError with what it said if it fails."""
    done = attempt(*words, user=user, env=env)
    assert done.returncode == 0, f"{' '.join(map(str, words))} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


def attempt(
    *words: str | Path, user: str = "", env: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a command as root or a user, whatever comes of it; standard error is in its output."""
    become = ["setpriv", "--reuid", user, "--regid", user, "--init-groups"] if user else []
    home = {"HOME": f"/home/{user}"} if user else {}
    return subprocess.run(
        [*become, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **home, **(env or {})},
        stdin=subprocess.DEVNULL,
        cwd="/",
    )


def run_in_user_manager(*words: str | Path) -> None:
    """Run a command as the user, who has a systemd of their own. Raises AssertionError if it fails."""
    done = attempt_in_user_manager(*words)
    assert done.returncode == 0, done.stdout


def attempt_in_user_manager(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    """As `attempt`, as the user, who has a systemd of their own."""
    return attempt(*words, user=USER, env={"XDG_RUNTIME_DIR": f"/run/user/{uid_of(USER)}"})


def wait_until(is_so: Callable[[], bool], what: str, longest_s: float = 60) -> float:
    """Wait for something; the seconds that it took. Raises AssertionError if it takes too long."""
    begun_s = time.monotonic()
    while not is_so():
        assert time.monotonic() - begun_s < longest_s, f"{what} is not so after {longest_s} s"
        time.sleep(0.05)
    return time.monotonic() - begun_s


def is_mounted(mountpoint: Path) -> bool:
    """Whether the kernel's table has an onefs mount there. Asks no daemon."""
    return any(
        line.split()[1] == str(mountpoint) and line.split()[2] == "fuse.onefs"
        for line in Path("/proc/self/mounts").read_text().splitlines()
    )


def answers(mountpoint: Path) -> bool:
    """Whether a mount lists its labs."""
    done = attempt("timeout", "10", "ls", mountpoint / "northlab")
    return done.returncode == 0 and "Subjects" in done.stdout


def property_of(unit: str, name: str) -> str:
    """A property of a system unit, as systemd spells it."""
    return run("systemctl", "show", "--value", "--property", name, unit).strip()


def lines_of(*matches: str) -> list[str]:
    """Lines of the journal of this boot. `_SYSTEMD_UNIT=` gives those of a unit's processes, not those about it."""
    run("journalctl", "--sync")
    lines = run("journalctl", "--boot", "--output=cat", *matches)
    return [line for line in lines.splitlines() if line and line != "-- No entries --"]


def check_bytes(mountpoint: Path, path: str, user: str) -> None:
    """Check that a user reads from a mount what the archive has."""
    stem, extension = os.path.splitext(path)
    (stored,) = (ARCHIVE / "data/public").glob(f"{stem}.*{extension}")
    wanted = hashlib.md5(stored.read_bytes()).hexdigest()
    assert run("md5sum", mountpoint / path, user=user).split()[0] == wanted, f"{path} has other bytes"


def check_journal() -> None:
    """Check that the daemon of the system mount logged no warning."""
    its = f"_SYSTEMD_UNIT={SERVICE}"
    assert lines_of(its), "the journal has nothing of it"
    problems = [line for level in range(5) for line in lines_of(its, f"PRIORITY={level}")]
    problems += [line for line in lines_of(its) if "Traceback" in line]
    assert not problems, "the journal has\n" + "\n".join(problems)


def write_unit(name: str, text: str) -> None:
    """Write a system unit."""
    Path("/etc/systemd/system", name).write_text(text)
    run("systemctl", "daemon-reload")


def settings(mountpoint: Path, name: str, *more: str) -> str:
    """The text of a system mount's file."""
    lines = [
        f'source = "{SOURCE}"',
        f'data_url = "{DATA_URL}"',
        f'mountpoint = "{mountpoint}"',
        'run_as = "onefs"',
        "allow_other = true",
        f'cache_dir = "/var/cache/onefs/{name}"',
    ]
    return "\n".join([*lines, *more, ""])


# ── The first boot


def installs() -> None:
    """install-systemd installs onefs with its command, man pages, completion and units."""
    said = run(CLONE / "scripts/install-systemd", env=NO_INDEX)
    assert "systemctl enable --now onefs@NAME" in said, said
    assert run("onefs", "--version").startswith("onefs "), "no version"
    assert "complete" in Path("/usr/local/share/bash-completion/completions/onefs").read_text()
    for page in ("man1/onefs.1", "man8/mount.onefs.8"):
        assert Path("/usr/local/share/man", page).read_text().startswith((".TH", '.\\"', "'\\\"")), f"no {page}"


def serves_archive() -> None:
    """A web server of the machine serves the demo's archive."""
    make = "import sys; from pathlib import Path; from onefs.demo.archive import make_archive; "
    run("/opt/onefs/bin/python", "-c", make + "make_archive(Path(sys.argv[1]))", ARCHIVE)
    write_unit(
        "archive.service",
        "[Service]\nType=exec\n"
        f"ExecStart=/usr/bin/python3 -m http.server --bind 127.0.0.1 --directory {ARCHIVE} 8000\n"
        "[Install]\nWantedBy=multi-user.target\n",
    )
    run("systemctl", "start", "archive.service")


def units_verify() -> None:
    """systemd-analyze finds no fault with any unit; what it says of the security of onefs@.service:"""
    units = [*(CLONE / "systemd").glob("*mount"), Path("/usr/local/lib/systemd/system/onefs@.service")]
    for unit in units:
        said = run("systemd-analyze", "verify", "--man=no", str(unit).replace("@.", "@lab."))
        assert not said, said
    user_unit = "/usr/local/lib/systemd/user/onefs-user@lab.service"
    said = run("systemd-analyze", "verify", "--user", "--man=no", user_unit, env={"XDG_RUNTIME_DIR": "/run"})
    assert not said, said
    said = run("systemd-analyze", "security", "--no-pager", f"--threshold={HIGHEST_EXPOSURE}", SERVICE)
    print(f"    {said.splitlines()[-1]}")


def mounts() -> None:
    """One file and one enabled unit: mounted, served by the user onefs, and read by another user."""
    Path("/etc/onefs/lab.toml").write_text(settings(MOUNTPOINT, "lab"))
    run("systemctl", "enable", "--now", SERVICE)
    assert is_mounted(MOUNTPOINT)
    check_bytes(MOUNTPOINT, TRIALS, USER)
    process = property_of(SERVICE, "MainPID")
    assert Path("/proc", process).owner() == "onefs", Path("/proc", process).owner()
    assert Path("/var/cache/onefs").stat().st_mode & 0o077 == 0, "the cache is open to others"
    check_journal()


def restarts() -> None:
    """Killed, alone or with all its processes, the daemon is back within 5 seconds, and so are the files."""
    for who in ("main", "all"):
        killed = property_of(SERVICE, "MainPID")
        run("systemctl", "kill", "--signal=KILL", f"--kill-who={who}", SERVICE)
        took_s = wait_until(lambda: is_another(killed) and answers(MOUNTPOINT), "mounted again")  # noqa: B023
        assert took_s < RESTART_S, f"it took {took_s:.1f} s"
        check_bytes(MOUNTPOINT, TRIALS, USER)


def is_another(process: str) -> bool:
    """Whether the daemon is another process than before."""
    return property_of(SERVICE, "MainPID") not in ("0", process)


def restarts_when_stuck() -> None:
    """A daemon that is stuck is ended by systemd's watchdog, and started again."""
    impatient = Path(f"/etc/systemd/system/{SERVICE}.d/impatient.conf")
    impatient.parent.mkdir()
    impatient.write_text("[Service]\nWatchdogSec=5s\n")
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", SERVICE)
    stuck = property_of(SERVICE, "MainPID")
    os.kill(int(stuck), signal.SIGSTOP)
    wait_until(lambda: is_another(stuck) and answers(MOUNTPOINT), "mounted again")
    check_bytes(MOUNTPOINT, TRIALS, USER)
    impatient.unlink()
    impatient.parent.rmdir()
    run("systemctl", "daemon-reload")


def stops_when_busy() -> None:
    """systemctl stop unmounts, within its time-out, while a program reads and another stands in the mount."""
    reads = "import sys\nwith open(sys.argv[1], 'rb') as file:\n while True: file.seek(0); file.read()"
    readers = [
        subprocess.Popen(["python3", "-c", reads, MOUNTPOINT / TRIALS], stderr=subprocess.DEVNULL),
        subprocess.Popen(["sleep", "1h"], cwd=MOUNTPOINT),
    ]
    try:
        run("systemctl", "stop", SERVICE)
        assert not is_mounted(MOUNTPOINT), "still mounted"
        assert property_of(SERVICE, "Result") == "success", property_of(SERVICE, "Result")
    finally:
        for reader in readers:
            reader.kill()
            reader.wait()
    run("systemctl", "start", SERVICE)
    check_bytes(MOUNTPOINT, TRIALS, USER)


def upgrades() -> None:
    """install-systemd installs again over what it installed, and the mount runs the new one."""
    before = property_of(SERVICE, "MainPID")
    run(CLONE / "scripts/install-systemd", env=NO_INDEX)
    assert is_another(before)
    check_bytes(MOUNTPOINT, TRIALS, USER)


def reloads() -> None:
    """systemctl reload has the mount ask for newer tables, and it goes on."""
    before = property_of(SERVICE, "MainPID")
    run("systemctl", "reload", SERVICE)
    check_bytes(MOUNTPOINT, TRIALS, USER)
    assert property_of(SERVICE, "MainPID") == before


def refuses_bad_input() -> None:
    """What is wrong in a file is told in one sentence, and the unit does not restart."""
    password = Path("/etc/onefs/open.password")
    password.write_text("secret\n")
    password.chmod(0o644)
    Path("/srv/a-file").write_text("")
    root_owned = Path("/var/cache/onefs-of-root")
    root_owned.mkdir(mode=0o700)
    good = settings(Path("/mnt/bad"), "bad")
    cases = {
        "unknown-key": (good + "chache_size = 3\n", "chache_size"),
        "wrong-type": (good + 'max_transfers = "many"\n', "max_transfers"),
        "no-toml": (good + "allow_other = \n", "TOML"),
        "open-password": (good + f'alyx_user = "me"\nalyx_password_file = "{password}"\n', str(password)),
        "no-source": (good.replace(f'source = "{SOURCE}"\n', ""), "source"),
        "missing-source": (good.replace(SOURCE, "/srv/nothing"), "/srv/nothing"),
        "mountpoint-on-file": (good.replace("/mnt/bad", "/srv/a-file"), "/srv/a-file"),
        "cache-of-another": (good.replace("/var/cache/onefs/bad", str(root_owned)), str(root_owned)),
        "no-such-user": (good.replace('run_as = "onefs"', 'run_as = "nobody-here"'), "nobody-here"),
    }
    wrong = [f"{name}: {problem}" for name, case in cases.items() if (problem := problem_with(name, *case))]
    wrong += [f"no-file: {problem}" for problem in [problem_with("no-file", "", "no-file")] if problem]
    assert not wrong, "\n".join(wrong)


def problem_with(name: str, text: str, wanted: str) -> str:
    """Start a system mount whose file is wrong; "" if it is refused as it should be."""
    unit = f"onefs@{name}.service"
    if text:
        Path(f"/etc/onefs/{name}.toml").write_text(text)
    started = attempt("systemctl", "start", unit)
    state = run("systemctl", "show", "--property=ActiveState,NRestarts", unit)
    return difference(started.returncode, state, lines_of(f"_SYSTEMD_UNIT={unit}"), wanted)


def difference(code: int, state: str, lines: list[str], wanted: str) -> str:
    """How the start of a unit differs from a failure that is told in one sentence, with that word, and not repeated."""
    if code == 0:
        return "it started"
    if sorted(state.split()) != ["ActiveState=failed", "NRestarts=0"] or len(lines) != 1 or wanted not in lines[0]:
        return f"it is {state.split()}, and said {lines}"
    print(f"    {lines[0]}")
    return ""


def mounts_for_user() -> None:
    """The user unit mounts in the user's own manager, for who is given no root."""
    run("loginctl", "enable-linger", USER)
    wait_until(lambda: property_of(f"user@{uid_of(USER)}.service", "ActiveState") == "active", "the user's manager")
    write_for_user("lab", f'mountpoint = "{USERS_MOUNTPOINT}"\n')
    run_in_user_manager("systemctl", "--user", "enable", "--now", "onefs-user@lab.service")
    assert is_mounted(USERS_MOUNTPOINT)
    check_bytes(USERS_MOUNTPOINT, TRIALS, USER)
    run_in_user_manager("systemctl", "--user", "stop", "onefs-user@lab.service")
    assert not is_mounted(USERS_MOUNTPOINT)


def refuses_bad_machine() -> None:
    """What a user's mount lacks on the machine is told in one sentence too, and the unit does not restart."""
    fusermount, mtab = Path("/usr/bin/fusermount3"), Path("/etc/mtab")
    mountpoint = 'mountpoint = "/home/alice/bad"\n'
    wrong = {"allow-other": problem_for_user("allow-other", f"{mountpoint}allow_other = true\n", "user_allow_other")}
    fusermount.chmod(0o755)
    wrong["no-setuid"] = problem_for_user("no-setuid", mountpoint, "fusermount3")
    fusermount.chmod(0o4755)
    mtab.rename("/etc/mtab.away")
    wrong["no-mtab"] = problem_for_user("no-mtab", mountpoint, "/etc/mtab")
    Path("/etc/mtab.away").rename(mtab)
    assert not any(wrong.values()), "\n".join(f"{name}: {problem}" for name, problem in wrong.items() if problem)


def problem_for_user(name: str, text: str, wanted: str) -> str:
    """Start a user's mount that cannot be; "" if it is refused as it should be."""
    unit = f"onefs-user@{name}.service"
    write_for_user(name, text)
    started = attempt_in_user_manager("systemctl", "--user", "start", unit)
    state = attempt_in_user_manager("systemctl", "--user", "show", "--property=ActiveState,NRestarts", unit).stdout
    attempt_in_user_manager("systemctl", "--user", "stop", unit)
    return difference(started.returncode, state, lines_of(f"_SYSTEMD_USER_UNIT={unit}"), wanted)


def write_for_user(name: str, text: str) -> None:
    """Write the user's file of a mount of the archive."""
    own = Path(f"/home/{USER}/.config/onefs/{name}.toml")
    run("mkdir", "-p", own.parent, user=USER)
    own.write_text(f'source = "{SOURCE}"\ndata_url = "{DATA_URL}"\n{text}')


def takes_network_away() -> None:
    """The next boot has no network: the archive's server is not started."""
    run("systemctl", "disable", "archive.service")
    check_journal()


# ── The second boot


def is_there_without_network() -> None:
    """Mounted after a boot without a network: what is cached is read, and what is not says why."""
    assert attempt("systemctl", "is-active", "archive.service").returncode != 0
    assert property_of(SERVICE, "ActiveState") == "active"
    assert property_of(SERVICE, "NRestarts") == "0"
    check_bytes(MOUNTPOINT, TRIALS, USER)
    said = attempt("cat", MOUNTPOINT / WHEEL, user=USER)
    assert said.returncode != 0 and "No route to host" in said.stdout, said.stdout


def network_comes() -> None:
    """Once there is a network, files are fetched."""
    run("systemctl", "enable", "--now", "archive.service")
    run("onefs", "retry", MOUNTPOINT)
    check_bytes(MOUNTPOINT, WHEEL, USER)


def has_line_in_fstab() -> None:
    """A line in /etc/fstab is a mount at first access from the next boot on."""
    AT_ACCESS.mkdir()
    options = "_netdev,nofail,x-systemd.automount,allow_other,run_as=onefs,cache_dir=/var/cache/onefs/at-access"
    with Path("/etc/fstab").open("a") as file:
        file.write(f"{SOURCE} {AT_ACCESS} onefs {options},data_url={DATA_URL} 0 0\n")


# ── The third boot


def is_there_with_network() -> None:
    """Mounted after a boot, and the journal is clean."""
    assert property_of(SERVICE, "ActiveState") == "active"
    check_bytes(MOUNTPOINT, TRIALS, USER)
    check_journal()


def mounts_at_access() -> None:
    """The line in /etc/fstab mounts when a user first enters its folder."""
    assert not is_mounted(AT_ACCESS), "mounted already"
    if not Path("/dev/autofs").exists():
        print("    NOT TRIED: this kernel has no autofs. By mount(8), from the same line:")
        run("mount", AT_ACCESS)
    check_bytes(AT_ACCESS, TRIALS, USER)
    assert is_mounted(AT_ACCESS)


def is_there_for_user() -> None:
    """The user's own mount came up with the user's manager."""
    wait_until(lambda: is_mounted(USERS_MOUNTPOINT), "the user's mount")
    check_bytes(USERS_MOUNTPOINT, TRIALS, USER)


def is_removed() -> None:
    """install-systemd --remove unmounts all, and leaves nothing but settings and what was fetched."""
    assert attempt("systemctl", "start", "onefs@mistyped").returncode != 0
    said = run(CLONE / "scripts/install-systemd", "--remove")
    assert "/etc/onefs" in said and "/var/cache/onefs" in said and "/etc/fstab" in said, said
    assert not [line for line in Path("/proc/self/mounts").read_text().splitlines() if "fuse.onefs" in line]
    assert not attempt("pgrep", "--full", "/opt/onefs/").stdout, run("pgrep", "--full", "--list-full", "/opt/onefs/")
    left = run("find", "/opt", "/usr", "/etc", "/var", "-iname", "*onefs*", "-not", "-path", "/var/log/*").split()
    assert [path for path in left if not path.startswith(("/etc/onefs", "/var/cache/onefs", "/var/lib/onefs"))] == [], (
        left
    )
    assert Path("/etc/onefs/lab.toml").exists()
    run(CLONE / "scripts/install-systemd", "--remove", "--purge")
    assert not Path("/etc/onefs").exists() and not Path("/var/cache/onefs").exists()
    assert attempt("id", "onefs").returncode != 0


def uid_of(user: str) -> int:
    """A user's number."""
    return int(run("id", "-u", user))


BOOTS: list[list[Callable[[], None]]] = [
    [
        installs,
        serves_archive,
        units_verify,
        mounts,
        upgrades,
        reloads,
        restarts,
        stops_when_busy,
        refuses_bad_input,
        mounts_for_user,
        refuses_bad_machine,
        takes_network_away,
    ],
    [is_there_without_network, network_comes, restarts_when_stuck, has_line_in_fstab],
    [is_there_with_network, mounts_at_access, is_there_for_user, is_removed],
]


def check_all(checks: Iterable[Callable[[], None]]) -> None:
    """Run the checks of one boot, and note those that fail."""
    for check in checks:
        print(f"  {check.__doc__}")
        begun = f"@{time.time():.3f}"
        try:
            check()
        except Exception:  # noqa: BLE001 - reported, and the other checks go on
            print("  FAILED:", traceback.format_exc())
            print(attempt("journalctl", f"--since={begun}", "--lines=40", "--output=short-precise").stdout)
            with FAILED.open("a") as file:
                file.write(f"{check.__name__}\n")


def main() -> None:
    """Run the checks of this boot, and boot again, or end the machine after the last."""
    boots_done = int(BOOTS_DONE.read_text()) if BOOTS_DONE.exists() else 0
    if not boots_done:
        run("useradd", "--create-home", "--shell", "/bin/bash", USER)
    print(f"── Boot {boots_done + 1}")
    check_all(BOOTS[boots_done])
    BOOTS_DONE.write_text(str(boots_done + 1))
    if boots_done + 1 < len(BOOTS):
        run("systemctl", "reboot")
    else:
        print(f"FAILED: {', '.join(FAILED.read_text().split())}" if FAILED.exists() else "All of it passed.")
        run("systemctl", "poweroff")


if __name__ == "__main__":
    main()
