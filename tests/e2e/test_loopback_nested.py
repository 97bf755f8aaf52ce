# SPDX-License-Identifier: GPL-3.0-or-later
"""Level loopback inside and around other limits."""

from __future__ import annotations

import socket
from errno import EPERM
from typing import TYPE_CHECKING

import pytest
from base import NR
from network import INSIDE4, OUTSIDE4
from running import LOOPBACK as LO
from running import Elsewhere, listener
from told import ALL_TIED, LOOPBACK, outer, told

if TYPE_CHECKING:
    from conftest import Machine

ECHO = ("echo", "PROGRAM ran")
BELOW = ("none", "path", "unix")


def nested(machine: Machine, *inner: str) -> list[str]:
    """Return the options of an outer nonet at loopback, and an inner one with its own."""
    return [*LOOPBACK, "--", machine.nonet, *inner, "--"]


@pytest.mark.parametrize("depth", [2, 3])
def test_loopback_in_loopback_is_served_by_the_outer_broker(machine: Machine, depth: int) -> None:
    network = machine.network
    words = [*LOOPBACK, "--", *[machine.nonet, *LOOPBACK, "--"] * (depth - 1)]
    with (
        Elsewhere(network) as elsewhere,
        listener(network, network.outside, OUTSIDE4) as beyond,
        network.capture() as packets,
        told(machine, program=words) as one,
    ):
        assert len(one.brokers()) == 2
        assert one("make_all") == ALL_TIED
        for kind, host in (("udp4", LO), ("udp6", "::1")):
            assert one("to_itself", kind, host) == "sent"
        for kind, host in (("tcp4", LO), ("tcp6", "::1")):
            port = one("listen", kind, host)
            caller = network.call(
                network.inside,
                lambda place=(host, port): socket.create_connection(place),  # type: ignore[misc]
            )
            with caller:
                caller.send(b"hello")
                assert one("called", kind) == "hello"
        assert one("connect_anew", "tcp4", *beyond.getsockname()) == "ENETUNREACH"
        assert one("connect_anew", "tcp4", LO, elsewhere.port) is None
        one.end()
        assert elsewhere.reached() == 1
    assert packets == []


def verbose(machine: Machine, *before: str) -> list[str]:
    """Return what the inner nonet says of who serves it."""
    words = [machine.nonet, *LOOPBACK, "--", machine.nonet, "-v", *LOOPBACK, "--", *ECHO]
    ended = machine.run(*before, *words)
    assert (ended.returncode, ended.stdout) == (0, b"PROGRAM ran\n")
    return [line.removeprefix("nonet: ") for line in ended.stderr.decode().splitlines()[2:5]]


def test_the_inner_one_says_who_serves_it(machine: Machine) -> None:
    served = "broker: that of the limit around this one"
    udp = "UDP: in an empty network namespace"
    assert verbose(machine) == [served, "TCP: tied to lo", udp]
    so = "so it is in the limit around this one"
    assert verbose(machine, *outer(EPERM, NR["pidfd_getfd"])) == [
        served,
        f"refused: TCP over IPv6: {so}",
        udp,
    ]
    no_namespace = {41: 272, 198: 97}[NR["socket"]]
    assert verbose(machine, *outer(EPERM, no_namespace)) == [
        served,
        "TCP: tied to lo",
        f"refused: UDP: {so}",
    ]


@pytest.mark.parametrize("level", BELOW)
def test_a_narrower_level_inside(machine: Machine, level: str) -> None:
    with told(machine, program=nested(machine, "--allow", level)) as one:
        assert one("make_all") == dict.fromkeys(ALL_TIED, "EPERM")
        assert len(one.brokers()) == 2
        one.end()


@pytest.mark.parametrize("level", BELOW)
def test_loopback_in_a_narrower_level_is_refused(machine: Machine, level: str) -> None:
    ended = machine.limited(["--allow", level], machine.nonet, *LOOPBACK, *ECHO)
    assert ended.stderr.decode().splitlines() == [
        (
            "nonet: cannot enforce level loopback: no TCP socket can be made here"
            " (operation not permitted)"
        )
    ]
    assert (ended.returncode, ended.stdout) == (125, b"")


@pytest.mark.parametrize("level", [*BELOW, "loopback"])
@pytest.mark.parametrize(("grant", "host"), [("0", LO), ("[::1]:0", "::1")])
def test_a_listener_is_granted_inside(machine: Machine, level: str, grant: str, host: str) -> None:
    network = machine.network
    words = nested(machine, "--allow", level, "-l", f"web={grant}")
    with told(machine, program=words) as one:
        assert one("inherited", 3) == "lo"
        port = one("port", "3")
        with network.call(network.inside, lambda: socket.create_connection((host, port))) as caller:
            caller.send(b"hello")
            assert one("called", "3") == "hello"


def test_every_address_granted_inside_is_lo(machine: Machine) -> None:
    network = machine.network
    with told(machine, program=nested(machine, *LOOPBACK, "-l", "web=*:0")) as one:
        assert one("inherited", 3) == "lo"
        port = one("port", "3")
        for namespace, host, reached in (
            (network.inside, LO, True),
            (network.inside, INSIDE4, False),
            (network.outside, INSIDE4, False),
        ):
            assert reaches(machine, namespace, host, port) == reached


def reaches(machine: Machine, namespace: str, host: str, port: int) -> bool:
    try:
        machine.network.call(namespace, lambda: socket.create_connection((host, port), 0.5)).close()
    except (TimeoutError, ConnectionRefusedError):
        return False
    return True


def test_a_connection_is_granted_inside(machine: Machine) -> None:
    with Elsewhere(machine.network) as elsewhere:
        words = nested(machine, "--allow", "none", "-c", f"{LO}:{elsewhere.port}")
        with told(machine, program=words) as one:
            assert one("inherited", 3) == "lo"
            assert one("say", "3").startswith("HTTP/1.0 200")
        assert elsewhere.reached() == 1


def test_inside_a_network_namespace_of_its_own_it_is_refused(machine: Machine) -> None:
    ended = machine.limited(LOOPBACK, "unshare", "--user", "--net", machine.nonet, *LOOPBACK, *ECHO)
    assert b"no TCP socket can be made here (operation not permitted)" in ended.stderr
    assert (ended.returncode, ended.stdout) == (125, b"")
