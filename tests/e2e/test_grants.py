# SPDX-License-Identifier: GPL-3.0-or-later
"""Grants: what is opened, what PROGRAM finds, and that a failure leaves nothing behind."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest
from granted import (
    DGRAM,
    ECHO,
    INET,
    INET6,
    PYTHON,
    RAN,
    REPORTER,
    SEQPACKET,
    STREAM,
    UNIX,
    in_network,
    refused,
    report,
    with_files,
)  # fmt: skip

if TYPE_CHECKING:
    from conftest import Machine


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["-l", "0"], [INET, STREAM, 1, True]),
        (["-l", "*:0"], [INET6, STREAM, 1, True]),
        (["-l", "[::1]:0,nonblock"], [INET6, STREAM, 1, False]),
        (["-l", "unix:made"], [UNIX, STREAM, 1, True]),
        (["-l", "unix:@nonet-test-grant"], [UNIX, STREAM, 1, True]),
        (["-l", "unix-seqpacket:made"], [UNIX, SEQPACKET, 1, True]),
        (["--allow", "path", "-b", "unix:made"], [UNIX, DGRAM, 0, True]),
        (["-b", "udp:0,unsealed"], [INET, DGRAM, 0, True]),
        (["-b", "udp:*:0,unsealed,nonblock"], [INET6, DGRAM, 0, False]),
    ],
)
def test_what_is_made(machine: Machine, options: list[str], found: list[object]) -> None:
    assert report(machine.limited(["-x", *options], *REPORTER))[0] == {"3": found}


def test_every_address_is_reached_over_both_families(machine: Machine) -> None:
    code = (
        "import socket; s = socket.socket(fileno=3)\nfor _ in 'ab': s.accept()[0].send(b'served')"
    )
    words = machine.words(machine.nonet, "--allow", "none", "-l", "web=*:0", PYTHON, "-c", code)
    with subprocess.Popen(words, stderr=subprocess.PIPE, cwd=machine.home) as running:
        assert running.stderr is not None
        port = int(running.stderr.readline().split()[-1])
        for family, host in ((INET, "127.0.0.1"), (INET6, "::1")):
            with in_network(machine, family) as client:
                client.settimeout(5)
                client.connect((host, port))
                assert client.recv(6) == b"served"
        assert running.wait(5) == 0


def test_connect(machine: Machine, server: socket.socket) -> None:
    host, port = server.getsockname()
    code = "import socket; s = socket.socket(fileno=3); s.sendall(b'hello')"
    ended = machine.limited(["--allow", "none", "-c", f"{host}:{port}"], PYTHON, "-c", code)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert server.accept()[0].recv(5) == b"hello"


def test_connect_tries_every_address_in_turn(machine: Machine) -> None:
    """Where localhost is ::1 and 127.0.0.1, one of them answers."""
    for family, host in ((INET, "127.0.0.1"), (INET6, "::1")):
        with in_network(machine, family) as one:
            one.bind((host, 0))
            one.listen(1)
            port = one.getsockname()[1]
            hosts = machine.home / "hosts"
            hosts.write_text("127.0.0.1 both.test\n::1 both.test\n")
            ended = with_files(machine, {"/etc/hosts": hosts}, "-c", f"both.test:{port}", *ECHO)
            assert (ended.returncode, ended.stdout) == (0, RAN), ended.stderr


def test_mode_and_replace(machine: Machine) -> None:
    assert machine.limited(["-l", "unix:s,mode=0640"], "true").returncode == 0
    assert stat.S_IMODE((machine.home / "s").stat().st_mode) == 0o640
    assert b"address already in use" in machine.limited(["-l", "unix:s"], "true").stderr
    assert machine.limited(["-l", "unix:s,replace"], "true").returncode == 0
    (machine.home / "s").unlink()
    (machine.home / "s").write_text("no socket")
    ended = machine.limited(["-l", "unix:s,replace"], "true")
    assert b"there is something else than a socket" in ended.stderr
    assert (machine.home / "s").read_text() == "no socket"


def test_two_share_a_port_with_reuseport_only(machine: Machine) -> None:
    words = ["-l", "127.0.0.1:18080,reuseport", "-l", "127.0.0.1:18080,reuseport"]
    assert machine.limited(words, "true").returncode == 0
    assert machine.limited(["-l", "127.0.0.1:18080", *words], "true").returncode == 125


def test_files(machine: Machine) -> None:
    (machine.home / "in").write_text("input")
    script = "cat <&{in}; echo first >&{log}"
    options = ["-o", "in=in", "-o", "log=log,w,append,create,mode=600"]
    for _ in range(2):
        assert machine.limited(options, "sh", "-c", script).stdout == b"input"
    assert (machine.home / "log").read_text() == "first\nfirst\n"
    assert stat.S_IMODE((machine.home / "log").stat().st_mode) == 0o600
    machine.limited(["-o", "log=log,w,trunc"], "true")
    assert (machine.home / "log").read_text() == ""


def test_only_the_file_that_is_to_be_emptied_is(machine: Machine) -> None:
    """Another file may have come to the number where it was opened."""
    for name in ("one", "two"):
        (machine.home / name).write_text(name)
        os.chown(machine.home / name, machine.uid, machine.uid)
    options = ["-x", "-o", "one,w,trunc,fd=9", "-o", "two,rw"]
    assert machine.limited(options, "true").returncode == 0
    assert [(machine.home / name).read_text() for name in ("one", "two")] == ["", "two"]


def test_the_four_ways_to_find_them(machine: Machine) -> None:
    options = ["-x", "-l", "web=0", "-o", "/etc/passwd", "-l", "unix:s,fd=9", "-o", "k=/etc/group"]
    found, environ = report(machine.limited(options, *REPORTER, "{web}"))
    assert found == {
        "3": [INET, STREAM, 1, True], "4": "/etc/passwd", "5": "/etc/group",
        "9": [UNIX, STREAM, 1, True],
    }  # fmt: skip
    assert environ.pop("LISTEN_PID").isdigit()
    assert environ.pop("NONET_PORT_WEB").isdigit()
    environ.pop("LISTEN_PIDFDID", None)
    assert environ == {
        "LISTEN_FDS": "3", "LISTEN_FDNAMES": "web:unknown:k", "NONET_FD_WEB": "3",
        "NONET_FD_K": "5",
    }  # fmt: skip
    (machine.home / "s").unlink()
    ended = machine.limited(options, "echo", "fd://{web},{k},{x}")
    assert ended.stdout == b"fd://3,5,{x}\n"


def test_inetd_style(machine: Machine, server: socket.socket) -> None:
    host, port = server.getsockname()
    ended = machine.limited(["--allow", "none", "-c", f"{host}:{port},fd=0,fd=1"], *ECHO)
    assert ended.returncode == 0
    assert server.accept()[0].recv(64) == RAN


def test_inherited_descriptors_are_not_overwritten_unsaid(machine: Machine) -> None:
    def launch(*words: str) -> subprocess.CompletedProcess[bytes]:
        return machine.run("sh", "-c", 'exec "$@" 3</etc/group', "sh", machine.nonet, *words)

    refused(
        launch("-o", "/etc/passwd", *ECHO),
        "nonet: cannot place '/etc/passwd' at 3: an inherited descriptor is in use there",
        "nonet: hint: close it (--close-others), or pin the grant elsewhere (fd=4)",
    )
    for options in (["-x", "-o", "/etc/passwd"], ["-o", "/etc/passwd,fd=3"]):
        assert report(launch(*options, *REPORTER))[0] == {"3": "/etc/passwd"}
    refused(
        launch("-k", "3", "-o", "/etc/passwd,fd=3", *ECHO),
        "nonet: cannot place '/etc/passwd' at 3: it is to be kept",
    )


def test_a_message_after_standard_error_was_granted_away(machine: Machine) -> None:
    broken = machine.home / "script"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    (machine.home / "kept").write_text("kept")
    (machine.home / "kept").chmod(0o666)
    # Another grant may be pinned to where standard error has been moved.
    others = [[], *(["-x", "-o", f"kept,rw,fd={number}"] for number in range(3, 9))]
    for more in others:
        ended = machine.limited([*more, "-o", "log,w,create,fd=2"], "./script")
        assert ended.stderr.startswith(b"nonet: cannot execute './script': no such file")
        assert ended.returncode == 126
    assert (machine.home / "kept").read_text() == "kept"


@pytest.mark.parametrize("level", ["none", "path", "unix"])
def test_open_ended_grants_are_refused_without_unsealed(machine: Machine, level: str) -> None:
    why = "sendmsg(2) can name another destination, where no filter sees it"
    for text in ("udp:127.0.0.1:9999", *(["unix:d"] if level == "none" else [])):
        kind = "UDP" if text.startswith("udp") else "datagram"
        ended = machine.limited(["--allow", level, "-b", text], *ECHO)
        refused(
            ended,
            f"nonet: cannot hand over '{text}': a {kind} socket is open-ended: {why}",
            "nonet: hint: ',unsealed' hands it over so",
        )
        assert machine.limited(["--allow", level, "-b", f"{text},unsealed"], *ECHO).stdout == RAN
        (machine.home / "d").unlink(missing_ok=True)


@pytest.mark.parametrize("count", [1000])
def test_a_thousand_grants(machine: Machine, count: int) -> None:
    words = [word for n in range(count) for word in ("-l", f"n{n}=unix:@nonet-test-{n}")]
    script = "import os; print(len(os.listdir('/proc/self/fd')), os.environ['LISTEN_FDS'])"
    command = [machine.nonet, "-x", *words, PYTHON, "-c", script]
    ended = machine.run("sh", "-c", 'ulimit -n 1024; exec "$@"', "sh", *command)
    assert ended.stdout == f"{count + 4} {count}\n".encode(), ended.stderr[-300:]


# --- --explain ---

LINES = [
    ["-l", "web=0", "-o", "/etc/passwd,fd=8"],
    ["-b", "udp:0"],
    ["-b", "udp:0,unsealed", "-l", "unix:made"],
    ["--allow", "none", "-b", "unix:made"],
    ["--allow", "unix", "-c", "unix:@nonet-test-nobody"],
    ["-x", "-k", "0", "-l", "0,fd=5,fd=6"],
]


@pytest.mark.parametrize("line", LINES)
def test_explain_tells_what_the_launch_does(machine: Machine, line: list[str]) -> None:
    ended = machine.limited(["--explain", "--json", *line], "echo", "{web}")
    assert ended.stderr == b""
    plan = json.loads(ended.stdout)
    assert os.listdir(machine.home) == []  # it opened nothing
    assert plan["program"].endswith("/echo")
    launched = machine.limited([*line], *REPORTER)
    if "-c" not in line:  # nobody is there to connect to: only the plan is asked about
        assert (launched.returncode == 125) == (ended.returncode == 125)
    if launched.returncode == 0:
        found, _ = report(launched)
        assert sorted(found) == sorted(str(fd) for one in plan["grants"] for fd in one["fds"])
    text = machine.limited(["--explain", *line], "echo", "{web}").stdout.decode()
    assert text.startswith(f"program: {plan['program']}\nlevel: {plan['level']}\n")
    for one in plan["grants"]:
        assert f"{one['verb']} {one['what']}" in text


def test_explain_refuses_what_the_launch_refuses(machine: Machine) -> None:
    plan = json.loads(machine.limited(["--explain", "--json", "-b", "udp:0"], "true").stdout)
    (grant,) = plan["grants"]
    assert grant["outcome"] == "refused"
    assert grant["reason"].startswith("a UDP socket is open-ended")
    assert machine.limited(["--explain"], "no-such-program").returncode == 127
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        ended = machine.limited(["--explain"], "true", pass_fds=[udp.fileno()])
        assert ended.returncode == 125
        assert b"refused; a UDP socket is open-ended" in ended.stdout
