# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers in inetd mode: one connected socket as standard input and output, at level none.

Real clients talk to them through a bridge. As in test_services.py, what they try to reach
beside it is refused, and is reached without the limit.
"""

from __future__ import annotations

import pwd
from typing import TYPE_CHECKING

from programs import require
from relay import Relay
from running import (
    LOOPBACK,
    PATIENCE,
    REACHED,
    Elsewhere,
    launcher,
    running,
    with_and_without_limit,
)

if TYPE_CHECKING:
    import subprocess

    from conftest import Machine

NOT_PERMITTED = "Operation not permitted"
PASSWD = "/etc/passwd"

# bash opens the connection, so that the answer can be told from the reason.
TRY = "exec 3<>/dev/tcp/{host}/{port} && cat <&3"


def inetd(machine: Machine, relay: Relay, *words: str, limited: bool) -> list[str | bytes]:
    """Return the words that run a server whose standard streams are its connection."""
    grant = f"client=tcp:{LOOPBACK}:{relay.server_port},fd=0,fd=1"
    command = [*launcher(machine, limited=limited), "--allow", "none", "-c", grant, "--", *words]
    return machine.words(*command)


def judge(elsewhere: Elsewhere, answer: str, *, limited: bool) -> None:
    """Assert what came of an attempt to reach elsewhere: who tried says so, and the count."""
    assert (NOT_PERMITTED if limited else REACHED) in answer
    assert elsewhere.reached() == (0 if limited else 1)


@with_and_without_limit
def test_git_daemon_serves_a_clone(machine: Machine, limited: bool) -> None:
    """Its access hook is a program that it runs for each request."""
    require(machine, "bash", "git")
    make = """
        git init -q -b main work; cd work; head -c 300000 /dev/urandom > file; git add file
        git -c user.name=Ann -c user.email=ann@example.invalid commit -q -m First
    """
    assert machine.run("bash", "-ec", make).returncode == 0
    with Elsewhere(machine.network) as elsewhere, Relay(machine.network) as relay:
        hook = machine.home / "hook"
        attempt = TRY.format(host=LOOPBACK, port=elsewhere.port)
        hook.write_text(f"#!/bin/bash\n({attempt}) > tried 2>&1\nexit 0\n")
        hook.chmod(0o755)
        serve = ("git", "daemon", "--inetd", "--log-destination=stderr", "--export-all",
                 f"--base-path={machine.home}", f"--access-hook={hook}")  # fmt: skip
        with running(machine, inetd(machine, relay, *serve, limited=limited)) as daemon:
            url = f"git://{LOOPBACK}:{relay.client_port}/work"
            cloned = machine.run("git", "clone", "-q", url, "copy", timeout=PATIENCE)
            assert cloned.returncode == 0, cloned.stderr.decode() + daemon.said()
            assert daemon.wait() == 0
        tried = [path.read_text() for path in machine.home.rglob("tried")]
        judge(elsewhere, "".join(tried), limited=limited)
    file, copy = ((machine.home / name / "file").read_bytes() for name in ("work", "copy"))
    assert len(copy) == 300_000
    assert copy == file


def ssh(machine: Machine, *words: str, limited: bool) -> subprocess.CompletedProcess[bytes]:
    """Log in to a dropbear that nonet runs, as the user that it runs as.

    In a mount namespace where that user has a home of its own and a shell.
    """
    home = machine.home
    user = pwd.getpwuid(machine.uid).pw_name
    if not (home / "key").exists():
        make = """
            ssh-keygen -q -t ed25519 -N '' -f key; dropbearkey -t ed25519 -f host | grep ^ssh- > ssh
            mkdir -m 700 .ssh; cp key.pub .ssh/authorized_keys
            echo "server $(cat ssh)" > known_hosts; echo drow > input
        """
        made = machine.run("bash", "-ec", make)
        assert made.returncode == 0, made.stderr
        home.chmod(0o755)
        (home / "passwd").write_text(f"{user}:x:{machine.uid}:{machine.uid}::{home}:/bin/bash\n")
    mount = f'mount --bind {home / "passwd"} {PASSWD} && exec "$@"'
    with Relay(machine.network) as relay:
        serve = inetd(machine, relay, "dropbear", "-i", "-s", "-r", f"{home}/host", limited=limited)
        with running(machine, ["unshare", "--mount", "sh", "-c", mount, "sh", *serve]):
            options = (
                *("-F", "none", "-p", str(relay.client_port), "-l", user, "-i", str(home / "key")),
                *("-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "HostKeyAlias=server"),
                *("-o", f"UserKnownHostsFile={home / 'known_hosts'}"),
            )
            with (home / "input").open("rb") as stdin:
                return machine.run("ssh", *options, *words, stdin=stdin, timeout=PATIENCE)


@with_and_without_limit
def test_dropbear_runs_a_command_of_who_logs_in(machine: Machine, limited: bool) -> None:
    require(machine, "bash", "dropbear", "dropbearkey", "ssh", "ssh-keygen", "mount", "unshare")
    with Elsewhere(machine.network) as elsewhere:
        attempt = TRY.format(host=LOOPBACK, port=elsewhere.port)
        ended = ssh(machine, LOOPBACK, f"id -u; rev; {attempt}", limited=limited)
        lines = ended.stdout.decode().splitlines()
        assert lines[:2] == [str(machine.uid), "word"], ended.stderr
        judge(elsewhere, (ended.stdout + ended.stderr).decode(), limited=limited)


@with_and_without_limit
def test_dropbear_forwards_no_port(machine: Machine, limited: bool) -> None:
    """What sshd calls direct-tcpip: the server itself connects, for its client."""
    require(machine, "bash", "dropbear", "dropbearkey", "ssh", "ssh-keygen", "mount", "unshare")
    with Elsewhere(machine.network) as elsewhere:
        ended = ssh(machine, "-W", f"{LOOPBACK}:{elsewhere.port}", LOOPBACK, limited=limited)
        said = (ended.stdout + ended.stderr).decode()
        assert ("open failed" if limited else REACHED) in said
        assert elsewhere.reached() == (0 if limited else 1)
