"""What `One.setup` and `OneAlyx.setup` ask at a terminal, in programs whose input and output is one."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onefs import One
from onefs.demo.server import DemoServer

AT_A_TERMINAL = "import json, os; os.open(os.ttyname(0), os.O_RDWR); from onefs import ONE, One, OneAlyx\n"
"""By opening it a program of a new session gets it as its own, which passwords are asked at."""


@pytest.fixture(scope="module")
def server(demo_archive: Path) -> Iterator[DemoServer]:
    with DemoServer(demo_archive) as running:
        yield running


def at_a_terminal(code: str, answers: Sequence[tuple[str, str]], folder: Path) -> Any:
    """What a program prints as JSON at last, at a terminal where each question is answered once it was asked."""
    ours, its = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", AT_A_TERMINAL + code], stdin=its, stdout=its, stderr=its, cwd=folder,
        start_new_session=True,
    ) as program:  # fmt: skip
        os.close(its)
        said = ""
        try:
            for question, answer in answers:
                while question not in said:
                    said += os.read(ours, 4096).decode()
                said = said.partition(question)[2]
                os.write(ours, f"{answer}\n".encode())
            while True:
                said += os.read(ours, 4096).decode()
        except OSError:  # the program has ended
            pass
        finally:
            os.close(ours)
    assert program.returncode == 0, said
    return json.loads(said.strip().splitlines()[-1])


@pytest.fixture
def folder(home: Path) -> Path:
    """A folder with a file of a session, and no tables."""
    path = home / "lab" / "Subjects" / "mouse" / "2024-01-02" / "001" / "alf" / "spikes.times.npy"
    path.parent.mkdir(parents=True)
    np.save(path, np.arange(3))
    return home


INDEXED = "print(json.dumps([str(one.cache_dir), one.list_datasets()]))"


def test_a_folder_is_asked_for(folder: Path) -> None:
    """Nothing typed is the working directory."""
    code = f"one = One.setup()\n{INDEXED}"
    assert at_a_terminal(code, [(f"[{folder}]: ", "")], folder) == [str(folder), ["alf/spikes.times.npy"]]


@pytest.mark.parametrize(("typed", "is_replaced"), [("y", True), ("yes", False)])
def test_tables_are_replaced_only_if_that_is_wanted(folder: Path, typed: str, is_replaced: bool) -> None:
    One.setup(folder, silent=True)
    (session,) = folder.glob("lab/Subjects/mouse/*/*")
    np.save(session / "alf" / "spikes.amps.npy", np.arange(3))
    _, datasets = at_a_terminal(f"one = One.setup(os.getcwd())\n{INDEXED}", [("[y/N]: ", typed)], folder)
    assert ("alf/spikes.amps.npy" in datasets) == is_replaced


@pytest.mark.parametrize(("typed", "is_default"), [("", True), ("n", False)])
def test_what_is_missing_of_a_database_is_asked_for(
    server: DemoServer, home: Path, monkeypatch: pytest.MonkeyPatch, typed: str, is_default: bool
) -> None:
    monkeypatch.setenv("ONEFS_CACHE_DIR", str(home / "cache"))
    code = """
from onefs.api.source_arguments import default_database
one = OneAlyx.setup()
print(json.dumps([one.alyx.base_url, one.alyx.user, default_database()]))
one._archive.close()
"""
    answers = [
        ("URL of the database", server.url),
        ("User of", "demo"),
        ("Password of demo: ", "demo"),
        ("[Y/n]: ", typed),
    ]
    found = at_a_terminal(code, answers, home)
    assert found == [server.url, "demo", "default" if is_default else "openalyx"]
