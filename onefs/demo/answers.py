"""Owns what the demo's server answers, all in all: one table of rules for Alyx, its tables and the data server."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, Unauthorized
from werkzeug.routing import Map, Rule
from werkzeug.wrappers import Request, Response

from onefs.demo.archive import TABLES_DIR, Manifest
from onefs.demo.database_file import BUCKET_NAME
from onefs.demo.holdings import Holdings
from onefs.demo.live import LiveDatabase
from onefs.demo.logins import Logins, Throttle
from onefs.demo.rest import Rest, not_found
from onefs.demo.rest_tables import Tables
from onefs.demo.sending import DATA_TYPE, send
from onefs.demo.troubles import Troubles
from onefs.demo.visits import Visit, Visits
from onefs.errors import UsageError

USER = "demo"
PASSWORD = "demo"  # noqa: S105 - published: it guards made-up data on loopback
REALM = "onefs demo"
HTML_TYPE = "text/html"
XML_TYPE = "application/xml"
NO_SUCH_KEY = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code></Error>'
FILE_FOLDERS = ("/public/", "/tables/")
"""Paths of plain files, where errors look as a data server's; all others are Alyx's."""

Endpoint = Callable[..., Response]


class Answers:
    """Answers requests about one archive. Safe to use from several threads.

    Alyx, the data server and the bucket share one port. A further endpoint is one more `Rule` and one method, or one
    more `Resource`. `logins`, `throttle` and `troubles` let a token expire, set a limit, or make it fail.
    """

    def __init__(self, directory: Path, *, keeps_tables: bool = False) -> None:
        manifest = Manifest.read(directory)
        if manifest is None:
            raise UsageError(f"There is no demo archive in {directory}.", "Make one with onefs demo.")
        tables = directory / TABLES_DIR
        self.logins = Logins()
        self.throttle = Throttle(None)
        self.troubles = Troubles()
        self.visits = Visits()
        rest = Rest(LiveDatabase(directory, tables), self.logins, self.throttle)
        self._holdings = Holdings(directory, manifest)
        self._rules = Map(
            [
                *rest.rules(),
                *Tables(tables, rest, keeps_tables=keeps_tables).rules(),
                Rule("/public/<path:path>", endpoint=self._data),
                Rule(f"/{BUCKET_NAME}/<path:key>", endpoint=self._object),
            ],
            redirect_defaults=False,
            merge_slashes=False,
        )

    def answer(self, request: Request) -> Response:
        """The answer to a request. What goes wrong by the request's fault is an answer too."""
        who = self._user(request)
        self.visits.add(Visit(request.method, request.path, request.query_string.decode(), who, time.monotonic()))
        return self.troubles.answer(request.path) or self._answer(request)

    def _answer(self, request: Request) -> Response:
        try:
            endpoint, arguments = self._rules.bind_to_environ(request.environ).match()
            return cast(Endpoint, endpoint)(request, **arguments)
        except HTTPException as error:
            if not request.path.startswith(FILE_FOLDERS):
                return not_found()
            response = error.get_response(request.environ)
            response.headers["Content-Type"] = HTML_TYPE
            return response

    def _user(self, request: Request) -> str:
        """Who asks, as far as the request shows it; "" for nobody."""
        login = request.authorization
        if login is not None and login.type == "basic":
            return login.username or ""
        return self.logins.name_of(request.headers.get("Authorization", ""))

    def _data(self, request: Request, path: str) -> Response:
        login = request.authorization
        if login is None or login.type != "basic" or (login.username, login.password) != (USER, PASSWORD):
            raise Unauthorized(www_authenticate=WWWAuthenticate("basic", {"realm": REALM}))
        return send(request, self._holdings.open_path(path), DATA_TYPE)

    def _object(self, request: Request, key: str) -> Response:
        """What a public bucket answers to a request that is not signed."""
        try:
            if request.method not in ("GET", "HEAD"):
                raise MethodNotAllowed
            return send(request, self._holdings.open_key(key), DATA_TYPE)
        except NotFound:
            return Response(NO_SUCH_KEY, 404, content_type=XML_TYPE)
        except HTTPException as error:
            response = error.get_response(request.environ)
            response.headers["Content-Type"] = XML_TYPE
            return response
