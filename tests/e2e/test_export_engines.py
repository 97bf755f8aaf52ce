# SPDX-License-Identifier: GPL-3.0-or-later
"""An exported profile as podman takes it, by --security-opt, and as runc does in a bundle."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from errno import EPERM
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from test_export_container import contained
from world import PYTHON

from nonet import levels

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from network import Network

# Attempts by their row, each an expression.
ATTEMPTS = {
    "inet-tcp": "socket.socket(socket.AF_INET)",
    "inet-udp": "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)",
    "inet-other": "socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)",
    "other-family": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "unix-socket": "socket.socket(socket.AF_UNIX)",
    "socketpair-stream": "socket.socketpair()",
    "socketpair-dgram": "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)",
    "abstract-bind": "socket.socket(socket.AF_UNIX).bind(chr(0) + 'name')",
    "held-use": "socket.socketpair()[0].send(b'x')",
    "held-relisten": "socket.socketpair()[0].listen()",
    "fastopen": "socket.socketpair()[0].send(b'x', 0x20000000)",
}
PROBE = """
import json, socket, sys
def outcome(text):
    try: eval(text)
    except OSError as error: return error.errno
answers = {row: outcome(text) for row, text in json.loads(sys.argv[1]).items()}
print(json.dumps(answers))
"""
PODMANS_OWN = "/usr/share/containers/seccomp.json"
# In a mount namespace of its own: what podman would write is written to a folder of the test's.
START = """
mount --bind "$(findmnt -n -t cgroup2 -o TARGET | head -n 1)" /sys/fs/cgroup
cd "$1"
mkdir -p rootfs/usr
for name in bin lib lib32 lib64 libx32 sbin; do ln -sfn usr/$name rootfs/$name; done
mount --bind /usr rootfs/usr
mkdir -p state run
profile=$2
shift 2
exec podman --root "$PWD/state" --runroot "$PWD/run" --storage-driver vfs \
    --cgroup-manager cgroupfs --runtime crun run --rm --cgroups=disabled --network=none \
    --log-driver=none --ulimit nofile=1000:1000 --ulimit nproc=1000:1000 \
    --security-opt "seccomp=$profile" --rootfs "$PWD/rootfs" "$@"
"""


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="nonet-podman-"))
    yield made
    shutil.rmtree(made)


def answers(
    place: Path, network: Network, engine: str, profile: str, entry: Sequence[str] = ()
) -> dict[str, int | None]:
    """Return what comes of each attempt in a container: an errno, or None."""
    command = [*entry, PYTHON, "-c", PROBE, json.dumps(ATTEMPTS)]
    if engine == "runc":
        name = f"runc-{Path(profile).stem}"
        words = contained(place, network, name, 0, profile, command, engine)
    else:
        words = ["unshare", "--mount", "--propagation", "private", "--", "sh", "-euc", START, "sh"]
        words += [str(place), profile or "unconfined", *command]
    ended = subprocess.run(
        words,
        capture_output=True, check=False, stdin=subprocess.DEVNULL, text=True, timeout=120,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    found: dict[str, int | None] = json.loads(ended.stdout)
    return found


@pytest.fixture(scope="module", params=["podman", "runc"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def bare(place: Path, network: Network, engine: str) -> dict[str, int | None]:
    """The positive control."""
    return answers(place, network, engine, "")


def by_contract(level: str, bare: dict[str, int | None]) -> dict[str, int | None]:
    """Return what is to come of each attempt, given what comes of it without a limit."""
    by_cell = {levels.E: EPERM, levels.NO_EFFECT: None}
    cells = {row.key: row.cells[level] for row in levels.ROWS}
    return {row: by_cell.get(cells[row], bare[row]) for row in ATTEMPTS}


@pytest.mark.parametrize("level", [levels.NONE, levels.PATH, levels.UNIX])
def test_it_takes_the_profile(
    installed: str,
    place: Path,
    network: Network,
    engine: str,
    bare: dict[str, int | None],
    level: str,
) -> None:
    profile = place / f"{level}.json"
    with profile.open("wb") as file:
        subprocess.run([installed, "--export", "oci", "--allow", level], check=True, stdout=file)
    assert EPERM not in bare.values()
    assert answers(place, network, engine, str(profile)) == by_contract(level, bare)


def test_a_frozen_entry_point_beside_podmans_own_profile(
    installed: str, place: Path, network: Network
) -> None:
    """Nothing else of nonet is in the image."""
    limited = place / "rootfs/limited"
    limited.parent.mkdir(exist_ok=True)
    subprocess.run([installed, "--freeze", str(limited), "--allow", "none"], check=True)
    before = answers(place, network, "podman", PODMANS_OWN)
    assert EPERM not in before.values()
    frozen = answers(place, network, "podman", PODMANS_OWN, ["/limited"])
    assert frozen == by_contract(levels.NONE, before)
