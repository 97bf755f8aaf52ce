# SPDX-License-Identifier: GPL-3.0-or-later
"""The other side of every attempt: servers that count, a victim, what is held.

Nothing here needs a test runner, so that it can run wherever a kernel does.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import pty
import shutil
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import time
import tty
from pathlib import Path
from typing import TYPE_CHECKING, Any

from network import DECOY4, DECOY6, GROUPS4, GROUPS6, INSIDE4, INSIDE6, OUTSIDE4, OUTSIDE6, Network

if TYPE_CHECKING:
    from collections.abc import Callable

IPPROTO_MPTCP = 262
PYTHON = "/usr/bin/python3"

QUIET = 2.5  # seconds

_VICTIM = """
import ctypes, os, sys
memory = ctypes.create_string_buffer(b"untouched" * 2, 32)
print(ctypes.addressof(memory), flush=True)
sys.stdin.read()
"""
_UNTOUCHED = b"untouched"  # twice in the victim's memory: a place for each way of writing


def _link_local() -> str:
    """Return the link-local address of the only device here (proc_net(5), if_inet6)."""
    lines = Path("/proc/thread-self/net/if_inet6").read_text(encoding="ascii").split("\n")
    digits = next(line[:32] for line in lines if line.startswith("fe80"))
    return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))


class World:
    """Servers inside and outside, each with a count of what reached it."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.counts: dict[str, int] = dict.fromkeys(
            (
                "tcp4",
                "tcp6",
                "tcp-lo",
                "tcp6-lo",
                "udp-lo",
                "udp6",
                "own4",
                "own6",
                "caller",
                "every6",
                "every-udp",
                "every-udp6",
                "udp4",
                "echo",
                "unix-stream",
                "unix-dgram",
                "abstract-stream",
                "abstract-dgram",
            ),
            0,
        )
        self.directory = Path(tempfile.mkdtemp(prefix="nonet-world-"))
        self.directory.chmod(0o777)
        self.places: dict[str, Any] = {
            "directory": str(self.directory),
            "decoy4": DECOY4,
            "decoy6": DECOY6,
            "groups4": GROUPS4,
            "groups6": GROUPS6,
            "inside4": INSIDE4,
            "inside6": INSIDE6,
            "device": network.call(network.inside, lambda: socket.if_nametoindex("veth0")),
        }
        self._sockets: list[socket.socket] = []
        self._stirred = True  # by who used the network before, and by what is held
        self._bound("tcp4", network.outside, socket.AF_INET, socket.SOCK_STREAM, (OUTSIDE4, 0))
        self._bound("tcp6", network.outside, socket.AF_INET6, socket.SOCK_STREAM, (OUTSIDE6, 0))
        self._bound("udp4", network.outside, socket.AF_INET, socket.SOCK_DGRAM, (OUTSIDE4, 0))
        self._bound("every6", network.outside, socket.AF_INET6, socket.SOCK_STREAM, ("::", 0))
        for name, family, host in (
            ("every-udp", socket.AF_INET, "0.0.0.0"),
            ("every-udp6", socket.AF_INET6, "::"),
        ):
            self._bound(name, network.outside, family, socket.SOCK_DGRAM, (host, 0))
        self.places["outside-link-local"] = network.call(network.outside, _link_local)
        self._bound("udp6", network.outside, socket.AF_INET6, socket.SOCK_DGRAM, (OUTSIDE6, 0))
        self._bound("tcp6-lo", network.inside, socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0))
        self._bound("udp-lo", network.inside, socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0))
        self._bound("own4", network.inside, socket.AF_INET, socket.SOCK_STREAM, (INSIDE4, 0))
        self._bound("own6", network.inside, socket.AF_INET6, socket.SOCK_STREAM, (INSIDE6, 0))
        for name in ("tcp-lo", "echo", "caller"):
            self._bound(name, network.inside, socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0))
        for kind, number in (("stream", socket.SOCK_STREAM), ("dgram", socket.SOCK_DGRAM)):
            path = str(self.directory / kind)
            self._bound(f"unix-{kind}", network.inside, socket.AF_UNIX, number, path)
            Path(path).chmod(0o777)
            abstract = f"\0{self.directory.name}-{kind}"
            self._bound(f"abstract-{kind}", network.inside, socket.AF_UNIX, number, abstract)
        setuid_python = self.directory / "setuid-python"
        shutil.copy(os.path.realpath(PYTHON), setuid_python)
        setuid_python.chmod(0o4755)
        self.places["setuid-python"] = str(setuid_python)

    def close(self) -> None:
        for one in self._sockets:
            with contextlib.suppress(OSError):  # ENOTCONN: an unbound peer; it wakes all the same
                one.shutdown(socket.SHUT_RDWR)  # close(2) alone leaves accept(2) waiting
            one.close()
        shutil.rmtree(self.directory)

    def quieten(self, *, bare: bool) -> None:
        """Wait until what controls left behind has been sent: reports of groups, last segments."""
        if self._stirred and not bare:
            time.sleep(QUIET)
        self._stirred = bare

    def _bound(self, name: str, namespace: str, family: int, kind: int, address: Any) -> None:  # noqa: ANN401 - an address of any family
        made = self.network.call(namespace, lambda: socket.socket(family, kind))
        self._sockets.append(made)
        made.bind(address)
        self.places[name] = made.getsockname()[:2] if family != socket.AF_UNIX else address
        if kind == socket.SOCK_STREAM:
            made.listen(64)
        serve = self._serve_stream if kind == socket.SOCK_STREAM else self._serve_datagrams
        threading.Thread(target=serve, args=(name, made), daemon=True).start()

    def _serve_datagrams(self, name: str, server: socket.socket) -> None:
        while True:
            try:
                server.recv(65536)
            except OSError:  # closed at the end of the tests
                return
            self.counts[name] += 1

    def _serve_stream(self, name: str, server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:  # closed at the end of the tests
                return
            if name != "echo":
                self.counts[name] += 1
            threading.Thread(target=self._talk, args=(name, connection), daemon=True).start()

    def _talk(self, name: str, connection: socket.socket) -> None:
        with connection, contextlib.suppress(ConnectionError):  # attempts disconnect at will
            while data := connection.recv(4096):
                if name == "caller":
                    connection.send(self._call(json.loads(data)))
                elif name == "echo":
                    self.counts[name] += 1
                    connection.send(data)

    def _call(self, order: list[Any]) -> bytes:
        """Call an address from inside or outside; return the errno, or 0."""
        where, host, port = order
        namespace = self.network.inside if where == "inside" else self.network.outside

        def call() -> bytes:
            try:
                with socket.create_connection((host, port), 5) as one:
                    one.send(b"hello")
            except OSError as error:
                return str(error.errno).encode()
            return b"0"

        return self.network.call(namespace, call)


class Holding:
    """What one attempt is handed, and what it takes to see what became of it."""

    def __init__(
        self, fds: list[int], *behind: object, count: Callable[[], int] | None = None
    ) -> None:
        self.fds = fds
        self.behind = behind  # kept alive
        self.count = count

    def disconnect(self) -> None:
        """Undo a TCP connection, whoever else holds it."""
        (one,) = self.behind
        assert isinstance(one, socket.socket)
        address = socket.AF_UNSPEC.to_bytes(2, sys.byteorder) + bytes(26)
        ctypes.CDLL(None).connect(one.fileno(), address, len(address))


PLAIN = {
    "fresh": (socket.AF_INET, socket.SOCK_STREAM, 0),
    "fresh6": (socket.AF_INET6, socket.SOCK_STREAM, 0),
    "mptcp": (socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP),
    "unix-fresh": (socket.AF_UNIX, socket.SOCK_STREAM, 0),
    "unix-dgram": (socket.AF_UNIX, socket.SOCK_DGRAM, 0),
}


def _plain(kind: str, *, tied: bool) -> socket.socket:
    one = socket.socket(*PLAIN[kind])
    if tied and kind.startswith("fresh"):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")
    return one


def hold(  # noqa: PLR0911 - one for each kind
    world: World, what: str | None, *, tied: bool = False
) -> Holding:
    """Make what an attempt holds, inside: TCP sockets `tied` to lo, but for those that lead out."""

    def plain(kind: str) -> socket.socket:
        stays = tied and what not in ("far", "far6")
        return world.network.call(world.network.inside, lambda: _plain(kind, tied=stays))

    def connected(place: tuple[str, int]) -> socket.socket:
        one = plain("fresh")
        one.connect(place)
        return one

    if what is None:
        return Holding([])
    if what in PLAIN:
        one = plain(what)
        return Holding([one.fileno()], one)
    match what:
        case "connected":
            one = connected(world.places["echo"])
            return Holding([one.fileno()], one)
        case "far" | "far6":  # connected to another host
            one = plain("fresh" if what == "far" else "fresh6")
            one.connect(tuple(world.places["tcp4" if what == "far" else "tcp6"]))
            return Holding([one.fileno()], one)
        case "called":  # a listener that somebody has called already
            one = plain("fresh")
            one.bind(("127.0.0.1", 0))
            one.listen(4)
            caller = connected(one.getsockname())
            caller.send(b"hello")
            return Holding([one.fileno()], one, caller)
        case "post":  # a connected socket is in the mail
            mine, theirs = socket.socketpair()
            letter = connected(world.places["echo"])
            socket.send_fds(mine, [b"x"], [letter.fileno()])
            return Holding([theirs.fileno()], theirs, mine)
        case "terminal":
            return _terminal()
    raise AssertionError(what)


def _terminal() -> Holding:
    master, slave = pty.openpty()
    tty.setraw(slave)
    waiting = bytearray(4)

    def typed() -> int:
        fcntl.ioctl(slave, termios.FIONREAD, waiting)
        return int.from_bytes(waiting, sys.byteorder)

    return Holding([slave], os.fdopen(master, "rb"), os.fdopen(slave, "rb"), count=typed)


class Victim:
    """A process of the same user outside the limit."""

    def __init__(self, words: list[str | bytes]) -> None:
        self._process = subprocess.Popen(
            [*words, PYTHON, "-c", _VICTIM], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        self.pid = self._process.pid
        self.address = int(self._process.stdout.readline())

    def touched(self) -> int:
        """Return in how many places its memory was changed."""
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as file:
            file.seek(self.address)
            found = file.read(2 * len(_UNTOUCHED))
        return 2 - found.count(_UNTOUCHED)

    def close(self) -> None:
        self._process.communicate()
