"""Telling the kernel what changed: in time, and only while there is a mount to tell of."""

import threading

from waiting import PATIENCE_S

from onefs.fuse.notify import Notifier


class StalledKernel:
    """Forgets no name before a listing goes on, and attributes and listings at once."""

    def __init__(self) -> None:
        self.listing_goes_on, self.waits = threading.Event(), threading.Event()
        self.forgotten: list[int] = []

    def invalidate_entry(self, parent: int, name: bytes) -> None:
        self.waits.set()
        self.listing_goes_on.wait(PATIENCE_S)

    def invalidate_inode(self, ino: int, *, attributes_only: bool) -> None:
        self.forgotten.append(ino)


def test_without_a_mount_nothing_is_told() -> None:
    notifier, kernel = Notifier(), StalledKernel()
    notifier.attributes_changed(5)
    notifier.start(kernel)
    notifier.stop()
    notifier.attributes_changed(5)
    assert kernel.forgotten == []


def test_attributes_and_listings_are_forgotten_though_names_wait_for_a_listing() -> None:
    notifier, kernel = Notifier(), StalledKernel()
    notifier.start(kernel)
    try:
        notifier.tell_names([(1, "lab")])
        assert kernel.waits.wait(PATIENCE_S)
        notifier.attributes_changed(5)
        notifier.listings_changed({6})
        assert kernel.forgotten == [5, 6]
    finally:
        kernel.listing_goes_on.set()
        notifier.stop()
