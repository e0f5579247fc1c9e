"""Lists of many pages: every record once, whatever the server does with its pages."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from replay import MakeClient, Replay, json_reply, recorded

from onefs.alyx.client import AlyxClient
from onefs.alyx.responses import FILE_NAME
from onefs.errors import BrokenAnswerError

SESSIONS = [record["id"] for record in recorded("sessions_list")["json"]["results"]]


def lab(number: int) -> dict[str, Any]:
    return {"name": f"lab{number}"}


@pytest.mark.parametrize("page", [1, 5, 13, 250])
def test_pages_are_followed_to_the_last(replay: Replay, client: AlyxClient, page: int) -> None:
    replay.page = page
    assert [str(session.eid) for session in client.sessions()] == SESSIONS
    assert len(replay.requests("/sessions")) == -(-len(SESSIONS) // page)


def test_a_list_without_pages_is_a_list(replay: Replay, client: AlyxClient) -> None:
    replay.script("/labs", json_reply([lab(1), lab(2)]))
    assert [found.name for found in client.labs()] == ["lab1", "lab2"]


def test_records_that_pages_repeat_are_given_once_and_missing_ones_are_asked_for_again(
    replay: Replay, client: AlyxClient
) -> None:
    first = [
        json_reply({"count": 4, "next": "?offset=2", "results": [lab(1), lab(2)]}),
        json_reply({"count": 4, "next": None, "results": [lab(2), lab(3)]}),
    ]
    second = [
        json_reply({"count": 4, "next": "?offset=2", "results": [lab(4), lab(1)]}),
        json_reply({"count": 4, "next": None, "results": [lab(1), lab(2)]}),
    ]
    replay.script("/labs", *first, *second)
    assert sorted(found.name for found in client.labs()) == ["lab1", "lab2", "lab3", "lab4"]


def test_a_list_that_stays_incomplete_is_said_and_not_kept(
    replay: Replay, client: AlyxClient, caplog: pytest.LogCaptureFixture
) -> None:
    page = json_reply({"count": 2, "next": None, "results": [lab(1)]})
    replay.script("/labs", page, page)
    assert [found.name for found in client.labs()] == ["lab1"]
    assert "listed only 1 of 2 records of labs" in caplog.text
    assert [found.name for found in client.labs()] == ["cortexlab", "mainenlab"]


def test_pages_in_circles_are_refused(replay: Replay, client: AlyxClient) -> None:
    circle = json_reply({"count": 9, "next": "?offset=1", "results": [lab(1)]})
    replay.script("/labs", *[circle] * 9)
    with pytest.raises(BrokenAnswerError, match="in circles"):
        client.labs()


def test_pages_of_different_ages_are_not_mixed(replay: Replay, make_client: MakeClient) -> None:
    client = make_client()
    replay.page = 2
    replay.put("/labs", [lab(number) for number in (1, 2, 3, 4)])
    assert len(client.labs()) == 4
    # The list is changed while pages are fetched anew: only the first is kept when the server fails.
    replay.put("/labs", [lab(number) for number in (0, 1, 2, 3, 4)])
    replay.script("/labs", json_reply({"count": 5, "next": "?limit=2&offset=2", "results": [lab(0), lab(1)]}))
    replay.script("/labs", json_reply({"detail": "no"}, 500))
    with pytest.raises(BrokenAnswerError):
        client.labs(no_cache=True)
    assert [found.name for found in client.labs()] == ["lab1", "lab2", "lab3", "lab4"]
    assert [found.name for found in client.labs(no_cache=True)] == ["lab0", "lab1", "lab2", "lab3", "lab4"]
    assert [found.name for found in client.labs()] == ["lab0", "lab1", "lab2", "lab3", "lab4"]


def test_odd_records_of_a_list_are_left_out_and_counted(
    replay: Replay, client: AlyxClient, caplog: pytest.LogCaptureFixture
) -> None:
    replay.script("/labs", json_reply({"count": 2, "next": None, "results": [lab(1), {"id": "a", "name": None}]}))
    assert [found.name for found in client.labs()] == ["lab1"]
    assert "1 of 2 records of labs are left out" in caplog.text


def test_a_kept_list_that_lacks_a_page_is_asked_for_as_a_whole(
    replay: Replay, make_client: MakeClient, tmp_path: Path
) -> None:
    replay.page = 2
    replay.put("/labs", [lab(number) for number in (1, 2, 3, 4)])
    client = make_client()
    client.labs()
    client.close()
    database = sqlite3.connect(tmp_path / "responses" / FILE_NAME)
    with database:
        assert database.execute("DELETE FROM responses WHERE value LIKE '%lab3%'").rowcount == 1
    database.close()
    replay.put("/labs", [lab(number) for number in (0, 1, 2, 3)])
    assert [found.name for found in make_client().labs()] == ["lab0", "lab1", "lab2", "lab3"]
