"""The server that holds the files: a real nginx on loopback, which lists folders as rclone needs it to."""

import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.bench import BenchFailedError, find_program

STARTING_S = 10.0
QUIET_S = 0.3
CONFIGURATION = """\
daemon off;
user root;
master_process off;
pid {home}/pid;
error_log {home}/error.log;
events {{ worker_connections 2048; }}
http {{
    access_log {access_log};
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    types {{ }}
    default_type application/octet-stream;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        root {root};
        autoindex on;
    }}
}}
"""


class Nginx:
    """A context in which nginx serves the files under `root` at `url`, which has no slash at its end."""

    def __init__(self, root: Path, *, logs: bool = False) -> None:
        """With `logs` it notes every request, which costs it some time."""
        self._root = root.resolve()
        self._logs = logs
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port: int = probe.getsockname()[1]
        self._home = Path()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Base URL of the files."""
        return f"http://127.0.0.1:{self._port}"

    def requests(self) -> list[str]:
        """A line for each request so far."""
        return (self._home / "access.log").read_text().splitlines()

    def sent_bytes(self) -> int:
        """How many bytes of bodies it sent in all requests so far, once those that were broken off have ended."""
        seen = -1
        while seen != (seen := len(self.requests())):
            time.sleep(QUIET_S)  # nginx logs a little later
        return sum(int(line.split('"')[2].split()[1]) for line in self.requests())

    def __enter__(self) -> Self:
        self._home = Path(tempfile.mkdtemp(prefix="onefs-bench-nginx-"))
        access_log = self._home / "access.log" if self._logs else "off"
        text = CONFIGURATION.format(home=self._home, port=self._port, root=self._root, access_log=access_log)
        (self._home / "nginx.conf").write_text(text)
        program = find_program("nginx") or "nginx"
        # In a session of its own: Ctrl-C must not end it before what is mounted over it.
        self._process = subprocess.Popen(
            [program, "-p", str(self._home), "-c", "nginx.conf", "-e", str(self._home / "error.log")],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + STARTING_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1):
                return self
            time.sleep(0.02)
        log = self._home / "error.log"
        said = log.read_text() if log.exists() else "no reason given"
        self.__exit__(None, None, None)
        raise BenchFailedError(f"nginx did not start: {said}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._home, ignore_errors=True)
