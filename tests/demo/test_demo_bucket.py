"""The demo's bucket: what its repositories say of it leads to the files, without a login."""

from pathlib import Path
from urllib.parse import quote, urljoin
from uuid import UUID

import pytest
import requests
from alyx_user import AlyxUser
from waiting import PATIENCE_S

from onefs import alf
from onefs.demo.archive import Manifest
from onefs.demo.plan import UNSERVED
from onefs.demo.raw import LARGE_BYTES
from onefs.demo.server import DemoServer


def address(repository: dict, key: str) -> str:
    """Where an object is, as S3 clients make it of a repository and a path below it."""
    bucket = repository["json"]
    return f"{bucket['endpoint_url']}/{bucket['bucket_name']}/{quote(repository['globus_path'] + key)}"


@pytest.mark.parametrize("lab", ["northlab", "southlab", "aggregates"])
def test_every_file_of_a_lab_is_in_its_bucket(client: AlyxUser, archive: Path, lab: str) -> None:
    repository = client.get(f"data-repository/aws_{lab}").json()
    root = archive / "data/public" / (f"{lab}/Subjects" if lab != "aggregates" else lab)
    files = sorted(path for path in root.rglob("*.*") if path.is_file())
    revised = [path for path in files if "#" in str(path)][:2]
    for path in (*files[:: len(files) // 10 + 1], *revised):
        answer = requests.get(address(repository, str(path.relative_to(root))), timeout=PATIENCE_S)
        assert answer.content == path.read_bytes(), path
    part = requests.get(answer.url, headers={"Range": "bytes=10-19"}, timeout=PATIENCE_S)
    assert (part.status_code, part.content) == (206, path.read_bytes()[10:20])


def test_the_large_recording_is_in_it_too(server: DemoServer, archive: Path) -> None:
    (path,) = Manifest.read(archive).virtual
    answer = requests.head(f"{server.url}/onefs-demo/data/{quote(path)}", timeout=PATIENCE_S)
    assert answer.headers["Content-Length"] == str(LARGE_BYTES)


def test_a_file_that_only_the_bucket_has_is_not_on_the_data_server(
    server: DemoServer, client: AlyxUser, archive: Path
) -> None:
    session, rel_path = UNSERVED
    name = alf.split_relative(rel_path).name
    (row,) = [each for each in client.rows(f"datasets?name={name}&lab=southlab") if len(each["file_records"]) == 1]
    (record,) = row["file_records"]
    path = alf.archive_path(f"southlab/Subjects/{record['relative_path']}", UUID(row["url"][-36:]))
    assert (
        requests.get(f"{server.data_url}/{quote(path)}", auth=("demo", "demo"), timeout=PATIENCE_S).status_code == 404
    )
    answer = requests.get(f"{server.url}/onefs-demo/data/{quote(path)}", timeout=PATIENCE_S)
    assert len(answer.content) == row["file_size"]
    assert session in path


@pytest.mark.parametrize(
    "key", ["data/northlab/none.npy", "northlab/Subjects", "data/%2e%2e/%2e%2e/archive.json", "", "data/", "%00"]
)
def test_what_it_has_not_is_no_such_key(server: DemoServer, key: str) -> None:
    request = requests.Request("GET", server.url).prepare()
    request.url = urljoin(server.url, f"/onefs-demo/{key}")
    with requests.Session() as http:
        answer = http.send(request, timeout=PATIENCE_S)
    assert answer.status_code == 404
    assert "layout" not in answer.text
