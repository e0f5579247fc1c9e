"""Checks and prints the endpoints of a database and their actions."""

import sys
from pprint import pformat

from onefs.alyx.schema import Schema
from onefs.errors import UsageError


def check(schema: Schema, endpoint: str, action: str = "") -> None:
    """Raise `UsageError` if there is no such endpoint, or no such action there; without an action none is checked."""
    if endpoint not in schema.endpoints:
        raise UsageError(f"The database has no endpoint {endpoint!r}.", f"Use one of {', '.join(schema.endpoints)}.")
    actions = schema.actions(endpoint)
    if action and action not in actions:
        raise UsageError(f"{endpoint} have no action {action!r}.", f"Use one of {', '.join(actions)}.")


def print_endpoints(schema: Schema) -> None:
    """Print the names of all endpoints."""
    sys.stdout.write(f"{pformat(schema.endpoints)}\n")


def print_actions(schema: Schema, endpoint: str, action: str = "") -> None:
    """Print an endpoint's actions, or one of them, each with its path and arguments. Raises `UsageError`."""
    check(schema, endpoint, action)
    for each in [action] if action else schema.actions(endpoint):
        names = "".join(f"    {name}\n" for name in schema.field_names(endpoint, each))
        sys.stdout.write(f"{each}: {schema.url(endpoint, each)}\n{names}")
