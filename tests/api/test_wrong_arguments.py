"""What is asked wrongly of the Python face: the documented error, what to do about it, and nothing changed."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from archives import RECORDINGS

from onefs import One
from onefs.api.exceptions import (
    ALFError,
    ALFMultipleCollectionsFound,
    ALFMultipleObjectsFound,
    ALFObjectNotFound,
    NoDatabaseError,
    OnefsError,
    TableError,
)

pytestmark = pytest.mark.filterwarnings("ignore")
EID = "d6ee68d4-ee19-4c5e-8595-633efeb735ed"
NOBODY = "6a1c1f6e-54f5-4c09-8d5b-3a7d1a4c1d10"
PLACE = "mouse/2001-01-01/001"
SORTED = "alf/probe00/pykilosort"
Call = Callable[[One], Any]

VALUE_ERRORS: dict[str, Call] = {
    "an unknown term": lambda one: one.search(colour="red"),
    "a term that may be several": lambda one: one.search(d="2020-01-01"),
    "a term given twice": lambda one: one.search(lab="a", laboratory="b"),
    "a bad expression": lambda one: one.search(subject="["),
    "a bad expression for paths": lambda one: one.search(dataset="("),
    "a number that is none": lambda one: one.search(number="one"),
    "a date that is none": lambda one: one.search(date="yesterday"),
    "three dates": lambda one: one.search(date=["2020-01-01"] * 3),
    "an outcome that is none": lambda one: one.search(dataset_qc="GOOD"),
    "a mode for a query": lambda one: one.search(query_type="remot"),
    "an outcome for a list": lambda one: one.list_datasets(EID, qc="GOOD"),
    "what is no session": lambda one: one.list_datasets("KS014"),
    "details of no session": lambda one: one.get_details(PLACE),
    "a load from a place without session": lambda one: one.load_object(PLACE, "spikes"),
    "a path beside a collection": lambda one: one.load_dataset(EID, "alf/licks.times.npy", collection="alf"),
    "a path beside a revision": lambda one: one.load_dataset(EID, "alf/licks.times.npy", revision="2024"),
    "texts and dicts mixed": lambda one: one.load_datasets(EID, ["licks.times", {"object": "licks"}]),
    "collections of another length": lambda one: one.load_datasets(EID, ["licks.times"], collections=["a", "b"]),
    "no id of a dataset": lambda one: one.load_dataset_from_id("licks"),
    "several sessions for one list": lambda one: one.list_datasets([EID, EID]),
    "several sessions for one load": lambda one: one.load_object([EID, EID], "spikes"),
    "a path of what is no eid": lambda one: one.eid2path("licks"),
    "a mode to refresh by": lambda one: one.refresh_cache("never"),
    "a mode without database": lambda one: setattr(one, "mode", "remote"),
    "a bad identifier of aggregates": lambda one: one.list_aggregates("subjects", "["),
}
OTHERS: list[tuple[type[Exception], str, Call]] = [
    (KeyError, "an unknown part", lambda one: one.list_datasets(EID, {"colour": "red"})),
    (KeyError, "an unknown part of an object", lambda one: one.load_object(EID, "spikes", colour="red")),
    (ALFObjectNotFound, "an unknown session", lambda one: one.get_details(NOBODY)),
    (ALFObjectNotFound, "a load of the nil eid", lambda one: one.load_object(f"{UUID(int=0)}", "spikes")),
    (ALFObjectNotFound, "a load of an unknown session", lambda one: one.load_object(NOBODY, "spikes")),
    (ALFObjectNotFound, "an object that is not there", lambda one: one.load_object(EID, "nothing")),
    (ALFObjectNotFound, "a file that is not there", lambda one: one.load_dataset(EID, "licks.times.npy")),
    (ALFObjectNotFound, "a dataset that is not there", lambda one: one.load_dataset(EID, "no.such.npy")),
    (ALFObjectNotFound, "datasets that are not there", lambda one: one.load_datasets(EID, ["no.such", "nor.this"])),
    (ALFObjectNotFound, "an unknown id", lambda one: one.load_dataset_from_id(NOBODY)),
    (ALFMultipleCollectionsFound, "several collections", lambda one: one.load_object(EID, "spikes")),
    (ALFMultipleCollectionsFound, "a dataset in several", lambda one: one.load_dataset(EID, "spikes.times.npy")),
    (ALFMultipleObjectsFound, "several objects", lambda one: one.load_object(EID, "*s", collection=SORTED)),
    (ALFMultipleObjectsFound, "several names", lambda one: one.load_dataset(EID, "spikes.*", collection=SORTED)),
    (AssertionError, "several, as ONE has it", lambda one: one.load_object(EID, "*s", collection=SORTED)),
    (ALFError, "an unknown collection", lambda one: one.load_collection(EID, "nowhere")),
    (NoDatabaseError, "a remote query", lambda one: one.search(query_type="remote")),
    (NotImplementedError, "a remote list", lambda one: one.list_datasets(EID, query_type="remote")),
    (NoDatabaseError, "probes without their table", lambda one: one.search_insertions(name="probe00")),
    (NoDatabaseError, "a URL without server", lambda one: one.path2url(one.eid2path(EID) / "alf/licks.times.npy")),
    (NoDatabaseError, "tables of a tag", lambda one: one.load_cache(tag="2022_Q2")),
    (TableError, "damaged tables", lambda one: one.load_cache(_damaged(one))),
]


def _damaged(one: One) -> Path:
    folder = one.cache_dir.with_name("damaged")
    folder.mkdir(exist_ok=True)
    for name in ("sessions.pqt", "datasets.pqt"):
        (folder / name).write_bytes(b"PAR1")
    return folder


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> One:
    """A `One` on the recorded tables, without files."""
    return One(shutil.copytree(RECORDINGS / "tables", tmp_path_factory.mktemp("archive") / "tables"))


@pytest.mark.parametrize(
    ("kind", "call"),
    [pytest.param(ValueError, call, id=what) for what, call in VALUE_ERRORS.items()]
    + [pytest.param(kind, call, id=what) for kind, what, call in OTHERS],
)
def test_bad_input(one: One, kind: type[Exception], call: Call) -> None:
    before = state_of(one)
    with pytest.raises(kind) as raised:
        call(one)
    assert isinstance(raised.value, OnefsError)
    assert kind is not ValueError or isinstance(raised.value, AssertionError)
    told = str(raised.value)
    assert told[-1] in ".'\"" and len(told) > 20, told
    assert raised.value.remedy or "." in told[:-1], f"no remedy in: {told}"
    assert state_of(one) == before


def state_of(one: One) -> tuple[Any, ...]:
    """What a failed call must not change."""
    tables = [(file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in sorted(one.cache_dir.glob("*.pqt"))]
    return tables, one.mode, one.search(), one.list_datasets(), one._tables_dir
