"""The commands and programs that README.md and the help topics show, and what those need that no test can run.

As a program it prints those of one need, for scripts that have it: `python tests/readme_blocks.py --needs systemd`.
"""

import argparse
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
HELP = ROOT / "onefs" / "help"
FENCE = "```"
NEEDS = {
    "systemd": r"\b(systemctl|journalctl|loginctl|install-systemd|systemd-analyze)\b|/etc/onefs/NAME\b",
    "a container": r"\b(podman|docker)\b",
    "a cluster": r"^dask |--scheduler ",
    "a clone": r"^(sudo )?scripts/",
    "installation": r"\b(apt|apt-get|pip) (un)?install\b|^python3 -m venv |^rm -r ~/",
    "fuse-overlayfs": r"^fuse-overlayfs |^fusermount3 -u results/merged$",
    "root": r"^sudo ",
    "a server": r"openalyx|example\.org|\bmylab\b|AlyxClient|no_cache|\balyx\.|^one = ONE\(\)",
    "a mount of theirs": r"~/(ibl|mylab)\b|/mnt/ibl",
    "a monitor": r"\bcurl\b|\bpromtool\b|metrics-listen",
    "a terminal": r"--watch\b|\blog (-f|--follow)\b",
}
"""Why a command is not run: the first of these patterns that it has. They are parsed all the same."""


@dataclass(frozen=True, slots=True)
class Block:
    """What stands between two fences of a Markdown file."""

    file: Path
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        """Where it begins, as editors and pytest write it."""
        return f"{self.file.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True, slots=True)
class Shown:
    """A command that is shown, as it is typed; of a console also the words of its output."""

    command: str
    output: str | None = None

    @property
    def need(self) -> str:
        """What it needs that a test has not; "" if it can be run."""
        return need_of(self.command)


def documents() -> list[Path]:
    """README.md and the help topics."""
    return [ROOT / "README.md", *sorted(HELP.glob("*.md"))]


def blocks(document: Path) -> list[Block]:
    """All fenced blocks of a document, and the indented ones that show commands of onefs."""
    found, begun = [], 0
    lines = document.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        if line.startswith(FENCE):
            if begun:
                language, text = lines[begun - 1].removeprefix(FENCE), "\n".join(lines[begun : number - 1])
                found.append(Block(document, begun, language, text))
            begun = 0 if begun else number
        elif not begun and re.match(r" {4}(sudo )?onefs ", line):
            found.append(Block(document, number, "sh", line.strip()))
    if begun:
        raise ValueError(f"{document}:{begun}: this block has no end")
    return found


def need_of(command: str) -> str:
    """The first need whose pattern a command has; "" if there is none."""
    return next((need for need, pattern in NEEDS.items() if re.search(pattern, command, re.MULTILINE)), "")


def commands(block: Block) -> list[Shown]:
    """The commands of a block of the shell, those of several lines as one."""
    if block.language == "sh":
        return [Shown(command) for command in _whole_commands(block.text.splitlines())]
    if block.language == "console":
        return list(_typed(block.text))
    return []


def _whole_commands(lines: list[str]) -> Iterator[str]:
    """Join lines whose quotes are open, that end with a backslash or begin a here-document, with those that follow."""
    command = ""
    for line in lines:
        command = f"{command}\n{line}" if command else line
        if _is_whole(command):
            if command.strip():
                yield command
            command = ""
    if command:
        raise ValueError(f"this command has no end: {command}")


def _is_whole(command: str) -> bool:
    if command.endswith("\\"):
        return False
    if here := re.search(r"<<'(\w+)'$", command, re.MULTILINE):
        return command.endswith(f"\n{here[1]}")
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return False
    return True


def _typed(text: str) -> Iterator[Shown]:
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE):
        command, _, output = part.partition("\n")
        if command:
            yield Shown(command, output)


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--needs", choices=NEEDS, required=True)
    needs = parser.parse_args().needs
    for document in documents():
        for block in blocks(document):
            for shown in commands(block):
                if shown.need == needs:
                    print(shown.command)


if __name__ == "__main__":
    _main()
