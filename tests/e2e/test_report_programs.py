# SPDX-License-Identifier: GPL-3.0-or-later
"""Real programs, and what the report says of them, in a network that goes nowhere."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import Machine
from programs import needs_i386, python_with_pip, require
from reports import TRY, report
from running import fill

HOST, SERVER = "198.51.100.7", "198.51.100.53"
NAME = "telemetry.vendor.test"
FAILS_AT_ONCE = 4.0  # seconds; a resolver that waits takes at least 5
HERE = Path(__file__).parent


class Resolving(Machine):
    """A machine whose name server is an address in the network that goes nowhere."""

    def words(self, *command: str | bytes) -> list[str | bytes]:
        (self.home / "resolv.conf").write_text(f"nameserver {SERVER}\n")
        script = 'mount --bind "$1" /etc/resolv.conf; shift; exec "$@"'
        mounted = ["unshare", "--mount", "sh", "-ec", script, "sh", f"{self.home}/resolv.conf"]
        inside = self.network.prefix
        return [*inside, *mounted, *super().words(*command)[len(inside) :]]


@pytest.fixture
def resolving(machine: Machine) -> Machine:
    return Resolving(machine.nonet, machine.network, machine.home, machine.uid)


@dataclass(frozen=True)
class Goes:
    """A program that goes somewhere: a script, who goes, and of which parents."""

    name: str
    programs: tuple[str, ...]
    script: str
    who: str
    port: int = 80
    parents: tuple[str, ...] = ("bash",)


GOES = (
    Goes("curl", ("curl",), f"curl -sS http://{HOST}/", "curl"),
    Goes("curl-https", ("curl",), f"curl -sS https://{HOST}/", "curl", 443),
    Goes("wget", ("wget",), f"wget -q -t 1 -T 5 http://{HOST}/", "wget"),
    Goes(
        "git-http", ("git",), f"git ls-remote http://{HOST}/x.git", "git-remote-http",
        parents=("git", "git", "bash"),
    ),
    Goes("git", ("git",), f"git ls-remote git://{HOST}/x.git", "git", 9418),
    Goes(
        "pip", (), f'"$PYTHON" -m pip --isolated --no-cache-dir --retries 0 '
        f"--disable-pip-version-check download --no-deps "
        f"--trusted-host {HOST} -i http://{HOST}:3141/simple greet",
        "python3", 3141,
    ),
    Goes("npm", ("npm",), f"npm ping --registry http://{HOST}:4873/ --fetch-retries 0",
        "npm ping", 4873),
    Goes(
        "apt", ("apt-get",), f"""
        echo 'deb [trusted=yes] http://{HOST}:8000/debian stable main' >sources.list
        mkdir -p state/lists/partial cache/archives/partial
        apt-get -o Dir::Etc::sourcelist=$PWD/sources.list -o Dir::Etc::sourceparts=/nowhere \
            -o Dir::State=$PWD/state -o Dir::Cache=$PWD/cache -o Acquire::Retries=0 \
            -o APT::Sandbox::User= update""", "http", 8000, ("apt-get", "bash"),
    ),
    Goes("urllib", (), "python3 -c 'import urllib.request as u; "
        f'u.urlopen("http://{HOST}:8080/")\'', "python3", 8080),
    Goes("node", ("node",), f"node -e 'fetch(\"http://{HOST}:8080/\")'", "node", 8080),
    Goes("bash", ("bash",), f": </dev/tcp/{HOST}/80", "bash", parents=()),
    Goes("static", ("gcc",), "gcc -static -o goes goes.c && ./goes", "goes", 4242),
)  # fmt: skip

STATIC = """
#include <arpa/inet.h>
#include <sys/socket.h>
int main(void) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(4242)};
    inet_pton(AF_INET, "$HOST", &to.sin_addr);
    return connect(socket(AF_INET, SOCK_STREAM, 0), (void *)&to, sizeof to) ? 7 : 0;
}
"""


@pytest.mark.parametrize("goes", GOES, ids=lambda goes: goes.name)
def test_it_says_who_wanted_to_go_where(machine: Machine, goes: Goes) -> None:
    require(machine, *goes.programs)
    (machine.home / "goes.c").write_text(fill(STATIC, {"$HOST": HOST}))
    env = machine.environ(PYTHON=python_with_pip(machine))
    with machine.network.capture() as packets:
        found = report(machine, "bash", "-c", f"{goes.script}\nstatus=$?; exit $status", env=env)
    assert found.ended.returncode != 0
    assert packets == []
    line = found.one(call="connect", address=HOST, port=goes.port)
    assert (line["family"], line["type"], line["errno"]) == ("AF_INET", "tcp", "EPERM")
    assert line["name"] == goes.who
    assert tuple(parent["name"] for parent in line["parents"]) == goes.parents
    assert f"connect  tcp {HOST}:{goes.port}" in found.summary
    assert f"{goes.who}[{line['pid']}]" in found.summary


LOOKS_UP = {
    "getaddrinfo": (f"getent ahosts {NAME}", "getent"),
    "curl": (f"curl -sS http://{NAME}/", "curl"),
    "wget": (f"wget -q -t 1 http://{NAME}/", "wget"),
    "git": (f"git ls-remote git://{NAME}/x.git", "git"),
    "urllib": (
        f"python3 -c 'import urllib.request as u; u.urlopen(\"http://{NAME}/\")'", "python3",
    ),
    "node": (f"node -e 'fetch(\"http://{NAME}/\")'", "node"),
    "node-cares": (
        f"node -e 'require(\"dns\").resolve4(\"{NAME}\", e => process.exit(e ? 3 : 0))'",
        "node",
    ),
    "bash": (f": </dev/tcp/{NAME}/80", "bash"),
}  # fmt: skip


OWN_AND_LIBCS = ("node-cares", "getaddrinfo")


@pytest.mark.parametrize(
    ("level", "program"),
    [
        *(("path", program) for program in LOOKS_UP),
        *((level, program) for level in ("none", "loopback") for program in OWN_AND_LIBCS),
    ],
)
def test_it_says_which_name_was_looked_up_and_the_resolver_fails_at_once(
    resolving: Machine, level: str, program: str
) -> None:
    script, who = LOOKS_UP[program]
    before = time.monotonic()
    with resolving.network.capture() as packets:
        found = report(resolving, "bash", "-c", f"{script}\nexit $?", options=["--allow", level])
    assert time.monotonic() - before < FAILS_AT_ONCE
    assert found.ended.returncode != 0
    assert packets == []
    line = found.one(call="lookup", lookup=NAME)
    assert line["lookup_type"] in ("A", "AAAA")
    assert (line["address"], line["port"], line["type"]) == (SERVER, 53, "udp")
    assert line["name"] == who
    assert f"lookup  {NAME} " in found.summary.replace("lookup   ", "lookup  ")


QUERY = f"""
name = b"".join(bytes([len(label)]) + label for label in b"{NAME}".split(b"."))
query = struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + name + bytes([0, 0, 28, 0, 1])
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.settimeout(9)
"""


def test_a_resolver_that_does_not_connect(machine: Machine) -> None:
    code = f"{TRY}{QUERY}print(attempt(lambda: one.sendto(query, ('{SERVER}', 53))))"
    found = report(machine, "/usr/bin/python3", "-c", code)
    assert found.ended.stdout == b"EPERM\n"
    line = found.one(call="lookup", lookup=NAME, lookup_type="AAAA")
    assert (line["address"], line["port"], line["errno"]) == (SERVER, 53, "EPERM")


def test_at_loopback_it_is_answered(machine: Machine) -> None:
    code = f"{TRY}{QUERY}one.sendto(query, ('{SERVER}', 53)); print(one.recv(99)[3] & 15)"
    found = report(machine, "/usr/bin/python3", "-c", code, options=["--allow", "loopback"])
    assert found.ended.stdout == b"5\n"
    assert found.one(call="lookup", lookup=NAME)["address"] == SERVER
    assert found.total == 1


def test_over_ipv6(machine: Machine) -> None:
    code = f"""{TRY}
with socket.socket(socket.AF_INET6) as one: attempt(lambda: one.connect(("2001:db8::7", 443)))
with socket.socket(socket.AF_INET6) as one:
    attempt(lambda: one.connect(("::ffff:{HOST}", 443)))
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as one:
    attempt(lambda: one.connect(("2001:db8::53", 53))); one.send(b"?" * 40)
"""
    found = report(machine, "/usr/bin/python3", "-c", code)
    assert found.one(call="connect", port=443)["address"] == "2001:db8::7"
    assert found.one(address=HOST)["family"] == "AF_INET6"
    assert found.one(port=53)["address"] == "2001:db8::53"
    assert " tcp [2001:db8::7]:443 " in found.summary


@needs_i386
def test_a_32_bit_program(machine: Machine) -> None:
    code = f"""{TRY}
import array
from base import call_i386, low_memory
fd = call_i386(359, socket.AF_INET, socket.SOCK_STREAM, 0)
address = array.array("H", [socket.AF_INET]).tobytes() + struct.pack(">H", 443)
where, area = low_memory(address + socket.inet_aton("{HOST}") + bytes(8))
print(attempt(lambda: call_i386(362, fd, where, 16)))
where, area = low_memory(array.array("I", [socket.AF_INET6, socket.SOCK_DGRAM, 0]).tobytes())
print(attempt(lambda: call_i386(102, 1, where)))
"""
    shutil.copy(HERE / "contract/base.py", machine.home)
    found = report(machine, "/usr/bin/python3", "-c", code)
    assert found.ended.stdout == b"EPERM\nEPERM\n"
    line = found.one(call="connect", address=HOST, port=443)
    assert (line["type"], line["name"]) == ("tcp", "python3")
    assert found.one(call="socket", family="AF_INET6")["type"] == "udp"


def test_other_attempts_are_called_by_their_names(machine: Machine) -> None:
    code = f"""{TRY}
for arguments in ((socket.AF_NETLINK, 3), (socket.AF_INET, 1, 132), (socket.AF_PACKET, 3)):
    attempt(lambda: socket.socket(*arguments))
one = socket.socket(); attempt(lambda: one.bind(("0.0.0.0", 8080)))
two = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
attempt(lambda: two.sendto(b"x", ("{HOST}", 514)))
three = socket.socket(); attempt(lambda: three.listen())
left = socket.socket()
"""
    found = report(machine, "/usr/bin/python3", "-c", code)
    targets = {tuple(line.split()[1:-1]) for line in found.summary.splitlines()[1:]}
    assert targets == {
        ("socket", "AF_NETLINK", "raw"),
        ("socket", "stream", "132"),
        ("socket", "AF_PACKET", "raw"),
        ("bind", "tcp", "0.0.0.0:8080"),
        ("sendto", "udp", f"{HOST}:514"),
        ("listen", "tcp"),
        ("socket", "tcp"),
    }
