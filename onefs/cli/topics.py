"""The topics of `onefs help`: texts in the folder onefs/help, and the table of settings."""

from pathlib import Path

from onefs.cli.markdown import INDENT, fill, wrapped
from onefs.setting_values import FORMS
from onefs.settings import Group, table

ENDING = ".md"
SETTINGS = "settings"
_FOLDER = Path(__file__).parents[1] / "help"
_WIDTH = 80


def topics() -> list[str]:
    """The names of all topics, in order."""
    return sorted(file.stem for file in _FOLDER.glob(f"*{ENDING}"))


def markdown_of(topic: str) -> str:
    """The text of a topic. Raises FileNotFoundError if there is none."""
    return (_FOLDER / f"{topic}{ENDING}").read_text(encoding="utf-8")


def text_of(topic: str) -> str:
    """What `onefs help` shows of a topic: its text, and of the settings also their table."""
    return wrapped(markdown_of(topic), _WIDTH) + (f"\n{all_settings_text()}" if topic == SETTINGS else "")


def all_settings_text() -> str:
    """Every setting with its default, by group, as Markdown."""
    lines = [fill(f"{name} is {form}.", _WIDTH) + "\n" for name, form in FORMS.items()]
    for group in Group:
        lines.append(f"## {group.value}\n")
        for entry in table():
            if entry.group is group:
                # A secret may stand on no command line, where others would see it.
                names = f"{entry.variable}, {entry.key}" if entry.secret else f"{entry.flag} {entry.metavar}"
                default = f" Default: {entry.default_text}." if entry.default_text else ""
                lines += [
                    f"{INDENT}{names}",
                    fill(_sentence(entry.doc.replace("`", "")) + default, _WIDTH, INDENT * 2, INDENT * 2),
                ]
        lines.append("")
    return "\n".join(lines)


def _sentence(doc: str) -> str:
    return f"{doc[0].upper()}{doc[1:]}."
