# SPDX-License-Identifier: GPL-3.0-or-later
"""The manual's examples, copied from the page as a reader sees it, and run."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Machine

PAGE = Path(__file__).parents[2] / "man/nonet.1"
# What an older kernel makes nonet say at the default level.
TIGHTENED = rb"(nonet: level none instead of path: .*\n)?"

# By what is in the example: the exit status, and all of the output, standard error last.
EXPECTED = {
    "nonet make test": (0, rb"passed\n" + TIGHTENED),
    "--allow none ./convert": (0, rb""),
    "socket.socket()": (1, rb"(.*\n)*PermissionError: \[Errno 1\] Operation not permitted\n"),
    "/dev/tcp/": (0, rb"from the listener"),
    "nonet -x ./convert": (0, TIGHTENED),
    "nonet -v true": (0, TIGHTENED + rb"nonet: level (path|none): .*\n(nonet: .*\n)+"),
    "trap": (0, rb"passed\n" + TIGHTENED),
}


def examples() -> list[str]:
    """Return the commands of EXAMPLES, those that belong together as one."""
    words = ["mandoc", "-T", "utf8", "-O", "width=200", str(PAGE)]
    text = subprocess.run(words, capture_output=True, check=True, text=True).stdout
    plain = re.sub(".\b", "", text)
    section = plain.partition("\nEXAMPLES\n")[2].partition("\nDIAGNOSTICS\n")[0]
    blocks = re.findall(r"(?:^ +\$ .*\n)+", section, re.MULTILINE)
    return [re.sub(r"^ +\$ ", "", block, flags=re.MULTILINE) for block in blocks]


def test_every_example_does_what_it_says(machine: Machine) -> None:
    (machine.home / "Makefile").write_text("test:\n\t@echo passed\n")
    (machine.home / "convert").write_text("#!/bin/sh\nexec cat\n")
    (machine.home / "convert").chmod(0o755)
    (machine.home / "untrusted.pdf").write_bytes(b"a document")
    os.chown(machine.home / "untrusted.pdf", machine.uid, machine.uid)
    listener = machine.network.call(
        machine.network.inside, lambda: socket.create_server(("127.0.0.1", 8080))
    )
    listener.settimeout(60)

    def serve() -> None:
        with listener.accept()[0] as connection:
            connection.sendall(b"from the listener")

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    path = f"{os.path.dirname(machine.nonet)}:/usr/bin:/bin"
    seen = set()
    with listener:
        for example in examples():
            (key,) = [key for key in EXPECTED if key in example]
            ended = machine.run("bash", "-c", example, env=machine.environ(PATH=path))
            status, output = EXPECTED[key]
            assert ended.returncode == status, ended
            assert re.fullmatch(output, ended.stdout + ended.stderr), ended
            seen.add(key)
            if "out.png" in example:
                assert (machine.home / "out.png").read_bytes() == b"a document"
                (machine.home / "out.png").unlink()
        server.join()
    assert seen == set(EXPECTED)
