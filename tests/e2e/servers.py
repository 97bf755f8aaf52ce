# SPDX-License-Identifier: GPL-3.0-or-later
"""Something to fetch, at the outside end of the test's network: web pages and names."""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import socket
import socketserver
import struct
import subprocess
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from network import OUTSIDE4, OUTSIDE6
from programs import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    from network import Network

PAYLOAD = "what was fetched"


class Counted:
    """A socketserver that counts what reaches it."""

    accepted = 0

    def get_request(self) -> Any:  # noqa: ANN401 - whatever the server at hand gives
        self.accepted += 1
        return super().get_request()  # type: ignore[misc]  # the server at hand has it


class Web(Counted, http.server.ThreadingHTTPServer):
    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer's own looks its name up by DNS
        self.server_name, self.server_port = OUTSIDE4, self.socket.getsockname()[1]


class Web6(Web):
    address_family = socket.AF_INET6


class Pages(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class Names(Counted, socketserver.UDPServer):
    pass


class Answer(socketserver.BaseRequestHandler):
    """Answer a question for an address (RFC 1035, section 4.1) with OUTSIDE4."""

    def handle(self) -> None:
        query, sock = self.request
        end = query.index(0, 12) + 5
        is_a = query[end - 4 : end] == struct.pack("!HH", 1, 1)
        reply = query[:2] + struct.pack("!5H", 0x8180, 1, is_a, 0, 0) + query[12:end]
        if is_a:
            reply += struct.pack("!HHHIH", 0xC00C, 1, 1, 0, 4) + socket.inet_aton(OUTSIDE4)
        sock.sendto(reply, self.client_address)


@dataclass(frozen=True)
class Site:
    """The servers at the outside end, and a resolv.conf(5) that leads to them."""

    servers: dict[str, Web | Names]
    resolv_conf: str

    def fill(self, text: str) -> str:
        """Return a text with the site's addresses in it."""
        port, port6 = (self.servers[name].server_address[1] for name in ("web", "web6"))
        values = {
            "$SITE6": f"http://[{OUTSIDE6}]:{port6!s}",
            "$SITE": f"http://{OUTSIDE4}:{port!s}",
            "$HOST": OUTSIDE4,
            "$PORT": str(port),
        }
        return functools.reduce(lambda done, name: done.replace(name, values[name]), values, text)

    def accepted(self, name: str | None) -> int:
        """Return how often a server was reached; 0 for None."""
        return self.servers[name].accepted if name else 0


def publish(folder: Path) -> None:
    """Put into a folder what there is to fetch: a file, a repository, an index for pip."""
    (folder / "file").write_text(PAYLOAD)
    (folder / "simple/greet").mkdir(parents=True)
    make_wheel(folder / "simple/greet")
    script = """
        git init -q -b main work; cp file work; cd work; git add file
        git -c user.name=Ann -c user.email=ann@example.invalid commit -q -m First
        cd ..; git clone -q --bare work origin.git; git -C origin.git update-server-info
    """
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["bash", "-ec", script], cwd=folder, env=environ, check=True)


@contextlib.contextmanager
def serve(network: Network, folder: Path) -> Iterator[Site]:
    """Serve a folder over HTTP, and names over DNS, at the outside end."""
    pages = functools.partial(Pages, directory=str(folder))
    resolv_conf = folder / "resolv.conf"
    resolv_conf.write_text(f"nameserver {OUTSIDE4}\noptions timeout:3 attempts:1\n")
    makers: dict[str, Callable[[], Web | Names]] = {
        "web": lambda: Web((OUTSIDE4, 0), pages),
        "web6": lambda: Web6((OUTSIDE6, 0), pages),
        "names": lambda: Names((OUTSIDE4, 53), Answer),
    }
    with contextlib.ExitStack() as stack:
        servers: dict[str, Web | Names] = {}
        for name, make in makers.items():
            servers[name] = server = network.call(network.outside, make)
            stack.callback(server.server_close)
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
        yield Site(servers, str(resolv_conf))
