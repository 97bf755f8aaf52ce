# SPDX-License-Identifier: GPL-3.0-or-later
"""At level loopback the host's own services are in reach, and nothing beyond the host is."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import NOBODY
from names import NamedMachine
from programs import require
from running import PATIENCE
from servers import PAYLOAD, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Machine
    from network import Network

LIMIT = ("--allow", "loopback", "--")

# --- services of the host, outside every limit ---

SERVICES = """
    PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
    initdb -D data --no-sync --auth=trust --username=ann
    pg_ctl -D data -w -l log -o "-k $PWD -h 127.0.0.1,::1 -p 5434 -c fsync=off" start
    trap 'kill $(jobs -p); pg_ctl -D data -w -m immediate stop; wait' EXIT
    redis-server --port 6381 --bind 127.0.0.1 ::1 --save '' &
    cat > conf <<END
pid nginx.pid; error_log stderr; events {}
http {
    access_log off; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f;
    uwsgi_temp_path u; scgi_temp_path s;
    server { listen 127.0.0.1:8085; listen [::1]:8085; return 200 "served"; }
}
END
    nginx -p "$PWD" -c conf -g 'daemon off;' &
    for port in 6381 8085; do until (: < /dev/tcp/127.0.0.1/$port); do sleep .05; done; done
    touch ready; read -r line || true
"""


@pytest.fixture(scope="module")
def services(network: Network) -> Iterator[None]:
    """PostgreSQL, Redis and nginx inside, as nobody."""
    with tempfile.TemporaryDirectory(prefix="nonet-services-") as folder:
        os.chown(folder, NOBODY, NOBODY)
        log = Path(folder, "services.log")
        with log.open("wb") as file, subprocess.Popen(
            [*network.prefix, "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}",
             "--clear-groups", "--", "bash", "-euc", SERVICES],
            cwd=folder, env={"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]},
            stdin=subprocess.PIPE, stdout=file, stderr=file,
        ) as process:  # fmt: skip
            end = time.monotonic() + PATIENCE
            while not Path(folder, "ready").exists():
                if process.poll() is not None or time.monotonic() > end:
                    process.terminate()
                    pytest.fail(f"the services do not serve: {log.read_text()}")
                time.sleep(0.02)
            yield
            process.communicate(timeout=PATIENCE)  # which closes its standard input


PSQL = ("psql", "-XAt", "-p", "5434", "-U", "ann", "-d", "postgres", "-h")
WHERE = ("-c", "select 6 * 7, host(inet_client_addr())")
CURL = ("curl", "-sS")
REDIS = ("redis-cli", "-e", "-p", "6381", "-h")
PING = ("eval", "redis.call('set', 'word', ARGV[1]); return redis.call('get', 'word')", "0", "pong")
CLIENTS = {
    "psql": ((*PSQL, "127.0.0.1", *WHERE), "42|127.0.0.1"),
    "psql-ipv6": ((*PSQL, "::1", *WHERE), "42|::1"),
    "psql-localhost": ((*PSQL, "localhost", *WHERE), "42|::1"),
    "redis-cli": ((*REDIS, "127.0.0.1", *PING), "pong"),
    "redis-cli-ipv6": ((*REDIS, "::1", *PING), "pong"),
    "curl": ((*CURL, "http://127.0.0.1:8085/"), "served"),
    "curl-ipv6": ((*CURL, "http://[::1]:8085/"), "served"),
    "curl-localhost": ((*CURL, "http://localhost:8085/"), "served"),
}


@pytest.mark.usefixtures("services")
@pytest.mark.parametrize(("words", "says"), CLIENTS.values(), ids=CLIENTS)
def test_a_service_of_the_host_answers_as_without_nonet(
    machine: Machine, words: tuple[str, ...], says: str
) -> None:
    require(machine, words[0])
    named = NamedMachine(machine)
    without = named.run(*words)
    assert (without.returncode, without.stdout.decode().strip()) == (0, says), without
    limited = named.limited(LIMIT[:-1], *words)
    assert (limited.returncode, limited.stdout) == (0, without.stdout), limited
    assert limited.stderr == without.stderr
    refused = named.limited(["--allow", "unix"], *words)
    assert refused.returncode, "level loopback is not what made the difference"


# --- beyond the host ---

FETCH = """
fetch(process.argv[1]).then(async page => console.log(await page.text()),
    error => { console.log(error.cause.code); process.exitCode = 1; });
"""
URLLIB = """
import errno, sys, urllib.request
try:
    print(urllib.request.urlopen(sys.argv[1]).read().decode())
except OSError as error:
    sys.exit(errno.errorcode[error.reason.errno])
"""
# A page makes the attempt.
CHROMIUM = """
    [ $(id -u) != 0 ] || set -- --no-sandbox "$@"
    cat > page.html <<END
<p id=said>nothing</p><script>
fetch("${@: -1}", { mode: "no-cors" }).then(() => { said.textContent = "reached" },
    error => { said.textContent = error.message });
</script>
END
    chromium --headless --disable-gpu --disable-background-networking --no-first-run \
        --disable-component-update --user-data-dir=profile --virtual-time-budget=2000 --dump-dom \
        "${@:1:$#-1}" "file://$PWD/page.html" 2> log
"""
BEYOND = {
    "node": (("node", "-e", FETCH), "ENETUNREACH"),
    "curl": (("curl", "-sS"), "Couldn't connect to server"),
    "wget": (("wget", "-nv", "-O-", "--tries=1"), "Network is unreachable"),
    "python": (("python3", "-c", URLLIB), "ENETUNREACH"),
    "chromium": (("bash", "-c", CHROMIUM, "chromium"), "Failed to fetch</p>"),
}
SITES = {"ipv4": ("$SITE/file", "web"), "ipv6": ("$SITE6/file", "web6"),
         "mapped": ("http://[::ffff:$HOST]:$PORT/file", "web")}  # fmt: skip


@pytest.mark.parametrize(("url", "server"), SITES.values(), ids=SITES)
@pytest.mark.parametrize(("words", "says"), BEYOND.values(), ids=BEYOND)
def test_beyond_the_host_it_fails_at_once_and_nothing_leaves(
    machine: Machine, tmp_path: Path, words: tuple[str, ...], says: str, url: str, server: str
) -> None:
    require(machine, words[0], words[-1] if words[0] == "bash" else words[0])
    (tmp_path / "file").write_text(PAYLOAD)
    named, network = NamedMachine(machine), machine.network
    with serve(network, tmp_path) as site:
        command = (*words, site.fill(url))
        with network.capture() as packets:
            began = time.monotonic()
            limited = named.limited(LIMIT[:-1], *command)
            took = time.monotonic() - began
        assert says in (limited.stdout + limited.stderr).decode(), limited
        assert site.accepted(server) == 0
        assert packets == []
        assert took < 60  # seconds; the kernel would give up after two minutes
        without = named.run(*command)
        assert says not in (without.stdout + without.stderr).decode(), without
        assert site.accepted(server) > 0
