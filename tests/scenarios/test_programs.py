"""Programs of other languages read the same bytes through the mount as stand in the archive."""

import hashlib
import subprocess
import tarfile
from pathlib import Path

import pytest
from archives import RECORDINGS, held_rows, sound_rows
from mounted import Mounted

SESSION = "cortexlab/Subjects/KS014/2020-07-01/001"
ALF = f"{SESSION}/alf"


def expected(folder: str) -> dict[str, bytes]:
    """Bytes by path below a folder, as the data server holds them."""
    public = RECORDINGS / "data" / "public"
    rows = [row for row in held_rows() if row.path.startswith(folder + "/")]
    return {row.path.removeprefix(folder + "/"): (public / row.archive_name).read_bytes() for row in rows}


def found(folder: Path) -> dict[str, bytes]:
    """Bytes by path below a folder of this machine."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_cp(recorded: Mounted, tmp_path: Path) -> None:
    subprocess.run(["cp", "-r", recorded.path / ALF, tmp_path / "copy"], check=True)
    assert found(tmp_path / "copy") == expected(ALF)


def test_md5sum(recorded: Mounted) -> None:
    rows = [row for row in held_rows() if row.path.startswith(ALF + "/") and row.md5]
    listing = "".join(f"{row.md5}  {row.path}\n" for row in rows)
    subprocess.run(["md5sum", "--check", "--strict", "--quiet"], input=listing.encode(), cwd=recorded.path, check=True)


def test_tar(recorded: Mounted, tmp_path: Path) -> None:
    subprocess.run(["tar", "cf", tmp_path / "alf.tar", "-C", recorded.path / ALF, "."], check=True)
    with tarfile.open(tmp_path / "alf.tar") as archive:
        packed = {
            member.name.removeprefix("./"): file.read() for member in archive if (file := archive.extractfile(member))
        }
    assert packed == expected(ALF)


def test_rsync(recorded: Mounted, tmp_path: Path) -> None:
    subprocess.run(["rsync", "-a", f"{recorded.path / ALF}/", tmp_path / "copy"], check=True)
    assert found(tmp_path / "copy") == expected(ALF)
    again = subprocess.run(
        ["rsync", "-ai", f"{recorded.path / ALF}/", tmp_path / "copy"], check=True, capture_output=True
    )
    assert again.stdout == b""


def test_find_and_du(recorded: Mounted) -> None:
    sized = subprocess.run(
        ["find", recorded.path / ALF, "-type", "f", "-printf", "%P\t%s\n"], check=True, capture_output=True, text=True
    )
    sizes = dict(line.split("\t") for line in sized.stdout.splitlines())
    assert sizes == {path: str(len(data)) for path, data in expected(ALF).items()}
    apparent = subprocess.run(["du", "-sb", recorded.path / ALF], check=True, capture_output=True, text=True)
    assert int(apparent.stdout.split()[0]) == sum(map(len, expected(ALF).values()))


C_PROGRAM = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* usage: reader how file > copy */
int main(int argc, char **argv) {
    int flags = strcmp(argv[1], "direct") ? O_RDONLY : O_RDONLY | O_DIRECT;
    int fd = open(argv[2], flags);
    struct stat st;
    static char first[4096] __attribute__((aligned(4096))), second[65536] __attribute__((aligned(4096)));
    if (argc != 3 || fd < 0 || fstat(fd, &st)) return 1;
    if (!strcmp(argv[1], "mmap") || !strcmp(argv[1], "shared")) {
        int how = strcmp(argv[1], "mmap") ? MAP_SHARED : MAP_PRIVATE;
        char *bytes = mmap(NULL, st.st_size, PROT_READ, how, fd, 0);
        if (bytes == MAP_FAILED) return 2;
        return fwrite(bytes, 1, st.st_size, stdout) == (size_t)st.st_size ? fflush(stdout) : 3;
    }
    if (!strcmp(argv[1], "sendfile")) {
        for (off_t at = 0; at < st.st_size;)
            if (sendfile(1, fd, &at, st.st_size - at) <= 0) return 4;
        return 0;
    }
    for (;;) {  /* readv, also for direct */
        struct iovec parts[2] = {{first, sizeof first}, {second, sizeof second}};
        ssize_t got = readv(fd, parts, 2);
        if (got < 0) return 5;
        if (got == 0) return 0;
        size_t head = (size_t)got < sizeof first ? (size_t)got : sizeof first;
        if (write(1, first, head) < 0 || write(1, second, got - head) < 0) return 6;
    }
}
"""


@pytest.fixture(scope="module")
def c_reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A C program that reads a file in several ways."""
    folder = tmp_path_factory.mktemp("c")
    (folder / "reader.c").write_text(C_PROGRAM)
    subprocess.run(["cc", "-Wall", "-O1", "-o", folder / "reader", folder / "reader.c"], check=True)
    return folder / "reader"


@pytest.mark.parametrize("how", ["mmap", "shared", "sendfile", "readv", "direct"])
def test_a_c_program(recorded: Mounted, c_reader: Path, tmp_path: Path, how: str) -> None:
    row = max(sound_rows(), key=lambda row: row.size or 0)
    with (tmp_path / "copy").open("wb") as copy:
        subprocess.run([c_reader, how, recorded.path / row.path], stdout=copy, check=True)
    assert hashlib.md5((tmp_path / "copy").read_bytes()).hexdigest() == row.md5


def test_seeking_past_holes_and_the_end(recorded: Mounted) -> None:
    row = max(sound_rows(), key=lambda row: row.size or 0)
    whole = (RECORDINGS / "data" / "public" / row.archive_name).read_bytes()
    with (recorded.path / row.path).open("rb", buffering=0) as file:
        for offset in (0, 1, 4095, 4096, 70_000, len(whole) - 1, len(whole), len(whole) + 10):
            file.seek(offset)
            assert file.read(5000) == whole[offset : offset + 5000]
