# SPDX-License-Identifier: GPL-3.0-or-later
"""A network of the test's own that goes nowhere.

Two network namespaces joined by a veth pair with documentation addresses (RFC
5737, RFC 3849): `inside`, where the programs under test run, and `outside`, where
the test listens and captures. Neither has any other way out, so that a bug in
nonet, or a control without nonet, sends nothing to a real network either.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

INSIDE4, OUTSIDE4 = "198.51.100.1", "198.51.100.2"
INSIDE6, OUTSIDE6 = "2001:db8::1", "2001:db8::2"
DECOY4, DECOY6 = "198.51.100.99", "2001:db8::99"  # outside, too, and nobody's business
GROUPS4, GROUPS6 = "239.198.51.0", "ff0e::db8:0"  # multicast groups that nobody named: 256 each

_CLONE_NEWNET = 0x4000_0000
_ETH_P_ALL = 0x0003
_ETH_P_IP, _ETH_P_IPV6 = 0x0800, 0x86DD
_NEXT_ICMPV6 = 58
_NEIGHBOUR_DISCOVERY = range(130, 144)  # ICMPv6 that the kernel sends for itself


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, stdin=subprocess.DEVNULL)


class Network:
    def __init__(self) -> None:
        self._name = f"nonet-test-{os.getpid()}"
        self.inside = f"{self._name}-in"
        self.outside = f"{self._name}-out"
        self.settle = 0.05  # seconds: a veth delivers at once; this is for a softirq that runs late

    def __enter__(self) -> Network:  # noqa: PYI034 - typing.Self is younger than Python 3.10
        ends = (self.inside, INSIDE4, INSIDE6, "veth0"), (self.outside, OUTSIDE4, OUTSIDE6, "veth1")
        for namespace, *_ in ends:
            _ip("netns", "add", namespace)
        _ip("-n", self.inside, "link", "add", "veth0", "type", "veth",
            "peer", "name", "veth1", "netns", self.outside)  # fmt: skip
        for namespace, four, six, device in ends:
            _ip("-n", namespace, "link", "set", "lo", "up")
            _ip("-n", namespace, "address", "add", f"{four}/24", "dev", device)
            _ip("-n", namespace, "address", "add", f"{six}/64", "dev", device, "nodad")
            _ip("-n", namespace, "link", "set", device, "up")
        _ip("-n", self.outside, "address", "add", f"{DECOY4}/24", "dev", "veth1")
        _ip("-n", self.outside, "address", "add", f"{DECOY6}/64", "dev", "veth1", "nodad")
        _ip("-n", self.inside, "route", "add", "default", "via", OUTSIDE4)
        _ip("-n", self.inside, "-6", "route", "add", "default", "via", OUTSIDE6)
        return self

    def __exit__(self, *_: object) -> None:
        for namespace in (self.inside, self.outside):
            _ip("netns", "delete", namespace)

    @property
    def prefix(self) -> list[str]:
        """The words that run a command inside."""
        return ["nsenter", f"--net=/run/netns/{self.inside}", "--"]

    def call(self, namespace: str, function: Callable[[], T]) -> T:
        """Return what a function returns in a thread that has entered a namespace."""
        results: list[T] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                with open(f"/run/netns/{namespace}", "rb") as file:
                    libc = ctypes.CDLL(None, use_errno=True)
                    if libc.setns(file.fileno(), _CLONE_NEWNET):
                        raise OSError(ctypes.get_errno(), "setns")  # noqa: TRY301 - as the next line does
                results.append(function())
            except BaseException as error:  # noqa: BLE001 - handed on to the caller
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    @contextlib.contextmanager
    def capture(self) -> Iterator[list[bytes]]:
        """Collect the IP packets that reach the outside end; complete after the block."""
        sniffer = self.call(
            self.outside,
            lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)),
        )
        packets: list[bytes] = []
        with sniffer:
            sniffer.bind(("veth1", _ETH_P_ALL))
            yield packets
            time.sleep(self.settle)
            arrived = select.poll()  # select(2) takes no descriptor above 1023
            arrived.register(sniffer, select.POLLIN)
            while arrived.poll(0):
                frame, (_, protocol, kind, *_) = sniffer.recvfrom(65536)
                if kind != socket.PACKET_OUTGOING and _is_traffic(protocol, frame):
                    packets.append(frame)


def destination(frame: bytes) -> str:
    """Return the address that an IP packet goes to next."""
    if frame[12:14] == _ETH_P_IP.to_bytes(2, "big"):
        return socket.inet_ntop(socket.AF_INET, frame[30:34])
    return socket.inet_ntop(socket.AF_INET6, frame[38:54])


def is_reset(frame: bytes) -> bool:
    """Whether an IP packet is TCP's refusal of a call."""
    header = 20 if frame[12:14] == _ETH_P_IP.to_bytes(2, "big") else 40
    protocol = frame[14 + 9] if header == 20 else frame[14 + 6]
    return protocol == socket.IPPROTO_TCP and bool(frame[14 + header + 13] & 0x04)


def names_a_group(frame: bytes) -> bool:
    """Whether a frame tells others of a group that nobody named."""
    four, six = socket.inet_aton(GROUPS4), socket.inet_pton(socket.AF_INET6, GROUPS6)
    return four[:-1] in frame or six[:-1] in frame


def _is_traffic(protocol: int, frame: bytes) -> bool:
    """Whether a frame is a program's doing: no ARP, no neighbour discovery."""
    if names_a_group(frame):
        return True
    if protocol == _ETH_P_IPV6:
        payload = frame[14 + 40 :]
        hop_by_hop = frame[14 + 6] == 0 and frame[14 + 40 : 15 + 40] == bytes([_NEXT_ICMPV6])
        icmp = frame[14 + 6] == _NEXT_ICMPV6 and payload[0] in _NEIGHBOUR_DISCOVERY
        return not (icmp or hop_by_hop)
    return protocol == _ETH_P_IP
