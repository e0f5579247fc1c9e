"""What mode remote shows when the database says something else than before: by path and by every identifier."""

import posixpath
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from uuid import UUID

import pytest
from alyx_archive import AlyxArchive
from alyx_mounts import Asked
from shown import Shown

from onefs.alf import INSERTIONS_NAME
from onefs.demo.archive import TABLES_DIR
from onefs.demo.database import read_database
from onefs.demo.server import DemoServer
from onefs.errors import GoneError, NotInCatalogueError, TableError, UnreachableError
from onefs.modes import Mode
from onefs.vfs.nodes import Link

FIRST = "lab/Subjects/mouse/2024-01-02/001"
SECOND = "lab/Subjects/rat/2024-01-03/001"
NEW = "newlab/Subjects/cat/2024-01-04/002"
A, B, C = f"{FIRST}/alf/a.times.npy", f"{SECOND}/alf/probe00/spikes.times.npy", f"{NEW}/alf/probe00/spikes.times.npy"


@pytest.fixture
def archive(tmp_path: Path) -> AlyxArchive:
    archive = AlyxArchive(tmp_path / "archive", datetime(2024, 1, 3))
    archive.put_all({A: b"a", B: b"b"})
    archive.publish()
    return archive


@pytest.fixture
def shown(server: DemoServer, tmp_path: Path) -> Iterator[Shown]:
    shown = Shown(server, tmp_path, Mode.REMOTE)
    yield shown
    shown.close()


def identifiers(archive: AlyxArchive, path: str) -> dict[str, str]:
    """The links to a session with one file and one probe, and where each is to lead."""
    session = archive.sessions[path]
    file = next(name for name in archive.datasets if name.startswith(f"{path}/"))
    known = read_database(archive.directory, archive.directory / TABLES_DIR)
    pid = known.insertions_of[str(session.eid)][0].id
    folder = session.path
    return {
        f"by-eid/{session.eid}": folder,
        f"by-id/{archive.id_of(file)}": f"{folder}/{file.removeprefix(f'{path}/')}",
        f"by-pid/{pid}": folder,
        f"by-ref/{session.date}_{session.number}_{session.subject}": folder,
    }


def leads_to(shown: Shown, link: str) -> str:
    """The path, from the mount's root, that a link below .onefs leads to."""
    node = shown.file_system.forest.find(f".onefs/{link}")
    assert isinstance(node, Link)
    return posixpath.normpath(f"{posixpath.dirname(node.path)}/{node.target}")


def test_the_sessions_of_a_subject_that_moved_stay_in_the_lab_of_their_records(
    archive: AlyxArchive, shown: Shown
) -> None:
    archive.move_subject("mouse", "newlab")
    assert shown.names("") == {"lab", "newlab"}
    assert shown.names("newlab/Subjects") == set()
    assert shown.names("lab/Subjects") == {"mouse", "rat"}
    assert shown.names("lab/Subjects/mouse") == {"2024-01-02"}
    assert shown.names(f"{FIRST}/alf") == {"a.times.npy"}


def test_what_failed_is_asked_for_again_when_told_and_not_after_a_pause(
    archive: AlyxArchive, server: DemoServer, shown: Shown
) -> None:
    archive.put(C, b"c")
    archive.publish()
    server.stop()
    with pytest.raises(UnreachableError):
        shown.names("newlab/Subjects")
    server.start()
    with pytest.raises(UnreachableError):
        shown.names("newlab/Subjects")
    shown.showing.ask_again()
    assert shown.names("newlab/Subjects") == {"cat"}


def test_identifiers_that_only_the_database_knows_lead_to_their_sessions(
    archive: AlyxArchive, server: DemoServer, shown: Shown
) -> None:
    """Each kind to a session of its own, of which nothing was listed."""
    paths = [f"newlab/Subjects/{subject}/2024-01-04/002" for subject in ("cat", "dog", "hen", "pig")]
    for path in paths:
        archive.put(f"{path}/alf/probe00/spikes.times.npy", b"spikes")
    archive.publish()
    links = dict(list(identifiers(archive, path).items())[number] for number, path in enumerate(paths))
    assert {link: leads_to(shown, link) for link in links} == links
    asked = Asked(server)
    assert {link: leads_to(shown, link) for link in links} == links
    assert set(asked.kinds()) <= {"insertions"}  # which a real mount keeps on disk
    for path in paths:
        assert shown.names(f"{path}/alf/probe00") == {"spikes.times.npy"}


def test_an_identifier_leads_to_the_lab_that_the_record_names_now(archive: AlyxArchive, shown: Shown) -> None:
    for number in range(4):
        archive.sessions[SECOND] = replace(archive.sessions[SECOND], lab=f"lab{number}")
        archive.publish()
        link, path = list(identifiers(archive, SECOND).items())[number]
        assert path.startswith(f"lab{number}/")
        shown.showing.ask_again()
        assert leads_to(shown, link) == path
        assert shown.names(f"lab{number}/Subjects/rat") == {"2024-01-03"}
    assert shown.names("lab/Subjects") == {"mouse"}


UNKNOWN = [f"by-{kind}/{UUID(int=7)}" for kind in ("eid", "id", "pid")] + ["by-ref/2024-01-03_1_nobody"]


def test_an_unknown_identifier_is_absent_and_a_database_that_is_away_is_another_error(
    archive: AlyxArchive, server: DemoServer, shown: Shown
) -> None:
    known = identifiers(archive, SECOND)
    for link in UNKNOWN:
        with pytest.raises(NotInCatalogueError):
            leads_to(shown, link)
    shown.showing.ask_again()
    server.stop()
    for link in UNKNOWN:
        with pytest.raises(UnreachableError):
            leads_to(shown, link)
    for link, path in known.items():
        if not link.startswith("by-pid"):  # these tables tell of no probes
            assert leads_to(shown, link) == path
    server.start()
    shown.showing.ask_again()
    with pytest.raises(NotInCatalogueError):
        leads_to(shown, UNKNOWN[0])


def test_in_mode_local_nobody_is_asked_for_an_identifier(
    archive: AlyxArchive, server: DemoServer, shown: Shown
) -> None:
    archive.put(C, b"c")
    archive.publish()
    shown.mode.switch(Mode.LOCAL)
    shown.showing.renew()
    asked = Asked(server)
    for link, path in identifiers(archive, SECOND).items():
        if not link.startswith("by-pid"):
            assert leads_to(shown, link) == path
    for link in identifiers(archive, NEW):
        if not link.startswith("by-pid"):
            with pytest.raises(NotInCatalogueError):
                leads_to(shown, link)
    assert asked.paths() == []


def test_a_damaged_table_of_insertions_tells_of_no_absence(archive: AlyxArchive, shown: Shown) -> None:
    """The database knows the probe; in mode local the damage is told."""
    tables_dir = shown.showing.catalogues.tables.files.datasets.parent
    (tables_dir / INSERTIONS_NAME).write_bytes(b"PAR1 rubbish PAR1")
    link = next(link for link in identifiers(archive, SECOND) if link.startswith("by-pid"))
    shown.mode.switch(Mode.LOCAL)
    shown.showing.renew()
    with pytest.raises(TableError, match=INSERTIONS_NAME):
        leads_to(shown, link)
    shown.mode.switch(Mode.REMOTE)
    shown.showing.renew()
    assert leads_to(shown, link) == identifiers(archive, SECOND)[link]


def test_a_listing_in_a_session_that_was_deleted_has_it_leave_the_tree(archive: AlyxArchive, shown: Shown) -> None:
    for listed in (posixpath.dirname(SECOND), SECOND, f"{SECOND}/alf", f"{SECOND}/alf/probe00"):
        archive.put(B, b"b")
        archive.publish()
        shown.showing.ask_again()
        assert shown.names("lab/Subjects/rat") == {"2024-01-03"}
        assert shown.names(f"{SECOND}/alf/probe00") == {"spikes.times.npy"}
        archive.remove_session(SECOND)
        archive.publish()
        shown.showing.ask_again()
        with suppress(GoneError):
            shown.names(listed)
        with pytest.raises(NotInCatalogueError):
            shown.file_system.forest.find(SECOND)
        assert shown.file_system.catalogue.n_sessions == 1
