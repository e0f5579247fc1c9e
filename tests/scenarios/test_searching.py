"""Searches: onefs search and the folders of .onefs/query say the same as a walk of the mount."""

import json
import os
import re
from pathlib import Path

import pytest
from archives import copied_tables
from mounted import Mounted, run_onefs
from waiting import wait_until

from onefs.catalogue.snapshot import load_snapshot


def sessions_walked(mount: Path) -> dict[str, list[str]]:
    """Paths of all sessions, and the paths of the datasets in each."""
    found: dict[str, list[str]] = {}
    for folder, _, files in os.walk(mount):
        inside = os.path.relpath(folder, mount)
        session = re.match(r"\w+/Subjects/[^/]+/\d{4}-\d\d-\d\d/\d{3}", inside)
        if session:
            found.setdefault(session[0], []).extend(f"{inside}/{name}"[session.end() + 1 :] for name in files)
    return found


def in_folder(mount: Mounted, *terms: str) -> list[str]:
    folder = mount.path.joinpath(".onefs", "query", *(term.replace("/", "%2F") for term in terms))
    return sorted(os.path.relpath(os.path.realpath(link), mount.path) for link in folder.iterdir())


def meets(path: str, datasets: list[str], term: str) -> bool:
    lab, _, subject, day, number = path.split("/")
    name, _, value = term.partition("=")
    first, dots, last = value.partition("..")
    match name:
        case "lab":
            return bool(re.search(value, lab))
        case "subject":
            return bool(re.search(value, subject))
        case "number":
            return int(number) == int(value)
        case "date":
            return first <= day <= (last or "9" if dots else first)
    return any(re.search(value, dataset) for dataset in datasets)


@pytest.mark.parametrize(
    "terms",
    [
        ["lab=cortexlab"],
        ["subject=KS"],
        ["subject=^KS014$", "dataset=spikes.times"],
        ["date=2020-01-01.."],
        ["date=..2019-12-31"],
        ["number=1"],
        ["dataset=trials", "dataset=wheel"],
        ["subject=nobody"],
    ],
)
def test_the_command_the_folders_and_a_walk_agree(shared: Mounted, terms: list[str]) -> None:
    walked = sessions_walked(shared.path)

    expected = sorted(path for path in walked if all(meets(path, walked[path], term) for term in terms))
    printed = run_onefs("search", *terms, "--mount", str(shared.path)).stdout.splitlines()
    assert sorted(os.path.relpath(path, shared.path) for path in printed) == expected
    assert in_folder(shared, *terms) == expected


def test_what_search_prints_can_be_fetched(recorded: Mounted) -> None:
    found = run_onefs("search", "dataset=wheel", "--json", "--mount", str(recorded.path))
    sessions = json.loads(found.stdout)
    assert sessions
    listed = run_onefs("search", "dataset=wheel", "-0", "--mount", str(recorded.path)).stdout
    assert listed.split("\0")[:-1] == [session["path"] for session in sessions]
    dry = run_onefs("fetch", "--from", "-", "--dry-run", "--json", answers=listed)
    assert json.loads(dry.stdout)["total_files"] > 0


def test_a_search_is_saved_listed_fetched_and_removed(recorded: Mounted) -> None:
    place = ["--mount", str(recorded.path)]
    assert run_onefs("search", "subject=KS014", "--save", "ks", *place).returncode == 0
    other = run_onefs("search", "subject=KS0", "--save", "ks", *place)
    assert (other.returncode, other.stdout) == (2, "")
    assert other.stderr == (
        "onefs: Another search is saved as ks: subject=KS014. Give another name, or replace it: --clobber.\n"
    )
    assert run_onefs("search", "subject=KS0", "--save", "ks", "--clobber", *place).returncode == 0
    assert run_onefs("search", "subject=KS014", "--save", "ks", "--clobber", *place).returncode == 0
    assert run_onefs("search", "subject=KS014", "--clobber", *place).returncode == 2
    folder = recorded.path / ".onefs" / "query" / "saved" / "ks"
    assert os.listdir(folder.parent) == ["ks"]
    links = sorted(folder.iterdir())
    assert links
    assert all(link.is_dir() for link in links)
    by_folder = json.loads(run_onefs("fetch", str(folder), "--dry-run", "--json").stdout)
    by_term = json.loads(run_onefs("fetch", str(folder.parents[1] / "subject=KS014"), "--dry-run", "--json").stdout)
    assert by_folder == by_term
    assert by_folder["total_files"] > 0
    assert run_onefs("search", "--forget", "ks", *place).returncode == 0
    wait_until(lambda: not folder.exists(), "the folder to go")
    assert run_onefs("search", "--forget", "ks", *place).returncode == 1


@pytest.mark.parametrize(
    ("term", "sentence"),
    [("subjekt=x", "There is no search term 'subjekt'"), ("date=now", "is no date"), ("number=x", "no session number")],
)
def test_a_bad_term_is_told_by_the_command_and_in_errors(shared: Mounted, term: str, sentence: str) -> None:
    done = run_onefs("search", term, "--mount", str(shared.path))
    assert done.returncode == 2
    assert sentence in done.stderr
    with pytest.raises(FileNotFoundError):
        os.listdir(shared.path / ".onefs" / "query" / term)
    assert sentence in (shared.path / ".onefs" / "errors").read_text()


def test_a_source_is_searched_without_a_mount(archive_tables: Path, home: Path) -> None:
    done = run_onefs("search", "subject=", "--source", str(archive_tables))
    assert done.returncode == 2
    found = run_onefs("search", "subject=.", "--source", str(archive_tables), "--json")
    assert len(json.loads(found.stdout)) == load_snapshot(archive_tables, home / "state").n_sessions


@pytest.fixture
def archive_tables(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    folder.mkdir()
    return copied_tables(folder)


@pytest.mark.parametrize(
    "words", [[], ["subject=^KS014$"], ["--filename", "*spikes*", "--qc", "PASS"], ["--default-only", "lab=cortexlab"]]
)
def test_what_list_prints_is_in_the_tree_and_can_be_fetched(shared: Mounted, words: list[str]) -> None:
    done = run_onefs("list", "datasets", *words, "--mount", str(shared.path))
    paths = done.stdout.splitlines()
    assert paths
    assert all(os.path.isfile(path) for path in paths)
    dry = run_onefs("fetch", "--from", "-", "--dry-run", "--json", answers=done.stdout)
    assert sorted(f"{shared.path}/{file['path']}" for file in json.loads(dry.stdout)["files"]) == sorted(paths)


def test_list_without_words_is_the_whole_tree(shared: Mounted) -> None:
    walked = {f"{shared.path}/{path}/{name}" for path, names in sessions_walked(shared.path).items() for name in names}
    printed = run_onefs("list", "datasets", "-0", "--mount", str(shared.path)).stdout.split("\0")
    assert set(printed) - {""} == walked
    facts = json.loads(run_onefs("list", "datasets", "--json", "--mount", str(shared.path)).stdout)
    assert {each["path"] for each in facts} == walked


def test_other_settings_of_a_mount_are_refused_by_list(shared: Mounted) -> None:
    done = run_onefs("list", "datasets", "--as-of", "2020-01-01", "--mount", str(shared.path))
    assert (done.returncode, "setting of the mount" in done.stderr) == (2, True)
