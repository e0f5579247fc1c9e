"""An archive in a private bucket, mounted as s3://bucket/prefix, with keys as the AWS tools find them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from archives import MADE_SESSION, make_tables
from mounted import Mounted, run_onefs
from s3_service import S3Service

from onefs.alf import archive_path
from onefs.transports.keys import Keys

NAME = "alf/#2024-05-06#/a b+c.times.npy"
LARGE = "raw/large.data.bin"
FILES = {NAME: b"spikes", LARGE: bytes(range(256)) * 4096}
PREFIX = "some prefix/of it"
SOURCE = f"s3://private/{PREFIX}"
NEVER_SHOWN = (b"AWS4-HMAC", b"X-Amz-", b"Signature=")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Service]:
    folder = tmp_path_factory.mktemp("bucket")
    for dataset in make_tables(folder, FILES).values():
        file = folder / archive_path(dataset.path, dataset.id)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(FILES[dataset.rel_path])
    (folder / "cache_info.json").write_text(json.dumps({"date_created": "2024-01-03 00:00"}))
    with S3Service() as service:
        service.put_folder("private", PREFIX, folder)
        yield service


def test_it_is_mounted_and_read_whole_and_by_blocks_and_nothing_secret_is_kept(
    service: S3Service, tmp_path: Path
) -> None:
    flags = ("--s3-endpoint", service.url, "--whole-file-max", "64K", "--block-size", "64K", "--log", "debug")
    with Mounted(SOURCE, tmp_path, *flags, **service.environment(service.keys)) as mount:
        session = mount.path / MADE_SESSION
        with (session / LARGE).open("rb") as stream:
            stream.seek(500_000)
            assert stream.read(10) == FILES[LARGE][500_000:500_010]
            assert mount.xattr(f"{MADE_SESSION}/{LARGE}", "state") in ("partial", "fetching")
        assert {name: (session / name).read_bytes() for name in FILES} == FILES
        assert mount.xattr(f"{MADE_SESSION}/{NAME}", "state") == "verified"
        assert mount.xattr(f"{MADE_SESSION}/{NAME}", "source").startswith(f"{service.url}/private/some%20prefix/")
        assert mount.status()["source"] == SOURCE
        shown = b"".join((mount.path / ".onefs" / name).read_bytes() for name in ("status", "status.json", "errors"))
        shown += (mount.path / ".onefs" / "control").read_bytes()
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    secrets = [service.keys.access_key.encode(), service.keys.secret_key.encode(), *NEVER_SHOWN]
    assert not [secret for text in (shown, *kept) for secret in secrets if secret in text]


def test_a_mount_with_wrong_keys_says_which_and_what_to_do(service: S3Service, tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    wrong = Keys(service.keys.access_key, "not-the-secret")
    done = run_onefs("mount", SOURCE, tmp_path / "mnt", "--s3-endpoint", service.url, "--cache-dir", tmp_path / "cache",
                     **service.environment(wrong))  # fmt: skip
    assert done.returncode == 1
    assert "the secret key does not belong to the access key" in done.stderr
    assert "AWS_SECRET_ACCESS_KEY" in done.stderr
    assert "not-the-secret" not in done.stderr


def test_keys_that_do_not_hold_any_more_are_told_where_the_file_is_opened(service: S3Service, tmp_path: Path) -> None:
    file = tmp_path / "credentials"

    def keep(keys: Keys) -> None:
        file.write_text(
            f"[default]\naws_access_key_id = {keys.access_key}\naws_secret_access_key = {keys.secret_key}\n"
        )

    keep(service.keys)
    environment = {**service.environment(None), "AWS_SHARED_CREDENTIALS_FILE": str(file)}
    with Mounted(SOURCE, tmp_path, "--s3-endpoint", service.url, **environment) as mount:
        assert (mount.path / MADE_SESSION / NAME).read_bytes() == FILES[NAME]
    keep(Keys("AKIDNOBODYKNOWS", "x"))
    with Mounted(SOURCE, tmp_path, "--s3-endpoint", service.url, **environment) as mount:
        mount.may_log_errors = True
        with pytest.raises(PermissionError):
            (mount.path / MADE_SESSION / LARGE).read_bytes()
        assert "AKID" not in mount.errors()
        assert "~/.aws" in mount.errors()


def doctor(source: str, service: S3Service, home: Path, keys: Keys | None) -> dict[str, tuple[bool, str]]:
    """What `onefs doctor` finds, by check."""
    done = run_onefs("doctor", source, "--s3-endpoint", service.url, "--cache-dir", home / "cache", "--json",
                     **service.environment(keys))  # fmt: skip
    return {
        found["check"]: (found["is_well"], f"{found['says']} {found['remedy']}") for found in json.loads(done.stdout)
    }


def test_what_doctor_says_of_a_private_bucket(service: S3Service, tmp_path: Path) -> None:
    found = doctor(SOURCE, service, tmp_path, service.keys)
    assert {check: is_well for check, (is_well, _) in found.items() if check in ("keys", "tables", "download")} == {
        "keys": True,
        "tables": True,
        "download": True,
    }
    found = doctor(SOURCE, service, tmp_path, None)
    assert found["keys"] == (True, "There are none, which is right if the bucket wants none. ")
    is_well, says = found["download"]
    assert not is_well
    assert "does not let it be read without keys" in says
    assert "AWS_ACCESS_KEY_ID" in says
