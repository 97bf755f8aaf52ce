# SPDX-License-Identifier: GPL-3.0-or-later
"""Real servers serve on the sockets that they were handed, and reach nothing else.

Everything is asked twice: under nonet, and under nonet in all but the limit, where the
same attempt to connect elsewhere has to succeed.
"""

from __future__ import annotations

import functools
import socket
from typing import TYPE_CHECKING

import pytest
from network import INSIDE4, OUTSIDE4
from programs import python_with_pip, require
from running import (
    PATIENCE,
    REACHED,
    Elsewhere,
    fill,
    free_port,
    launcher,
    listener,
    read_all,
    running,
)  # fmt: skip
from services import SERVICES, Service

if TYPE_CHECKING:
    from conftest import Machine
    from network import Network

each_service = pytest.mark.parametrize(
    "service", SERVICES, ids=[service.name for service in SERVICES]
)


def connect(network: Network, port: int) -> socket.socket:
    """Connect to a port inside, from the outside end."""
    return network.call(
        network.outside, lambda: socket.create_connection((INSIDE4, port), PATIENCE)
    )


def get(one: socket.socket, path: str) -> str:
    """Return the answer to a request over a connection."""
    with one:
        one.settimeout(PATIENCE)
        one.sendall(f"GET {path} HTTP/1.0\r\nHost: {INSIDE4}\r\n\r\n".encode())
        return read_all(one).decode()


def prepare(machine: Machine, service: Service, values: dict[str, object]) -> list[str]:
    """Put a service's files into its home; return its words, and the options before them."""
    require(machine, *service.needs)
    values = {**values, "$HOME": machine.home, "$PYTHON": python_with_pip(machine)}
    for name, text in service.files.items():
        path = machine.home / name
        path.write_text(fill(text, values))
        path.chmod(0o755)
    return [fill(word, values) for word in (*service.options, "--", *service.words)]


def ask(
    machine: Machine, service: Service, elsewhere: Elsewhere, *paths: str, limited: bool
) -> tuple[list[str], str]:
    """Return what a service answers, and what it says. One that is handed a connection
    and no listener runs once for each request."""
    network = machine.network
    connects = "-c" in service.options
    answers, said = [], ""
    with listener(network, network.outside, OUTSIDE4) as ours:
        host = OUTSIDE4 if connects else INSIDE4
        port = ours.getsockname()[1] if connects else free_port(network)
        words = prepare(
            machine, service, {"$HOST": host, "$PORT": port, "$ELSEWHERE": elsewhere.port}
        )
        command = [*launcher(machine, limited=limited), "--allow", "none", *words]
        for together in [[path] for path in paths] if connects else [paths]:
            with running(machine, machine.words(*command), service.environ) as program:
                for path in together:
                    one = (
                        program.accept(ours)
                        if connects
                        else program.until(functools.partial(connect, network, port))
                    )
                    answers.append(get(one, path))
            said += program.said()
    return answers, said


@each_service
def test_it_serves_what_it_was_handed_and_reaches_nothing_else(
    machine: Machine, service: Service
) -> None:
    with Elsewhere(machine.network) as elsewhere:
        (served, tried, again), said = ask(
            machine, service, elsewhere, "/one", "/elsewhere", "/other", limited=True
        )
        assert elsewhere.reached() == 0
    assert served.endswith("\r\n\r\nserved /one")
    assert service.refused in tried
    assert again.endswith("\r\n\r\nserved /other")
    assert service.logs in said


@each_service
def test_without_the_limit_it_reaches_elsewhere(machine: Machine, service: Service) -> None:
    with Elsewhere(machine.network) as elsewhere:
        (served, tried), _ = ask(machine, service, elsewhere, "/one", "/elsewhere", limited=False)
        assert elsewhere.reached() == 1
    assert served.endswith("\r\n\r\nserved /one")
    assert REACHED in tried
