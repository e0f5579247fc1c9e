"""The screen of `onefs status --watch`: the status of mounts and its rates of change, as lines of styled text."""

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import zip_longest

from onefs.monitoring.status_text import (
    Facts,
    job_lines,
    state_lines,
    title_lines,
    transfer_lines,
)
from onefs.monitoring.status_troubles import crawler_lines, failure_lines, server_lines
from onefs.monitoring.styled import BAR_WIDTH, Line, Span, Style, bar, clipped_end, rows
from onefs.text import counted, duration_text, size_text, visible

RATES_KEPT = 40
LABS_SHOWN, PROGRAMS_SHOWN, FAILURES_SHOWN = 6, 6, 3
FEWEST_TRANSFERS, MOST_TRANSFERS = 2, 30
TWO_COLUMNS_FROM = 110
"""The least columns for labs and programs side by side."""
_LEVELS = " ▁▂▃▄▅▆▇█"
_ROLES = {"database": "database", "data": "data servers"}


class Rates:
    """How fast the counters of one mount grow from one report to the next."""

    def __init__(self) -> None:
        self._before: tuple[float, Facts] | None = None
        self._restarted_s: float | None = None
        self.bytes_per_s: deque[float] = deque(maxlen=RATES_KEPT)
        self.requests_per_s: dict[str, float] = {}

    def take(self, facts: Facts, now_s: float) -> None:
        """Update the rates from a new report. A restart of the daemon resets them."""
        before, self._before = self._before, (now_s, facts)
        if before is None:
            return
        then_s, old = before
        if old["pid"] != facts["pid"]:
            self._restarted_s = now_s
            self.requests_per_s = {}
            return
        elapsed_s = max(now_s - then_s, 1e-3)
        self.bytes_per_s.append((facts["totals"]["bytes_fetched"] - old["totals"]["bytes_fetched"]) / elapsed_s)
        self.requests_per_s = {
            kind: (number - old["requests"].get(kind, 0)) / elapsed_s
            for kind, number in facts["requests"].items()
            if number
        }

    def lines(self, width: int, now_s: float) -> list[Line]:
        """Lines with the bytes received and the requests sent per second."""
        latest = self.bytes_per_s[-1] if self.bytes_per_s else 0.0
        asked = ", ".join(f"{_ROLES.get(kind, kind)} {rate:.1f}/s" for kind, rate in self.requests_per_s.items())
        room = max(min(width - 40, RATES_KEPT), 0)
        lines = rows(
            "network", f"{size_text(round(latest)) + '/s':<12}{sparkline(list(self.bytes_per_s)[-room:])}", width
        )
        lines += rows("asked", asked, width)
        if self._restarted_s is not None:
            ago = duration_text(now_s - self._restarted_s)
            lines += rows("", f"The daemon was started again {ago} ago.", width, Style.WARNING)
        return lines


def sparkline(values: Sequence[float]) -> str:
    """Values as a row of block characters, scaled to the highest."""
    most = max(values, default=0.0)
    if most <= 0:
        return ""
    return "".join(_LEVELS[round(value / most * (len(_LEVELS) - 1))] for value in values)


def mount_lines(facts: Facts, rates: Rates, width: int, height: int, now_s: float) -> list[Line]:
    """One mount in at most `height` lines: those of transfers are as many as there is room for."""
    if "problem" in facts:
        lines = [*title_lines(facts, width), *rows("state", str(facts["problem"]), width, Style.BAD)]
        return lines[:height]
    head = [*title_lines(facts, width), *state_lines(facts, width, now_s), *rates.lines(width, now_s)]
    urgent = [*server_lines(facts["passed_over"], width), *crawler_lines(facts.get("crawlers", ()), width)]
    tail = [
        *job_lines(facts["jobs"], width, now_s),
        *failure_lines(facts["errors"], width, now_s, FAILURES_SHOWN),
        *_side_by_side(
            _table("cache by lab", _labs(facts["cache"].get("labs") or ())),
            _table("programs", _programs(facts.get("programs", ()))),
            width,
        ),
    ]
    room = height - len(head) - len(urgent) - len(tail) - 2  # a line for all of them, one for how many more there are
    most = min(max(room, FEWEST_TRANSFERS), MOST_TRANSFERS)
    return [*head, *urgent, *transfer_lines(facts["transfers"], width, most), *tail][:height]


def _labs(labs: Sequence[Facts]) -> list[Line]:
    most_bytes = max((lab["bytes"] for lab in labs), default=0)
    shown = [
        [
            Span(f"  {clipped_end(visible(lab['lab'] or 'no lab'), 19):<20} "),
            *bar(lab["bytes"] / most_bytes if most_bytes else 0.0),
            Span(f" {size_text(lab['bytes']):>9}  {counted(lab['files'], 'file')}"),
        ]
        for lab in labs[:LABS_SHOWN]
    ]
    return shown + _more(len(labs) - LABS_SHOWN)


def _programs(programs: Sequence[Facts]) -> list[Line]:
    shown = [
        [
            Span(f"  {clipped_end(visible(each['program']), 19):<20} "),
            Span(f"{each['fetched_files']:>6} fetched {size_text(each['read_bytes']):>9} read"),
        ]
        for each in programs[:PROGRAMS_SHOWN]
    ]
    return shown + _more(len(programs) - PROGRAMS_SHOWN)


def _more(number: int) -> list[Line]:
    return [[Span(f"  and {number} more", Style.FAINT)]] if number > 0 else []


def _table(title: str, lines: list[Line]) -> list[Line]:
    return [[Span(f"  {title}", Style.FAINT)], *lines] if lines else []


def _side_by_side(left: list[Line], right: list[Line], width: int) -> list[Line]:
    if not left or not right or width < TWO_COLUMNS_FROM:
        return left + right
    half = width // 2
    empty: Line = []
    return [[*_filled(a, half), *b] for a, b in zip_longest(left, right, fillvalue=empty)]


def _filled(line: Line, width: int) -> Line:
    length = sum(len(span.text) for span in line)
    return [*line, Span(" " * max(width - length, 1))]


def screen(
    reports: Sequence[Facts], rates: Mapping[str, Rates], width: int, height: int, now_s: float, note: str
) -> list[Line]:
    """All mounts in `height` lines, in equal shares, and the note at the end."""
    if not reports:
        return [[Span("Nothing is mounted.")], [Span(note, Style.FAINT)]]
    share = max((height - 1) // len(reports) - 1, BAR_WIDTH)
    lines: list[Line] = []
    for report in reports:
        lines += [*mount_lines(report, rates[report["mountpoint"]], width, share, now_s), []]
    return [*lines[: height - 1], [Span(note, Style.FAINT)]]
