"""Reads one dataset through a cache, as another daemon on the same cache would, and prints its MD5."""

import hashlib
import json
import sys
from pathlib import Path
from uuid import UUID

from onefs.catalogue.records import QC, Dataset
from onefs.content.access import Content
from onefs.content.store import ContentStore
from onefs.transports.archive import ArchiveServer
from onefs.transports.base import Location
from onefs.transports.http import HttpTransport


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

    content = Content(
        ContentStore(cache, cache / ".onefs"),
        HttpTransport(connect_timeout_s=30, read_timeout_s=60, max_connections=4),
        locate,
        locate,
    )
    file = content.open(dataset, may_fetch=True)
    while (waiting := file.wait(0, 1)) is not None:
        waiting.result()
    print(hashlib.md5(file.read(0, file.size_bytes or 0)).hexdigest(), flush=True)
    content.close()


if __name__ == "__main__":
    main()
