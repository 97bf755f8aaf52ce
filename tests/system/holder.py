# SPDX-License-Identifier: GPL-3.0-or-later
"""The first program of a unit: it takes what pass_on.py sends, then becomes COMMAND.

holder.py COMMAND...
"""

import fcntl
import json
import os
import socket
import sys

with socket.socket(fileno=os.dup(0)) as one:
    text, fds, *_ = socket.recv_fds(one, 65536, 253)  # SCM_MAX_FD
numbers = json.loads(text)
assert len(numbers) == len(fds)
spare = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, max([*numbers, *fds]) + 1) for fd in fds]
for fd in fds:
    os.close(fd)
for fd, number in zip(spare, numbers, strict=True):
    os.dup2(fd, number)
os.execv(sys.argv[1], sys.argv[1:])
