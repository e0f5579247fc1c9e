"""`onefs help`: all commands, one of them, the settings, or another topic."""

import difflib
import shutil
import sys
from collections.abc import Sequence

import click

from onefs.cli.completion import complete
from onefs.cli.main import VERBS, onefs
from onefs.cli.topics import text_of, topics
from onefs.errors import UsageError


@click.command("help")
@click.argument("words", metavar="[COMMAND|TOPIC]", nargs=-1, shell_complete=complete(*VERBS, *topics()))
def command(words: tuple[str, ...]) -> None:
    """Explain a command, such as mount or record save, or a topic. Without one, list them.

    Of a word that is both, such as status, the command comes first.

    onefs help settings lists every setting, with its default.
    """
    if not words:
        _show(onefs.get_help(_context()) + "\n")
        return
    texts = [_help_of(words)] if words[0] in VERBS else []
    if len(words) == 1 and words[0] in topics():
        texts.append(text_of(words[0]))
    if not texts:
        raise _unknown(words, [*VERBS, *topics()])
    _show("\n".join(texts))


def _help_of(words: Sequence[str]) -> str:
    """What --help prints for a command, or for one of its own commands."""
    found: click.Command = onefs
    context = _context()
    for word in words:
        below = found.get_command(context, word) if isinstance(found, click.Group) else None
        if below is None:
            known = found.list_commands(context) if isinstance(found, click.Group) else []
            raise _unknown(words, [f"{words[0]} {name}" for name in known] or [words[0]])
        found = below
        context = click.Context(found, info_name=word, parent=context)
    return found.get_help(context) + "\n"


def _context() -> click.Context:
    return click.Context(onefs, info_name="onefs", **onefs.context_settings)


def _unknown(words: Sequence[str], known: Sequence[str]) -> UsageError:
    """The error for what nothing is known about."""
    about = " ".join(words)
    near = difflib.get_close_matches(about, known, n=3)
    remedy = f"Did you mean {' or '.join(near)}?" if near else f"Topics: {', '.join(topics())}; commands: onefs help"
    return UsageError(f"There is no help about {about!r}.", remedy)


def _show(text: str) -> None:
    """Print a text; on a terminal that it does not fit, in a pager."""
    if sys.stdout.isatty() and text.count("\n") >= shutil.get_terminal_size().lines:
        click.echo_via_pager(text)
    else:
        click.echo(text, nl=False)
