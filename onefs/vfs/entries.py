"""`Entries`, a directory's entries as a listing tells them, made a part at a time."""

from collections.abc import Callable, Collection, Iterator, Sequence

from onefs.vfs.nodes import Attributes, DatasetFile, Node


class Entries:
    """Names and attributes of a directory's entries, `.` and `..` first. Attributes are made when they are read."""

    def __init__(
        self,
        dots: list[tuple[str, Attributes]],
        nodes: Sequence[Node],
        cached: Collection[str],
        attributes: Callable[[Node], Attributes],
        file_mode: int,
    ) -> None:
        """`cached` are paths of files in the cache, whole or in part; `attributes` computes those of any node."""
        self._file_mode = file_mode
        self._dots = dots
        self._nodes = nodes
        self._cached = cached
        self._attributes = attributes

    def __len__(self) -> int:
        return len(self._dots) + len(self._nodes)

    def __iter__(self) -> Iterator[tuple[str, Attributes]]:
        return self.part(0, len(self))

    def part(self, begin: int, end: int) -> Iterator[tuple[str, Attributes]]:
        """The entries from position `begin` up to, but without, `end`."""
        yield from self._dots[begin:end]
        n_dots = len(self._dots)
        for node in self._nodes[max(begin - n_dots, 0) : max(end - n_dots, 0)]:
            if isinstance(node, DatasetFile) and node.size_bytes >= 0 and node.path not in self._cached:
                yield node.name, node.bare_attributes(self._file_mode)
            else:
                yield node.name, self._attributes(node)
