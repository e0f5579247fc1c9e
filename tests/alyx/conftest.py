"""A recorded server, and clients of it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from replay import PASSWORD, USER, MakeClient, Replay
from waiting import PATIENCE_S

from onefs.alyx.client import AlyxClient
from onefs.alyx.credentials import Credentials


@pytest.fixture
def replay() -> Iterator[Replay]:
    with Replay() as server:
        yield server


@pytest.fixture
def make_client(replay: Replay, tmp_path: Path) -> Iterator[MakeClient]:
    """Makes clients of the recorded server; keyword arguments override the usual ones."""
    with contextlib.ExitStack() as stack:

        def make(credentials: Credentials | None = None, **options: Any) -> AlyxClient:
            usual: dict[str, Any] = {
                "responses_dir": tmp_path / "responses",
                "connect_timeout_s": PATIENCE_S,
                "read_timeout_s": PATIENCE_S,
                "retry_max_s": 30.0,
            }
            base_url = options.pop("base_url", replay.url)
            login = credentials if credentials is not None else Credentials(USER, PASSWORD)
            client = AlyxClient(base_url, login, **{**usual, **options})
            stack.callback(client.close)
            return client

        yield make


@pytest.fixture
def client(make_client: MakeClient) -> AlyxClient:
    return make_client()
