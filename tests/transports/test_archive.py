"""The addresses of an archive's files on data servers and in buckets."""

from uuid import UUID

import pytest

from onefs.errors import UsageError
from onefs.transports.archive import ArchiveServer, bucket_server
from onefs.transports.base import Login

DATASET = UUID("8b7a5f80-4c3f-4d52-9c0f-35f9b7a2f1aa")
PATH = "lab/Subjects/KS 1/2020-01-01/001/alf/#2024-05-06#/a.b.npy"
ENCODED = f"lab/Subjects/KS%201/2020-01-01/001/alf/%232024-05-06%23/a.b.{DATASET}.npy"


@pytest.mark.parametrize(
    ("bucket", "region", "prefix", "endpoint", "base"),
    [
        ("public", "us-east-1", "data", "", "https://public.s3.us-east-1.amazonaws.com/data"),
        ("public", "us-east-1", "/data/more/", "", "https://public.s3.us-east-1.amazonaws.com/data/more"),
        ("public", "eu-west-1", "", "", "https://public.s3.eu-west-1.amazonaws.com"),
        ("public", "", "data", "", "https://public.s3.amazonaws.com/data"),
        ("public", "cn-north-1", "", "", "https://public.s3.cn-north-1.amazonaws.com.cn"),
        ("my.own.public", "us-east-1", "d", "", "https://s3.us-east-1.amazonaws.com/my.own.public/d"),
        ("public", "us-east-1", "data", "http://127.0.0.1:9000/", "http://127.0.0.1:9000/public/data"),
        ("public", "us-east-1", "#a b", "https://s3.example/x", "https://s3.example/x/public/%23a%20b"),
    ],
)
def test_bucket_addresses(bucket: str, region: str, prefix: str, endpoint: str, base: str) -> None:
    location = bucket_server(bucket, region, prefix, endpoint).location(PATH, DATASET)
    assert location.url == f"{base}/{ENCODED}"
    assert location.login is None


@pytest.mark.parametrize(
    ("bucket", "region", "endpoint"),
    [
        ("", "us-east-1", ""),
        ("evil.example/x", "us-east-1", ""),
        ("user@evil.example", "us-east-1", ""),
        ("public", "us-east-1.evil.example/", ""),
        ("public", "us-east-1", "s3.example"),
        ("public", "us-east-1", "file:///etc"),
    ],
)
def test_what_cannot_be_a_bucket_is_refused(bucket: str, region: str, endpoint: str) -> None:
    with pytest.raises(UsageError):
        bucket_server(bucket, region, "data", endpoint)


def test_login_in_an_address_is_taken_out_of_it() -> None:
    server = ArchiveServer("https://me:s%40e@data.example/public/")
    assert server.base_url == "https://data.example/public"
    location = server.location(PATH, DATASET)
    assert location.url == f"https://data.example/public/{ENCODED}"
    assert location.login == Login("me", "s@e")
