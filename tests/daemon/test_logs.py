"""The daemon's log: on disk, in memory, in the journal, and what may stand in it."""

import errno
import json
import logging
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from onefs.daemon import logs
from onefs.daemon.log_formats import formatter
from onefs.setting_values import log_levels, log_parts

SIGNED = "https://bucket.s3.amazonaws.com/a?X-Amz-Credential=AKIAABCDEFGHIJKLMNOP&X-Amz-Signature=5ecre7"
TOKEN = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    names = ["onefs", *(f"onefs.{part}" for part in log_parts())]
    root = logging.getLogger()
    handlers, levels = root.handlers[:], {name: logging.getLogger(name).level for name in names}
    root_level = root.level
    monkeypatch.setattr(logging, "raiseExceptions", True)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    yield
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(root_level)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def text_of(log: logs.Log) -> str:
    return log.text.read(0, log.text.size_now()).decode()


def said(log: logs.Log) -> list[str]:
    return [line.rpartition(": ")[2] for line in text_of(log).splitlines()]


def test_a_deleted_log_is_begun_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / ".onefs" / "onefs.log"
    log = logs.install("info", path)
    logging.getLogger("onefs").warning("before")
    assert said(log) == ["before"]
    shutil.rmtree(path.parent)
    assert (log.text.size_now(), text_of(log)) == (0, "")
    logging.getLogger("onefs").warning("after")
    logging.getLogger("onefs").warning("and more")
    assert said(log) == ["after", "and more"]
    assert capsys.readouterr().err == "", "no failure of the log"


def test_a_log_that_moved_with_the_folder_around_it_goes_on_there(tmp_path: Path) -> None:
    folder, moved = tmp_path / "data", tmp_path / "moved"
    log = logs.install("info", folder / ".onefs" / "onefs.log")
    logging.getLogger("onefs").warning("before")
    folder.rename(moved)
    logging.getLogger("onefs").warning("while it is away")
    assert not folder.exists(), "it can be moved back"
    moved.rename(folder)
    logging.getLogger("onefs").warning("after")
    assert said(log) == ["before", "while it is away", "after"]


def test_a_log_on_a_full_disk_harms_nobody_and_goes_on_once_another_takes_its_place(tmp_path: Path) -> None:
    path = tmp_path / "onefs.log"
    path.symlink_to("/dev/full")
    log = logs.install("info", path)
    logging.getLogger("onefs").warning("lost")
    path.unlink()
    path.touch()
    logging.getLogger("onefs").warning("after")
    logging.getLogger("onefs").warning("and more")
    assert said(log) == ["after", "and more"]


def test_what_cannot_be_formatted_harms_nobody() -> None:
    memory = logs.MemoryLog()
    logging.raiseExceptions = False
    memory.handle(logging.makeLogRecord({"msg": "%d", "args": ("no number",)}))
    assert memory.size_now() == 0


def test_an_answer_that_the_kernel_no_longer_waits_for_is_no_error(tmp_path: Path) -> None:
    log = logs.install("info", tmp_path / "onefs.log")
    for number in (errno.ENOENT, errno.EINVAL):
        logging.getLogger("pyfuse3").error("fuse_release(): fuse_reply_* failed with %s", os.strerror(number))
    assert said(log) == ["fuse_reply_* failed with Invalid argument"]


def test_an_open_log_shows_new_lines_where_the_last_ended(tmp_path: Path) -> None:
    log = logs.install("info", tmp_path / "onefs.log")
    logging.getLogger("onefs").warning("one")
    with_file = log.text.open()
    end = with_file.size_bytes
    assert end
    logging.getLogger("onefs").warning("two")
    assert with_file.read(end, 1000).decode().endswith(": two\n")


def test_without_a_file_the_last_lines_are_in_memory(capfd: pytest.CaptureFixture[str]) -> None:
    log = logs.install("info", None)
    logging.getLogger("onefs").info("for both")
    assert log.place == "standard error"
    assert said(log) == ["for both"]
    assert capfd.readouterr().err == text_of(log)


def test_memory_is_bounded_and_keeps_whole_lines_of_the_end() -> None:
    memory = logs.MemoryLog(most_bytes=1000)
    memory.setFormatter(logging.Formatter("%(message)s"))
    for number in range(1000):
        memory.handle(logging.makeLogRecord({"msg": f"line {number}"}))
        assert memory.size_now() <= 1000
    kept = memory.read(0, 1000).decode().splitlines()
    assert kept == [f"line {number}" for number in range(1000 - len(kept), 1000)]
    assert len(kept) > 10


def test_the_journal_gets_priorities_and_no_times(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    status = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    log = logs.install("debug", None)
    ours = logging.getLogger("onefs.daemon")
    ours.debug("a")
    ours.warning("b\nc")
    ours.error("d")
    assert capfd.readouterr().err == "<7>onefs.daemon: a\n<4>onefs.daemon: b\n<4>    c\n<3>onefs.daemon: d\n"
    assert log.place.startswith("journalctl")
    assert "WARNING onefs.daemon: b" in text_of(log)


def test_a_stream_that_is_not_the_journal_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "1:1")
    assert logs.install("info", None).place == "standard error"


def test_json_has_one_object_a_line(tmp_path: Path) -> None:
    log = logs.install("info", tmp_path / "onefs.log", "json")
    logging.getLogger("onefs.cache.store").error("It failed:\n%s", "ü", exc_info=ValueError("two\nlines"))
    (line,) = text_of(log).splitlines()
    told = json.loads(line)
    assert told.pop("time").endswith("Z")
    assert "ValueError: two\nlines" in told.pop("exception")
    expected = {"level": "error", "part": "cache", "logger": "onefs.cache.store", "message": "It failed:\nü"}
    assert told == expected


def test_json_is_valid_whatever_a_name_is_of(tmp_path: Path) -> None:
    log = logs.install("info", tmp_path / "onefs.log", "json")
    logging.getLogger("onefs").error("%s", os.fsdecode(b"caf\xe9"), exc_info=OSError(os.fsdecode(b"caf\xe9")))
    told = json.loads(text_of(log))
    assert told["message"] == "caf\\udce9"
    assert (told["message"] + told["exception"]).encode(), "no halves of letters"


def test_no_name_passes_for_a_line_of_the_log(tmp_path: Path) -> None:
    log = logs.install("info", tmp_path / "onefs.log")
    name = "a.npy\n2026-01-01 00:00:00,000 ERROR onefs: All is lost"
    logging.getLogger("onefs").warning("%s is missing", name)
    first, second = text_of(log).splitlines()
    assert first.endswith("WARNING onefs: a.npy")
    assert second.startswith("    2026-")


def test_a_part_can_have_a_level_of_its_own(tmp_path: Path) -> None:
    log = logs.install(log_levels("info,transports=debug,alyx=error"), tmp_path / "onefs.log")
    for name in ("onefs.transports.http", "onefs.alyx.client", "onefs.cache"):
        for level in ("debug", "info", "error"):
            getattr(logging.getLogger(name), level)("%s %s", name, level)
    assert said(log) == [
        "onefs.transports.http debug",
        "onefs.transports.http info",
        "onefs.transports.http error",
        "onefs.alyx.client error",
        "onefs.cache info",
        "onefs.cache error",
    ]
    assert logs.levels_in_force() == "info,alyx=error,transports=debug"
    logs.set_levels("warning")
    assert logs.levels_in_force() == "warning", "the parts follow again"


def test_an_unknown_part_is_told_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'nets' is no part of onefs, whose parts are .*alyx.*transports"):
        log_levels("info,nets=debug")


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("for_journal", [False, True])
def test_no_secret_is_in_any_form_of_a_line(form: str, for_journal: bool) -> None:
    lines = formatter(form, for_journal=for_journal)
    texts = [
        f"GET {SIGNED}",
        f"Retrying (Retry(total=2)) after connection broken by 'x': {SIGNED}",
        f"send: b'GET /sessions HTTP/1.1\\r\\nAuthorization: Token {TOKEN}\\r\\n'",
        "header: Authorization: Basic bWU6aHVudGVyMg==",
        "proxy http://me:hunter2@proxy:3128 refused",
        "POST /auth-token {'username': 'me', 'password': 'hunter2'}",
    ]
    for text in texts:
        for name in ("onefs.transports.http", "urllib3.connectionpool", "requests"):
            error = OSError(text)
            record = logging.makeLogRecord(
                {"name": name, "levelname": "DEBUG", "msg": "%s", "args": (text,), "exc_info": (OSError, error, None)}
            )
            line = lines.format(record)
            for secret in ("5ecre7", "AKIA", TOKEN, "bWU6aHVudGVyMg", "hunter2"):
                assert secret not in line, (name, text)
