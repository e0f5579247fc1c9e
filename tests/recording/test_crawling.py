"""When a program is taken for a crawler, what it is told, and when it may go on."""

from dataclasses import dataclass

from onefs.recording.crawling import PROGRAMS_KEPT, QUIET_S, WINDOW_S, Crawlers
from onefs.recording.processes import Caller, Identity

GREP = Caller(Identity(7, 1), "grep", 1000)


@dataclass
class Clock:
    now_s: float = 1e6

    def __call__(self) -> float:
        return self.now_s


def fetched(crawlers: Crawlers, times: int, caller: Caller = GREP) -> list[str]:
    """What people are told while files are fetched."""
    return [told.reason for _ in range(times) if (told := crawlers.fetched(caller)) is not None]


def test_a_warning_comes_once_above_the_number_of_files() -> None:
    clock = Clock()
    crawlers = Crawlers(warn_files=3, clock=clock)
    assert fetched(crawlers, 3) == []
    assert fetched(crawlers, 100) == ["More than 3 files were fetched within an hour for grep (user 1000)."]
    assert crawlers.refusal(GREP) is None
    clock.now_s += 60
    assert crawlers.facts() == [{"program": "grep", "uid": 1000, "fetched_files": 103, "since_s": 60, "refused": False}]


def test_0_means_no_warning_and_no_limit() -> None:
    crawlers = Crawlers(warn_files=0, limit_files=0)
    assert fetched(crawlers, 10_000) == []
    assert crawlers.refusal(GREP) is None


def test_slow_programs_are_left_alone() -> None:
    clock = Clock()
    crawlers = Crawlers(warn_files=3, limit_files=5, clock=clock)
    for _ in range(10):
        assert fetched(crawlers, 3) == []
        clock.now_s += WINDOW_S
    assert crawlers.refusal(GREP) is None
    assert crawlers.facts() == []


def test_at_the_limit_nothing_more_is_fetched_until_it_was_quiet() -> None:
    clock = Clock()
    crawlers = Crawlers(limit_files=5, clock=clock)
    assert len(fetched(crawlers, 4)) == 0
    assert crawlers.refusal(GREP) is None
    assert len(fetched(crawlers, 1)) == 1
    for _ in range(20):  # longer than the hour for which files are counted
        refusal = crawlers.refusal(GREP)
        assert refusal is not None
        assert "5 files were fetched" in refusal.reason
        crawlers.refused(GREP)
        clock.now_s += QUIET_S - 1
    assert crawlers.facts()[0]["refused"]
    clock.now_s += 1
    assert crawlers.refusal(GREP) is None
    assert crawlers.facts() == []
    assert fetched(crawlers, 4) == []


def test_other_programs_and_users_go_on() -> None:
    crawlers = Crawlers(limit_files=5)
    fetched(crawlers, 5)
    assert crawlers.refusal(GREP) is not None
    assert crawlers.refusal(GREP._replace(program="cat")) is None
    assert crawlers.refusal(GREP._replace(uid=1001)) is None
    assert crawlers.refusal(GREP._replace(process=Identity(8, 1))) is not None


def test_all_go_on_when_that_is_asked_for() -> None:
    crawlers = Crawlers(limit_files=5)
    fetched(crawlers, 5)
    crawlers.forget()
    assert crawlers.refusal(GREP) is None


def test_who_is_trusted_neither_counts_nor_is_refused() -> None:
    crawlers = Crawlers(warn_files=3, limit_files=5)
    trusted = GREP._replace(process=Identity(8, 1))
    crawlers.trust(trusted)
    assert fetched(crawlers, 100, trusted) == []
    assert crawlers.refusal(GREP) is None
    fetched(crawlers, 5)
    assert crawlers.refusal(GREP) is not None
    assert crawlers.refusal(trusted) is None


def test_processes_that_cannot_be_seen_are_warned_of_and_never_refused() -> None:
    crawlers = Crawlers(warn_files=1, limit_files=2)
    unknown = Caller(None, "unknown", 1000)
    told = [warning for _ in range(5) if (warning := crawlers.fetched(unknown)) is not None]
    assert [warning.reason for warning in told] == [
        "More than 1 file were fetched within an hour for unknown (user 1000)."
    ]
    assert "it has no crawl_limit" in told[0].remedy
    assert crawlers.refusal(unknown) is None
    assert [each["refused"] for each in crawlers.facts()] == [False]


def test_a_process_that_cannot_be_seen_is_never_trusted() -> None:
    crawlers = Crawlers(warn_files=1)
    unknown = Caller(None, "unknown", 1000)
    crawlers.trust(unknown)
    assert len(fetched(crawlers, 2, unknown)) == 1


def test_only_so_many_programs_are_remembered() -> None:
    crawlers = Crawlers(warn_files=1)
    for number in range(2 * PROGRAMS_KEPT):
        fetched(crawlers, 1, GREP._replace(program=f"program{number}"))
    assert len(crawlers._counts) == PROGRAMS_KEPT
