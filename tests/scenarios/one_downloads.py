"""Loads datasets with the ONE client: one_downloads.py URL DATA_URL CACHE_DIR EID COLLECTION.

Says that it is ready, waits for a line, and prints the paths of the files that it has in the end, as JSON. It
downloads all, also what is there already.
"""

import json
import os
import sys
import warnings
from pathlib import Path
from uuid import UUID


def main() -> None:
    url, data_url, cache_dir, eid, collection = sys.argv[1:]
    os.umask(0o002)
    warnings.simplefilter("ignore")
    import pandas as pd
    from iblutil.io import hashfile
    from one.api import OneAlyx

    hashfile.BUF_SIZE = 1 << 20  # its own 256 MiB take 0.3 s for the smallest file
    one = OneAlyx(base_url=url, username="demo", password="demo", silent=True, cache_dir=Path(cache_dir))
    one.load_cache()
    one.alyx._par = (
        one.alyx._par.set("HTTP_DATA_SERVER", data_url)
        .set("HTTP_DATA_SERVER_LOGIN", "demo")
        .set("HTTP_DATA_SERVER_PWD", "demo")
    )
    datasets = pd.concat({UUID(eid): one.list_datasets(eid, collection=collection, details=True)}, names=["eid"])
    print("ready", flush=True)
    sys.stdin.readline()
    files = one._download_datasets(datasets)
    print(json.dumps([str(file) for file in files]), flush=True)


if __name__ == "__main__":
    main()
