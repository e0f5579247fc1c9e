"""What Alyx says becomes what ONE makes of it; odd records are no failure."""

import json
import random
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from one.converters import datasets2records, ses2records
from replay import MakeClient, Replay, json_reply, recorded, recorded_reply

from onefs.alyx import parsing
from onefs.alyx.client import AlyxClient
from onefs.alyx.fields import OddRecordError
from onefs.alyx.records import AlyxDataset
from onefs.errors import AccessRefusedError, BrokenAnswerError, UnknownRecordError, UsageError

EPHYS = UUID("d6ee68d4-ee19-4c5e-8595-633efeb735ed")
ODD = UUID("9529d030-3fae-4c9e-9bf4-59e377946493")
NULL_URL = UUID("a77d0e9a-18b2-4ec7-a415-7632860d71d4")
BASE = UUID("8fb66616-d730-4b99-8696-d33f404507dd")
FILE = UUID("5ca3192b-4e86-421d-8350-ceaf07b28021")


DATASETS = ["datasets_list_idin", "datasets_list_aggregates", "datasets_list_session_name"]


def as_row(dataset: AlyxDataset) -> tuple[object, ...]:
    return (
        dataset.rel_path,
        dataset.size_bytes,
        dataset.md5,
        dataset.exists,
        bool(dataset.default_revision),
        dataset.qc,
    )


def ones_row(row: Any) -> tuple[object, ...]:
    return (row.rel_path, row.file_size, row.hash, bool(row.exists), bool(row.default_revision), row.qc)


def test_a_session_is_what_one_makes_of_it() -> None:
    record = recorded("sessions_read_ephys")["json"]
    found, (session, _) = parsing.session(record), ses2records(record)
    assert (found.eid, found.lab, found.subject, found.date, found.number) == (
        session.name,
        session.lab,
        session.subject,
        session.date,
        session.number,
    )
    assert (",".join(found.projects), found.task_protocol) == (session.projects, session.task_protocol)


def test_addresses_are_ready_for_a_request() -> None:
    listed = [record for name in DATASETS for record in recorded(name)["json"]["results"]]
    revised = [dataset for dataset in map(parsing.dataset, listed) if "#" in dataset.rel_path and dataset.urls]
    assert revised
    for dataset in revised:
        for url in dataset.urls:
            assert "/%23" in url
            assert not urlsplit(url).fragment
            assert str(dataset.id) in url


@pytest.mark.parametrize("name", DATASETS)
def test_datasets_are_what_one_makes_of_them(name: str) -> None:
    listed = recorded(name)["json"]["results"]
    found = {dataset.id: dataset for dataset in map(parsing.dataset, listed)}
    ones = {id_: ones_row(row) for (_, id_), row in datasets2records(listed).iterrows()}
    assert ones
    for id_, row in ones.items():
        expected = (row[0].removeprefix("public/aggregates/"), *row[1:]) if found[id_].eid is None else row
        assert as_row(found[id_]) == expected


def test_datasets_by_session_by_id_and_of_no_session(replay: Replay, client: AlyxClient) -> None:
    (named,) = {
        dataset.rel_path.rpartition("/")[2] for dataset in client.datasets(EPHYS, name="_ibl_wheel.position.npy")
    }
    assert named == "_ibl_wheel.position.npy"
    ids = [UUID(record["url"][-36:]) for record in recorded("datasets_list_idin")["json"]["results"]]
    assert {dataset.id for dataset in client.datasets_of_ids(sorted(ids, key=str))} == set(ids)
    aggregates = client.aggregates()
    assert len(aggregates) == 6
    assert {dataset.eid for dataset in aggregates} == {None}
    assert "Subjects/cortexlab/KS005/#2024-05-06#/_ibl_subjectTrials.table.pqt" in {
        dataset.rel_path for dataset in aggregates
    }
    id_ = UUID("5764df4f-baf5-4eca-80db-33b724a9c735")
    assert client.dataset(id_).id == id_
    with pytest.raises(UnknownRecordError, match="No Dataset matches"):
        client.dataset(UUID("00000000-0000-4000-8000-000000000000"))


def test_many_ids_are_asked_for_in_portions(replay: Replay, client: AlyxClient) -> None:
    replay.put("/datasets", [])
    chance = random.Random(1)
    ids = [UUID(int=chance.getrandbits(128)) for _ in range(120)]
    assert client.datasets_of_ids(ids + ids) == []
    asked = replay.requests("/datasets")
    assert len(asked) == 3
    assert all(sum(str(one) in request.query["django"] for request in asked) == 1 for one in ids)


def test_an_unknown_size_and_a_blank_hash_are_unknown() -> None:
    (record,) = recorded("datasets_special_clusters_table_pqt")["json"]["results"]
    dataset = parsing.dataset(record)
    assert (dataset.size_bytes, dataset.md5) == (None, "")


def test_a_hash_with_the_dashes_of_a_uuid_is_an_md5() -> None:
    (record,) = recorded("datasets_special_clusters_table_pqt")["json"]["results"]
    plain = "0123456789abcdef" * 2
    assert parsing.dataset(record | {"hash": str(UUID(plain)).upper()}).md5 == plain


def test_a_hash_that_is_no_md5_stays_to_be_counted() -> None:
    (record,) = recorded("datasets_special_clusters_table_pqt")["json"]["results"]
    assert parsing.dataset(record | {"hash": " xyZ "}).md5 == "xyZ"


def test_a_base_session_has_no_number(client: AlyxClient) -> None:
    assert [session.eid for session in client.sessions() if session.number is None] == [BASE]


def test_records_of_any_shape_are_read_or_left_out() -> None:
    """Whatever stands in a field: a value, or an odd record, and no other failure."""
    values: list[Any] = [None, "", "True", 1, -5, 1.5, True, [], {}, [None], "x" * 36, "#", "http://[", 10**30]
    originals = [
        (parsing.session, recorded("sessions_read_base_number_null")["json"]),
        (parsing.dataset, recorded("datasets_read")["json"]),
        (parsing.insertion, recorded("insertions_list_session")["json"]["results"][0]),
        (parsing.repository, recorded("data_repository_read_aws_cortexlab")["json"]),
        (parsing.tables_info, recorded("cache_info")["json"]),
        (parsing.file_record, recorded("files_read")["json"]),
        (parsing.subject, recorded("subjects_list")["json"]["results"][0]),
    ]
    for parse, original in originals:
        parse(original)
        for key in original:
            for value in [*values, "missing"]:
                record = {**original, key: value}
                if value == "missing":
                    del record[key]
                try:
                    parse(record)
                except OddRecordError:
                    continue


def test_a_dataset_without_file_records_does_not_exist() -> None:
    dataset = parsing.dataset({**recorded("datasets_read")["json"], "file_records": []})
    assert (dataset.exists, dataset.urls) == (False, ())
    assert dataset.rel_path == "alf/probe00/pykilosort/spikes.depths.npy"


def test_what_the_tables_are(client: AlyxClient) -> None:
    info = client.tables_info()
    assert info.created == datetime(2026, 11, 20, 9, 19, tzinfo=UTC)
    assert (info.origin, info.min_api_version, info.tags) == ("alyx", "2.10", ())
    assert info.locations == ("https://data.example/tables/cache.zip",)
    assert info.row_counts == {"sessions": 12, "datasets": 230}


def test_tables_of_a_tag(replay: Replay, client: AlyxClient) -> None:
    replay.put("/cache/info/2024_Q2_Test_et_al/", recorded_reply("cache_info_tag"))
    assert client.tables_info("2024_Q2_Test_et_al").tags == ("2024_Q2_Test_et_al",)
    replay.put("/cache/info/nope/", recorded_reply("cache_info_tag_404"))
    with pytest.raises(UnknownRecordError, match="Tag matching query does not exist"):
        client.tables_info("nope")
    replay.put("/cache/info/internal/", recorded_reply("cache_info_tag_without_tables_500"))
    with pytest.raises(BrokenAnswerError, match="404 Client Error"):
        client.tables_info("internal")


def test_the_full_tables_never_stand_in_for_those_of_a_tag(replay: Replay, client: AlyxClient) -> None:
    replay.put("/cache/info/internal/", recorded_reply("cache_info"))
    with pytest.raises(BrokenAnswerError, match="other tables than those of the tag internal"):
        client.tables_info("internal")


def test_tables_that_the_server_keeps_itself_have_no_location(replay: Replay, client: AlyxClient) -> None:
    info = {key: value for key, value in recorded("cache_info")["json"].items() if key != "location"}
    replay.put("/cache/info/", json_reply(info))
    assert client.tables_info().locations is None
    replay.put("/cache/info/", json_reply({**info, "location": "file:///etc/passwd"}))
    with pytest.raises(BrokenAnswerError, match="no web address"):
        client.tables_info()


def test_repositories_have_their_buckets_and_hide_their_keys(client: AlyxClient) -> None:
    by_name = {repository.name: repository for repository in client.repositories()}
    assert by_name["aws_mainenlab"].bucket == "onefs-test-public"
    assert by_name["aws_mainenlab"].region == "us-east-1"
    assert by_name["aws_mainenlab"].access_key == ""
    assert by_name["aws_private"].secret_key == "secretexampleh2"
    assert "secretexampleh2" not in repr(by_name) and "AKIDEXAMPLEH2" not in repr(by_name)
    assert by_name["cortexlab_SR"].personal


def test_the_other_lists(client: AlyxClient) -> None:
    assert next(lab.repositories for lab in client.labs()) == ("aws_cortexlab", "cortexlab_SR", "flatiron_cortexlab")
    assert {subject.nickname for subject in client.subjects()} >= {"KS005", "KS014"}


def test_a_filter_that_alyx_would_ignore_is_refused(replay: Replay, client: AlyxClient) -> None:
    with pytest.raises(UsageError, match="no filter 'subjects'") as caught:
        client.sessions(subjects="KS005")
    assert caught.value.remedy == "Did you mean 'subject'?"
    assert not replay.asked


def test_filters_are_spelt_as_alyx_reads_them(replay: Replay, client: AlyxClient) -> None:
    replay.put("/sessions", [])
    client.sessions(date_range=[datetime(2020, 7, 1).date(), "2020-07-02"], number=None, datasets=["a.b", "c.d"])
    query = replay.requests("/sessions")[0].query
    assert query == {"date_range": "2020-07-01,2020-07-02", "datasets": "a.b,c.d", "limit": "1000"}
    client.sessions_of_ids([EPHYS])
    assert replay.requests("/sessions")[1].query["django"] == f"pk__in,['{EPHYS}']"


def test_a_mismatch_is_noted_beside_what_stands_there(replay: Replay, client: AlyxClient) -> None:
    replay.put(f"/files/{FILE}", json_reply({**recorded("files_read")["json"], "json": {"keep": [1]}}))
    noted = client.report_mismatch(FILE, {"mismatch_hash": True})
    assert noted.json == {"keep": [1], "mismatch_hash": True}
    (patch,) = replay.requests(f"/files/{FILE}", "PATCH")
    assert json.loads(patch.body) == {"json": {"keep": [1], "mismatch_hash": True}}
    assert client.report_mismatch(FILE, {"mismatch_hash": True}) == noted
    assert len(replay.requests(f"/files/{FILE}", "PATCH")) == 1


def test_a_mismatch_is_sent_as_one_sends_it(replay: Replay, client: AlyxClient) -> None:
    client.report_mismatch(FILE, {"mismatch_hash": True})
    (patch,) = replay.requests(f"/files/{FILE}", "PATCH")
    assert json.loads(patch.body) == json.loads(recorded("files_patch_member")["request_body"])


def test_a_mismatch_that_may_not_be_noted_is_told(replay: Replay, client: AlyxClient) -> None:
    replay.script(f"/files/{FILE}", recorded_reply("files_read"), recorded_reply("files_patch_public_403"))
    with pytest.raises(AccessRefusedError, match="do not have permission"):
        client.report_mismatch(FILE, {"mismatch_hash": True})
    replay.put(f"/files/{FILE}", json_reply({**recorded("files_read")["json"], "json": ["odd"]}))
    with pytest.raises(BrokenAnswerError, match="left as it is"):
        client.report_mismatch(FILE, {"mismatch_hash": True})


def test_a_record_that_is_no_record(replay: Replay, client: AlyxClient, make_client: MakeClient) -> None:
    replay.put(f"/datasets/{ODD}", json_reply({"session": None}))
    with pytest.raises(BrokenAnswerError, match="not understood"):
        client.dataset(ODD)
