# SPDX-License-Identifier: GPL-3.0-or-later
"""What a program is started under: nothing, nonet in its ways, a frozen file, and peers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

NONET = str(Path(sys.executable).with_name("nonet"))
TRUE = shutil.which("true") or "/bin/true"
BARE, FILTER, PLAIN, FROZEN, UNSHARE = "bare", "any filter", "nonet", "frozen", "unshare -Urn"


class Launcher(NamedTuple):
    """How a program is started: the words before its own.

    `options`: it takes nonet's. `folder`: where it is frozen to, with its options, if it is.
    `sockets`: a program may make some there. `lo`: nobody else sets lo up in its namespace,
    so the work does.
    """

    words: tuple[str, ...] = ()
    options: bool = False
    folder: str = ""
    sockets: bool = False
    lo: bool = False

    def command(self, options: tuple[str, ...] = ()) -> list[str]:
        """Return the words before a program's, with options where it is nonet."""
        if not self.folder:
            return [*self.words, *options]
        file = Path(self.folder, f"frozen{abs(hash(options))}")
        if not file.exists():
            subprocess.run([NONET, "--freeze", file, *options], check=True)
        return [str(file)]


PEERS = {
    "setpriv": Launcher(("setpriv", "--no-new-privs"), sockets=True),
    UNSHARE: Launcher(("unshare", "--user", "--map-root-user", "--net"), sockets=True, lo=True),
    "bwrap": Launcher(("bwrap", "--dev-bind", "/", "/", "--unshare-net"), sockets=True),
    "firejail": Launcher(("firejail", "--quiet", "--noprofile", "--net=none"), sockets=True),
    "systemd-run": Launcher(
        ("systemd-run", "--quiet", "--pipe", "--wait", "-p", "PrivateNetwork=yes"), sockets=True
    ),
}


def launchers(folder: str, work: str) -> dict[str, Launcher]:
    """Return them by name; peers that do not work here are left out, and said so."""
    found = {
        BARE: Launcher(sockets=True),
        FILTER: Launcher((work, "filtered"), sockets=True),  # what seccomp itself costs
        PLAIN: Launcher((NONET,), options=True),
        "none": Launcher((NONET, "--allow", "none"), options=True),
        "loopback": Launcher((NONET, "--allow", "loopback"), options=True, sockets=True),
        "report": Launcher((NONET, "--report-file", "/dev/null"), options=True),
        FROZEN: Launcher(options=True, folder=folder),
    }
    for name, peer in PEERS.items():
        if not shutil.which(peer.words[0]):
            print(f"{name}: not installed")
            continue
        command = [*peer.words, TRUE]
        tried = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True)
        if tried.returncode:
            print(f"{name}: does not work here: {tried.stderr.decode().strip()}")
        else:
            found[name] = peer
    return found
