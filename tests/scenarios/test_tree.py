"""What the tree promises to any program: attributes, inode numbers, read-only, absent names, attributes, df."""

import errno
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from archives import ODD_SESSION, PASSWORD, RECORDINGS, held_rows
from mounted import Mounted
from privileges import is_root

SESSION = "cortexlab/Subjects/KS014/2020-07-01/001"
FILE = f"{SESSION}/alf/_ibl_wheel.position.npy"


def test_modes_owner_and_times(shared: Mounted) -> None:
    file, folder = (shared.path / FILE).stat(), (shared.path / SESSION).stat()
    assert stat.filemode(file.st_mode) == "-rw-r--r--"
    assert stat.filemode(folder.st_mode) == "drwxr-xr-x"
    control = {name: stat.filemode((shared.path / ".onefs" / name).stat().st_mode) for name in ("", "README", "mode")}
    assert stat.filemode((shared.path / "datasets.pqt").stat().st_mode) == "-rw-r--r--"
    assert control == {"": "drwxr-xr-x", "README": "-r--r--r--", "mode": "-rw-r--r--"}
    assert (file.st_uid, file.st_gid) == (os.getuid(), os.getgid())
    assert file.st_mtime == folder.st_mtime == 1593561600  # 2020-07-01
    revised = shared.path / SESSION / "alf/#2025-03-03#/_ibl_trials.table.pqt"
    assert revised.stat().st_mtime == 1740960000  # the revision's date


def test_blocks_tell_what_is_in_the_cache(recorded: Mounted) -> None:
    path = recorded.path / FILE
    assert path.stat().st_blocks == 0
    size = len(path.read_bytes())
    assert size <= path.stat().st_blocks * 512 < size + 8192
    apparent = subprocess.run(["du", "-b", "--apparent-size", path], capture_output=True, text=True, check=True)
    assert apparent.stdout.split()[0] == str(size)


def test_inode_numbers_outlive_a_remount(data_server_flags: list[str], tmp_path: Path) -> None:
    def numbers(mount: Mounted) -> dict[str, int]:
        found = {}
        for folder, folders, names in os.walk(mount.path):
            for name in folders + names:
                path = Path(folder) / name
                found[str(path.relative_to(mount.path))] = path.stat().st_ino
        return found

    mount = Mounted(RECORDINGS / "tables", tmp_path, *data_server_flags, ONEFS_DATA_PASSWORD=PASSWORD)
    with mount:
        first = numbers(mount)
    with mount:
        assert numbers(mount) == first
    assert len(set(first.values())) == len(first)


WRITES: dict[str, Callable[[Path], object]] = {
    "open for reading and writing": lambda root: (root / FILE).open("r+b"),
    "open for writing": lambda root: (root / FILE).open("wb"),
    "open for appending": lambda root: (root / FILE).open("ab"),
    "create a file that is there": lambda root: os.open(root / FILE, os.O_WRONLY | os.O_CREAT),
    "truncate": lambda root: os.truncate(root / FILE, 0),
    "create": lambda root: (root / SESSION / "new.txt").open("x"),
    "mkdir": lambda root: (root / SESSION / "new").mkdir(),
    "mknod": lambda root: os.mkfifo(root / SESSION / "new"),
    "unlink": lambda root: (root / FILE).unlink(),
    "rmdir": lambda root: (root / SESSION).rmdir(),
    "rename": lambda root: (root / FILE).rename(root / SESSION / "other.npy"),
    "rename a session": lambda root: (root / SESSION).rename(root / "cortexlab" / "other"),
    "write at the root": lambda root: (root / "new.txt").open("x"),
    "unlink tables": lambda root: (root / "datasets.pqt").unlink(),
    "truncate tables": lambda root: os.truncate(root / "datasets.pqt", 0),
    "create in .onefs": lambda root: (root / ".onefs" / "new").open("x"),
    "unlink a control file": lambda root: (root / ".onefs" / "mode").unlink(),
    "chmod a control file": lambda root: (root / ".onefs" / "mode").chmod(0o600),
    "chmod a directory": lambda root: (root / SESSION).chmod(0o700),
    "symlink": lambda root: (root / SESSION / "link").symlink_to("x"),
    "link": lambda root: os.link(root / FILE, root / SESSION / "link"),
    "chmod": lambda root: (root / FILE).chmod(0o777),
    "chown": lambda root: os.chown(root / FILE, os.getuid(), os.getgid()),
    "utime": lambda root: os.utime(root / FILE),
    "setxattr": lambda root: os.setxattr(root / FILE, "user.note", b"x"),
    "removexattr": lambda root: os.removexattr(root / FILE, "user.onefs.id"),
}


@pytest.mark.parametrize("write", WRITES)
def test_every_write_is_erofs(shared: Mounted, write: str) -> None:
    with pytest.raises(OSError) as failure:
        WRITES[write](shared.path)
    assert failure.value.errno == errno.EROFS
    assert (shared.path / FILE).exists()


def test_what_the_modes_seem_to_allow_is_refused_when_asked(shared: Mounted) -> None:
    for path in (FILE, SESSION, "", "datasets.pqt", ".onefs/README"):
        assert os.access(shared.path / path, os.R_OK)
        assert not os.access(shared.path / path, os.W_OK)
        assert subprocess.run(["test", "-w", shared.path / path], check=False).returncode == 1
    assert os.access(shared.path / ".onefs/mode", os.W_OK)
    assert os.access(shared.path / SESSION, os.X_OK)
    assert not os.access(shared.path / FILE, os.X_OK)


def test_what_is_copied_can_be_changed_and_deleted_by_who_copied_it(shared: Mounted, tmp_path: Path) -> None:
    revision = shared.path / SESSION / "alf/#2025-03-03#"
    for arguments in (["cp", "-r"], ["cp", "-a"]):
        copy = tmp_path / arguments[1]
        subprocess.run([*arguments, revision, copy], check=True)
        assert {stat.S_IMODE(path.stat().st_mode) for path in (copy, *copy.iterdir())} == {0o755, 0o644}


def test_modes_that_are_set(data_server_flags: list[str], tmp_path: Path) -> None:
    flags = (*data_server_flags, "--dir-mode", "0550", "--file-mode", "0555")
    with Mounted(RECORDINGS / "tables", tmp_path, *flags, ONEFS_DATA_PASSWORD=PASSWORD) as mount:
        listed = {entry.name: stat.filemode(entry.stat().st_mode) for entry in os.scandir(mount.path / SESSION / "alf")}
        assert listed[Path(FILE).name] == stat.filemode((mount.path / FILE).stat().st_mode) == "-r-xr-xr-x"
        assert stat.filemode((mount.path / SESSION).stat().st_mode) == "dr-xr-x---"
        assert os.access(mount.path / FILE, os.X_OK)
        for write in ("open for writing", "create", "chmod"):
            test_every_write_is_erofs(mount, write)


def test_absent_names_are_enoent_and_stay_so(shared: Mounted) -> None:
    for name in ("nolab", f"{SESSION}/alf/nothing.npy", f"{SESSION}/../nobody", f"{SESSION}/alf/" + "n" * 255):
        for _ in range(2):
            assert not (shared.path / name).exists()
    with pytest.raises(OSError) as failure:
        (shared.path / ("n" * 256)).stat()
    assert failure.value.errno == errno.ENAMETOOLONG
    with pytest.raises(NotADirectoryError):
        (shared.path / FILE / "x").stat()


def test_extended_attributes_of_a_file(recorded: Mounted) -> None:
    row = next(row for row in held_rows() if row.path == FILE)
    names = os.listxattr(recorded.path / FILE)
    told = {name.removeprefix("user.onefs."): os.getxattr(recorded.path / FILE, name).decode() for name in names}
    assert told["id"] == row.id
    assert told["eid"] == "d6ee68d4-ee19-4c5e-8595-633efeb735ed"
    assert (told["hash"], told["size"], told["qc"]) == (row.md5, str(row.size), row.qc)
    assert (told["revision"], told["state"], told["error"]) == ("", "remote", "")
    assert told["source"].endswith(row.archive_name)
    assert told["default_revision"] in ("true", "false")
    (recorded.path / FILE).read_bytes()
    assert recorded.xattr(FILE, "state") == "verified"


def test_extended_attributes_of_a_session(recorded: Mounted) -> None:
    assert recorded.xattr(SESSION, "eid") == "d6ee68d4-ee19-4c5e-8595-633efeb735ed"
    assert recorded.xattr(SESSION, "projects") == "ibl_neuropixel_brainwide_01"
    assert recorded.xattr(SESSION, "task_protocol") == "_iblrig_tasks_ephysChoiceWorld6.4.2"
    assert int(recorded.xattr(SESSION, "datasets")) > 50
    assert int(recorded.xattr(SESSION, "size")) > 1_000_000
    assert recorded.xattr(SESSION, "cached") == "0"
    size = len((recorded.path / FILE).read_bytes())
    assert int(recorded.xattr(SESSION, "cached")) >= size


def test_foreign_attributes_are_not_supported(shared: Mounted) -> None:
    foreign = ["security.selinux", "system.posix_acl_access"]
    if is_root():
        foreign.append("trusted.x")  # to others the kernel itself answers
    for name in foreign:
        with pytest.raises(OSError) as failure:
            os.getxattr(shared.path / FILE, name)
        assert failure.value.errno == errno.EOPNOTSUPP
    with pytest.raises(OSError) as failure:
        os.getxattr(shared.path / FILE, "user.other")
    assert failure.value.errno == errno.ENODATA


def test_statfs_tells_the_archive_and_the_room_in_the_cache(shared: Mounted) -> None:
    usage = os.statvfs(shared.path)
    archive_bytes = (usage.f_blocks - usage.f_bavail) * usage.f_frsize
    assert archive_bytes >= sum(row.size or 0 for row in held_rows())
    assert 0 < usage.f_bavail * usage.f_frsize <= shutil.disk_usage(shared.cache).total
    assert (usage.f_bfree, usage.f_namemax) == (usage.f_bavail, 255)
    shown = subprocess.run(["df", "--output=pcent", shared.path], capture_output=True, text=True, check=True)
    assert int(shown.stdout.split()[-1].removesuffix("%")) < 100


def test_the_control_directory_is_entered_by_name(shared: Mounted) -> None:
    assert ".onefs" not in os.listdir(shared.path)
    assert sorted(os.listdir(shared.path / ".onefs")) == [
        "README",
        "as-of",
        "by-eid",
        "by-id",
        "by-pid",
        "by-ref",
        "control",
        "default",
        "errors",
        "log",
        "metrics",
        "mode",
        "pinned",
        "query",
        "recorded",
        "status",
        "status.json",
        "tag",
        "via",
    ]
    assert "status.json" in (shared.path / ".onefs/README").read_text()
    assert f"{shared.path}\n" in (shared.path / ".onefs/status").read_text()
    with pytest.raises(OSError) as failure:
        (shared.path / ".onefs/README").open("w")
    assert failure.value.errno == errno.EROFS


def test_the_control_directory_can_be_listed(data_server_flags: list[str], tmp_path: Path) -> None:
    with Mounted(
        RECORDINGS / "tables", tmp_path, *data_server_flags, "--control-dir", "visible", ONEFS_DATA_PASSWORD=PASSWORD
    ) as mount:
        assert ".onefs" in os.listdir(mount.path)


def test_dot_entries_and_parents(shared: Mounted) -> None:
    folder = shared.path / SESSION / "alf"
    listing = subprocess.run(["ls", "-ai", folder], capture_output=True, text=True, check=True).stdout.split()
    numbers = dict(zip(listing[1::2], map(int, listing[::2]), strict=True))
    assert numbers["."] == folder.stat().st_ino
    assert numbers[".."] == folder.parent.stat().st_ino


def test_nothing_of_a_listing_touches_the_network(tmp_path: Path) -> None:
    """The server named here does not exist: whatever asked it would fail."""
    with Mounted(RECORDINGS / "tables", tmp_path, "--data-url", "http://127.0.0.1:9/public") as mount:
        subprocess.run(["ls", "-lR", mount.path], check=True, capture_output=True)
        subprocess.run(["find", mount.path, "-size", "+1k"], check=True, capture_output=True)
        subprocess.run(["du", mount.path], check=True, capture_output=True)
        for name in os.listxattr(mount.path / FILE):
            os.getxattr(mount.path / FILE, name)
        os.statvfs(mount.path / ODD_SESSION)
        assert mount.status()["totals"] == {"files_fetched": 0, "bytes_fetched": 0, "failures": 0}
        assert mount.errors() == ""
