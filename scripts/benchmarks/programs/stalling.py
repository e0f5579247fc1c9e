"""Stands between clients and a server of this machine: stalling.py PORT. Prints the port on which it listens.

At the line `stall` on standard input it keeps back whatever comes, of the connections that it has and of new ones.
Ends with its standard input.
"""

import asyncio
import os
import sys

HOST = "127.0.0.1"
PIECE_BYTES = 1 << 16


class Relay:
    """Passes on, or keeps back, what comes."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._goes_on = asyncio.Event()
        self._goes_on.set()

    def stall(self) -> None:
        """Keep back whatever comes."""
        self._goes_on.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection."""
        await self._goes_on.wait()
        server_reader, server_writer = await asyncio.open_connection(HOST, self._port)
        await asyncio.gather(self._pass_on(reader, server_writer), self._pass_on(server_reader, writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(PIECE_BYTES):
            await self._goes_on.wait()
            writer.write(piece)
            await writer.drain()
        writer.close()


async def main() -> None:
    """Serve until standard input ends."""
    relay = Relay(int(sys.argv[1]))
    server = await asyncio.start_server(relay.serve, HOST, 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        relay.stall()
    os._exit(0)  # connections that are kept back would have to be cancelled one by one


asyncio.run(main())
