"""Pages that the kernel is to forget: they count as old until it has."""

import threading

from onefs.fuse.notify import Notifier

INODE = 5


class SlowKernel:
    """Forgets pages once it may."""

    def __init__(self) -> None:
        self.may_forget = threading.Event()
        self.asked: list[int] = []

    def invalidate_inode(self, ino: int, *, attributes_only: bool) -> None:
        assert not attributes_only
        self.may_forget.wait()
        self.asked.append(ino)

    def invalidate_entry(self, parent: int, name: bytes) -> None:
        raise AssertionError


def test_pages_are_old_until_the_kernel_forgot_them() -> None:
    notifier, kernel = Notifier(), SlowKernel()
    notifier.start(kernel)
    notifier.pages_changed(INODE)
    assert notifier.has_old_pages(INODE)
    assert not notifier.has_old_pages(INODE + 1)
    kernel.may_forget.set()
    notifier.stop()
    assert kernel.asked == [INODE]
    assert not notifier.has_old_pages(INODE)


def test_without_a_mount_there_are_none() -> None:
    notifier = Notifier()
    notifier.pages_changed(INODE)
    assert not notifier.has_old_pages(INODE)
