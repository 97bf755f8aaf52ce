#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that holds its listening socket and can get no other: `serve.py [PORT]`.

It says in capitals what it is told, line by line. With asyncio, open sockets by yourself and
hand them in: to look up a name, asyncio starts threads, and limit() may not reach those.
"""

from __future__ import annotations

import asyncio
import socket
import sys

import nonet


async def answer(line: bytes) -> bytes:
    """Return what is said to a line."""
    return line.upper()


async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Talk to who has connected, until they end."""
    while line := await reader.readline():
        writer.write(await answer(line))
        await writer.drain()
    writer.close()


async def main() -> None:
    """Listen, give up all the rest, and then accept."""
    port = int(sys.argv[1]) if sys.argv[1:] else 0
    listener = socket.create_server(("127.0.0.1", port))
    server = await asyncio.start_server(talk, sock=listener)
    print(nonet.limit("none"))
    print(f"port {listener.getsockname()[1]}", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
