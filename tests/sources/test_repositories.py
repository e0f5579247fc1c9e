"""Where the recorded database's files are, from its own lists of labs and repositories."""

import json
import logging
from uuid import UUID

import pytest
from archives import RECORDINGS

from onefs.alf import RemoteNames
from onefs.alyx import parsing
from onefs.alyx.records import AlyxDataset, FileRecord
from onefs.catalogue.records import QC, Dataset
from onefs.sources.repositories import DataLogin, Places, places_of
from onefs.transports.base import Login

LOGIN = Login("me", "sesame")
ID = UUID("f34fe069-8321-429d-9366-47285757f9a2")
INSIDE = "KS005/2019-04-01/001/alf/%23test%23/misc.info.f34fe069-8321-429d-9366-47285757f9a2.txt"
AGGREGATE = "Tags/2024_Q2_Test_et_al/clusters.table.f34fe069-8321-429d-9366-47285757f9a2.pqt"
DATA = "https://data.example/public"
BUCKET = "https://s3.example/onefs-test-public"
PRIVATE = "https://onefs-test-restricted.s3.us-east-1.amazonaws.com"


def places(server: str = "", s3_endpoint: str = "") -> Places:
    pairs = map(json.loads, (RECORDINGS / "rest" / "client.jsonl").read_text().splitlines())
    recorded = {pair["name"]: pair["json"] for pair in pairs}
    labs, repositories = (recorded[name]["results"] for name in ("labs_list", "data_repository_list"))
    return places_of(
        map(parsing.lab, labs),
        list(map(parsing.repository, repositories)),
        DataLogin(LOGIN, server),
        s3_endpoint,
        RemoteNames.UUID,
    )


def dataset(session_path: str, rel_path: str, *, in_session: bool = True) -> Dataset:
    eid = UUID(int=1) if in_session else None
    return Dataset(ID, eid, session_path, rel_path, 1, "", exists=True, qc=QC.PASS, default_revision=None)


def of_lab(lab: str) -> Dataset:
    return dataset(f"{lab}/Subjects/KS005/2019-04-01/001", "alf/#test#/misc.info.txt")


def test_a_lab_s_bucket_and_data_server() -> None:
    assert [location.url for location in places().locations(of_lab("cortexlab"))] == [
        f"{BUCKET}/data/cortexlab/Subjects/{INSIDE}",
        f"{DATA}/cortexlab/Subjects/{INSIDE}",
    ]


def test_a_bucket_without_an_address_is_amazon_s_or_where_the_settings_say() -> None:
    key = f"data/mainenlab/Subjects/{INSIDE}"
    amazon, own = (
        next(found.locations(of_lab("mainenlab"))).url for found in (places(), places(s3_endpoint="https://s3.example"))
    )
    assert amazon == f"https://onefs-test-public.s3.us-east-1.amazonaws.com/{key}"
    assert own == f"{BUCKET}/{key}"


def test_aggregates() -> None:
    aggregate = dataset("aggregates", "Tags/2024_Q2_Test_et_al/clusters.table.pqt", in_session=False)
    assert [location.url for location in places().locations(aggregate)] == [
        f"{BUCKET}/aggregates/{AGGREGATE}",
        f"{DATA}/aggregates/{AGGREGATE}",
    ]


def test_a_lab_without_repositories_is_guessed_and_no_lab_is_not() -> None:
    guessed = [location.url for location in places(s3_endpoint="https://s3.example").locations(of_lab("newlab"))]
    assert guessed == [f"{BUCKET}/data/newlab/Subjects/{INSIDE}", f"{DATA}/newlab/Subjects/{INSIDE}"]
    assert not list(places().locations(dataset("KS005/2019-04-01/001", "alf/misc.info.txt")))


@pytest.mark.parametrize(
    ("server", "expected"),
    [("", {DATA}), ("https://data.example", {DATA}), ("http://data.example", set()), ("https://s3.example", set())],
)
def test_the_login_is_for_data_servers_alone(server: str, expected: set[str]) -> None:
    with_login = {
        location.url.partition("/cortexlab/")[0]
        for location in places(server).locations(of_lab("cortexlab"))
        if location.login == LOGIN
    }
    assert with_login == expected


@pytest.mark.parametrize(
    ("server", "gets_it"),
    [("https://own.example", True), ("http://own.example", False), ("https://data.example", False), ("", False)],
)
def test_a_copy_on_a_server_of_no_repository(server: str, gets_it: bool) -> None:
    copy = FileRecord(None, "unknown", "x/a.b.npy", "https://own.example/x/a.b.npy", exists=True)
    told = AlyxDataset(ID, None, "a.b.npy", "", 1, "", "PASS", None, False, (), True, (copy,))
    (location,) = places(server).copies(told)
    assert (location.login == LOGIN) is gets_it


def test_keys_stay_secret(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        found = places()
    bucket = found.by_name["aws_private"].bucket
    assert bucket is not None
    assert bucket.ring is not None
    shown = f"{caplog.text} {found!r} {bucket.asking(bucket.url)!r} {bucket.ring.keys()!r}"
    assert "secretexample" not in shown
    assert "AKIDEXAMPLE" not in shown


def test_a_copy_is_asked_for_with_its_bucket_s_keys_only_at_the_bucket_s_service() -> None:
    urls = (f"{PRIVATE}/priv/x/a.b.npy", "https://elsewhere.example/priv/x/a.b.npy")
    copies = tuple(FileRecord(None, "unknown", "", url, exists=True) for url in urls)
    told = AlyxDataset(ID, None, "a.b.npy", "", 1, "", "PASS", None, False, (), True, copies)
    own, other = places().copies(told)
    assert own.bucket is not None
    assert own.bucket.ring is not None
    assert (own.login, other.bucket) == (None, None)
