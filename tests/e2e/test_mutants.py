# SPDX-License-Identifier: GPL-3.0-or-later
"""The mutation check for Landlock: without any one of its rights, an attempt gets through.

The filter's rules have theirs in tests/pure/test_filter.py.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import acquire  # noqa: F401 - registers its attempts, as the next three do
import doors  # noqa: F401
import holding  # noqa: F401
import lo  # noqa: F401
import pytest
from base import ATTEMPTS
from conftest import Machine
from subject import Subject, departure
from world import World

from nonet import levels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from network import Network

HERE = Path(__file__).parent

WITHOUT_ONE_RIGHT = """
RIGHTS = tuple(right for position, right in enumerate(RIGHTS) if position != {})
"""
WITHOUT_DOMAIN = """
def landlock_restrict_self(ruleset_fd: int, *, threads: bool = False) -> None:
    pass
"""
# What to change, the level, and attempts of which one at least must get through.
_AIM = ("connect_a_fresh_socket", "bind_a_fresh_socket", "disconnect_then_connect")
_ABSTRACT = (
    "connect_to_an_abstract_name",
    "sendmsg_from_a_kept_datagram_socket_to_an_abstract_name",
)
_RETIED = ("tied_anew_by_the_bind_of_socketcall",)
_OUTSIDE = (
    "attach_outside",
    "process_vm_writev_outside",
    "proc_mem_outside",
    "pidfd_getfd_outside",
)
_UNTIED = """
def tie(one: object) -> None:
    pass
"""
_ANY_SCOPE = """
def without_scope(address: bytes) -> bytes:
    return address
"""
_ANY_NETWORK = """
Answers._is_here = lambda self, thread: True
"""
_NO_SAFER_BIRTH = """
def start() -> object:
    return Here()


class Here:
    def __init__(self) -> None:
        self.pair = _socket.socketpair()

    def hand(self, listener: object) -> None:
        self.listener = listener

    def fileno(self) -> int:
        return self.pair[0].fileno()

    def ended(self) -> None:
        pass

    def order(self, call_id: int, kind: Kind, owner: int | None) -> None:
        give(self.listener, call_id, kind, owner)
"""
MUTANTS = [
    pytest.param("limiting/born.py", _UNTIED, levels.LOOPBACK, ("tcp4_to_another_host",), id="tie"),
    pytest.param(
        "limiting/answers.py", _ANY_SCOPE, levels.LOOPBACK, ("tied_anew_by_bind",), id="scope"
    ),
    pytest.param(
        "limiting/answers.py",
        _ANY_NETWORK,
        levels.LOOPBACK,
        ("ask_for_a_socket_in_a_network_namespace_of_its_own",),
        id="network",
    ),
    pytest.param(
        "limiting/empty.py", _NO_SAFER_BIRTH, levels.LOOPBACK, ("udp4_to_another_host",), id="empty"
    ),
    *(
        pytest.param(
            "levels.py",
            WITHOUT_ONE_RIGHT.format(position),
            level,
            _ABSTRACT if right.field == "scoped" else _RETIED if right.ipv6 else _AIM,
            id=f"right-{position}-{level}",
        )
        for position, right in enumerate(levels.RIGHTS)
        # At none a filter refuses connect and bind, too: the TCP rights stand behind it there.
        for level in (right.at if right.field == "scoped" or right.ipv6 else right.needed_at)
        if right.ipv6 is not False  # that one makes a domain: test_loopback.py
    ),
    *(
        pytest.param("kernel/__init__.py", WITHOUT_DOMAIN, level, _OUTSIDE, id=f"domain-{level}")
        for level in levels.LEVELS
    ),
]


@pytest.fixture
def world(network: Network) -> Iterator[World]:
    made = World(network)
    yield made
    made.close()


@pytest.mark.parametrize(("module", "change", "level", "names"), MUTANTS)
def test_without_it_an_attempt_gets_through(
    installed: str, network: Network, world: World, module: str, change: str, level: str,
    names: tuple[str, ...],
) -> None:  # fmt: skip
    (origin,) = Path(installed).parent.parent.glob("lib/python3*/site-packages/nonet")
    shutil.copytree(origin, world.directory / "mutant/nonet")
    with (world.directory / "mutant/nonet" / module).open("a") as file:
        file.write(change)
    shutil.copytree(HERE / "contract", world.directory / "contract")
    machine = Machine(installed, network, world.directory, 65534)
    subject = Subject(
        world,
        level,
        prefix=machine.words(),
        nonet=[str(Path(installed).with_name("python3")), "-m", "nonet"],
        probe=world.directory / "contract/probe.py",
        environ=machine.environ(PYTHONPATH=str(world.directory / "mutant")),
    )
    departures = [departure(ATTEMPTS[name], level, subject.make(name)) for name in names]
    subject.close()
    assert any("'ok': None" in words or words.startswith("{'ok'") for words in departures)
