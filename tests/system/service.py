#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program of the units under test: it says what it holds, and what it can get.

It answers on every socket from LISTEN_FDS. A request is a list of attempts in JSON,
each [FAMILY, TYPE, ADDRESS]; the answer, an object, has what became of them and the
facts about this process. With --page-fd FD the text in that file is one of them.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import selectors
import socket
import stat
import sys

FIRST = 3  # SD_LISTEN_FDS_START (sd_listen_fds(3))
STATUS = ("NoNewPrivs", "Seccomp")


def attempt(family: str, kind: str, address: str | list[object]) -> str:
    """Return "ok", or the name of the error."""
    where = address.replace("@", "\0") if isinstance(address, str) else tuple(address)
    try:
        with socket.socket(getattr(socket, family), getattr(socket, kind)) as one:
            one.settimeout(5)
            one.connect(where)
            one.sendall(b"[]")
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "ok"


def notify() -> str:
    """Tell the service manager, if one waits for it, that this is ready (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return "not asked"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
            one.connect(address.replace("@", "\0"))
            one.sendall(b"READY=1")
    except OSError as error:
        sys.stderr.write(f"cannot notify: {error.strerror}\n")
        return errno.errorcode[error.errno or 0]
    return "ok"


def facts() -> dict[str, object]:
    with open("/proc/self/status", encoding="ascii") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    return {
        "pid": os.getpid(),
        "uid": os.getuid(),
        "arguments": sys.argv[1:],
        "environment": {
            name: value
            for name, value in os.environ.items()
            if name.startswith(("LISTEN_", "NONET_"))
        },
        "status": {name: status[name] for name in STATUS},
    }


def page() -> str | None:
    if "--page-fd" not in sys.argv:
        return None
    fd = int(sys.argv[sys.argv.index("--page-fd") + 1])
    return os.pread(fd, 4096, 0).decode()


def serve(one: socket.socket, known: dict[str, object]) -> None:
    """Answer one request."""

    def answer(request: bytes) -> bytes:
        attempts = [attempt(*words) for words in json.loads(request)]
        return json.dumps(known | {"on": one.fileno(), "attempts": attempts}).encode()

    if one.type == socket.SOCK_STREAM:
        connection, _ = one.accept()
        known["accepted"] = int(str(known["accepted"])) + 1
        with connection, connection.makefile("rb") as file:
            text = answer(file.readline())
            with contextlib.suppress(OSError):  # one that only tried to connect
                connection.sendall(text)
        return
    request, sender = one.recvfrom(4096)
    known["accepted"] = int(str(known["accepted"])) + 1
    text = answer(request)
    try:
        one.sendto(text, sender)
    except OSError as error:
        known["sendto"] = errno.errorcode[error.errno or 0]
        one.sendmsg([answer(request)], [], 0, sender)


def main() -> None:
    fds = range(FIRST, FIRST + int(os.environ.get("LISTEN_FDS", "0")))
    selector = selectors.DefaultSelector()
    for fd in fds:
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            selector.register(socket.socket(fileno=fd), selectors.EVENT_READ)
    known = {"notified": notify(), "page": page(), "accepted": 0, "sendto": "ok", **facts()}
    while True:
        for key, _ in selector.select():
            if isinstance(key.fileobj, socket.socket):
                serve(key.fileobj, known)


main()
