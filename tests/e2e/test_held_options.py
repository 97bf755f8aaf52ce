# SPDX-License-Identifier: GPL-3.0-or-later
"""Every option of setsockopt(2) on held, connected sockets: packets go to the peer alone."""

from __future__ import annotations

import functools
import json
import socket
from typing import TYPE_CHECKING

import pytest
from network import (
    DECOY4,
    DECOY6,
    GROUPS4,
    GROUPS6,
    INSIDE4,
    INSIDE6,
    OUTSIDE4,
    OUTSIDE6,
    destination,
)  # fmt: skip
from programs import python_with_pip

from nonet import levels

if TYPE_CHECKING:
    from conftest import Machine
    from network import Network

LEVELS = {
    socket.AF_INET: (0, 1, 6, 17, 132, 263, 282),
    socket.AF_INET6: (0, 1, 6, 17, 41, 58, 132, 263, 282),
}
PROBE = r"""
import contextlib, json, socket, struct, sys, time
order = json.loads(sys.argv[1])
device = struct.pack("=i", order["device"])
four, six = socket.inet_aton(order["inside4"]), socket.inet_pton(10, order["inside6"])
decoy4, decoy6 = socket.inet_aton(order["decoy4"]), socket.inet_pton(10, order["decoy6"])
peer4, peer6 = socket.inet_aton(order["outside4"]), socket.inet_pton(10, order["outside6"])
group4, group6 = socket.inet_aton(order["group4"]), socket.inet_pton(10, order["group6"])
name4 = lambda host: (struct.pack("=HH", 2, 0) + host).ljust(128, b"\0")
name6 = lambda host: (struct.pack("=HHI", 10, 0, 0) + host).ljust(128, b"\0")
on = device + bytes(4)
VALUES = (
    b"", bytes(4), struct.pack("=i", 1), device, b"veth0\0", b"lo\0", device + four + bytes(4),
    group4 + four + device, group4 + four + decoy4, group6 + device, decoy6 + device,
    six + device, on + name4(group4), on + name6(group6),
    on + name4(group4) + name4(decoy4), on + name6(group6) + name6(decoy6),
    bytes([131, 11, 4]) + decoy4 + peer4 + b"\0",
    bytes([0, 4, 4, 1, 1, 0, 0, 0]) + peer6 + decoy6, bytes([0, 2, 2, 1, 0, 0, 0, 0]) + decoy6,
)
taken = 0
for fd, level in order["held"]:
    one = socket.socket(fileno=fd)
    one.setblocking(False)
    for option in range(130):
        for value in VALUES:
            with contextlib.suppress(OSError):
                one.setsockopt(level, option, value)
                taken += 1
        with contextlib.suppress(OSError):
            # The kernel looks for a route anew.
            one.setsockopt(*((0, 1) if one.family == 2 else (41, 67)), 4 * (option % 2))
        with contextlib.suppress(OSError):
            one.send(b"x")
time.sleep(0.3)
print(taken)
"""


def _held(network: Network) -> list[tuple[socket.socket, int, socket.socket]]:
    """Return connections to another host, each with a level of options, and its other end."""
    made = []
    for family, numbers in LEVELS.items():
        host = OUTSIDE4 if family == socket.AF_INET else OUTSIDE6
        listen = functools.partial(socket.create_server, (host, 0), family=family)
        with network.call(network.outside, listen) as server:
            place = server.getsockname()[:2]
            for number in numbers:
                connect = functools.partial(socket.create_connection, place)
                made.append((network.call(network.inside, connect), number, server.accept()[0]))
    return made


@pytest.mark.parametrize("level", levels.LEVELS[:3])
def test_no_option_sends_anything_elsewhere(machine: Machine, level: str) -> None:
    network = machine.network
    made = _held(network)
    order = {
        "device": network.call(network.inside, lambda: socket.if_nametoindex("veth0")),
        "inside4": INSIDE4, "inside6": INSIDE6, "outside4": OUTSIDE4, "outside6": OUTSIDE6,
        "decoy4": DECOY4, "decoy6": DECOY6, "group4": GROUPS4, "group6": GROUPS6,
        "held": [(one.fileno(), number) for one, number, _ in made],
    }  # fmt: skip
    fds = [one.fileno() for one, _, _ in made]
    command = [python_with_pip(machine), "-c", PROBE, json.dumps(order)]
    with network.capture() as packets:
        ended = machine.limited(["--allow", level], *command, pass_fds=fds)
    for one, _, other in made:
        one.close()
        other.close()
    assert ended.stderr == b""
    assert int(ended.stdout) > 500
    elsewhere = [p for p in packets if destination(p) not in (OUTSIDE4, OUTSIDE6)]
    assert packets
    assert elsewhere == []
