"""The times in the metadata of cache tables, `date_created` and `date_modified`: texts such as `2026-01-02 03:04`.

They are in UTC and name no zone: Alyx writes none, and ONE cannot compare a time with a zone to one without.
"""

from datetime import UTC, datetime


def table_time(text: object) -> datetime | None:
    """The time that a text means, in UTC; in another zone only if it names that. None if it is no time."""
    if not isinstance(text, str):
        return None
    try:
        time = datetime.fromisoformat(text)
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def table_time_text(time: datetime | None = None) -> str:
    """The text for a time, for now unless given. A time without a zone is local, as Python has it."""
    return (time or datetime.now(UTC)).astimezone(UTC).isoformat(" ", "minutes").removesuffix("+00:00")
