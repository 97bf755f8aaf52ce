# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that fetch are refused: each says so itself, at once, and nothing is sent."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from network import OUTSIDE4, OUTSIDE6
from programs import python_with_pip, require
from servers import PAYLOAD, Site, publish, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Machine
    from network import Network

LEVELS = ("none", "path", "unix")
PATIENCE = 20.0  # seconds, after which a program hangs
NAME = "answer.nonet.test"
NOT_PERMITTED = "Operation not permitted"
PING_RANGE = "/proc/sys/net/ipv4/ping_group_range"


@dataclass(frozen=True)
class Fetch:
    """A command that fetches.

    `gets` stands in its output when it does. When it may not, it says `says` on
    standard error (None: nothing at all) and exits with `status`.
    """

    name: str
    needs: tuple[str, ...]
    words: tuple[str, ...]
    status: int
    says: str | None
    gets: str = PAYLOAD
    asks: str | None = "web"  # the server that counts it; None: a kernel answers


PYTHON = "import urllib.request as r; print(r.urlopen('$SITE/file', timeout=9).read().decode())"
NODE = "fetch('$SITE/file').then(answer => answer.text()).then(console.log)"
BASH = r"exec 3<>/dev/tcp/$HOST/$PORT; printf 'GET /file HTTP/1.0\r\n\r\n' >&3; cat <&3"
GIT = "git clone $SITE/origin.git copy && git -C copy show HEAD:file"
PIP = ("-m", "pip", "--isolated", "--no-cache-dir", "--disable-pip-version-check", "install",
       "--retries=1", "--timeout=9", "--no-deps", "--target=lib", "--trusted-host=$HOST",
       "--index-url=$SITE/simple", "greet")  # fmt: skip

CONNECT = "Failed to connect to $HOST port $PORT"
FETCHES = (
    Fetch("curl", ("curl",), ("curl", "-q", "-sS", "$SITE/file"), 7, f"curl: (7) {CONNECT}"),
    Fetch("curl-ipv6", ("curl",), ("curl", "-q", "-sS", "$SITE6/file"), 7,
          f"curl: (7) Failed to connect to {OUTSIDE6} port", asks="web6"),
    # Left to itself wget takes this error for one that passes, and tries 20 times in minutes.
    Fetch("wget", ("wget",), ("wget", "--no-config", "--tries=1", "-O-", "$SITE/file"), 4,
          f"Connecting to $HOST:$PORT... failed: {NOT_PERMITTED}."),
    Fetch("git", ("bash", "git"), ("bash", "-c", GIT), 128,
          f"fatal: unable to access '$SITE/origin.git/': {CONNECT}"),
    Fetch("pip", (), ("$PYTHON", *PIP), 1,
          f"Failed to establish a new connection: [Errno 1] {NOT_PERMITTED}",
          gets="Successfully installed greet-1.0"),
    Fetch("urllib", ("python3",), ("python3", "-c", PYTHON), 1,
          f"<urlopen error [Errno 1] {NOT_PERMITTED}>"),
    Fetch("node", ("node",), ("node", "-e", NODE), 1, "Error: connect EPERM $HOST:$PORT"),
    Fetch("bash", ("bash",), ("bash", "-c", BASH), 1, f"/dev/tcp/$HOST/$PORT: {NOT_PERMITTED}"),
    Fetch("ping", ("ping",), ("ping", "-n", "-c1", "-W9", "$HOST"), 2,
          f"ping: socket: {NOT_PERMITTED}", gets="1 received", asks=None),
    Fetch("ping-ipv6", ("ping",), ("ping", "-n", "-c1", "-W9", OUTSIDE6), 2,
          f"ping: socket: {NOT_PERMITTED}", gets="1 received", asks=None),
    # By DNS alone: a service of the host that nsswitch.conf names would ask elsewhere.
    Fetch("getent", ("getent",), ("getent", "-s", "dns", "hosts", NAME), 2, None,
          gets=OUTSIDE4, asks="names"),
)  # fmt: skip


@contextlib.contextmanager
def sysctl(network: Network, path: str, value: str) -> Iterator[None]:
    """Set a parameter of the inside for a while."""
    before = network.call(network.inside, Path(path).read_text)
    network.call(network.inside, lambda: Path(path).write_text(value))
    try:
        yield
    finally:
        network.call(network.inside, lambda: Path(path).write_text(before))


@pytest.fixture(scope="module")
def site(network: Network) -> Iterator[Site]:
    with (
        tempfile.TemporaryDirectory(prefix="nonet-site-") as name,
        sysctl(network, PING_RANGE, "0 65534"),
    ):
        folder = Path(name)
        folder.chmod(0o755)
        publish(folder)
        with serve(network, folder) as made:
            yield made


def attempt(
    machine: Machine, site: Site, fetch: Fetch, *launcher: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a fetch inside, where names are asked of the outside end. Fails if it hangs."""
    require(machine, *fetch.needs, "mount", "unshare")
    python = python_with_pip(machine)
    words = [site.fill(word.replace("$PYTHON", python)) for word in fetch.words]
    mount = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"']
    return subprocess.run(
        [*mount, site.resolv_conf, *machine.words(*launcher, *words)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        cwd=machine.home,
        env=machine.environ(PIP_CONFIG_FILE=os.devnull, GIT_CONFIG_NOSYSTEM="1"),
        timeout=PATIENCE,
    )


each_fetch = pytest.mark.parametrize("fetch", FETCHES, ids=[fetch.name for fetch in FETCHES])


@each_fetch
def test_without_nonet_it_fetches(machine: Machine, site: Site, fetch: Fetch) -> None:
    before = site.accepted(fetch.asks)
    with machine.network.capture() as packets:
        ended = attempt(machine, site, fetch)
    assert ended.returncode == 0, ended.stderr
    assert fetch.gets.encode() in ended.stdout
    assert packets
    assert fetch.asks is None or site.accepted(fetch.asks) > before


@each_fetch
@pytest.mark.parametrize("level", LEVELS)
def test_under_nonet_it_is_refused_and_nothing_is_sent(
    machine: Machine, site: Site, fetch: Fetch, level: str
) -> None:
    before = site.accepted(fetch.asks)
    began = time.monotonic()
    with machine.network.capture() as packets:
        ended = attempt(machine, site, fetch, machine.nonet, "--allow", level, "--")
    took = time.monotonic() - began
    assert ended.returncode == fetch.status, ended.stderr
    if fetch.says is None:
        assert ended.stderr == b""
    else:
        assert site.fill(fetch.says).encode() in ended.stderr
    assert fetch.gets.encode() not in ended.stdout
    assert packets == []
    assert site.accepted(fetch.asks) == before
    assert took < PATIENCE / 2
