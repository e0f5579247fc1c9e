"""Completing words of a command line in a shell."""

from collections.abc import Callable

import click
from click.shell_completion import CompletionItem

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def complete(*words: str) -> Completer:
    """A completer that offers those of `words` that begin as the typed one does, else paths."""

    def completed(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
        del context, parameter
        found = [CompletionItem(word) for word in words if word.lower().startswith(begun.lower())]
        return found or [CompletionItem(begun, type="file")]

    return completed
