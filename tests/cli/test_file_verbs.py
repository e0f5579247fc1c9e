"""`onefs fetch`, `pin`, `unpin`, `evict` and `verify` as a user types them, on a mount."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from archives import MADE_SESSION, make_tables, on_servers
from lab_members import MEMBERS, as_member
from mounted import ONEFS, Mounted, run_onefs
from servers import Fault, FaultServer
from waiting import wait_until

from onefs.catalogue.records import Dataset
from onefs.cli import following
from onefs.cli.main import run
from onefs.fuse import mounting

FILES = {
    f"alf/probe{folder}/a{number}.times.npy": b"x" * (1000 * number + 1) for folder in range(2) for number in range(3)
}
NAMES = list(FILES)
LARGE = "raw/recording.raw.cbin"
SESSION_BYTES = sum(map(len, FILES.values()))
Archive = tuple[Mounted, FaultServer, dict[str, Dataset]]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    home = tmp_path_factory.mktemp("verbs")
    datasets = make_tables(home / "tables", FILES)
    with FaultServer() as server:
        for name, data in FILES.items():
            server.put(on_servers(datasets[name]), data)
        with Mounted(home / "tables", home, "--data-url", server.url) as mount:
            yield mount, server, datasets


@pytest.fixture
def mount(archive: Archive) -> Mounted:
    """The mount, with nothing in its cache."""
    mount = archive[0]
    done("unpin", mount.path)
    done("evict", mount.path)
    return mount


def done(*words: str | Path, code: int = 0, folder: Path | None = None) -> tuple[str, str]:
    """Run a verb to its end, in this process, which need not be started anew; what it said, and on standard error."""
    with (
        redirect_stdout(StringIO()) as said,
        redirect_stderr(StringIO()) as failures,
        chdir(folder or Path.cwd()),
    ):
        ended = run([*map(str, words)])
    assert ended == code, (said.getvalue(), failures.getvalue())
    return said.getvalue(), failures.getvalue()


def jobs(*words: str | Path, code: int = 0) -> dict[str, Any]:
    """The one job that a verb tells of as JSON."""
    (job,) = json.loads(done(*words, "--json", code=code)[0])
    assert isinstance(job, dict)
    return job


def test_a_dry_run_tells_the_sizes_and_fetches_nothing(archive: Archive, mount: Mounted) -> None:
    folder = mount.path / MADE_SESSION
    done("fetch", folder / NAMES[1])
    before = archive[1].requests()
    told = json.loads(done("fetch", "--dry-run", "--json", folder)[0])
    assert [file["path"] for file in told["files"]] == [f"{MADE_SESSION}/{name}" for name in NAMES]
    assert [file["size_bytes"] for file in told["files"]] == [len(FILES[name]) for name in NAMES]
    assert [file["is_cached"] for file in told["files"]] == [name == NAMES[1] for name in NAMES]
    assert (told["total_files"], told["total_bytes"]) == (6, SESSION_BYTES)
    assert (told["cached_files"], told["cached_bytes"]) == (1, len(FILES[NAMES[1]]))
    text = done("fetch", "--dry-run", f"{folder}/**/a1*", folder / NAMES[0])[0]
    assert (
        text.splitlines()[-1] == "3 files, 2.0 kB; 1.0 kB of it to be fetched; in the cache already: 1 file (1.0 kB)."
    )
    assert archive[1].requests() == before
    assert "matches" in done("fetch", "--dry-run", f"{folder}/**/nothing*", code=1)[1]


def test_files_are_fetched_by_path_and_by_pattern(mount: Mounted) -> None:
    folder = mount.path / MADE_SESSION
    said, _ = done("fetch", folder / NAMES[0])
    assert said == f"fetch {MADE_SESSION}/{NAMES[0]}: 1 fetched (1 B).\n"
    done("fetch", "alf/*/a1.*", folder=folder)
    assert [mount.xattr(f"{MADE_SESSION}/{name}", "state") == "verified" for name in NAMES] == [
        True, True, False, False, True, False,
    ]  # fmt: skip
    job = jobs("fetch", "--mount", mount.path, "lab/**/a2*", MADE_SESSION + "/alf/probe0")
    assert job["files"] == {"cached": 2, "fetched": 2}
    assert job["command"] == "fetch lab/**/a2* and 1 more"
    assert job["sentence"].startswith("fetch lab/**/a2* and 1 more: 2 in the cache already")


def test_what_fails_is_a_sentence_and_an_exit_code(archive: Archive, mount: Mounted) -> None:
    _, server, datasets = archive
    server.fault(on_servers(datasets[NAMES[2]]), Fault(status=404))
    folder = mount.path / MADE_SESSION
    ended = run_onefs("fetch", folder / "alf" / "probe0")
    assert ended.returncode == 1
    said, failures = ended.stdout, ended.stderr
    assert said == f"fetch {MADE_SESSION}/alf/probe0: 1 failed, 2 fetched (1.0 kB).\n"
    assert failures.count("\n") == 1
    assert failures.startswith(f"onefs: {MADE_SESSION}/{NAMES[2]} cannot be fetched: ")
    job = jobs("fetch", folder / NAMES[2], code=1)
    assert [failure["path"] for failure in job["failures"]] == [f"{MADE_SESSION}/{NAMES[2]}"]
    server.fault(on_servers(datasets[NAMES[2]]))
    done("fetch", folder / NAMES[2])


def test_many_files_that_fail_for_one_cause_are_one_line(archive: Archive, mount: Mounted) -> None:
    _, server, datasets = archive
    for name, status in zip(NAMES, (404, 404, 404, 403), strict=False):
        server.fault(on_servers(datasets[name]), Fault(status=status))
    folder = mount.path / MADE_SESSION
    _, failures = done("fetch", folder, code=1)
    many, one = sorted(failures.splitlines(), key=lambda line: "failed for one cause" not in line)
    assert many.startswith("onefs: 3 files failed for one cause (--verbose lists them). The first: lab/Subjects/")
    assert "404" in many
    assert f"{NAMES[3]} cannot be fetched" in one
    assert done("fetch", "--verbose", folder, code=1)[1].count("cannot be fetched") == 4
    (job,) = json.loads(done("fetch", "--json", folder, code=1)[0])
    assert sorted(cause["files"] for cause in job["causes"]) == [1, 3]
    assert len(job["failures"]) == 4
    for name in NAMES[:4]:
        server.fault(on_servers(datasets[name]))
    done("retry", folder)


def test_the_date_and_the_limit_in_force_are_told(mount: Mounted) -> None:
    for verb, before, word, after in (("as-of", "none", "2024-04-01", "2024-04-01"), ("qc", "FAIL", "pass", "PASS")):
        assert done(verb, mount.path)[0] == f"{before}\n"
        assert after in done(verb, word, mount.path)[0]
        assert done(verb, mount.path)[0] == done(verb, folder=mount.path)[0] == f"{after}\n"
        done(verb, before, mount.path)
    assert done("as-of", folder=mount.path)[0] == "none\n"


def test_wrong_words_are_answered_with_the_command_line(mount: Mounted) -> None:
    for words, usage in [
        (["as-of", "two\nlines", mount.path], "Write: onefs as-of [DATE|none] [PATH]"),
        (["qc", "BAD", mount.path], "Write: onefs qc [NOT_SET|PASS|WARNING|FAIL|CRITICAL] [PATH]"),
        (["qc", "PASS", mount.path, "x"], "Write: onefs qc ["),
        (["mode", "auto", mount.path, "x"], "Write: onefs mode [local|auto|refresh|remote] [PATH]"),
        (["record", "on", "--pid", "1", "--mount", mount.path], "Give --label NAME, too."),
        (["fetch", "--mount", mount.path, "two\nlines"], "contains a line break"),
        (["stop", "999", "--mount", mount.path], "onefs status"),
    ]:
        assert usage in done(*words, code=2)[1]


def test_names_are_escaped_in_sentences(mount: Mounted) -> None:
    for verb in ("fetch", "pin", "unpin", "evict"):
        said, failures = done(verb, f"{mount.path}/\x1b[2J\u202e", code=1)
        assert "\\x1b[2J\\u202e" in said + failures
        assert "\x1b" not in said + failures


def test_pinned_files_are_listed_and_stay(mount: Mounted) -> None:
    folder = mount.path / MADE_SESSION
    assert done("pin", "--mount", mount.path)[0] == "Nothing is pinned.\n"
    done("pin", folder / NAMES[0])
    assert done("pin", "--mount", mount.path)[0] == f"{MADE_SESSION}/{NAMES[0]}\n"
    assert json.loads(done("pin", "--mount", mount.path, "--json")[0]) == [f"{MADE_SESSION}/{NAMES[0]}"]
    assert mount.xattr(f"{MADE_SESSION}/{NAMES[0]}", "state") == "verified"
    assert "is pinned. Unpin it first" in done("evict", folder / NAMES[0], code=1)[1]
    assert done("evict", "all", "--mount", mount.path)[0] == "evict all: 1 pinned, so kept.\n"
    assert done("unpin", folder / NAMES[1])[0] == f"{folder / NAMES[1]}: nothing there was pinned.\n"
    assert done("unpin", folder)[0] == f"{folder}: 1 file unpinned.\n"
    assert done("evict", folder)[0].startswith(f"evict {MADE_SESSION}: 1 evicted (")
    assert mount.xattr(f"{MADE_SESSION}/{NAMES[0]}", "state") == "remote"


def test_what_decayed_is_found(archive: Archive, mount: Mounted) -> None:
    done("fetch", mount.path / MADE_SESSION)
    file = mount.cache / MADE_SESSION / NAMES[2]
    status = file.stat()
    with file.open("r+b") as stream:
        stream.write(b"y")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    said, failures = done("verify", "--mount", mount.path, code=1)
    assert (
        said == f"verify: 1 wrong, moved to quarantine (2.0 kB), 5 verified ({(SESSION_BYTES - 2001) / 1000:.1f} kB).\n"
    )
    assert archive[2][NAMES[2]].md5 in failures
    assert "moved to quarantine: the next open fetches it again" in failures
    assert (mount.path / MADE_SESSION / NAMES[2]).read_bytes() == FILES[NAMES[2]]
    assert jobs("verify", mount.path / MADE_SESSION)["files"] == {"verified": 6}


def test_in_mode_local_nothing_is_fetched(mount: Mounted) -> None:
    done("mode", "local", mount.path)
    try:
        _, failures = done("fetch", mount.path / MADE_SESSION, code=1)
        assert failures == "onefs: Mode local fetches nothing. Switch to mode auto first: onefs mode auto.\n"
    finally:
        done("mode", "auto", mount.path)


def test_wrong_words(archive: Archive, mount: Mounted, tmp_path: Path) -> None:
    source = ["--source", mount.source, "--cache-dir", tmp_path / "cache"]
    server = ["--data-url", archive[1].url]
    for words, code, what in [
        (["fetch", *source, *server, "nothing/*.npy"], 1, "No file in the catalogue matches nothing/*.npy"),
        (["fetch", *source, "lab", "--mode", "local"], 1, "a folder without a server"),
        (["fetch", *source, *server, "lab", "--mode", "local"], 1, "Mode local fetches nothing. Give --mode auto."),
        (["fetch"], 2, "PATTERN"),
        (["fetch", ""], 2, "it is empty"),
        (["fetch", tmp_path], 1, "is in no onefs mount"),
        (["fetch", mount.path / "nothing"], 1, "nothing is not in the catalogue"),
        (["fetch", mount.path, "--cache-dir", tmp_path], 2, "--cache-dir is a setting of the mount"),
        (["fetch", "--source", "demo", "--mount", mount.path, "x"], 2, "Give one of them"),
        (["fetch", "--source", tmp_path / "none", "x"], 1, "is no folder on this machine"),
        (["evict"], 2, "PATTERN"),
        (["unpin"], 2, "PATTERN"),
        (["verify", mount.path / "nothing"], 1, "nothing is not in the catalogue"),
    ]:
        said, failures = done(*words, code=code)
        assert what in failures
        assert said == ""
        assert failures.startswith("Usage: ") or failures.count("\n") == 1


@pytest.mark.needs_root
def test_a_mount_of_somebody_else_is_told_as_such(mount: Mounted) -> None:
    for words in (["fetch", "--dry-run", mount.path], ["pin", "--mount", mount.path], ["status", mount.path]):
        command = as_member(MEMBERS[0], *ONEFS, *words)
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert f"{mount.path} is for the user alone who mounted it." in " ".join((ended.stdout + ended.stderr).split())
        assert ended.returncode == (words[0] != "status")


def test_the_log_is_shown_and_its_level_set(mount: Mounted) -> None:
    job = jobs("fetch", mount.path / MADE_SESSION)
    assert job["sentence"] in done("log", "--mount", mount.path)[0]
    assert "now logs at level warning" in done("log", "warning", "--mount", mount.path)[0]
    try:
        job = jobs("evict", mount.path / MADE_SESSION / "alf")
        assert job["sentence"] not in done("log", "--mount", mount.path)[0]
        assert "'loud' is not a level" in done("log", "loud", "--mount", mount.path, code=2)[1]
    finally:
        done("log", "info", "--mount", mount.path)


def begun(mount: Mounted, *words: str) -> "subprocess.Popen[str]":
    """A verb in a process of its own, once the mount tells that it is asked for."""

    def askers() -> int:
        return sum(job["askers"] for job in mount.status()["jobs"] if job["ended"] is None)

    before = askers()
    process = subprocess.Popen([*ONEFS, *words], stderr=subprocess.PIPE, text=True)
    wait_until(lambda: askers() > before, f"{words} has begun")
    return process


def test_a_fetch_that_two_asked_for_ends_once_both_have_gone(archive: Archive, mount: Mounted) -> None:
    _, server, datasets = archive
    server.fault(on_servers(datasets[NAMES[1]]), Fault(stall_after=10))
    words = ["fetch", str(mount.path / MADE_SESSION / NAMES[1])]
    with begun(mount, *words) as first, begun(mount, *words) as second:
        (job,) = (job for job in mount.status()["jobs"] if job["ended"] is None)
        assert f"goes on, as somebody else asked for the same. To end it all the same: onefs stop {job['number']}" in (
            interrupted(first)
        )
        assert "was stopped" in interrupted(second)
    assert mount.status()["jobs"][-1]["stage"] == "stopped"
    with begun(mount, *words) as process:
        number = mount.status()["jobs"][-1]["number"]
        assert "ended early" in done("stop", str(number), "--mount", mount.path)[0]
        assert "ended early" in process.communicate(timeout=60)[1]
        assert process.returncode == 1
    assert "No job" in done("stop", str(number), "--mount", mount.path, code=2)[1]
    server.fault(on_servers(datasets[NAMES[1]]))
    server.release()
    done("fetch", mount.path / MADE_SESSION / NAMES[1])


def slow_archive(home: Path, server: FaultServer) -> Dataset:
    """An archive of one file that takes long to come, of which most has come after a moment."""
    data = bytes(range(256)) * 8192
    datasets = make_tables(home / "tables", {**FILES, LARGE: data})
    for name, content in {**FILES, LARGE: data}.items():
        server.put(on_servers(datasets[name]), content)
    server.fault(on_servers(datasets[LARGE]), Fault(stall_after=1_500_000))
    return datasets[LARGE]


def partial_bytes(cache: Path, dataset: Dataset) -> int:
    """How much of a file that is being fetched is on the disk."""
    return sum(512 * path.stat().st_blocks for path in cache.rglob(f"partial/{dataset.id}*"))


def interrupted(process: "subprocess.Popen[str]") -> str:
    """Interrupt a verb as Ctrl-C does; what it said on standard error."""
    process.send_signal(signal.SIGINT)
    _, failures = process.communicate(timeout=60)
    assert process.returncode == 130
    return failures


def test_an_interrupted_fetch_ends_and_goes_on_later(tmp_path: Path) -> None:
    with FaultServer() as server:
        dataset = slow_archive(tmp_path, server)
        flags = ("--data-url", server.url, "--whole-file-max", "512K", "--block-size", "64K")
        with Mounted(tmp_path / "tables", tmp_path, *flags) as mount:
            words = [*ONEFS, "fetch", str(mount.path / MADE_SESSION)]
            terminal, standard_error = os.openpty()
            with subprocess.Popen(words, stderr=standard_error) as process:
                os.close(standard_error)
                shown = b""
                while b"6 of 7 files" not in shown:  # a line that moves
                    shown += os.read(terminal, 1000)
                process.send_signal(signal.SIGINT)
                while b"the same again goes on" not in shown:
                    shown += os.read(terminal, 1000)
                assert process.wait(60) == 130
            os.close(terminal)
            (job,) = mount.status()["jobs"]
            assert (job["stage"], job["files"]) == ("stopped", {"fetched": 6})
            server.fault(on_servers(dataset))
            server.release()
            assert jobs("fetch", mount.path / MADE_SESSION)["files"] == {"cached": 6, "fetched": 1}
            assert mount.xattr(dataset.path, "state") == "verified"


def test_a_daemon_that_is_silent_for_a_while_is_waited_for(mount: Mounted, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[mounting.Health] = []

    def look(mountpoint: Path) -> mounting.Health:
        """The first look finds a daemon that is stopped."""
        if not seen:
            os.kill(mount.pid, signal.SIGSTOP)
            wait_until(lambda: "\nState:\tT" in Path(f"/proc/{mount.pid}/status").read_text(), "it has stopped")
        seen.append(mounting.health(mountpoint))
        os.kill(mount.pid, signal.SIGCONT)
        return seen[-1]

    monkeypatch.setattr(mounting, "_ANSWER_S", 1)
    monkeypatch.setattr(following, "health", look)
    assert jobs("fetch", mount.path / MADE_SESSION)["files"] == {"fetched": len(NAMES)}
    assert seen[0] is mounting.Health.SILENT


def test_a_mount_that_ends_is_told_to_who_follows_it(tmp_path: Path) -> None:
    with FaultServer() as server:
        slow_archive(tmp_path, server)
        with Mounted(tmp_path / "tables", tmp_path, "--data-url", server.url) as mount:
            with begun(mount, "fetch", str(mount.path)) as process:
                mount.stop()
                _, failures = process.communicate(timeout=60)
            assert process.returncode == 1
            assert failures.startswith(f"onefs: {mount.path} ")  # how it ended depends on the moment
            assert failures.count("\n") == 1
            assert "ended early" in mount.log()


@pytest.mark.needs_mount
def test_without_fuse(tmp_path: Path) -> None:
    """There is no /dev/fuse, and what talks to it cannot even be imported."""
    (tmp_path / "without" / "pyfuse3").mkdir(parents=True)
    (tmp_path / "without" / "pyfuse3" / "__init__.py").write_text("raise ImportError('there is no FUSE here')")
    hidden = ["unshare", "--map-root-user", "--mount", "sh", "-c", 'mount --bind /dev/null /dev/fuse; exec "$@"', "sh"]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'without'}:{os.environ.get('PYTHONPATH', '')}"}
    environment |= {"XDG_CACHE_HOME": str(tmp_path / "xdg"), "XDG_CONFIG_HOME": str(tmp_path / "config")}

    def start(*words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*hidden, *ONEFS, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    cache = tmp_path / "cache"
    with FaultServer() as server:
        dataset = slow_archive(tmp_path, server)
        source = ["--source", str(tmp_path / "tables"), "--data-url", server.url, "--cache-dir", str(cache)]
        source += ["--block-size", "64K"]
        with start("mount", str(tmp_path / "tables"), str(tmp_path)) as process:
            assert process.wait(60) == 1  # so there is none indeed
        with start("fetch", *source, "**/a[01].*", MADE_SESSION, "--dry-run", "--json") as process:
            told = json.loads(process.communicate(timeout=60)[0])
            assert (told["total_files"], told["cached_files"]) == (7, 0)
            assert told["total_bytes"] == SESSION_BYTES + (dataset.size_bytes or 0)
        with start("fetch", *source, "lab/**") as process:
            wait_until(lambda: partial_bytes(cache, dataset) >= 1_200_000, "most has come")
            wait_until(lambda: all((cache / MADE_SESSION / name).exists() for name in FILES), "six are here")
            assert "What is whole stays; the same again goes on from there." in interrupted(process)
        assert not (cache / dataset.path).exists()
        server.fault(on_servers(dataset))
        with start("fetch", *source, "lab/**", "--json") as process:
            (job,) = json.loads(process.communicate(timeout=60)[0])
            assert (process.returncode, job["files"]) == (0, {"cached": 6, "fetched": 1})
        assert (cache / dataset.path).stat().st_size == dataset.size_bytes
        assert server.bytes_sent(on_servers(dataset)) <= 1.2 * (dataset.size_bytes or 0)


def test_ctrl_c_while_a_source_is_opened_says_that_nothing_was_fetched(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def interrupted_there(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("onefs.daemon.fetching.fetching", interrupted_there)
    assert run(["fetch", "--source", str(tmp_path), "lab/**"]) == 130
    assert f"onefs: stopped while {tmp_path} was being opened, before the first file." in capsys.readouterr().err


def test_what_is_logged_of_a_name_moves_no_cursor_where_nothing_is_mounted(tmp_path: Path) -> None:
    name = "alf/\x1b[2Ja.times.npy"
    datasets = make_tables(tmp_path / "tables", {name: b"x"}, md5="0" * 32)
    with FaultServer() as server:
        server.put(on_servers(datasets[name]), b"x")
        flags = ("--data-url", server.url, "--verify", "warn", "--cache-dir", tmp_path / "cache")
        done = run_onefs("fetch", "--source", tmp_path / "tables", *flags, MADE_SESSION)
    assert done.returncode == 0, done.stderr
    assert "\\x1b[2Ja.times.npy is served though it differs from the catalogue." in done.stderr
    assert "\x1b" not in done.stderr + done.stdout
