#!/usr/bin/python3 -I
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first process of a guest: what this kernel has, what nonet does on it, the table.

It reads its orders from /orders.json and answers on the second serial line, a line of
JSON for each result; the last is {"end": true}. Then the machine is switched off.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

CONTRACT = Path("/tests/contract")
sys.path.insert(0, str(CONTRACT))

NONET, FROZEN = "/usr/bin/nonet", "/usr/bin/nonet-frozen"
IN_A_THREAD = ["/usr/bin/python3", "-I", str(CONTRACT / "limiter.py"), "--thread", NONET]
NOBODY = 65534
USERS = {"root": 0, "unprivileged": NOBODY}
ENVIRON = {"PATH": "/usr/bin", "HOME": "/tmp", "LANG": "C.UTF-8"}
MOUNTS = (
    ("proc", "/proc", "proc"),
    ("sysfs", "/sys", "sysfs"),
    ("devtmpfs", "/dev", "devtmpfs"),
    ("devpts", "/dev/pts", "devpts"),
    ("tmpfs", "/run", "tmpfs"),
)
# The kernel's own switches for what the controls try; not every kernel has each of them.
SWITCHES = {
    "/proc/sys/dev/tty/legacy_tiocsti": "1",
    "/proc/sys/kernel/yama/ptrace_scope": "0",
}
NET_SWITCHES = {
    "/proc/sys/net/ipv4/ping_group_range": "0 65535",
    "/proc/sys/net/ipv4/tcp_fastopen": "3",
}
INIT_MODULE = {"x86_64": 175, "aarch64": 105}
LANDLOCK_CREATE_RULESET, IO_URING_SETUP, ADD_KEY = 444, 425, {"x86_64": 248, "aarch64": 217}
KNOWN_ROWS = 16  # resource limits of every kernel
REBOOT = 0x0123_4567  # RB_AUTOBOOT; the machine is started so that this ends it

libc = ctypes.CDLL(None, use_errno=True)
machine = os.uname().machine
Orders = dict[str, Any]


def say(**result: object) -> None:
    with open(os.environ["NONET_RESULTS"], "w", encoding="ascii") as line:
        line.write(json.dumps(result) + "\n")


def syscall(number: int, *arguments: object) -> int:
    result: int = libc.syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def start(orders: Orders) -> None:
    for device, place, kind in MOUNTS:
        os.makedirs(place, exist_ok=True)
        libc.mount(device.encode(), place.encode(), kind.encode(), 0, None)
    for name in orders["modules"]:
        content = Path(f"/lib/modules/{name}.ko").read_bytes()
        syscall(INIT_MODULE[machine], content, ctypes.c_ulong(len(content)), b"")
    for path, value in SWITCHES.items():
        with contextlib.suppress(FileNotFoundError):
            Path(path).write_text(value)


# --- facilities ---


def _landlock() -> int | str:
    try:
        return syscall(LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    except OSError as error:
        return os.strerror(error.errno or 0)


def _has_socket(family: int, kind: int, protocol: int = 0) -> bool:
    try:
        socket.socket(family, kind, protocol).close()
    except OSError:
        return False
    return True


def _i386() -> bool:
    from base import call_i386

    try:
        return call_i386(20) == os.getpid()
    except OSError:
        return False


def _has(number: int, *arguments: object) -> bool:
    try:
        syscall(number, *arguments)
    except OSError:
        return False
    return True


def facilities() -> dict[str, object]:
    rows = Path("/proc/self/limits").read_text(encoding="ascii").splitlines()[1:]
    return {
        "landlock": _landlock(),
        "limits": [row[:25].strip() for row in rows[KNOWN_ROWS:]],
        "seccomp": "\nSeccomp:" in Path("/proc/self/status").read_text(encoding="ascii"),
        "i386": machine == "x86_64" and _i386(),
        "io_uring": _has(IO_URING_SETUP, 1, bytes(120)),
        "keys": _has(ADD_KEY[machine], b"user", b"k", b"v", ctypes.c_size_t(1), -2),
        "mptcp": _has_socket(socket.AF_INET, socket.SOCK_STREAM, 262),
        "vsock": _has_socket(socket.AF_VSOCK, socket.SOCK_STREAM),
        "ipv6": _has_socket(socket.AF_INET6, socket.SOCK_DGRAM),
        "user namespaces": os.path.exists("/proc/self/ns/user"),
    }


# --- commands, and the contract's table ---


def words(prefix: list[str], uid: int) -> list[str]:
    user = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--"]
    return [*prefix, *(user if uid else [])]


def run_commands(commands: dict[str, list[str]], prefix: list[str]) -> None:
    for name, command in commands.items():
        for user, uid in USERS.items():
            ended = subprocess.run(
                [*words(prefix, uid), *command],
                check=False, capture_output=True, text=True, env=ENVIRON, cwd="/",
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
            say(
                command=name, user=user, status=ended.returncode,
                stdout=ended.stdout, stderr=ended.stderr,
            )  # fmt: skip


def make_attempts(orders: Orders) -> None:
    import acquire  # noqa: F401 - registers its attempts, as the next two do
    import doors  # noqa: F401
    import holding  # noqa: F401
    import lo  # noqa: F401
    from base import ATTEMPTS, BARE, NONE
    from network import Network
    from subject import UNDOMAINED, Subject, departure
    from world import World

    for level, changed in orders["expect"].items():
        for name, value in changed.items():
            wanted = frozenset(value) if isinstance(value, list) else value
            ATTEMPTS[name].expect[level] = wanted
    with Network() as network:
        network.settle = orders["settle"]
        for path, value in NET_SWITCHES.items():
            network.call(network.inside, lambda p=path, v=value: Path(p).write_text(v))  # type: ignore[misc]
        run_commands(orders["commands"], network.prefix)
        world = World(network)
        ways = [(level, level, [NONET]) for level in orders["levels"]]
        ways += [(f"{each} frozen", each, [FROZEN]) for each in orders["frozen"]]
        ways += [(f"{each} in a thread", each, IN_A_THREAD) for each in orders["in a thread"]]
        for way, level, nonet in ways:
            for user, uid in USERS.items():
                if nonet == [FROZEN] and uid == 0:
                    continue  # emulation takes its time, and here root is no less limited
                subject = Subject(
                    world, level,
                    prefix=list(words(network.prefix, uid)),
                    nonet=nonet,
                    probe=CONTRACT / "probe.py",
                    environ={**ENVIRON, "NONET_PROBE_SECONDS": str(orders["seconds"])},
                )  # fmt: skip
                for attempt in ATTEMPTS.values():
                    if level == BARE and attempt.needs_root and uid:
                        continue  # the kernel itself refuses: there is nothing to compare with
                    asked = NONE if level == UNDOMAINED else level
                    if level != BARE and asked not in attempt.at:
                        continue
                    result = departure(attempt, level, subject.make(attempt.name))
                    say(
                        attempt=attempt.name, row=attempt.row, level=way, user=user,
                        departure=result,
                    )  # fmt: skip
                subject.close()
        world.close()


def main() -> None:
    orders = json.loads(Path("/orders.json").read_text(encoding="ascii"))
    start(orders)
    os.environ["NONET_RESULTS"] = orders["results"]
    os.environ["PATH"] = ENVIRON["PATH"]
    begun = time.monotonic()
    try:
        say(facilities=facilities(), release=os.uname().release)
        make_attempts(orders)
        say(end=True, seconds=round(time.monotonic() - begun, 1))
    except BaseException:  # noqa: BLE001 - told to the host, whatever it is
        say(failure=traceback.format_exc())


def first_process() -> None:
    """Run main() in a child and bury what it leaves; then end the machine."""
    child = os.fork()
    if child == 0:
        os.setsid()
        main()
        os._exit(0)
    while os.wait()[0] != child:
        pass
    os.sync()
    libc.reboot(REBOOT)


if __name__ == "__main__":
    first_process()
