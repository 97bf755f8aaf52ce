# SPDX-License-Identifier: GPL-3.0-or-later
"""Attempts by the side doors: io_uring, other processes, the terminal, keys."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import termios
from errno import EBADF, ENOKEY, ENOTTY

from base import BARE, Held, NotRefusedError, attempt, call

TIOCSTI, TIOCLINUX = 0x5412, 0x541C
PTRACE_ATTACH, PTRACE_DETACH, PTRACE_SEIZE = 16, 17, 0x4206
WORD = b"touched\0"


@attempt("io-uring")
def io_uring_setup(_: Held) -> None:
    os.close(call("io_uring_setup", 8, bytes(120)))


@attempt("io-uring", expect={BARE: EBADF})
def io_uring_enter(_: Held) -> None:
    call("io_uring_enter", 2**31 - 1, 0, 0, 0, 0, 0)


@attempt("io-uring", expect={BARE: EBADF})
def io_uring_register(_: Held) -> None:
    call("io_uring_register", 2**31 - 1, 0, 0, 0)


# --- processes: the same deeds, to a victim outside and to a child inside ---


def _ptrace(request: int, pid: int) -> None:
    call("ptrace", request, pid, 0, 0)
    if request == PTRACE_ATTACH:
        os.waitpid(pid, 0)
        call("ptrace", PTRACE_DETACH, pid, 0, 0)


def _write_by_process_vm(pid: int, address: int) -> None:
    data = ctypes.create_string_buffer(WORD, 8)
    here = (ctypes.c_uint64 * 2)(ctypes.addressof(data), 8)
    there = (ctypes.c_uint64 * 2)(address, 8)
    call("process_vm_writev", pid, here, 1, there, 1, 0)


def _write_by_proc_mem(pid: int, address: int) -> None:
    fd = os.open(f"/proc/{pid}/mem", os.O_RDWR)
    os.pwrite(fd, WORD, address)


def _take_a_descriptor(pid: int) -> None:
    os.close(call("pidfd_getfd", call("pidfd_open", pid, 0), 0, 0))


@attempt("outside-process")
def attach_outside(held: Held) -> None:
    _ptrace(PTRACE_ATTACH, held.places["victim"])


@attempt("outside-process")
def seize_outside(held: Held) -> None:
    _ptrace(PTRACE_SEIZE, held.places["victim"])


@attempt("outside-process", seen="victim")
def process_vm_writev_outside(held: Held) -> None:
    _write_by_process_vm(held.places["victim"], held.places["victim-address"])


@attempt("outside-process", seen="victim")
def proc_mem_outside(held: Held) -> None:
    _write_by_proc_mem(held.places["victim"], held.places["victim-address"] + len(b"untouched"))


@attempt("outside-process")
def pidfd_getfd_outside(held: Held) -> None:
    _take_a_descriptor(held.places["victim"])


def _child(memory: ctypes.Array[ctypes.c_char]) -> int:
    """Return the process id of a child that shares this layout and waits to be killed."""
    del memory  # its address is the same in the child
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    return pid


@attempt("inside-process")
def all_of_it_inside(_: Held) -> None:
    memory = ctypes.create_string_buffer(b"untouched")
    pid = _child(memory)
    try:
        _ptrace(PTRACE_ATTACH, pid)
        for write in (_write_by_process_vm, _write_by_proc_mem):
            write(pid, ctypes.addressof(memory))
            with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
                file.seek(ctypes.addressof(memory))
                if file.read(len(WORD)) != WORD:
                    raise NotRefusedError
        _take_a_descriptor(pid)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


# --- the terminal ---


def _own_terminal(held: Held) -> int:
    os.setsid()
    fd = held.fds[0]
    fcntl.ioctl(fd, termios.TIOCSCTTY, 0)
    return fd


@attempt("tty-input", hold="terminal", seen="terminal")
def type_into_the_terminal(held: Held) -> None:
    fcntl.ioctl(_own_terminal(held), TIOCSTI, b"x")


@attempt("tty-input", hold="terminal", seen="terminal")
def type_with_garbage_in_the_high_half(held: Held) -> None:
    call("ioctl", _own_terminal(held), (0xDEAD << 32) | TIOCSTI, b"x")


@attempt("tty-input", hold="terminal", expect={BARE: ENOTTY})  # a pseudo-terminal is no console
def paste_into_the_console(held: Held) -> None:
    call("ioctl", _own_terminal(held), TIOCLINUX, b"\x03")


# --- keys ---


@attempt("request-key", expect={BARE: ENOKEY})
def request_key(_: Held) -> None:
    call("request_key", b"user\0", b"nonet-test-no-such-key\0", 0, 0)
