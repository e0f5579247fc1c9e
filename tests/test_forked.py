"""Command lines in processes that are forked from one."""

import os
import threading
from pathlib import Path

import pytest
from forked import ForkServer
from waiting import PATIENCE_S, wait_until


@pytest.mark.slow
def test_a_command_is_not_waited_for_by_who_began_another(tmp_path: Path) -> None:
    """Each of two commands asks a question, until its input ends."""
    server, inputs, threads = ForkServer(), [os.pipe() for _ in range(2)], []
    surroundings = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path)}
    for number, (ours, _) in enumerate(inputs, 1):
        ask = (["setup"], surroundings, tmp_path, ours, 2 * PATIENCE_S)
        threads.append(threading.Thread(target=server.run, args=ask))
        threads[-1].start()
        wait_until(lambda number=number: number_of_children(server) == number)
    for thread, (ours, theirs) in zip(threads, inputs, strict=True):
        os.close(theirs)
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        os.close(ours)


def number_of_children(server: ForkServer) -> int:
    """The number of processes that were forked and have not ended."""
    process = server._process
    return len(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()) if process else 0
