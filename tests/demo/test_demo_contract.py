"""The demo's Alyx is held to recordings of a real one: the same questions, and answers alike in all but the values."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
import requests

from onefs.demo.plan import PLANS, demo_id
from onefs.demo.server import DemoServer

RECORDINGS = Path(__file__).parent.parent / "recordings" / "rest"
RECORDED = json.loads((RECORDINGS / "contract.json").read_text())
THROTTLED = ("throttled_429", "throttled_429b")
"""Asked of a server with a limit."""
ON_DISK = "localroot_"
"""Asked of a server that keeps its tables itself."""
REPLAYED = [name for name in RECORDED if name not in THROTTLED]
ELSEWHERE = {
    **{path.stem: "test_demo_server.py" for path in RECORDINGS.glob("http_data_*.json")},
    "mismatch_tagging_by_official_client": "two requests, by the names below",
}
"""Recordings that are replayed in another test, or under other names."""
LOGINS = {"public": ("public", "public"), "member": ("member", "member"), "": ("demo", "demo")}
FREE_FORM = ("json", "extended_qc")
"""Fields whose content is anybody's: only whether they are there is compared."""


def eid(number: int) -> str:
    return str(PLANS[number].session.eid)


def dataset(number: int, rel_path: str) -> str:
    return str(demo_id(f"{eid(number)}/{rel_path}"))


EPHYS, OTHER_EPHYS, TRAINING, UNSERVED, EMPTY = 3, 6, 4, 12, 13
"""Which sessions of the demo stand for the recorded ones."""
VALUES = {
    "d6ee68d4-ee19-4c5e-8595-633efeb735ed": eid(EPHYS),
    "9529d030-3fae-4c9e-9bf4-59e377946493": eid(TRAINING),
    "a77d0e9a-18b2-4ec7-a415-7632860d71d4": eid(UNSERVED),
    "6dc15a93-fda8-48db-a842-474b05d2e4f4": eid(EMPTY),
    "8fb66616-d730-4b99-8696-d33f404507dd": str(demo_id(f"{PLANS[TRAINING].session.path}/base")),
    "5764df4f-baf5-4eca-80db-33b724a9c735": dataset(EPHYS, "alf/probe00/pykilosort/spikes.depths.npy"),
    "b44935d3-4427-4582-98d5-2a00628a3410": dataset(UNSERVED, "alf/licks.times.npy"),
    "0e73b43e-dbd0-4492-9645-8b63d5a790d5": dataset(TRAINING, "alf/_ibl_wheelMoves.intervals.npy"),
    "25f08bb5-2882-4ffb-b26f-ea814557fa49": dataset(TRAINING, "alf/_ibl_wheel.timestamps.npy"),
    "33e32a62-8979-4157-95d9-552a2e9c9479": dataset(TRAINING, "alf/_ibl_trials.table.pqt"),
    "c55081af-8a13-4a1e-bc5c-6df6f88ec2d1": str(demo_id(f"{eid(OTHER_EPHYS)}/probe00")),
    "5ca3192b-4e86-421d-8350-ceaf07b28021": str(
        demo_id(f"file/{dataset(TRAINING, 'alf/_ibl_wheelMoves.intervals.npy')}/server_northlab")
    ),
    "2020-07-01,2020-07-02": "2023-04-18,2023-05-09",
    "2024_Q2_Test_et_al": "2024_Q2_Demo_et_al",
    "Brainwidemap": "Demowide",
    "flatiron_cortexlab": "server_northlab",
    "cortexlab": "northlab",
    "mainenlab": "southlab",
    "KS005": "NL_001",
    "ibl_behavioral": "demo_behaviour",
    "practice": "demo_behaviour",
    # Files with something odd about them stand for their question only: the demo's faults are others.
    "misc.info.txt": "licks.times.npy",
    "_iblrig_sessionSettings.yaml.yaml": "_iblrig_taskSettings.raw.json",
    "clusters.table.pqt": "_ibl_trials.table.pqt",
    "spikes.table.pqt": "_ibl_trials.table.pqt",
    "passiveGabor.table.csv": "_ibl_wheel.position.npy",
    "sparseNoise.xyPos.npy": "_ibl_wheel.timestamps.npy",
    "65ef2e62-d81f-41a1-ab4e-9432fd488bf9": dataset(TRAINING, "alf/licks.times.npy"),
    "89a00d9f-492d-4cf9-8b37-6f2a6e27f394": str(
        demo_id(f"file/{dataset(TRAINING, 'alf/licks.times.npy')}/server_northlab")
    ),
    "admin": "demo",
}


def mapped(text: str) -> str:
    """A request or a sentence of the recordings, with the demo's own values in it."""
    for recorded, ours in VALUES.items():
        text = text.replace(recorded, ours)
    return text


@pytest.fixture(scope="module")
def servers(archive: Path) -> Iterator[dict[bool, DemoServer]]:
    """Two servers, by whether they keep their tables themselves."""
    with DemoServer(archive) as usual, DemoServer(archive, keeps_tables=True) as keeper:
        yield {False: usual, True: keeper}


@pytest.fixture
def server(servers: dict[bool, DemoServer], request: pytest.FixtureRequest) -> DemoServer:
    """The server that a recording is asked of."""
    parameters = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    return servers[str(parameters.get("name", "")).startswith(ON_DISK)]


@pytest.fixture(scope="module")
def client() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


def token(server: DemoServer, client: requests.Session, who: str) -> str:
    username, password = LOGINS[who]
    answer = client.post(f"{server.url}/auth-token", data={"username": username, "password": password})
    return answer.json()["token"]


def ask(name: str, server: DemoServer, client: requests.Session) -> requests.Response:
    """Send a recorded request to the demo, as the user whose it was."""
    request = RECORDED[name]["request"]
    who = next(each for each in LOGINS if each in name)
    headers = {"Content-Type": request["type"]} if "type" in request else {}
    if "authorization" in request:
        ours = "0123456789" if name == "invalid_token" else token(server, client, who)
        headers["Authorization"] = request["authorization"].replace("…", ours)
    return client.request(
        request["method"],
        server.url + mapped(unquote(request["path"])),
        headers=headers,
        data=mapped(request.get("body", "")) or None,
        allow_redirects=RECORDED[name]["response"]["status"] < 300 or "404" in name or "500" in name,
    )


def form(name: str) -> tuple[str, int, bool]:
    """What kind of question a recording is: the endpoint, how deep the path, whether it went well."""
    parts = urlsplit(RECORDED[name]["request"]["path"]).path.strip("/").split("/")
    return parts[0], len(parts), RECORDED[name]["response"]["status"] == 200


def types(value: object, at: str = "") -> dict[str, set[str]]:
    """By path the JSON types in a value; those of a list's items together."""
    found: dict[str, set[str]] = {at: {type(value).__name__}}
    if at.rpartition(".")[2] in FREE_FORM:
        return {at: {"anything"}}
    items = [(f"{at}.{key}", each) for key, each in value.items()] if isinstance(value, dict) else []
    items += [(f"{at}[]", each) for each in value] if isinstance(value, list) else []
    for below, each in items:
        for path, kinds in types(each, below).items():
            found.setdefault(path, set()).update(kinds)
    return found


def keys(value: object, at: str = "") -> Iterator[tuple[str, frozenset[str]]]:
    """The keys of every object in a value, by path."""
    if isinstance(value, dict):
        yield at, frozenset(value)
        for key, each in value.items():
            if key not in FREE_FORM:
                yield from keys(each, f"{at}.{key}")
    elif isinstance(value, list):
        for each in value:
            yield from keys(each, f"{at}[]")


def alike(name: str) -> list[object]:
    """The bodies of all recordings of one form, since each has only some of the values that there are."""
    return [pair["response"].get("json") for other, pair in RECORDED.items() if form(other) == form(name)]


def test_every_recording_is_replayed() -> None:
    with (RECORDINGS / "INDEX.tsv").open(newline="") as file:
        names = {row["name"] for row in csv.DictReader(file, delimiter="\t")}
    assert names - RECORDED.keys() - ELSEWHERE.keys() == set()


@pytest.mark.parametrize("name", REPLAYED)
def test_status_and_headers_are_as_recorded(name: str, server: DemoServer, client: requests.Session) -> None:
    expected = RECORDED[name]["response"]
    answer = ask(name, server, client)
    assert answer.status_code == expected["status"], answer.text
    for header, value in expected["headers"].items():
        if header == "Location":
            assert answer.headers[header].endswith(urlsplit(value).path)
        else:
            assert answer.headers[header] == value
    if "text" in expected:
        assert answer.text == expected["text"]


@pytest.mark.parametrize("name", [name for name in REPLAYED if form(name)[2] and "json" in RECORDED[name]["response"]])
def test_fields_and_their_types_are_as_recorded(name: str, server: DemoServer, client: requests.Session) -> None:
    found = ask(name, server, client).json()
    known_keys, known_types = set(), {}
    for body in alike(name):
        known_keys.update(keys(body))
        for path, kinds in types(body).items():
            known_types.setdefault(path, set()).update(kinds)
    assert set(keys(found)) <= known_keys
    for path, kinds in types(found).items():
        assert kinds <= known_types[path], path


ERRORS = [name for name in REPLAYED if RECORDED[name]["response"]["status"] >= 400]
PARTLY = {
    "sessions_list_bad_django": "Choices are:",
    "cache_info_tag_without_tables_500": "http",
    "localroot_cache_info_tag_missing": "'",
}
"""Errors that go on, after these words, with what this server has."""


@pytest.mark.parametrize("name", [name for name in ERRORS if "json" in RECORDED[name]["response"]])
def test_errors_are_as_recorded(name: str, server: DemoServer, client: requests.Session) -> None:
    expected = json.loads(mapped(json.dumps(RECORDED[name]["response"]["json"])))
    found = ask(name, server, client).json()
    if name in PARTLY:
        for body in (expected, found):
            body["detail"] = body["detail"].partition(PARTLY[name])[0]
    assert found == expected


LISTS = [name for name, pair in RECORDED.items() if "results" in pair["response"].get("json", {})]


@pytest.mark.parametrize("name", LISTS)
def test_lists_come_in_pages_as_recorded(name: str, server: DemoServer, client: requests.Session) -> None:
    expected = RECORDED[name]["response"]["json"]
    found = ask(name, server, client).json()
    arguments = dict(parse_qsl(urlsplit(RECORDED[name]["request"]["path"]).query))
    limit, offset = min(int(arguments.get("limit", 250)), 1000), int(arguments.get("offset", 0))
    assert bool(found["count"]) == bool(expected["count"])
    assert len(found["results"]) == max(0, min(limit, found["count"] - offset))
    assert (found["next"] is None) == (offset + limit >= found["count"])
    assert (found["previous"] is None) == (expected["previous"] is None)
    for link in ("next", "previous"):
        if found[link] and expected[link]:
            assert urlsplit(found[link]).query == mapped(urlsplit(expected[link]).query)


def test_every_link_can_be_followed(server: DemoServer, client: requests.Session) -> None:
    headers = {"Authorization": f"Token {token(server, client, '')}"}
    url, ids = f"{server.url}/datasets?limit=150", []
    while url:
        page = client.get(url, headers=headers).json()
        ids += [each["url"][-36:] for each in page["results"]]
        url = page["next"]
    assert len(ids) == len(set(ids)) == page["count"]
    first = client.get(f"{server.url}/sessions/{eid(EPHYS)}", headers=headers).json()
    for each in (first, *first["data_dataset_session_related"][:3]):
        assert client.get(each["url"], headers=headers).ok


@pytest.mark.parametrize("name", THROTTLED)
def test_too_many_requests_are_told_so(name: str, archive: Path, client: requests.Session) -> None:
    with DemoServer(archive, requests_per_minute=2) as limited:
        headers = {"Authorization": f"Token {token(limited, client, '')}"}
        other = {"Authorization": f"Token {token(limited, client, 'member')}"}
        url = limited.url + urlsplit(RECORDED[name]["request"]["path"]).path
        assert [client.get(url, headers=headers).status_code for _ in range(3)] == [200, 200, 429]
        answer = client.get(url, headers=headers)
        expected = RECORDED[name]["response"]
        wait_s = int(answer.headers["Retry-After"])
        assert 0 < wait_s <= int(expected["headers"]["Retry-After"])
        assert answer.json()["detail"] == expected["json"]["detail"].replace("60", str(wait_s))
        assert answer.headers["Allow"] == expected["headers"]["Allow"]
        assert client.get(url, headers=other).ok
