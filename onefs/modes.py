"""The modes of a mount: what each allows, and which a source can be in."""

from dataclasses import dataclass, replace
from enum import StrEnum

from onefs.errors import UsageError


class Mode(StrEnum):
    """Where the catalogue comes from, and whether files are fetched."""

    LOCAL = "local"
    AUTO = "auto"
    REFRESH = "refresh"
    REMOTE = "remote"


@dataclass(frozen=True, slots=True)
class Allows:
    """What a mode allows: fetching files, new tables, a catalogue answered by the database."""

    fetching: bool
    new_tables: bool
    live_catalogue: bool
    needs_database: bool


ALLOWED = {
    Mode.LOCAL: Allows(fetching=False, new_tables=False, live_catalogue=False, needs_database=False),
    Mode.AUTO: Allows(fetching=True, new_tables=True, live_catalogue=False, needs_database=False),
    Mode.REFRESH: Allows(fetching=True, new_tables=True, live_catalogue=False, needs_database=True),
    Mode.REMOTE: Allows(fetching=True, new_tables=False, live_catalogue=True, needs_database=True),
}


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a source has: a server that holds files, and a database."""

    has_server: bool
    has_database: bool


def check(mode: Mode, source: str, abilities: Abilities) -> None:
    """Raise `UsageError` if a source cannot be in a mode."""
    if ALLOWED[mode].needs_database and not abilities.has_database:
        raise UsageError(f"Mode {mode} needs a database, and {source} has none.", "Choose mode auto or local.")
    if ALLOWED[mode].fetching and not abilities.has_server:
        raise UsageError(
            f"Mode {mode} fetches files, and {source} names no server.",
            "Mount it with --data-url, or stay in mode local.",
        )


@dataclass(frozen=True, slots=True)
class ModeState:
    """The mode that was asked for and the one in effect.

    They differ while newer tables cannot be had: then `reason` says why, `since_s` since when, `retry_s` when it is
    tried again (both seconds since the epoch).
    """

    requested: Mode
    effective: Mode
    reason: str = ""
    since_s: float = 0.0
    retry_s: float = 0.0

    def fell_back(self, reason: str, now_s: float, retry_s: float) -> "ModeState":
        """The catalogue could not be renewed: it goes on with what is at hand."""
        since_s = self.since_s if self.reason else now_s
        return ModeState(self.requested, Mode.LOCAL, reason, since_s, retry_s)

    def switched(self, mode: Mode, now_s: float) -> "ModeState":
        """Another mode is asked for. What a server did not answer is no better for that: it is to be tried now."""
        if not self.reason or not (ALLOWED[mode].new_tables or ALLOWED[mode].live_catalogue):
            return ModeState(mode, mode)
        return replace(self, requested=mode, retry_s=now_s)

    def recovered(self) -> "ModeState":
        """All is as it was asked for."""
        return ModeState(self.requested, self.requested)


def parse(word: str) -> Mode:
    """The mode that a word names. Raises `UsageError`."""
    try:
        return Mode(word.strip().lower())
    except ValueError:
        raise UsageError(f"{word.strip()!r} is no mode.", "Give one of " + ", ".join(Mode) + ".") from None
