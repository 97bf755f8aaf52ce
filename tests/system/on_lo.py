#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that opens its own listener, on loopback: it says what sockets it gets, and who it is.

on_lo.py PORT
"""

import errno
import json
import os
import socket
import sys

KINDS = {
    "tcp4": (socket.AF_INET, socket.SOCK_STREAM),
    "tcp6": (socket.AF_INET6, socket.SOCK_STREAM),
    "udp4": (socket.AF_INET, socket.SOCK_DGRAM),
}


def attempt(family: int, kind: int) -> str:
    try:
        socket.socket(family, kind).close()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "ok"


def main() -> None:
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
            one.connect(address.replace("@", "\0"))
            one.sendall(b"READY=1")
    while True:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as request:
            request.read()
            sockets = {name: attempt(*kind) for name, kind in KINDS.items()}
            facts = {"pid": os.getpid(), "uid": os.getuid(), "sockets": sockets}
            connection.sendall(json.dumps(facts).encode())


main()
