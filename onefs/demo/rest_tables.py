"""Owns the cache tables on the server: what Alyx says of them, and the open folder from which they are fetched."""

import io
import json
import mimetypes
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
from werkzeug.exceptions import NotFound
from werkzeug.routing import Rule
from werkzeug.utils import redirect
from werkzeug.wrappers import Request, Response

from onefs import alf
from onefs.demo.database import Database
from onefs.demo.export import INFO, TABLE_FILES, ZIP, describe, is_current, pack
from onefs.demo.resources import RestError
from onefs.demo.rest import HTML_TYPE, JSON_TYPE, READ_METHODS, Rest
from onefs.demo.sending import DATA_TYPE, File, open_file, send

UNKNOWN_TAG = "Tag matching query does not exist."


class Tables:
    """Answers about the cache tables of one archive, those of its releases among them.

    With `keeps_tables` Alyx hands them out itself, as one whose tables are on its own disk, and tells no `location`.
    """

    def __init__(self, tables: Path, rest: Rest, *, keeps_tables: bool) -> None:
        self._tables = tables
        self._rest = rest
        self._keeps_tables = keeps_tables

    def rules(self) -> list[Rule]:
        """The paths of Alyx that tell of the tables, and those of the folder that holds them."""
        return [
            Rule("/cache/info", endpoint=_to_slash),
            Rule("/cache/info/<tag>", endpoint=_to_slash),
            Rule("/cache/info/", endpoint=self._info),
            Rule("/cache/info/<tag>/", endpoint=self._info),
            Rule("/cache.zip", endpoint=self._zip),
            Rule("/tables/<name>", endpoint=self._file),
            Rule("/tables/<tag>/<name>", endpoint=self._file),
        ]

    def _info(self, request: Request, tag: str = "") -> Response:
        def read(request: Request, db: Database) -> Response:
            if tag and tag not in db.tags:
                return Response(UNKNOWN_TAG, 404, content_type=HTML_TYPE)
            folder = f"{request.host_url}tables/{f'{tag}/' if tag else ''}"
            try:
                info = self._describe(self._tables / tag)
            except (OSError, ValueError, pa.ArrowException) as error:
                wrong = f"404 Client Error: Not Found for url: {folder}{INFO}"
                if self._keeps_tables:
                    wrong = f"[Errno 2] No such file or directory: '{self._tables / tag / INFO}'"
                raise RestError.fault(wrong) from error
            location = {} if self._keeps_tables else {"location": f"{folder}{ZIP}"}
            return Response(json.dumps({**info, **location}), content_type=JSON_TYPE)

        return self._rest.guarded(request, READ_METHODS, {"GET": read})

    def _describe(self, directory: Path) -> dict[str, object]:
        """What the export says of its tables; what they say themselves where it says nothing, or is out of date."""
        if is_current(directory / INFO):
            found: dict[str, object] = json.loads((directory / INFO).read_bytes())
            return found
        return describe(directory)

    def _zip(self, request: Request) -> Response:
        def read(request: Request, db: Database) -> Response:
            del db
            if self._keeps_tables:
                disposition = {"Content-Disposition": f'inline; filename="{ZIP}"'}
                return Response(pack(self._tables), 200, disposition, content_type="application/zip")
            response = Response(b"", 302, content_type=HTML_TYPE)
            response.headers["Location"] = f"{request.host_url}tables/{ZIP}"
            return response

        return self._rest.guarded(request, READ_METHODS, {"GET": read})

    def _file(self, request: Request, name: str, tag: str = "") -> Response:
        directory = self._tables / tag
        if name not in TABLE_FILES or not alf.is_safe_part(tag or "-"):
            raise NotFound
        kind = mimetypes.guess_type(name)[0] or DATA_TYPE
        made = MADE.get(name)
        if made is None or is_current(directory / name):
            return send(request, open_file(directory / name), kind)
        try:
            content = made(directory)
            modified_s = int(max(path.stat().st_mtime for path in directory.glob("*.pqt")))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound from error
        return send(request, File(io.BytesIO(content), len(content), modified_s), kind)


MADE: dict[str, Callable[[Path], bytes]] = {
    INFO: lambda directory: json.dumps(describe(directory), indent=1).encode(),
    ZIP: pack,
}
"""What is made from the tables where it is missing, or older than they are."""


def _to_slash(request: Request, tag: str = "") -> Response:
    """Alyx sends a client that forgot the slash to the right place, whoever it is."""
    del tag
    response = redirect(f"{request.path}/", 301)
    response.set_data(b"")
    return response
