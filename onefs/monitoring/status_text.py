"""The facts of a status as a screen for people: lines of styled text, in words, for any width."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from onefs.fuse.kernel import ACTIVE
from onefs.modes import ALLOWED, Mode
from onefs.monitoring.concerns import is_of_files
from onefs.monitoring.status_troubles import crawler_lines, failure_lines, server_lines
from onefs.monitoring.styled import (
    BAR_WIDTH,
    INDENT,
    WIDTH,
    Line,
    Span,
    Style,
    bar,
    clipped_end,
    clipped_start,
    plain,
    rows,
    wrapped,
)
from onefs.settings import Settings
from onefs.table_times import table_time
from onefs.text import ago_text, counted, duration_text, seconds_of, size_text, visible

JOB_SHOWN_S = 3600.0
"""For how long the result of a job is shown."""
JOBS_SHOWN, TRANSFERS_SHOWN, FAILURES_SHOWN, PROGRAMS_SHOWN = 3, 8, 3, 3
_MODES = {
    "local": "nothing is fetched",
    "auto": "files are fetched, and newer tables once these are old",
    "refresh": "files are fetched; newer tables are asked for before a folder is listed",
    "remote": "files are fetched; the database is asked about each folder that is listed",
}
_WIDE = 100
"""From so many columns on the time left is called so."""
_ROLES = {"database": "the database", "data": "data servers"}
Facts = Mapping[str, Any]


def status_text(facts: Facts, width: int = WIDTH, now_s: float | None = None) -> str:
    """The facts of one mount for people, without colour."""
    return "".join(f"{plain(line)}\n" for line in status_lines(facts, width, now_s))


def status_lines(facts: Facts, width: int = WIDTH, now_s: float | None = None) -> list[Line]:
    """The facts of one mount, or the problem of one that does not answer, in lines of `width` columns.

    Only a word that is longer than a line, such as a path, makes a longer line, so that it can be copied.
    """
    now_s = time.time() if now_s is None else now_s
    lines = title_lines(facts, width)
    if "problem" in facts:
        return lines + rows("state", str(facts["problem"]), width, Style.BAD)
    return [
        *lines,
        *state_lines(facts, width, now_s),
        *rows("programs", _programs(facts.get("programs", [])), width),
        *job_lines(facts["jobs"], width, now_s),
        *transfer_lines(facts["transfers"], width, TRANSFERS_SHOWN),
        *server_lines(facts["passed_over"], width),
        *crawler_lines(facts.get("crawlers", ()), width),
        *failure_lines(facts["errors"], width, now_s, FAILURES_SHOWN),
        *rows("log", facts["log"], width, Style.FAINT),
    ]


def title_lines(facts: Facts, width: int) -> list[Line]:
    """What is mounted, and where."""
    return wrapped(f"{facts['source']} at {facts['mountpoint']}", width, Style.TITLE, "", INDENT)


def state_lines(facts: Facts, width: int, now_s: float) -> list[Line]:
    """How the mount is: its mode, tables, view, cache, and what it did since its start."""
    return [
        *_state(facts, width),
        *_mode(facts["mode"], width, now_s),
        *_tables(facts, width, now_s),
        *rows("view", _view(facts["shown"]), width),
        *rows("cache", _cache(facts["cache"]), width, Style.BAD if "problem" in facts["cache"] else Style.PLAIN),
        *rows("kernel", _kernel(facts.get("kernel", {})), width),
        *_since_start(facts, width, now_s),
        *_recording(facts["recording"], width),
    ]


# -- how it is -----------------------------------------------------------------------------------------------------


def _state(facts: Facts, width: int) -> list[Line]:
    concerns: Sequence[str] = facts.get("concerns", ())
    if concerns:
        return rows("state", f"works, but {'; '.join(concerns)}", width, Style.WARNING)
    coming = len(facts["transfers"])
    return rows("state", f"well, fetching {counted(coming, 'file')}" if coming else "well", width, Style.GOOD)


def _mode(mode: Facts, width: int, now_s: float) -> list[Line]:
    requested, reason = mode["requested"], mode.get("reason")
    if not reason:
        return rows("mode", f"{requested}: {_MODES[requested]}", width)
    since, next_try = seconds_of(mode["since"]), seconds_of(mode["next_try"])
    words = requested if mode["effective"] == requested else f"{requested} is asked for, {mode['effective']} in effect"
    words += f" since {duration_text(max(now_s - since, 0))}: {reason}" if since else f": {reason}"
    return rows("mode", f"{words} {_again(next_try, now_s)}", width, Style.WARNING)


def _again(next_try_s: float | None, now_s: float) -> str:
    if next_try_s is None or next_try_s <= now_s:
        return "It is tried again now."
    return f"It is tried again in {duration_text(next_try_s - now_s)}."


def _tables(facts: Facts, width: int, now_s: float) -> list[Line]:
    tables, created = facts["tables"], table_time(facts["tables"]["created"])
    words = [f"{counted(tables['sessions'], 'session')}, {counted(tables['datasets'], 'dataset')}"]
    if created is not None:
        of = "of the folder's files " if is_of_files(facts) else ""
        words.append(f"made {of}{ago_text(now_s - created.timestamp())} ({created:%Y-%m-%d})")
    checked = seconds_of(tables["checked"])
    if checked is not None:
        asked = "files last looked at" if is_of_files(facts) else "newer ones asked for"
        words.append(f"{asked} {ago_text(now_s - checked)}")
        if tables["expired"] and ALLOWED[Mode(facts["mode"]["requested"])].new_tables:
            words.append("due for renewal")
    saved_s = seconds_of(tables["saved"])
    if saved_s is not None:
        words.append(f"saved {ago_text(now_s - saved_s)}")
    if tables["tag"]:
        words.append(f"those of the release {tables['tag']} only")
    left_out = sum(tables["left_out"].values())
    if left_out:
        words.append(f"{left_out} cannot be shown")
    lines = rows("tables", ", ".join(words), width)
    for key in ("resting", "warning"):
        lines += rows("", tables.get(key, ""), width, Style.WARNING if key == "warning" else Style.PLAIN)
    return lines


def _view(shown: Facts) -> str:
    words = ["the default editions only"] if shown["view"] == "default" else []
    if shown["as_of"]:
        words.append(f"as of {shown['as_of']}")
    if shown["qc"] != Settings().qc:
        words.append(f"QC {shown['qc']} or better")
    if shown["ignore_qc_not_set"]:
        words.append("without what has no QC")
    return ", ".join(words)


def _cache(cache: Facts) -> str:
    if "problem" in cache:
        return f"{cache['directory']} {cache['problem']}"
    if cache["used_bytes"] is None:
        words = ["not a cache"]
    else:
        limit = f"of {size_text(cache['most_bytes'])}" if cache["most_bytes"] else "with no limit"
        words = [f"{size_text(cache['used_bytes'])} {limit}, in {counted(cache['used_files'], 'file')}"]
    if cache["pinned_files"]:
        words.append(f"{cache['pinned_files']} pinned")
    if cache["evicted_files"]:
        words.append(f"{size_text(cache['evicted_bytes'])} evicted")
    kept_free = f" ({size_text(cache['kept_free_bytes'])} kept free)" if cache["kept_free_bytes"] else ""
    return "; ".join([*words, f"{size_text(cache['free_bytes'])} free on the disk{kept_free}"])


def _kernel(kernel: Facts) -> str:
    """How the kernel serves the mount. Mounts of an earlier version tell nothing."""
    if not kernel:
        return ""
    protocol = f" (FUSE {kernel['protocol']})" if kernel["protocol"] else ""
    features = {"passthrough": kernel["passthrough"], "kept listings": kernel["kept_listings"]}
    words = [f"{name} {'on' if state == ACTIVE else 'off'}" for name, state in features.items()]
    if kernel["read_ahead_kib"]:
        words.append(f"read-ahead {kernel['read_ahead_kib']} KiB")
    why = "" if set(features.values()) == {ACTIVE} else "; onefs doctor says why"
    return f"{kernel['adapter']}{protocol}: {', '.join(words)}{why}"


def _since_start(facts: Facts, width: int, now_s: float) -> list[Line]:
    totals, started_s = facts["totals"], seconds_of(facts["started"])
    fetched = f"{counted(totals['files_fetched'], 'file')}, {size_text(totals['bytes_fetched'])}"
    failed = f"; {counted(totals['failures'], 'failure')}" if totals["failures"] else ""
    asked = [f"{number} to {_ROLES.get(kind, kind)}" for kind, number in facts["requests"].items() if number]
    return [
        *rows("started", f"{ago_text(now_s - (started_s or now_s))}, process {facts['pid']}", width),
        *rows("fetched", f"{fetched if totals['files_fetched'] else 'nothing yet'}{failed}", width),
        *rows("prefetched", _prefetched(facts.get("prefetch", {})), width),
        *rows("requests", ", ".join(asked) or "none yet", width),
    ]


def _prefetched(prefetch: Facts) -> str:
    if not prefetch.get("prefetched_files"):
        return ""
    words = [counted(prefetch["prefetched_files"], "file"), f"{prefetch['used_files']} of them read since"]
    words += [f"{prefetch['wasted_files']} in vain"] if prefetch["wasted_files"] else []
    return ", ".join(words)


def _programs(programs: Sequence[Facts]) -> str:
    shown = [
        f"{each['program']} ({counted(each['fetched_files'], 'file')} fetched, {size_text(each['read_bytes'])} read)"
        for each in programs[:PROGRAMS_SHOWN]
    ]
    more = len(programs) - len(shown)
    return ", ".join([*shown, f"{more} more"] if more > 0 else shown)


def _recording(recording: Facts, width: int) -> list[Line]:
    lines: list[Line] = []
    for each in recording["recordings"]:
        if each["on"] or each["datasets"]:
            label = f"label {each['label']}: " if each["label"] else ""
            on = "on" if each["on"] else "off"
            lines += rows("recording", f"{label}{on}, {counted(each['datasets'], 'dataset')}", width)
    return lines


# -- what happens --------------------------------------------------------------------------------------------------


def job_lines(jobs: Sequence[Facts], width: int, now_s: float) -> list[Line]:
    """The last jobs: how far those under way are, and what became of those that ended lately."""
    lines: list[Line] = []
    recent = [job for job in jobs if job["ended"] is None or now_s - (seconds_of(job["ended"]) or 0) < JOB_SHOWN_S]
    for job in recent[-JOBS_SHOWN:]:
        if job["ended"] is not None:
            style = Style.PLAIN if job["stage"] == "done" and not job["failures"] else Style.WARNING
            lines += rows(f"job {job['number']}", job["sentence"], width, style)
        else:
            lines += rows(f"job {job['number']}", _under_way(job), width)
    return lines


def _under_way(job: Facts) -> str:
    if job["total_files"] is None:
        return f"{job['command']}: counting the files"
    words = [
        f"{job['done_files']} of {counted(job['total_files'], 'file')}",
        f"{size_text(job['done_bytes'])} of {size_text(job['total_bytes'])}",
    ]
    words += [f"{size_text(job['rate_bytes_per_s'])}/s"] if job["rate_bytes_per_s"] else []
    words += [f"{duration_text(job['left_s'])} left"] if job["left_s"] is not None else []
    words += [f"{job['files']['failed']} failed"] if job["files"].get("failed") else []
    return f"{job['command']}: {', '.join(words)}"


def transfer_lines(transfers: Sequence[Facts], width: int, most: int) -> list[Line]:
    """What is fetched: in all, and a line with a bar for each of the first `most`."""
    if not transfers:
        return []
    rate = sum(each["rate_bytes_per_s"] for each in transfers)
    lines = rows("transfers", f"{len(transfers)}, {size_text(rate)}/s", width)
    lines += [_transfer(each, width) for each in transfers[:most]]
    if len(transfers) > most:
        lines.append([Span(f"{INDENT * 2}and {len(transfers) - most} more", Style.FAINT)])
    return lines


def _transfer(transfer: Facts, width: int) -> Line:
    """One line: bar, share, rate, time left, the end of the path, and the host where there is room for it."""
    done, total = transfer["done_bytes"], transfer["total_bytes"]
    share = min(done / total, 1.0) if total else 0.0
    rate = f"{size_text(transfer['rate_bytes_per_s'])}/s"
    left = duration_text(transfer["left_s"]) if transfer["left_s"] is not None else ""
    if width >= _WIDE:
        left = f"{left} left" if left else ""
    head = f" {share:>4.0%}" if total else f" {size_text(done):>4}"
    head += f" {rate:>10} {left:>15} " if width >= _WIDE else f" {rate:>10} {left:>11} "
    room = width - len(INDENT) - BAR_WIDTH - len(head)
    host = visible(transfer["host"])
    host_width = min(len(host), room // 3) if host else 0
    path = clipped_start(visible(transfer["path"]), room - host_width - 1)
    return [
        Span(INDENT),
        *bar(share),
        Span(head),
        Span(f"{path:<{room - host_width - 1}} "),
        Span(clipped_end(host, host_width), Style.FAINT),
    ]
