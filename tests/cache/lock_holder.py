"""Holds a dataset's lock as another daemon would: lock_holder.py FOLDER UUID (bytes|leases) [COUNTER TIMES].

Without a counter it says so and holds it until it is killed; else it adds 1 to the number in that file, so many times.
"""

import sys
import threading
import time
from pathlib import Path
from uuid import UUID

from onefs.cache.beneath import Folder
from onefs.cache.locks import DatasetLocks


def main() -> None:
    folder, dataset_id, kind, *counting = sys.argv[1:]
    locks, stop = DatasetLocks(Folder(Path(folder)), leased=kind == "leases"), threading.Event()
    if not counting:
        with locks.hold(UUID(dataset_id), stop):
            print("held", flush=True)
            threading.Event().wait()
    for _ in range(int(counting[1])):
        with locks.hold(UUID(dataset_id), stop):
            number = int(Path(counting[0]).read_text())
            time.sleep(0.001)
            Path(counting[0]).write_text(str(number + 1))


if __name__ == "__main__":
    main()
