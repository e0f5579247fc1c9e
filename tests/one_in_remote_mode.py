"""ONE, the official client, on the demo's Alyx: what its answers are compared with."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from one_of_tables import hash_by_mebibytes

from onefs.demo.server import DemoServer

Request = tuple[str, str, frozenset[tuple[str, str]]]


@contextlib.contextmanager
def one_at(server: DemoServer, home: Path) -> Iterator[Any]:
    """ONE in remote mode, which keeps no answers. Nothing of the user who runs the tests is used."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setattr("iblutil.io.params.getfile", lambda name: str(home / f".{name}"))
        from one import params
        from one.api import OneAlyx

        hash_by_mebibytes()
        patch.setattr(params, "CACHE_DIR_DEFAULT", str(home / "cache"))
        login = {"username": "demo", "password": "demo"}
        yield OneAlyx(
            base_url=server.url, **login, silent=True, cache_dir=home / "cache", mode="remote", cache_rest=None
        )


@dataclass(slots=True)
class Requests:
    """The requests that a server gets within a block, logins left out."""

    server: DemoServer
    sent: tuple[Request, ...] = ()
    _before: int = 0

    def __enter__(self) -> "Requests":
        self._before = len(self.server.requests())
        return self

    def __exit__(self, *_: object) -> None:
        visits = self.server.requests()[self._before :]
        self.sent = tuple(
            (visit.method, visit.path, frozenset(parse_qsl(visit.query)))
            for visit in visits
            if visit.path != "/auth-token"
        )
