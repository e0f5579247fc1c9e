"""When the kernel is told to drop its pages of a file that is opened: never those that somebody may wait for."""

from onefs.fuse.opened import Handle, Pages
from onefs.vfs.filesystem import Opened
from onefs.vfs.handles import MemoryFile
from onefs.vfs.nodes import SpecialFile


def on_its_way() -> Handle:
    """An open file, of which it is not known yet which copy its bytes come from."""
    node = SpecialFile(5, "x", "x", lambda: MemoryFile(b"x"))
    return Handle(Opened(node.open(), "x", 1, node), 5, pid=1, uid=0)


def test_nobody_who_opens_a_file_that_was_never_read_has_pages_dropped() -> None:
    """Whoever is answered first may go on last, when the kernel has pages for the others that are on their way."""
    pages = Pages()
    assert [pages.are_of(on_its_way()) for _ in range(3)] == [True] * 3


def test_pages_of_what_was_read_before_are_dropped_once() -> None:
    pages, before = Pages(), on_its_way()
    pages.are_of(before)
    pages.came(before)
    pages.released(before)
    assert [pages.are_of(on_its_way()) for _ in range(3)] == [False, True, True]
