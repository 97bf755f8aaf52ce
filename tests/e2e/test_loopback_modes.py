# SPDX-License-Identifier: GPL-3.0-or-later
"""Level loopback where the machine has less to offer: what is refused then, and what is said."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from contextlib import contextmanager
from errno import ENOSYS, EPERM
from pathlib import Path
from typing import TYPE_CHECKING

from base import MACHINE, NR
from conftest import NOBODY
from network import OUTSIDE4
from running import LOOPBACK as LO
from running import Elsewhere, listener
from told import ALL_TIED, LOOPBACK, Told, outer, told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Machine

UNSHARE, READ_MEMORY = {"x86_64": (272, 310), "aarch64": (97, 270)}[MACHINE]
BLIND = outer(EPERM, NR["pidfd_getfd"], READ_MEMORY)  # as Yama does it
UNDOMAINED = outer(ENOSYS, 444, 445, 446)
NO_NAMESPACE = outer(EPERM, UNSHARE)
IPV4_ALONE = {**ALL_TIED, "tcp6": "EAFNOSUPPORT"}
ECHO = ("echo", "PROGRAM ran")


def verbose(machine: Machine, *before: str) -> list[str]:
    """Return what -v says of the parts."""
    ended = machine.run(*before, machine.nonet, "-v", *LOOPBACK, *ECHO)
    assert (ended.returncode, ended.stdout) == (0, b"PROGRAM ran\n")
    lines = ended.stderr.decode().replace("nonet: ", "").splitlines()[2:]
    return [re.sub("ABI [0-9]+$", "ABI n", line) for line in lines]


@contextmanager
def outsider(machine: Machine) -> Iterator[int]:
    """A process of the same user, outside the limit."""
    with subprocess.Popen(machine.words("sleep", "60")) as process:
        yield process.pid
        process.kill()


def serves_tcp4(machine: Machine, one: Told) -> None:
    """TCP over IPv4 works both ways."""
    with Elsewhere(machine.network) as elsewhere:
        assert one("connect_anew", "tcp4", LO, elsewhere.port) is None
        assert one("say", "tcp4").startswith("HTTP/1.0 200")
        port = one("listen", "tcp4", LO)
        with machine.network.call(
            machine.network.inside, lambda: socket.create_connection((LO, port))
        ) as caller:
            caller.send(b"hello")
            assert one("called", "tcp4") == "hello"
        assert elsewhere.reached() == 1


def waits_in_vain(machine: Machine, one: Told) -> None:
    """connect(2) beyond this host over IPv4 ends by its timeout, and no packet leaves."""
    with (
        listener(machine.network, machine.network.outside, OUTSIDE4) as beyond,
        machine.network.capture() as packets,
    ):
        began = time.monotonic()
        assert one("connect_anew", "tcp4", *beyond.getsockname()) == "TimeoutError"
        assert time.monotonic() - began > 1.5
    assert packets == []


# --- with everything there is ---


def test_with_everything_there_is(machine: Machine) -> None:
    assert verbose(machine) == [
        "broker: makes sockets in the place of the program",
        "TCP: tied to lo",
        "UDP: in an empty network namespace",
        "Landlock domain: ABI n",
    ]
    with outsider(machine) as pid, told(machine) as one:
        assert one("make_all") == ALL_TIED
        assert one("kill", pid, 0) is None
        serves_tcp4(machine, one)


# --- a broker that may not look into the program ---


def test_a_broker_that_may_not_look_serves_ipv4(machine: Machine) -> None:
    assert verbose(machine, *BLIND) == [
        "broker: makes sockets in the place of the program",
        (
            "refused: TCP over IPv6: the broker cannot look into the program"
            " (operation not permitted)"
        ),
        "UDP: in an empty network namespace",
        "Landlock domain: ABI n",
        "refused by the domain, too: signals to processes outside",
    ]
    with told(machine, *BLIND) as one:
        assert one("make_all") == IPV4_ALONE
        serves_tcp4(machine, one)
        waits_in_vain(machine, one)


def test_signals_stay_inside_where_the_broker_may_not_look(machine: Machine) -> None:
    with outsider(machine) as pid:
        with told(machine, *BLIND, limited=False) as one:
            assert one("kill", pid, 0) is None
        with told(machine, *BLIND) as one:
            assert one("kill", pid, 0) == "EPERM"
            assert one("kill_a_child", 15) == -15


def test_ipv6_is_not_handed_over_where_the_broker_may_not_look(machine: Machine) -> None:
    network = machine.network
    made = network.call(network.inside, lambda: socket.socket(socket.AF_INET6, socket.SOCK_STREAM))
    with made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        fd = made.fileno()
        ended = machine.run(*BLIND, machine.nonet, *LOOPBACK, *ECHO, pass_fds=[fd])
        assert ended.stderr.decode().splitlines()[0] == (
            f"nonet: cannot hand over descriptor {fd}: a TCP socket over IPv6 is open-ended here:"
            " bind(2) can untie it from lo"
        )
        assert (ended.returncode, ended.stdout) == (125, b"")
        grant = machine.run(*BLIND, machine.nonet, *LOOPBACK, "-l", "[::1]:0", *ECHO)
        assert b"bind(2) can untie it from lo" in grant.stderr
        assert (grant.returncode, grant.stdout) == (125, b"")
        assert machine.limited(LOOPBACK, *ECHO, pass_fds=[fd]).returncode == 0


# --- no Landlock ---


def test_without_landlock_ipv4_is_served(machine: Machine) -> None:
    assert verbose(machine, *UNDOMAINED) == [
        "broker: makes sockets in the place of the program",
        (
            "refused: TCP over IPv6: bind(2) could untie it from lo,"
            " which takes Landlock ABI 4 to stop"
        ),
        "UDP: in an empty network namespace",
        "no Landlock domain: this kernel has no Landlock",
        "left open: /proc/PID/mem of other processes of the same user",
        "refused inside, too: attaching to a process, process_vm_writev, pidfd_getfd",
    ]
    with told(machine, *UNDOMAINED) as one:
        assert one("make_all") == IPV4_ALONE
        serves_tcp4(machine, one)


def writable(pid: int) -> int:
    """Return an address that a process may write to."""
    rows = [line.split() for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
    return next(int(row[0].split("-")[0], 16) for row in rows if row[1].startswith("rw"))


def test_without_landlock_the_broker_is_out_of_reach_all_the_same(machine: Machine) -> None:
    """An ordinary process of the same user is not, by way of /proc/PID/mem: the manual says so."""
    with outsider(machine) as pid, told(machine, *UNDOMAINED) as one:
        for target in (pid, *one.brokers()):
            assert one("call", NR["ptrace"], 16, target, 0, 0) == "EPERM"  # PTRACE_ATTACH
            assert one("call", NR["process_vm_writev"], target, 0, 0, 0, 0, 0) == "EPERM"
            pidfd = one("call", NR["pidfd_open"], target, 0)
            assert one("call", NR["pidfd_getfd"], pidfd, 0, 0) == "EPERM"
        assert one("write_memory", pid, writable(pid)) == 8
        for broker in one.brokers():  # root is not contained
            expected = "EACCES" if machine.uid else 8
            assert one("write_memory", broker, writable(broker)) == expected
        assert one("make_all") == IPV4_ALONE


def test_without_nonet_the_others_are_within_reach(machine: Machine) -> None:
    """The control of the test above."""
    with outsider(machine) as pid, told(machine, limited=False) as one:
        pidfd = one("call", NR["pidfd_open"], pid, 0)
        assert one("call", NR["pidfd_getfd"], pidfd, 0, 0) > 0
        assert one("call", NR["process_vm_writev"], pid, 0, 0, 0, 0, 0) == 0
        assert one("call", NR["ptrace"], 16, pid, 0, 0) == 0


# --- no namespace, as in most containers ---


def test_without_a_namespace_udp_alone_is_refused(machine: Machine) -> None:
    assert verbose(machine, *NO_NAMESPACE) == [
        "broker: makes sockets in the place of the program",
        "TCP: tied to lo",
        "refused: UDP: no empty network namespace can be had (operation not permitted)",
        "Landlock domain: ABI n",
    ]
    with told(machine, *NO_NAMESPACE) as one:
        assert one("make_all") == {**ALL_TIED, "udp4": "EPERM", "udp6": "EPERM"}
        assert len(one.brokers()) == 1
        serves_tcp4(machine, one)
        assert one("listen", "tcp6", "::1") > 0
        one.end()


# --- /proc without what is no process, as by ProcSubset=pid of a service manager ---


def test_a_proc_of_processes_alone_is_enough(machine: Machine) -> None:
    user = ["--user", "--map-root-user"] if machine.uid else []
    mount = 'mount -t proc -o subset=pid proc /proc && exec "$@"'
    words = ["unshare", *user, "--mount", "--pid", "--fork", "sh", "-c", mount, "sh"]
    with told(machine, *words) as one:
        assert one("make_all") == ALL_TIED
        for kind, host in (("tcp4", LO), ("tcp6", "::1")):
            assert one("bind", kind, host, 7) == ("EACCES" if machine.uid else 7)
            assert one("listen", kind, host) >= 1024
        if machine.uid == 0:
            assert one("change_user", NOBODY) is None
            assert one("make_all") == ALL_TIED
            assert one("bind", "tcp4", LO, 7) == "EACCES"
