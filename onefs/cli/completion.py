"""Completing words of a command line in a shell, and `onefs completion`, which prints the shell's script for it."""

from collections.abc import Callable, Sequence

import click
from click.shell_completion import BashComplete, CompletionItem, ShellComplete, get_completion_class

from onefs.mountinfo import FILE_SYSTEM_TYPE, mounted_disks

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_ONEFS_COMPLETE"
TERMS = ("subject=", "lab=", "date=", "number=", "projects=", "task_protocol=", "dataset=", "datasets=")
_BASH_ADDS_A_SPACE = "    return 0\n"
_BASH_ADDS_NONE = "    [[ ${COMPREPLY[0]-} == *= ]] && compopt -o nospace\n    return 0\n"


def complete(*words: str) -> Completer:
    """A completer that offers those of `words` that begin as the typed one does, else paths."""
    return _completer(lambda: words, "file")


def _completer(words: Callable[[], Sequence[str]], otherwise: str) -> Completer:
    """A completer of words; where none fits, of paths of the type `otherwise`, "file" or "dir"."""

    def completed(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
        del context, parameter
        found = [CompletionItem(word) for word in words() if word.lower().startswith(begun.lower())]
        return found or [CompletionItem(begun, type=otherwise)]

    return completed


def _mountpoints() -> list[str]:
    """Where onefs is mounted, by the kernel's table. Asks no daemon, as it may not answer."""
    try:
        return [disk.mountpoint for disk in mounted_disks() if disk.kind == FILE_SYSTEM_TYPE]
    except OSError:
        return []


def _sources() -> list[str]:
    from onefs.sources.names import BUILT_IN, known_names

    return [*known_names(), *BUILT_IN]


complete_paths = _completer(tuple, "file")
complete_folders = _completer(tuple, "dir")
complete_mounts = _completer(_mountpoints, "dir")
complete_sources = _completer(_sources, "dir")


def complete_with_mounts(*words: str) -> Completer:
    """A completer of `words` and mountpoints."""
    return _completer(lambda: [*words, *_mountpoints()], "file")


class _Bash(BashComplete):
    """Bash, which puts no space behind a term of a search."""

    source_template = BashComplete.source_template.replace(_BASH_ADDS_A_SPACE, _BASH_ADDS_NONE)

    @staticmethod
    def _check_version() -> None:
        """Check nothing: the script needs bash 4.4, but the bash here may not be the one that reads it."""


def script(shell: str) -> str:
    """The script with which a shell completes the command line of onefs."""
    from onefs.cli.main import onefs

    found: type[ShellComplete] | None = _Bash if shell == "bash" else get_completion_class(shell)
    assert found is not None
    return found(onefs, {}, "onefs", VARIABLE).source()


@click.command("completion")
@click.argument("shell", metavar="|".join(SHELLS), type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print the script with which a shell completes commands, options and their values.

    \b
    bash   onefs completion bash > ~/.local/share/bash-completion/completions/onefs
    zsh    onefs completion zsh > ~/.zfunc/_onefs      (with ~/.zfunc in fpath, before compinit)
    fish   onefs completion fish > ~/.config/fish/completions/onefs.fish

    It holds from the next shell on. To try it in this one: source <(onefs completion bash)
    """
    click.echo(script(shell), nl=False)
