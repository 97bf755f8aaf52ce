# SPDX-License-Identifier: GPL-3.0-or-later
"""Arguments that nobody should pass: at level loopback they end as they do without nonet."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from programs import python_with_pip

if TYPE_CHECKING:
    from conftest import Machine

# Says what each call ends in: "ok", or the errno's name.
PROBE = r"""
import ctypes, errno, json, os, resource, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
NR = {"x86_64": (41, 49, 42), "aarch64": (198, 200, 203)}[os.uname().machine]
SOCKET, BIND, CONNECT = NR
found = {}

def call(name, number, *args):
    wide = [ctypes.c_uint64(a) if isinstance(a, int) else a for a in args]
    result = libc.syscall(ctypes.c_long(number), *wide)
    found[name] = "ok" if result >= 0 else errno.errorcode[ctypes.get_errno()]
    return result

HIGH = 0xDEADBEEF << 32
for family in (2, 10):
    for kind in (1, 2):
        for flag in (0x800, 0x80000, 0x80800, 0x10, 0x40000000, HIGH):
            call(f"socket {family} {kind} {flag:#x}", SOCKET, family, kind | flag, 0)
        for protocol in (6, 17, HIGH | 6):
            if (kind == 1) == (protocol & 0xFF == 6):
                name = f"socket {family} {kind} protocol {protocol:#x}"
                call(name, SOCKET, family, kind, protocol)

def v4(host, port=0, family=2):
    return struct.pack("=H", family) + struct.pack("!H", port) + socket.inet_aton(host) + bytes(112)

def v6(host, port=0, scope=0):
    return struct.pack("=H", 10) + struct.pack("!HI", port, 0) + \
        socket.inet_pton(10, host) + struct.pack("=I", scope) + bytes(100)

tcp4, tcp6 = socket.socket(2, 1), socket.socket(10, 1)
udp, unix = socket.socket(2, 2), socket.socket(1, 1)
spare = lambda family: socket.socket(family, 1)
keep = []

def bind(name, family, address, size, kind=1):
    one = socket.socket(family, kind); keep.append(one)
    call(f"bind {name}", BIND, one.fileno(), address, size)
    return one

bind("v4", 2, v4("127.0.0.1"), 16)
bind("v4 long", 2, v4("127.0.0.1"), 128)
bind("v4 longer", 2, v4("127.0.0.1"), 129)
bind("v4 short", 2, v4("127.0.0.1"), 15)
bind("v4 none", 2, v4("127.0.0.1"), 0)
bind("v4 negative", 2, v4("127.0.0.1"), 0xFFFFFFFF)
bind("v4 garbage above", 2, v4("127.0.0.1"), HIGH | 16)
bind("v4 unspec", 2, v4("0.0.0.0", family=0), 16)
bind("v4 unspec host", 2, v4("127.0.0.1", family=0), 16)
bind("v4 other family", 2, v6("::1"), 28)
bind("v4 as unix", 2, struct.pack("=H", 1) + bytes(100), 20)
bind("v4 not ours", 2, v4("198.51.100.77"), 16)
bind("v4 broadcast", 2, v4("255.255.255.255"), 16)
bind("v4 multicast", 2, v4("224.0.0.1"), 16)
bind("v6", 10, v6("::1"), 28)
bind("v6 short", 10, v6("::1"), 24)
bind("v6 too short", 10, v6("::1"), 23)
bind("v6 all", 10, v6("::"), 28)
bind("v6 as v4", 10, v4("127.0.0.1"), 28)
bind("v6 mapped", 10, v6("::ffff:127.0.0.1"), 28)
bind("v6 not ours", 10, v6("2001:db8::77"), 28)
bind("v6 multicast", 10, v6("ff02::1", scope=1), 28)
bind("udp", 2, v4("127.0.0.1"), 16, 2)
bind("bad pointer", 2, 8, 16)
bind("null", 2, 0, 16)
bind("edge of memory", 2, (1 << 47) - 4096 - 8, 16)
one = bind("first", 2, v4("127.0.0.1"), 16)
call("bind twice", BIND, one.fileno(), v4("127.0.0.1"), 16)
one.listen()
bind("in use", 2, v4("127.0.0.1", one.getsockname()[1]), 16)
reuse = socket.socket(2, 1); reuse.setsockopt(1, 15, 1); reuse.bind(("127.0.0.1", 0))
again = socket.socket(2, 1); again.setsockopt(1, 15, 1)
call("bind reuseport", BIND, again.fileno(), v4("127.0.0.1", reuse.getsockname()[1]), 16)
call("bind closed", BIND, 9999, v4("127.0.0.1"), 16)
call("bind negative", BIND, -1 & (1 << 64) - 1, v4("127.0.0.1"), 16)
call("bind file", BIND, os.open("/dev/null", 0), v4("127.0.0.1"), 16)
last = bind("nothing", 2, v4("127.0.0.1"), 0).fileno()
call("bind garbage above", BIND, HIGH | last, v4("127.0.0.1"), 16)
path = sys.argv[1] + "/socket"
call("bind unix", BIND, unix.fileno(), struct.pack("=H", 1) + path.encode(), 2 + len(path))
call("bind unix twice", BIND, unix.fileno(), struct.pack("=H", 1) + path.encode(), 2 + len(path))

def connect(name, family, address, size, kind=1):
    made = socket.socket(family, kind); keep.append(made)
    call(f"connect {name}", CONNECT, made.fileno(), address, size)

port = one.getsockname()[1]
connect("v4", 2, v4("127.0.0.1", port), 16)
connect("v4 storage", 2, v4("127.0.0.1", port), 128)
connect("v4 odd size", 2, v4("127.0.0.1", port), 77)
connect("v4 refused", 2, v4("127.0.0.1", 1), 16)
connect("v4 other lo", 2, v4("127.9.9.9", 1), 16)
connect("v4 bad pointer", 2, 8, 16)
connect("v4 unspec", 2, v4("127.0.0.1", port, 0), 16)
connect("v4 as v6", 2, v6("::1", port), 28)
connect("v6 as v4", 10, v4("127.0.0.1", port), 16)
connect("v6 mapped", 10, v6("::ffff:127.0.0.1", port), 28)
connect("v6 refused", 10, v6("::1", 1), 28)
connect("unix path of that size", 1, struct.pack("=H", 1) + b"/no/such/file\0", 16)
call("connect closed", CONNECT, 9999, v4("127.0.0.1", port), 16)
call("connect file", CONNECT, os.open("/dev/null", 0), v4("127.0.0.1", port), 16)

for made in keep:
    made.close()
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
full = []
while len(full) < 100:
    try:
        full.append(os.open("/dev/null", 0))
    except OSError:
        break
for family in (2, 10):
    for kind in (1, 2):
        call(f"no descriptor left {family} {kind}", SOCKET, family, kind, 0)
print(json.dumps(found))
"""


def test_odd_arguments_end_as_they_do_without_nonet(machine: Machine) -> None:
    found = []
    for number, prefix in enumerate(([], [machine.nonet, "--allow", "loopback", "--"])):
        place = machine.home / str(number)
        place.mkdir(mode=0o777)
        place.chmod(0o777)
        command = [python_with_pip(machine), "-c", PROBE, str(place)]
        ended = machine.run(*prefix, *command)
        assert ended.stderr == b""
        found.append(json.loads(ended.stdout))
    bare, limited = found
    assert len(bare) > 80
    assert {name: end for name, end in limited.items() if end != bare[name]} == {}
    assert {"ok", "EINVAL", "EFAULT", "EMFILE", "EADDRINUSE", "EBADF"} <= set(limited.values())
