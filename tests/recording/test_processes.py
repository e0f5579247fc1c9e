"""Who reads: the program and its ancestors, and nothing secret of its words."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from onefs.recording.processes import Identity, Reader, process, program_in_short, reader

WAIT = "import sys; sys.stdin.read()"


def running(*words: str | Path, cwd: Path | None = None) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(list(map(str, words)), stdin=subprocess.PIPE, cwd=cwd)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["analysis.py", "--token", "secret"], "HERE/analysis.py"),
        (["-u", "./analysis.py", "secret"], "HERE/analysis.py"),
        (["-W", "ignore", "analysis.py"], "HERE/analysis.py"),
        (["-c", WAIT, "secret.py"], ""),
        (["-Ic", WAIT, "/secret"], ""),
        (["-m", "analysis", "secret"], "-m analysis"),
    ],
)
def test_an_interpreter_is_told_with_its_script(words: list[str], told: str, tmp_path: Path) -> None:
    here = tmp_path.resolve()
    (here / "analysis.py").write_text(WAIT)
    child = running(sys.executable, *words, cwd=here)
    try:
        while words[0].encode() not in Path(f"/proc/{child.pid}/cmdline").read_bytes().split(b"\0"):
            pass  # it is still a copy of this process, or about to have words of its own
        program = reader(child.pid, os.getuid()).program
    finally:
        child.communicate()
    assert program == f"{Path(os.path.realpath(sys.executable)).name} {told.replace('HERE', str(here))}".rstrip()


def test_a_long_name_of_a_script_is_cut(tmp_path: Path) -> None:
    script = tmp_path / ("a" * 250 + ".py")
    script.write_text(f"print(flush=True); {WAIT}")
    with subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        found = process(child.pid)
        assert found is not None
        name = program_in_short(found)
        child.communicate()
    assert name == f"{Path(os.path.realpath(sys.executable)).name} {script.name}"[:100]


def test_another_program_is_told_by_its_file() -> None:
    child = running("cat", "-", "/dev/null")
    try:
        assert reader(child.pid, os.getuid()).program in ("cat", "coreutils")
    finally:
        child.communicate()


def test_a_thread_is_told_as_its_process() -> None:
    found: list[Reader] = []
    thread = threading.Thread(target=lambda: found.append(reader(threading.get_native_id(), 0)))
    thread.start()
    thread.join()
    assert (found[0].pid, found[0].user) == (os.getpid(), "root")


def test_descendants_are_told_from_others() -> None:
    me = process(os.getpid())
    assert me is not None
    child = running("sh", "-c", "cat; :")
    try:
        assert reader(child.pid, 0).descends_from(me.identity)
        assert not reader(os.getppid(), 0).descends_from(Identity(child.pid, 0))
        root = process(child.pid)
        assert root is not None
        assert not reader(os.getpid(), 0).descends_from(root.identity)
    finally:
        child.communicate()
    assert process(child.pid) is None


def test_an_orphan_is_told_by_the_group_it_was_started_in(tmp_path: Path) -> None:
    """The shell leads a group of its own and has ended; what it started was given to another parent."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    shell = subprocess.Popen(
        ["sh", "-c", f"cat <{fifo} & echo $!"], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert shell.stdout is not None
    orphan = int(shell.stdout.readline())
    root = process(shell.pid) or Identity(shell.pid, 0)
    shell.wait()
    identity = root if isinstance(root, Identity) else root.identity
    with fifo.open("w"):
        assert reader(orphan, 0).descends_from(identity)
        assert not reader(os.getpid(), 0).descends_from(identity)
    shell.stdout.close()


def test_whoever_is_unknown_has_no_name() -> None:
    assert reader(0, 4_000_000_000) == Reader(0, "", "4000000000", frozenset(), frozenset())


@pytest.mark.needs_root
def test_a_script_of_another_user_is_told_as_far_as_it_can_be_seen(tmp_path: Path) -> None:
    """Another user sees neither the program's file nor its folder, but its words."""
    (tmp_path / "fit.py").write_text("print(flush=True);" + WAIT)
    child = subprocess.Popen([sys.executable, "fit.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path)
    assert child.stdout is not None
    child.stdout.readline()
    found = process(child.pid)
    assert found is not None
    reads, writes = os.pipe()
    other = os.fork()
    if not other:
        try:
            os.setuid(65534)
            os.write(writes, program_in_short(found).encode())
        finally:
            os._exit(0)
    os.waitpid(other, 0)
    os.close(writes)
    told = os.read(reads, 1000).decode()
    os.close(reads)
    child.communicate()
    assert told == f"{found.name} fit.py"


NUMBER_AGAIN = """
import subprocess
from pathlib import Path
from onefs.recording.processes import process, program_key

def told(word):
    with subprocess.Popen([word], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdin.write(b"bytes\\n")
        child.stdin.flush()
        child.stdout.readline()  # it has become that program
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(child.pid - 1))
        found = process(child.pid), program_key(child.pid)
    return found

(before, before_key), (after, after_key) = told("tee"), told("cat")
assert before.identity.pid == after.identity.pid == after_key[0]
assert process(after.identity.pid) is None
print(before.name, after.name, before_key != after_key)
"""


def test_a_number_that_comes_again_is_another_process() -> None:
    own_namespace = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    command = [*own_namespace, sys.executable, "-c", NUMBER_AGAIN]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "tee cat True\n", done.stderr
