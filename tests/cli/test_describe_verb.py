"""onefs describe: the database's descriptions, as ONE has them, or one sentence where there is nobody to ask."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from alyx_mounts import mount_of
from archives import copied_tables
from mounted import run_onefs
from one_in_remote_mode import one_at

from onefs.demo.server import DemoServer

Describe = Callable[..., "CompletedProcess[str]"]


@pytest.fixture(scope="module")
def demo(demo_archive: Path) -> Iterator[DemoServer]:
    with DemoServer(demo_archive) as running:
        yield running


@pytest.fixture(scope="module")
def one(demo: DemoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with one_at(demo, tmp_path_factory.mktemp("one")) as one:
        yield one


@pytest.fixture(scope="module")
def describe(demo: DemoServer, tmp_path_factory: pytest.TempPathFactory) -> Describe:
    home = tmp_path_factory.mktemp("home")
    environment = {"HOME": str(home), "ONEFS_ALYX_USER": "demo", "ONEFS_ALYX_PASSWORD": "demo"}

    def describe(*words: str) -> "CompletedProcess[str]":
        return run_onefs("describe", *words, "--source", demo.url, "--cache-dir", home / "cache", **environment)

    return describe


def test_dataset_types_are_those_of_one(describe: Describe, one: Any) -> None:
    records = one.alyx.rest("dataset-types", "list")
    assert json.loads(describe("dataset-types", "--json").stdout) == sorted(records, key=lambda each: each["name"])
    lines = describe("dataset-types").stdout.splitlines()
    assert [line.partition("\t")[0] for line in lines] == sorted(each["name"] for each in records)


@pytest.mark.parametrize("kind", ["dataset-type", "dataset-types"])
def test_one_dataset_type(describe: Describe, one: Any, kind: str) -> None:
    expected = one.describe_dataset("spikes.times")
    assert json.loads(describe(kind, "spikes.times", "--json").stdout) == expected
    assert " ".join(expected["description"].split()) in " ".join(describe(kind, "spikes.times").stdout.split())


def test_the_type_of_a_dataset_by_name_and_by_id(describe: Describe, one: Any) -> None:
    dataset = one.alyx.rest("datasets", "list", name="spikes.times.npy")[0]
    expected = one.describe_dataset("spikes.times")
    for name in ("spikes.times.npy", dataset["url"][-36:]):
        assert json.loads(describe("dataset", name, "--json").stdout) == expected


def test_revisions(describe: Describe, one: Any) -> None:
    records = one.alyx.rest("revisions", "list")
    names = sorted(each["name"] for each in records)
    assert [each["name"] for each in json.loads(describe("revisions", "--json").stdout)] == names
    expected = one.describe_revision(names[0], full=True)
    for name in (names[0], f"#{names[0]}#"):
        assert json.loads(describe("revision", name, "--json").stdout) == expected
    assert describe("revision", names[0]).stdout.startswith("name")


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["dataset-type", "no.such"], 1, "The database describes no dataset type no.such."),
        (["dataset", "no.such.npy"], 1, "The database has no dataset no.such.npy."),
        (["revision", "1999-01-01"], 1, "The database describes no revision 1999-01-01."),
        (["dataset"], 2, "No dataset is named. Write: onefs describe dataset NAME"),
        (["dataset-types", "--mode", "local"], 1, "which mode local does not ask"),
    ],
)
def test_what_cannot_be_described_is_told(describe: Describe, words: list[str], code: int, sentence: str) -> None:
    done = describe(*words)
    assert (done.returncode, done.stdout) == (code, "")
    assert sentence in done.stderr


def test_a_source_without_a_database(tmp_path: Path) -> None:
    done = run_onefs("describe", "dataset-types", "--source", copied_tables(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert "Descriptions come from a database, and" in done.stderr


def test_the_database_of_a_mount_is_asked(describe: Describe, demo: DemoServer, tmp_path: Path) -> None:
    with mount_of(demo, tmp_path) as mount:
        words = ["describe", "dataset-type", "spikes.times"]
        done = run_onefs(*words, "--mount", mount.path, **mount.environment)
        assert done.stdout == describe("dataset-type", "spikes.times").stdout
        assert run_onefs("mode", "local", mount.path).returncode == 0
        done = run_onefs(*words, "--mount", mount.path, **mount.environment)
        assert (done.returncode, "mode local, which does not ask it" in done.stderr) == (1, True)
