"""onefs help: every command, every topic, the settings, and what is near to a word that is neither."""

import os
import pty
import subprocess
import sys

import pytest

from onefs.cli import main
from onefs.cli.topics import text_of, topics
from onefs.settings import Group, table


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main.run(list(words)) == 0
    return capsys.readouterr().out


def test_every_verb_is_in_one_section_of_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(main.VERBS) == sum(map(len, main.SECTIONS.values()))
    words = said(capsys, "help")
    assert words == said(capsys, "--help")
    places = [words.index(f"\n{title}:\n") for title in main.SECTIONS]
    assert places == sorted(places)
    assert all(topic in words.partition("onefs help TOPIC")[2] for topic in topics())


@pytest.mark.parametrize("words", [("mount",), ("search",), ("status",), ("record",), ("record", "save")])
def test_help_of_a_command_is_what_its_flag_prints(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    topic = f"\n{text_of(words[0])}" if words[-1] in topics() else ""
    assert said(capsys, "help", *words) == said(capsys, *words, "--help") + topic


def test_the_settings_are_listed_by_group_with_their_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    words = said(capsys, "help", "settings")
    for group in Group:
        below = words.partition(f"\n## {group.value}\n")[2].partition("\n## ")[0]
        for entry in table():
            spelling = f"\n    {entry.variable}, " if entry.secret else f"\n    {entry.flag} {entry.metavar}\n"
            assert (spelling in below) == (entry.group is group)
    assert "--whole-file-max SIZE\n        Files up to this size" in words
    assert "Default: 64M." in words
    assert "--alyx-password " not in words
    below = words.partition("## Source")[2]
    assert max(map(len, below.splitlines())) <= 80


def test_the_sentences_of_every_verb_fit_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Examples and tables may be wider: they begin with a small letter, and nobody breaks them."""
    for verb in main.VERBS:
        sentences = [line for line in said(capsys, verb, "--help").splitlines() if line[:3].strip().isupper()]
        assert [line for line in sentences if len(line) > 80] == []


@pytest.mark.parametrize("topic", topics())
def test_every_topic_is_a_text_that_fits_a_terminal(topic: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = said(capsys, "help", topic)
    assert words.endswith(text_of(topic))
    assert words.startswith(f"Usage: onefs {topic} " if topic in main.VERBS else "# ")
    assert text_of(topic).startswith("# ")
    assert not any(character in words for character in "\t\x1b")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["setings"], "There is no help about 'setings'. Did you mean settings?"),
        (["moutn"], "There is no help about 'moutn'. Did you mean mount"),
        (["record", "svae"], "There is no help about 'record svae'. Did you mean record save"),
        (["mount", "it"], "There is no help about 'mount it'."),
        (["zzzz"], "There is no help about 'zzzz'. Topics: "),
        (["settings", "qc"], "There is no help about 'settings qc'."),
    ],
)
def test_what_is_unknown_gets_the_nearest(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["help", *words]) == 2
    heard = capsys.readouterr()
    assert heard.out == ""
    assert heard.err.startswith(f"onefs: {sentence}")
    assert heard.err.count("\n") == 1


def test_on_a_terminal_a_long_text_is_paged() -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PAGER": "sed s/^/paged:/", "LINES": "24", "COLUMNS": "80", "TERM": "xterm"}
    with subprocess.Popen(
        [sys.executable, "-m", "onefs", "help", "settings"], stdin=theirs, stdout=theirs, env=environment
    ) as process:
        os.close(theirs)
        heard = b""
        try:
            while data := os.read(ours, 65536):
                heard += data
        except OSError:  # the terminal's end
            pass
        assert process.wait() == 0
    os.close(ours)
    assert heard.startswith(b"paged:# Settings")
