"""Which programs opened what in a mount, as status tells it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from archives import sound_rows
from mounted import Mounted

ROWS = sorted((row for row in sound_rows() if row.size), key=lambda row: row.size or 0)[:8]
IN_THREADS = """
import sys, threading
from pathlib import Path
threads = [threading.Thread(target=Path(name).read_bytes) for name in sys.argv[1:]]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def programs(mount: Mounted) -> dict[str, dict[str, Any]]:
    facts = mount.status()["programs"]
    return {each["program"]: each for each in facts}


def test_programs_are_told_apart_with_what_they_opened_had_fetched_and_read(recorded: Mounted, tmp_path: Path) -> None:
    mount = recorded
    assert programs(mount) == {}
    paths = [str(mount.path / row.path) for row in ROWS]
    sizes = [row.size or 0 for row in ROWS]

    script = tmp_path / "folder of mine" / "fit.py"
    script.parent.mkdir()
    script.write_text(IN_THREADS)
    subprocess.run([sys.executable, script, *paths[:4]], check=True)
    python = f"{Path(os.path.realpath(sys.executable)).name} fit.py"
    fit = programs(mount)[python]
    assert (fit["pid_count"], fit["opened_files"], fit["fetched_files"]) == (1, 4, 4)
    assert fit["read_bytes"] >= sum(sizes[:4])

    for _ in range(2):  # cached by now, so that nothing is fetched
        subprocess.run(["head", "-c1", *paths[:4]], check=True, stdout=subprocess.DEVNULL)
    head = programs(mount)["head"]
    assert (head["pid_count"], head["opened_files"], head["fetched_files"]) == (2, 8, 0)

    assert list(programs(mount)) == sorted(programs(mount), key=lambda name: -programs(mount)[name]["fetched_files"])
