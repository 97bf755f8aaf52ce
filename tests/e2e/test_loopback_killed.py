# SPDX-License-Identifier: GPL-3.0-or-later
"""A broker that is killed, or fails: nothing is widened, nobody hangs."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from base import NR
from network import OUTSIDE4, OUTSIDE6
from running import LOOPBACK as LO
from running import Elsewhere, listener
from told import ALL_TIED, LOOPBACK, told

if TYPE_CHECKING:
    from conftest import Machine

ECHO = ("echo", "PROGRAM ran")
AT_ONCE = 1.0  # seconds


def test_killed_it_leaves_everything_refused(machine: Machine) -> None:
    network = machine.network
    with (
        listener(network, network.outside, OUTSIDE4) as beyond,
        Elsewhere(network) as elsewhere,
        network.capture() as packets,
        told(machine) as one,
    ):
        port = beyond.getsockname()[1]
        assert one("connect_anew", "tcp4", LO, elsewhere.port) is None
        own = one("listen", "tcp6", "::1")
        assert one("make", "udp4") == ""
        udp = one("bind", "udp4", LO)
        assert one("make", "udp6") == ""
        os.kill(one.brokers()[0], signal.SIGKILL)
        one.wait_for_brokers(0)  # that of UDP sockets, too

        began = time.monotonic()
        assert one("connect", "udp6", OUTSIDE6, port) == "ENOSYS"
        assert one("disconnect", "tcp4") == "ENOSYS"
        assert one("untie", "tcp4") == "EPERM"
        assert one("untie", "udp4") == "EPERM"
        assert one("send_to", "udp4", OUTSIDE4, port) == "ENETUNREACH"
        assert one("new_listener", NR["seccomp"]) == "EPERM"
        assert one("say", "tcp4").startswith("HTTP/1.0 200")
        assert one("send_to", "udp4", LO, udp) == 4
        assert one("receive", "udp4") == "sent"
        with network.call(network.inside, lambda: socket.create_connection(("::1", own))) as caller:
            caller.send(b"hello")
            assert one("called", "tcp6") == "hello"
        assert one("make_all") == dict.fromkeys(ALL_TIED, "ENOSYS")
        assert time.monotonic() - began < AT_ONCE
    assert packets == []


def test_without_nonet_the_same_gets_out(machine: Machine) -> None:
    """The control of the test above."""
    network = machine.network
    with (
        listener(network, network.outside, OUTSIDE4) as beyond,
        network.capture() as packets,
        told(machine, limited=False) as one,
    ):
        port = beyond.getsockname()[1]
        assert one("connect_anew", "tcp4", OUTSIDE4, port) is None
        assert one("make", "udp4") == ""
        assert one("send_to", "udp4", OUTSIDE4, port) == 4
        assert one("disconnect", "tcp4") is None
        assert one("new_listener", NR["seccomp"]) >= 0
    assert len(packets) >= 2


def test_a_listener_is_refused_while_it_lives_too(machine: Machine) -> None:
    with told(machine) as one:
        assert one("new_listener", NR["seccomp"]) == "EPERM"
        assert one("make_all") == ALL_TIED


def test_who_waits_when_it_is_killed_does_not_wait_on(machine: Machine) -> None:
    with told(machine) as one:
        (broker, _) = one.brokers()
        os.kill(broker, signal.SIGSTOP)
        one.tell("make", "tcp4")
        with pytest.raises(TimeoutError):
            one.answer(0.3)
        os.kill(broker, signal.SIGKILL)
        assert one.answer() == "ENOSYS"


def test_without_the_process_of_udp_sockets_tcp_goes_on(machine: Machine) -> None:
    with Elsewhere(machine.network) as elsewhere, told(machine) as one:
        os.kill(one.brokers()[1], signal.SIGKILL)
        one.wait_for_brokers(1)
        assert one("make_all") == {**ALL_TIED, "udp4": "EPERM", "udp6": "EPERM"}
        assert one("connect_anew", "tcp4", LO, elsewhere.port) is None
        one.end()
        assert elsewhere.reached() == 1


def test_who_waits_for_a_udp_socket_does_not_wait_on(machine: Machine) -> None:
    with told(machine) as one:
        (_, apart) = one.brokers()
        os.kill(apart, signal.SIGSTOP)
        one.tell("make", "udp4")
        with pytest.raises(TimeoutError):
            one.answer(0.3)
        os.kill(apart, signal.SIGKILL)
        assert one.answer() == "EPERM"
        assert one("make", "tcp4") == "lo"


LOST = "nonet: cannot hand the listener to the broker: "
DEATHS = {  # where it dies, and what nonet says then
    "as it begins": (
        "os.setsid()\n",
        "nonet: cannot enforce level loopback: no broker can be started: the broker has ended",
    ),
    "before it is handed the listener": ("ipv6 = way.recv(_MOST)\n", LOST),
    "before it has taken the listener": ("way.send(_TAKEN)\n", LOST + "connection reset by peer"),
}


@pytest.mark.parametrize("death", DEATHS)
def test_it_dies_before_it_answers_and_nothing_runs(machine: Machine, death: str) -> None:
    (origin,) = Path(machine.nonet).parent.parent.glob("lib/python3*/site-packages/nonet")
    shutil.copytree(origin, machine.home / "mutant/nonet")
    words = [str(Path(machine.nonet).with_name("python3")), "-m", "nonet", *LOOPBACK, *ECHO]
    environ = machine.environ(PYTHONPATH=str(machine.home / "mutant"))
    assert machine.run(*words, env=environ).stdout == b"PROGRAM ran\n"
    module = machine.home / "mutant/nonet/limiting/broker.py"
    line, begin = DEATHS[death]
    assert module.read_text().count(line) == 1
    module.write_text(module.read_text().replace(line, "os._exit(0)\n"))
    ended = machine.run(*words, env=environ)
    (said,) = ended.stderr.decode().splitlines()
    assert said.startswith(begin)
    assert (ended.returncode, ended.stdout) == (125, b"")
