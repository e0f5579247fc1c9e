"""The times in the metadata of cache tables, `date_created` and `date_modified`: texts such as `2026-01-02 03:04`.

They are in UTC and name no zone: Alyx writes none, and ONE cannot compare a time with a zone to one without.
"""

from datetime import UTC, datetime

_FIRST, _LAST = datetime(2, 1, 1, tzinfo=UTC), datetime(9998, 12, 31, tzinfo=UTC)
"""Python cannot convert times at the ends of its calendar to every zone."""


def table_time(text: object) -> datetime | None:
    """The time that a text means, which is in UTC unless it names a zone. None if it is none from year 2 to 9998."""
    if not isinstance(text, str):
        return None
    try:
        time = datetime.fromisoformat(text)
        time = time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return time if _FIRST <= time <= _LAST else None


def table_time_text(time: datetime | None = None) -> str:
    """The text for a time, for now unless given. A time without a zone is local, as Python has it."""
    return (time or datetime.now(UTC)).astimezone(UTC).isoformat(" ", "minutes").removesuffix("+00:00")
