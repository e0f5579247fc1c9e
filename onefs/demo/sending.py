"""Owns how a file is sent: whole or in part, or the news that the client has it, as a data server does."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING

from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException, NotFound, PreconditionFailed
from werkzeug.wrappers import Request, Response
from werkzeug.wsgi import wrap_file

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

READ_BYTES = 1 << 20
DATA_TYPE = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class File:
    """A file to be served. Its edition is told by modification time and length, as nginx does."""

    stream: IO[bytes]
    size_bytes: int
    modified_s: int

    @property
    def etag(self) -> str:
        """The strong validator, without quotes."""
        return f"{self.modified_s:x}-{self.size_bytes:x}"


def open_file(path: Path) -> File:
    """Open a file; what is not a plain file is not there. Raises `NotFound`."""
    if not path.is_file():
        raise NotFound
    status = path.stat()
    return File(path.open("rb"), status.st_size, int(status.st_mtime))


class _FileResponse(Response):
    """A file's bytes. In a 304 it keeps Last-Modified, which werkzeug drops with the body."""

    def get_wsgi_headers(self, environ: "WSGIEnvironment") -> Headers:
        """The headers as they are sent."""
        headers = super().get_wsgi_headers(environ)
        headers["Last-Modified"] = self.headers["Last-Modified"]
        return headers


def send(request: Request, file: File, kind: str) -> Response:
    """A file, a part of it, or the news that the client has it, as the request's headers ask."""
    try:
        if request.if_match and not request.if_match.contains(file.etag):
            raise PreconditionFailed
        body = wrap_file(request.environ, file.stream, READ_BYTES)
        response = _FileResponse(body, content_type=kind, direct_passthrough=True)
        response.content_length = file.size_bytes
        response.last_modified = datetime.fromtimestamp(file.modified_s, UTC)
        response.set_etag(file.etag)
        response.make_conditional(request, accept_ranges=True, complete_length=file.size_bytes)
    except HTTPException:
        file.stream.close()
        raise
    if response.status_code != 200:
        del response.headers["Accept-Ranges"]
    return response
