# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine with names of its own: nobody is asked for others."""

from __future__ import annotations

import socket

from conftest import Machine

# Nobody answers at this name server: who asks is told so at once, under nonet and without.
FILES = {
    "hosts": f"127.0.0.1 localhost {socket.gethostname()}\n::1 localhost ip6-localhost\n",
    "resolv.conf": "nameserver 127.0.0.1\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\n",
}
MOUNT = 'for file in "$0"/*; do mount --bind "$file" "/etc/${file##*/}" || exit; done; exec "$@"'


class NamedMachine(Machine):
    """A machine whose programs find these files in /etc."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine.nonet, machine.network, machine.home, machine.uid)
        self._folder = machine.home / "etc"
        self._folder.mkdir()
        for name, text in FILES.items():
            (self._folder / name).write_text(text)

    def words(self, *command: str | bytes) -> list[str | bytes]:
        prefix = self.network.prefix
        user = super().words(*command)[len(prefix) :]
        return [*prefix, "unshare", "--mount", "sh", "-c", MOUNT, str(self._folder), *user]
