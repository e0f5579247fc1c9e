"""What Alyx answers to a live catalogue: the same archive that its tables hold."""

import io
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.request import urlopen
from uuid import UUID

import pytest
from waiting import PATIENCE_S

from onefs.alyx.client import AlyxClient
from onefs.alyx.credentials import Credentials
from onefs.archive.questions import AlyxQuestions
from onefs.catalogue.live import LiveSnapshot
from onefs.catalogue.records import Dataset, Session
from onefs.catalogue.snapshot import NO_EID, Snapshot, load_snapshot
from onefs.demo.server import DemoServer

pytestmark = pytest.mark.slow

TAG = "Demowide"


@pytest.fixture(scope="module")
def archive(demo_archive: Path) -> Path:
    return demo_archive


@pytest.fixture
def client(archive: Path) -> Iterator[AlyxClient]:
    with DemoServer(archive) as server:
        client = AlyxClient(
            server.url,
            Credentials("demo", "demo"),
            responses_dir=None,
            connect_timeout_s=PATIENCE_S,
            read_timeout_s=PATIENCE_S,
            retry_max_s=5,
        )
        yield client
        client.close()


@pytest.fixture
def tables(client: AlyxClient, tmp_path: Path) -> Snapshot:
    stream = io.BytesIO()
    client.write_tables(stream)
    with zipfile.ZipFile(stream) as packed:
        packed.extractall(tmp_path)
    return load_snapshot(tmp_path, tmp_path / "state")


def _everything(catalogue: Snapshot | LiveSnapshot) -> tuple[dict[UUID, Session], dict[UUID, Dataset]]:
    """All sessions and all datasets that exist, found by walking down from the root."""
    sessions: dict[UUID, Session] = {}
    datasets: dict[UUID, Dataset] = {}
    below = [0]
    while below:
        for folder in catalogue.folders(below.pop()):
            below.append(folder.row)
            if folder.session is None:
                continue
            session = catalogue.session(folder.session)
            sessions[session.eid] = session
            rows = catalogue.datasets(folder.session)
            found = (rows.dataset(i) for i in range(len(rows)))
            datasets.update((dataset.id, dataset) for dataset in found if dataset.exists)
    return sessions, datasets


def test_a_walk_without_tables_finds_what_the_tables_hold(client: AlyxClient, tables: Snapshot) -> None:
    def known(eid: UUID) -> Session | None:
        row = tables.session_of_eid(eid)
        return None if row is None else tables.session(row)

    live = LiveSnapshot(AlyxQuestions(client, known), None)
    sessions, datasets = _everything(live)
    expected_sessions, expected_datasets = _everything(tables)
    aggregates = {key for key, dataset in datasets.items() if dataset.eid is None}
    assert len(aggregates) == 5  # Alyx leaves them out of its tables
    del sessions[NO_EID]
    assert sessions == expected_sessions
    assert len(sessions) >= 12
    assert {key: dataset for key, dataset in datasets.items() if key not in aggregates} == expected_datasets
    assert len(datasets) >= 300


def test_other_projects_are_told_but_not_another_order(client: AlyxClient, tables: Snapshot) -> None:
    shown, _ = _everything(tables)
    several = next(session for session in shown.values() if "," in session.projects)
    turned = ",".join(reversed(several.projects.split(",")))

    def asked(known_projects: str) -> str:
        known = replace(several, projects=known_projects)
        answers = AlyxQuestions(client, lambda eid: known if eid == several.eid else None)
        told = {session.eid: session for session in answers.sessions(several.lab, several.subject)}
        return told[several.eid].projects

    assert asked(turned) == turned
    assert set(asked("another").split(",")) == set(several.projects.split(","))


def test_a_release_is_all_that_there_is(client: AlyxClient, tables: Snapshot, tmp_path: Path) -> None:
    folder = tmp_path / "release"
    folder.mkdir()
    for url in client.tables_info(TAG).locations or ():
        with urlopen(url) as answer, zipfile.ZipFile(io.BytesIO(answer.read())) as packed:
            packed.extractall(folder)
    release = load_snapshot(folder, tmp_path / "state of the release")

    def known(eid: UUID) -> Session | None:
        row = tables.session_of_eid(eid)
        return None if row is None else tables.session(row)

    sessions, datasets = _everything(LiveSnapshot(AlyxQuestions(client, known, TAG), None))
    expected_sessions, expected_datasets = _everything(release)
    sessions.pop(NO_EID, None)
    assert sessions == expected_sessions
    assert {key: each for key, each in datasets.items() if each.eid is not None} == expected_datasets
    assert 0 < len(datasets) < tables.n_datasets
    by_id = LiveSnapshot(AlyxQuestions(client, known, TAG), None)
    everywhere, every_dataset = _everything(tables)
    out, out_of_it = (
        next(id_ for id_ in told if id_ not in kept)
        for told, kept in ((everywhere, sessions), (every_dataset, datasets))
    )
    row = by_id.find_session(next(iter(sessions)))
    assert row is not None and by_id.session(row) == next(iter(sessions.values()))
    assert by_id.find_session(out) is None
    assert [by_id.find_dataset(id_) for id_ in expected_datasets] == list(expected_datasets.values())
    assert by_id.find_dataset(out_of_it) is None


def test_identifiers_find_what_the_tables_tell(client: AlyxClient, tables: Snapshot) -> None:
    live = LiveSnapshot(AlyxQuestions(client, lambda eid: None), None)
    sessions, datasets = _everything(tables)
    for session in list(sessions.values())[::3]:
        if session.eid != NO_EID:
            assert live.find_session(session.eid) in live.sessions_of_ref(session.date, session.number, session.subject)
            assert find_path(live, session) == session.path
    for dataset in list(datasets.values())[::40]:
        assert live.find_dataset(dataset.id) == dataset


def find_path(live: LiveSnapshot, session: Session) -> str:
    """Where a session stands that was found by its eid."""
    row = live.find_session(session.eid)
    assert row is not None
    return live.session_path(row)
