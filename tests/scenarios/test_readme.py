"""Every command and program of README.md and of the help topics, run as it is written, on the demo."""

import ast
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from mounted import run_onefs
from readme_blocks import NEEDS, ROOT, Block, Shown, blocks, commands, documents, need_of
from typed import TypedCommands
from waiting import PATIENCE_S

from onefs.alf import without_uuid
from onefs.cli.main import VERBS, onefs

DOCUMENTS = {document.stem: document for document in documents()}
LANGUAGES = {"sh", "console", "python"}
NOT_RUN = {"text", "toml", "ini", "yaml", "json", "dockerfile", "matlab", "r"}
SHELL = """\
set -Eeo pipefail
trap 'echo "FAILED: $BASH_COMMAND" >&2' ERR
"""


def copy_with_plain_names(archive: Path, folder: Path, part: Path) -> None:
    """Copy part of an archive as a folder of ALF files, without the ids in their names."""
    for file in filter(Path.is_file, (archive / part).rglob("*")):
        target = folder / file.relative_to(archive).with_name(without_uuid(file.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)


class Reader:
    """Somebody who types what documents say, in a home of their own in which `demo` is mounted."""

    def __init__(self, home: Path, demo_archive: Path) -> None:
        self.home = home
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("ONEFS_", "XDG_"))},
            **{name: value for name, value in os.environ.items() if name == "ONEFS_KERNEL_ADAPTER"},
            "HOME": str(home),
            "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        }
        shutil.copytree(
            demo_archive, home / ".cache/onefs/demo/archive"
        )  # where `onefs demo` finds what was made before
        copy_with_plain_names(demo_archive / "data/public", home / "archive", Path("northlab/Subjects/NL_002"))
        (home / "bin/python").symlink_to(sys.executable)

    def mount(self) -> None:
        """Have the demo mounted: the mount that is there, or a new one with a new cache."""
        if os.path.ismount(self.home / "demo"):
            return
        shutil.rmtree(self.home / ".cache/onefs/demo/cache", ignore_errors=True)
        self.run_shell("onefs demo")

    def unmount(self) -> None:
        """Unmount everything."""
        for path in self.home.iterdir():
            if os.path.ismount(path):
                done = run_onefs("umount", "--lazy", path)
                assert done.returncode == 0, done.stderr

    def run_shell(self, script: str) -> str:
        """Run lines of bash to their end; what they print. Raises `AssertionError` naming the command that fails."""
        return self._run("bash", "-c", SHELL + script)

    def run_python(self, program: str) -> str:
        """Run a program; what it prints."""
        return self._run(sys.executable, "-c", program)

    def _run(self, *words: str) -> str:
        done = subprocess.run(
            words,
            cwd=self.home,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=4 * PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory, demo_archive: Path) -> Iterator[Reader]:
    home = tmp_path_factory.mktemp("reader")
    (home / "bin").mkdir()
    with TypedCommands(home / "bin"):
        someone = Reader(home, demo_archive)
        try:
            yield someone
        finally:
            someone.unmount()


@pytest.fixture(scope="module")
def lets_overlay(tmp_path_factory: pytest.TempPathFactory) -> bool:
    """Whether an ordinary user of this machine may mount an overlay."""
    folder = tmp_path_factory.mktemp("overlay")
    for name in ("lower", "upper", "work", "merged"):
        (folder / name).mkdir()
    command = "mount -t overlay overlay -o userxattr,lowerdir=lower,upperdir=upper,workdir=work merged"
    words = ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", command]
    return subprocess.run(words, cwd=folder, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_commands_of_a_document_run_as_they_are_written(name: str, reader: Reader, lets_overlay: bool) -> None:
    if name == "README":
        reader.unmount()  # it says how to mount the demo
    elif any(not each.need for block in blocks(DOCUMENTS[name]) for each in commands(block)):
        reader.mount()
    failed: list[str] = []
    left_out: list[str] = []
    for language, group in itertools.groupby(blocks(DOCUMENTS[name]), lambda block: block.language):
        for part in [list(group)] if language == "python" else [[block] for block in group]:
            if "unshare -" in part[0].text and not lets_overlay:
                left_out.append(part[0].place)
                continue
            try:
                run_blocks(part, reader)
            except AssertionError as error:
                failed.append(f"{part[0].place}: {error}")
    assert not failed, "\n".join(failed)
    if left_out:
        pytest.skip(f"this machine lets nobody mount in a namespace of their own: not run {', '.join(left_out)}")


def run_blocks(part: list[Block], reader: Reader) -> None:
    """Run blocks of Python as one program, or a block of the shell. Of a console, compare the outputs that it shows."""
    if part[0].language == "python":
        programs = [block.text for block in part if not need_of(block.text)]
        if programs:
            reader.mount()
            reader.run_python("\n".join(programs))
        return
    shown = [each for each in commands(part[0]) if not each.need]
    if part[0].language == "console":
        for each in shown:
            assert reader.run_shell(each.command).split() == (each.output or "").split(), each.command
    elif shown:
        reader.run_shell("\n".join(each.command for each in shown))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_block_has_a_language_that_is_run_or_shows_no_command(name: str) -> None:
    for block in blocks(DOCUMENTS[name]):
        assert block.language in LANGUAGES | NOT_RUN, block.place
        if block.language == "text":
            assert not re.search(r"^\s*(sudo )?onefs ", block.text, re.MULTILINE), f"{block.place} shows commands"
        if block.language == "python":
            ast.parse(block.text)


def test_what_is_not_run_has_one_of_the_known_needs(capsys: pytest.CaptureFixture[str]) -> None:
    """Count what is run, and for each need what is not; a need that nothing has is not kept."""
    counts = dict.fromkeys(["", *NEEDS], 0)
    for document in DOCUMENTS.values():
        for block in blocks(document):
            for need in (
                [need_of(block.text)] if block.language == "python" else [each.need for each in commands(block)]
            ):
                counts[need] += 1
    with capsys.disabled():
        print(f"\nshown commands that are run: {counts.pop('')}; not run, by need: {counts}")
    assert all(counts.values())


def words_of_onefs(shown: Shown) -> Iterator[list[str]]:
    """The words of each call of onefs in a command line, without its name."""
    lexer = shlex.shlex(shown.command.replace("\\\n", " "), posix=True, punctuation_chars="|&;>")
    lexer.whitespace_split = True
    for is_end, words in itertools.groupby(lexer, lambda word: set(word) <= set("|&;>")):
        call = [word for word in words if word != "sudo"]
        if not is_end and call[:1] == ["onefs"]:
            yield call[1:]


def parsed(words: list[str]) -> None:
    """Have the command line parse words, and run nothing. Raises `click.UsageError`."""
    command: click.Command = onefs
    context = click.Context(onefs, info_name="onefs")
    while isinstance(command, click.Group):
        name, found, words = command.resolve_command(context, words)
        assert found is not None
        command = found
        context = click.Context(command, info_name=name, parent=context)
        if not isinstance(command, click.Group):
            command.make_context(name or "", words, parent=context.parent)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_needs_more_than_a_test_has_is_understood_by_the_command_line(name: str) -> None:
    for block in blocks(DOCUMENTS[name]):
        for shown in commands(block):
            for words in words_of_onefs(shown) if shown.need else ():
                try:
                    parsed(words)
                except click.UsageError as error:
                    pytest.fail(f"{block.place}: {shown.command}: {error.format_message()}")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_scripts_that_are_not_run_exist_and_know_the_flags(name: str) -> None:
    for block in blocks(DOCUMENTS[name]):
        for shown in commands(block):
            words = shlex.split(shown.command, comments=True)
            for script in [ROOT / word for word in words if word.startswith("scripts/")]:
                text = script.read_text(encoding="utf-8")
                if os.access(script, os.X_OK):
                    assert all(word in text for word in words if word.startswith("--")), (
                        f"{block.place}: {shown.command}"
                    )


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_and_flags_in_sentences_exist(name: str) -> None:
    text = re.sub(r"^```.*?^```", "", DOCUMENTS[name].read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    quoted = [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", text)]
    for code in quoted:
        verb = re.match(r"onefs ([a-z][a-z-]*)", code)
        assert verb is None or verb[1] in VERBS, code
        if verb and verb[1] == "help" and (topic := re.fullmatch(r"onefs help ([a-z-]+)", code)):
            assert topic[1] in VERBS or topic[1] in DOCUMENTS, code
        known = flags_of(verb[1]) if verb else all_flags()
        if verb or code.startswith("--"):
            assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", code)) <= known, code


def flags_of(verb: str) -> set[str]:
    """The flags of a verb, and of those below it."""
    found = onefs.get_command(click.Context(onefs), verb)
    assert found is not None
    below = found.commands.values() if isinstance(found, click.Group) else []
    options = [
        flag for each in [found, *below] for param in each.params for flag in [*param.opts, *param.secondary_opts]
    ]
    return {"--help", *options}


def all_flags() -> set[str]:
    """The flags of all verbs, and those that scripts name."""
    scripts = [path.read_text(encoding="utf-8") for path in (ROOT / "scripts").iterdir() if path.is_file()]
    in_scripts = {flag for text in scripts for flag in re.findall(r"--[a-z][a-z-]+", text)}
    return in_scripts | {flag for verb in VERBS for flag in flags_of(verb)}
