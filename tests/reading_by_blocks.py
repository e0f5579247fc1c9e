"""Reading a large file by blocks in tests: its bytes, the rules, and what is in the cache of it."""

import os
import random
from pathlib import Path

from archive_and_cache import ArchiveAndCache
from waiting import PATIENCE_S

from onefs.cache.store import ContentStore
from onefs.catalogue.records import Dataset
from onefs.fetch.access import BlockRules, Content, OpenFile

BLOCK = 64 << 10
DATA = random.Random(5).randbytes(100 * BLOCK + 1234)
BLOCKS = 101
RULES = BlockRules(whole_file_max_bytes=1 << 20, block_bytes=BLOCK, read_ahead_max_bytes=4 << 20, parts=4)


def by_blocks(place: ArchiveAndCache, **options: object) -> Content:
    return place.content(blocks=RULES, **options)  # type: ignore[arg-type]


def part(file: OpenFile, offset: int, size: int) -> bytes:
    """A part of an open file, waited for."""
    while True:
        while (waiting := file.wait(offset, size)) is not None:
            waiting.result(timeout=PATIENCE_S)
        found = file.read(offset, size)
        if found is not None:
            return found


def ranges(place: ArchiveAndCache, dataset: Dataset) -> list[tuple[int, int]]:
    """The parts that the server was asked for, in bytes."""
    asked = [headers.get("range", "") for headers in place.server.headers(place.url_path(dataset))]
    pairs = [text.removeprefix("bytes=").split("-") for text in asked if text]
    return [(int(first), int(last) + 1) for first, last in pairs]


def sparse(place: ArchiveAndCache, dataset: Dataset) -> Path:
    return place.partial(dataset)


def blocks_noted(place: ArchiveAndCache, dataset: Dataset) -> list[int]:
    """The blocks of a dataset that the state database says are in the cache."""
    store = ContentStore(place.cache, place.cache / ".onefs")
    try:
        record = store.part_records.find(dataset.id)
        return sorted(store.part_records.blocks_since(record.key, 0)[1]) if record is not None else []
    finally:
        store.close()


def open_links() -> list[str]:
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue
    return found
