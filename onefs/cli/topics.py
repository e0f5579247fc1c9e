"""The topics of `onefs help`: texts in the folder onefs/help, and the table of settings."""

import textwrap
from pathlib import Path

from onefs.settings import FORMS, Group, table

ENDING = ".md"
SETTINGS = "settings"
_FOLDER = Path(__file__).parents[1] / "help"
_INDENT = "    "
_WIDTH = 80


def topics() -> list[str]:
    """The names of all topics, in order."""
    return sorted(file.stem for file in _FOLDER.glob(f"*{ENDING}"))


def markdown_of(topic: str) -> str:
    """The text of a topic. Raises FileNotFoundError if there is none."""
    return (_FOLDER / f"{topic}{ENDING}").read_text(encoding="utf-8")


def text_of(topic: str) -> str:
    """What `onefs help` shows of a topic: its text, and of the settings also their table."""
    return markdown_of(topic) + (f"\n{settings_text()}" if topic == SETTINGS else "")


def settings_text() -> str:
    """Every setting with its default, by group, as Markdown."""
    lines = [f"{name} is {form}.\n" for name, form in FORMS.items()]
    for group in Group:
        lines.append(f"## {group.value}\n")
        for entry in table():
            if entry.group is group:
                # A secret may stand on no command line, where others would see it.
                names = f"{entry.variable}, {entry.key}" if entry.secret else f"{entry.flag} {entry.metavar}"
                default = f" Default: {entry.default_text}." if entry.default_text else ""
                lines += [f"{_INDENT}{names}", _indented(_sentence(entry.doc) + default)]
        lines.append("")
    return "\n".join(lines)


def _indented(sentence: str) -> str:
    indent = _INDENT * 2
    return textwrap.fill(sentence, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _sentence(doc: str) -> str:
    return f"{doc[0].upper()}{doc[1:]}."
