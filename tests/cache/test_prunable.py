"""Files that the tables of a cache do not have: after one is removed, fetching it again gives the right bytes."""

from collections.abc import Iterable
from contextlib import closing
from math import inf
from uuid import UUID

from archive_and_cache import ArchiveAndCache, read, read_open

from onefs.cache.beneath import Folder
from onefs.cache.prunable import PrunableFiles
from onefs.cache.store import ContentStore


class NoTables:
    """Tables without datasets."""

    def unlisted(self, ids: Iterable[UUID]) -> list[UUID]:
        """Those that they do not have."""
        return list(ids)


def test_a_dataset_is_fetched_again_after_its_file_was_removed(place: ArchiveAndCache) -> None:
    dataset, content = place.add(b"right bytes"), place.content()
    assert read(content, dataset) == b"right bytes"
    content.flush()
    opened = content.open(dataset, may_fetch=False)
    files = PrunableFiles(ContentStore(place.cache, place.cache / ".onefs"), NoTables(), inf)
    with closing(Folder(place.cache)) as root, closing(files) as unlisted:
        assert unlisted.remove(root, dataset.path, place.file(dataset).lstat()) == ""
    assert not place.file(dataset).exists()
    assert read_open(opened) == b"right bytes"  # what is open stays readable
    opened.close()
    for _ in range(2):
        assert read(content, dataset) == b"right bytes"
    assert place.file(dataset).read_bytes() == b"right bytes"
    assert place.server.requests() == 2
    content.close()
    assert read(place.content(), dataset, may_fetch=False) == b"right bytes"
