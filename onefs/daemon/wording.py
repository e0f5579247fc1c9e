"""Facts as lines for people: nested ones flattened, sizes, times and durations in words."""

from onefs.text import duration_text, size_text

_WORDS = {True: "yes", False: "no"}
_ABSENT = {"files": "unknown", "of": "none"}
"""What is said for None, by the last word of a key, where "never" is not meant."""


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
    return [(key, _word(value, _ABSENT.get(parts[-1], "never")))]


def _word(value: object, absent: str) -> object:
    if value is None:
        return absent
    return _WORDS[value] if isinstance(value, bool) else value
