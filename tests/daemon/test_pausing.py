"""A server that did not answer is left in peace for a while, so that not every question costs its time-out."""

from collections.abc import Callable

import pytest

from onefs.daemon.pausing import PAUSE_S, Pausing
from onefs.errors import OnefsError, TimedOutError, UnknownRecordError


class Server:
    """Counts what it is asked."""

    def __init__(self, error: OnefsError | None) -> None:
        self.error = error
        self.asked = 0
        self.now_s = 0.0

    def answer(self) -> str:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return "answer"


def told(ask: Callable[[], str]) -> str:
    try:
        return ask()
    except OnefsError as error:
        return error.reason


def test_one_time_out_is_enough() -> None:
    server = Server(TimedOutError("It did not answer within 30 s."))
    pausing = Pausing(lambda: server.now_s)
    assert {told(lambda: pausing.ask(server.answer)) for _ in range(5)} == {"It did not answer within 30 s."}
    assert server.asked == 1
    server.now_s += PAUSE_S
    told(lambda: pausing.ask(server.answer))
    assert server.asked == 2
    server.error = None
    pausing.forget()
    assert pausing.ask(server.answer) == "answer"
    assert pausing.ask(server.answer) == "answer"


def test_what_is_wrong_with_one_question_says_nothing_of_the_next() -> None:
    server = Server(UnknownRecordError("There is no such record."))
    pausing = Pausing(lambda: server.now_s)
    with pytest.raises(UnknownRecordError):
        pausing.ask(server.answer)
    server.error = None
    assert pausing.ask(server.answer) == "answer"
