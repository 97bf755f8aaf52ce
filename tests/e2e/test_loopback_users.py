# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that change user or capabilities: level loopback gives what they get without it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from conftest import NOBODY, Machine
from told import ALL_TIED, LOOPBACK, Told, told

if TYPE_CHECKING:
    from pathlib import Path

    from network import Network

LOW = 7  # a privileged port
HOSTS = {"tcp4": "127.0.0.1", "tcp6": "::1"}
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--")
NO_LOW_PORTS = ("setpriv", "--bounding-set=-net_bind_service", "--")


@pytest.fixture
def root(installed: str, network: Network, tmp_path: Path) -> Machine:
    return Machine(installed, network, tmp_path, 0)


def asked(one: Told) -> list[Any]:
    """Return whose new sockets are, and whether a TCP socket may be bound to a privileged port."""
    found = [one("belongs_to", kind) for kind in ALL_TIED]
    for kind, host in HOSTS.items():
        found.append(one("bind", kind, host, LOW))
        found.append(one("listen", kind, host) >= 1024)
        one("close", kind)
    found.append(one("owners", one("listen", "tcp4", "127.0.0.1")))
    return found


def both(machine: Machine, *acts: list[Any], program: tuple[str, ...] = ()) -> list[Any]:
    """Return what a program is given that acts first: the same with nonet and without."""
    found = []
    for limited in (False, True):
        before, words = ((), program) if limited else (program, ())
        with told(machine, *before, program=(*LOOPBACK, "--", *words), limited=limited) as one:
            found.append([*(one(*act) for act in acts), *asked(one)])
    bare, limited_ = found
    assert limited_ == bare
    return limited_[len(acts) :]


def expected(user: int, low: object) -> list[Any]:
    return [*[user] * len(ALL_TIED), *[low, True] * len(HOSTS), [str(user)]]


def test_as_it_starts(machine: Machine) -> None:
    assert both(machine) == expected(machine.uid, "EACCES" if machine.uid else LOW)


def test_what_becomes_nobody(machine: Machine) -> None:
    assert both(machine, ["change_user", NOBODY]) == expected(NOBODY, "EACCES")


def test_a_program_that_is_run_as_nobody(root: Machine) -> None:
    assert both(root, program=AS_NOBODY) == expected(NOBODY, "EACCES")


def test_root_without_the_capability(root: Machine) -> None:
    assert both(root, program=NO_LOW_PORTS) == expected(0, "EACCES")


def test_who_may_not_become_root_does_not(machine: Machine) -> None:
    with told(machine) as one:
        assert one("change_user", NOBODY) is None
        assert one("change_user", 0) == "EPERM"
        assert one("belongs_to", "tcp4") == NOBODY


def test_all_capabilities_of_a_user_namespace_of_its_own(machine: Machine) -> None:
    """They open no port of this network. Its users are not mapped: they look like nobody's."""
    found = both(machine, ["own_user_namespace"])
    assert found == expected(NOBODY, "EACCES")


# --- a broker that has less than its program's users take ---

NO_LOOK = ("setpriv", "--bounding-set=-sys_ptrace", "--")  # as Docker does it


def test_root_that_may_look_into_no_other_user_serves_ipv4(root: Machine) -> None:
    ended = root.run(*NO_LOOK, root.nonet, "-v", *LOOPBACK, "true")
    assert (
        b"nonet: refused: TCP over IPv6: the broker cannot look into a program"
        b" that becomes another user (CAP_SYS_PTRACE is missing)\n"
    ) in ended.stderr
    with told(root, *NO_LOOK) as one:
        for user in (0, NOBODY):
            assert one("change_user", user) is None
            assert one("make_all") == {**ALL_TIED, "tcp6": "EAFNOSUPPORT"}
            assert one("bind", "tcp4", "127.0.0.1", LOW) == ("EACCES" if user else LOW)
            assert one("listen", "tcp4", "127.0.0.1") >= 1024


def test_a_program_that_nobody_may_look_into_cannot_bind(machine: Machine) -> None:
    """Root's broker may look into it."""
    with told(machine) as one:
        assert one("not_dumpable") is None
        assert one("make_all") == ALL_TIED
        bound = one("bind", "tcp4", "127.0.0.1")
        assert bound == "EACCES" if machine.uid else bound >= 1024
