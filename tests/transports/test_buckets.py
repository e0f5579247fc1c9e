"""Objects of buckets over HTTP: signed and not, from a real S3 server, and what its refusals tell."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from s3_service import NO_ROLE, S3Service, shared_service
from servers import Fault, FaultServer
from waiting import PATIENCE_S

from onefs.alf import archive_path
from onefs.errors import (
    AccessRefusedError,
    BrokenAnswerError,
    MissingOnServerError,
    NoKeysError,
    OnefsError,
    OverloadedError,
)
from onefs.transports.archive import ArchiveServer, bucket_server
from onefs.transports.buckets import Bucket, refusal
from onefs.transports.http import HttpTransport
from onefs.transports.keys import FoundKeys, GivenKeys, Keys

ID = UUID("8b7a5f80-4c3f-4d52-9c0f-35f9b7a2f1aa")
PATH = "lab/Subjects/KS 1/2020-01-01/001/alf/#2024-05-06#/a+b(c)~d.b.npy"
PREFIX = "some prefix/ü"
DATA = bytes(range(256)) * 40
SECRET = "wJalrXUtnFEMI-very-secret"
REGION = "<Region>eu-south-2</Region>"
STRANGER = Keys("AKIDNOBODYKNOWS", SECRET)


@pytest.fixture(scope="module")
def service() -> S3Service:
    service = shared_service()
    service.put("private", f"{PREFIX}/{archive_path(PATH, ID)}", DATA)
    service.put("my.private", f"{PREFIX}/{archive_path(PATH, ID)}", DATA)
    service.put("public", f"{PREFIX}/{archive_path(PATH, ID)}", DATA, is_public=True)
    return service


@pytest.fixture
def lax(service: S3Service) -> Iterator[S3Service]:
    """The service while it lets anybody have what is public."""
    service.let_in(anybody=True)
    yield service
    service.let_in(anybody=False)


@pytest.fixture
def http() -> Iterator[HttpTransport]:
    transport = HttpTransport(connect_timeout_s=PATIENCE_S, read_timeout_s=PATIENCE_S, max_connections=4)
    yield transport
    transport.close()


@pytest.fixture(autouse=True)
def no_keys_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in NO_ROLE.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)


def read(
    http: HttpTransport, server: ArchiveServer, start: int = 0, edition: str = "", end: int | None = None
) -> bytes:
    with http.open(server.location(PATH, ID), start, edition, end) as body:
        return b"".join(body.chunks)


def refused(http: HttpTransport, server: ArchiveServer, kind: type[OnefsError] = AccessRefusedError) -> OnefsError:
    with pytest.raises(kind) as caught:
        read(http, server)
    assert type(caught.value) is kind
    assert SECRET not in repr(caught.value)
    return caught.value


@pytest.mark.parametrize("bucket", ["private", "my.private"])
def test_a_signed_request_gives_the_object(service: S3Service, http: HttpTransport, bucket: str) -> None:
    assert read(http, bucket_server(bucket, "us-east-1", PREFIX, service.url, GivenKeys(service.keys))) == DATA


def test_parts_of_one_edition(service: S3Service, http: HttpTransport) -> None:
    service.put("changing", f"{PREFIX}/{archive_path(PATH, ID)}", DATA)
    server = bucket_server("changing", "eu-west-1", PREFIX, service.url, GivenKeys(service.keys))
    with http.open(server.location(PATH, ID)) as body:
        edition = body.edition
    with http.open(server.location(PATH, ID), 100, edition, 300) as body:
        assert (body.start, body.is_part, body.total_bytes) == (100, True, len(DATA))
        assert b"".join(body.chunks) == DATA[100:300]
    service.put("changing", f"{PREFIX}/{archive_path(PATH, ID)}", b"another edition")
    with http.open(server.location(PATH, ID), 5, edition) as body:
        assert (body.start, b"".join(body.chunks)) == (0, b"another edition")


def test_a_signature_is_made_for_each_request(service: S3Service, http: HttpTransport) -> None:
    with FaultServer() as spy:
        path = f"/bucket/{archive_path(PATH, ID)}"
        spy.put(path, DATA)
        spy.fault(path, Fault(cut_after=100, times=1))
        server = bucket_server("bucket", "", "", spy.url, GivenKeys(service.keys))
        with pytest.raises(BrokenAnswerError):
            read(http, server)
        assert read(http, server, 100) == DATA[100:]
        signed = [headers["authorization"] for headers in spy.headers(path)]
        assert all(each.startswith(f"AWS4-HMAC-SHA256 Credential={service.keys.access_key}/") for each in signed)
        assert len(signed) == 2
        assert not any(SECRET in str(headers) for headers in spy.headers(path))


def test_wrong_keys_are_told_from_each_other(service: S3Service, http: HttpTransport) -> None:
    wrong_secret = GivenKeys(Keys(service.keys.access_key, SECRET))
    error = refused(http, bucket_server("private", "us-east-1", PREFIX, service.url, wrong_secret))
    assert "the secret key does not belong to the access key" in error.reason
    error = refused(http, bucket_server("private", "us-east-1", PREFIX, service.url, GivenKeys(STRANGER)))
    assert "does not know the access key" in error.reason
    assert "database's maintainers" in error.remedy


def test_what_is_missing_is_told(service: S3Service, http: HttpTransport) -> None:
    ring = GivenKeys(service.keys)
    refused(http, bucket_server("private", "us-east-1", "elsewhere", service.url, ring), MissingOnServerError)
    error = refused(http, bucket_server("absent", "us-east-1", PREFIX, service.url, ring), MissingOnServerError)
    assert "has no bucket absent" in error.reason


def test_a_public_bucket_needs_no_keys_nor_any_library(
    lax: S3Service, http: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "botocore", None)
    assert read(http, bucket_server("public", "us-east-1", PREFIX, lax.url)) == DATA
    found = FoundKeys()
    assert read(http, bucket_server("public", "us-east-1", PREFIX, lax.url, found, signs_all=False)) == DATA
    error = refused(http, bucket_server("private", "us-east-1", PREFIX, lax.url, found, signs_all=False), NoKeysError)
    assert "wants keys, but requests cannot be signed, as botocore is not installed." in error.reason
    assert "onefs[s3]" in error.remedy
    error = refused(http, bucket_server("private", "us-east-1", PREFIX, lax.url, GivenKeys(lax.keys)), NoKeysError)
    assert "onefs[s3]" in error.remedy


def test_keys_are_looked_for_only_when_a_bucket_wants_them(
    service: S3Service, http: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = bucket_server("private", "us-east-1", PREFIX, service.url, FoundKeys(), signs_all=False)
    error = refused(http, server)
    assert "does not let it be read without keys" in error.reason
    assert "AWS_ACCESS_KEY_ID" in error.remedy
    for name, value in service.environment(service.keys).items():
        monkeypatch.setenv(name, value)
    server = bucket_server("private", "us-east-1", PREFIX, service.url, FoundKeys(), signs_all=False)
    assert read(http, server) == DATA
    sent = http.requests_sent
    assert read(http, server) == DATA
    assert http.requests_sent == sent + 1
    server = bucket_server("private", "us-east-1", PREFIX, service.url, FoundKeys("mine"), signs_all=True)
    assert "profile (mine) could not be found" in refused(http, server, NoKeysError).reason


def test_keys_that_were_renewed_are_found(
    service: S3Service, http: HttpTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, now_s = tmp_path / "credentials", [0.0]
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))

    def keep(keys: Keys) -> None:
        file.write_text(f"[lab]\naws_access_key_id = {keys.access_key}\naws_secret_access_key = {keys.secret_key}\n")

    keep(STRANGER)
    server = bucket_server("private", "us-east-1", PREFIX, service.url, FoundKeys("lab", clock=lambda: now_s[0]))
    assert "does not know the access key" in refused(http, server).reason
    keep(service.keys)
    now_s[0] += 11
    assert read(http, server) == DATA


def told(status: int, code: str, more: str = "") -> Fault:
    return Fault(status=status, text=f"<Error><Code>{code}</Code><Message>…</Message>{more}</Error>")


@pytest.mark.parametrize(
    ("fault", "kind", "reason", "remedy"),
    [
        (told(403, "RequestTimeTooSkewed"), AccessRefusedError, "this machine's clock is wrong", "Set its clock."),
        (told(400, "ExpiredToken"), AccessRefusedError, "their time is over", "login"),
        (told(400, "InvalidToken"), AccessRefusedError, "session token is not valid", "login"),
        (
            told(403, "AccessDenied"),
            AccessRefusedError,
            "does not let these keys read it, or does not have it",
            "maintainers",
        ),
        (told(301, "PermanentRedirect"), BrokenAnswerError, "answered 301 PermanentRedirect", "--s3-endpoint"),
        (told(503, "SlowDown"), OverloadedError, "answered 503", "later"),
    ],
    ids=lambda value: value.text if isinstance(value, Fault) else "",
)
def test_each_refusal_has_its_sentence(
    http: HttpTransport, fault: Fault, kind: type[OnefsError], reason: str, remedy: str
) -> None:
    with FaultServer() as server:
        server.fault(f"/bucket/{archive_path(PATH, ID)}", fault)
        error = refused(http, bucket_server("bucket", "", "", server.url, GivenKeys(STRANGER)), kind)
        assert reason in error.reason
        assert error.reason.startswith(server.url.removeprefix("http://"))
        assert remedy in error.remedy


def test_another_region_is_learned_from_the_service(http: HttpTransport) -> None:
    with FaultServer() as server:
        path = f"/bucket/{archive_path(PATH, ID)}"
        server.put(path, DATA)
        server.fault(path, replace(told(400, "AuthorizationHeaderMalformed", REGION), times=1))
        asked = bucket_server("bucket", "us-east-1", "", server.url, GivenKeys(STRANGER))
        assert read(http, asked) == read(http, asked) == DATA
        scopes = [headers["authorization"].split("/")[2] for headers in server.headers(path)]
        assert scopes == ["us-east-1", "eu-south-2", "eu-south-2"]


def test_a_region_that_a_header_tells_moves_the_request_there() -> None:
    bucket = Bucket("mine", "us-east-1")
    asked = bucket.asking(f"{bucket.url}/data/%23a%23/b.npy")
    moved = bucket.further(asked, refusal(301, {"x-amz-bucket-region": "eu-south-2"}, b""))
    assert moved is not None
    assert moved.url == "https://mine.s3.eu-south-2.amazonaws.com/data/%23a%23/b.npy"
    assert bucket.asking(asked.url) == moved
    assert bucket.further(moved, refusal(301, {"x-amz-bucket-region": "eu-south-2"}, b"")) is None
    assert bucket.further(moved, refusal(301, {"x-amz-bucket-region": "evil.example/"}, b"")) is None


def test_no_signature_follows_a_redirection_to_another_server(http: HttpTransport) -> None:
    with FaultServer() as first, FaultServer() as other:
        other.put("/file", DATA)
        first.fault(f"/bucket/{archive_path(PATH, ID)}", Fault(redirect=f"{other.url}/file"))
        assert read(http, bucket_server("bucket", "", "", first.url, GivenKeys(STRANGER))) == DATA
        assert not any(name.startswith(("authorization", "x-amz")) for name in other.headers("/file")[0])
