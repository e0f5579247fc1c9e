"""Reads datasets at random through a cache of limited size, as another daemon would, until it is told to end."""

import hashlib
import json
import random
import sys
import threading
from pathlib import Path
from uuid import UUID

from archive_and_cache import read

from onefs.cache.quota import Limits
from onefs.cache.store import ContentStore
from onefs.catalogue.records import QC, Dataset
from onefs.fetch.access import Content
from onefs.transports.archive import ArchiveServer
from onefs.transports.base import Location
from onefs.transports.http import HttpTransport


def main() -> None:
    asked = json.loads(sys.argv[1])
    cache = Path(asked["cache"])
    server = ArchiveServer(asked["url"])
    datasets = [
        Dataset(UUID(each["id"]), None, each["session"], each["path"], each["size"], each["md5"], True, QC.PASS, None)
        for each in asked["datasets"]
    ]

    def locate(wanted: Dataset) -> list[Location]:
        return [server.location(wanted.path, wanted.id)]

    store = ContentStore(cache, cache / ".onefs", limits=Limits(asked["limit"]))
    content = Content(
        store,
        HttpTransport(connect_timeout_s=30, read_timeout_s=60, max_connections=8),
        locate,
        locate,
    )
    ended = threading.Event()
    wrong: list[str] = []

    def reader(number: int) -> None:
        choice = random.Random(f"{asked['seed']} {number}")
        while not ended.is_set():
            dataset = choice.choice(datasets)
            try:
                if hashlib.md5(read(content, dataset)).hexdigest() != dataset.md5:
                    wrong.append(f"wrong bytes of {dataset.path}")
            except Exception as error:  # noqa: BLE001  (told to the test)
                wrong.append(repr(error))
                return

    threads = [threading.Thread(target=reader, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    print("reading", flush=True)
    sys.stdin.read()
    ended.set()
    for thread in threads:
        thread.join()
    told = {"wrong": wrong, "fetched": content.totals().files_fetched, "evicted": store.usage().evicted_files}
    content.close()
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
