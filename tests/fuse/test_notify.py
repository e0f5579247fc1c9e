"""Telling the kernel what changed: only while there is a mount to tell of."""

from onefs.fuse.notify import Notifier


def test_without_a_mount_nothing_is_told() -> None:
    """Asking the library then would end the process."""
    notifier = Notifier()
    notifier.attributes_changed(5)
    notifier.stop()
    notifier.attributes_changed(5)
