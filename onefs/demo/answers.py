"""Owns what the demo's server answers, all in all: one table of rules for Alyx, its tables and the data server."""

from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import HTTPException, NotFound, Unauthorized
from werkzeug.routing import Map, Rule
from werkzeug.wrappers import Request, Response

from onefs import alf
from onefs.demo.archive import DATA_DIR, PUBLIC_DIR, TABLES_DIR, Manifest
from onefs.demo.live import LiveDatabase
from onefs.demo.logins import Logins, Throttle
from onefs.demo.plan import CREATED_S
from onefs.demo.raw import LARGE_BYTES, LargeRecording
from onefs.demo.rest import Rest, not_found
from onefs.demo.rest_tables import Tables
from onefs.demo.sending import DATA_TYPE, File, open_file, send
from onefs.errors import UsageError

USER = "demo"
PASSWORD = "demo"  # noqa: S105 - published: it guards made-up data on loopback
REALM = "onefs demo"
HTML_TYPE = "text/html"
FILE_FOLDERS = ("/public/", "/tables/")
"""Paths of plain files, where errors look as a data server's; all others are Alyx's."""

Endpoint = Callable[..., Response]


class Answers:
    """Answers requests about one archive. Safe to use from several threads.

    Alyx and the data server share one port. A further endpoint is one more `Rule` and one method, or one more
    `Resource`. `logins` and `throttle` are for tests that want a token to expire, or a limit.
    """

    def __init__(self, directory: Path) -> None:
        manifest = Manifest.read(directory)
        if manifest is None:
            raise UsageError(f"There is no demo archive in {directory}.", "Make one with onefs demo.")
        tables = directory / TABLES_DIR
        self.logins = Logins()
        self.throttle = Throttle(None)
        rest = Rest(LiveDatabase(directory, tables), self.logins, self.throttle)
        self._public = directory / DATA_DIR / PUBLIC_DIR
        self._virtual = manifest.virtual
        self._rules = Map(
            [
                *rest.rules(),
                *Tables(tables, rest).rules(),
                Rule("/public/<path:path>", endpoint=self._data),
            ],
            redirect_defaults=False,
            merge_slashes=False,
        )

    def answer(self, request: Request) -> Response:
        """The answer to a request. What goes wrong by the request's fault is an answer too."""
        try:
            endpoint, arguments = self._rules.bind_to_environ(request.environ).match()
            return cast(Endpoint, endpoint)(request, **arguments)
        except HTTPException as error:
            if not request.path.startswith(FILE_FOLDERS):
                return not_found()
            response = error.get_response(request.environ)
            response.headers["Content-Type"] = HTML_TYPE
            return response

    def _data(self, request: Request, path: str) -> Response:
        login = request.authorization
        if login is None or login.type != "basic" or (login.username, login.password) != (USER, PASSWORD):
            raise Unauthorized(www_authenticate=WWWAuthenticate("basic", {"realm": REALM}))
        if not alf.is_safe_relative(path):
            raise NotFound
        if path in self._virtual:
            stream = cast(IO[bytes], LargeRecording(self._virtual[path]))
            return send(request, File(stream, LARGE_BYTES, CREATED_S), DATA_TYPE)
        return send(request, open_file(self._public / path), DATA_TYPE)
