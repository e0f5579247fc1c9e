"""How a failure reads: each kind has a remedy, and a remedy names only commands and flags that exist."""

import ast
import importlib
import inspect
import pickle
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest
from tblib import pickling_support

import onefs
from onefs.cli.main import VERBS, Verbs
from onefs.cli.main import onefs as command_line
from onefs.errors import OnefsError
from onefs.one_errors import ALFError

MODULES = [
    importlib.import_module(found.name)
    for found in pkgutil.walk_packages(onefs.__path__, "onefs.")
    if not found.name.endswith("__main__")
]
COMMAND = re.compile(r"(?<![\w/.-])onefs ([a-z][a-z-]*)(?: (save|load|tag|reset|on|off|clear|run|status|expiry)\b)?")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
NO_VERB = {"archive", "fetched", "is", "needs"}
"""What may stand behind the word onefs in a sentence about it."""


def kinds(kind: type[OnefsError] = OnefsError) -> Iterator[type[OnefsError]]:
    """All of them but `ALFError` and those below it, which have a form of their own."""
    yield kind
    for below in kind.__subclasses__():
        if below is not ALFError:
            yield from kinds(below)


@pytest.mark.parametrize("kind", [*kinds()])
def test_a_failure_is_a_sentence_and_its_remedy(kind: type[OnefsError]) -> None:
    error = kind("The disk is full.", "Free some space.")
    assert str(error) == "The disk is full. Free some space."
    assert (error.reason, error.remedy) == ("The disk is full.", "Free some space.")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert kind.__doc__


@pytest.mark.parametrize("kind", [*kinds()])
def test_a_failure_can_be_pickled_where_distributed_is_imported(kind: type[OnefsError]) -> None:
    pickling_support.install()  # as distributed does when it is imported
    error = pickle.loads(pickle.dumps(kind("The disk is full.", "Free some space.", retry_after_s=2.0)))
    assert (type(error), error.reason, error.remedy, error.retry_after_s) == (
        kind, "The disk is full.", "Free some space.", 2.0
    )  # fmt: skip


@pytest.mark.parametrize("kind", [*kinds()])
def test_every_kind_of_failure_has_a_remedy(kind: type[OnefsError]) -> None:
    error = kind("The disk is full.")
    assert re.fullmatch(r"[A-Z][^.].*\.", error.remedy)
    assert str(error) == f"The disk is full. {error.remedy}"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    check_remedy(error.remedy, kind.__name__)


def commands() -> dict[str, click.Command]:
    """Every verb, and every word below one, by how it is typed."""
    assert isinstance(command_line, Verbs)
    found: dict[str, click.Command] = {}
    context = click.Context(command_line)
    for verb in VERBS:
        command = command_line.get_command(context, verb)
        assert command is not None
        found[verb] = command
        if isinstance(command, click.Group):
            found |= {f"{verb} {word}": below for word, below in command.commands.items()}
    return found


COMMANDS = commands()
FLAGS = {flag for command in COMMANDS.values() for each in command.params for flag in each.opts} | {"--help"}
FLAGS_OF_OTHERS = {"--bind", "--system", "--create-home", "--home-dir", "--scheduler-file"}


def check_remedy(text: str, where: str) -> None:
    for verb, below in COMMAND.findall(text):
        assert verb in COMMANDS or verb in NO_VERB, f"{where}: there is no onefs {verb}: {text}"
        if isinstance(COMMANDS.get(verb), click.Group) and below:
            assert f"{verb} {below}" in COMMANDS, f"{where}: there is no onefs {verb} {below}: {text}"
    for flag in FLAG.findall(text):
        assert flag in FLAGS | FLAGS_OF_OTHERS, f"{where}: no command has {flag}: {text}"


def texts(node: ast.AST, module: ModuleType) -> Iterator[str]:
    """The constant texts that an expression is made of, those of the module's own names among them."""
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value
        elif isinstance(part, ast.Name) and isinstance(getattr(module, part.id, None), str):
            yield getattr(module, part.id)


def remedies(module: ModuleType) -> Iterator[tuple[str, list[str]]]:
    """What each call of an error's class in a module gives as its remedy, and where."""
    names = {kind.__name__ for kind in kinds()}
    path = Path(inspect.getsourcefile(module) or "")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
            given = [*node.args[1:2], *(word.value for word in node.keywords if word.arg == "remedy")]
            if given:
                yield f"{module.__name__}:{node.lineno}", list(texts(given[0], module))


def test_remedies_name_commands_and_flags_that_exist() -> None:
    found = [remedy for module in MODULES for remedy in remedies(module)]
    assert len(found) > 200
    for where, parts in found:
        for text in parts:
            check_remedy(text, where)


def test_a_remedy_that_names_no_command_is_found() -> None:
    for text in ("Run onefs mend.", "Give --no-such-flag.", "Run: onefs tables clear."):
        with pytest.raises(AssertionError):
            check_remedy(text, "here")
