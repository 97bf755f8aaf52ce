# SPDX-License-Identifier: GPL-3.0-or-later
"""Hand what is held from 3 on to whoever accepts at PATH, then carry lines there and back.

pass_on.py PATH
"""

import json
import os
import selectors
import socket
import sys

found = [int(name) for name in os.listdir("/proc/self/fd")]
held = [fd for fd in found if fd > 2 and os.path.exists(f"/proc/self/fd/{fd}")]
with socket.socket(socket.AF_UNIX) as one, selectors.DefaultSelector() as selector:
    one.connect(sys.argv[1])
    socket.send_fds(one, [json.dumps(held).encode()], held)
    selector.register(0, selectors.EVENT_READ)
    selector.register(one, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fd == 0:
                if data := os.read(0, 65536):
                    one.sendall(data)
                else:
                    selector.unregister(0)
                    one.shutdown(socket.SHUT_WR)
            elif data := one.recv(65536):
                os.write(1, data)
            else:
                sys.exit()
