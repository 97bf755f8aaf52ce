# SPDX-License-Identifier: GPL-3.0-or-later
"""The manual's examples, copied from the page as a reader sees it, and run."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from nonet import check, levels

if TYPE_CHECKING:
    from conftest import Machine

PAGE = Path(__file__).parents[2] / "man/nonet.1"
# What an older kernel makes nonet say at the default level.
TIGHTENED = rb"(nonet: level none instead of path: .*\n)?"

# By what is in the example: the exit status, and all of the output, standard error last.
EXPECTED = {
    "nonet make test": (0, rb"passed\n" + TIGHTENED),
    "loopback make check": (0, rb"passed\n"),
    "--report --fail-on-attempt": (0, rb"passed\nnonet: no attempts refused\n" + TIGHTENED),
    "--allow none ./convert": (0, rb""),
    "socket.socket()": (1, rb"(.*\n)*PermissionError: \[Errno 1\] Operation not permitted\n"),
    "8080,fd=0 cat": (0, rb"from the listener"),
    "8080,fd=0,fd=1": (0, rb""),
    "/dev/tcp/": (0, rb"from the listener"),
    "none -l web=": (0, rb"app:app served on tcp:127\.0\.0\.1:8000 at 7\n"),
    "--explain": (
        0,
        (
            rb"program: .*/gunicorn\nlevel: (path|none)\n(  .*\n)+grants:\n"
            rb"    7  listen tcp:127\.0\.0\.1:8000 as web: handed over, sealed\n"
            rb"inherited:\n    0  .*: handed over\n(.*: handed over.*\n)+"
        ),
    ),
    "./serve": (
        0,
        rb"service\.sock with mode 660 at 3, a key at 5, web at 4 on port (\d+)\n"
        + TIGHTENED
        + rb"nonet: web: port \1\n",
    ),
    "./answer": (0, rb"udp:127\.0\.0\.1:5300 at 3\n" + TIGHTENED),
    "untrusted.pdf,fd=0": (0, TIGHTENED),
    "nonet -x ./convert": (0, TIGHTENED),
    "--export": (0, rb""),
    "nonet -v true": (0, TIGHTENED + rb"nonet: level (path|none): .*\n(nonet: .*\n)+"),
    "nonet --check": (0, rb"nonet .*\n(.*\n)+loopback +exact: (.*\n)+"),
    "trap": (0, rb"passed\n" + TIGHTENED),
}


# What the programs of the examples do with what they are granted.
PROGRAMS = {
    "convert": "#!/bin/sh\nexec cat\n",
    "bin/gunicorn": """#!/usr/bin/python3
import socket, sys
option, where, app = sys.argv[1:]
fd = int(where.removeprefix("fd://"))
listener = socket.socket(fileno=fd)
assert option == "--bind" and listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
host, port = listener.getsockname()
print(f"{app} served on tcp:{host}:{port} at {fd}")
""",
    "serve": """#!/usr/bin/python3
import os, socket, sys
path = socket.socket(fileno=3).getsockname()
mode = os.stat(path).st_mode & 0o777
key = int(sys.argv[sys.argv.index("--key-fd") + 1])
web = int(os.environ["NONET_FD_WEB"])
port = socket.socket(fileno=web).getsockname()[1]
assert os.environ["NONET_PORT_WEB"] == str(port)
assert os.environ["LISTEN_FDNAMES"] == "unknown:web:key"
print(f"{path} with mode {mode:o} at 3, {os.read(key, 9).decode()} at {key}, ", end="")
print(f"web at {web} on port {port}")
""",
    "answer": """#!/usr/bin/python3
import socket, sys
host, port = socket.socket(fileno=int(sys.argv[1])).getsockname()
print(f"udp:{host}:{port} at {sys.argv[1]}")
""",
}


def page() -> str:
    """Return the manual as a reader sees it."""
    words = ["mandoc", "-T", "utf8", "-O", "width=200", str(PAGE)]
    text = subprocess.run(words, capture_output=True, check=True, text=True).stdout
    return re.sub(".\b", "", text)


def examples() -> list[str]:
    """Return the commands of EXAMPLES, those that belong together as one."""
    section = page().partition("\nEXAMPLES\n")[2].partition("\nDIAGNOSTICS\n")[0]
    blocks = re.findall(r"(?:^ +\$ .*\n)+", section, re.MULTILINE)
    return [re.sub(r"^ +\$ ", "", block, flags=re.MULTILINE) for block in blocks]


def test_every_example_does_what_it_says(machine: Machine) -> None:
    (machine.home / "Makefile").write_text("test check:\n\t@echo passed\n")
    (machine.home / "bin").mkdir()
    for name, text in PROGRAMS.items():
        (machine.home / name).write_text(text)
        (machine.home / name).chmod(0o755)
    for name, content in {"untrusted.pdf": b"a document", "key.pem": b"a key"}.items():
        (machine.home / name).write_bytes(content)
        os.chown(machine.home / name, machine.uid, machine.uid)
    listener = machine.network.call(
        machine.network.inside, lambda: socket.create_server(("127.0.0.1", 8080))
    )
    listener.settimeout(60)

    answers = []

    def serve() -> None:
        for _ in range(3):
            with listener.accept()[0] as connection:
                connection.sendall(b"from the listener")
                connection.shutdown(socket.SHUT_WR)
                answers.append(connection.recv(99))

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    path = f"{machine.home}/bin:{os.path.dirname(machine.nonet)}:/usr/bin:/bin"
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
            if "--export" in example:
                profile = json.loads((machine.home / "nonet-none.json").read_bytes())
                assert profile["architectures"]
                assert b"\nNoNewPrivileges=yes\n" in (machine.home / "nonet.conf").read_bytes()
        server.join()
    assert sorted(answers) == [b"", b"", b"from the listener"]
    assert seen == set(EXPECTED)


def test_explain_says_what_the_manual_says(machine: Machine) -> None:
    (listed,) = re.findall(r"Its keys are ([\w, \n]+)\.", page())
    ended = machine.limited(["--explain", "--json", "-o", "/etc/passwd"], "true")
    assert list(json.loads(ended.stdout)) == re.findall(r"\b(?!and\b)\w+", listed)


def test_check_says_what_the_manual_says(machine: Machine) -> None:
    answer = json.loads(machine.run(machine.nonet, "--check", "--json").stdout)
    section = PAGE.read_text().partition("\n.Sh CHECKING\n")[2].partition("\n.Sh ")[0]
    verdicts, whole, each = (
        [
            word
            for item in re.findall(r"^\.It Cm (.*)", part, re.MULTILINE)
            for word in item.split(" , ")
        ]
        for part in section.split("\n.Bl ")[1:]
    )
    assert verdicts == [check.EXACT, check.TIGHTENED, check.REFUSED_HERE, check.INEXACT]
    assert list(answer) == whole
    assert list(answer["levels"]) == [check.DEFAULT, *levels.LEVELS]
    assert [list(one) for one in answer["levels"].values()] == [each] * len(answer["levels"])
