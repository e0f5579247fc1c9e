"""Layouts of the FUSE protocol, and what a session makes of requests that are right, wrong or mutilated."""

import errno
import random
import shutil
import struct
import subprocess
from collections import Counter
from pathlib import Path

import kernel_messages as km
import pytest
from kernel_messages import FakeKernel, message, negotiated
from seeds import seeded
from toy_operations import DIRECTORY, FORBIDDEN, LINK, ROOT, ToyOperations
from waiting import wait_until

from onefs.fuse import protocol

KERNEL_HEADER = Path("/usr/include/linux/fuse.h")
MUTATED = 100_000
AT_ONCE = 50
END = 0x0102030405060708
"""A number that no mutated request has."""
LAYOUTS = {
    "fuse_in_header": protocol.HEADER.size,
    "fuse_getattr_in": protocol.GETATTR_IN.size,
    "fuse_setattr_in": protocol.SETATTR_IN.size,
    "fuse_open_in": protocol.OPEN_IN.size,
    "fuse_read_in": protocol.READ_IN.size,
    "fuse_write_in": protocol.WRITE_IN.size,
    "fuse_release_in": protocol.RELEASE_IN.size,
    "fuse_getxattr_in": protocol.GETXATTR_IN.size,
    "fuse_access_in": protocol.ACCESS_IN.size,
    "fuse_interrupt_in": protocol.INTERRUPT_IN.size,
    "fuse_forget_in": protocol.FORGET_IN.size,
    "fuse_batch_forget_in": protocol.BATCH_FORGET_IN.size,
    "fuse_forget_one": protocol.FORGET_ONE.size,
    "fuse_out_header": protocol.OUT_HEADER.size,
    "fuse_entry_out": protocol.ENTRY_OUT.size - protocol.OUT_HEADER.size,
    "fuse_attr_out": protocol.ATTR_OUT.size - protocol.OUT_HEADER.size,
    "fuse_open_out": protocol.OPEN_OUT.size - protocol.OUT_HEADER.size,
    "fuse_write_out": protocol.WRITE_OUT.size - protocol.OUT_HEADER.size,
    "fuse_getxattr_out": protocol.GETXATTR_OUT.size - protocol.OUT_HEADER.size,
    "fuse_statfs_out": protocol.STATFS_OUT.size - protocol.OUT_HEADER.size,
    "fuse_init_out": protocol.INIT_OUT.size - protocol.OUT_HEADER.size,
    "fuse_dirent": protocol.DIRENT.size,
    "fuse_direntplus": protocol.DIRENTPLUS.size,
}
SIZES = {
    "fuse_in_header": 40, "fuse_getattr_in": 16, "fuse_setattr_in": 88, "fuse_open_in": 8, "fuse_read_in": 40,
    "fuse_write_in": 40, "fuse_release_in": 24, "fuse_getxattr_in": 8, "fuse_access_in": 8, "fuse_interrupt_in": 8,
    "fuse_forget_in": 8, "fuse_batch_forget_in": 8, "fuse_forget_one": 16, "fuse_out_header": 16,
    "fuse_entry_out": 128, "fuse_attr_out": 104, "fuse_open_out": 16, "fuse_write_out": 8, "fuse_getxattr_out": 8,
    "fuse_statfs_out": 80, "fuse_init_out": 64, "fuse_dirent": 24, "fuse_direntplus": 152,
}  # fmt: skip


@pytest.fixture
def operations() -> ToyOperations:
    toy = ToyOperations()
    folder = toy.add(ROOT, b"folder", DIRECTORY, version=123)
    for number in range(50):
        toy.add(folder, b"file%d" % number, content=b"content")
    toy.add(ROOT, b"link", LINK, content=b"folder/file1")
    return toy


def read_in(offset: int, size: int, handle: int = 0) -> bytes:
    """The payload of READ, READDIR and READDIRPLUS."""
    return struct.pack("=QQI20x", handle, offset, size)


def xattr_in(room: int, name: bytes = b"") -> bytes:
    """The payload of GETXATTR and LISTXATTR."""
    return struct.pack("=I4x", room) + (name + b"\0" if name else b"")


def dirents(payload: bytes, *, plus: bool) -> list[tuple[bytes, int, int, int]]:
    """Name, inode, cookie and type of each entry of a listing."""
    found = []
    while payload:
        skipped = 128 if plus else 0
        ino, cookie, length, kind = struct.unpack_from("=QQII", payload, skipped)
        begin = skipped + 24
        found.append((payload[begin : begin + length], ino, cookie, kind))
        payload = payload[-(-(begin + length) // 8) * 8 :]
    return found


def test_sizes_of_layouts_are_those_of_the_kernel() -> None:
    assert LAYOUTS == SIZES


@pytest.mark.skipif(not (KERNEL_HEADER.exists() and shutil.which("cc")), reason="needs cc and linux/fuse.h")
def test_sizes_of_layouts_are_those_of_the_kernels_header(tmp_path: Path) -> None:
    checks = "".join(f'_Static_assert(sizeof(struct {name}) == {size}, "{name}");\n' for name, size in LAYOUTS.items())
    source = tmp_path / "sizes.c"
    source.write_text(f"#include <linux/fuse.h>\n{checks}")
    done = subprocess.run(["cc", "-fsyntax-only", source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_no_mount_has_is_left_to_the_kernel(operations: ToyOperations) -> None:
    with negotiated(operations) as kernel:
        for opcode in (km.FLUSH, km.STATX, km.OPENDIR, 20, 30, 40, 43, 46, 47, 50, 999):
            assert kernel.ask(opcode, bytes(64))[0] == errno.ENOSYS, opcode
        assert kernel.ask(km.IOCTL, bytes(32))[0] == errno.ENOTTY


def test_the_kernel_is_never_told_that_an_operation_is_missing(operations: ToyOperations) -> None:
    with negotiated(operations) as kernel:
        assert kernel.ask(km.LOOKUP, FORBIDDEN + b"\0")[0] == errno.EIO


@pytest.mark.parametrize("name", [b"", b"\0", b"no end", b"two\0names\0", b"a/b\0", b"long\0\0"])
def test_malformed_names_are_refused(operations: ToyOperations, name: bytes) -> None:
    with negotiated(operations) as kernel:
        assert kernel.ask(km.LOOKUP, name)[0] == errno.EINVAL
    assert not operations.asked["lookup"]


def test_requests_that_are_cut_off_are_refused(operations: ToyOperations) -> None:
    sized = {km.GETATTR: 16, km.SETATTR: 88, km.OPEN: 8, km.READ: 40, km.WRITE: 40, km.RELEASE: 24, km.ACCESS: 8,
             km.GETXATTR: 8, km.LISTXATTR: 8, km.READDIR: 40, km.READDIRPLUS: 40, km.RELEASEDIR: 24}  # fmt: skip
    with negotiated(operations) as kernel:
        for opcode, size in sized.items():
            assert kernel.ask(opcode, bytes(size - 1))[0] == errno.EINVAL, opcode
        kernel.send(message(km.GETATTR, bytes(16))[:-1] + b"\0\0")  # longer than it says
        assert kernel.reply()[0] == errno.EINVAL
    assert not operations.asked


def test_extensions_follow_what_a_request_asks(operations: ToyOperations) -> None:
    extension = b"\1" * 16
    request = bytearray(message(km.LOOKUP, b"folder\0" + extension))
    struct.pack_into("=H", request, 36, len(extension) // 8)
    with negotiated(operations) as kernel:
        kernel.send(bytes(request))
        assert kernel.reply()[0] == 0
        struct.pack_into("=H", request, 36, 1000)
        kernel.send(bytes(request))
        assert kernel.reply()[0] == errno.EINVAL


def test_what_is_forgotten_gets_no_answer(operations: ToyOperations) -> None:
    many = [(7, 1)] * 2500
    batch = struct.pack("=I4x", len(many)) + b"".join(struct.pack("=QQ", *each) for each in many)
    with negotiated(operations) as kernel:
        kernel.send(message(km.FORGET, struct.pack("=Q", 3), ino=5))
        kernel.send(message(km.FORGET, b"short", ino=5))
        kernel.send(message(km.BATCH_FORGET, batch))
        kernel.send(message(km.BATCH_FORGET, batch[:-1]))
        kernel.send(message(km.INTERRUPT, struct.pack("=Q", 999)))
        kernel.send(message(km.NOTIFY_REPLY, bytes(40)))
        assert kernel.ask(km.GETATTR, bytes(16), unique=77)[0] == 0
        wait_until(lambda: operations.forgotten == {5: 3, 7: 2500}, "all are forgotten")


def test_absent_names_are_kept(operations: ToyOperations) -> None:
    with negotiated(operations) as kernel:
        error, entry = kernel.ask(km.LOOKUP, b"absent\0")
    ino, _, entry_s, _, entry_ns, _ = struct.unpack_from("=QQQQII", entry)
    assert (error, ino, len(entry)) == (0, 0, 128)
    assert entry_s > 86400
    assert not entry_ns


def test_times_have_the_version_as_nanoseconds(operations: ToyOperations) -> None:
    operations.replace(ROOT, time_s=-5, kept_s=1.25, version=999)
    with negotiated(operations) as kernel:
        _, answer = kernel.ask(km.GETATTR, bytes(16))
    valid_s, valid_ns, _, ino, _, _, atime, mtime, ctime, _, mtime_ns, _, mode, links, _, _, _, block, _ = (
        struct.unpack("=QII QQQ qqq III IIII III".replace(" ", ""), answer)
    )
    assert (valid_s, valid_ns) == (1, 250_000_000)
    assert (ino, atime, mtime, ctime, mtime_ns) == (ROOT, -5, -5, -5, 999)
    assert (mode, links, block) == (DIRECTORY, 1, 4096)


def test_attributes_of_a_live_folder_are_not_kept_though_its_entry_is(operations: ToyOperations) -> None:
    folder = operations.nodes[ROOT].children[b"folder"]
    operations.replace(folder, is_live=True)
    with negotiated(operations) as kernel:
        _, entry = kernel.ask(km.LOOKUP, b"folder\0")
        _, attributes = kernel.ask(km.GETATTR, bytes(16), ino=folder)
        _, listed = kernel.ask(km.READDIRPLUS, read_in(0, 4096))
    at = listed.index(b"folder") - 24 - 128
    for answer in (entry, listed[at:]):
        _, _, entry_s, attributes_s, entry_ns, attributes_ns = struct.unpack_from("=QQQQII", answer)
        assert entry_s > 86400
        assert (attributes_s, entry_ns, attributes_ns) == (0, 0, 0)
    assert struct.unpack_from("=QI", attributes) == (0, 0)


def test_extended_attributes_tell_their_size_first(operations: ToyOperations) -> None:
    with negotiated(operations) as kernel:
        assert kernel.ask(km.GETXATTR, xattr_in(0, b"user.long")) == (0, struct.pack("=I4x", 5000))
        assert kernel.ask(km.GETXATTR, xattr_in(4999, b"user.long"))[0] == errno.ERANGE
        assert kernel.ask(km.GETXATTR, xattr_in(5000, b"user.long")) == (0, b"x" * 5000)
        assert kernel.ask(km.GETXATTR, xattr_in(9, b"user.none"))[0] == errno.ENODATA
        assert kernel.ask(km.GETXATTR, xattr_in(9, b"user.hidden:folder/file"))[0] == errno.ENODATA
        assert kernel.ask(km.GETXATTR, xattr_in(9))[0] == errno.EINVAL
        names = b"user.short\0user.long\0"
        assert kernel.ask(km.LISTXATTR, xattr_in(0)) == (0, struct.pack("=I4x", len(names)))
        assert kernel.ask(km.LISTXATTR, xattr_in(len(names) - 1))[0] == errno.ERANGE
        assert kernel.ask(km.LISTXATTR, xattr_in(len(names))) == (0, names)


@pytest.mark.parametrize("opcode", [km.READDIR, km.READDIRPLUS])
def test_a_listing_comes_in_parts_and_ends(operations: ToyOperations, opcode: int) -> None:
    plus, folder = opcode == km.READDIRPLUS, operations.nodes[ROOT].children[b"folder"]
    found: list[tuple[bytes, int, int, int]] = []
    with negotiated(operations) as kernel:
        while True:
            cookie = found[-1][2] if found else 0
            error, part = kernel.ask(opcode, read_in(cookie, 1000), ino=folder)
            assert not error
            assert len(part) <= 1000
            if not part:
                break
            found += dirents(part, plus=plus)
        assert operations.asked["opendir"] == 1
        assert kernel.ask(opcode, read_in(0, 10), ino=folder)[0] == errno.EINVAL  # no room for one entry
    children = operations.nodes[folder].children
    assert [(name, ino) for name, ino, _, _ in found] == [(b".", folder), (b"..", ROOT), *children.items()]
    assert [kind for *_, kind in found] == [4, 4] + [8] * 50
    assert [cookie for _, _, cookie, _ in found] == [123 << 32 | position for position in range(1, 53)]


def test_dots_are_listed_without_attributes(operations: ToyOperations) -> None:
    """The kernel counts no lookup of them, and would never forget them."""
    with negotiated(operations) as kernel:
        _, part = kernel.ask(km.READDIRPLUS, read_in(0, 4096))
    assert part[:128] == bytes(128)
    assert part[160 : 160 + 128] == bytes(128)
    assert struct.unpack_from("=Q", part, 320)[0] == operations.nodes[ROOT].children[b"folder"]


def test_a_forgotten_listing_is_asked_for_once_more_and_goes_on(
    operations: ToyOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onefs.fuse.dispatch.LISTINGS_KEPT", 1)
    folder, cookie = operations.nodes[ROOT].children[b"folder"], 0
    names: list[bytes] = []
    with negotiated(operations) as kernel:
        while part := kernel.ask(km.READDIR, read_in(cookie, 400), ino=folder)[1]:
            if not cookie:
                kernel.ask(km.READDIR, read_in(0, 400))
            names += [name for name, *_ in dirents(part, plus=False)]
            cookie = dirents(part, plus=False)[-1][2]
    assert names[2:] == list(operations.nodes[folder].children)
    assert operations.asked["opendir"] == 3


def test_a_listing_goes_on_with_the_edition_that_it_began_with(operations: ToyOperations) -> None:
    folder = operations.nodes[ROOT].children[b"folder"]
    before = list(operations.nodes[folder].children)

    def listed(kernel: FakeKernel, cookie: int) -> list[tuple[bytes, int, int, int]]:
        found: list[tuple[bytes, int, int, int]] = []
        while part := kernel.ask(km.READDIR, read_in(found[-1][2] if found else cookie, 400), ino=folder)[1]:
            found += dirents(part, plus=False)
        return found

    with negotiated(operations) as kernel:
        first = dirents(kernel.ask(km.READDIR, read_in(0, 400), ino=folder)[1], plus=False)
        del operations.nodes[folder].children[before[0]]
        operations.replace(folder, version=124)
        second = listed(kernel, 0)
        first += listed(kernel, first[-1][2])
        forgotten = listed(kernel, 55 << 32 | 10)
        operations.asked.clear()
        assert listed(kernel, forgotten[0][2]) == forgotten[1:]
        assert not operations.asked["opendir"]
    assert [name for name, *_ in first[2:]] == before
    assert [name for name, *_ in second[2:]] == before[1:]
    assert [name for name, *_ in forgotten] == before[1:][8:]


def test_programs_need_not_wait_to_close_a_file() -> None:
    """A process that starts another may hold what its own threads need to answer, while the other closes its files."""
    operations = ToyOperations()
    file = operations.add(ROOT, b"file", content=b"content")
    with km.negotiated(operations) as kernel:
        error, opened = kernel.ask(km.OPEN, bytes(8), ino=file)
        _, flags, _ = struct.unpack("=QIi", opened)
        assert not error
        assert flags & protocol.OpenFlag.NO_FLUSH


def templates(operations: ToyOperations) -> list[tuple[int, bytes]]:
    """One right request of each kind."""
    names = [km.LOOKUP, 6, 8, 9, 10, 11, 12, 13, 21, 24, 35, 45, 51]
    handles = [(opcode, read_in(0, 4096, handle=1)) for opcode in (km.READ, km.READDIR, km.READDIRPLUS)]
    return [
        *((opcode, b"folder\0") for opcode in names),
        *handles,
        (km.FORGET, struct.pack("=Q", 1)),
        (km.BATCH_FORGET, struct.pack("=I4xQQQQ", 2, 3, 1, 4, 1)),
        (km.GETATTR, bytes(16)),
        (km.SETATTR, struct.pack("=I84x", 8)),
        (km.READLINK, b""),
        (km.OPEN, bytes(8)),
        (km.WRITE, struct.pack("=QQI20x", 1, 0, 5) + b"bytes"),
        (km.STATFS, b""),
        (km.RELEASE, struct.pack("=Q16x", 1)),
        (km.GETXATTR, xattr_in(100, b"user.short")),
        (km.LISTXATTR, xattr_in(100)),
        (km.ACCESS, bytes(8)),
        (km.INTERRUPT, struct.pack("=Q", 2)),
        (km.IOCTL, bytes(32)),
        (km.INIT, km.init(45)),
        (km.OPENDIR, bytes(8)),
        (km.RELEASEDIR, bytes(24)),
        (km.FLUSH, bytes(24)),
        (km.NOTIFY_REPLY, bytes(40)),
    ]


def mutated(request: bytes, chance: random.Random) -> bytes:
    """A request with some of it changed, cut off or added."""
    changed = bytearray(request)
    for _ in range(chance.choice((1, 1, 2, 5))):
        position = chance.randrange(len(changed))
        match chance.randrange(5):
            case 0:
                changed[position] = chance.randrange(256)
            case 1:
                changed[position:] = b""
            case 2:
                changed[position:position] = chance.randbytes(chance.randrange(1, 20))
            case 3:
                changed[position : position + 8] = chance.choice((b"\0", b"\xff")) * 8
            case 4 if len(changed) >= 4:
                struct.pack_into("=I", changed, 0, len(changed))
        changed = changed or bytearray(1)
    return bytes(changed)


@pytest.mark.slow
@pytest.mark.seeded
def test_mutilated_requests_are_answered_or_refused(
    operations: ToyOperations, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("ERROR")
    chance, errors, known = seeded(14), Counter[int](), templates(operations)
    with negotiated(operations) as kernel:
        for _ in range(MUTATED // AT_ONCE):
            asked: dict[int, int] = {}
            for _ in range(AT_ONCE):
                opcode, payload = chance.choice(known)
                request = mutated(message(opcode, payload, ino=chance.randrange(1, 60), unique=2), chance)
                opcode, unique = struct.unpack_from("=IQ", request.ljust(16, b"\0"), 4)
                if opcode == km.DESTROY:
                    continue
                if len(request) >= km.HEADER.size and opcode not in km.UNANSWERED:
                    asked[unique] = asked.get(unique, 0) + 1
                kernel.send(request)
            kernel.send(message(km.STATFS, unique=END))
            while (answered := kernel.reply())[1] != END:
                asked[answered[1]] -= 1
                errors[answered[0]] += 1
            assert not any(asked.values())
    assert set(errors) <= {0, *errno.errorcode}
    assert errors[0] > MUTATED / 20
    assert errors[errno.EINVAL] > MUTATED / 20
    assert errors[errno.ENOSYS]
    assert not [record for record in caplog.records if "Unforeseen" in record.message or record.levelname == "ERROR"]
