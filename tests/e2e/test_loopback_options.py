# SPDX-License-Identifier: GPL-3.0-or-later
"""Every option of setsockopt(2), with values of every shape: no socket leaves lo by any."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest
from network import DECOY4, DECOY6, INSIDE4, INSIDE6, OUTSIDE4, OUTSIDE6
from programs import python_with_pip
from running import listener

if TYPE_CHECKING:
    from conftest import Machine

# A connect(2) with an odd size is not looked at by the broker: the kernel alone holds it.
PROBE = r"""
import contextlib, ctypes, json, os, socket, struct, sys, time
order = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
device = order["device"]
four, six = socket.inet_aton(order["inside4"]), socket.inet_pton(10, order["inside6"])
decoy4, decoy6 = socket.inet_aton(order["decoy4"]), socket.inet_pton(10, order["decoy6"])
VALUES = (
    b"", bytes(4), struct.pack("=i", device), struct.pack("!i", device), struct.pack("=i", -1),
    b"veth0\0", struct.pack("=i", device) + four + bytes(4), six + struct.pack("=i", device),
    four, six, struct.pack("=HH", 2, 0) + four + bytes(8),
    struct.pack("=HHI", 10, 0, 0) + six + struct.pack("=I", device),
    bytes([131, 11, 4]) + decoy4 + socket.inet_aton(order["outside4"]) + b"\0",
    bytes([0, 4, 4, 1, 1, 0, 0, 0]) + socket.inet_pton(10, order["outside6"]) + decoy6,
    bytes([0, 2, 2, 1, 0, 0, 0, 0]) + decoy6, b"\1" * 16, b"\1" * 256,
)
LEVELS = {2: (0, 1, 6, 17, 132, 263, 282), 10: (0, 1, 6, 17, 41, 58, 132, 263, 282)}
TO = {
    2: struct.pack("=H", 2) + struct.pack("!H", order["port4"])
       + socket.inet_aton(order["outside4"]) + bytes(60),
    10: struct.pack("=H", 10) + struct.pack("!HI", order["port6"], 0)
        + socket.inet_pton(10, order["outside6"]) + bytes(60),
}
tried = taken = untied = 0
for family, levels in LEVELS.items():
    for level in levels:
        for option in range(130):
            for value in VALUES:
                one = socket.socket(family, socket.SOCK_STREAM)
                if order["ties"]:
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
                tried += 1
                try:
                    one.setsockopt(level, option, value)
                except OSError:
                    one.close()
                    continue
                taken += 1
                one.setblocking(False)
                libc.connect(one.fileno(), TO[family], 37)
                with contextlib.suppress(OSError):
                    one.send(b"x")
                untied += one.getsockopt(socket.SOL_SOCKET, 62) != 1
                one.close()
print(json.dumps([tried, taken, untied]))
"""


def _probe(machine: Machine, *, limited: bool) -> tuple[int, list[bytes]]:
    """Try every option. Return how many sockets came untied, and what left the host."""
    network = machine.network
    with (
        listener(network, network.outside, OUTSIDE4) as four,
        network.call(
            network.outside, lambda: socket.create_server((OUTSIDE6, 0), family=socket.AF_INET6)
        ) as six,
    ):
        order = {
            "device": network.call(network.inside, lambda: socket.if_nametoindex("veth0")),
            "inside4": INSIDE4, "inside6": INSIDE6, "outside4": OUTSIDE4, "outside6": OUTSIDE6,
            "decoy4": DECOY4, "decoy6": DECOY6,
            "port4": four.getsockname()[1], "port6": six.getsockname()[1], "ties": not limited,
        }  # fmt: skip
        prefix = [machine.nonet, "--allow", "loopback", "--"] if limited else []
        with network.capture() as packets:
            ended = machine.run(*prefix, python_with_pip(machine), "-c", PROBE, json.dumps(order))
    assert ended.stderr == b""
    tried, taken, untied = json.loads(ended.stdout)
    assert tried > 30_000
    assert taken > 500
    return untied, packets


def test_no_option_leads_out(machine: Machine) -> None:
    assert _probe(machine, limited=True) == (0, [])


# Without privilege no option unties a socket, and there is nothing to compare with.
@pytest.mark.parametrize("machine", ["root"], indirect=True)
def test_as_root_some_option_leads_a_socket_out_that_tied_itself(machine: Machine) -> None:
    untied, packets = _probe(machine, limited=False)
    assert untied > 0
    assert packets
