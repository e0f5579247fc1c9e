"""Reads one dataset through a cache, as another daemon on the same cache would, and prints its MD5.

With `dies` it is killed instead, as soon as the file has its name.
"""

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from uuid import UUID

from onefs.cache.store import ContentStore
from onefs.catalogue.records import QC, Dataset
from onefs.fetch.access import BlockRules, Content
from onefs.transports.archive import ArchiveServer
from onefs.transports.base import Location
from onefs.transports.http import HttpTransport

PIECE = 1 << 20


def main() -> None:
    asked = json.loads(sys.argv[1])
    dataset = Dataset(
        UUID(asked["id"]),
        None,
        asked["session_path"],
        asked["rel_path"],
        asked["size_bytes"],
        asked["md5"],
        True,
        QC.PASS,
        None,
    )
    cache = Path(asked["cache"])
    server = ArchiveServer(asked["url"])

    def locate(wanted: Dataset) -> list[Location]:
        return [server.location(wanted.path, wanted.id)]

    rules = BlockRules(**asked["blocks"]) if asked["blocks"] is not None else None
    store = ContentStore(cache, cache / ".onefs", uuid_filenames=asked["uuid_filenames"])
    content = Content(
        store,
        HttpTransport(connect_timeout_s=30, read_timeout_s=60, max_connections=4),
        locate,
        locate,
        blocks=rules,
    )
    file, digest, done = content.open(dataset, may_fetch=True), hashlib.md5(), 0
    while True:
        while (waiting := file.wait(done, PIECE)) is not None:
            waiting.result()
        piece = file.read(done, PIECE)
        if piece == b"":
            break
        digest.update(piece or b"")
        done += len(piece or b"")
    while asked["dies"]:
        if Path(store.path(dataset)).exists():
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.001)
    print(digest.hexdigest(), flush=True)
    content.close()


if __name__ == "__main__":
    main()
