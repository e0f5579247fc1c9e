"""`Entries`, a directory's entries as a listing tells them, made a part at a time."""

from collections.abc import Iterator

from onefs.vfs.contents import Appearance, Entry, Nodes


class Entries:
    """Names and attributes of a directory's entries, `.` and `..` first. Attributes are made when they are read."""

    def __init__(self, dots: list[Entry], nodes: Nodes, appearance: Appearance) -> None:
        self._dots = dots
        self._nodes = nodes
        self._appearance = appearance

    def __len__(self) -> int:
        return len(self._dots) + len(self._nodes)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.part(0, len(self)))

    def part(self, begin: int, end: int) -> list[Entry]:
        """The entries from position `begin` up to, but without, `end`."""
        n_dots = len(self._dots)
        inside = self._nodes.entries(max(begin - n_dots, 0), max(end - n_dots, 0), self._appearance)
        return self._dots[begin:end] + inside
