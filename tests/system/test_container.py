# SPDX-License-Identifier: GPL-3.0-or-later
"""In containers as podman and Docker make them, without a privilege: every level there is exact.

podman's own default profile, capabilities and masks; the container is the machine's in one
thing alone, the tests' network, so that it can be seen what arrives.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from network import Network
from places import COUNTED, OK, TRIED, Targets, arrives, expected

from nonet import levels

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent
PROFILE = Path("/usr/share/containers/seccomp.json")
SECONDS = 60.0
# Docker's default profile has these for CAP_SYS_ADMIN alone: no namespaces, no mounts.
# podman's own lets everybody have them.
DOCKER_REFUSES = {"unshare", "setns", "mount", "umount", "umount2", "pivot_root", "clone3"}
NOBODY = "--user=65534:65534"
DOCKER = "--security-opt=seccomp={docker}"
# What changes from engine to engine, and what people add.
OPTIONS: dict[str, tuple[str, ...]] = {
    "podman": (),
    "podman-nobody": (NOBODY,),
    "docker-like": (DOCKER,),
    "docker-like-nobody": (DOCKER, NOBODY),
    "read-only": ("--read-only", "--read-only-tmpfs=false"),
    "no-new-privileges": ("--security-opt=no-new-privileges", "--cap-drop=all", NOBODY),
}


class Engine:
    """podman with a root file system for its containers, on a network of the tests'."""

    def __init__(self, place: Path, network: Network) -> None:
        self.place = place
        self.root = place / "rootfs"
        self.shared = place / "shared"
        self.docker = place / "docker.json"
        self._network = network
        for folder in (self.root, self.shared):
            folder.mkdir()
        self.shared.chmod(0o755)
        self.targets = Targets(network, self.shared)
        made = subprocess.run(
            [HERE / "make-debian", "bookworm", "system", self.root],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        if made.returncode:
            pytest.exit(made.stderr, returncode=1)
        self.docker.write_text(json.dumps(_docker_like(json.loads(PROFILE.read_text()))))
        self.podman = [
            *("podman", "--root", str(place / "storage"), "--runroot", str(place / "run")),
            # crun of Debian 12 runs only where all control groups are of one version.
            *("--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "none"),
        ]

    def words(self, *options: str) -> list[str]:
        """Return the words that start a container of this root and what runs in it."""
        filled = [option.format(docker=self.docker) for option in options]
        return [
            *self.podman, "run", "--rm", f"--network=ns:/run/netns/{self._network.inside}",
            # As they are: to raise the limits to the defaults takes a privilege on this machine.
            "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024", "--log-driver=none",
            f"--volume={self.shared}:{self.shared}", *filled, "--rootfs", str(self.root),
        ]  # fmt: skip

    def run(self, options: tuple[str, ...], *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.words(*options), *command],
            check=False, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL,
        )  # fmt: skip


def _docker_like(profile: dict[str, list[dict[str, list[str]]]]) -> object:
    for rule in profile["syscalls"]:
        if not rule.get("includes"):
            rule["names"] = [name for name in rule["names"] if name not in DOCKER_REFUSES]
    refused = {"names": sorted(DOCKER_REFUSES), "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
    return {**profile, "syscalls": [*profile["syscalls"], refused]}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    place = Path(tempfile.mkdtemp(prefix="nonet-container-"))
    place.chmod(0o755)
    try:
        with Network() as network:
            made = Engine(place, network)
            yield made
            made.targets.close()
            subprocess.run([*made.podman, "rm", "--all", "--force"], check=True)
    finally:
        shutil.rmtree(place)


@pytest.mark.parametrize("name", OPTIONS)
def test_without_nonet_all_is_reached(engine: Engine, name: str) -> None:
    """The control: what is refused below is refused by nonet and not by the engine."""
    bare = engine.run(OPTIONS[name], *engine.targets.words)
    assert bare.stderr == ""
    assert json.loads(bare.stdout) == dict.fromkeys(TRIED, OK)
    assert engine.targets.reached() == set(COUNTED)


@pytest.mark.parametrize("level", levels.LEVELS)
@pytest.mark.parametrize("name", OPTIONS)
def test_each_level_is_exact(engine: Engine, name: str, level: str) -> None:
    udp = DOCKER not in OPTIONS[name]
    words = ("nonet", "-v", "--allow", level, "--", *engine.targets.words)
    ended = engine.run(OPTIONS[name], *words)
    said = ended.stderr.splitlines()
    assert said[0] == f"nonet: level {level}: may still acquire {levels.MEANING[level]}"
    assert any(line.startswith("nonet: Landlock domain: ABI ") for line in said)
    if level == levels.LOOPBACK:
        assert ("nonet: UDP: in an empty network namespace" in said) == udp
        assert any(line.startswith("nonet: refused: UDP: ") for line in said) != udp
    assert ended.returncode == 0
    assert json.loads(ended.stdout) == expected(level, udp=udp)
    assert engine.targets.reached() == arrives(level)


@pytest.mark.parametrize("name", OPTIONS)
def test_nothing_is_said_and_nothing_tightened(engine: Engine, name: str) -> None:
    ended = engine.run(OPTIONS[name], "nonet", "true")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.parametrize("level", levels.LEVELS)
def test_as_entrypoint(engine: Engine, level: str) -> None:
    """PROGRAM is PID 1: the engine's request to stop reaches it, and its status is the engine's."""
    script = "trap 'echo asked; exit 7' TERM; echo I am $$; while :; do sleep 0.1; done"
    entry = f'--entrypoint=["nonet", "--allow", "{level}", "--"]'
    container = f"nonet-entrypoint-{level}"
    words = engine.words(entry, f"--name={container}")
    with subprocess.Popen([*words, "sh", "-c", script], stdout=subprocess.PIPE, text=True) as one:
        assert one.stdout
        assert one.stdout.readline() == "I am 1\n"
        began = time.monotonic()
        subprocess.run(
            [*engine.podman, "stop", "--time=30", container],
            check=True, stdout=subprocess.DEVNULL, timeout=SECONDS,
        )  # fmt: skip
        assert one.stdout.read() == "asked\n"
        assert one.wait(SECONDS) == 7
        assert time.monotonic() - began < 25  # it was not killed


def test_a_profile_without_landlock_tightens_or_refuses(engine: Engine) -> None:
    """As engines had it some years ago: their default refuses what it does not know."""
    profile = json.loads(PROFILE.read_text())
    for rule in profile["syscalls"]:
        rule["names"] = [name for name in rule["names"] if not name.startswith("landlock_")]
    for number, why in ((1, "Landlock is forbidden here"), (38, "this kernel has no Landlock")):
        profile["defaultErrnoRet"] = number
        profile["defaultErrno"] = {1: "EPERM", 38: "ENOSYS"}[number]
        path = engine.place / "old.json"
        path.write_text(json.dumps(profile))
        options = (f"--security-opt=seccomp={path}",)
        tightened = engine.run(options, "nonet", *engine.targets.words)
        assert tightened.stderr.startswith(
            f"nonet: level none instead of path: it takes Landlock ABI 6, and {why}"
        )
        assert json.loads(tightened.stdout) == expected(levels.NONE)
        refused = engine.run(options, "nonet", "--allow", "path", *engine.targets.words)
        assert (refused.returncode, refused.stdout) == (125, "")
        assert "nonet: hint: exact on this machine: --allow none; for path: " in refused.stderr
        assert engine.targets.reached() == set()
