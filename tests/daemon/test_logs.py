"""The daemon's log on disk."""

import logging
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from onefs.daemon import logs


@pytest.fixture
def log_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    root, ours = logging.getLogger(), logging.getLogger("onefs")
    monkeypatch.setattr(logging, "raiseExceptions", True)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    handlers, levels = root.handlers[:], (root.level, ours.level)
    path = tmp_path / ".onefs" / "onefs.log"
    path.parent.mkdir()
    logs.install("info", path)
    yield path
    for handler in root.handlers:
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


def test_a_deleted_log_is_begun_anew(log_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("onefs").warning("before")
    assert logs.last_lines(log_file).endswith("before\n")
    shutil.rmtree(log_file.parent)
    told = logs.last_lines(log_file)
    assert told.startswith(f"There is no {log_file}: it was deleted, or nothing was logged yet.")
    logging.getLogger("onefs").warning("after")
    logging.getLogger("onefs").warning("and more")
    assert [line.rpartition(": ")[2] for line in logs.last_lines(log_file).splitlines()] == ["after", "and more"]
    assert capsys.readouterr().err == "", "no failure of the log"
