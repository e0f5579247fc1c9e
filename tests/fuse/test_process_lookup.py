"""Which program a thread belongs to, asked of real processes."""

import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from onefs.fuse.process_lookup import UNKNOWN, ProcessLookup
from onefs.recording.processes import Caller, process

pytestmark = pytest.mark.trio


def identity(pid: int) -> object:
    found = process(pid)
    assert found is not None
    return found.identity


async def test_what_has_no_number_is_unknown() -> None:
    assert await ProcessLookup().caller(0, 1000) == Caller(None, UNKNOWN, 1000)
    assert (await ProcessLookup().caller(2**22 + 1, 1000)).program == UNKNOWN


async def test_a_thread_is_of_its_process() -> None:
    callers, numbers, go_on = ProcessLookup(), [], threading.Event()

    def run() -> None:
        numbers.append(threading.get_native_id())
        ready.set()
        go_on.wait()

    ready = threading.Event()
    thread = threading.Thread(target=run)
    thread.start()
    ready.wait()
    try:
        mine, its = await callers.caller(os.getpid(), 0), await callers.caller(numbers[0], 0)
    finally:
        go_on.set()
        thread.join()
    assert mine == its
    assert mine.process == identity(os.getpid())


async def test_a_process_that_becomes_another_program_is_told_anew() -> None:
    callers = ProcessLookup()
    with subprocess.Popen(
        ["sh", "-c", "echo; read line; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdout.readline()
        before = await callers.caller(child.pid, 0)
        child.stdin.write(b"\nbytes\n")
        child.stdin.flush()
        assert child.stdout.readline() == b"bytes\n"
        after = await callers.caller(child.pid, 0)
        child.stdin.close()
    assert before.process == after.process
    assert before.program in ("sh", "dash", "bash")
    assert after.program in ("cat", "coreutils")


async def test_a_name_of_several_lines_is_told_in_one(tmp_path: Path) -> None:
    copy = tmp_path / "cat\nERROR \udcff"
    shutil.copy(os.path.realpath(shutil.which("cat") or ""), copy)
    with subprocess.Popen([copy], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b"bytes\n")
        child.stdin.flush()
        child.stdout.readline()
        found = await ProcessLookup().caller(child.pid, 0)
        child.stdin.close()
    assert found.program == "cat\\nERROR \\xff"


async def test_a_process_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    callers = ProcessLookup()
    first = await callers.caller(os.getpid(), 0)
    monkeypatch.setattr("onefs.fuse.process_lookup.file_name", None)
    assert await callers.caller(os.getpid(), 0) is first
