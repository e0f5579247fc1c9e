"""Questions to Alyx from Python: the same answers as ONE's with no more requests, or a fault of ONE put right."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from one_in_remote_mode import Requests, one_at
from seeds import seeded

from onefs.alyx.client import AlyxClient
from onefs.alyx.credentials import Credentials
from onefs.alyx.told import Told
from onefs.api.alyx_queries import AlyxQueries, LazyId
from onefs.catalogue.records import QC
from onefs.demo.plan import PLANS
from onefs.demo.server import DemoServer
from onefs.errors import UnknownRecordError, UnreachableError, UsageError

pytestmark = pytest.mark.filterwarnings("ignore")  # ONE's own
EPHYS = str(PLANS[3].session.eid)
NOBODY = "6a1c1f6e-54f5-4c09-8d5b-3a7d1a4c1d10"


@dataclass
class Learned:
    """Keeps what it is told."""

    told: list[Told] = field(default_factory=list)

    def learn(self, told: Told) -> None:
        self.told.append(told)

    def sessions(self) -> set[str]:
        return {str(session.eid) for told in self.told for session in told.sessions}


@pytest.fixture(scope="module")
def server(demo_archive: Path) -> Iterator[DemoServer]:
    with DemoServer(demo_archive) as running:
        yield running


@pytest.fixture(scope="module")
def one(server: DemoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with one_at(server, tmp_path_factory.mktemp("one")) as one:
        one.alyx.rest_schemes  # noqa: B018 - asks for it, so that searches need not
        yield one


@pytest.fixture
def learned() -> Learned:
    return Learned()


@pytest.fixture(scope="module")
def client(server: DemoServer) -> Iterator[AlyxClient]:
    times = {"connect_timeout_s": 30, "read_timeout_s": 30, "retry_max_s": 1}
    client = AlyxClient(server.url, Credentials("demo", "demo"), responses_dir=None, **times)
    client.schema()  # so that searches need not ask for it
    with contextlib.closing(client):
        yield client


@pytest.fixture
def remote(client: AlyxClient, learned: Learned) -> AlyxQueries:
    return AlyxQueries(client, learned)


def texts(ids: Any) -> list[str]:
    return [str(each) for each in ids]


TERMS: dict[str, list[Any]] = {
    "subject": ["NL_001", "nl_001", "NL", "nobody"],
    "lab": ["northlab", "SOUTHLAB", "lab"],
    "number": [1, 2, "001", "2"],
    "date_range": ["2023-03-06", ["2023-03-06", "2023-05-09"], [None, "2023-04-18"], ["2023-04-18", None]],
    "task_protocol": ["ephys", "TRAINING", "none such"],
    "projects": ["demo", "brainwide", "Behaviour"],
    "datasets": ["spikes.times.npy", ["spikes.times.npy", "_ibl_trials.table.pqt"], ["no.such.npy"]],
    "dataset_types": ["spikes.times", ["spikes.times", "camera.dlc"]],
    "users": ["member", ["member", "demo"]],
    "location": ["rig_south"],
    "tag": ["demowide"],
    "procedures": ["ephys"],
    "performance_gte": [70, 90],
    "performance_lte": [80],
    "nickname": ["NL_001"],
    "type": ["Base"],
    "qc": ["PASS", "NOT_SET"],
    "django": ["number__gt,1", "subject__nickname__regex,^NL_0"],
}
ONE_BY_ONE = [{name: value} for name, values in TERMS.items() for value in values]


def combinations(count: int) -> list[dict[str, Any]]:
    chance = seeded(10)
    return [
        {name: chance.choice(TERMS[name]) for name in chance.sample(sorted(TERMS), chance.randint(2, 4))}
        for _ in range(count)
    ]


@pytest.mark.seeded
@pytest.mark.parametrize("terms", [{}, *ONE_BY_ONE, *combinations(120)], ids=str)
def test_a_search_finds_what_one_finds_with_one_request(
    one: Any, server: DemoServer, remote: AlyxQueries, learned: Learned, terms: dict[str, Any]
) -> None:
    with Requests(server) as ones:
        expected, records = one.search(query_type="remote", details=True, **terms)
    with Requests(server) as ours:
        found = remote.search(terms)
    assert found.ids == texts(expected)
    assert found.records == records
    assert len(ours.sent) == len(ones.sent) == 1
    if not terms.keys() & {"number", "projects", "procedures"}:  # sent without zeros, and so that none is repeated
        assert ours.sent == ones.sent
    assert learned.sessions() == {record["id"] for record in records if record["number"] is not None}


@pytest.mark.parametrize("limit", ["FAIL", "CRITICAL", "pass", 40, QC.CRITICAL, "50"])
def test_datasets_are_of_a_quality(one: Any, remote: AlyxQueries, limit: Any) -> None:
    terms = {"datasets": "spikes.depths.npy", "dataset_qc_lte": limit}
    as_number = int(QC[limit.upper()]) if isinstance(limit, str) and not limit.isdecimal() else int(limit)
    expected = one.search(query_type="remote", datasets="spikes.depths.npy", dataset_qc_lte=as_number)
    assert remote.search(terms).ids == texts(expected)
    any_dataset = one.search(query_type="remote", django=f"data_dataset_session_related__qc__lte,{as_number}")
    assert remote.search({"dataset_qc_lte": limit}).ids == texts(any_dataset)


def test_terms_may_be_shortened(remote: AlyxQueries) -> None:
    assert remote.search({"subj": "NL_001", "date": date(2023, 4, 18), "LAB": "northlab"}).ids == [EPHYS]
    assert remote.search({"date": pd.Timestamp("2023-04-18 12:00"), "task": None}).ids == [EPHYS]
    assert remote.search({"date": np.array(["2023-04-18", "2023-04-18"], "datetime64[D]")}).ids == [EPHYS]
    assert remote.search({"proj": "brainwide"}).ids == remote.search({"project": "brainwide"}).ids != []
    assert remote.search({"date": [datetime(2023, 6, 12)]}).ids == remote.search({"date": ["2023-06-12"]}).ids != []


@pytest.mark.parametrize(
    ("terms", "sentence"),
    [
        ({"foo": 1}, "no search term 'foo'"),
        ({"dat": "x"}, "may mean dataset, datasets, date_range, dataset_qc_lte or dataset_types"),
        ({"lab": "northlab", "laboratory": "northlab"}, "given twice"),
        ({"number": "first"}, "no session number"),
        ({"date": "yesterday"}, "no date"),
        ({"dataset_qc_lte": "splendid"}, "no QC"),
        ({"dataset": "a,b"}, "comma"),
    ],
)
def test_nothing_is_sent_for_terms_that_cannot_be_meant(
    server: DemoServer, remote: AlyxQueries, terms: dict[str, Any], sentence: str
) -> None:
    with Requests(server) as ours:
        with pytest.raises(UsageError, match=sentence):
            remote.search(terms)
        with pytest.raises(TypeError, match="datasets, a list"):
            remote.search({"dataset": ["spikes"]})
    assert not ours.sent


def test_a_list_where_alyx_takes_one_value_means_any_of_them(one: Any, remote: AlyxQueries) -> None:
    """ONE finds nothing."""
    everything = texts(one.search(query_type="remote"))
    assert remote.search({"lab": ["northlab", "southlab"]}).ids == everything
    assert not one.search(query_type="remote", lab=["northlab", "southlab"])
    subjects = ["SL_015", "NL_001", "nobody", "nl_001"]
    expected = {eid for each in subjects for eid in texts(one.search(query_type="remote", subject=each))}
    found = remote.search({"subject": subjects, "number": ["001", 2], "limit": 1})
    assert found.ids == [eid for eid in everything if eid in expected]
    assert [record["id"] for record in found.records] == found.ids


def test_a_part_of_a_file_name_is_contained_in_any_case(one: Any, remote: AlyxQueries) -> None:
    named = "data_dataset_session_related__name__icontains,SPIKES.t"
    expected = texts(one.search(query_type="remote", django=named))
    assert len(expected) == 5
    assert remote.search({"dataset": "SPIKES.t"}).ids == expected
    assert remote.search({"dataset": "SPIKES.t", "django": "lab__name,northlab", "dataset_qc_lte": "FAIL"}).ids == [
        eid for eid in expected if eid in texts(one.search(query_type="remote", lab="northlab"))
    ]


def test_pages_are_fetched_when_they_are_touched(
    one: Any, server: DemoServer, remote: AlyxQueries, learned: Learned
) -> None:
    everything = texts(one.search(query_type="remote"))
    with Requests(server) as ones:
        theirs = one.search(query_type="remote", limit=4)
        expected = texts([theirs[0], theirs[3], theirs[-1], theirs[7]])
    with Requests(server) as ours:
        found = remote.search({"limit": 4})
        assert isinstance(found.ids, LazyId) and isinstance(found.records, LazyId)
        assert len(found.ids) == len(found.records) == len(everything) == 15
        assert [found.ids[0], found.ids[3], found.ids[-1], found.ids[7]] == expected
    assert ours.sent == ones.sent
    assert len(ours.sent) == 3
    with Requests(server) as ours:
        assert found.ids[2:5] == everything[2:5]
        assert list(found.ids) == list(found.ids[:]) == everything
        assert found.records[-1]["date"].isoformat() == found.records[-1]["start_time"][:10]
        assert found.records[13:] == [*found.records][13:]
    assert len(ours.sent) == 1, "the third page"
    with pytest.raises(IndexError):
        found.ids[15]
    assert learned.sessions() == {record["id"] for record in found.records if record["number"] is not None}
    assert isinstance(remote.search({"limit": 15}).ids, list), "it came in one page"


@pytest.mark.parametrize(
    "terms",
    [
        {},
        {"subject": "NL_001"},
        {"name": "probe00"},
        {"laboratory": "northlab", "name": "probe01"},
        {"number": 1, "project": "brainwide"},
        {"date": "2023-04-18"},
        {"dataset": "spikes"},
        {"datasets": ["spikes.times.npy", "clusters.metrics.pqt"]},
        {"task_protocol": "ephys", "django": "session__lab__name,southlab"},
        {"atlas_acronym": "CA1"},
    ],
    ids=str,
)
def test_probes_are_those_that_one_finds(
    one: Any, server: DemoServer, remote: AlyxQueries, learned: Learned, terms: dict[str, Any]
) -> None:
    with Requests(server) as ones:
        expected, records = one.search_insertions(query_type="remote", details=True, **terms)
    with Requests(server) as ours:
        found = remote.search_insertions(terms)
    assert found == (texts(expected), records)
    assert len(ours.sent) == len(ones.sent) == 1
    if not terms.keys() & {"project", "atlas_acronym"}:
        assert ours.sent == ones.sent
    told = {str(probe.pid): probe for each in learned.told for probe in each.insertions}
    assert {pid: (str(told[pid].eid), told[pid].name) for pid in told} == {
        record["id"]: (record["session"], record["name"]) for record in records
    }
    assert all(told[record["id"]].record == record for record in records)
    assert learned.sessions() == {record["session"] for record in records}


def test_terms_are_those_that_the_database_names(one: Any, remote: AlyxQueries) -> None:
    own = ("dataset", "datasets", "date_range", "laboratory", "number", "projects", "subject", "task_protocol")
    terms = remote.search_terms()
    assert terms[:9] == (*own, "dataset_qc_lte")
    assert list(terms[9:]) == sorted(terms[9:])
    assert {*terms} == {*one.search_terms("remote"), "dataset"}
    assert remote.search_terms("insertions") == one.search_terms("remote", "insertions")


def test_probes_of_a_session_and_a_session_of_a_probe(
    one: Any, server: DemoServer, remote: AlyxQueries, learned: Learned
) -> None:
    with Requests(server) as ones:
        pids, labels, records = one.eid2pid(EPHYS, details=True)
        expected = one.pid2eid(pids[0])
    with Requests(server) as ours:
        found = remote.eid2pid(EPHYS, {})
        probe = remote.pid2eid(pids[0])
    assert found == records
    assert [(each["id"], each["name"]) for each in found] == list(zip(texts(pids), labels, strict=True))
    assert probe is not None
    assert (probe["session"], probe["name"]) == (str(expected[0]), expected[1])
    assert ours.sent == ones.sent
    assert [each["name"] for each in remote.eid2pid(UUID(EPHYS), {"name": "probe01"})] == ["probe01"]
    assert remote.pid2eid(NOBODY) is None is remote.pid2eid("no id")
    assert remote.eid2pid(NOBODY, {}) == []
    assert learned.sessions() == {EPHYS}


def test_details_of_sessions(one: Any, server: DemoServer, remote: AlyxQueries, learned: Learned) -> None:
    eids = [str(plan.session.eid) for plan in PLANS[3:7]]
    wanted = [*eids, eids[0]]
    expected = one.get_details(wanted, query_type="remote")
    with Requests(server) as ours:
        found = remote.get_details(wanted)
    assert len(ours.sent) == 1
    assert found == [{name: each[name] for name in each if name != "local_path"} for each in expected]
    assert learned.sessions() == {*eids}
    with Requests(server) as ones:
        whole = one.get_details(EPHYS, full=True, query_type="remote")
    with Requests(server) as ours:
        assert remote.get_details([UUID(EPHYS)], full=True) == [whole]
    assert ours.sent == ones.sent
    from one.converters import ses2records

    _, datasets = ses2records(whole)
    told = learned.told[-1]
    assert {(str(each.id), each.rel_path, each.default_revision) for each in told.datasets} == {
        (str(id_), row.rel_path, row.default_revision) for (_, id_), row in datasets.iterrows()
    }
    assert [probe.name for probe in told.insertions] == ["probe00", "probe01"]
    for full in (False, True):
        with pytest.raises(UnknownRecordError):
            remote.get_details([NOBODY], full=full)


def test_types_of_datasets(one: Any, server: DemoServer, remote: AlyxQueries, learned: Learned) -> None:
    for wanted in ("spikes.times", ["spikes.times", "spikes.amps"], ["no.such"]):
        with Requests(server) as ones:
            expected = one.type2datasets(EPHYS, wanted)
        with Requests(server) as ours:
            found = remote.type2datasets(EPHYS, wanted)
        assert sorted(each.rel_path for each in found) == list(expected)
        assert len(ours.sent) == len(ones.sent) == 1
    assert {str(each.eid) for told in learned.told for each in told.datasets} == {EPHYS}
    with pytest.raises(TypeError):
        remote.type2datasets(EPHYS, 3)  # type: ignore[arg-type]
    dataset = remote.type2datasets(EPHYS, "spikes.times")[0]
    integers = np.frombuffer(dataset.id.bytes, "<i8")
    for known in (dataset.id, str(dataset.id), integers, tuple(integers.tolist()), "spikes.times.npy"):
        assert remote.dataset2type(known) == "spikes.times"
    assert one.dataset2type(dataset.id) == "spikes.times"
    for unknown in (NOBODY, "times.npy", "", 3.5, None):
        with pytest.raises(UsageError):
            remote.dataset2type(unknown)


def test_descriptions(one: Any, server: DemoServer, remote: AlyxQueries) -> None:
    with Requests(server) as ones:
        types, expected = one.describe_dataset(), one.describe_dataset("spikes.times")
    with Requests(server) as ours:
        assert remote.describe_dataset() == types
        assert remote.describe_dataset("spikes.times") == expected
    assert len(ours.sent) == len(ones.sent) == 2
    assert remote.describe_dataset("spikes.times.npy") == expected
    dataset = remote.type2datasets(EPHYS, "spikes.times")[0]
    assert remote.describe_dataset(dataset.id) == remote.describe_dataset(str(dataset.id)) == expected
    with pytest.raises(UsageError, match=r"no dataset no\.such"):
        remote.describe_dataset("no.such")
    assert remote.describe_revision("2024-05-06") == one.describe_revision("2024-05-06", full=True)
    assert remote.describe_revision("2199-01-01") is None is remote.describe_revision("..")


def test_a_kept_answer_stands_in_for_a_database_that_is_gone(demo_archive: Path, tmp_path: Path) -> None:
    times = {"connect_timeout_s": 30, "read_timeout_s": 30, "retry_max_s": 0}
    with DemoServer(demo_archive) as server:
        client = AlyxClient(server.url, Credentials("demo", "demo"), responses_dir=tmp_path, **times)
        with contextlib.closing(client):
            remote = AlyxQueries(client, Learned())
            expected = remote.search({"subject": "NL_001"})
            server.stop()
            client.default_expiry_s = 0
            with pytest.warns(RuntimeWarning, match="An earlier answer is used"):
                assert remote.search({"subject": "NL_001"}) == expected
            with pytest.raises(UnreachableError):
                remote.search({"subject": "NL_002"})


def test_subjects_and_aggregates(one: Any, remote: AlyxQueries) -> None:
    assert remote.list_subjects() == sorted({record["nickname"] for record in one.alyx.rest("subjects", "list")})
    expected = one.list_aggregates("subjects")
    found = {f"aggregates/{each.rel_path}": str(each.id) for each in remote.list_aggregates()}
    assert {path: str(id_) for id_, path in expected["rel_path"].items()}.items() <= found.items()
