"""Labels of recordings: which texts can be one."""

from onefs.errors import UsageError

EVERYTHING = ""
"""The label of the recording that has none: it takes every read."""
FILES = ("datasets.csv", "sessions.csv", "manifest.jsonl")
LONGEST_LABEL = 64
LONGEST_LABEL_BYTES = 190
"""The rest of what a file's name can have is for the time and the kind of what is saved."""


def check_label(label: str) -> str:
    """A label, which names a folder and stands in names of files. Raises `UsageError`."""
    why = _why_no_label(label)
    if why:
        raise UsageError(f"{label!r} cannot be a label: {why}.", "Give another name.")
    return label


def _why_no_label(label: str) -> str:
    if not label:
        return "it is empty"
    if label.startswith((".", "-", " ")):
        return "it begins with a dot, a dash or a space"
    if label in FILES:
        return ".onefs/recorded has a file of that name"
    if "/" in label or not label.isprintable():
        return "a slash, and what cannot be printed, cannot stand in the name of a file"
    if len(label) > LONGEST_LABEL or len(label.encode()) > LONGEST_LABEL_BYTES:
        return f"it is longer than {LONGEST_LABEL} characters, or {LONGEST_LABEL_BYTES} bytes"
    return ""
