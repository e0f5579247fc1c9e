"""onefs completion: the scripts of three shells, and what they offer, asked of the shells themselves."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from archives import copied_tables
from click.shell_completion import ShellComplete
from mounted import Mounted, run_onefs

from onefs.cli import completion, main
from onefs.cli.topics import topics
from onefs.modes import Mode
from onefs.mountinfo import MountedDisk


def offered(*words: str) -> list[str]:
    """What is offered for the last word."""
    shell = ShellComplete(main.onefs, {}, "onefs", completion.VARIABLE)
    return [found.value for found in shell.get_completions(list(words[:-1]), words[-1])]


@pytest.fixture
def names(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the names of two sources."""
    monkeypatch.setattr("onefs.sources.names.SYSTEM_FOLDER", home / "etc")
    folder = home / "config" / "onefs"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder.parent))
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text("")
    for name in ("mylab", "other"):
        (folder / f"{name}.toml").write_text('source = "https://alyx.example"\n')
    return folder


@pytest.mark.parametrize(
    "words",
    [("mount",), ("doctor",), ("fetch", "--source"), ("search", "--source"), ("replay", "--source"), ("setup",)],
)
def test_sources_are_the_names_of_setup_and_those_built_in(words: tuple[str, ...], names: Path) -> None:
    assert offered(*words, "") == ["mylab", "other", "demo", "openalyx"]
    assert offered(*words, "my") == ["mylab"]


def test_a_source_that_is_no_name_is_completed_as_a_folder(names: Path) -> None:
    shell = ShellComplete(main.onefs, {}, "onefs", completion.VARIABLE)
    assert [found.type for found in shell.get_completions(["mount"], "./arch")] == ["dir"]
    for words in (["prune"], ["index"], ["index", "--out"]):
        assert [found.type for found in shell.get_completions(words, "./arch")] == ["dir"]


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (("mode", ""), [*Mode]),
        (("qc", "W"), ["WARNING"]),
        (("as-of", "n"), ["none"]),
        (("log", ""), ["debug", "info", "warning", "error"]),
        (("mount", "--qc", "f"), ["FAIL"]),
        (("mount", "--verify", ""), ["auto", "strict", "warn", "off"]),
        (("mount", "--record", ""), ["on", "off"]),
        (("record", ""), ["clear", "off", "on", "run", "save", "status"]),
        (("record", "s"), ["save", "status"]),
        (("search", "su"), ["subject="]),
        (("list", "datasets", "d"), ["date=", "dataset=", "datasets="]),
        (("completion", ""), ["bash", "zsh", "fish"]),
        (("help", "set"), ["setup", "settings"]),
        (("mo",), ["mount", "mode"]),
        (("search", "--cache-e"), ["--cache-expiry"]),
        (("search", "--block"), []),
    ],
)
def test_values_of_options_and_arguments_are_offered(words: tuple[str, ...], values: list[str]) -> None:
    assert offered(*words) == values


def test_every_topic_is_offered() -> None:
    assert set(topics()) <= set(offered("help", ""))


def test_mountpoints_are_offered_where_a_mount_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    disks = [
        MountedDisk("/mnt/ibl", "fuse.onefs", "openalyx", "0:50"),
        MountedDisk("/", "ext4", "/dev/sda1", "8:1"),
        MountedDisk("/data/my lab", "fuse.onefs", "mylab", "0:51"),
    ]
    monkeypatch.setattr(completion, "mounted_disks", lambda: disks)
    for verb in ("status", "umount", "refresh"):
        assert offered(verb, "") == ["/mnt/ibl", "/data/my lab"]
    assert offered("log", "--mount", "/m") == ["/mnt/ibl"]
    assert offered("mode", "auto", "/") == ["/mnt/ibl", "/data/my lab"]


def test_a_mount_whose_daemon_does_not_answer_is_offered(tmp_path: Path) -> None:
    with Mounted(copied_tables(tmp_path), tmp_path) as mount:
        os.kill(mount.pid, signal.SIGSTOP)
        try:
            done = run_onefs(COMP_WORDS="onefs status ", COMP_CWORD="2", _ONEFS_COMPLETE="bash_complete")
        finally:
            os.kill(mount.pid, signal.SIGCONT)
        assert f"plain,{mount.path}" in done.stdout.splitlines()


LIBRARIES = {"pandas", "pyarrow", "pyfuse3", "requests", "rich", "trio", "urllib3"}


@pytest.mark.parametrize(
    "words", ["onefs ", "onefs status ", "onefs mount ", "onefs mode ", "onefs help ", "onefs fetch --source "]
)
def test_completing_imports_no_library_that_a_mount_needs(words: str) -> None:
    code = (
        "import sys; from onefs.cli.main import run\n"
        "try: run([])\n"
        f"finally: print(sys.modules.keys() & {LIBRARIES}, file=sys.stderr)"
    )
    environment = {
        **os.environ,
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
        "_ONEFS_COMPLETE": "bash_complete",
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") > 1 or "," in done.stdout
    assert done.stderr == "set()\n"


@pytest.fixture(scope="module")
def bin_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the command `onefs`."""
    folder = tmp_path_factory.mktemp("bin")
    command = folder / "onefs"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m onefs "$@"\n')
    command.chmod(0o755)
    return folder


def ask(shell: str, script: str, bin_folder: Path, **environment: str) -> list[str]:
    """The lines that a shell prints."""
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    path = f"{bin_folder}:{os.environ['PATH']}"
    done = subprocess.run(
        [shell, "-c", script],
        env={**os.environ, "PATH": path, "PYTHONPATH": os.environ.get("PYTHONPATH", os.getcwd()), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("onefs mo", ["mount", "mode"]),
        ("onefs qc W", ["WARNING"]),
        ("onefs mount --mode re", ["refresh", "remote"]),
        ("onefs mount my", ["mylab"]),
        ("onefs record s", ["save", "status"]),
    ],
)
def test_bash_completes(line: str, values: list[str], bin_folder: Path, names: Path) -> None:
    script = f"""
    eval "$(onefs completion bash)"
    COMP_WORDS=({line}) COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
    compopt() {{ :; }}
    _onefs_completion onefs
    printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    assert ask("bash", script, bin_folder) == values


def test_bash_puts_no_space_behind_a_term(bin_folder: Path) -> None:
    script = """
    eval "$(onefs completion bash)"
    COMP_WORDS=(onefs search su) COMP_CWORD=2
    compopt() { local IFS=" "; echo "compopt $*"; }
    _onefs_completion onefs
    printf '%s\\n' "${COMPREPLY[@]}"
    """
    assert ask("bash", script, bin_folder) == ["compopt -o nospace", "subject="]


def test_bash_takes_the_script_as_it_is_installed(bin_folder: Path) -> None:
    assert ask("bash", 'eval "$(onefs completion bash)"; complete -p onefs', bin_folder) == [
        "complete -o nosort -F _onefs_completion onefs"
    ]


def test_fish_completes(bin_folder: Path) -> None:
    script = "onefs completion fish | source; complete -C 'onefs mount --mode re'"
    assert ask("fish", script, bin_folder) == ["refresh", "remote"]


def test_zsh_completes(bin_folder: Path) -> None:
    script = """
    compdef() { print -- "compdef $*" }
    compadd() { print -l -- $completions }
    source <(onefs completion zsh)
    words=(onefs mount --mode re) CURRENT=4
    _onefs_completion
    """
    assert ask("zsh", script, bin_folder) == ["compdef _onefs_completion onefs", "refresh", "remote"]


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_a_script_is_printed_for_each_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["completion", shell]) == 0
    said = capsys.readouterr()
    assert completion.VARIABLE in said.out
    assert said.err == ""


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["completion", "tcsh"]) == 2
    assert "'bash', 'zsh', 'fish'" in capsys.readouterr().err
