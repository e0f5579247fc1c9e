"""Owns how facts read: sizes, times and durations for people, and nested facts as lines."""

from datetime import UTC, datetime

_WORDS = {True: "yes", False: "no"}


def flatten(value: object, prefix: str = "") -> list[tuple[str, object]]:
    """Nested dictionaries and lists as pairs of a dotted key and a value as people read it: sizes such as 1.2 GB."""
    if isinstance(value, dict):
        pairs = [pair for key, inner in value.items() for pair in flatten(inner, f"{prefix}{key}.")]
        return pairs or [(prefix.rstrip("."), "none")]
    if isinstance(value, list):
        pairs = [pair for number, inner in enumerate(value, 1) for pair in flatten(inner, f"{prefix}{number}.")]
        return pairs or [(prefix.rstrip("."), "none")]
    key = prefix.rstrip(".")
    folder, _, name = key.rpartition(".")
    parts = name.split("_")
    if "bytes" in parts:
        short = "_".join(part for part in parts if part != "bytes")
        name = f"{folder}.{short}" if folder else short
        return [(name, size_text(value) if isinstance(value, int) else _word(value, "unknown"))]
    if parts[-1] == "s":
        named = key.removesuffix("_s")
        return [(named, duration_text(value) if isinstance(value, int | float) else _word(value, "unknown"))]
    return [(key, _word(value, "unknown" if parts[-1] == "files" else "never"))]


def _word(value: object, absent: str) -> object:
    if value is None:
        return absent
    return _WORDS[value] if isinstance(value, bool) else value


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
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def moment(time_s: float) -> str | None:
    """A time in UTC; None for 0, which stands for never."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if time_s else None
