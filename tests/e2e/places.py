# SPDX-License-Identifier: GPL-3.0-or-later
"""Attempts that can be made wherever nonet is started, and who counts what arrives.

It is a few rows of the contract's table, each by one attempt: the rest is in contract/.
"""

from __future__ import annotations

import errno
import json
import socket
import subprocess
from typing import TYPE_CHECKING

from nonet import levels

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from conftest import Machine
    from network import Network

# The machine's own root, with all that is mounted on it, at another place: $1.
ROOT = 'mount --rbind / "$1"; cd "$1"'
WITHOUT_PROC = f'set -e; {ROOT}; umount -l proc sys dev; shift; exec chroot . "$@"'
READ_ONLY = """set -e
findmnt -rn -o TARGET | sort -r | while read -r place; do
    mount -o remount,bind,ro "$place" 2> /dev/null || true
done
exec "$@"
"""
# What a place is: the words before the user's and nonet's own, and what starts them.
PLACES: dict[str, Sequence[str]] = {
    "plain": (),
    "without-environment": ("env", "-i"),
    "as-cron-does": ("env", "-i", "SHELL=/bin/sh", "PATH=/usr/bin:/bin", "LOGNAME=x", "HOME=/",
                     "setsid", "--wait", "/bin/sh", "-c", 'cd / && "$@" < /dev/null', "sh"),
    "sudo": ("sudo", "-n", "--"),
    "first-process": ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child"),
    "without-proc": ("unshare", "--mount", "sh", "-c", WITHOUT_PROC, "sh", "{empty}"),
    "read-only": ("unshare", "--mount", "sh", "-c", READ_ONLY, "sh"),
    "small-stack": ("sh", "-c", 'ulimit -S -s 160; exec "$@"', "sh"),
    "folder-that-is-gone": ("sh", "-c", 'mkdir "$1/x"; cd "$1/x"; rmdir "$1/x"; shift; exec "$@"',
                            "sh", "{empty}"),
    "no-descriptors-to-spare": ("sh", "-c", 'ulimit -n 16; exec "$@"', "sh"),
}  # fmt: skip

OK = "ok"
# By row: what is tried.
TRIED = ("inet-tcp", "inet-udp", "unix-path", "abstract-outside", "socketpair-dgram",
         "other-family")  # fmt: skip
COUNTED = TRIED[:4]  # it arrives somewhere, if it succeeds

# A program that makes them, and says what came of each. sys.argv[1]: where to.
PROBE = """
import errno, json, socket, sys
places = json.loads(sys.argv[1])
def call(family, kind, place):
    with socket.socket(family, kind) as one:
        one.settimeout(5)
        one.connect(place)
        one.send(b"x")
U, I = socket.AF_UNIX, socket.AF_INET
acts = {
    "inet-tcp": lambda: call(I, socket.SOCK_STREAM, tuple(places["inet-tcp"])),
    "inet-udp": lambda: call(I, socket.SOCK_DGRAM, tuple(places["inet-udp"])),
    "unix-path": lambda: call(U, socket.SOCK_STREAM, places["unix-path"]),
    "abstract-outside": lambda: call(U, socket.SOCK_STREAM, "\\0" + places["abstract-outside"]),
    "socketpair-dgram": lambda: socket.socketpair(U, socket.SOCK_DGRAM),
    "other-family": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
}
found = {}
for row, act in acts.items():
    try:
        act()
    except OSError as error:
        found[row] = errno.errorcode[error.errno]
    else:
        found[row] = "ok"
print(json.dumps(found))
"""


class Targets:
    """A socket of each kind in a network namespace. It counts who reaches it."""

    def __init__(self, network: Network, folder: Path) -> None:
        """Listen, at a pathname in the folder too."""
        self.path = folder / "listener"

        def listen() -> dict[str, socket.socket]:
            made = {
                "inet-tcp": socket.create_server(("127.0.0.1", 0)),
                "inet-udp": socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
                "unix-path": socket.socket(socket.AF_UNIX),
                "abstract-outside": socket.socket(socket.AF_UNIX),
            }
            made["inet-udp"].bind(("127.0.0.1", 0))
            made["unix-path"].bind(str(self.path))
            made["abstract-outside"].bind(b"")  # the kernel chooses the name
            return made

        self._sockets = network.call(network.inside, listen)
        self.path.chmod(0o777)
        for row in ("unix-path", "abstract-outside"):
            self._sockets[row].listen()
        for one in self._sockets.values():
            one.settimeout(0)
        names = {row: one.getsockname() for row, one in self._sockets.items()}
        names["abstract-outside"] = names["abstract-outside"][1:].decode()
        self.words = [*("/usr/bin/python3", "-I", "-S", "-c"), PROBE, json.dumps(names)]

    def close(self) -> None:
        for one in self._sockets.values():
            one.close()
        self.path.unlink()

    def reached(self) -> set[str]:
        """Return which rows' sockets were reached since this was asked last."""
        return {row for row, one in self._sockets.items() if _take(one)}


def _take(one: socket.socket) -> int:
    count = 0
    while True:
        try:
            if one.type == socket.SOCK_DGRAM:
                one.recv(64)
            else:
                one.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


def expected(level: str, *, udp: bool = True) -> dict[str, str]:
    """Return what comes of the attempts at a level; `udp`: whether loopback has UDP here."""
    cells = {row.key: row.cells[level] for row in levels.ROWS}
    found = {row: errno.errorcode[errno.EPERM] if cells[row] == levels.E else OK for row in TRIED}
    return found if udp or level != levels.LOOPBACK else {**found, "inet-udp": "EPERM"}


def arrives(level: str) -> set[str]:
    """Return which rows' sockets are reached at a level. UDP at loopback stays inside."""
    ok = {row for row, verdict in expected(level).items() if verdict == OK and row in COUNTED}
    return ok - {"inet-udp"} if level == levels.LOOPBACK else ok


def start(
    machine: Machine,
    place: str,
    *command: str,
    pass_fds: Sequence[int] = (),
) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a place, as root where the place is made and as the user in it."""
    empty = machine.home / "empty"
    empty.mkdir(exist_ok=True)
    prefix = machine.network.prefix
    user = machine.words()[len(prefix) :]
    words = [word.replace("{empty}", str(empty)) for word in PLACES[place]]
    return subprocess.run(
        [*prefix, *words, *user, *command],
        capture_output=True, check=False, cwd="/", timeout=60, stdin=subprocess.DEVNULL,
        env=machine.environ(), pass_fds=pass_fds,
    )  # fmt: skip
