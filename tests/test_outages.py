"""The circuit breaker: a server that failed is left alone for a while, so that not everything costs its time-out."""

from random import Random

import pytest

from onefs.errors import AccessRefusedError, OnefsError, OverloadedError, TimedOutError, UnreachableError
from onefs.jitter import Jitter
from onefs.outages import DATABASE, Outages, note_stale_answer, noting_stale_answers

SERVER = "https://archive.example"
SILENT = TimedOutError("archive.example did not answer within 30 s.")
BUSY = OverloadedError("archive.example answered 429.", retry_after_s=58)


class Breaker:
    """The outages of one server, at a time that a test sets."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.outages = Outages(lambda: self.now_s)

    def fails(self, error: OnefsError = SILENT) -> None:
        self.outages.failed(SERVER, error, 15)

    def may_ask(self) -> bool:
        return self.outages.claim(SERVER) is None


@pytest.fixture
def breaker() -> Breaker:
    return Breaker()


def test_one_time_out_is_enough(breaker: Breaker) -> None:
    assert breaker.may_ask()
    breaker.fails()
    refused = [breaker.outages.claim(SERVER) for _ in range(3)]
    assert {str(error) for error in refused} == {str(SILENT)}
    assert len({id(error) for error in refused}) == 3, "one object must not be raised in several threads"


def test_after_the_pause_one_asks_and_the_others_still_do_not(breaker: Breaker) -> None:
    breaker.fails()
    breaker.now_s += 15
    assert [breaker.may_ask() for _ in range(3)] == [True, False, False]
    breaker.outages.answered(SERVER)
    assert [breaker.may_ask() for _ in range(3)] == [True, True, True]


def test_pauses_grow_with_each_probe_and_not_with_what_fails_at_once(breaker: Breaker) -> None:
    for _ in range(10):
        breaker.fails()
    left_s = []
    for _ in range(4):
        left_s.append(breaker.outages.left_s(SERVER))
        breaker.now_s += left_s[-1]
        assert breaker.may_ask()
        breaker.fails()
    assert left_s == [15, 30, 60, 60]


def test_back_offs_of_many_machines_end_at_different_times() -> None:
    left_s = set()
    for seed in range(10):
        outages = Outages(lambda: 100.0, Jitter(30.0, Random(seed)))
        outages.failed(SERVER, SILENT, 20)
        left_s.add(outages.left_s(SERVER))
        assert 20 <= outages.left_s(SERVER) <= 25
        outages.failed(SERVER, BUSY, 20)
        assert outages.left_s(SERVER) == BUSY.retry_after_s
    assert len(left_s) == 10


def test_a_server_is_not_asked_before_its_retry_after_ends(breaker: Breaker) -> None:
    breaker.fails(BUSY)
    breaker.now_s += 50
    assert (breaker.outages.left_s(SERVER), breaker.outages.asked_wait_s(SERVER)) == (8, 8)
    breaker.fails(UnreachableError("archive.example cannot be reached."))
    assert breaker.outages.asked_wait_s(SERVER) == 8, "it did not take that back"
    breaker.outages.forget(even_asked=False)
    assert breaker.outages.asked_wait_s(SERVER) == 8
    breaker.outages.forget(even_asked=True)
    assert breaker.outages.left_s(SERVER) == 0


def test_an_outage_lasts_until_the_server_answers(breaker: Breaker) -> None:
    breaker.fails()
    first = breaker.outages.lasting()
    breaker.now_s += 1000
    assert breaker.outages.facts() == []
    breaker.fails()
    assert breaker.outages.lasting() == first
    breaker.outages.answered(SERVER)
    assert not breaker.outages.lasting()
    breaker.fails()
    assert breaker.outages.lasting().isdisjoint(first)


def test_an_answer_to_another_request_does_not_end_a_retry_after(breaker: Breaker) -> None:
    breaker.fails(BUSY)
    breaker.now_s += 57
    breaker.outages.answered(SERVER, even_asked=False)
    assert breaker.outages.asked_wait_s(SERVER) == 1
    breaker.now_s += 1
    breaker.outages.answered(SERVER, even_asked=False)
    assert breaker.outages.are_none


def test_what_waits_is_listed(breaker: Breaker) -> None:
    breaker.fails(BUSY)
    breaker.now_s += 8
    with breaker.outages.waiting(SERVER, "labs"), breaker.outages.waiting(SERVER, "labs"):
        with breaker.outages.waiting(SERVER, "sessions"):
            (told,) = breaker.outages.facts()
        assert (told.server, told.since_s, told.left_s, told.reason) == ("archive.example", 8, 50, BUSY.reason)
        assert told.waiting == ("labs", "sessions")
    (told,) = breaker.outages.facts()
    assert told.waiting == ()


def test_a_stale_answer_is_noted_in_its_own_block() -> None:
    with noting_stale_answers() as outer:
        with noting_stale_answers() as inner:
            note_stale_answer(SILENT)
        assert (inner.outage, outer.outage) == (SILENT, None)
    note_stale_answer(SILENT)


def test_what_a_failure_says_is_kept_in_its_copy(breaker: Breaker) -> None:
    breaker.fails(AccessRefusedError("No.", "Ask."))
    error = breaker.outages.claim(SERVER)
    assert (type(error), str(error)) == (AccessRefusedError, "No. Ask.")


def test_a_server_of_both_kinds_is_told_apart(breaker: Breaker) -> None:
    breaker.fails()
    breaker.outages.failed(f"{DATABASE}{SERVER}", SILENT, 15)
    told = {(each.server, each.role) for each in breaker.outages.facts()}
    assert told == {("archive.example", "data server"), ("archive.example", "database")}
