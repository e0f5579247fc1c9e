"""The part of the status for people that is about troubles: servers that are away, crawlers, failures."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from onefs.alf import STATE_FOLDER
from onefs.monitoring.styled import Line, Style, rows
from onefs.text import ago_text, counted, duration_text, seconds_of

_OF_ONE_FILE = re.compile(r"[^\s(]+://[^\s,;)]+|[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d+")
"""What differs in the sentences of files that fail for one cause."""
_COMMANDED = (f"{STATE_FOLDER}/control", f"{STATE_FOLDER}/mode")
"""Paths that commands are written to."""
Facts = Mapping[str, Any]


def server_lines(passed_over: Sequence[Facts], width: int) -> list[Line]:
    """The servers that are not asked now, why, until when, and what waits for them."""
    lines: list[Line] = []
    for each in passed_over:
        waiting = f" {counted(len(each['waiting']), 'request')} waiting." if each["waiting"] else ""
        words = f"{each['server']}, {each['role']}, away for {duration_text(each['since_s'])}: {each['reason']}"
        again = f"It is asked again in {duration_text(each['left_s'])}.{waiting}"
        lines += rows("server", f"{words.rstrip('.')}. {again}", width, Style.WARNING)
    return lines


def crawler_lines(crawlers: Sequence[Facts], width: int) -> list[Line]:
    """The programs for which very many files are fetched."""
    lines: list[Line] = []
    for each in crawlers:
        words = f"{each['program']} (user {each['uid']}) had {counted(each['fetched_files'], 'file')} fetched in "
        words += duration_text(each["since_s"])
        words += ": it can read what is in the cache, and nothing more is fetched for it." if each["refused"] else "."
        lines += rows("crawler", words, width, Style.WARNING)
    return lines


def failure_lines(errors: Sequence[Facts], width: int, now_s: float, most: int) -> list[Line]:
    """The last failures, those of one cause together, the newest first, each cause with its remedy.

    Commands that were refused are left out: whoever gave them was told.
    """
    lines: list[Line] = []
    groups = list(_groups([error for error in errors if error["path"] not in _COMMANDED]))
    for group in groups[:most]:
        newest, failed_s = group[0], seconds_of(group[0]["time"])
        when = f"{ago_text(now_s - failed_s)}, " if failed_s is not None else ""
        times = f", {newest['count']} times" if newest["count"] > 1 else ""
        more = f" {counted(len(group) - 1, 'other file')} likewise." if len(group) > 1 else ""
        is_warning = newest["errno"] == "-"
        head = f"{when}{'' if is_warning else newest['errno']}{times}".rstrip(", ")
        label, style = ("warning", Style.WARNING) if is_warning else ("failed", Style.BAD)
        lines += rows(label, f"{head}: {newest['reason']}{more}", width, style)
        lines += rows("", newest["remedy"], width)
    return lines


def _groups(errors: Sequence[Facts]) -> Iterator[list[Facts]]:
    groups: dict[tuple[str, str], list[Facts]] = {}
    for error in reversed(errors):
        cause = _OF_ONE_FILE.sub("", error["reason"].replace(error["path"], ""))
        groups.setdefault((error["errno"], cause), []).append(error)
    yield from groups.values()
