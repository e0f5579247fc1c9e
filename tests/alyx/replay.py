"""Owns a server that answers over real HTTP as a recorded Alyx did, and fails as a test asks it to."""

import json
import socket
import struct
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from servers import BreakableServer

from onefs.alyx.client import AlyxClient

MakeClient = Callable[..., AlyxClient]

RECORDED = Path(__file__).parent.parent / "recordings" / "rest" / "client.jsonl"
RECORDED_HOST = "https://alyx.example"
USER, PASSWORD = "member", "sesame & co"
LARGEST_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. `reset` breaks the connection instead; `cut` ends it before the promised length."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    reset: bool = False
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that came. Names of headers are in lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


def json_reply(content: Any, status: int = 200, **headers: str) -> Reply:
    """An answer in JSON; `Retry_After` becomes the header of that name."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, json.dumps(content).encode(), {"Content-Type": "application/json", **named})


def _recordings() -> list[dict[str, Any]]:
    return [json.loads(line) for line in RECORDED.read_text().splitlines()]


def recorded(name: str) -> dict[str, Any]:
    """One recording, by its name."""
    return next(pair for pair in _recordings() if pair["name"] == name)


def recorded_reply(name: str) -> Reply:
    """The answer of one recording."""
    pair = recorded(name)
    body = json.dumps(pair["json"]) if pair["json"] is not None else pair["text"]
    return Reply(pair["status"], body.encode(), pair["headers"])


class Replay:
    """The recorded server. `tokens` are the valid ones; each login adds one, `token-1`, `token-2`, ….

    Lists are served in pages of at most `page` records, with `limit` and `offset` as Alyx has them. `script(path, …)`
    sets the next answers for a path, `put(path, …)` all later ones.
    """

    def __init__(self) -> None:
        self.tokens: set[str] = set()
        self.page = 250
        self.asked: list[Asked] = []
        self._logins = 0
        self._scripts: dict[str, deque[Reply]] = defaultdict(deque)
        self._lists: dict[str, list[dict[str, Any]]] = {}
        self._replies: dict[tuple[str, str, frozenset[tuple[str, str]]], Reply] = {}
        self._lock = threading.Lock()  # guards all above
        for pair in _recordings():
            self._learn(pair)
        self._server = _Server(("127.0.0.1", 0), self)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        """Base URL, without a slash at its end."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def host(self) -> str:
        """As error sentences have it."""
        return f"127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Refuse connections."""
        self._server.shutdown()
        self._server.server_close()
        self._server.break_connections()

    def script(self, path: str, *replies: Reply) -> None:
        """The next answers for a path, whatever the query; a login is not checked."""
        with self._lock:
            self._scripts[path].extend(replies)

    def put(self, path: str, reply: Reply | list[dict[str, Any]], **query: str) -> None:
        """The answer for a path and query from now on: a reply, or the records of a list."""
        with self._lock:
            if isinstance(reply, list):
                self._lists[path] = reply
            else:
                self._replies[("GET", path, frozenset(query.items()))] = reply

    def requests(self, path: str, method: str = "GET") -> list[Asked]:
        """The requests that came for a path, in order."""
        with self._lock:
            return [asked for asked in self.asked if (asked.method, asked.path) == (method, path)]

    def _learn(self, pair: dict[str, Any]) -> None:
        parts = urlsplit(pair["path"])
        body = json.dumps(pair["json"]) if pair["json"] is not None else pair["text"]
        query = frozenset((name, value.replace(",'", ", '")) for name, value in parse_qsl(parts.query))
        if pair["name"] not in ("invalid_token", "no_token", "throttled_429") and pair["method"] == "GET":
            self._replies[("GET", parts.path, query)] = Reply(pair["status"], body.encode(), pair["headers"])

    def answer(self, asked: Asked) -> Reply:
        """What to answer to a request."""
        with self._lock:
            self.asked.append(asked)
            if self._scripts[asked.path]:
                return self._scripts[asked.path].popleft()
            if asked.path == "/auth-token":
                return self._log_in(asked)
            token = asked.headers.get("authorization", "").removeprefix("Token ")
            if token not in self.tokens:
                return recorded_reply("invalid_token" if token else "no_token")
            if asked.method == "PATCH":
                return self._patch(asked)
            return self._get(asked)

    def _log_in(self, asked: Asked) -> Reply:
        if dict(parse_qsl(asked.body.decode())) != {"username": USER, "password": PASSWORD}:
            return recorded_reply("auth_token_bad_password_400")
        self._logins += 1
        self.tokens.add(f"token-{self._logins}")
        return json_reply({"token": f"token-{self._logins}"})

    def _patch(self, asked: Asked) -> Reply:
        record = json.loads(self._replies[("GET", asked.path, frozenset())].body)
        record.update(json.loads(asked.body))
        self._replies[("GET", asked.path, frozenset())] = json_reply(record)
        return json_reply(record)

    def _get(self, asked: Asked) -> Reply:
        query = dict(asked.query)
        limit, offset = int(query.pop("limit", LARGEST_PAGE)), int(query.pop("offset", 0))
        reply = self._replies.get(("GET", asked.path, frozenset(query.items())))
        if asked.path in self._lists:
            records = self._lists[asked.path]
        elif reply is None:
            return recorded_reply("unknown_endpoint_404")
        else:
            content = json.loads(reply.body) if reply.body.startswith(b"{") else {}
            if "results" not in content:
                return reply
            records = content["results"]
        limit = min(limit, self.page)
        more = {**query, "limit": limit, "offset": offset + limit}
        following = f"{RECORDED_HOST}{asked.path}?{urlencode(more)}" if offset + limit < len(records) else None
        page = {"count": len(records), "next": following, "previous": None, "results": records[offset : offset + limit]}
        return json_reply(page)


class _Server(BreakableServer):
    def __init__(self, address: tuple[str, int], owner: Replay) -> None:
        self.owner = owner
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing is printed."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, parts.path, dict(parse_qsl(parts.query)), headers, body)
        reply = self.server.owner.answer(asked)
        if reply.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body[: len(reply.body) // 2] if reply.cut else reply.body)
        if reply.cut:
            self.close_connection = True

    do_POST = do_PATCH = do_GET  # noqa: N815
