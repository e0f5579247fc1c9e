"""Searches in mode remote: Alyx answers, for folders and commands, and what it tells is learned."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alyx_archive import AlyxArchive
from alyx_mounts import Asked, control, mount_of, tree_of
from mounted import Mounted, run_onefs
from one_in_remote_mode import one_at

from onefs.demo.plan import BASE_SESSION, PLANS
from onefs.demo.server import DemoServer

NEW = "newlab/Subjects/rat/2024-02-01/003"


@pytest.fixture(scope="module")
def demo(demo_archive: Path) -> Iterator[DemoServer]:
    with DemoServer(demo_archive) as running:
        yield running


@pytest.fixture(scope="module")
def one(demo: DemoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with one_at(demo, tmp_path_factory.mktemp("one")) as one:
        yield one


@pytest.fixture(scope="module")
def mount(demo: DemoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mounted]:
    with mount_of(demo, tmp_path_factory.mktemp("mount"), "--mode", "remote") as mount:
        yield mount


def in_folder(mount: Mounted, *terms: str) -> list[str]:
    folder = mount.path.joinpath(".onefs", "query", *(term.replace("/", "%2F") for term in terms))
    return [os.path.relpath(os.path.realpath(link), mount.path) for link in sorted(folder.iterdir())]


def found(mount: Mounted, *words: str) -> Any:
    done = run_onefs(*words, "--json", "--mount", mount.path)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


SEARCHES: list[tuple[list[str], dict[str, Any]]] = [
    (["subject=nl_001"], {"subject": "nl_001"}),
    (["lab=NORTHLAB", "task=EPHYS"], {"lab": "NORTHLAB", "task_protocol": "EPHYS"}),
    (["subject=nl_001|nobody"], {"subject": "nl_001"}),
    (["number=2,99"], {"number": 2}),
    (["date=2023-04-18.."], {"date_range": ["2023-04-18", None]}),
    (["django=subject__nickname__regex,^NL_0"], {"django": "subject__nickname__regex,^NL_0"}),
    (["datasets=spikes.times.npy", "tag=demowide"], {"datasets": "spikes.times.npy", "tag": "demowide"}),
    (["proj=brainwide"], {"projects": "brainwide"}),
    (["performance_gte=70"], {"performance_gte": 70}),
    (["subject=nobody"], {"subject": "nobody"}),
]


@pytest.mark.parametrize(("words", "terms"), SEARCHES, ids=str)
def test_the_folders_and_the_command_find_what_one_finds(
    mount: Mounted, one: Any, words: list[str], terms: dict[str, Any]
) -> None:
    expected = [str(eid) for eid in one.search(**terms)]
    paths = {str(plan.session.eid): plan.session.path for plan in PLANS}
    assert sorted(in_folder(mount, *words)) == sorted(paths[eid] for eid in expected if eid in paths)
    assert sorted(each["eid"] for each in found(mount, "search", *words)) == sorted(set(expected) & set(paths))


def test_parts_of_dataset_names_must_all_be_there(mount: Mounted, one: Any) -> None:
    both = {str(eid) for eid in one.search(django="data_dataset_session_related__name__icontains,spikes.times")}
    assert {each["eid"] for each in found(mount, "search", "dataset=spikes.times", "dataset=trials")} == both
    dates = [each["date"] for each in found(mount, "search", "dataset=spikes.times|no.such|trials")]
    assert len(dates) > len(both)
    assert dates == sorted(dates, reverse=True)


@pytest.mark.parametrize(
    ("term", "sentence"),
    [
        ("subjekt=x", "There is no search term 'subjekt'. Use "),
        ("date=now", "'now' is no date"),
        ("number=x", "'x' is no session number"),
        ("subject=", "'subject=' is no search term"),
    ],
)
def test_a_bad_term_is_told(mount: Mounted, term: str, sentence: str) -> None:
    done = run_onefs("search", term, "--mount", mount.path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"onefs: {sentence}")


def test_lists_on_a_mount_are_its_tree(mount: Mounted) -> None:
    session = next(plan.session for plan in PLANS if plan.revised)
    walked = sorted(f"{session.path}/{path}" for path in tree_of(mount.path / session.path))
    listed = found(mount, "list", "datasets", str(session.eid))
    assert sorted(os.path.relpath(each["path"], mount.path) for each in listed) == walked
    assert found(mount, "list", "labs") == sorted({plan.lab for plan in PLANS})
    assert found(mount, "list", "subjects", f"lab={session.lab}") == sorted(
        {plan.subject for plan in PLANS if plan.lab == session.lab}
    )
    one_each = found(mount, "list", "datasets", str(session.eid), "--default-only")
    in_view = tree_of(mount.path / ".onefs" / "default" / session.path)
    assert len(one_each) == len({each["rel_path"] for each in one_each}) == len(in_view)


def run_info(name: str, mount: Mounted) -> list[dict[str, Any]]:
    told = found(mount, "info", name)
    return told if isinstance(told, list) else [told]


def test_probes_that_no_table_has(mount: Mounted, demo: DemoServer, one: Any, tmp_path: Path) -> None:
    session = next(plan.session for plan in PLANS if plan.probes)
    pids, labels = one.eid2pid(str(session.eid))
    (by_probe,) = run_info(str(pids[0]), mount)
    assert (by_probe["path"], by_probe["probe"], by_probe["pid"]) == (session.path, labels[0], str(pids[0]))
    environment = {"HOME": str(tmp_path), "ONEFS_ALYX_USER": "demo", "ONEFS_ALYX_PASSWORD": "demo"}
    source = ["--source", demo.url, "--cache-dir", str(tmp_path / "cache"), "--json"]
    for name in (str(session.eid), str(pids[0])):
        told = json.loads(run_onefs("info", name, *source, **environment).stdout)
        assert told["probes"] == ", ".join(f"{label} ({pid})" for label, pid in sorted(zip(labels, pids, strict=True)))
    dataset = one.alyx.rest("datasets", "list", session=str(session.eid), name="spikes.times.npy")[0]
    told = json.loads(run_onefs("info", dataset["url"][-36:], *source, **environment).stdout)
    assert told["urls"]
    assert all(told["id"] in url for url in told["urls"])
    by_url = json.loads(run_onefs("info", told["urls"][0], *source, **environment).stdout)
    assert by_url == told


def test_all_addresses_of_a_file_are_told(mount: Mounted, demo: DemoServer, tmp_path: Path) -> None:
    session = next(plan.session for plan in PLANS)
    path = f"{session.path}/{next(path for path in sorted(tree_of(mount.path / session.path)) if '#' not in path)}"
    (mount.path / path).read_bytes()
    (on_mount,) = run_info(path, mount)
    assert len(on_mount["urls"]) == 2
    assert on_mount["source"] == on_mount["urls"][0]
    environment = {"HOME": str(tmp_path), "ONEFS_ALYX_USER": "demo", "ONEFS_ALYX_PASSWORD": "demo"}
    source = ["--source", demo.url, "--cache-dir", str(tmp_path / "cache"), "--json"]
    assert json.loads(run_onefs("info", path, *source, **environment).stdout)["urls"] == on_mount["urls"]


@pytest.fixture
def archive(tmp_path: Path) -> AlyxArchive:
    archive = AlyxArchive(tmp_path / "archive")
    archive.put("lab/Subjects/mouse/2024-01-02/001/alf/a.times.npy", b"old")
    archive.publish()
    return archive


def test_what_the_tables_do_not_have_is_found_and_learned(
    server: DemoServer, archive: AlyxArchive, tmp_path: Path
) -> None:
    environment = {"HOME": str(tmp_path), "ONEFS_ALYX_USER": "demo", "ONEFS_ALYX_PASSWORD": "demo"}
    source = ["--source", server.url, "--cache-dir", str(tmp_path / "beside")]
    with mount_of(server, tmp_path, "--mode", "remote", "--cache-expiry", "365d") as mount:
        run_onefs("search", "subject=mouse", *source, **environment)
        archive.put(f"{NEW}/alf/c.times.npy", b"new")
        archive.publish()
        asked = Asked(server)
        assert in_folder(mount, "subject=RAT") == [NEW]
        assert asked.kinds()["sessions"] == 1
        assert in_folder(mount, "subject=RAT") == [NEW]
        assert asked.kinds()["sessions"] == 1
        assert control(mount, "refresh") == 0
        assert in_folder(mount, "subject=RAT") == [NEW]
        assert asked.kinds()["sessions"] == 2
        (path,) = run_onefs("list", "datasets", "subject=rat", "--mount", mount.path).stdout.splitlines()
        assert Path(path).read_bytes() == b"new"
        later = "newlab/Subjects/rat/2024-02-02/001"
        archive.put(f"{later}/alf/d.times.npy", b"later")
        archive.publish()
        (told,) = run_info("2024-02-02_1_rat", mount)
        assert told["eid"] == str(archive.sessions[later].eid)
        (told,) = run_info(f"{later}/alf/d.times.npy", mount)
        assert (told["id"], told["state"]) == (str(archive.id_of(f"{later}/alf/d.times.npy")), "remote")
    in_tables = run_onefs("search", "subject=rat", *source, "--mode", "local", **environment)
    in_database = run_onefs("search", "subject=RAT", *source, "--mode", "remote", **environment)
    listed = run_onefs("list", "datasets", "subject=RAT", *source, "--mode", "remote", **environment)
    assert (in_tables.stdout, in_database.stdout) == ("", f"{later}\n{NEW}\n")
    assert listed.stdout == f"{later}/alf/d.times.npy\n{NEW}/alf/c.times.npy\n"


def test_the_command_says_how_many_sessions_have_no_place(
    mount: Mounted, demo: DemoServer, one: Any, tmp_path: Path
) -> None:
    """A base session has no number; only the database knows it."""
    subject, day = BASE_SESSION.session.subject, BASE_SESSION.session.date.isoformat()
    expected = one.search(subject=subject, date_range=day)
    words = (f"subject={subject}", f"date={day}")
    source = (
        "--source",
        demo.url,
        "--alyx-user",
        "demo",
        "--mode",
        "remote",
        "--cache-dir",
        mount.path.parent / "other",
    )
    for place in (("--mount", mount.path), source):
        done = run_onefs("search", *words, "--paths", *place, ONEFS_ALYX_PASSWORD="demo")
        n_shown = len(done.stdout.splitlines())
        assert n_shown == len(expected) - 1
        assert done.stderr.startswith("onefs: the database found 1 session more without a place in the tree, ")
    assert run_onefs("search", "subject=nobody", "--mount", mount.path).stderr == ""
