"""onefs list: the same as the tree shows and as ONE lists, with and without filters, terms and a mount."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from archives import copied_tables
from mounted import ONEFS, run_onefs
from one.api import One


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied_tables(tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="module")
def listed(archive: Path) -> Callable[..., list[str]]:
    def listed(*words: str) -> list[str]:
        done = run_onefs("list", *words, "--source", archive)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return listed


@pytest.fixture(scope="module")
def one(archive: Path) -> One:
    return One(cache_dir=archive, mode="local")


FILTERS = [
    ([], {}),
    (["--filename", "*spikes*"], {"filename": "*spikes*"}),
    (["--filename", "spikes.*", "--filename", "*wheel*"], {"filename": ["spikes.*", "*wheel*"]}),
    (["--collection", "alf*"], {"collection": "alf*"}),
    (["--collection", "alf"], {"collection": "alf"}),
    (["--collection", ""], {"collection": ""}),
    (["--revision", "*"], {"revision": "*"}),
    (["--revision", ""], {"revision": ""}),
]


@pytest.mark.parametrize(("flags", "asked"), FILTERS, ids=lambda each: " ".join(each))
@pytest.mark.parametrize("kind", ["datasets", "collections", "revisions"])
def test_lists_of_a_session_are_those_of_one(one, listed, kind, flags, asked):
    eid = max(one.search(datasets="spikes.times.npy"), key=lambda eid: len(one.list_datasets(eid)))
    found = json.loads("".join(listed(kind, str(eid), *flags, "--json")))
    if kind == "datasets":
        frame = one.list_datasets(eid, details=True, **asked)
        expected = sorted(frame.loc[frame["exists"], "rel_path"]) if len(frame) else []
        assert sorted(each["rel_path"] for each in found) == expected
    else:
        assert found == sorted(getattr(one, f"list_{kind}")(eid, **asked))


def test_subjects_and_labs_are_those_of_one(one, listed):
    assert listed("subjects") == sorted(one.list_subjects())
    assert listed("labs") == sorted(one._cache.sessions["lab"].unique())
    eids = one.search(laboratory="cortexlab")
    assert "" not in listed("collections")
    assert listed("subjects", "lab=cortexlab") == sorted(set(one._cache.sessions.loc[eids, "subject"]))


def test_sessions_are_named_by_eid_reference_and_path(one, listed, archive):
    eid = one.search(subject="KS014")[0]
    path = one.eid2path(eid)
    expected = listed("datasets", str(eid))
    assert expected
    for name in (one.eid2ref(eid, as_dict=False), str(path), path.relative_to(archive).as_posix(), f"{path}/alf"):
        assert listed("datasets", name) == expected
    assert listed("datasets", str(eid), "subject=KS014") == expected
    assert listed("datasets", str(eid), "subject=nobody") == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["datasets", "nothing"], "'nothing' is neither a search term nor an identifier of a session"),
        (["datasets", "6a1c1f6e-54f5-4c09-8d5b-3a7d1a4c1d10"], "There is no session 6a1c1f6e"),
        (["datasets", "subjekt=x"], "There is no search term 'subjekt'"),
        (["labs", "--filename", "x"], "labs are listed"),
        (["aggregates", "subject=x"], "Aggregates belong to no session"),
        (["datasets", "--qc", "GOOD"], "GOOD"),
        (["mice"], "mice"),
    ],
)
def test_what_cannot_be_listed_is_told(archive, words, sentence):
    done = run_onefs("list", *words, "--source", archive)
    assert done.returncode in (1, 2)
    assert sentence in done.stderr
    assert not done.stdout


def test_a_reader_that_has_seen_enough_ends_it_quietly(archive):
    words = " ".join([*ONEFS, "list", "datasets", "--source", str(archive)])
    done = subprocess.run(
        ["bash", "-c", f"{words} | head -c 10"], capture_output=True, text=True, check=False, env=os.environ
    )
    assert len(done.stdout) == 10
    assert done.stderr == ""


def test_a_full_disk_is_told_in_a_sentence(archive):
    words = " ".join([*ONEFS, "list", "datasets", "--source", str(archive)])
    done = subprocess.run(
        ["bash", "-c", f"{words} > /dev/full"], capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.returncode == 1
    assert done.stderr == (
        "onefs: The output cannot be written: No space left on device. Free some space, or write it elsewhere.\n"
    )
