"""The lists of labs and repositories that are kept on disk: private, whole, and never trusted when damaged."""

import os
import random
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from onefs.alyx.records import Lab, Repository
from onefs.sources.kept_places import KeptPlaces, PlaceLists

URL = "https://alyx.example.org"
LISTS = PlaceLists(
    [Lab("lab", "an institute", "UTC", ("aws_lab", "server_lab")), Lab("läb", "", "", ())],
    [
        Repository("aws_lab", "", "/data", False, "bucket", "us-east-1", "", "", ""),
        Repository("server_lab", "https://files.example.org/lab/", "/lab", False, "", "", "", "", ""),
    ],
)


@pytest.fixture
def kept(tmp_path: Path) -> KeptPlaces:
    kept = KeptPlaces(tmp_path, URL)
    kept.write(LISTS)
    return kept


def the_file(tmp_path: Path) -> Path:
    (file,) = tmp_path.iterdir()
    return file


def test_lists_come_back_as_they_were_written(kept: KeptPlaces, tmp_path: Path) -> None:
    assert kept.read() == LISTS
    kept.write(replaced := PlaceLists(LISTS.labs[:1], []))
    assert KeptPlaces(tmp_path, URL).read() == replaced
    assert KeptPlaces(tmp_path, "https://another.example.org").read() is None
    assert KeptPlaces(tmp_path / "nowhere", URL).read() is None


def test_private_buckets_are_left_out_with_their_keys(kept: KeptPlaces, tmp_path: Path) -> None:
    secrets = {"access_key": "AKIDEXAMPLE", "secret_key": "very secret"}
    private = [replace(LISTS.repositories[0], name="private", **{name: key}) for name, key in secrets.items()]
    kept.write(PlaceLists(LISTS.labs, [*LISTS.repositories, *private]))
    assert kept.read() == LISTS
    text = the_file(tmp_path).read_text()
    assert not [secret for secret in secrets.values() if secret in text]


def test_the_file_is_for_this_user_alone(kept: KeptPlaces, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        kept.write(LISTS)
    finally:
        os.umask(before)
    assert stat.S_IMODE(the_file(tmp_path).stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o660, 0o604, 0o666])
def test_a_file_that_others_could_write_or_read_is_not_used(kept: KeptPlaces, tmp_path: Path, mode: int) -> None:
    """Logins are sent to the servers that it names."""
    the_file(tmp_path).chmod(mode)
    assert kept.read() is None
    kept.write(LISTS)
    assert kept.read() == LISTS


def test_anothers_file_is_not_used(kept: KeptPlaces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = the_file(tmp_path)
    target = file.rename(tmp_path / "elsewhere")
    file.symlink_to(target)
    assert kept.read() is None
    file.unlink()
    target.rename(file)
    monkeypatch.setattr(os, "geteuid", lambda: file.stat().st_uid + 1)
    assert kept.read() is None


def test_a_pipe_in_its_place_is_not_waited_for(kept: KeptPlaces, tmp_path: Path) -> None:
    file = the_file(tmp_path)
    file.unlink()
    os.mkfifo(file, 0o600)
    assert kept.read() is None
    kept.write(LISTS)
    assert kept.read() == LISTS


def test_a_damaged_file_is_ignored_and_written_anew(kept: KeptPlaces, tmp_path: Path) -> None:
    file = the_file(tmp_path)
    whole = file.read_bytes()
    chance = random.Random(22)
    for damaged in [
        b"", b"\0" * len(whole), b"[" * 100_000, b"[]", b"3", b'{"database": 3}', b"{}", whole.replace(b"false", b"0"),
        whole.replace(b'"bucket": "bucket"', b'"bucket": ["bucket"]'), whole.replace(b'["aws_lab"', b"[[]"),
        *(whole[: chance.randrange(len(whole))] for _ in range(50)),
        *(with_another_byte(whole, chance) for _ in range(200)),
    ]:  # fmt: skip
        file.write_bytes(damaged)
        assert kept.read() in ((LISTS, None) if len(damaged) == len(whole) else (None,)), damaged
        kept.write(LISTS)
        assert kept.read() == LISTS


def with_another_byte(data: bytes, chance: random.Random) -> bytes:
    """Another space between two values means nothing, and every other byte does."""
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ chance.randrange(1, 256)]) + data[at + 1 :]


def test_a_place_that_cannot_be_written_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    KeptPlaces(tmp_path / "state", URL).write(LISTS)
    assert KeptPlaces(tmp_path / "state", URL).read() is None
