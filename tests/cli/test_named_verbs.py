"""Sentences name verbs of the command line only if there are such."""

import ast
import re
from pathlib import Path

import pytest

import onefs
from onefs.cli.main import VERBS

MODULES = sorted(Path(onefs.__file__).parent.rglob("*.py"))
NAMED = re.compile(r"\bonefs ([a-z][a-z-]*)")


def sentences(file):
    """The texts in a module's code, docstrings excepted."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    docstrings = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


@pytest.mark.parametrize("file", MODULES, ids=[str(file.relative_to(MODULES[0].parent)) for file in MODULES])
def test_every_verb_that_is_named_exists(file):
    # "onefs keeps", "onefs is", "an onefs that": no commands. No verb of ours but status ends so.
    named = [(line, word) for line, text in sentences(file) for word in NAMED.findall(text)]
    absent = [(line, word) for line, word in named if word not in VERBS and word != "that" and not word.endswith("s")]
    assert not absent
