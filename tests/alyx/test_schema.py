"""The description of a database's interface, of either kind, says what ONE finds in it."""

import json
from pathlib import Path
from typing import Any

import one
import pytest
from one.webclient import RestSchemeCoreApi, RestSchemeOpenApi
from replay import Replay, json_reply, recorded_reply

from onefs.alyx.client import AlyxClient
from onefs.alyx.schema import Schema
from onefs.errors import BrokenAnswerError

RECORDED = Path(one.__file__).parent / "tests" / "fixtures" / "rest_responses"
"""What databases answered to ONE's developers."""


def document(kind: str) -> dict[str, Any]:
    (path,) = RECORDED.glob(f"{kind}*.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.parametrize(("kind", "theirs"), [("openapi", RestSchemeOpenApi), ("coreapi", RestSchemeCoreApi)])
def test_endpoints_actions_and_arguments(kind: str, theirs: Any) -> None:
    ours, expected = Schema(document(kind)), theirs(document(kind))
    assert ours.endpoints == expected.endpoints
    assert len(ours.endpoints) > 30
    for endpoint in ours.endpoints:
        assert ours.actions(endpoint) == expected.actions(endpoint)
    for endpoint in ("sessions", "insertions", "datasets", "dataset-types", "revisions", "subjects", "files"):
        for action in ours.actions(endpoint):
            assert ours.fields(endpoint, action) == expected.fields(endpoint, action)
            assert ours.url(endpoint, action) == expected.url(endpoint, action)
    assert {"task_protocol", "dataset_qc_lte", "atlas_acronym"} <= {*ours.field_names("sessions", "list")}
    assert "json" in ours.field_names("files", "partial_update")
    assert ours.actions("nothing") == ours.fields("sessions", "nothing") == []


@pytest.mark.parametrize(
    "content", [None, [], {}, {"paths": []}, {"paths": {"/x": {"get": 1, "post": {}}}}, {"_type": 1}]
)
def test_a_description_of_another_shape_has_nothing_to_list(content: Any) -> None:
    assert Schema(content).fields("x", "list") == []


def test_an_older_database_has_it_elsewhere(replay: Replay, client: AlyxClient) -> None:
    replay.script("/api/schema", recorded_reply("unknown_endpoint_404"))
    replay.put("/docs", json_reply(document("coreapi")))
    assert "sessions" in client.schema().endpoints
    assert "sessions" in client.schema().endpoints
    assert [len(replay.requests(path)) for path in ("/api/schema", "/docs")] == [1, 1]
    assert replay.requests("/docs")[0].headers["accept"] == "application/coreapi+json"


def test_a_database_without_any(replay: Replay, client: AlyxClient) -> None:
    with pytest.raises(BrokenAnswerError):
        client.schema()
