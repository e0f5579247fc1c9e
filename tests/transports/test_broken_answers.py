"""Servers that do not speak HTTP, or break its rules: a broken answer (EIO), in one sentence, and never wrong bytes."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import PEM, raw_server
from waiting import PATIENCE_S

from onefs.errors import BadHttpError, BrokenAnswerError, UnreachableError
from onefs.fetch.cancel import CancelToken
from onefs.fetch.ranges import MemorySink, Patience, Ranges
from onefs.fetch.retry import LocationHealth
from onefs.fuse.errnos import errno_of
from onefs.outages import Outages
from onefs.transports.archive import bucket_server
from onefs.transports.base import Location
from onefs.transports.http import HttpTransport

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
SSH = b"SSH-2.0-OpenSSH_9.6p1 Debian-3\r\n"
BROKEN = {
    "an SSH banner": (SSH, r"does not speak HTTP: its answer begins with 'SSH-2\.0-OpenSSH_9\.6p1 Debian-3'"),
    "bytes": (b"\x15\x03\x01\0\x02\x02\x16\r\n", "does not speak HTTP: its answer begins with"),
    "another version": (b"HTTP/3.7 200 OK\r\n\r\n", "it speaks 'HTTP/3.7'"),
    "a bad status": (b"HTTP/1.1 two hundred\r\n\r\n", "does not speak HTTP"),
    "a status out of range": (b"HTTP/1.1 7 OK\r\n\r\n", "does not speak HTTP"),
    "an endless status line": (b"HTTP/1.1 200 " + b"x" * (1 << 17), "a line without end"),
    "an endless header": (OK + b"X: " + b"x" * (1 << 17), "a line without end"),
    "endless headers": (OK + b"X: x\r\n" * 1000, "more than 256 lines"),
    "endless preliminary answers": (b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, "preliminary answers without end"),
    "a line that is no header": (OK + b"no colon here\r\n\r\n", "its head holds the line b'no colon here"),
    "a header without a name": (OK + b": x\r\n\r\n", "its head holds the line"),
    "a folded header": (OK + b"A: b\r\n c\r\nContent-Length: 3\r\n\r\nabc", "its head holds the line"),
    "a return within a header": (OK + b'ETag: "a\rX: y"\r\n\r\n', "its head holds the line"),
    "a negative length": (OK + b"Content-Length: -3\r\n\r\nabc", "the body has '-3' bytes"),
    "a length that is none": (OK + b"Content-Length: 3_0\r\n\r\nabc", "the body has '3_0' bytes"),
    "an endless length": (OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nabc", "the body has '9999"),
    "two lengths": (OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "several lengths"),
    "an unknown coding": (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", "the body as 'gzip, chunked'"),
    "a bad chunk": (CHUNKED + b"none\r\nabc\r\n", "a chunk of the body has b'none' bytes"),
    "a negative chunk": (
        CHUNKED + b"-3\r\nabc\r\n",
        "a chunk of the body has b'-3' bytes",
    ),
    "chunks and then none": (
        CHUNKED + b"3\r\nabc\r\nxyz\r\n",
        "a chunk of the body has b'xyz' bytes",
    ),
    "a chunk longer than said": (CHUNKED + b"3\r\nabcdef\r\n0\r\n\r\n", "after a chunk"),
    "chunks that end early": (CHUNKED + b"3\r\nab", "ended after"),
    "a short body": (OK + b"Content-Length: 30\r\n\r\nabc", "ended after 3 of 30 bytes"),
}
QUICK = Patience(tries=1, first_pause_s=0.001)


@pytest.fixture
def transport() -> Iterator[HttpTransport]:
    transport = HttpTransport(connect_timeout_s=PATIENCE_S, read_timeout_s=PATIENCE_S, max_connections=4)
    yield transport
    transport.close()


@pytest.fixture(params=["http", "https", "s3"])
def kind(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "certificate").write_text(PEM)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "certificate"))
    kind: str = request.param
    return kind


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_answer_is_eio(transport: HttpTransport, kind: str, tmp_path: Path, name: str) -> None:
    said, words = BROKEN[name]
    with raw_server(said, tmp_path / "certificate" if kind == "https" else None) as url:
        location = Location(f"{url}/a.npy")
        if kind == "s3":
            location = bucket_server("bucket", "", "", endpoint=url).folder.below("a.npy")
        with pytest.raises(BrokenAnswerError, match=words) as caught:
            Ranges(transport, patience=QUICK).fetch(location, MemorySink(1000), CancelToken())
    assert errno_of(caught.value) == errno.EIO
    assert caught.value.reason.startswith("127.0.0.1:")
    assert "\n" not in str(caught.value)


def test_what_speaks_first_is_no_http_server(transport: HttpTransport) -> None:
    with raw_server(SSH, waits=False) as url, pytest.raises(BadHttpError, match="SSH-2"):
        Ranges(transport, patience=QUICK).fetch(Location(f"{url}/a.npy"), MemorySink(1000), CancelToken())


def test_what_does_not_answer_in_tls_is_a_broken_answer(transport: HttpTransport) -> None:
    with (
        raw_server(SSH, waits=False) as url,
        pytest.raises(BrokenAnswerError, match="does not answer in TLS") as caught,
    ):
        location = Location(url.replace("http:", "https:") + "/a.npy")
        Ranges(transport, patience=QUICK).fetch(location, MemorySink(1000), CancelToken())
    assert errno_of(caught.value) == errno.EIO


def test_a_server_that_does_not_speak_http_is_asked_last_by_the_next_files(transport: HttpTransport) -> None:
    health = LocationHealth(Outages())
    with raw_server(SSH) as url:
        location = Location(f"{url}/a.npy")
        with pytest.raises(BadHttpError):
            Ranges(transport, health, QUICK).fetch(location, MemorySink(1000), CancelToken())
    assert health.is_skipped(location)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Le"])
def test_a_connection_that_ends_before_the_answer_is_a_server_that_is_not_there(
    transport: HttpTransport, said: bytes
) -> None:
    with raw_server(said) as url, pytest.raises(UnreachableError):
        Ranges(transport, patience=QUICK).fetch(Location(f"{url}/a.npy"), MemorySink(1000), CancelToken())


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.0 200 OK\n\nabc",
        OK + b"content-length:3\r\nX-Empty:\r\n\r\nabc",
        OK + b"Content-Length: 3, 3\r\n\r\nabc",
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200\r\nContent-Length: 3\r\n\r\nabc",
        OK + b"Transfer-Encoding: Chunked\r\n\r\n2;a=b\r\nab\r\n01\r\nc\r\n0\r\nX: y\r\n\r\n",
        OK + b"Content-Length: 3\r\n\r\nabcdef",
    ],
)
def test_unusual_answers_are_read(transport: HttpTransport, said: bytes) -> None:
    with raw_server(said) as url:
        sink = MemorySink(1000)
        Ranges(transport, patience=QUICK).fetch(Location(f"{url}/a.npy"), sink, CancelToken())
    assert sink.content == b"abc"
