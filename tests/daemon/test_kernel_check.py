"""What `onefs doctor` says of the kernel: for a mount what the mount says, else what a mount here would have."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from archives import make_tables
from mounted import Mounted
from privileges import as_ordinary_user, is_root

from onefs.daemon import doctor, kernel_check
from onefs.daemon.kernel_check import of_machine, of_mount
from onefs.fuse import mounting
from onefs.fuse.mounting import Mount
from onefs.settings import Settings

SERVED = {"adapter": "session", "protocol": "7.45", "passthrough": "active", "kept_listings": "active"}


def folder_that_says(home: Path, kernel: object) -> Mount:
    """A folder that shows such facts as a mount does."""
    (home / ".onefs").mkdir()
    (home / ".onefs" / "status.json").write_text(json.dumps({"kernel": kernel}))
    return Mount(home, "source", mounting.NO_DEVICE)


def test_a_mount_says_how_it_is_served(tmp_path: Path) -> None:
    make_tables(tmp_path / "tables", {"alf/a.b.npy": b"x"})
    with Mounted(tmp_path / "tables", tmp_path) as mount:
        kernel = mount.status()["kernel"]
        (mine,) = [each for each in mounting.mounts() if each.mountpoint == mount.path]
        said = of_mount(mine)
    assert said.startswith(f"{mount.path}: {kernel['adapter']}")
    for feature, name in (("passthrough", "Passthrough is"), ("kept_listings", "Kept listings are")):
        state = "active." if kernel[feature] == "active" else f"off: {kernel[feature]}"
        assert f"{name} {state}" in said
    assert f"Read-ahead is {kernel['read_ahead_kib']} KiB" in said
    assert "root could" not in said or not is_root()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"read_ahead_kib": 512},
            "session, FUSE 7.45. Passthrough is active. Kept listings are active. Read-ahead is 512 KiB.",
        ),
        ({"read_ahead_kib": 128}, "Read-ahead is 128 KiB; root could set 512 KiB."),
        ({"read_ahead_kib": None}, "Kept listings are active."),
        ({"read_ahead_kib": 512, "passthrough": "It is shared."}, "Passthrough is off: It is shared. Kept"),
        ({"read_ahead_kib": 512, "protocol": None}, "session. Passthrough"),
    ],
)  # fmt: skip
def test_what_a_mount_says_in_words(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    assert said in of_mount(folder_that_says(tmp_path, {**SERVED, **changes}))


@pytest.mark.parametrize("kernel", [None, [], {}, "text", {"adapter": "session"}])
def test_what_calls_itself_a_mount_and_says_something_else_is_left_out(tmp_path: Path, kernel: object) -> None:
    assert of_mount(folder_that_says(tmp_path, kernel)) == ""


def test_a_folder_that_says_nothing_is_left_out(tmp_path: Path) -> None:
    assert of_mount(Mount(tmp_path, "source", mounting.NO_DEVICE)) == ""


def with_release(monkeypatch: pytest.MonkeyPatch, release: str) -> None:
    names = list(os.uname())
    names[2] = release
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(names))


@pytest.mark.needs_root
@pytest.mark.parametrize(
    ("release", "settings", "said"),
    [
        ("6.9.0", {}, "Linux 6.9.0. Passthrough is possible. Kept listings are possible. Read-ahead is 512 KiB."),
        ("6.8.12", {}, "Passthrough is off: The kernel does not offer it: that takes Linux 6.9"),
        ("4.19.0-27-amd64", {}, "Kept listings are off: It takes Linux 4.20. Read"),
        ("6.18.1", {"run_as": "onefs"}, "Passthrough is off: The setting run_as"),
        ("6.18.1", {"record": True}, "Passthrough is off: Reads are recorded"),
        ("6.18.1", {"verify": "warn"}, "Passthrough is off: The setting verify = warn"),
        ("6.18.1", {"passthrough": "off"}, "Passthrough is off: The setting passthrough is off. Kept"),
        ("6.18.1", {"verify": "strict"}, "Passthrough is possible."),
        ("6.18.1", {"kernel_adapter": "pyfuse3"}, "Kept listings are off: The setting kernel_adapter is pyfuse3"),
    ],
)
def test_what_a_mount_here_would_have(
    monkeypatch: pytest.MonkeyPatch, release: str, settings: dict[str, Any], said: str
) -> None:
    with_release(monkeypatch, release)
    assert said in of_machine(Settings(**settings))


def test_who_lacks_the_right_has_no_passthrough(monkeypatch: pytest.MonkeyPatch) -> None:
    with_release(monkeypatch, "6.18.1")
    said = as_ordinary_user(kernel_check.of_machine, Settings())
    assert "Passthrough is off: The daemon lacks the right" in said
    assert "Read-ahead is what the kernel sets" in said


def test_doctor_tells_of_the_machine_where_no_mount_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounting, "mounts", list)
    (found,) = [finding for finding in doctor.examine(None, Settings()) if finding.check == "kernel"]
    assert found.is_well
    assert found.says == of_machine(Settings())
