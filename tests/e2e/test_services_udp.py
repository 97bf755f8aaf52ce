# SPDX-License-Identifier: GPL-3.0-or-later
"""A real DNS server on a UDP socket that it was handed, although such a socket is open-ended.

At `path`: unbound answers with sendto(2) and an address, which `none` refuses.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

from programs import require
from running import (
    LOOPBACK,
    PATIENCE,
    Elsewhere,
    free_port,
    launcher,
    running,
    with_and_without_limit,
)

if TYPE_CHECKING:
    from conftest import Machine

NO_ERROR, SERVER_FAILURE = 0, 2  # RFC 1035, section 4.1.1
OURS, FOREIGN = "served.example", "elsewhere.example.net"

# It adopts only sockets that are just as it is configured, and looks for no others where
# none is named: listing interfaces would take a socket. Whom it asks is asked over TCP.
CONFIGURATION = """
server:
    use-systemd: yes
    port: {port}
    do-ip6: no
    do-daemonize: no
    use-syslog: no
    chroot: ""
    username: ""
    pidfile: ""
    directory: "{home}"
    module-config: "iterator"
    local-zone: "example." static
    local-data: "served.example. A 192.0.2.7"
    do-not-query-localhost: no
    tcp-upstream: yes
remote-control:
    control-enable: no
forward-zone:
    name: "."
    forward-addr: 127.0.0.1@{elsewhere}
"""
# What tells unbound that systemd runs, sd_booted(3), in a mount namespace of its own.
BOOTED = 'mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && exec "$@"'


def ask(machine: Machine, port: int, name: str) -> tuple[int, bytes]:
    """Return the answer to a question for an address: its code, and its last four bytes."""
    network = machine.network
    one = network.call(network.inside, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with one:
        one.settimeout(PATIENCE)
        labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
        question = struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"
        one.sendto(question, (LOOPBACK, port))
        answer = one.recv(512)
    assert answer[:2] == question[:2]
    return answer[3] & 15, answer[-4:]


@with_and_without_limit
def test_unbound_answers_and_forwards_nothing(machine: Machine, limited: bool) -> None:
    require(machine, "mount", "unbound", "unshare")
    port = free_port(machine.network)
    grants = ("-b", f"dns=udp:{LOOPBACK}:{port},unsealed", "-l", f"tcp=tcp:{LOOPBACK}:{port}")
    configuration = machine.home / "unbound.conf"
    with Elsewhere(machine.network) as elsewhere:
        configuration.write_text(
            CONFIGURATION.format(port=port, home=machine.home, elsewhere=elsewhere.port)
        )
        prefix = machine.network.prefix
        user = machine.words()[len(prefix) :]
        serve = (*launcher(machine, limited=limited), "--allow", "path", *grants, "--",
                 "unbound", "-d", "-d", "-c", str(configuration))  # fmt: skip
        mount = ("unshare", "--mount", "sh", "-c", BOOTED, "sh")
        with running(machine, [*prefix, *mount, *user, *serve]) as program:
            program.until(lambda: connect(machine, port)).close()  # its UDP socket is older
            assert ask(machine, port, OURS) == (NO_ERROR, socket.inet_aton("192.0.2.7"))
            code, _ = ask(machine, port, FOREIGN)
            assert code == SERVER_FAILURE  # nobody elsewhere knows, or could be asked
            assert (elsewhere.reached() > 0) is not limited
            assert ask(machine, port, OURS)[0] == NO_ERROR


def connect(machine: Machine, port: int) -> socket.socket:
    network = machine.network
    return network.call(
        network.inside, lambda: socket.create_connection((LOOPBACK, port), PATIENCE)
    )


def test_without_unsealed_it_is_not_handed_over(machine: Machine) -> None:
    ended = machine.limited(["-b", f"dns=udp:{LOOPBACK}:0"], "unbound")
    assert ended.returncode == 125
    assert b"a UDP socket is open-ended" in ended.stderr
