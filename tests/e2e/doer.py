# SPDX-License-Identifier: GPL-3.0-or-later
"""A program that does what it is told: a line of JSON, [WHAT, ARGUMENT...], for each thing.

Each answer is a line of JSON: what came of it, or the name of the errno.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import socket
import struct
import subprocess
import sys
import threading
import time
from typing import Any

STREAM, DGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM
KINDS = {
    "tcp4": (socket.AF_INET, STREAM),
    "tcp6": (socket.AF_INET6, STREAM),
    "udp4": (socket.AF_INET, DGRAM),
    "udp6": (socket.AF_INET6, DGRAM),
}
SECONDS = 2.0  # until it gives up
held: dict[str, socket.socket] = {}


def make(kind: str) -> str:
    """Make a socket, and hold it. Return the device that it is tied to."""
    return hold(kind, socket.socket(*KINDS[kind]))


def hold(name: str, one: socket.socket) -> str:
    one.settimeout(SECONDS)
    held[name] = one
    return one.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0").decode()


def inherited(fd: int) -> str:
    return hold(str(fd), socket.socket(fileno=fd))


def make_all() -> dict[str, object]:
    return {kind: attempt(make, kind) for kind in KINDS}


def connect(name: str, host: str, port: int) -> None:
    held[name].connect((host, port))


def connect_anew(kind: str, host: str, port: int) -> None:
    make(kind)
    connect(kind, host, port)


def untie(name: str) -> None:
    held[name].setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"\0")


def disconnect(name: str) -> None:
    """connect(2) to AF_UNSPEC."""
    place = ctypes.create_string_buffer(16)
    if ctypes.CDLL(None, use_errno=True).connect(held[name].fileno(), place, 16):
        raise OSError(ctypes.get_errno(), "connect")


def bind(name: str, host: str, number: int = 0) -> int:
    """Return the port."""
    held[name].bind((host, number))
    return port(name)


def port(name: str) -> int:
    bound: int = held[name].getsockname()[1]
    return bound


def close(name: str) -> None:
    held.pop(name).close()


def listen(kind: str, host: str) -> int:
    make(kind)
    found = bind(kind, host)
    held[kind].listen()
    return found


def say(name: str) -> str:
    """Send to the peer, and return what it says."""
    held[name].sendall(b"asked")
    return receive(name)


def send_to(name: str, host: str, port: int) -> int:
    return held[name].sendto(b"sent", (host, port))


def receive(name: str) -> str:
    return held[name].recv(64).decode()


def called(name: str) -> str:
    """Take a connection, and return what the caller says."""
    connection, _ = held[name].accept()
    with connection:
        connection.sendall(b"answered")
        return connection.recv(64).decode()


def to_itself(kind: str, host: str) -> str:
    """Return what arrives of what one UDP socket sends to another one."""
    with socket.socket(*KINDS[kind]) as one, socket.socket(*KINDS[kind]) as other:
        one.bind((host, 0))
        one.settimeout(SECONDS)
        other.sendto(b"sent", one.getsockname())
        return one.recv(64).decode()


def wait() -> list[int]:
    return list(os.waitpid(-1, os.WNOHANG))


def live_on() -> int:
    """Go on in a child; this process ends."""
    pid = os.fork()
    if pid:
        os._exit(0)
    return os.getpid()


def kill(pid: int, number: int) -> None:
    os.kill(pid, number)


def kill_a_child(number: int) -> int:
    """Return how a child ends that gets a signal."""
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    os.kill(pid, number)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def call(number: int, *args: int) -> int:
    """syscall(2), every argument a number."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    result: int = libc.syscall(*[ctypes.c_long(word) for word in (number, *args)])
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def new_listener(number: int) -> int:
    """Install a filter that allows everything, with a listener."""
    allow = ctypes.create_string_buffer(struct.pack("<HBBI", 0x06, 0, 0, 0x7FFF_0000), 8)
    program = (ctypes.c_uint64 * 2)(1, ctypes.addressof(allow))
    ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    return call(number, 1, 1 << 3, ctypes.addressof(program))  # SECCOMP_FILTER_FLAG_NEW_LISTENER


def write_memory(pid: int, address: int) -> int:
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as file:
        file.seek(address)
        content = file.read(8)
        file.seek(address)
        return file.write(content)


def change_user(user: int) -> None:
    os.setresuid(user, user, user)


def owners(port: int) -> list[str]:
    """Return to whom the sockets at a port belong."""
    with open("/proc/net/tcp", encoding="ascii") as file:
        rows = [line.split() for line in file]
    return [row[7] for row in rows if row[1].endswith(f":{port:04X}")]


def belongs_to(kind: str) -> int:
    """Return the user whose a new socket is."""
    make(kind)
    return os.fstat(held[kind].fileno()).st_uid


def not_dumpable() -> None:
    ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE


def own_user_namespace() -> None:
    call({"x86_64": 272, "aarch64": 97}[os.uname().machine], 0x1000_0000)  # unshare CLONE_NEWUSER


def children(count: int, how: str) -> list[int]:
    """Return the exit status of processes that each make a socket of every kind."""
    if how != "at once":
        return [_ended(_start_child()) for _ in range(count)]
    reader, writer = os.pipe()
    pids = [_start_child(reader, writer) for _ in range(count)]
    os.close(writer)
    os.close(reader)
    return [_ended(pid) for pid in pids]


def _start_child(reader: int = -1, writer: int = -1) -> int:
    pid = os.fork()
    if pid == 0:
        if reader >= 0:  # the end of the pipe is the signal to begin
            os.close(writer)
            os.read(reader, 1)
        os._exit(_made_all())
    return pid


def _made_all() -> int:
    try:
        for family, kind in KINDS.values():
            with socket.socket(family, kind) as one:
                one.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
    except OSError as error:
        return error.errno or 255
    return 0


def _ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def threads(count: int) -> list[int]:
    """Return what came of threads that each make a socket of every kind, at once."""
    statuses: list[int] = []
    begin = threading.Barrier(count)

    def run() -> None:
        begin.wait()
        statuses.append(_made_all())

    started = [threading.Thread(target=run) for _ in range(count)]
    for one in started:
        one.start()
    for one in started:
        one.join()
    return statuses


def fill(kind: str, most: int) -> list[object]:
    """Make sockets until there can be no more descriptors. Return why not, and which there are."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    made = []
    while isinstance(found := attempt(socket.socket, *KINDS[kind]), socket.socket):
        made.append(found)
    numbers = [one.fileno() for one in made]
    made.pop().close()
    return [found, numbers, attempt(make, kind)]


def kept(cloexec: int, kind: str) -> bool:
    """Return whether a program that is executed finds a socket: made with SOCK_CLOEXEC or 0."""
    family, base = KINDS[kind]
    fd = call({"x86_64": 41, "aarch64": 198}[os.uname().machine], family, base | cloexec, 0)
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", f"test -e /proc/self/fd/{fd}"], os.environ)
    os.close(fd)
    return _ended(pid) == 0


def spawned(count: int) -> list[int]:
    """Return how programs end that make sockets, started while threads make theirs and fork."""
    statuses: list[int] = []

    def run() -> None:
        for _ in range(count):
            statuses.extend((_made_all(), _ended(_start_child())))

    started = [threading.Thread(target=run) for _ in range(4)]
    for one in started:
        one.start()
    code = "import socket; [socket.socket(f, k) for f in (2, 10) for k in (1, 2)]"
    words = [sys.executable, "-I", "-S", "-c", code]
    for _ in range(count):
        statuses.append(_ended(os.posix_spawn(words[0], words, os.environ)))
        statuses.append(subprocess.run(words, check=False).returncode)
    for one in started:
        one.join()
    return statuses


def attempt(act: Any, *arguments: Any) -> Any:  # noqa: ANN401 - any of the above
    try:
        return act(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno] if error.errno else type(error).__name__


def main() -> None:
    print('"ready"', flush=True)
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        print(json.dumps(attempt(globals()[what], *arguments)), flush=True)


if __name__ == "__main__":
    main()
