"""Makes a server on this machine as distant as one on another continent: distant.py PORT ROUND_TRIP_MS.

Prints the port on which it listens. What comes in goes on half a round trip later, and a connection takes one to be
made. Ends with its standard input.
"""

import asyncio
import sys
from collections import deque
from contextlib import suppress

HOST = "127.0.0.1"


class End(asyncio.Protocol):
    """One end of a connection. What comes here is sent to `other`, no earlier than at `opens_s`."""

    def __init__(self, half_s: float) -> None:
        self._half_s = half_s
        self._pieces: deque[bytes | None] = deque()  # None is the end
        self._loop = asyncio.get_running_loop()
        self.opens_s = 0.0
        self.other: End | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Send it on, later."""
        self._send_on(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """End the other end, later."""
        self._send_on(None)

    def _send_on(self, piece: bytes | None) -> None:
        self._pieces.append(piece)
        self._loop.call_at(max(self._loop.time() + self._half_s, self.opens_s), self._arrive)

    def _arrive(self) -> None:
        piece = self._pieces.popleft()
        if self.other is None or self.other.transport is None:
            return
        if piece is None:
            self.other.transport.close()
        else:
            self.other.transport.write(piece)


class Entrance(End):
    """The end that a client sees. It reads nothing before the server is reached."""

    def __init__(self, port: int, half_s: float) -> None:
        super().__init__(half_s)
        self._port = port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Reach the server."""
        super().connection_made(transport)
        self.opens_s = self._loop.time() + 3 * self._half_s  # a round trip to connect, and half a one for the request
        assert self.transport
        self.transport.pause_reading()
        self._reaching = self._loop.create_task(self._reach())

    async def _reach(self) -> None:
        assert self.transport
        try:
            _, exit_end = await self._loop.create_connection(lambda: End(self._half_s), HOST, self._port)
        except OSError:
            self.transport.close()
            return
        self.other, exit_end.other = exit_end, self
        self.transport.resume_reading()


async def main() -> None:
    """Serve until standard input ends."""
    port, half_s = int(sys.argv[1]), int(sys.argv[2]) / 2000
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Entrance(port, half_s), HOST, 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


with suppress(KeyboardInterrupt):
    asyncio.run(main())
