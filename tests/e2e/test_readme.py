# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of README.md, from top to bottom: each is run here, or where it is said to be."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from test_manual import PROGRAMS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Machine

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
STARTS = ("nonet ", "make ", "sudo ", "pipx ", "python3 ", "podman ", "docker ", "crun ")

# By what is in the command: what it comes to, standard error last. None: what it says is
# compared with the lines that stand below it.
RUN: dict[str, tuple[int, bytes] | None] = {
    "nonet make test": (0, rb"passed\n"),
    "nonet --allow none ./convert": (0, rb""),
    "nonet git clone": None,
    "nonet bash -c": None,
    "exec 3<>": (0, rb""),
    "cat <&3": (0, rb"from the listener"),
    "gunicorn": (0, rb"app:app served on tcp:127\.0\.0\.1:8080 at 7\n"),
    "tcp:*:80": (0, rb"--reuid www --clear-groups server --key-fd 4\n"),
    "db.internal": (0, rb"from the listener"),
    "mirror:873": (0, rb""),
    "loopback make check": (0, rb"passed\n"),
    "--report make test": (0, rb"passed\nnonet: no attempts refused\n"),
    "--fail-on-attempt": (0, rb"passed\nhermetic\n"),
    "--freeze limited": (0, rb""),
    "./limited ./convert": (0, rb""),
    "--export oci": (0, rb""),
    "--export systemd": (0, rb""),
}
# Where the others are run, or what they stand for is: a file of the project, and words in it.
ELSEWHERE = {
    "make run": ("tests/system/set-up", "make run"),
    "make test": ("tests/system/set-up", "make test"),
    "apt-get install pipx": ("tests/system/pipx", "pipx"),
    "pipx install": ("tests/system/pipx", "pipx install"),
    "apt-get install python3-click": ("tests/system/debian-packages", "python3-prctl"),
    "python3 -m nonet": ("tests/system/debian-packages", "-m nonet"),
    "nonet --check": ("tests/kernels/test_kernels.py", "README.md"),
    "--report sh script": ("demo/run", "--report sh script"),
    "podman run": ("tests/e2e/test_export_engines.py", "podman"),
    "make deb": ("tests/system/deb-install", "nonet_"),
    "apt-get install ./": ("tests/system/deb-install", "apt-get"),
}

MORE_PROGRAMS = {
    "bin/gunicorn": PROGRAMS["bin/gunicorn"],
    "convert": PROGRAMS["convert"],
    "bin/pytest": "#!/bin/sh\necho passed\n",
    "bin/setpriv": '#!/bin/sh\necho "$@"\n',
    "bin/report": "#!/bin/sh\neval 'cat <&'$2\n",
    "bin/rsync-like-filter": "#!/bin/sh\ncat >taken\necho answer\n",
}
HOSTS = "127.0.0.1 localhost db.internal mirror\n"


def commands() -> list[tuple[str, list[str]]]:
    """Return each command of the README, with the lines that stand below it."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"(?:^    .*\n)+", README, re.MULTILINE):
        prompted = "    $ " in block
        for line in block.splitlines():
            text = line[4:]
            if text.startswith("$ " if prompted else STARTS):
                found.append((text.removeprefix("$ "), []))
            elif found:
                found[-1][1].append(text)
    return [(command, below) for command, below in found if not command.startswith("nonet: ")]


def key_of(command: str) -> str:
    keys = [key for key in (*RUN, *ELSEWHERE) if key in command]
    assert keys, f"no test runs it: {command}"
    return max(keys, key=len)


def test_every_command_is_run() -> None:
    keys = [key_of(command) for command, _ in commands()]
    assert set(RUN) <= set(keys)
    for key in set(keys) & set(ELSEWHERE):
        name, words = ELSEWHERE[key]
        assert words in (ROOT / name).read_text(encoding="utf-8"), key


@pytest.fixture
def place(machine: Machine) -> Iterator[dict[str, bytes]]:
    """A home with what the commands are about; yields what reached the listeners."""
    (machine.home / "bin").mkdir()
    files = {**MORE_PROGRAMS, "Makefile": "test check:\n\t@echo passed\n"}
    for name, text in {**files, "untrusted.pdf": "a document", "key.pem": "a key"}.items():
        (machine.home / name).write_text(text)
        (machine.home / name).chmod(0o755)
    (machine.home / "hosts").write_text(HOSTS)
    os.chown(machine.home / "bin", machine.uid, machine.uid)
    got: dict[str, bytes] = {}
    listeners = [listener_at(machine, port) for port in (5432, 873)]

    def serve(listener: socket.socket) -> None:
        port = str(listener.getsockname()[1])
        with listener.accept()[0] as one:
            one.sendall(b"from the listener")
            one.shutdown(socket.SHUT_WR)
            got[port] = one.recv(99)

    threads = [threading.Thread(target=serve, args=[one], daemon=True) for one in listeners]
    for thread in threads:
        thread.start()
    yield got
    for thread in threads:
        thread.join(10)
    for one in listeners:
        one.close()


def run(machine: Machine, command: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command in bash, with names of the README's own in /etc/hosts, and its key."""
    mounts = (
        f"mount --bind {machine.home}/hosts /etc/hosts && mount -t tmpfs none /etc/ssl/private"
        f" && cp {machine.home}/key.pem /etc/ssl/private/ && chmod -R a+rX /etc/ssl/private"
        " && echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start"
    )
    user = machine.words()[len(machine.network.prefix) :]
    path = f"{machine.home}/bin:{os.path.dirname(machine.nonet)}:/usr/bin:/bin"
    return subprocess.run(
        [*machine.network.prefix, "unshare", "--mount", "sh", "-c", f'{mounts} && exec "$@"', "sh",
         *user, "env", f"PATH={path}", "bash", "-c", command],
        capture_output=True, check=False, cwd=machine.home, timeout=60,
        env=machine.environ(LANG="C.UTF-8"), stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_they_do_what_it_says(machine: Machine, place: dict[str, bytes]) -> None:
    before = ""
    for command, below in commands():
        key = key_of(command)
        if key not in RUN:
            continue
        script = before + re.sub(r"  +# .*$", "", command)
        wanted = RUN[key]
        if key == "exec 3<>":
            before = command + "\n"
            continue
        before = ""
        if key == "cat <&3":
            with web_server(machine):
                ended = run(machine, script)
        else:
            ended = run(machine, script)
        said = ended.stdout + ended.stderr
        if wanted is None:
            assert said.decode() == "".join(f"{line}\n" for line in below)
            continue
        assert ended.returncode == wanted[0], ended
        assert re.fullmatch(wanted[1], said), ended
        if "out.png" in command:
            assert (machine.home / "out.png").read_bytes() == b"a document"
            (machine.home / "out.png").unlink()
    assert place == {"5432": b"", "873": b"answer\n"}
    assert (machine.home / "taken").read_bytes() == b"from the listener"


def web_server(machine: Machine) -> socket.socket:
    """Return a listener on 127.0.0.1:8080 that answers once."""
    listener = listener_at(machine, 8080)

    def serve() -> None:
        with listener.accept()[0] as one, one.makefile("rb") as asked:
            assert [asked.readline(), asked.readline()] == [b"GET / HTTP/1.0\r\n", b"\r\n"]
            one.sendall(b"from the listener")

    threading.Thread(target=serve, daemon=True).start()
    return listener


def listener_at(machine: Machine, port: int) -> socket.socket:
    inside = machine.network.inside
    return machine.network.call(inside, lambda: socket.create_server(("127.0.0.1", port)))
