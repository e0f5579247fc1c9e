"""An archive in a private bucket, mounted as s3://bucket/prefix, with keys as the AWS tools find them."""

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from alyx_archive import AlyxArchive
from archives import MADE_SESSION, make_tables, on_servers
from mounted import Mounted, run_onefs
from s3_service import S3Service, shared_service

from onefs.alf import archive_path
from onefs.demo.database_file import DatabaseFile, default_repositories
from onefs.demo.server import DemoServer
from onefs.transports.keys import Keys

NAME = "alf/#2024-05-06#/a b+c.times.npy"
LARGE = "raw/large.data.bin"
FILES = {NAME: b"spikes", LARGE: bytes(range(256)) * 4096}
PREFIX = "some prefix/of it"
SOURCE = f"s3://private/{PREFIX}"
WRONG = Keys("AKIDNOBODYKNOWS", "x")
NEVER_SHOWN = (b"AWS4-HMAC", b"X-Amz-", b"Signature=")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> S3Service:
    folder = tmp_path_factory.mktemp("bucket")
    for dataset in make_tables(folder, FILES).values():
        file = folder / archive_path(dataset.path, dataset.id)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(FILES[dataset.rel_path])
    (folder / "cache_info.json").write_text(json.dumps({"date_created": "2024-01-03 00:00"}))
    service = shared_service()
    service.put_folder("private", PREFIX, folder)
    return service


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
        told = ("status", "status.json", "metrics", "errors", "control")
        shown = b"".join((mount.path / ".onefs" / name).read_bytes() for name in told)
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    secrets = [service.keys.access_key.encode(), service.keys.secret_key.encode(), *NEVER_SHOWN]
    assert not [secret for text in (shown, *kept) for secret in secrets if secret in text]


def test_a_mount_with_wrong_keys_says_which_and_what_to_do(service: S3Service, tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    wrong_secret = Keys(service.keys.access_key, "not-the-secret")
    done = run_onefs("mount", SOURCE, tmp_path / "mnt", "--s3-endpoint", service.url, "--cache-dir", tmp_path / "cache",
                     **service.environment(wrong_secret))  # fmt: skip
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
    keep(WRONG)
    with Mounted(SOURCE, tmp_path, "--s3-endpoint", service.url, **environment) as mount:
        mount.may_log_errors = True
        with pytest.raises(PermissionError):
            (mount.path / MADE_SESSION / LARGE).read_bytes()
        assert "AKID" not in mount.errors()
        assert "~/.aws" in mount.errors()


def test_a_bucket_gets_a_name(service: S3Service, tmp_path: Path) -> None:
    environment = {**service.environment(service.keys), "XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)}
    flags = ("--url", SOURCE, "--s3-endpoint", service.url, "--no-input")
    done = run_onefs("setup", "mine", *flags, **environment)
    assert done.returncode == 0, done.stderr
    saved = (tmp_path / "onefs" / "mine.toml").read_text()
    assert SOURCE in saved
    assert service.url in saved
    assert service.keys.secret_key not in saved
    done = run_onefs("doctor", "mine", "--cache-dir", tmp_path / "cache", **environment)
    assert done.returncode == 0, done.stdout
    done = run_onefs("setup", "other", *flags, **{**environment, **service.environment(WRONG)})
    assert done.returncode == 1
    assert "does not know the access key" in done.stderr
    assert not (tmp_path / "onefs" / "other.toml").exists()


class TestDatabase:
    """A database that has keys for one of its buckets, in which a file is that no other place has."""

    PATH = "lab/Subjects/mouse/2024-01-02/001/alf/a.times.npy"

    @pytest.fixture
    def alyx(self, service: S3Service, tmp_path: Path) -> Iterator[DemoServer]:
        archive = AlyxArchive(tmp_path / "archive")
        dataset = archive.put(self.PATH, b"spikes")
        archive.publish()
        archive.file(self.PATH).unlink()
        service.put("of.alyx", f"data{on_servers(dataset)}", b"spikes")
        keys = {"Access key ID": service.keys.access_key, "Secret access key": service.keys.secret_key}
        bucket, server = default_repositories(["lab"])[:2]
        bucket = replace(bucket, data_url=None, json={"bucket_name": "of.alyx", "endpoint_url": service.url, **keys})
        DatabaseFile(repositories=[bucket, server]).write(archive.directory)
        with DemoServer(archive.directory) as alyx:
            yield alyx

    @pytest.fixture
    def environment(self, tmp_path: Path, service: S3Service) -> dict[str, str]:
        home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "xdg")}
        return {**service.environment(None), **home, "ONEFS_ALYX_USER": "demo", "ONEFS_ALYX_PASSWORD": "demo",
                "ONEFS_DATA_USER": "demo", "ONEFS_DATA_PASSWORD": "demo"}  # fmt: skip

    def test_is_mounted_and_its_keys_are_kept_nowhere_but_among_its_answers(
        self, alyx: DemoServer, service: S3Service, environment: dict[str, str], tmp_path: Path
    ) -> None:
        with Mounted(alyx.url, tmp_path, "--log", "debug", **environment) as mount:
            assert (mount.path / self.PATH).read_bytes() == b"spikes"
            assert mount.xattr(self.PATH, "source").startswith(f"{service.url}/of.alyx/data/lab/Subjects/")
            log = mount.log()
        secrets = [service.keys.access_key, service.keys.secret_key]
        assert not [secret for secret in secrets if secret in log]
        kept = [path for path in tmp_path.rglob("*") if path.is_file() and tmp_path / "archive" not in path.parents]
        telling = [path for path in kept if any(secret.encode() in path.read_bytes() for secret in secrets)]
        assert {path.name.partition("-")[0] for path in telling} == {"responses.sqlite"}
        assert {stat.S_IMODE(path.stat().st_mode) for path in telling} == {0o600}

    def test_doctor_fetches_a_file_from_the_bucket_and_says_if_nothing_can_sign(
        self, alyx: DemoServer, service: S3Service, environment: dict[str, str], tmp_path: Path
    ) -> None:
        def found(**more: str) -> dict[str, dict[str, str]]:
            done = run_onefs("doctor", alyx.url, "--cache-dir", tmp_path / "cache", "--json", **environment, **more)
            return {each["check"]: each for each in json.loads(done.stdout)}

        assert "came whole and verified" in found()["aws_lab"]["says"]
        (tmp_path / "lacking").mkdir()
        (tmp_path / "lacking" / "sitecustomize.py").write_text("import sys\nsys.modules['botocore'] = None\n")
        lacking = {"PYTHONPATH": f"{tmp_path / 'lacking'}:{os.environ.get('PYTHONPATH', '')}"}
        row = found(**lacking)["aws_lab"]
        assert not row["is_well"]
        assert "botocore is not installed" in row["says"]
        assert "onefs[s3]" in row["remedy"]
        done = run_onefs("setup", "mine", "--url", alyx.url, "--no-input", **environment, **lacking)
        assert done.returncode == 0, done.stderr
        assert "aws_lab: read with keys, and botocore, which signs, is not installed." in done.stderr


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
