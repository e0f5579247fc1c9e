"""Where bytes are asked for when a database knows: in which order, with which login, and when it is asked itself."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from archive_of_a_database import FILES, LOGIN, ArchiveOfADatabase, read
from archives import on_servers
from s3_service import shared_service
from servers import FaultServer

from onefs.alf import RemoteNames, archive_path
from onefs.archive.archive import Archive
from onefs.demo.database_file import BUCKET, Aggregate, DatabaseFile, Repository, User, default_repositories
from onefs.errors import AccessRefusedError, MissingOnServerError, UnreachableError
from onefs.outages import PAUSE_S
from onefs.settings import Settings
from onefs.sources.kept_places import KeptPlaces
from onefs.sources.locations import Locations
from onefs.sources.repositories import DataLogin
from onefs.sources.source import Kind, prepare, resolve
from onefs.transports.archive import ArchiveServer

LISTS = ("/labs", "/data-repository")
KEYED = {**BUCKET, "Access key ID": "AKIDEXAMPLE", "Secret access key": "very secret"}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[ArchiveOfADatabase]:
    with ArchiveOfADatabase(tmp_path) as place:
        yield place


def test_the_bucket_first_and_the_database_is_asked_twice_in_all(place: ArchiveOfADatabase) -> None:
    content = place.content(place.repositories())
    for dataset, data in zip(place.datasets, FILES.values(), strict=True):
        assert read(content, dataset) == data
    assert len(place.asked("/onefs-demo/data/lab/Subjects/")) == len(FILES)
    assert {visit.user for visit in place.asked("/onefs-demo/")} == {""}
    assert [len(place.asked(path)) for path in (*LISTS, "/datasets", "/public")] == [1, 1, 0, 0]


def test_all_addresses_are_told_in_the_order_to_try_once_the_database_was_asked(place: ArchiveOfADatabase) -> None:
    content = place.content(place.repositories())
    dataset = place.datasets[0]
    assert content.inspect(dataset).urls == ()
    read(content, place.datasets[1])
    found = content.inspect(dataset)
    bucket, server = found.urls
    assert bucket.startswith(f"http://{place.host}/onefs-demo/data/lab/Subjects/")
    assert server.startswith(f"http://{place.host}/public/lab/Subjects/")
    assert found.source == bucket
    assert not any("@" in url for url in found.urls)


def test_then_the_data_server_with_its_login(place: ArchiveOfADatabase) -> None:
    content = place.content(place.repositories())
    place.server.fail("/onefs-demo", 404)
    assert read(content, place.datasets[0]) == FILES[place.datasets[0].rel_path]
    assert [visit.user for visit in place.asked("/public/")] == ["demo"]
    assert not place.asked("/datasets")


def test_a_server_that_was_named_comes_before_the_database(place: ArchiveOfADatabase) -> None:
    with FaultServer() as mirror:
        content = place.content(place.repositories(), [ArchiveServer(mirror.url)])
        mirror.put(on_servers(place.datasets[0]), FILES[place.datasets[0].rel_path])
        read(content, place.datasets[0])
        assert not place.server.requests()
        read(content, place.datasets[1])
        assert len(place.asked("/onefs-demo/")) == 1


def test_file_records_are_asked_for_when_all_else_failed(place: ArchiveOfADatabase) -> None:
    dataset = place.datasets[0]
    with FaultServer() as far:
        far.put(f"/far{on_servers(dataset).partition('/Subjects')[2]}", FILES[dataset.rel_path])
        own = Repository("own", "lab", "/far/", "far", f"{far.url}/far/", globus_is_personal=True)
        everywhere = (*default_repositories(["lab"]), own)
        place.knows(DatabaseFile(repositories=everywhere, only_on={str(dataset.id): ["own"]}))
        content = place.content(place.repositories())
        assert read(content, dataset) == FILES[dataset.rel_path]
        assert [len(place.asked(path)) for path in ("/onefs-demo/", "/public/", "/datasets/")] == [1, 1, 1]
        assert "authorization" not in far.headers()[0]
        assert read(content, place.datasets[1]) == FILES[place.datasets[1].rel_path]
        assert len(place.asked("/datasets/")) == 1


def test_what_was_tried_already_is_not_tried_again(place: ArchiveOfADatabase) -> None:
    place.file(place.datasets[0]).unlink()
    with pytest.raises(MissingOnServerError, match="404"):
        read(place.content(place.repositories()), place.datasets[0])
    assert [len(place.asked(path)) for path in ("/onefs-demo/", "/public/", "/datasets/")] == [1, 1, 1]


def test_the_source_is_told_without_asking(place: ArchiveOfADatabase) -> None:
    locations = Locations([ArchiveServer("http://127.0.0.1:9")], repositories := place.repositories())
    dataset = place.datasets[0]
    named = f"http://127.0.0.1:9{on_servers(dataset).replace('#', '%23')}"
    assert [location.url for location in locations.known(dataset)] == [named]
    assert not place.server.requests()
    repositories.places()
    asked = len(place.server.requests())
    bucket, server = (f"{place.server.url}/{folder}{on_servers(dataset)}" for folder in ("onefs-demo/data", "public"))
    assert [location.url.replace("%23", "#") for location in locations.known(dataset)] == [
        named.replace("%23", "#"),
        bucket,
        server,
    ]
    assert len(place.server.requests()) == asked


def test_a_database_that_is_away_is_what_the_reader_is_told(place: ArchiveOfADatabase) -> None:
    content = place.content(place.repositories(place.client(keeps=False)))
    place.server.stop()
    with pytest.raises(UnreachableError, match=f"{place.host} cannot be reached"):
        read(content, place.datasets[0])
    place.server.start()
    with pytest.raises(UnreachableError):  # not asked again for every file
        read(content, place.datasets[1])
    assert not place.server.requests()
    place.clock_s += PAUSE_S
    assert read(content, place.datasets[2]) == FILES[place.datasets[2].rel_path]
    for dataset in place.datasets[:2]:
        assert read(content, dataset) == FILES[dataset.rel_path], "what failed for that is tried again"


def test_a_database_that_is_away_does_not_keep_a_named_server_from_answering(place: ArchiveOfADatabase) -> None:
    with FaultServer() as mirror:
        mirror.put(on_servers(place.datasets[0]), FILES[place.datasets[0].rel_path])
        content = place.content(place.repositories(), [ArchiveServer(mirror.url)])
        place.server.stop()
        assert read(content, place.datasets[0]) == FILES[place.datasets[0].rel_path]
        with pytest.raises(
            MissingOnServerError,
            match=f"404 Not Found; the database {place.server.url} is needed .*{place.host} cannot be",
        ):
            read(content, place.datasets[1])


def test_lists_that_were_kept_are_not_asked_for_again(place: ArchiveOfADatabase) -> None:
    place.repositories(place.client()).places()
    content = place.content(place.repositories(place.client()), [ArchiveServer("http://127.0.0.1:9")])
    assert read(content, place.datasets[0]) == FILES[place.datasets[0].rel_path]
    assert [len(place.asked(path)) for path in LISTS] == [1, 1]


def test_lists_in_memory_outlive_a_database_that_fails(place: ArchiveOfADatabase) -> None:
    client = place.client(keeps=False)
    client.cache_rest = False
    repositories = place.repositories(client)
    before = repositories.places()
    place.server.fail("/labs")
    place.clock_s += client.default_expiry_s
    assert repositories.places() is before
    place.server.recover()
    place.clock_s += PAUSE_S
    assert repositories.places() is not before


def test_lists_of_earlier_are_asked_for_again_soon_after_the_database_was_away(place: ArchiveOfADatabase) -> None:
    client = place.client()
    place.repositories(client).places()
    client.expire_responses()
    place.server.fail(LISTS[0])
    repositories = place.repositories(client)
    earlier = repositories.places()
    place.server.recover()
    asked = len(place.asked(LISTS[0]))
    assert repositories.places() is earlier
    place.clock_s += PAUSE_S
    assert repositories.places() is not earlier
    assert len(place.asked(LISTS[0])) == asked + 1


def test_a_login_that_the_database_refuses(place: ArchiveOfADatabase) -> None:
    place.knows(DatabaseFile(users=[User("demo", "another password")]))
    content = place.content(place.repositories())
    with pytest.raises(AccessRefusedError, match="refuses the login of demo"):
        read(content, place.datasets[0])
    with pytest.raises(AccessRefusedError):
        read(content, place.datasets[1])
    assert len(place.asked("/auth-token", "POST")) == 1


def test_a_bucket_that_wants_keys_is_read_with_those_of_the_database(place: ArchiveOfADatabase) -> None:
    bucket = default_repositories(["lab"])[0]
    data = FILES[place.datasets[0].rel_path]
    service = shared_service()
    service.put("mine", f"data/{archive_path(place.datasets[0].path, place.datasets[0].id)}", data)
    keys = {"Access key ID": service.keys.access_key, "Secret access key": service.keys.secret_key}
    keyed = {"bucket_name": "mine", "endpoint_url": service.url, **keys}
    place.knows(DatabaseFile(repositories=[replace(bucket, data_url=None, json=keyed)]))
    repositories = place.repositories()
    assert read(place.content(repositories), place.datasets[0]) == data
    url = next(Locations([], repositories).of(place.datasets[0])).url
    assert url.startswith(f"{service.url}/mine/data/lab/Subjects/")
    assert service.keys.secret_key not in repr(repositories.places())
    assert service.keys.access_key not in repr(repositories.places())


def test_personal_servers_are_left_out(place: ArchiveOfADatabase) -> None:
    keyed, server, personal = default_repositories(["lab"])[:3]
    personal = replace(personal, data_url="http://127.0.0.1:9/own/")
    place.knows(DatabaseFile(repositories=[replace(keyed, json=KEYED), server, personal]))
    places = place.repositories().places()
    assert places.by_name.keys() == {"aws_lab", "server_lab"}
    assert [location.login for location in places.locations(place.datasets[0])] == [None, LOGIN]


def test_a_name_of_the_other_form_is_asked_for_after_the_other_servers(place: ArchiveOfADatabase) -> None:
    first, second = (ArchiveServer(f"http://{host}.example") for host in ("a", "b"))
    locations, dataset = Locations([first, second]), place.datasets[0]
    with_uuid, plain = (path.replace("#", "%23") for path in (on_servers(dataset), f"/{dataset.path}"))

    def in_order() -> list[str]:
        return [location.url.removeprefix("http://") for location in locations.of(dataset)]

    a, b = "a.example", "b.example"
    assert in_order() == [f"{a}{with_uuid}", f"{a}{plain}", f"{b}{with_uuid}", f"{b}{plain}"]
    first.locations(dataset.path, dataset.id)[1].remember_name_form()
    assert in_order() == [f"{a}{plain}", f"{b}{with_uuid}", f"{b}{plain}", f"{a}{with_uuid}"]
    assert [location.url.removeprefix("http://") for location in locations.known(dataset)] == [
        f"{a}{plain}",
        f"{b}{with_uuid}",
    ]


def test_a_database_s_servers_may_have_plain_names_too(place: ArchiveOfADatabase) -> None:
    for dataset in place.datasets:
        place.file(dataset).rename(place.file(dataset).parent / dataset.path.rpartition("/")[2])
    place.server.fail("/onefs-demo", 404)
    content = place.content(place.repositories(names=RemoteNames.AUTO))
    for dataset, data in zip(place.datasets, FILES.values(), strict=True):
        assert read(content, dataset) == data
    assert len(place.asked("/public/")) == 1 + len(FILES)
    assert not place.asked("/datasets")


def test_a_bucket_at_another_s3_service(place: ArchiveOfADatabase) -> None:
    bucket = replace(default_repositories(["lab"])[0], data_url=None, json={"bucket_name": "onefs-demo"})
    place.knows(DatabaseFile(repositories=[bucket]))
    amazon = Locations([], place.repositories())
    assert next(amazon.of(place.datasets[0])).url.startswith("https://onefs-demo.s3.amazonaws.com/data/lab/Subjects/")
    content = place.content(place.repositories(s3_endpoint=place.server.url))
    assert read(content, place.datasets[0]) == FILES[place.datasets[0].rel_path]


def test_aggregates_are_in_repositories_of_their_own(place: ArchiveOfADatabase) -> None:
    of_session = place.datasets[0]
    path = "Tags/2024/clusters.table.pqt"
    aggregate = replace(of_session, id=uuid4(), eid=None, session_path="aggregates", rel_path=path)
    place.knows(DatabaseFile(aggregates=[Aggregate(str(aggregate.id), path, 1000, aggregate.md5)]))
    place.file(aggregate).parent.mkdir(parents=True)
    place.file(aggregate).write_bytes(FILES[of_session.rel_path])
    content = place.content(place.repositories())
    assert read(content, aggregate) == FILES[of_session.rel_path]
    assert len(place.asked("/onefs-demo/aggregates/Tags/2024/clusters.table.")) == 1
    place.server.fail("/onefs-demo", 404)
    locations = list(Locations([], place.repositories()).of(aggregate))
    assert [location.url.partition("/Tags")[0] for location in locations] == [
        f"{place.server.url}/onefs-demo/aggregates",
        f"{place.server.url}/public/aggregates",
    ]


def test_a_lab_of_which_nothing_is_known_is_looked_for_beside_the_others(place: ArchiveOfADatabase) -> None:
    stranger = replace(place.datasets[0], id=uuid4(), session_path="newlab/Subjects/mouse/2024-01-02/001")
    place.file(stranger).parent.mkdir(parents=True)
    place.file(stranger).write_bytes(FILES[stranger.rel_path])
    assert read(place.content(place.repositories()), stranger) == FILES[stranger.rel_path]
    assert len(place.asked("/onefs-demo/data/newlab/Subjects/")) == 1


def test_a_session_without_a_lab_is_where_its_file_records_say(place: ArchiveOfADatabase) -> None:
    dataset = replace(place.datasets[0], session_path="mouse/2024-01-02/001")
    assert read(place.content(place.repositories()), dataset) == FILES[dataset.rel_path]
    assert [len(place.asked(path)) for path in ("/datasets/", "/onefs-demo/")] == [1, 1]


def test_a_dataset_that_the_database_does_not_know(place: ArchiveOfADatabase) -> None:
    stranger = replace(place.datasets[0], id=uuid4(), session_path="mouse/2024-01-02/001")
    with pytest.raises(MissingOnServerError, match="no server is known that holds it"):
        read(place.content(place.repositories()), stranger)


@pytest.mark.parametrize(
    ("server", "gets_it"),
    [
        ("http://{here}", ["{here}"]),
        ("", ["{here}", "{far}"]),
        ("https://{here}", []),
        ("http://127.0.0.1:9", []),
        ("http://127.0.0.1", []),
    ],
)
def test_the_data_login_goes_to_its_own_server_only(place: ArchiveOfADatabase, server: str, gets_it: list[str]) -> None:
    with FaultServer() as far:
        names = {"here": place.host, "far": far.url.removeprefix("http://")}
        bucket, web, _ = default_repositories(["lab"])[:3]
        further = Repository("web_lab", "lab", "/x/", "far", f"{far.url}/lab/Subjects/")
        in_bucket = Repository("aws_other", "lab", "/y/", "far", f"{far.url}/y/")
        own = Repository("own", "lab", "/z/", "far", f"{far.url}/z/", globus_is_personal=True)
        place.knows(DatabaseFile(repositories=[bucket, web, further, in_bucket, own]))
        data = DataLogin(LOGIN, server.format(**names))
        found = list(Locations([], place.repositories(data=data)).of(place.datasets[0]))
        assert len(found) == 5
        with_login = {location.url for location in found if location.login is not None}
        assert not {url for url in with_login if "/onefs-demo/" in url or "/y/" in url}
        assert {url.split("/")[2] for url in with_login} == {each.format(**names) for each in gets_it}
        assert {location.login for location in found} <= {None, LOGIN}


# What was said is kept


def test_files_are_read_on_in_a_later_mount_whose_database_is_away(
    place: ArchiveOfADatabase, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place.repositories(kept=KeptPlaces(tmp_path, place.server.url)).places()
    place.server.fail(LISTS[0])
    repositories = place.repositories(place.client(keeps=False), kept=KeptPlaces(tmp_path, place.server.url))
    content = place.content(repositories)
    assert read(content, place.datasets[0]) == FILES[place.datasets[0].rel_path]
    assert "Where files are is taken from what it said earlier" in caplog.text
    place.server.recover()
    place.clock_s += PAUSE_S
    asked = len(place.asked(LISTS[0]))
    repositories.places()
    assert len(place.asked(LISTS[0])) == asked + 1


def test_a_mount_keeps_where_files_are_beside_its_tables(place: ArchiveOfADatabase, tmp_path: Path) -> None:
    settings = Settings(cache_dir=tmp_path / "cache", alyx_user="demo", alyx_password="demo", retry_max_s=0.0)
    source = resolve(place.server.url, settings, Kind.DATABASE)
    prepare(source)
    with closing(Archive(source, settings)) as mount:
        read(mount.content, place.datasets[0])
    shutil.rmtree(source.state_dir / "responses")
    place.server.fail(LISTS[0])
    with closing(Archive(source, settings)) as mount:
        assert read(mount.content, place.datasets[1]) == FILES[place.datasets[1].rel_path]


def test_what_the_database_was_needed_for_is_told(place: ArchiveOfADatabase) -> None:
    content = place.content(place.repositories(place.client(keeps=False)))
    place.server.stop()
    with pytest.raises(UnreachableError) as caught:
        read(content, place.datasets[0])
    assert caught.value.reason.startswith(
        f"{place.datasets[0].path} cannot be fetched: the database {place.server.url} is needed to tell where it is: "
        f"{place.host} cannot be reached"
    )
    assert caught.value.remedy
