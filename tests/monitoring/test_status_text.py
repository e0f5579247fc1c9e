"""The status as a screen for people: short when all is well, in words, and no wider than it is asked to be."""

import copy
from typing import Any

import pytest

from onefs.monitoring.concerns import concerns
from onefs.monitoring.status_text import status_lines, status_text
from onefs.monitoring.styled import Style, plain

NOW_S = 1_767_348_000.0  # 2026-01-02 10:00:00 UTC
PATH = "churchlandlab/Subjects/CL_001/2023-03-06/001/raw_ephys_data/probe00/recording.ap.cbin"
QUIET: dict[str, Any] = {
    "pid": 4711,
    "source": "https://alyx.example.org",
    "mountpoint": "/mnt/ibl",
    "started": "2026-01-02T07:00:00Z",
    "mode": {"requested": "auto", "effective": "auto"},
    "tables": {
        "tag": "",
        "checked": "2026-01-02T09:55:00Z",
        "saved": None,
        "expired": False,
        "created": "2026-01-01 09:00",
        "sessions": 12_000,
        "datasets": 1,
        "left_out": {},
    },
    "cache": {
        "directory": "/cache",
        "used_bytes": 12_300_000_000,
        "used_files": 312,
        "most_bytes": 500_000_000_000,
        "kept_free_bytes": 0,
        "evicted_bytes": 0,
        "evicted_files": 0,
        "pinned_files": 3,
        "labs": [],
        "free_bytes": 80_000_000_000,
    },
    "kernel": {
        "adapter": "session",
        "protocol": "7.45",
        "passthrough": "active",
        "kept_listings": "active",
        "read_ahead_kib": 512,
    },
    "passed_over": [],
    "transfers": [],
    "totals": {"files_fetched": 312, "bytes_fetched": 4_200_000_000, "failures": 0},
    "requests": {"database": 12, "data": 340},
    "shown": {"view": "full", "as_of": None, "qc": "FAIL", "ignore_qc_not_set": False},
    "jobs": [],
    "recording": {"saved": None, "manifest": None, "recordings": []},
    "errors": [],
    "log": "/cache/.onefs/onefs.log",
}
TRANSFER = {
    "path": PATH,
    "done_bytes": 6_000_000,
    "total_bytes": 10_000_000,
    "rate_bytes_per_s": 1_200_000,
    "left_s": 200.4,
    "host": "ibl.flatironinstitute.org",
}
JOB = {
    "number": 7,
    "ended": "2026-01-02T09:30:00Z",
    "stage": "done",
    "failures": [],
    "sentence": "fetch a: 3 fetched.",
}
AWAY = {
    "server": "data.example.org",
    "role": "data server",
    "since_s": 75,
    "left_s": 15,
    "reason": "data.example.org cannot be reached: connection refused",
    "waiting": ["a", "b"],
}


def changed(**sections: Any) -> dict[str, Any]:
    """The quiet facts with keys of some sections changed, or sections replaced."""
    facts = copy.deepcopy(QUIET)
    for section, value in sections.items():
        facts[section] = {**facts[section], **value} if isinstance(facts.get(section), dict) else value
    return facts | {"concerns": concerns(facts)}


def words(**sections: Any) -> str:
    """The text without its line breaks."""
    return " ".join(status_text(changed(**sections), now_s=NOW_S).split())


def error(path: str, reason: str, **more: Any) -> dict[str, Any]:
    told = {"time": "2026-01-02T09:58:00Z", "path": path, "errno": "EIO", "reason": reason, "remedy": "Do it.", **more}
    return {"count": 1, **told}


def test_a_quiet_mount_takes_few_lines() -> None:
    assert status_text(changed(), now_s=NOW_S) == (
        "https://alyx.example.org at /mnt/ibl\n"
        "  state      well\n"
        "  mode       auto: files are fetched, and newer tables once these are old\n"
        "  tables     12000 sessions, 1 dataset, made 25 hours ago (2026-01-01), newer\n"
        "             ones asked for 5 minutes ago\n"
        "  cache      12.3 GB of 500.0 GB, in 312 files; 3 pinned; 80.0 GB free on the\n"
        "             disk\n"
        "  kernel     session (FUSE 7.45): passthrough on, kept listings on, read-ahead\n"
        "             512 KiB\n"
        "  started    3 hours ago, process 4711\n"
        "  fetched    312 files, 4.2 GB\n"
        "  requests   12 to the database, 340 to data servers\n"
        "  log        /cache/.onefs/onefs.log\n"
    )


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal_and_a_wide_one_is_used(width: int) -> None:
    facts = changed(transfers=[TRANSFER] * 3, passed_over=[AWAY], errors=[error(PATH[:30], "It is not there. " * 9)])
    lines = [plain(line).rstrip() for line in status_lines(facts, width, NOW_S)]
    assert max(map(len, lines)) in range(width - 20, width + 1)


def test_words_for_what_there_is_none_of() -> None:
    told = words(
        tables={"checked": None, "created": "once upon a time"},
        cache={"most_bytes": 0, "used_bytes": None, "used_files": None},
        totals={"files_fetched": 0},
        requests={"database": 0, "data": 0},
    )
    for phrase in ("1 dataset cache", "not a cache;", "fetched nothing yet", "requests none yet"):
        assert phrase in told
    assert "None" not in told
    assert "prefetched" not in words(prefetch={"prefetched_files": 0, "used_files": 0, "wasted_files": 0})
    assert "with no limit" in words(cache={"most_bytes": 0})


def test_offline_says_why_since_when_and_when_it_is_tried_again() -> None:
    mode = {
        "effective": "local",
        "reason": "alyx.example.org cannot be reached.",
        "since": "2026-01-02T09:48:00Z",
        "next_try": "2026-01-02T10:00:14Z",
    }
    told = words(mode=mode, tables={"expired": True})
    assert "state works, but is in mode local instead of auto" in told
    assert "in effect since 12 min: alyx.example.org cannot be reached. It is tried again in 14 s." in told
    assert "due for renewal" in told
    assert Style.GOOD not in {span.style for line in status_lines(changed(mode=mode), 80, NOW_S) for span in line}


def test_a_transfer_has_a_bar_a_rate_the_time_left_and_the_end_of_its_path() -> None:
    lines = status_text(changed(transfers=[TRANSFER, {**TRANSFER, "left_s": None, "total_bytes": None}])).splitlines()
    (first,) = [line for line in lines if "60%" in line]
    for part in ("━━━━━━────", "1.2 MB/s", " 3 min 20 s …", "recording.ap.cbin"):
        assert part in first
    assert any("6.0 MB" in line and "min" not in line for line in lines)
    assert "3 min 20 s left" in status_text(changed(transfers=[TRANSFER]), 120)
    assert "transfers  2, 2.4 MB/s" in "\n".join(lines)
    assert "state      well, fetching 2 files" in "\n".join(lines)


def test_many_transfers_do_not_fill_the_screen() -> None:
    assert len(status_text(changed(transfers=[TRANSFER] * 256)).splitlines()) <= 24
    assert "and 248 more" in words(transfers=[TRANSFER] * 256)


def test_a_server_that_is_away() -> None:
    told = words(passed_over=[AWAY])
    assert "works, but data.example.org is not asked for now" in told
    assert "data server, away for 1 min 15 s: data.example.org cannot be reached: connection refused." in told
    assert "It is asked again in 15 s. 2 requests waiting." in told


def test_failures_of_one_cause_are_told_once_with_the_remedy() -> None:
    alike = [error(f"lab/x{number}", f"lab/x{number}: 404 at http://a/{number}") for number in range(4)]
    told = words(errors=[*alike, error("lab/other", "the disk is full", errno="ENOSPC", count=7)])
    assert "failed 2 minutes ago, ENOSPC, 7 times: the disk is full Do it." in told
    assert "2 minutes ago, EIO: lab/x3: 404 at http://a/3 3 other files likewise. Do it." in told
    assert told.count("404") == 1


def test_commands_that_were_refused_are_no_failures_of_the_mount() -> None:
    refused = [error(f".onefs/{name}", "'nosuch' is not a level.", errno="EINVAL") for name in ("control", "mode")]
    assert "nosuch" not in words(errors=refused)


def test_what_was_prefetched() -> None:
    told = words(prefetch={"prefetched_files": 20, "used_files": 12, "wasted_files": 3})
    assert "prefetched 20 files, 12 of them read since, 3 in vain" in told


def test_view_recording_programs_and_jobs() -> None:
    told = words(
        shown={"view": "default", "as_of": "2024-01-01", "qc": "PASS", "ignore_qc_not_set": True},
        recording={"recordings": [{"label": "thesis", "on": True, "pids": [], "datasets": 12}]},
        programs=[{"program": "matlab", "fetched_files": 3, "read_bytes": 1_500_000}],
        jobs=[
            {
                "number": 7,
                "ended": "2026-01-02T09:30:00Z",
                "stage": "done",
                "failures": [],
                "sentence": "fetch a: 3 fetched.",
            }
        ],
    )
    for phrase in (
        "view the default editions only, as of 2024-01-01, QC PASS or better, without what has no QC",
        "recording label thesis: on, 12 datasets",
        "programs matlab (3 files fetched, 1.5 MB read)",
        "job 7 fetch a: 3 fetched.",
    ):
        assert phrase in told
    assert "job" not in words(jobs=[{**JOB, "ended": "2026-01-02T08:30:00Z"}])


def test_programs_that_have_very_many_files_fetched_and_warnings() -> None:
    crawler = {"program": "updatedb", "uid": 0, "fetched_files": 1200, "since_s": 605, "refused": True}
    told = words(crawlers=[crawler], errors=[error("", "More than 1000 files were fetched.", errno="-")])
    assert "works, but updatedb has very many files fetched" in told
    assert "crawler updatedb (user 0) had 1200 files fetched in 10 min 5 s: it can read what is in the cache" in told
    assert "warning 2 minutes ago: More than 1000 files were fetched. Do it." in told


def test_no_fact_brings_a_control_character_to_the_terminal() -> None:
    bad = "x\x1b[31m\u202e"
    facts = changed(
        source=bad,
        transfers=[{**TRANSFER, "path": bad, "host": bad}],
        errors=[error(bad, bad)],
        passed_over=[{**AWAY, "server": bad, "reason": bad}],
    )
    assert all(plain(line).isprintable() for line in status_lines(facts, 120, NOW_S))


@pytest.mark.parametrize(
    ("sections", "concern"),
    [
        ({"cache": {"problem": "cannot be read: gone"}}, "the cache cannot be read"),
        ({"cache": {"free_bytes": 5_000}}, "the disk of the cache is full"),
        ({"tables": {"warning": "They are from elsewhere."}}, "the tables may not be the right ones"),
    ],
)
def test_what_a_person_should_look_at(sections: dict[str, Any], concern: str) -> None:
    assert changed(**sections)["concerns"] == [concern]
    assert f"works, but {concern}" in words(**sections)


def test_what_the_kernel_does_not_do_is_off() -> None:
    told = words(kernel={"adapter": "pyfuse3", "protocol": None, "passthrough": "No.", "read_ahead_kib": None})
    assert "kernel pyfuse3: passthrough off, kept listings on; onefs doctor says why started" in told


def test_a_mount_of_an_earlier_version_tells_nothing_of_the_kernel() -> None:
    facts = changed()
    del facts["kernel"]
    assert "kernel" not in status_text(facts, now_s=NOW_S)
