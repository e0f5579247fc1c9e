"""Searches put to a recorded Alyx: the questions, the answers page by page, and what they tell a catalogue."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import pytest
from one.converters import ses2records
from replay import MakeClient, Replay, json_reply, recorded

from onefs.alyx.client import AlyxClient
from onefs.alyx.pages import Listing, Pages
from onefs.alyx.search import questions, search
from onefs.alyx.told import Told
from onefs.errors import UnreachableError, UsageError

CONTRACT = json.loads((Path(__file__).parents[1] / "recordings" / "rest" / "contract.json").read_text())
SESSIONS = recorded("sessions_list")["json"]["results"]
PROBES = recorded("insertions_list_session")["json"]["results"]
EPHYS = "d6ee68d4-ee19-4c5e-8595-633efeb735ed"
BASE = "8fb66616-d730-4b99-8696-d33f404507dd"


@dataclass
class Learned:
    """Keeps what it is told."""

    told: list[Told] = field(default_factory=list)

    def learn(self, told: Told) -> None:
        self.told.append(told)

    def sessions(self) -> list[str]:
        return [str(session.eid) for told in self.told for session in told.sessions]


@pytest.fixture
def learned() -> Learned:
    return Learned()


def numbered(*numbers: int) -> list[dict[str, Any]]:
    """Sessions on days of these numbers."""
    return [{**SESSIONS[0], "id": str(UUID(int=each)), "start_time": f"2020-01-{each:02}T12:00:00"} for each in numbers]


def ids(records: Any) -> list[int]:
    return [UUID(record["id"]).int for record in records]


@pytest.mark.parametrize(
    ("name", "terms"),
    [
        ("sessions_list_lab", {"laboratory": "mainenlab"}),
        ("sessions_list_subject", {"subject": "KS005", "number": None}),
        ("sessions_list_number_padded", {"number": ["001"]}),
        ("sessions_list_date_range", {"date_range": ["2020-07-01", "2020-07-02"]}),
        ("sessions_list_task_protocol", {"task_protocol": "ephys"}),
        ("sessions_list_projects", {"projects": ("ibl_behavioral",)}),
        ("sessions_list_project", {"project": "practice"}),
        ("sessions_list_location", {"location": "rig_cortexlab_01"}),
        ("sessions_list_tag", {"tag": "Brainwidemap"}),
        ("sessions_list_users", {"users": "member"}),
        ("sessions_list_nickname", {"nickname": "KS"}),
        ("sessions_list_datasets", {"datasets": ["spikes.times.npy", "clusters.metrics.pqt"]}),
        ("sessions_list_dataset_types", {"dataset_types": ["spikes.times", "clusters.metrics"]}),
        ("sessions_list_dataset_qc_lte", {"datasets": "spikes.depths.npy", "dataset_qc_lte": "FAIL"}),
        ("sessions_list_django_pk", {"django": ["pk", EPHYS]}),
        ("insertions_list_session", {"session": UUID(EPHYS)}),
        ("insertions_list_datasets", {"datasets": ["spikes.times.npy"], "limit": 2}),
    ],
)
def test_terms_become_a_question_that_a_real_alyx_answered(name: str, terms: dict[str, Any]) -> None:
    parts = urlsplit(CONTRACT[name]["request"]["path"])
    ((query,),) = questions(parts.path[1:], terms)
    # Alyx tells each session once where `django` is asked, else as often as it has matching projects.
    once = [("django", "pk__isnull,False")] if {"projects", "project"} & terms.keys() else []
    assert sorted(query) == sorted([*parse_qsl(parts.query), *once])


def test_what_concerns_any_dataset_is_asked_in_djangos_words() -> None:
    terms = {"django": "lab__name,x", "dataset": "spikes", "dataset_qc_lte": 40}
    ((query,),) = questions("sessions", terms)
    prefix = "data_dataset_session_related"
    # Alyx's filter `dataset_qc_lte` alone would answer with a session once for each dataset.
    assert dict(query) == {"django": f"lab__name,x,{prefix}__name__icontains,spikes,{prefix}__qc__lte,40"}
    ((query,),) = questions("insertions", {**terms, "laboratory": "x", "number": 2})
    assert dict(query) == {
        "django": "lab__name,x,datasets__name__icontains,spikes,datasets__qc__lte,40",
        "lab": "x",
        "experiment_number": "2",
    }


def test_lists_are_any_of_them_and_acronyms_of_probes_all_of_them() -> None:
    terms = {"subject": ["a", "b", "a"], "atlas_acronym": ["CA1", "DG"]}
    either = [
        [("subject", "a"), ("atlas_acronym", "CA1")],
        [("subject", "a"), ("atlas_acronym", "DG")],
        [("subject", "b"), ("atlas_acronym", "CA1")],
        [("subject", "b"), ("atlas_acronym", "DG")],
    ]
    once = ("django", "pk__isnull,False")
    assert [[*map(list, group)] for group in questions("sessions", terms)] == [[[*each, once] for each in either]]
    both = questions("insertions", terms)
    assert [[sorted(query) for query in group] for group in both] == [
        [[("atlas_acronym", each), once, ("subject", name)] for name in "ab"] for each in ("CA1", "DG")
    ]
    assert questions("sessions", {"subject": []}) == [[]]


def test_one_term_under_two_names_is_refused() -> None:
    with pytest.raises(UsageError, match="number and experiment_number are the same"):
        questions("insertions", {"experiment_number": 1, "number": 1})


def test_recorded_sessions_are_answered_and_told_but_for_base_sessions(client: AlyxClient, learned: Learned) -> None:
    found = search(client, "sessions", {}, learned)
    assert [{name: each[name] for name in each if name != "date"} for each in found] == SESSIONS
    assert [each["date"].isoformat() for each in found] == [each["start_time"][:10] for each in SESSIONS]
    assert {BASE} == {each["id"] for each in SESSIONS} - {*learned.sessions()}
    assert search(client, "sessions", {"subject": "nobody"}, learned) == []


def test_recorded_probes_tell_of_their_sessions(client: AlyxClient, learned: Learned) -> None:
    assert search(client, "insertions", {"session": EPHYS}, learned) == PROBES
    assert [(str(probe.eid), probe.name, probe.record) for probe in learned.told[0].insertions] == [
        (EPHYS, record["name"], record) for record in PROBES
    ]
    (session,) = learned.told[0].sessions
    assert (str(session.eid), session.subject, session.number) == (EPHYS, "KS014", 1)


def test_pages_are_asked_for_when_touched(replay: Replay, client: AlyxClient, learned: Learned) -> None:
    replay.page = 5
    found = search(client, "sessions", {}, learned)
    assert len(found) == 13
    assert found[4]["id"] == SESSIONS[4]["id"]
    assert len(replay.requests("/sessions")) == len(learned.told) == 1
    assert found[-1]["id"] == SESSIONS[-1]["id"]
    assert replay.requests("/sessions")[-1].query == {"limit": "5", "offset": "10"}
    assert len(replay.requests("/sessions")) == 2
    assert [each["id"] for each in found] == [each["id"] for each in SESSIONS]
    assert len(replay.requests("/sessions")) == 3
    assert {*learned.sessions()} == {each["id"] for each in SESSIONS} - {BASE}


def test_threads_ask_once_for_a_page(replay: Replay, client: AlyxClient, learned: Learned) -> None:
    replay.page = 3
    found = search(client, "sessions", {}, learned)
    with ThreadPoolExecutor(8) as threads:
        lists = [threads.submit(list, found) for _ in range(8)]
    assert all([each["id"] for each in read.result()] == [each["id"] for each in SESSIONS] for read in lists)
    assert len(replay.requests("/sessions")) == len(learned.told) == 5


def test_a_list_that_changes_between_its_pages(replay: Replay, client: AlyxClient, learned: Learned) -> None:
    def page(count: int, *numbers: int) -> None:
        replay.script("/sessions", json_reply({"count": count, "next": None, "results": numbered(*numbers)}))

    page(6, 9, 8)
    found = search(client, "sessions", {}, learned)
    page(3, 7)
    assert ids(found[2:5]) == [7], "it became shorter"
    assert len(found) == 3
    with pytest.raises(IndexError):
        found[3]
    page(6, 9, 8)
    found = search(client, "sessions", {"lab": "x"}, learned)
    page(7, 5, 4)
    assert ids([found[5]]) == [4], "it became longer"
    assert len(found) == 7
    page(4, 3, 2)
    with pytest.raises(IndexError, match="There are 4 records"):
        found[6]


def test_a_page_that_fails_can_be_asked_for_again(replay: Replay, make_client: MakeClient, learned: Learned) -> None:
    replay.page = 5
    client = make_client(retry_max_s=0)
    found = search(client, "sessions", {}, learned)
    replay.script("/sessions", json_reply({"detail": "busy"}, status=503, Retry_After="9999"))
    with pytest.raises(UnreachableError):
        found[5]
    assert found[0]["id"] == SESSIONS[0]["id"]
    again = make_client()
    assert search(again, "sessions", {}, learned)[5]["id"] == SESSIONS[5]["id"]


def test_a_list_without_order_is_fetched_whole(replay: Replay, client: AlyxClient) -> None:
    listed = [{"url": f"http://x/datasets/{UUID(int=number)}", "name": str(number)} for number in range(9)]
    first = json_reply({"count": 9, "next": "?limit=2&offset=2", "results": [listed[7], listed[3]]})
    replay.script("/datasets", first)
    replay.put("/datasets", listed)
    found = Listing(client, "datasets", (("name", "x"), ("limit", "2"))).records()
    assert isinstance(found, Pages)
    assert len(found) == 9
    assert [each["name"] for each in found] == list("730124568")
    assert [asked.query.get("limit") for asked in replay.requests("/datasets")] == ["2", "1000"]


def test_a_record_that_alyx_repeats_is_answered_once(replay: Replay, client: AlyxClient, learned: Learned) -> None:
    replay.script("/sessions", json_reply({"count": 3, "next": None, "results": numbered(2, 2, 1)}))
    assert ids(search(client, "sessions", {"projects": "ibl"}, learned)) == [2, 1]


def test_answers_to_alternatives_are_joined_newest_first(replay: Replay, client: AlyxClient, learned: Learned) -> None:
    for lab, numbers in {"a": (9, 3), "b": (5, 3), "c": ()}.items():
        page = json_reply({"count": len(numbers), "next": None, "results": numbered(*numbers)})
        replay.put("/sessions", page, lab=lab)
    found = search(client, "sessions", {"lab": ["c", "b", "a"], "limit": 1}, learned)
    assert ids(found) == [9, 5, 3]
    assert {UUID(each).int for each in learned.sessions()} == {9, 5, 3}


def test_probes_of_several_regions_are_in_each_answer(replay: Replay, client: AlyxClient, learned: Learned) -> None:
    probes = [
        {**PROBES[0], "id": str(UUID(int=number)), "name": f"probe{number}", "session_info": session}
        for number, session in enumerate(numbered(1, 4, 4, 2))
    ]
    for acronym, numbers in {"CA1": (3, 0, 1, 2), "DG": (2, 1, 3)}.items():
        page = json_reply({"count": len(numbers), "next": None, "results": [probes[each] for each in numbers]})
        replay.put("/insertions", page, atlas_acronym=acronym, django="pk__isnull,False")
    assert ids(search(client, "insertions", {"atlas_acronym": ["CA1", "DG"]}, learned)) == [1, 2, 3]


def test_a_whole_session_tells_what_one_makes_of_it(replay: Replay, client: AlyxClient) -> None:
    record = client.get(f"sessions/{EPHYS}")
    told = client.told_by_session(record)
    _, ones = ses2records(record)
    assert {
        (str(each.id), each.rel_path, each.size_bytes, each.md5, each.default_revision, each.qc)
        for each in told.datasets
    } == {
        (str(id_), row.rel_path, row.file_size, row.hash, row.default_revision, row.qc)
        for (_, id_), row in ones.iterrows()
    }
    assert [str(each.eid) for each in told.sessions] == [EPHYS]
    assert {each.eid for each in (*told.datasets, *told.insertions)} == {UUID(EPHYS)}
    assert [each.name for each in told.insertions] == ["probe00", "probe01"]
    assert not replay.requests("/revisions"), "URLs tell the names"


def test_a_dataset_without_url_has_its_revisions_name_and_no_place(replay: Replay, client: AlyxClient) -> None:
    record = recorded("sessions_read_data_url_null")["json"]
    told = client.told_by_session(record)
    assert [each.rel_path for each in told.datasets if not each.urls]
    known = recorded("revisions_list")["json"]["results"][0]
    nested = {**record["data_dataset_session_related"][0], "data_url": None, "collection": "alf"}
    revised = {**nested, "revision": known["id"]}
    unknown = {**nested, "revision": str(UUID(int=5))}
    told = client.told_by_session({**record, "data_dataset_session_related": [revised, unknown]})
    assert [each.rel_path for each in told.datasets] == [f"alf/#{known['name']}#/{nested['name']}"]
    assert told.datasets[0].urls == ()


def test_odd_records_are_left_out(client: AlyxClient, caplog: pytest.LogCaptureFixture) -> None:
    base = recorded("sessions_read_base_number_null")["json"]
    assert client.told_by_session(base).sessions == ()
    assert client.told_by_list("sessions", [{"id": "x"}, SESSIONS[0]]).sessions[0].subject == SESSIONS[0]["subject"]
    assert "1 of 2 records of sessions are left out" in caplog.text
    told = client.told_by_list("insertions", [{**PROBES[0], "session_info": None}, {"name": "probe00"}])
    assert (told.sessions, [each.name for each in told.insertions]) == ((), [PROBES[0]["name"]])
    without_files = {**recorded("datasets_list_idin")["json"]["results"][0], "file_records": []}
    (dataset,) = client.told_by_list("datasets", [without_files]).datasets
    assert (dataset.urls, dataset.exists) == ((), False)
    assert client.told_by_list("labs", [{"name": "x"}]) == Told()
