"""A program that has too many files fetched: people are warned, and it is stopped if that is set."""

import subprocess
import sys
from pathlib import Path

from archives import PASSWORD, RECORDINGS, USER, sound_rows
from mounted import ONEFS, Mounted, run_onefs
from servers import Nginx

ROWS = sorted((row for row in sound_rows() if row.size), key=lambda row: row.size or 0)
LIMIT = 4
LOAD = """
import sys
from onefs import One
one = One(cache_dir=sys.argv[1], mode="local")
for number in sys.argv[2:]:
    one.load_dataset(*number.split("=", 1), download_only=True)
"""


def read(mount: Mounted, rows: list, program: str = "cat") -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run([program, *(mount.path / row.path for row in rows)], capture_output=True, check=False)


def state(mount: Mounted, row: object) -> str:
    return mount.xattr(row.path, "state")


def test_a_program_is_warned_of_and_then_refused_what_is_not_cached(data_server: Nginx, tmp_path: Path) -> None:
    flags = ["--data-url", data_server.url, "--data-user", USER, "--crawl-warn", "2", "--crawl-limit", str(LIMIT)]
    with Mounted(RECORDINGS / "tables", tmp_path, *flags, ONEFS_DATA_PASSWORD=PASSWORD) as mount:
        assert read(mount, ROWS[:2]).returncode == 0
        assert mount.errors() == ""
        assert mount.status()["crawlers"] == []

        assert read(mount, ROWS[2:LIMIT]).returncode == 0
        warned, reached = mount.errors().splitlines()
        assert "\t-\t\tMore than 2 files were fetched within an hour for cat (user " in warned
        assert "PRUNEFS" in warned
        assert "4 files were fetched within an hour for cat" in reached
        assert warned.split("\t")[3] in mount.log()
        (crawler,) = mount.status()["crawlers"]
        assert (crawler["program"], crawler["fetched_files"], crawler["refused"]) == ("cat", LIMIT, True)

        refused = read(mount, ROWS[3:7])  # of which the first is cached
        assert refused.returncode == 1
        assert refused.stderr.decode().count("Disk quota exceeded") == 3
        assert len(refused.stdout) == ROWS[3].size
        last = mount.errors().splitlines()[-1].split("\t")
        assert (last[1], last[2], last[-1]) == ("EDQUOT", "", "×4")
        assert state(mount, ROWS[4]) == "remote"
        assert len(mount.errors().splitlines()) == 2

        # Whoever says which files it wants is not searching; other programs go on, too.
        assert read(mount, ROWS[4:5], "head").returncode == 0
        assert run_onefs("fetch", mount.path / ROWS[5].path).returncode == 0
        wrapped = [*ONEFS, "record", "run", "--label", "mine", "--mount", mount.path, "--", "cat"]
        assert (
            subprocess.run([*wrapped, mount.path / ROWS[6].path], stdout=subprocess.DEVNULL, check=False).returncode
            == 0
        )
        assert read(mount, ROWS[7:8]).returncode == 1

        assert run_onefs("retry", mount.path).returncode == 0
        assert mount.status()["crawlers"] == []
        assert read(mount, ROWS[7:8]).returncode == 0


def test_the_python_interface_is_never_taken_for_a_crawler(data_server: Nginx, tmp_path: Path) -> None:
    flags = ["--data-url", data_server.url, "--data-user", USER, "--crawl-limit", "1"]
    rows = ROWS[:4]
    words = [
        f"{row.path.rsplit('/alf', 1)[0]}=alf{row.path.rsplit('/alf', 1)[1]}" for row in rows if "/alf" in row.path
    ]
    with Mounted(RECORDINGS / "tables", tmp_path, *flags, ONEFS_DATA_PASSWORD=PASSWORD) as mount:
        loaded = subprocess.run([sys.executable, "-c", LOAD, mount.path, *words], capture_output=True, check=False)
        assert loaded.returncode == 0, loaded.stderr
        assert mount.status()["crawlers"] == []
        opened = sum(each["fetched_files"] for each in mount.status()["programs"])
        assert opened == len(words) > 1


def test_files_that_cannot_be_fetched_do_not_count(tmp_path: Path) -> None:
    flags = ["--data-url", "http://127.0.0.1:9/public", "--crawl-limit", "2"]
    with Mounted(RECORDINGS / "tables", tmp_path, *flags) as mount:
        assert read(mount, ROWS[:4]).stderr.count(b"No route to host") == 4
        assert mount.status()["crawlers"] == []
        assert mount.status()["programs"] == []
