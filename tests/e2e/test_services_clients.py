# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients that were handed their connection or their file, and can reach nothing else.

As in test_services.py, each also tries to connect elsewhere: refused under nonet, and
reached under nonet in all but the limit.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import NOBODY
from network import OUTSIDE4
from programs import require
from running import (
    LOOPBACK,
    PATIENCE,
    REACHED,
    Elsewhere,
    fill,
    launcher,
    listener,
    running,
    with_and_without_limit,
)

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from conftest import Machine
    from network import Network

NOT_PERMITTED = "Operation not permitted"


# --- clients of a server at the outside end, at level none ---


def answer(one: socket.socket, _: Path) -> None:
    """Answer a line with itself in capitals."""
    with one:
        one.sendall(one.recv(999).upper())


def upload_pack(one: socket.socket, folder: Path) -> None:
    """Be the far end of a `git clone` (git-upload-pack(1))."""
    with one:
        subprocess.run(
            ["git", "upload-pack", str(folder / "origin")],
            stdin=one.fileno(), stdout=one.fileno(), check=False, timeout=PATIENCE,
        )  # fmt: skip


@dataclass(frozen=True)
class Client:
    """A script for bash that is handed `options`, with numbers as its arguments.

    `says` stands in its output when it has done its work, `refused` where it may not
    connect elsewhere.
    """

    name: str
    needs: tuple[str, ...]
    options: tuple[str, ...]
    arguments: tuple[str, ...]
    script: str
    says: str
    refused: str
    reaches: str = REACHED  # stands in its output where it may
    serves: Callable[[socket.socket, Path], None] = answer


DB = ("-c", "db=tcp:$HOST:$PORT,timeout=5")
PYTHON = """
import socket, sys
with socket.socket(fileno=int(sys.argv[1])) as db:
    db.sendall(b"select 42\\n")
    print("db:", db.recv(99).decode())
with socket.create_connection(("127.0.0.1", $ELSEWHERE), 9) as one:
    print(one.recv(999).decode())
"""
CLIENTS = (
    Client("python", ("bash", "python3"), DB, ("{db}",),
           f'exec python3 -c \'{PYTHON}\' "$1"', "db: SELECT 42", "PermissionError: [Errno 1]"),
    Client("socat", ("bash", "socat"), DB, ("FD:{db}",), """
        echo select 42 | socat -t9 STDIO "$1"; socat -u TCP:127.0.0.1:$ELSEWHERE -
    """, "SELECT 42", NOT_PERMITTED),
    # git's own helper for a transport that somebody else has opened: git-remote-fd(1).
    Client("git", ("bash", "git"), ("-c", "git=tcp:$HOST:$PORT"), ("fd::{git}",), """
        git clone -q "$1" copy && cat copy/file; git ls-remote git://127.0.0.1:$ELSEWHERE/x
    """, "what was cloned", f"errno={NOT_PERMITTED}",
           reaches="bad line length character: HTTP", serves=upload_pack),
)  # fmt: skip
each_client = pytest.mark.parametrize("client", CLIENTS, ids=[client.name for client in CLIENTS])


@contextlib.contextmanager
def serve(network: Network, serves: Callable[[socket.socket, Path], None]) -> Iterator[int]:
    """Serve one connection at the outside end; return the port."""
    with (
        tempfile.TemporaryDirectory(prefix="nonet-origin-") as name,
        listener(network, network.outside, OUTSIDE4) as ours,
    ):
        folder = Path(name)
        make = """
            git init -q -b main origin; cd origin; echo what was cloned > file; git add file
            git -c user.name=Ann -c user.email=ann@example.invalid commit -q -m First
        """
        subprocess.run(["bash", "-ec", make], cwd=folder, check=True)

        def run() -> None:
            with contextlib.suppress(OSError):  # nobody has come
                serves(ours.accept()[0], folder)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield ours.getsockname()[1]
        finally:
            ours.shutdown(2)  # wakes accept(2)
            thread.join()


@with_and_without_limit
@each_client
def test_a_client_uses_the_connection_it_was_handed(
    machine: Machine, client: Client, limited: bool
) -> None:
    require(machine, *client.needs)
    network = machine.network
    with Elsewhere(network) as elsewhere, serve(network, client.serves) as port:
        values: dict[str, object] = {
            "$HOST": OUTSIDE4, "$PORT": port, "$ELSEWHERE": elsewhere.port,
        }  # fmt: skip
        options, script = [fill(o, values) for o in client.options], fill(client.script, values)
        words = machine.words(
            *launcher(machine, limited=limited), "--allow", "none", *options, "--",
            "bash", "-c", script, "bash", *client.arguments,
        )  # fmt: skip
        with running(machine, words) as program:
            program.wait()
            said = program.said()
        assert client.says in said
        assert (client.refused if limited else client.reaches) in said
        assert elsewhere.reached() == (0 if limited else 1)


# --- a file ---


@with_and_without_limit
def test_openssl_reads_the_key_that_it_was_handed(machine: Machine, limited: bool) -> None:
    """Where nonet ran as root, openssl runs as somebody who may not open it."""
    require(machine, "bash", "openssl", "setpriv")
    key = machine.home / "key"
    key.write_text("a word that opens it\n")
    key.chmod(0o400)
    os.chown(key, machine.uid, machine.uid)
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]
    cipher = ("openssl", "enc", "-aes-256-cbc", "-pbkdf2", "-a")
    with Elsewhere(machine.network) as elsewhere:
        script = f"""
            echo what was sealed | {" ".join(cipher)} -pass "fd:$1"
            openssl s_client -connect {LOOPBACK}:{elsewhere.port}
        """
        words = machine.words(
            *launcher(machine, limited=limited), "--allow", "none", "-o", f"key={key}", "--",
            *([] if machine.uid else drop), "bash", "-c", script, "bash", "{key}",
        )  # fmt: skip
        with running(machine, words) as program:
            program.wait()
            said = program.said()
        assert ("errno=1\n" if limited else "wrong version number") in said
        assert elsewhere.reached() == (0 if limited else 1)
    sealed = re.search(r"^U2FsdGVk\S+", said, re.MULTILINE)  # "Salted", in base64
    assert sealed, said
    opened = subprocess.run([*cipher, "-d", "-pass", f"file:{key}"], check=False,
                            capture_output=True, input=f"{sealed[0]}\n".encode())  # fmt: skip
    assert opened.stdout == b"what was sealed\n", opened.stderr


# --- PostgreSQL, whose clients adopt no connection: at path, over its pathname socket ---


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """A server outside every limit, as nobody: it refuses to be root. Returns its folder."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not binaries:
        pytest.fail("initdb is missing: apt-get install postgresql")
    with tempfile.TemporaryDirectory(prefix="nonet-postgres-") as folder:
        os.chown(folder, NOBODY, NOBODY)
        Path(folder).chmod(0o755)

        def run(program: str, *words: str) -> None:
            subprocess.run(
                ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--",
                 binaries[-1].with_name(program), "-D", f"{folder}/data", *words],
                check=True, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                timeout=60, env={"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]},
            )  # fmt: skip

        run("initdb", "--no-sync", "--auth=trust", "--username=ann")
        run("pg_ctl", "-w", f"--log={folder}/log", "start",
            "-o", f"-k {folder} -c listen_addresses='' -c fsync=off")  # fmt: skip
        yield folder
        run("pg_ctl", "-w", "--mode=immediate", "stop")


def psql(machine: Machine, postgres: str, level: str, port: int, *, limited: bool) -> str:
    """Ask a server, then one elsewhere, in one session; return what psql says."""
    require(machine, "psql")
    session = machine.home / "session"
    session.write_text(f"select 'answer ' || 6 * 7;\n\\connect 'host={LOOPBACK} port={port}'\n")
    words = machine.words(
        *launcher(machine, limited=limited), "--allow", level, "--", "psql", "--no-psqlrc",
        "--tuples-only", "--host", postgres, "--username=ann", "--dbname=postgres",
        "--file", str(session),
    )  # fmt: skip
    with running(machine, words) as program:
        program.wait()
        return program.said()


@with_and_without_limit
def test_psql_asks_over_a_pathname_socket(machine: Machine, postgres: str, limited: bool) -> None:
    with Elsewhere(machine.network) as elsewhere:
        said = psql(machine, postgres, "path", elsewhere.port, limited=limited)
        assert "answer 42" in said
        assert (NOT_PERMITTED if limited else "invalid response to SSL negotiation: H") in said
        assert elsewhere.reached() == (0 if limited else 1)


def test_psql_reaches_nothing_at_none(machine: Machine, postgres: str) -> None:
    said = psql(machine, postgres, "none", 1, limited=True)
    assert (
        f'socket "{postgres}/.s.PGSQL.5432" failed: could not create socket: {NOT_PERMITTED}'
        in said
    )
