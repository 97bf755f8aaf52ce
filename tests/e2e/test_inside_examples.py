# SPDX-License-Identifier: GPL-3.0-or-later
"""The example programs that limit themselves, and what becomes of a hostile part of them."""

from __future__ import annotations

import os
import re
import shutil
import socket
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from network import OUTSIDE4
from programs import python_with_pip
from running import LOOPBACK, PATIENCE, Elsewhere, Running, running
from told import wait_until

if TYPE_CHECKING:
    import subprocess

    from conftest import Machine

EXAMPLES = Path(__file__).parents[2] / "examples"
PIXELS = bytes(range(2 * 3 * 3))
PICTURE = b"P6 # two by\n# three\n2 3\n255\n" + PIXELS

# Runs an example with a part that has been taken over: it tries to reach what nobody granted.
TAKEN_OVER = """
import runpy, socket, sys
import nonet
example, port, limited, sys.argv[:] = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4:]
if limited != "True":
    nonet.limit = lambda *_: "unlimited"
def taken_over():
    said = []
    for place in (("127.0.0.1", port), (OUTSIDE, 9)):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            try:
                with socket.socket(socket.AF_INET, kind) as one:
                    one.connect(place)
                    one.send(b"stolen")
            except OSError as error:
                said.append(error.errno)
    return said
def parse(data):
    sys.stderr.write(f"{taken_over()}\\n")
    return 1, 1, b"abc"
async def answer(line):
    return f"{taken_over()}\\n".encode()
sys.path.insert(0, example.rpartition("/")[0])
module = __import__(example.rpartition("/")[2])
vars(module).update(parse=parse, answer=answer)
if example.endswith("serve"):
    import asyncio
    asyncio.run(module.main())
else:
    module.main()
"""


def copied(machine: Machine, name: str) -> str:
    """Return an example's place, where this user can read it."""
    shutil.copy(EXAMPLES / name, machine.home)
    return str(machine.home / name)


def taken_over(machine: Machine, name: str, port: int, *arguments: str, limited: bool) -> list[str]:
    example = copied(machine, name).removesuffix(".py")
    code = TAKEN_OVER.replace("OUTSIDE", repr(OUTSIDE4))
    words = [python_with_pip(machine), "-I", "-c", code, example, str(port), str(limited)]
    return [*words, name, *arguments]


def convert(machine: Machine, picture: bytes) -> subprocess.CompletedProcess[bytes]:
    (machine.home / "in.ppm").write_bytes(picture)
    return machine.run(
        python_with_pip(machine), "-I", copied(machine, "convert.py"), "in.ppm", "out.png"
    )


def test_the_converter_converts(machine: Machine) -> None:
    ended = convert(machine, PICTURE)
    assert (ended.returncode, ended.stderr) == (0, b"")
    made = (machine.home / "out.png").read_bytes()
    assert made.startswith(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR" + struct.pack(">II", 2, 3))
    (size,) = struct.unpack(">I", made[33:37])
    rows = zlib.decompress(made[41 : 41 + size])
    assert rows == b"".join(b"\0" + PIXELS[at : at + 6] for at in range(0, 18, 6))


@pytest.mark.parametrize(
    "picture",
    [b"", b"P6", b"P5 2 3 255\n" + PIXELS, PICTURE[:-1], b"P6 99999 1 255\n", b"P6 -2 3 255\n",
     b"P6 # no end", b"P6 x y 255\n" + PIXELS, b"P6 2 3 65535\n" + PIXELS * 2],
)  # fmt: skip
def test_the_converter_refuses_what_is_no_picture(machine: Machine, picture: bytes) -> None:
    ended = convert(machine, picture)
    assert ended.returncode == 1
    assert ended.stderr.endswith(b"convert.py: the picture cannot be read\n")
    assert not (machine.home / "out.png").exists()


@pytest.mark.parametrize("limited", [True, False])
def test_a_parser_that_is_taken_over_reaches_nothing(machine: Machine, limited: bool) -> None:
    (machine.home / "in.ppm").write_bytes(PICTURE)
    with Elsewhere(machine.network) as elsewhere:
        words = taken_over(
            machine, "convert.py", elsewhere.port, "in.ppm", "out.png", limited=limited
        )
        with machine.network.capture() as packets:
            ended = machine.run(*words)
        assert elsewhere.reached() == (0 if limited else 1)
    assert ended.returncode == 0
    assert ended.stderr == (b"[1, 1, 1, 1]\n" if limited else b"[111]\n")
    assert bool(packets) != limited


@pytest.mark.parametrize("limited", [None, True, False])
def test_the_server_serves_and_when_taken_over_reaches_nothing(
    machine: Machine, limited: bool | None
) -> None:
    network = machine.network
    with Elsewhere(network) as elsewhere, network.capture() as packets:
        if limited is None:
            words = [python_with_pip(machine), "-I", copied(machine, "serve.py")]
        else:
            words = taken_over(machine, "serve.py", elsewhere.port, limited=limited)
        with running(machine, machine.words(*words)) as program:
            port = port_of(program)
            for _ in range(3):
                with network.call(
                    network.inside, lambda: socket.create_connection((LOOPBACK, port), PATIENCE)
                ) as one:
                    one.sendall(b"a line\n")
                    said = one.recv(64)
                expected = {None: b"A LINE\n", True: b"[1, 1, 1, 1]\n", False: b"[111]\n"}
                assert said == expected[limited]
            assert program.said().startswith("unlimited" if limited is False else "level none\n")
        assert elsewhere.reached() == (3 if limited is False else 0)
    assert bool(packets) == (limited is False)


def port_of(program: Running) -> int:
    """Return the port that a server has said it listens on."""
    wait_until(lambda: "port " in program.said(), program.said)
    return int(re.findall(r"port (\d+)\n", program.said())[0])


def test_the_examples_can_be_executed() -> None:
    assert all(os.access(EXAMPLES / name, os.X_OK) for name in ("convert.py", "serve.py"))


# --- the README's own ---


def test_the_readmes_first_program_runs(machine: Machine) -> None:
    limit, _ = programs()
    ended = machine.run(python_with_pip(machine), "-I", "-c", f"{limit}\nsocket.socket()")
    assert ended.stdout.startswith(b"level none\nseccomp filter: ")
    assert ended.stderr.endswith(b"PermissionError: [Errno 1] Operation not permitted\n")


def test_the_readmes_way_with_subprocess_runs(machine: Machine) -> None:
    _, child = programs()
    filter_ = machine.home / "filter"
    code = "import socket, sys\nsocket.socket(fileno=int(sys.argv[1])).send(b'filtered')\n"
    filter_.write_text(f"#!/usr/bin/python3\n{code}socket.socket()\n")
    filter_.chmod(0o755)
    environ = machine.environ(PATH=f"{os.path.dirname(machine.nonet)}:/usr/bin:/bin")
    with machine.network.call(
        machine.network.inside, lambda: socket.create_server((LOOPBACK, 8080))
    ) as server:
        server.settimeout(PATIENCE)
        ended = machine.run(python_with_pip(machine), "-I", "-c", child, env=environ)
        with server.accept()[0] as one:
            assert one.recv(99) == b"filtered"
    assert b"\nPermissionError: [Errno 1] Operation not permitted\n" in ended.stderr
    assert ended.stderr.endswith(b"'./filter', '3']' returned non-zero exit status 1.\n")


def programs() -> list[str]:
    """Return the Python programs of the README's section."""
    text = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
    section = text.partition("\n## From inside a Python program\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"(?:^(?: {4}.*)?\n)+", section, re.MULTILINE)
    return [re.sub("^ {4}", "", block, flags=re.MULTILINE) for block in blocks if block.strip()]
