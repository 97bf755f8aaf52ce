# SPDX-License-Identifier: GPL-3.0-or-later
"""What every end-to-end test stands on: the installed nonet, a user, a network."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from network import Network

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NOBODY = 65534


class Machine:
    """The installed nonet, on a network that goes nowhere, as one user."""

    def __init__(self, nonet: str, network: Network, home: Path, uid: int) -> None:
        self.nonet = nonet
        self.network = network
        self.home = home
        self.uid = uid

    def words(self, *command: str | bytes) -> list[str | bytes]:
        """Return the words that run a command inside the network as this user."""
        user = [] if self.uid == 0 else [
            "setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups", "--",
        ]  # fmt: skip
        return [*self.network.prefix, *user, *command]

    def environ(self, **more: str) -> dict[str, str]:
        return {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            **more,
        }

    def run(
        self,
        *command: str | bytes,
        timeout: float = 60,
        env: dict[str, str] | None = None,
        **more: Any,  # noqa: ANN401 - subprocess.run's own
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command inside as this user, its output captured."""
        more.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(
            self.words(*command),
            capture_output=True,
            check=False,
            cwd=more.pop("cwd", self.home),
            env=self.environ() if env is None else env,
            timeout=timeout,
            **more,
        )

    def limited(
        self,
        options: Sequence[str],
        *command: str | bytes,
        **more: Any,  # noqa: ANN401
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command under nonet."""
        return self.run(self.nonet, *options, "--", *command, **more)


@pytest.fixture(scope="session")
def installed() -> Iterator[str]:
    """The installed nonet, where every user can reach it: a copy of the virtual environment."""
    if os.geteuid():
        pytest.fail("the end-to-end tests make network namespaces and users: run them as root")
    origin = Path(sys.prefix)
    place = Path(tempfile.mkdtemp(prefix="nonet-test-"))
    place.chmod(0o755)
    shutil.copytree(origin, place / "venv", symlinks=True)
    script = place / "venv/bin/nonet"
    lines = script.read_text().splitlines(keepends=True)
    script.write_text("".join([f"#!{place}/venv/bin/python3\n", *lines[1:]]))
    yield str(script)
    shutil.rmtree(place)


@pytest.fixture(scope="session")
def network() -> Iterator[Network]:
    with Network() as made:
        yield made


@pytest.fixture(params=["root", "unprivileged"])
def machine(request: pytest.FixtureRequest, installed: str, network: Network) -> Iterator[Machine]:
    home = Path(tempfile.mkdtemp(prefix="nonet-home-"))
    uid = 0 if request.param == "root" else NOBODY
    os.chown(home, uid, uid)
    yield Machine(installed, network, home, uid)
    shutil.rmtree(home)


@pytest.fixture
def server(machine: Machine) -> Iterator[socket.socket]:
    """A listener inside, on loopback, that a test may be granted a connection to."""
    inside = machine.network.inside
    with machine.network.call(inside, lambda: socket.create_server(("127.0.0.1", 0))) as made:
        made.settimeout(5)
        yield made
