"""What mode remote shows when the database says something else than before: by path and by every identifier."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from alyx_archive import AlyxArchive
from test_showing import Shown

from onefs.demo.server import DemoServer
from onefs.errors import UnreachableError
from onefs.modes import Mode

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

FIRST = "lab/Subjects/mouse/2024-01-02/001"
SECOND = "lab/Subjects/rat/2024-01-03/001"
A, B = f"{FIRST}/alf/a.times.npy", f"{SECOND}/alf/b.times.npy"


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
    archive.put("newlab/Subjects/cat/2024-01-04/001/alf/c.times.npy", b"c")
    archive.publish()
    server.stop()
    with pytest.raises(UnreachableError):
        shown.names("newlab/Subjects")
    server.start()
    with pytest.raises(UnreachableError):
        shown.names("newlab/Subjects")
    shown.showing.ask_again()
    assert shown.names("newlab/Subjects") == {"cat"}
