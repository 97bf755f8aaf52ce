# SPDX-License-Identifier: GPL-3.0-or-later
"""A grant that cannot be made: one clear line, 125, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from granted import ECHO, RAN, UNIX, in_network, refused, with_files  # fmt: skip

if TYPE_CHECKING:
    import socket

    from conftest import Machine


def test_failures_each_say_what_and_why(machine: Machine, server: socket.socket) -> None:
    host, port = server.getsockname()
    (machine.home / "file").write_text("")
    (machine.home / "file").chmod(0o666)
    with in_network(machine) as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = closed.getsockname()[1]
        for options, reason in {
            ("-l", f"{host}:{port}"): f"listen on 'tcp:{host}:{port}': address already in use",
            ("-l", "198.51.100.77:8000"): "listen on 'tcp:198.51.100.77:8000':"
            " cannot assign requested address",
            ("-l", "unix:none/x"): "listen on 'unix:none/x': no such file or directory",
            ("-c", f"127.0.0.1:{nobody}"): f"connect to 'tcp:127.0.0.1:{nobody}':"
            " connection refused",
            ("-c", "unix:file"): "connect to 'unix:file': connection refused",
            ("-c", "unix:none"): "connect to 'unix:none': no such file or directory",
            ("-o", "none"): "open 'none': no such file or directory",
            ("-o", "file,rw,create,excl"): "open 'file': file exists",
            ("-o", ".,w"): "open '.': is a directory",
        }.items():
            ended = machine.limited([*options], *ECHO)
            assert ended.stderr.decode().splitlines()[0] == f"nonet: cannot {reason}"
            assert (ended.returncode, ended.stdout) == (125, b"")


def test_a_name_that_does_not_resolve(machine: Machine) -> None:
    resolver = machine.home / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.1\n")  # nobody listens there
    ended = with_files(machine, {"/etc/resolv.conf": resolver}, "-c", "no-such.test:80", *ECHO)
    refused(
        ended,
        "nonet: cannot connect to 'tcp:no-such.test:80': temporary failure in name resolution",
    )


def test_no_answer_within_the_timeout(machine: Machine) -> None:
    with in_network(machine) as full, in_network(machine) as filler, in_network(machine) as more:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for one in (filler, more):  # the queue is full: the kernel drops what else comes
            one.setblocking(False)  # noqa: FBT003 - the library's own
            one.connect_ex(full.getsockname())
        place = f"tcp:127.0.0.1:{full.getsockname()[1]}"
        ended = machine.limited(["-c", f"{place},timeout=0.3"], *ECHO)
    refused(ended, f"nonet: cannot connect to '{place}': no answer within 0.3 seconds")


def test_a_privileged_port(machine: Machine) -> None:
    ended = machine.limited(["-l", "127.0.0.1:81"], *ECHO)
    if machine.uid == 0:
        assert ended.returncode == 0
        return
    refused(
        ended,
        "nonet: cannot listen on 'tcp:127.0.0.1:81': permission denied",
        "nonet: hint: a port below net.ipv4.ip_unprivileged_port_start takes CAP_NET_BIND_SERVICE",
    )


def test_too_few_descriptors(machine: Machine) -> None:
    words = [word for n in range(9) for word in ("-l", f"unix:s{n}")]
    ended = machine.run("sh", "-c", 'ulimit -n 9; exec "$@"', "sh", machine.nonet, *words, *ECHO)
    first, *rest = ended.stderr.decode().splitlines()
    assert first.startswith("nonet: cannot listen on 'unix:s")
    assert first.endswith(": too many open files")
    assert (rest, ended.returncode, ended.stdout) == ([], 125, b"")
    assert os.listdir(machine.home) == []
    ended = machine.run(
        "sh", "-c", 'ulimit -n 9; exec "$@"', "sh", machine.nonet, "-l", "unix:s,fd=9", *ECHO
    )
    refused(ended, "nonet: cannot place a grant at 9: RLIMIT_NOFILE is below it")
    assert os.listdir(machine.home) == []


def test_a_full_disk(machine: Machine) -> None:
    prefix = machine.network.prefix
    user = machine.words()[len(prefix) :]
    (machine.home / "disk").mkdir()
    script = 'mount -t tmpfs -o nr_inodes=1,mode=777 t disk && cd disk && exec "$@"'
    ended = subprocess.run(
        [*prefix, "unshare", "--mount", "sh", "-c", script, "sh", *user, machine.nonet,
         "-l", "unix:x", *ECHO],
        capture_output=True, check=False, cwd=machine.home, env=machine.environ(),
    )  # fmt: skip
    refused(ended, "nonet: cannot listen on 'unix:x': no space left on device")


MADE = ("-l", "unix:one", "-o", "two,rw,create", "-b", "unix:three,unsealed")


@pytest.mark.parametrize(
    ("last", "program", "status"),
    [
        (["-o", "missing"], "true", 125),
        (["-b", "udp:0"], "true", 125),  # open-ended
        (["-l", "0,fd=2000000"], "true", 125),  # no such number
        ([], "./not-a-program", 126),  # only execve(2) can tell
    ],
)
def test_nothing_is_left_behind(
    machine: Machine, last: list[str], program: str, status: int
) -> None:
    broken = machine.home / "not-a-program"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    (machine.home / "kept").write_text("content")
    os.chown(machine.home / "kept", machine.uid, machine.uid)
    ended = machine.limited([*MADE, "-o", "kept,w,create,trunc", *last], program)
    assert ended.returncode == status
    assert sorted(os.listdir(machine.home)) == ["kept", "not-a-program"]
    if status == 125:  # data goes only when nothing else can fail but execve(2)
        assert (machine.home / "kept").read_text() == "content"


def test_what_was_made_stays_when_program_runs(machine: Machine) -> None:
    assert machine.limited(MADE, "true").returncode == 0
    assert sorted(os.listdir(machine.home)) == ["one", "three", "two"]


@pytest.mark.parametrize("last", [["-o", "missing"], ["-b", "udp:0"], ["-l", "0,fd=2000000"]])
def test_a_socket_that_was_to_be_replaced_is_put_back(machine: Machine, last: list[str]) -> None:
    with in_network(machine, UNIX) as server:
        server.bind(str(machine.home / "s"))
        server.listen(1)
        os.chown(machine.home / "s", machine.uid, machine.uid)
        assert machine.limited(["-l", "unix:s,replace", *last], *ECHO).returncode == 125
        assert os.listdir(machine.home) == ["s"]
        assert machine.limited(["-c", "unix:s"], *ECHO).stdout == RAN  # it is still the old one
        assert machine.limited(["-l", "unix:s,replace"], *ECHO).stdout == RAN
        assert os.listdir(machine.home) == ["s"]
        assert machine.limited(["-c", "unix:s"], *ECHO).returncode == 125


def test_connect_waits_for_a_unix_listener_whose_queue_is_full(machine: Machine) -> None:
    with in_network(machine, UNIX) as server, in_network(machine, UNIX) as first:
        path = str(machine.home / "s")
        server.bind(path)
        os.chmod(path, 0o777)
        server.listen(0)
        first.connect(path)
        ended = machine.limited(["-c", "unix:s,timeout=0.3"], *ECHO)
        refused(ended, "nonet: cannot connect to 'unix:s': no answer within 0.3 seconds")
        words = machine.words(machine.nonet, "-c", "unix:s,timeout=20", *ECHO)
        with subprocess.Popen(words, cwd=machine.home, stdout=subprocess.PIPE) as waiting:
            with pytest.raises(subprocess.TimeoutExpired):
                waiting.wait(0.5)
            server.accept()
            assert waiting.communicate(timeout=20)[0] == RAN


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_nothing_is_left_behind_by_a_signal(machine: Machine, number: signal.Signals) -> None:
    fifo = machine.home / "fifo"
    os.mkfifo(fifo, 0o666)
    os.chmod(fifo, 0o666)
    words = machine.words(machine.nonet, *MADE, "-o", "fifo", *ECHO)  # waits for a writer
    with subprocess.Popen(words, cwd=machine.home, stdout=subprocess.PIPE) as running:
        deadline = time.monotonic() + 10
        while not (machine.home / "three").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert sorted(os.listdir(machine.home)) == ["fifo", "one", "three", "two"]
        running.send_signal(number)
        assert running.wait(10) == -number
        assert running.stdout is not None
        assert running.stdout.read() == b""
    assert os.listdir(machine.home) == ["fifo"]
