"""`onefs replay` on real mounts and servers: the bytes that an analysis read, though the archive has moved on."""

import errno
import io
import json
import os
import signal
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
import pytest
from alyx_archive import AlyxArchive
from alyx_mounts import errno_of, mount_of, tree_of
from archives import MADE_SESSION, make_tables, on_servers
from mounted import ONEFS, Mounted, run_onefs
from one_of_tables import one_of
from privileges import remount
from recordings_of import entry_of, write_manifest
from servers import Fault, FaultServer
from waiting import PATIENCE_S, wait_until

from onefs.catalogue.records import QC
from onefs.catalogue.snapshot import load_snapshot
from onefs.catalogue.tables import write_tables
from onefs.cli.main import run
from onefs.demo.server import DemoServer

SESSION = "lab/Subjects/mouse/2024-01-02/001"
SAME, NEWER, CHANGED, MOVED, UNLISTED, GONE = (
    f"{SESSION}/alf/{name}"
    for name in ("a.same.npy", "a.newer.npy", "a.changed.npy", "a.moved.npy", "a.unlisted.npy", "a.gone.npy")
)
OLDER = f"{SESSION}/alf/#2023-01-01#/a.older.npy"
EDITION = f"{SESSION}/alf/#2025-01-01#/a.newer.npy"
PLACE = f"{SESSION}/alf/probe00/a.moved.npy"
FATES = {
    SAME: "same",
    NEWER: "newer default",
    CHANGED: "changed",
    MOVED: "same",
    UNLISTED: "gone",
    GONE: "gone",
    OLDER: "same",
}


def run_here(*words: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run one command line that mounts nothing, without the cost of a new process."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name, value in environment.items():
            patch.setenv(name, value)
        code = run(list(map(str, words)))
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def npy(folder: Path, *values: float) -> bytes:
    """The bytes of a file that ONE can load."""
    np.save(folder / "made.npy", np.array(values))
    return (folder / "made.npy").read_bytes()


class Replayed(Mounted):
    """A mount of a manifest, with the cache and the login of a mount of its source."""

    def __init__(self, manifest: Path, of: Mounted, home: Path) -> None:
        super().__init__(manifest, home, *of.flags, **of.environment)
        self.cache = of.cache
        self.said = ""

    def start(self) -> Self:
        """Mount and wait until it is usable."""
        self.path.mkdir(parents=True, exist_ok=True)
        done = run_onefs(
            "replay", self.source, "--mount", self.path, "--cache-dir", self.cache, *self.flags, **self.environment
        )
        assert done.returncode == 0, done.stderr + self.log()
        self.said = done.stderr
        self.pid = self.status()["pid"]
        return self


class Analysis:
    """What was read of an archive before it changed: one file by a mount, all of it by its manifest."""

    def __init__(self, archive: AlyxArchive, server: DemoServer, home: Path) -> None:
        self.archive = archive
        self.mount = mount_of(server, home, ONEFS_CACHE_EXPIRY="365d")
        self.bytes = {path: npy(home, number) for number, path in enumerate(FATES)}
        archive.put_all(self.bytes)
        archive.publish()
        with self.mount as mount:
            assert (mount.path / CHANGED).read_bytes() == self.bytes[CHANGED]
        entries = [entry_of(archive.datasets[path], server.url) for path in FATES]
        self.manifest = write_manifest(home / "manifest.jsonl", entries)
        self.gone_on(home)

    def gone_on(self, home: Path) -> None:
        """The archive's maintainers publish a newer edition, change, move and take away files."""
        archive = self.archive
        archive.datasets[NEWER] = replace(archive.datasets[NEWER], default_revision=False)
        archive.put(EDITION, npy(home, 77))
        archive.put(CHANGED, npy(home, 78))
        archive.rename(MOVED, PLACE)
        archive.remove(GONE)
        del archive.datasets[UNLISTED]
        archive.publish()

    def replay(self, *words: str | Path) -> "subprocess.CompletedProcess[str]":
        """`onefs replay` of the manifest."""
        cache = ("--cache-dir", self.mount.cache, *self.mount.flags)
        return run_here("replay", self.manifest, *cache, *words, **self.mount.environment)


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Analysis]:
    home = tmp_path_factory.mktemp("analysis")
    archive = AlyxArchive(home / "archive")
    archive.put(SAME, b"")
    archive.publish()
    with DemoServer(archive.directory) as server:
        yield Analysis(archive, server, home)


def test_the_check_tells_what_became_of_each(analysis: Analysis) -> None:
    done = analysis.replay()
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    told = {line[15:].split("  (")[0]: line[:15].strip() for line in lines[:-1]}
    assert told == FATES
    notes = dict(zip(FATES, lines, strict=False))
    assert EDITION.removeprefix(f"{SESSION}/") in notes[NEWER]
    assert analysis.archive.datasets[CHANGED].md5 in notes[CHANGED]
    assert PLACE in notes[MOVED]
    assert lines[-1].endswith("3 same, 1 newer default, 1 changed, 2 gone.")
    facts = json.loads(analysis.replay("--check", "--json").stdout)
    assert {each["path"]: each["fate"] for each in facts["datasets"]} == FATES
    assert facts["tables"] in lines[-1]


def test_a_folder_is_handed_over_and_opened_by_one(
    analysis: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "hand over"
    done = analysis.replay("--fetch", folder)
    assert done.returncode == 1
    assert "holds 6 of 7 datasets" in done.stderr
    [gone] = [line for line in done.stderr.splitlines() if f"{GONE} cannot be fetched" in line]
    assert gone.endswith("Ask the archive's maintainers for it as it was.")
    assert "catalogue" not in done.stderr
    rest = set(FATES) - {GONE}
    assert tree_of(folder) - {".onefs/replay.json"} >= rest
    assert {path: (folder / path).read_bytes() for path in rest} == {path: analysis.bytes[path] for path in rest}
    assert {entry.name for entry in folder.iterdir()} == {"lab", "sessions.pqt", "datasets.pqt", ".onefs"}
    before = {path: (folder / path).stat() for path in rest}
    assert "holds 6 of 7" in analysis.replay("--fetch", folder).stderr
    assert {path: (folder / path).stat() for path in rest} == before, "what is there is not fetched again"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        monkeypatch.setenv("HOME", str(tmp_path))
        one = one_of(folder)
        eid = str(analysis.archive.sessions[SESSION].eid)
        for path in rest:
            np.testing.assert_array_equal(one.load_dataset(eid, Path(path).name), np.load(folder / path))
    (tmp_path / "other").mkdir()
    with Mounted(folder, tmp_path / "other") as mount:
        assert tree_of(mount.path) == rest
        assert (mount.path / SAME).read_bytes() == analysis.bytes[SAME]


def test_a_mount_has_the_bytes_that_were_read_and_nothing_else(analysis: Analysis, tmp_path: Path) -> None:
    replayed = Replayed(analysis.manifest, analysis.mount, tmp_path / "replay")
    replayed.environment["ONE_REVISION_LAST_BEFORE"] = "2000-01-01"  # meant for other mounts
    with replayed as mount:
        mount.may_log_errors = True  # switching to a mode without a meaning here
        assert tree_of(mount.path) == set(FATES)
        for path in (SAME, NEWER, CHANGED, MOVED, UNLISTED, OLDER):
            assert (mount.path / path).read_bytes() == analysis.bytes[path], path
            assert mount.xattr(path, "state") == "verified"
        assert errno_of((mount.path / GONE).read_bytes) == errno.EIO
        assert GONE in mount.errors()
        assert errno_of(lambda: (mount.path / SAME).write_bytes(b"")) == errno.EROFS
        assert errno_of(lambda: (mount.path / ".onefs/control").write_text("refresh")) == errno.EINVAL
        assert "tables of a replay" in mount.errors()
        assert errno_of(lambda: (mount.path / ".onefs/mode").write_text("remote")) == errno.EINVAL
        with analysis.mount as plain:  # over the same cache, at the same time
            (plain.path / ".onefs/control").write_text("refresh")
            assert (plain.path / CHANGED).read_bytes() == analysis.archive.file(CHANGED).read_bytes()
            assert tree_of(plain.path) == {SAME, NEWER, EDITION, CHANGED, PLACE, OLDER}


def test_what_the_tables_do_not_list_is_asked_of_the_database(tmp_path: Path) -> None:
    archive = AlyxArchive(tmp_path / "archive")
    archive.put(SAME, b"same")
    archive.publish()
    with DemoServer(archive.directory) as server:
        with mount_of(server, tmp_path, "--cache-expiry", "365d") as mount:
            (mount.path / ".onefs/control").write_text("tables save")
        archive.put(NEWER, b"read in mode remote")
        archive.publish()
        entries = [entry_of(archive.datasets[path], server.url) for path in (SAME, NEWER)]
        words = ("replay", write_manifest(tmp_path / "m.jsonl", entries), "--cache-dir", mount.cache)
        saved = (mount.cache / "datasets.pqt").read_bytes()
        done = run_here(*words, **mount.environment)
        assert (done.returncode, "onefs tables reset" in done.stderr) == (0, True)
        assert "the database does" in done.stdout
        assert (mount.cache / "datasets.pqt").read_bytes() == saved, "what was saved stays"
        server.stop()
        for flags in ((), ("--mode", "local")):
            done = run_here(*words, *flags, **mount.environment)
            assert done.returncode == 1
            assert "1 same, 1 unknown" in done.stdout


# -- from a data server that fails -----------------------------------------------------------------------------------

FILES = {f"alf/b{number}.times.npy": bytes([number]) * 1000 for number in range(5)} | {
    "raw/big.raw.bin": os.urandom(8 << 20)
}
BIG = "raw/big.raw.bin"


class Faulty:
    """A folder of tables whose files are on a server that fails as it is told, and a manifest of all of them."""

    def __init__(self, home: Path, server: FaultServer) -> None:
        self.server = server
        self.tables = home / "tables"
        self.datasets = make_tables(self.tables, FILES)
        for name, dataset in self.datasets.items():
            server.put(on_servers(dataset), FILES[name])
        entries = [entry_of(dataset, self.tables) for dataset in self.datasets.values()]
        self.manifest = write_manifest(home / "manifest.jsonl", entries)
        self.words = ("replay", self.manifest, "--data-url", server.url, "--cache-dir", home / "cache")
        self.environment = {"XDG_CACHE_HOME": str(home / "xdg"), "XDG_CONFIG_HOME": str(home / "config")}

    def replay(self, *words: str | Path) -> "subprocess.CompletedProcess[str]":
        """`onefs replay` of the manifest."""
        return run_here(*self.words, *words, **self.environment)


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[Faulty]:
    with FaultServer() as server:
        yield Faulty(tmp_path, server)


def files_in(folder: Path) -> dict[str, bytes]:
    """The datasets in a folder, by their paths in the session."""
    session = folder / MADE_SESSION
    return {str(path.relative_to(session)): path.read_bytes() for path in session.rglob("*") if path.is_file()}


def is_on_the_way(folder: Path, at_least_bytes: int) -> bool:
    """Whether all files but the big one are there, and some of that."""
    partials = [file.stat().st_size for file in (folder / ".onefs" / "partial").glob("*")]
    return len(files_in(folder)) == len(FILES) - 1 and max(partials, default=0) >= at_least_bytes


def test_a_folder_goes_on_after_a_kill_and_after_the_server_was_away(faulty: Faulty, tmp_path: Path) -> None:
    folder, server = tmp_path / "folder", faulty.server
    big = on_servers(faulty.datasets[BIG])
    server.fault(big, Fault(stall_after=3_000_000))
    words = [*ONEFS, *map(str, faulty.words), "--read-timeout", "10min", "--fetch", str(folder)]
    for count, (number, ending) in enumerate({signal.SIGINT: 130, signal.SIGKILL: -signal.SIGKILL}.items(), 1):
        with subprocess.Popen(words, stderr=subprocess.PIPE, env={**os.environ, **faulty.environment}) as fetching:
            wait_until(partial(is_on_the_way, folder, 2_000_000 * count), "all but one are there")
            fetching.send_signal(number)
            assert b"Traceback" not in fetching.communicate(timeout=PATIENCE_S)[1]
        assert fetching.returncode == ending
    assert BIG not in files_in(folder)
    assert not list(folder.glob("*.pqt"))
    server.stop()
    away = faulty.replay("--fetch", folder)
    assert away.returncode == 1
    assert "holds 5 of 6 datasets. Give the same command again to go on." in away.stderr
    assert "127.0.0.1" in away.stderr
    assert load_snapshot(folder, tmp_path / "index").n_datasets == 6
    server.start()
    server.fault(big)
    done = faulty.replay("--fetch", folder)
    assert done.returncode == 0, done.stderr
    assert files_in(folder) == FILES
    assert server.bytes_sent(big) < 1.5 * len(FILES[BIG]), "what was there before the kill is not fetched again"


def test_what_was_spoilt_in_a_folder_is_had_anew(faulty: Faulty, tmp_path: Path) -> None:
    """By a program that keeps the time of change, by one that does not, and by one that removes."""
    folder = tmp_path / "folder"
    assert faulty.replay("--fetch", folder).returncode == 0
    kept, changed, removed = (folder / MADE_SESSION / name for name in [BIG, *list(FILES)[:2]])
    before = kept.stat()
    with kept.open("r+b") as stream:
        stream.seek(1000)
        stream.write(bytes([FILES[BIG][1000] ^ 1]))
    os.utime(kept, ns=(before.st_atime_ns, before.st_mtime_ns))
    changed.write_bytes(b"!" * 1000)
    os.utime(changed, (0, 0))
    removed.unlink()
    done = faulty.replay("--fetch", folder)
    assert (done.returncode, done.stdout) == (0, f"{folder} holds all {len(FILES)} datasets.\n")
    assert files_in(folder) == FILES
    faulty.server.stop()
    assert faulty.replay("--fetch", folder).returncode == 0
    os.truncate(kept, 1000)
    os.utime(kept, (0, 0))
    done = faulty.replay("--fetch", folder)
    assert done.returncode == 1
    assert "holds 5 of 6" in done.stderr
    assert BIG not in files_in(folder)


def test_wrong_bytes_are_never_handed_over(faulty: Faulty, tmp_path: Path) -> None:
    faulty.server.fault(on_servers(faulty.datasets[BIG]), Fault(wrong_bytes=True))
    faulty.environment["ONEFS_VERIFY"] = "off"  # meant for other mounts
    done = faulty.replay("--fetch", tmp_path / "folder")
    assert done.returncode == 1
    assert f"{BIG} cannot be fetched" in done.stderr
    assert "but it should be 8388608 bytes" in done.stderr
    assert "ask whoever keeps the archive" in done.stderr
    assert "same command again" not in done.stderr
    assert "verify = warn" not in done.stderr
    assert "catalogue" not in done.stderr
    assert files_in(tmp_path / "folder") == {name: data for name, data in FILES.items() if name != BIG}


@pytest.mark.needs_mount
def test_a_full_disk_is_one_sentence_and_nothing_half(faulty: Faulty, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", disk], check=True)
    try:
        done = faulty.replay("--fetch", disk / "folder")
        assert done.returncode == 1
        assert [line for line in done.stderr.splitlines() if line.startswith("onefs:")] == done.stderr.splitlines()[-1:]
        assert "room" in done.stderr
        assert all(data == FILES[name] for name, data in files_in(disk / "folder").items())
        assert not list((disk / "folder").glob("*.pqt"))
        remount(disk, "size=32m")
        assert faulty.replay("--fetch", disk / "folder").returncode == 0
        assert files_in(disk / "folder") == FILES
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_folder_that_holds_other_things_is_refused(faulty: Faulty, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("Chapter 1")
    other = tmp_path / "other"
    assert faulty.replay("--fetch", other).returncode == 0
    lines = faulty.manifest.read_text().splitlines(keepends=True)
    faulty.manifest.write_text("".join(lines[1:]))
    for folder in (mine, other, mine / "thesis.tex", faulty.tables):
        before = sorted(tmp_path.rglob("*"))
        done = faulty.replay("--fetch", folder)
        assert (done.returncode, done.stdout) == (2, "")
        assert str(folder) in done.stderr
        assert sorted(tmp_path.rglob("*")) == before
    assert faulty.replay("--fetch", mine, "--check").returncode == 2
    assert run_here("replay", tmp_path / "nothing.jsonl").returncode == 2


def test_an_option_that_would_change_nothing_is_refused(faulty: Faulty, tmp_path: Path) -> None:
    mount, fetch = ("--mount", tmp_path / "mnt"), ("--fetch", tmp_path / "folder")
    for words in (
        (*mount, "--verify", "warn"),
        (*fetch, "--view", "default"),
        (*fetch, "--file-mode", "0600"),
        ("--check", "--log", "debug"),
        ("--record", "on"),
        ("--foreground",),
        (*fetch, "--json"),
    ):
        done = faulty.replay(*words)
        assert (done.returncode, done.stdout) == (2, "")
        option = next(
            word for word in map(str, words) if word.startswith("--") and word not in ("--mount", "--fetch", "--check")
        )
        assert done.stderr.startswith(f"onefs: {option} ")


def test_a_mount_goes_on_after_its_daemon_was_killed_and_without_the_archives_tables(
    faulty: Faulty, tmp_path: Path
) -> None:
    plain = Mounted(faulty.tables, tmp_path, "--data-url", faulty.server.url)
    replayed = Replayed(faulty.manifest, plain, tmp_path / "replay")
    with replayed as mount:
        assert (mount.path / MADE_SESSION / BIG).read_bytes() == FILES[BIG]
        mount.kill()
        run_onefs("umount", mount.path)
    (faulty.tables / "datasets.pqt").unlink()
    with replayed as mount:
        sent = faulty.server.bytes_sent(on_servers(faulty.datasets[BIG]))
        assert files_in(mount.path) == FILES
        assert faulty.server.bytes_sent(on_servers(faulty.datasets[BIG])) == sent


def test_the_default_name_gives_what_it_gave_when_it_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the archive has another default since, and the manifest has that edition too, read by its own name."""
    archive, home = tmp_path / "archive", tmp_path / "home"
    files = {"alf/h.x.npy": npy(tmp_path, 1), "alf/#2025-01-01#/h.x.npy": npy(tmp_path, 2)}
    plain, newer = files
    datasets = make_tables(archive, files, default_revision=False)
    for name, data in files.items():
        (archive / MADE_SESSION / name).parent.mkdir(parents=True, exist_ok=True)
        (archive / MADE_SESSION / name).write_bytes(data)

    def publish(default: str, created: str) -> None:
        rows = [replace(each, default_revision=name == default) for name, each in datasets.items()]
        tables = load_snapshot(archive, home)
        write_tables(archive, [tables.session(0)], rows, created=created, origin="")

    publish(plain, "2024-01-04 00:00")
    with Mounted(archive, home, "--record", "on") as mount:
        assert (mount.path / ".onefs/default" / MADE_SESSION / plain).read_bytes() == files[plain]
        assert (mount.path / MADE_SESSION / newer).read_bytes() == files[newer]
        assert run_onefs("as-of", "2024-12-31", mount.path).returncode == 0
        (mount.path / ".onefs/control").write_text("record on --label before\n")
        assert (mount.path / MADE_SESSION / plain).read_bytes() == files[plain]
        manifest = tmp_path / "manifest.jsonl"
        manifest.write_bytes((mount.path / ".onefs/recorded/manifest.jsonl").read_bytes())
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert [(each["label"], each["revision"], each["default"]) for each in lines] == [
        ("", "", True),
        ("", "2025-01-01", False),
        ("before", "", True),
    ]
    untouched = run_here("replay", manifest)
    assert (untouched.returncode, "2 same." in untouched.stdout) == (0, True), untouched.stdout
    publish(newer, "2025-01-02 00:00")
    moved_on = run_here("replay", manifest).stdout.splitlines()
    assert [line[:14].strip() for line in moved_on[:2]] == ["newer default", "same"]
    with Replayed(manifest, mount, tmp_path / "replay") as replay:
        assert (replay.path / ".onefs/default" / MADE_SESSION / plain).read_bytes() == files[plain]
        assert files_in(replay.path) == files
    replayed = Replayed(manifest, mount, tmp_path / "replay")
    replayed.flags = ("--view", "default")
    with replayed as replay:
        assert files_in(replay.path) == {plain: files[plain]}
    assert run_here("replay", manifest, "--fetch", tmp_path / "folder").returncode == 0
    assert files_in(tmp_path / "folder") == files
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        monkeypatch.setenv("HOME", str(tmp_path))
        one = one_of(tmp_path / "folder")
        assert one.load_dataset(str(datasets[plain].eid), "h.x.npy").tolist() == [1]


def test_critical_and_unhashed_datasets_are_replayed_too(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    datasets = make_tables(archive, FILES, qc=QC.CRITICAL)
    for name, data in FILES.items():
        (archive / MADE_SESSION / name).parent.mkdir(parents=True, exist_ok=True)
        (archive / MADE_SESSION / name).write_bytes(data)
    entries = [entry_of(dataset, archive, hash="") for dataset in datasets.values()]
    manifest = write_manifest(tmp_path / "manifest.jsonl", entries)
    checked = run_here("replay", manifest)
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.count("by its size alone") == len(FILES)
    with Replayed(manifest, Mounted(archive, tmp_path), tmp_path / "replay") as mount:
        assert files_in(mount.path) == FILES
    (archive / MADE_SESSION / BIG).unlink()
    for dataset in [each for name, each in datasets.items() if name != BIG]:  # found under either name
        (archive / dataset.path).rename(f"{archive}{on_servers(dataset)}")
    done = run_here("replay", manifest, "--fetch", tmp_path / "folder")
    assert done.returncode == 1
    assert "its manifest lists it, but the archive does not say any more where it is" in done.stderr
    assert files_in(tmp_path / "folder") == {name: data for name, data in FILES.items() if name != BIG}
