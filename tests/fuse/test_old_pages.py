"""Pages that the kernel is to forget: they count as old until it has."""

import threading

import pyfuse3
import pytest

from onefs.fuse.notify import Notifier

INODE = 5


def test_pages_are_old_until_the_kernel_forgot_them(monkeypatch: pytest.MonkeyPatch) -> None:
    may_forget = threading.Event()
    asked: list[int] = []

    def forget(inode: int, attr_only: bool = False) -> None:
        assert not attr_only
        may_forget.wait()
        asked.append(inode)

    monkeypatch.setattr(pyfuse3, "invalidate_inode", forget)
    notifier = Notifier()
    notifier.start()
    notifier.pages_changed(INODE)
    assert notifier.has_old_pages(INODE)
    assert not notifier.has_old_pages(INODE + 1)
    may_forget.set()
    notifier.stop()
    assert asked == [INODE]
    assert not notifier.has_old_pages(INODE)


def test_without_a_mount_there_are_none() -> None:
    notifier = Notifier()
    notifier.pages_changed(INODE)
    assert not notifier.has_old_pages(INODE)
