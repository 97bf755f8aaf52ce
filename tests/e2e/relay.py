# SPDX-License-Identifier: GPL-3.0-or-later
"""A bridge from a real client to a server that has one connected socket and no listener."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

from running import LOOPBACK, listener

if TYPE_CHECKING:
    from network import Network


class Relay:
    """Two listeners inside, on loopback: what comes in at one goes out at the other.

    One connection is taken at each: the server's at `server_port`, then its client's at
    `client_port`.
    """

    def __init__(self, network: Network) -> None:
        self._network = network

    def __enter__(self) -> Relay:  # noqa: PYI034 - typing.Self is younger than Python 3.10
        self._listeners = [
            listener(self._network, self._network.inside, LOOPBACK) for _ in range(2)
        ]
        self.server_port, self.client_port = (one.getsockname()[1] for one in self._listeners)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._listeners:
            one.shutdown(socket.SHUT_RDWR)  # wakes accept(2), should nobody have come
        self._thread.join()
        for one in self._listeners:
            one.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            one, other = (stack.enter_context(each.accept()[0]) for each in self._listeners)
            back = threading.Thread(target=_pump, args=(other, one))
            back.start()
            _pump(one, other)
            back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Hand on what a socket gives, and its end."""
    with contextlib.suppress(OSError):  # either may go at any time
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
