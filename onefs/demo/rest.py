"""Owns the REST side of the demo's server: which endpoints there are, who may ask, pages, and the errors."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode

from werkzeug.routing import Rule
from werkzeug.wrappers import Request, Response

from onefs.demo.database import Database
from onefs.demo.live import LiveDatabase
from onefs.demo.logins import Logins, Throttle
from onefs.demo.resources import Ask, Resource, RestError, as_uuid
from onefs.demo.rest_datasets import DATASETS, FILES
from onefs.demo.rest_insertions import INSERTIONS
from onefs.demo.rest_names import NAMED
from onefs.demo.rest_schema import SCHEMA_TYPE, schema
from onefs.demo.rest_sessions import SESSIONS
from onefs.demo.rows import UserRow
from onefs.demo.serialise import Json, Serialiser
from onefs.errors import TableError

RESOURCES: tuple[Resource[Any], ...] = (SESSIONS, DATASETS, FILES, INSERTIONS, *NAMED)
PAGE = 250
LARGEST_PAGE = 1000
JSON_TYPE = "application/json"
HTML_TYPE = "text/html; charset=utf-8"
NOT_FOUND = (
    '\n<!doctype html>\n<html lang="en">\n<head>\n  <title>Not Found</title>\n</head>\n<body>\n'
    "  <h1>Not Found</h1><p>The requested resource was not found on this server.</p>\n</body>\n</html>\n"
)
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
LIST_METHODS = "GET, POST, HEAD, OPTIONS"
ROW_METHODS = "GET, PUT, PATCH, DELETE, HEAD, OPTIONS"
READ_METHODS = "GET, HEAD, OPTIONS"
LOGIN_METHODS = "POST, OPTIONS"
NO_PERMISSION = "You do not have permission to perform this action."

Answer = Callable[[Request, Database], Response]


class Rest:
    """Answers Alyx's REST questions about one archive. Safe to use from several threads."""

    def __init__(self, live: LiveDatabase, logins: Logins, throttle: Throttle) -> None:
        self._live = live
        self._logins = logins
        self._throttle = throttle

    def rules(self) -> list[Rule]:
        """One rule for each path; a path with a slash too many, or a key that is no UUID, has none."""
        rules = [
            Rule("/auth-token", endpoint=self._login),
            Rule("/api/schema", endpoint=self._schema),
        ]
        for resource in RESOURCES:
            rules.append(Rule(f"/{resource.name}", endpoint=partial(self._list, resource)))
            rules.append(Rule(f"/{resource.name}/<key>", endpoint=partial(self._row, resource)))
        return rules

    # -- endpoints -------------------------------------------------------------------------------------------------

    def _login(self, request: Request) -> Response:
        def answer() -> Response:
            if request.method != "POST":
                raise _wrong_method(request)
            return _json({"token": self._logins.token(self._database(), _fields(request))})

        return _finish(answer, LOGIN_METHODS, vary="Cookie")

    def _schema(self, request: Request) -> Response:
        def read(request: Request, db: Database) -> Response:
            del request, db
            return _json(schema(RESOURCES), content_type=SCHEMA_TYPE)

        return self.guarded(request, READ_METHODS, {"GET": read})

    def _list(self, resource: Resource[Any], request: Request) -> Response:
        def read(request: Request, db: Database) -> Response:
            serialiser = Serialiser(db, self._live, _base(request))
            return _json(_page(request, resource, db, serialiser))

        def create(request: Request, db: Database) -> Response:
            subject = _fields(request).get("subject")
            if resource is SESSIONS and subject and subject not in db.subjects:
                raise RestError(400, {"subject": [f"Object with nickname={subject} does not exist."]})
            raise RestError(403, {"detail": NO_PERMISSION})

        return self.guarded(request, LIST_METHODS, {"GET": read, "POST": create})

    def _row(self, resource: Resource[Any], request: Request, key: str) -> Response:
        if resource.by_id and as_uuid(key) != key:
            return not_found()

        def find(db: Database) -> Any:
            try:
                return resource.rows(db)[key]
            except KeyError as error:
                raise RestError(404, {"detail": f"No {resource.model} matches the given query."}) from error

        def read(request: Request, db: Database) -> Response:
            return _json(resource.full(Serialiser(db, self._live, _base(request)), find(db)))

        def change(request: Request, db: Database) -> Response:
            row = find(db)
            if resource is not FILES:
                raise RestError(403, {"detail": NO_PERMISSION})
            changes = _file_changes(_fields(request), db)
            if "json" in changes:
                self._live.change_file_json(row, changes["json"])
            return read(request, db)

        def delete(request: Request, db: Database) -> Response:
            del request
            row = find(db)
            tags = ", ".join(f'"{tag.name}"' for tag in row.tags if tag.protected) if resource is DATASETS else ""
            if tags:
                raise RestError(403, {"detail": f"Failed to delete dataset {row.name} due to protected tag(s) {tags}"})
            raise RestError(403, {"detail": NO_PERMISSION})

        actions = {"GET": read, "PATCH": change, "PUT": delete, "DELETE": delete}
        return self.guarded(request, ROW_METHODS, actions)

    # -- what all endpoints share ----------------------------------------------------------------------------------

    def guarded(self, request: Request, allowed: str, actions: Mapping[str, Answer]) -> Response:
        """An answer to a user with a token who may do this, and has not asked too often; else the error."""

        def answer() -> Response:
            db = self._database()
            user = self._logins.user(db, request.headers.get("Authorization", ""))
            _check_permission(user, request)
            self._throttle.count(user)
            if request.method == "OPTIONS":
                return _json({"renders": [JSON_TYPE], "parses": [JSON_TYPE]})
            action = actions.get("GET" if request.method == "HEAD" else request.method)
            if action is None:
                raise _wrong_method(request)
            return action(request, db)

        return _finish(answer, allowed, vary="Accept, Cookie")

    def _database(self) -> Database:
        try:
            return self._live.current()
        except TableError as error:
            raise RestError.fault(error.reason) from error


def not_found() -> Response:
    """What a path gets that means nothing."""
    return Response(NOT_FOUND, 404, SECURITY_HEADERS, content_type=HTML_TYPE)


def _finish(answer: Callable[[], Response], allowed: str, vary: str) -> Response:
    """The answer or its error, with the headers that Alyx gives both."""
    try:
        response = answer()
    except RestError as error:
        response = _json(error.body, error.status)
        response.headers.update(error.headers)
    response.headers.update({"Vary": vary, "Allow": allowed, **SECURITY_HEADERS})
    return response


def _json(value: object, status: int = 200, content_type: str = JSON_TYPE) -> Response:
    return Response(json.dumps(value, separators=(",", ":")), status, content_type=content_type)


def _wrong_method(request: Request) -> RestError:
    return RestError(405, {"detail": f'Method "{request.method}" not allowed.'})


def _check_permission(user: UserRow, request: Request) -> None:
    if user.is_public and request.method not in ("GET", "HEAD", "OPTIONS"):
        raise RestError(403, {"detail": NO_PERMISSION})


def _base(request: Request) -> str:
    return request.host_url.rstrip("/")


def _fields(request: Request) -> dict[str, Any]:
    """The fields that a request's body holds, as JSON or as a form. Raises `RestError`."""
    if request.mimetype != JSON_TYPE:
        return dict(request.form)
    try:
        value = json.loads(request.get_data() or b"{}")
    except ValueError as error:
        raise RestError(400, {"detail": f"JSON parse error - {error}"}) from error
    if not isinstance(value, dict):
        wrong = f"Invalid data. Expected a dictionary, but got {type(value).__name__}."
        raise RestError(400, {"non_field_errors": [wrong]})
    return value


def _file_changes(fields: dict[str, Any], db: Database) -> dict[str, Any]:
    """What may be changed of a file record: its free-form part. Raises `RestError`."""
    repository = fields.get("data_repository")
    if repository is not None and repository not in db.repositories:
        raise RestError(400, {"data_repository": [f"Object with name={repository} does not exist."]})
    if fields.keys() - {"json"}:
        raise RestError(403, {"detail": NO_PERMISSION})
    return fields


# -- pages -------------------------------------------------------------------------------------------------------------


def _page(request: Request, resource: Resource[Any], db: Database, serialiser: Serialiser) -> Json:
    """A part of the rows that pass the filters. Arguments that are no filter are ignored without a word."""
    arguments = {name: value for name, value in request.args.items() if value}
    ask = Ask(db, arguments)
    tests = [make(ask, arguments[name]) for name, make in resource.filters.items() if name in arguments]
    rows = [row for row in resource.rows(db).values() if all(test(row) for test in tests)]
    limit = min(_count(arguments.get("limit"), least=1, default=PAGE), LARGEST_PAGE)
    offset = _count(arguments.get("offset"), least=0, default=0)
    after = {"limit": limit, "offset": offset + limit}
    before = {"limit": limit, "offset": offset - limit if offset > limit else None}
    return {
        "count": len(rows),
        "next": _link(request, after) if offset + limit < len(rows) else None,
        "previous": _link(request, before) if offset > 0 else None,
        "results": [resource.brief(serialiser, row) for row in rows[offset : offset + limit]],
    }


def _count(text: str | None, *, least: int, default: int) -> int:
    return int(text) if text and text.isdecimal() and int(text) >= least else default


def _link(request: Request, changes: Mapping[str, int | None]) -> str:
    """This request's URL with other arguments, in alphabetical order; None leaves one out."""
    found: dict[str, str | int | None] = dict(parse_qsl(request.query_string.decode(), keep_blank_values=True))
    found.update(changes)
    query = sorted((name, cast(Any, value)) for name, value in found.items() if value is not None)
    return f"{request.base_url}?{urlencode(query)}"
