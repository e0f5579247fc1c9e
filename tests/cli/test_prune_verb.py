"""onefs prune: dry unless told, what it prints on a terminal, in a pipe and as JSON, and its exit codes."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from caches import FOLDER, SESSION, fetched, put, tables
from lab_members import GROUP, MEMBERS, as_member
from mounted import ONEFS
from table_shapes import a_dataset

from onefs.cache.prunable import RECENT
from onefs.cache.store import ContentStore
from onefs.cli.main import run

OURS = f"{FOLDER}/alf/ours.b.npy"
THEIRS = f"{FOLDER}/alf/theirs.b.npy"
WHY = RECENT


class Terminal(io.StringIO):
    """A file that says that it is a terminal."""

    def isatty(self) -> bool:
        """Whether it is one."""
        return True


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache with a file that is listed, one that onefs fetched, and one of another program."""
    cache = tables(tmp_path / "cache")
    put(cache, f"{FOLDER}/alf/a.b.npy", THEIRS)
    fetched(cache, a_dataset(SESSION, "alf/ours.b.npy"))
    return cache


def test_in_a_pipe_paths_are_printed_and_nothing_is_removed(
    cache: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert run(["prune", str(cache)]) == 0
    out, err = capfdbinary.readouterr()
    assert out.decode() == f"{cache}/{OURS}\n"
    assert err.decode().splitlines() == [
        f"onefs: {cache}/{THEIRS} stays: {WHY}.",
        "onefs: 1 file (12 B) not in the tables, 1 stays. Nothing was removed: run it again with --delete.",
    ]
    assert (cache / OURS).exists()
    assert run(["prune", str(cache), "-0"]) == 0
    assert capfdbinary.readouterr().out.decode() == f"{cache}/{OURS}\0"


def test_on_a_terminal_sizes_and_reasons_are_shown(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    assert run(["prune", str(cache)]) == 0
    assert terminal.getvalue().splitlines() == [
        f"      12 B  {cache}/{OURS}",
        f"      12 B  {cache}/{THEIRS}  (stays: {WHY})",
        "1 file (12 B) not in the tables, 1 stays. Nothing was removed: run it again with --delete.",
    ]


def test_json_tells_what_was_removed(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["prune", str(cache), "--json", "--delete"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"path": f"{cache}/{path}", "kind": "file", "size": 12, "stays": why, "removed": not why, "failure": None}
        for path, why in ((OURS, None), (THEIRS, WHY))
    ]
    assert not (cache / OURS).exists()
    assert (cache / THEIRS).exists()
    assert (cache / FOLDER / "alf/a.b.npy").exists()
    assert run(["prune", str(cache), "--delete"]) == 0
    assert capsys.readouterr().err.endswith("onefs: Removed 0 files (0 B) not in the tables, 1 stays.\n")


def test_a_failure_is_named_and_ends_in_1(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session = cache / "T/2020-07-01/001"
    session.mkdir(parents=True)
    at = os.open(session, os.O_RDONLY)
    for _ in range(18):  # so deep that the system refuses the path
        os.mkdir("x" * 250, dir_fd=at)
        above, at = at, os.open("x" * 250, os.O_RDONLY, dir_fd=at)
        os.close(above)
    os.close(at)
    assert run(["prune", str(cache), "--delete"]) == 1
    said = capsys.readouterr()
    assert said.out == f"{cache}/{OURS}\n"
    assert f"onefs: {session}/" in said.err
    assert "could not be read or removed: file name too long." in said.err
    assert said.err.endswith("onefs: Removed 1 file (12 B) not in the tables, 1 stays, 1 failure.\n")


@pytest.mark.parametrize(("cache_dir", "code"), [("nowhere", 2), ("", 1)])
def test_without_tables_one_sentence_says_so(
    cache_dir: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = put(tmp_path, f"{FOLDER}/x.y.npy")
    assert run(["prune", str(tmp_path / cache_dir), "--delete"]) == code
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert file.exists()


@pytest.mark.needs_root
def test_a_member_of_the_group_prunes_what_others_fetched_and_keeps_what_they_pinned(cache: Path) -> None:
    pinned = a_dataset(SESSION, "alf/pinned.b.npy")
    fetched(cache, pinned)
    ContentStore(cache, cache / ".onefs").pin(pinned)

    def pruned() -> tuple[int, dict[str, object]]:
        words = as_member(MEMBERS[0], *ONEFS, "prune", cache, "--delete", "--json")
        environment = {**os.environ, "XDG_CACHE_HOME": str(cache / ".xdg")}
        done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
        found = json.loads(done.stdout)
        return done.returncode, {Path(each["path"]).name: each["stays"] or each["failure"] for each in found}

    subprocess.run(["chgrp", "-R", GROUP, cache], check=True)
    subprocess.run(["chmod", "-R", "g+rwX", cache], check=True)
    (cache / FOLDER / "alf").chmod(0o755)  # so far nobody else may remove what is in it
    stays = {"pinned.b.npy": "it is pinned", "theirs.b.npy": WHY}
    assert pruned() == (1, {**stays, "ours.b.npy": "Permission denied"})
    assert (cache / OURS).exists()
    (cache / FOLDER / "alf").chmod(0o775)
    assert pruned() == (0, {**stays, "ours.b.npy": None})
    assert not (cache / OURS).exists()
