"""ONE-api as a second judge: it and a mount of the same Alyx know the same sessions, datasets and bytes."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alyx_mounts import Asked, mount_of, tree_of
from mounted import Mounted
from one_of_tables import hash_by_mebibytes, one_of

from onefs.demo.plan import PLANS
from onefs.demo.server import DemoServer

pytestmark = pytest.mark.filterwarnings("ignore")
EPHYS, TRAINING, WITHOUT_URL = PLANS[3].session, PLANS[4].session, PLANS[12].session
SESSIONS = (EPHYS, TRAINING, WITHOUT_URL, PLANS[9].session)
ONE_FAILS = (WITHOUT_URL, "remote")
"""A dataset without a URL is more than ONE can bear."""
SEARCHES: tuple[tuple[dict[str, Any], str], ...] = (
    ({"subject": "NL_001"}, "*/Subjects/NL_001/*/*"),
    ({"lab": "southlab"}, "southlab/Subjects/*/*/*"),
    ({"date_range": ["2023-03-07", "2023-03-07"]}, "*/Subjects/*/2023-03-07/*"),
    ({"number": 2}, "*/Subjects/*/*/002"),
    ({"subject": "SL.014", "date_range": ["2023-01-01", "2023-12-31"]}, "*/Subjects/SL.014/2023-*/*"),
)


@pytest.fixture(scope="module")
def server(demo_archive: Path) -> Iterator[DemoServer]:
    with DemoServer(demo_archive) as server:
        yield server


@pytest.fixture(scope="module", params=["auto", "remote"])
def mount(
    request: pytest.FixtureRequest, server: DemoServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mounted]:
    """Shared: tests must not depend on what was read."""
    with mount_of(server, tmp_path_factory.mktemp(request.param), "--mode", request.param) as mount:
        yield mount


def client(server: DemoServer, home: Path, monkeypatch: pytest.MonkeyPatch, cache_dir: Path) -> Any:
    """ONE as its users have it, with its parameters below `home`, and the database's tables."""
    from one import params
    from one.api import OneAlyx

    hash_by_mebibytes()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr("iblutil.io.params.getfile", lambda name: str(home / f".{name}"))
    monkeypatch.setattr(params, "CACHE_DIR_DEFAULT", str(home / "cache"))
    login = {"username": "demo", "password": "demo"}
    one = OneAlyx(base_url=server.url, **login, silent=True, cache_dir=cache_dir)
    one.load_cache()
    one.alyx._par = (
        one.alyx._par.set("HTTP_DATA_SERVER", server.data_url)
        .set("HTTP_DATA_SERVER_LOGIN", "demo")
        .set("HTTP_DATA_SERVER_PWD", "demo")
    )
    return one


@pytest.fixture
def one(server: DemoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """ONE with a cache of its own."""
    return client(server, tmp_path, monkeypatch, tmp_path / "cache")


@pytest.fixture(params=["local", "remote"])
def query(request: pytest.FixtureRequest) -> str:
    """Whom ONE asks: the tables, or the database."""
    return str(request.param)


@pytest.mark.parametrize(("terms", "pattern"), SEARCHES, ids=[pattern for _, pattern in SEARCHES])
def test_a_search_finds_the_sessions_that_the_tree_shows(
    one: Any, query: str, mount: Mounted, terms: dict[str, Any], pattern: str
) -> None:
    found = {str(eid) for eid in one.search(**terms, query_type=query)}
    shown = {mount.xattr(path.relative_to(mount.path), "eid") for path in mount.path.glob(pattern)}
    assert found == shown != set()


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session.path)
def test_a_sessions_datasets_are_its_files(one: Any, query: str, mount: Mounted, session: Any) -> None:
    folder = mount.path / session.path
    shown = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    if (session, query) == ONE_FAILS:
        with pytest.raises(TypeError):
            one.list_datasets(session.eid, query_type=query)
    else:
        assert set(one.list_datasets(session.eid, query_type=query)) == shown != set()


@pytest.mark.parametrize("session", [TRAINING, EPHYS], ids=lambda session: session.path)
def test_what_one_downloads_is_what_the_mount_reads(one: Any, query: str, mount: Mounted, session: Any) -> None:
    names = [name for name in sorted(one.list_datasets(session.eid, query_type=query)) if not name.endswith(".cbin")]
    files, records = one.load_datasets(session.eid, names, download_only=True, query_type=query)
    assert len(files) == len(names) == len(records)
    for name, file in zip(names, files, strict=True):
        shown = mount.path / session.path / name
        assert hashlib.md5(Path(file).read_bytes()).digest() == hashlib.md5(shown.read_bytes()).digest(), name
        assert mount.xattr(f"{session.path}/{name}", "state") == "verified"


def test_objects_are_loaded_from_the_mount_as_from_the_server(
    one: Any, mount: Mounted, server: DemoServer, tmp_path: Path
) -> None:
    local = one_of(mount.path)
    for name, collection in (("trials", "alf"), ("spikes", "alf/probe00/pykilosort")):
        theirs = one.load_object(EPHYS.eid, name, collection=collection)
        ours = local.load_object(EPHYS.eid, name, collection=collection)
        assert theirs.keys() == ours.keys()
        for key in theirs:
            np.testing.assert_array_equal(theirs[key], ours[key])
    assert {str(eid) for eid in local.search()} == {str(eid) for eid in one.search()} - {base_eid(one)}


def base_eid(one: Any) -> str:
    """The session without a number, which has no place in tables or tree."""
    (base,) = one.alyx.rest("sessions", "list", django="number__isnull,True", no_cache=True)
    return str(base["id"])


def test_what_onefs_fetched_one_does_not_download_again(
    mount: Mounted, server: DemoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["alf/_ibl_trials.table.pqt", "alf/_ibl_wheel.position.npy", "alf/licks.times.npy"]
    for name in names:
        (mount.path / TRAINING.path / name).read_bytes()
    theirs = client(server, tmp_path, monkeypatch, mount.cache)
    asked = Asked(server)
    files, _ = theirs.load_datasets(TRAINING.eid, names, download_only=True)
    assert {str(file) for file in files} == {str(mount.cache / TRAINING.path / name) for name in names}
    assert not {"public", "onefs-demo"} & asked.kinds().keys()


def test_what_one_downloaded_onefs_does_not_fetch_again(
    server: DemoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "alf/_ibl_leftCamera.times.npy"
    theirs = client(server, tmp_path, monkeypatch, tmp_path / "mounted" / "cache")
    file = theirs.load_dataset(TRAINING.eid, name, download_only=True)
    with mount_of(server, tmp_path / "mounted") as mount:
        assert Path(file).is_relative_to(mount.cache)
        asked = Asked(server)
        assert (mount.path / TRAINING.path / name).read_bytes() == Path(file).read_bytes()
        assert not {"public", "onefs-demo"} & asked.kinds().keys()
        assert mount.xattr(f"{TRAINING.path}/{name}", "state") == "verified"


def test_a_release_is_the_same_to_both(server: DemoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = client(server, tmp_path, monkeypatch, tmp_path / "cache")
    one.load_cache(tag="Demowide")
    home = tmp_path / "mounted"
    with mount_of(server, home, "--tag", "Demowide") as mount:
        shown = tree_of(mount.path)
        for eid in one.search(query_type="local"):
            folder = f"{one.eid2path(eid).relative_to(one.cache_dir)}/"
            listed = {f"{folder}{name}" for name in one.list_datasets(eid, query_type="local")}
            assert listed == {path for path in shown if path.startswith(folder)} != set()
            shown -= listed
        assert shown == set()
