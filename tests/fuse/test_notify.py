"""Telling the kernel what changed: in time, and only while there is a mount to tell of."""

import threading

import pyfuse3
import pytest
from waiting import PATIENCE_S

from onefs.fuse.notify import Notifier


def test_without_a_mount_nothing_is_told() -> None:
    """Asking the library then would end the process."""
    notifier = Notifier()
    notifier.attributes_changed(5)
    notifier.stop()
    notifier.attributes_changed(5)


def test_attributes_are_forgotten_though_names_wait_for_a_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    listing_goes_on, waits = threading.Event(), threading.Event()
    forgotten: list[int] = []

    def invalidate_entry(parent: int, name: bytes) -> None:
        waits.set()
        listing_goes_on.wait(PATIENCE_S)

    def invalidate_inode(ino: int, attr_only: bool) -> None:
        assert attr_only
        forgotten.append(ino)

    monkeypatch.setattr(pyfuse3, "invalidate_entry", invalidate_entry)
    monkeypatch.setattr(pyfuse3, "invalidate_inode", invalidate_inode)
    notifier = Notifier()
    notifier.start()
    try:
        notifier.tell_names([(1, "lab")])
        assert waits.wait(PATIENCE_S)
        notifier.attributes_changed(5)
        assert forgotten == [5]
    finally:
        listing_goes_on.set()
        notifier.stop()
