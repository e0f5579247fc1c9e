"""The extended attributes: one table for files, one for session directories."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from onefs.catalogue.interface import Catalogue, Rows
from onefs.catalogue.records import Dataset, Session
from onefs.catalogue.revisions import Rule, why_hidden
from onefs.errors import ForeignAttributeError, NoAttributeError

if TYPE_CHECKING:
    from onefs.fetch.access import Inspection

NAMESPACE = "user."
PREFIX = "user.onefs."
PROBES = f"{PREFIX}probes"
"""The attribute whose value may take reading a table first."""

HIDDEN = f"{PREFIX}hidden:"
"""With a path in the session behind it: why nothing is shown there. It is listed nowhere, and for `onefs info`."""

LOADER = f"{PREFIX}loader"
"""A program that loads files reads this attribute of the root, so that it is never taken for a crawler."""

LEFT_OUT = f"{PREFIX}left_out"
"""On a folder of searches: how many sessions match that have no place in the tree. For `onefs search`."""

Facts = TypeVar("Facts")


@dataclass(frozen=True, slots=True)
class FileFacts:
    """All that is known of one dataset."""

    dataset: Dataset
    inspection: "Inspection"
    cached_path: Path | None
    is_pinned: bool


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """All that is known of a session's folder. `sessions` are those on its path; `shown` says which rows are shown."""

    sessions: list[Session]
    catalogue: Catalogue
    rows: Rows
    shown: list[bool]
    cached_bytes: Callable[[], int]


def _default_revision(facts: FileFacts) -> str:
    known = facts.dataset.default_revision
    return "" if known is None else str(known).lower()


FILE_ATTRIBUTES: dict[str, Callable[[FileFacts], str]] = {
    "id": lambda facts: str(facts.dataset.id),
    "eid": lambda facts: str(facts.dataset.eid or ""),
    "hash": lambda facts: facts.dataset.md5,
    "size": lambda facts: "" if facts.dataset.size_bytes is None else str(facts.dataset.size_bytes),
    "qc": lambda facts: facts.dataset.qc.name,
    "revision": lambda facts: facts.dataset.revision,
    "default_revision": _default_revision,
    "state": lambda facts: facts.inspection.state.value,
    "source": lambda facts: facts.inspection.source,
    "urls": lambda facts: "\n".join(facts.inspection.urls),
    "error": lambda facts: facts.inspection.error,
    "pinned": lambda facts: str(facts.is_pinned).lower(),
    "cache_path": lambda facts: str(facts.cached_path or ""),
}

SESSION_ATTRIBUTES: dict[str, Callable[[SessionFacts], str]] = {
    "eid": lambda facts: ", ".join(str(each.eid) for each in facts.sessions),
    "projects": lambda facts: facts.sessions[0].projects,
    "task_protocol": lambda facts: facts.sessions[0].task_protocol,
    "datasets": lambda facts: str(sum(facts.shown)),
    "size": lambda facts: str(
        sum(max(size, 0) for size, shown in zip(facts.rows.sizes, facts.shown, strict=True) if shown)
    ),
    "cached": lambda facts: str(facts.cached_bytes()),
    "probes": lambda facts: ", ".join(
        f"{name} ({pid})" for each in facts.sessions for name, pid in facts.catalogue.probes_of(each.eid)
    ),
}


def hidden(name: str, rows: Rows, rule: Rule) -> str:
    """Why a rule hides what an attribute's name tells of: reason and remedy. Raises `NoAttributeError`."""
    found = why_hidden(rows, rule, name.removeprefix(HIDDEN))
    if found is None:
        raise NoAttributeError("Nothing is hidden there.")
    return "\n".join(found)


def value(attributes: dict[str, Callable[[Facts], str]], name: str, facts: Facts) -> str:
    """One attribute's text. Raises `ForeignAttributeError` or `NoAttributeError`."""
    check(name)
    reader = attributes.get(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
    if reader is None:
        raise NoAttributeError(f"There is no attribute {name} here.")
    return reader(facts)


def check(name: str) -> None:
    """Raise `ForeignAttributeError` for names outside `user.`, so that the kernel asks for such a name only once."""
    if not name.startswith(NAMESPACE):
        raise ForeignAttributeError(f"Attributes such as {name} are not kept here.")


def names(attributes: dict[str, Callable[..., str]]) -> list[str]:
    """The full names of a table's attributes."""
    return [PREFIX + name for name in attributes]
