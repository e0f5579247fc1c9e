"""The command line as a whole: help, exit codes, and one sentence for whatever goes wrong."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from mounted import Mounted, run_onefs

from onefs import __version__
from onefs.cli import main
from onefs.cli.mounts import mount_at
from onefs.errors import MountError, OnefsError, UsageError
from onefs.fuse.mounting import Mount
from onefs.settings import table


def test_help_tells_of_every_verb() -> None:
    done = run_onefs("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert all(re.search(rf"^ *{verb} ", done.stdout, re.MULTILINE) for verb in main.VERBS)
    assert run_onefs("-h").stdout == done.stdout


@pytest.mark.parametrize("verb", main.VERBS)
def test_each_verb_has_a_help(verb: str) -> None:
    done = run_onefs(verb, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: onefs {verb} ")


LIBRARIES = ("filelock", "numpy", "pandas", "pyarrow", "pyfuse3", "requests", "rich", "trio", "urllib3")


def test_asking_a_mount_imports_no_library_that_fetching_needs() -> None:
    code = f"""
import sys
import onefs.cli.main, onefs.cli.status, onefs.monitoring.status
print(*sys.modules.keys() & {LIBRARIES})
import onefs.cli.list, onefs.cli.search, onefs.cli.mount_queries
print(*sys.modules.keys() & {LIBRARIES})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\nnumpy\n"


def test_mounting_a_folder_imports_no_library_that_servers_need() -> None:
    code = "import sys, onefs.cli.mount, onefs.daemon.running; print(*sys.modules.keys() & {'requests', 'urllib3'})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_the_help_of_mount_has_every_setting_but_secrets() -> None:
    words = run_onefs("mount", "--help").stdout
    for entry in table():
        assert (f"{entry.flag} " in words) != entry.secret


@pytest.mark.parametrize(
    ("words", "begun", "completed"),
    [
        (["mode"], "", ["local", "auto", "refresh", "remote"]),
        (["mode"], "re", ["refresh", "remote"]),
        (["qc"], "w", ["WARNING"]),
        (["as-of"], "n", ["none"]),
        (["log"], "d", ["debug"]),
        (["mount", "--mode"], "l", ["local"]),
        (["mount", "--verify"], "s", ["strict"]),
        ([], "rest", ["rest-cache"]),
    ],
)
def test_words_are_completed(words: list[str], begun: str, completed: list[str]) -> None:
    shell = ShellComplete(main.onefs, {}, "onefs", "_ONEFS_COMPLETE")
    assert [found.value for found in shell.get_completions(words, begun)] == completed


def test_a_path_is_completed_where_no_word_fits() -> None:
    shell = ShellComplete(main.onefs, {}, "onefs", "_ONEFS_COMPLETE")
    assert [found.type for found in shell.get_completions(["mode"], "/mnt")] == ["file"]


def test_the_help_tells_the_values_of_a_mode() -> None:
    for verb in ("mode", "mount"):
        assert "local|auto|refresh|remote" in run_onefs(verb, "--help").stdout


def test_the_version() -> None:
    assert run_onefs("--version").stdout == f"onefs {__version__}\n"


@pytest.mark.parametrize("arguments", [["mount"], ["mount", "--nothing", "a", "b"], ["status", "a", "b"]])
def test_wrong_use_is_2_and_shows_the_usage(arguments: list[str]) -> None:
    done = run_onefs(*arguments)
    assert done.returncode == 2
    assert "Usage: onefs" in done.stderr


@pytest.mark.parametrize(
    ("failure", "code", "words"),
    [
        (OnefsError("It failed.", "Try again."), 1, "onefs: It failed. Try again.\n"),
        (UsageError("It cannot be meant."), 2, "onefs: It cannot be meant.\n"),
        (KeyboardInterrupt(), 130, ""),
        (click.exceptions.Abort(), 130, ""),
        (ZeroDivisionError("by zero"), 1, "onefs: Unforeseen failure: ZeroDivisionError('by zero')"),
    ],
)
def test_exit_codes(
    failure: BaseException, code: int, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> list[Mount]:
        raise failure

    monkeypatch.setattr("onefs.cli.status.mounts", fails)
    assert main.run(["status"]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.strip("\n").startswith(words.strip("\n"))
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    "arguments",
    [["umount", ""], ["status", ""], ["mode", "local", ""], ["tables", "save", ""], ["tables", "reset", "--mount", ""]],
)
def test_an_empty_path_is_not_the_working_directory(arguments: list[str]) -> None:
    done = run_onefs(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "it is empty" in done.stderr


def test_without_a_path_the_only_mount_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    present: list[Mount] = []
    monkeypatch.setattr("onefs.cli.mounts.mounts", lambda: present)
    with pytest.raises(MountError, match="Nothing is mounted"):
        mount_at(None)
    present.append(Mount(Path("/mnt/one"), "source", "0:1"))
    assert mount_at(None) == present[0]
    present.append(Mount(Path("/mnt/two"), "source", "0:2"))
    with pytest.raises(MountError, match=r"/mnt/one, /mnt/two.*Say which one: onefs retry PATH"):
        mount_at(None, "onefs retry PATH")


def test_ctrl_c_while_the_command_is_imported_shows_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt")
    scripts = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, name = scripts["onefs"].partition(":")
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from {module} import {name}; {name}()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize("words", [["info", "a.x.npy"], ["as-of", "none", "."], ["mount", "demo", "m"]])
def test_a_vanished_current_folder_is_one_sentence(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    script = f"import os, sys; from onefs.cli.main import run; os.rmdir(os.getcwd()); sys.exit(run({words}))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path / "gone", capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "onefs: The current folder has vanished, so no path can be found from it. Go to another.\n"


def test_more_is_shown_of_what_is_unforeseen_if_asked_for(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import onefs.fuse.mounting as m\nm.mounts = lambda: 1 / 0\n")
    done = run_onefs("status", PYTHONPATH=str(tmp_path), ONEFS_LOG="debug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ONEFS_LOG=debug shows more" in done.stderr


def test_passwords_are_not_passed_on_to_other_programs(tmp_path: Path, demo_archive: Path) -> None:
    shutil.copytree(demo_archive, tmp_path / "xdg/onefs/demo/archive")  # where it finds what was made before
    secrets = {"ONEFS_ALYX_PASSWORD": "hush", "ONEFS_DATA_PASSWORD": "hush", "ONEFS_ALYX_TOKEN": "hush"}
    with Mounted("demo", tmp_path, **secrets, ONEFS_ALYX_USER="me", ONEFS_DATA_USER="me") as mount:
        children = Path(f"/proc/{mount.pid}/task/{mount.pid}/children").read_text().split()
        assert children, "the demo's server"
        for child in children:
            environment = Path(f"/proc/{child}/environ").read_bytes()
            assert b"ONEFS_DATA_USER" in environment
            assert b"hush" not in environment + Path(f"/proc/{child}/cmdline").read_bytes()
        for told in ("control", "status", "status.json", "metrics", "log", "errors"):
            assert "hush" not in (mount.path / ".onefs" / told).read_text()
