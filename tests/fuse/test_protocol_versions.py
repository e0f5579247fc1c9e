"""INIT: what a session makes of kernels of several versions."""

import errno
import struct

import kernel_messages as km
import pytest
from kernel_messages import FakeKernel, negotiated
from toy_operations import DIRECTORY, ROOT, ToyOperations

from onefs.errors import MountError
from onefs.fuse.negotiation import InitFlag, negotiate

LINUX = {26: "4.9", 31: "5.4", 34: "5.14", 40: "6.9", 45: "6.18"}
OFFERED = {26: (1 << 21) - 1, 31: (1 << 27) - 1, 34: (1 << 30) - 1, 40: 0x7FFFFFFF, 45: 0x7FFFFFFF}
"""The flags that a kernel of each version has."""
CACHE_DIR, KEEP_CACHE = 1 << 3, 1 << 1


def agreed(minor: int, **options: str) -> tuple[dict[str, int], InitFlag]:
    """The fields of the answer to a kernel, and its flags."""
    flags2 = {40: 0x3F, 45: 0x1FFF}.get(minor, 0)
    reply, features = negotiate(2, memoryview(km.init(minor, OFFERED[minor], flags2)), **options)
    names = ("length", "error", "unique", "major", "minor", "read_ahead", "flags", "background", "threshold", "write",
             "granularity", "pages", "alignment", "flags2", "depth")  # fmt: skip
    found = dict(zip(names, struct.unpack("=IiQIIIIHHIIHHII24x", reply), strict=True))
    assert (found["length"], found["error"], found["unique"]) == (len(reply), 0, 2)
    assert features is not None
    assert features.minor == found["minor"] == minor
    flags = InitFlag(found["flags"] | found["flags2"] << 32)
    assert flags & ~InitFlag.INIT_EXT == features.flags
    return found, flags


@pytest.mark.parametrize("minor", LINUX)
def test_each_kernel_gets_what_it_offers(minor: int) -> None:
    found, flags = agreed(minor)
    assert not found["flags"] & ~OFFERED[minor]
    always = (
        InitFlag.ASYNC_READ | InitFlag.DO_READDIRPLUS | InitFlag.AUTO_INVAL_DATA | InitFlag.PARALLEL_DIROPS
        | InitFlag.EXPORT_SUPPORT | InitFlag.BIG_WRITES | InitFlag.ATOMIC_O_TRUNC
    )  # fmt: skip
    assert flags & always == always
    never = InitFlag.WRITEBACK_CACHE | InitFlag.NO_OPEN_SUPPORT | InitFlag.CACHE_SYMLINKS | InitFlag.ASYNC_DIO
    assert not flags & never
    assert bool(flags & InitFlag.MAX_PAGES) == bool(flags & InitFlag.NO_OPENDIR_SUPPORT) == (minor >= 31)
    assert bool(flags & InitFlag.PASSTHROUGH) == bool(flags & InitFlag.INIT_EXT) == (minor >= 40)
    assert found["depth"] == (minor >= 40)
    assert (found["background"], found["threshold"], found["granularity"]) == (10_000, 10_000, 1)
    assert (found["read_ahead"], found["write"]) == (131072, 1 << 20)
    assert found["pages"] * 4096 == 1 << 20


def test_passthrough_is_taken_only_where_it_is_wanted() -> None:
    found, flags = agreed(45, no_passthrough="Not wanted.")
    assert not flags & (InitFlag.PASSTHROUGH | InitFlag.INIT_EXT)
    assert not found["depth"]


@pytest.mark.parametrize(("minor", "is_wanted", "why"), [(40, True, ""), (45, False, "Never."), (34, True, "7.34")])
def test_why_nothing_is_passed_through(minor: int, is_wanted: bool, why: str) -> None:
    payload = memoryview(km.init(minor, flags2=km.PASSTHROUGH))
    _, features = negotiate(2, payload, no_passthrough="" if is_wanted else "Never.")
    assert features is not None
    assert why in features.no_passthrough
    assert bool(why) == bool(features.no_passthrough)


def test_a_newer_major_version_asks_again(operations: ToyOperations) -> None:
    with FakeKernel(operations) as kernel:
        error, answer = kernel.ask(km.INIT, km.init(0, major=8))
        assert (error, *struct.unpack_from("=II", answer)) == (0, 7, 45)
        assert kernel.served.session.features is None
        assert kernel.served.session.facts.protocol == ""
        kernel.ask(km.INIT, km.init(31))
        assert kernel.served.session.facts.protocol == "7.31"
        assert not kernel.served.session.facts.kept_listings
        assert kernel.served.session.facts.read_ahead_kib == 128


@pytest.mark.parametrize(("major", "minor"), [(7, 25), (6, 45)])
def test_older_kernels_are_refused(operations: ToyOperations, major: int, minor: int) -> None:
    kernel = FakeKernel(operations)
    assert kernel.ask(km.INIT, km.init(minor, major=major))[0] == errno.EPROTO
    with pytest.raises(MountError, match=f"{major}.{minor} of the FUSE protocol; onefs needs 7.26"):
        kernel.served.end()
    kernel.served.session.close()
    kernel.hang_up()


def test_init_that_is_cut_off_is_refused(operations: ToyOperations) -> None:
    with FakeKernel(operations) as kernel:
        assert kernel.ask(km.INIT, km.init(45)[:15])[0] == errno.EINVAL
        assert kernel.ask(km.INIT, km.init(45)[:16])[0] == 0


@pytest.mark.parametrize(
    ("minor", "opened"), [(26, (0, 0)), (27, (0, 0)), (28, (0, CACHE_DIR | KEEP_CACHE)), (31, None), (45, None)]
)
def test_directories_are_opened_where_the_kernel_asks_for_that(
    operations: ToyOperations, minor: int, opened: tuple[int, int] | None
) -> None:
    operations.add(ROOT, b"folder", DIRECTORY)
    flags = km.EVERY_FLAG if minor >= 29 else km.EVERY_FLAG & ~InitFlag.NO_OPENDIR_SUPPORT
    with negotiated(operations, minor, flags) as kernel:
        error, answer = kernel.ask(km.OPENDIR, bytes(8))
        if opened is None:
            assert error == errno.ENOSYS
        else:
            assert struct.unpack("=QIi", answer)[:2] == opened
            assert bool(kernel.served.session.facts.kept_listings) == (minor < 28)
        assert kernel.ask(km.READDIRPLUS, struct.pack("=QQI20x", 0, 0, 4096))[0] == 0
        assert kernel.ask(km.RELEASEDIR, bytes(24)) == (0, b"")


@pytest.fixture
def operations() -> ToyOperations:
    return ToyOperations()
