"""Shell patterns over names and paths: `* ? [ab] [!ab]` within one name, `**` for any number of folders."""

import fnmatch
import re
from collections.abc import Sequence
from functools import lru_cache

ANY_FOLDERS = "**"
_WILD = re.compile(r"[*?\[]")
_KEPT = 1 << 12

Rule = re.Pattern[str] | None
"""What one part of a path must match as a whole; None for any number of parts."""


def is_pattern(text: str) -> bool:
    """Whether a text holds a wildcard."""
    return _WILD.search(text) is not None


@lru_cache(_KEPT)
def name_expression(pattern: str) -> re.Pattern[str]:
    """The regular expression of a shell pattern, case-sensitive; `*` stands for any characters."""
    return re.compile(fnmatch.translate(pattern))


@lru_cache(_KEPT)
def path_rules(pattern: str) -> tuple[Rule, ...]:
    """A rule for each part of a pattern for paths. Empty parts and `.` count for nothing."""
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    return tuple(None if part == ANY_FOLDERS else name_expression(part) for part in parts)


def is_path_match(rules: Sequence[Rule], parts: Sequence[str]) -> bool:
    """Whether a whole path, as its parts, is what the rules say."""
    if not rules:
        return not parts
    if rules[0] is None:
        return any(is_path_match(rules[1:], parts[start:]) for start in range(len(parts) + 1))
    return bool(parts) and bool(rules[0].match(parts[0])) and is_path_match(rules[1:], parts[1:])
