"""The control directory's files, made when they are opened."""

import re
from collections.abc import Callable

import pytest

from onefs.errors import BadCommandError, ContentError
from onefs.fuse.errnos import errno_name
from onefs.vfs import inodes
from onefs.vfs.control import Command, Daemon, control_directory
from onefs.vfs.handles import GeneratedText, ReadableFile
from onefs.vfs.journal import Journal
from onefs.vfs.nodes import Directory, SpecialFile


def directory(status: str = "up\n") -> tuple[Directory, Journal]:
    journal = Journal(errno_name)
    return control_directory(daemon(status), journal), journal


def daemon(status: str = "", said: list[list[str]] | None = None) -> Daemon:
    heard = [] if said is None else said
    return Daemon(
        status=lambda: status,
        status_json=lambda: "{}\n",
        metrics=lambda: "# EOF\n",
        settings=lambda: "qc: FAIL\n",
        log=GeneratedText(lambda: "last line\n"),
        mode=lambda: "auto",
        pinned=lambda: "",
        commands={
            "mode": Command("mode M", "switch", lambda words: heard.append(["mode", *words]), 1, 1),
            "retry": Command("retry [PATH]", "try again", lambda words: heard.append(["retry", *words]), 0, 1),
            "tables": Command(
                "tables save|reset",
                "",
                lambda words: heard.append(["tables", *words]),
                members=[
                    Command("save [DIR] [clobber] [more]", "write them", print),
                    Command("reset", "go back", print),
                ],
            ),
        },
    )


def test_commands_are_carried_out_one_a_line() -> None:
    said: list[list[str]] = []
    folder = control_directory(daemon(said=said), Journal(errno_name))
    write(folder, "control", "retry\n\nretry 'a file'\n")
    write(folder, "mode", "local\n")
    assert said == [["retry"], ["retry", "a file"], ["mode", "local"]]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("mod local", "Did you mean mode?"),
        ("mode", "Write: mode M"),
        ("mode a b", "Write: mode M"),
        ("mode 'a", "quotes"),
    ],
)
def test_a_bad_command_is_told_and_kept_in_errors(line: str, words: str) -> None:
    journal = Journal(errno_name)
    folder = control_directory(daemon(), journal)
    with pytest.raises(BadCommandError, match=re.escape(words)):
        write(folder, "control", line)
    assert words in b"".join([opened(folder, "errors").read(0, 1000)]).decode()


def test_control_tells_settings_and_commands() -> None:
    text = opened(control_directory(daemon(), Journal(errno_name)), "control").read(0, 1000).decode()
    assert "qc: FAIL" in text
    assert text.endswith(
        "\ncommands:\n"
        "  mode M                              switch\n"
        "  retry [PATH]                        try again\n"
        "  tables save [DIR] [clobber] [more]  write them\n"
        "  tables reset                        go back\n"
    )


@pytest.mark.parametrize("pieces", [["local\nauto"], ["local auto\n"], ["local\n", "auto"]])
def test_a_second_word_written_to_mode_is_refused(pieces: list[str]) -> None:
    """A shell may write two lines of one printf one after the other."""
    journal = Journal(errno_name)
    said: list[list[str]] = []
    folder = control_directory(daemon(said=said), journal)
    obey = writer(folder, "mode")
    *before, last = pieces
    for piece in before:
        obey(piece)
    with pytest.raises(BadCommandError, match="Write: mode M"):
        obey(last)
    assert said == [["mode", piece.strip()] for piece in before]
    assert [failure.path for failure in journal.failures()] == [".onefs/mode"]
    write(folder, "mode", "auto\n")
    assert said[-1] == ["mode", "auto"]


def test_the_end_of_the_line_may_come_later() -> None:
    said: list[list[str]] = []
    obey = writer(control_directory(daemon(said=said), Journal(errno_name)), "mode")
    obey("local")
    obey("\n")
    assert said == [["mode", "local"]]


def write(folder: Directory, name: str, text: str) -> None:
    writer(folder, name)(text)


def writer(folder: Directory, name: str) -> Callable[[str], None]:
    node = folder.children[name]
    assert isinstance(node, SpecialFile)
    assert node.writer is not None
    return node.writer()


def opened(folder: Directory, name: str) -> ReadableFile:
    node = folder.children[name]
    assert isinstance(node, SpecialFile)
    return node.open()


def test_the_readme_tells_of_every_file() -> None:
    folder, _ = directory()
    text = opened(folder, "README").read(0, 10_000).decode()
    assert all(name in text for name in folder.children)


def test_a_file_tells_how_things_are_when_it_is_opened() -> None:
    folder, journal = directory()
    before = opened(folder, "errors")
    journal.record("a", ContentError("Wrong."))
    assert before.read(0, 100) == b""
    assert b"Wrong." in opened(folder, "errors").read(0, 100)
    assert opened(folder, "status").read(0, 100) == b"up\n"
    assert opened(folder, "status.json").read(0, 100) == b"{}\n"


def test_text_that_is_no_utf8_does_not_break_it() -> None:
    folder, _ = directory(status="mountpoint: /mnt/\udcff\n")
    assert b"mountpoint: /mnt/" in opened(folder, "status").read(0, 100)


def test_its_numbers_are_small_distinct_and_inside_it() -> None:
    folder, _ = directory()
    numbers = [folder.ino, *(node.ino for node in folder.children.values())]
    assert len({*numbers, inodes.ROOT}) == len(numbers) + 1
    assert all(inodes.decode(number).kind is inodes.Kind.SPECIAL for number in numbers)
    assert folder.parent_ino == inodes.ROOT


def test_a_text_of_equal_size_has_another_time_once_it_is_another() -> None:
    said, now_s = ["one"], [10.0]
    text = GeneratedText(lambda: said[0], clock=lambda: now_s[0], wall_clock=lambda: now_s[0])
    assert (text.size_now(), text.changed_s) == (3, 10.0)
    now_s[0] = 20.0
    assert (text.size_now(), text.changed_s) == (3, 10.0), "it is still the same"
    said[0], now_s[0] = "two", 30.0
    assert (text.size_now(), text.changed_s) == (3, 30.0)
