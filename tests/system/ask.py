# SPDX-License-Identifier: GPL-3.0-or-later
"""Send standard input over a socket, and what comes back to standard output.

ask.py TYPE ADDRESS, the address in JSON.
"""

import json
import socket
import sys
import time

kind, text = sys.argv[1:]
address = json.loads(text)
family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
deadline = time.monotonic() + 10
while True:
    one = socket.socket(family, getattr(socket, kind))
    one.settimeout(20)
    try:
        one.connect(address if isinstance(address, str) else tuple(address))
        break
    except (FileNotFoundError, ConnectionRefusedError):
        # Type=exec does not wait for the listeners that nonet opens.
        if time.monotonic() > deadline:
            raise
        one.close()
        time.sleep(0.05)
with one:
    one.sendall(sys.stdin.buffer.read())
    if kind == "SOCK_STREAM":
        one.shutdown(socket.SHUT_WR)
        while data := one.recv(65536):
            sys.stdout.buffer.write(data)
    else:
        sys.stdout.buffer.write(one.recv(65536))
