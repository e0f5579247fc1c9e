"""Text for people: counts with their nouns, sizes, durations, times, and names with control characters escaped."""

from datetime import UTC, datetime


def counted(number: int, noun: str) -> str:
    """A number with its noun: `1 file`, `2 files`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def size_text(size_bytes: int) -> str:
    """A size for people: `1.2 GB`."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    size = float(size_bytes)
    for unit in ("kB", "MB", "GB", "TB", "PB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} EB"


def duration_text(duration_s: float) -> str:
    """A duration for people: `3 h 20 min`."""
    minutes, seconds = divmod(round(duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    if minutes:
        return f"{minutes} min {seconds} s" if seconds else f"{minutes} min"
    return f"{seconds} s"


def ago_text(age_s: float) -> str:
    """An age for people, in its largest unit: `3 hours ago`."""
    if age_s < 10:
        return "just now"
    for unit, unit_s, most in (("second", 1, 120), ("minute", 60, 120), ("hour", 3600, 48), ("day", 86400, 90)):
        if age_s < most * unit_s:
            return f"{counted(int(age_s // unit_s), unit)} ago"
    months = int(age_s // (30.44 * 86400))
    return f"{counted(months, 'month')} ago" if months < 24 else f"{counted(months // 12, 'year')} ago"


def moment(time_s: float) -> str | None:
    """A time in UTC; None for 0, which stands for never."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if time_s else None


def seconds_of(moment: str | None) -> float | None:
    """Seconds since the epoch of a time as `moment` writes it; None for never."""
    return None if moment is None else datetime.fromisoformat(moment).timestamp()


def visible(text: str) -> str:
    """The text with what is not printable escaped: control characters, marks of text direction, invalid bytes."""
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(letter: str) -> str:
    if letter.isprintable():
        return letter
    if "\udc80" <= letter <= "\udcff":  # a byte of a file name that is not UTF-8
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode("ascii")
