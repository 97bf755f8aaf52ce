# SPDX-License-Identifier: GPL-3.0-or-later
"""What a frozen launcher says, and how it ends: in the words of nonet.errors."""

from __future__ import annotations

import signal

from nonet.errors import FAILED, NonetError
from nonet.freeze.code import Label
from nonet.freeze.strings import begin, put, put_filled, put_reason, put_string

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from nonet.freeze.code import Cell, Code, Operand

_SIZE = 1 << 20  # bytes: of a message
_ANY = -1
_PROT_READ_WRITE, _MAP_PRIVATE_ANONYMOUS = 1 | 2, 0x02 | 0x20
_HINT = "nonet: hint: "


def begin_message(code: Code) -> None:
    """Begin a message."""
    begin(code, _message(code), _SIZE)


def _message(code: Code) -> Label:
    return code.reserved("message", _SIZE)


def say(code: Code) -> None:
    """Write the message, and a newline, to standard error, and to nothing else."""
    at, size, byte = code.cell("at"), code.cell("size"), code.cell("byte")
    message, stderr = _message(code), code.cell("standard error")
    code.set(byte, ord("\n"))
    code.store(at, 0, byte, 1)  # there is room for a zero byte
    code.add(at, at, 1)
    code.operate("-", size, at, message)
    # As under Python, where SIGPIPE is ignored: nobody who listens is no reason to die.
    ignoring, before = code.words([1, 0, 0, 0]), code.area(32)  # struct sigaction: SIG_IGN
    code.syscall("rt_sigaction", signal.SIGPIPE, ignoring, before, 8)
    code.syscall("write", stderr, message, size)
    code.syscall("rt_sigaction", signal.SIGPIPE, before, 0, 8)


def end(code: Code, status: int) -> None:
    """Say the message, and end with a status."""
    code.set(code.cell("status"), status)
    code.do(fail)


def end_with(code: Code, error: NonetError) -> None:
    """End as nonet does of an error that was known when it was frozen."""
    begin_message(code)
    put(code, str(error))
    end(code, error.status)


def fail(code: Code) -> None:
    """Undo what was made, say the message, and end with `status`."""
    if code.undo is not None:
        code.set(code.cell("said up to"), code.cell("at"))
        code.do(code.undo)
        code.set(code.cell("at"), code.cell("said up to"))
    code.do(say)
    code.syscall("exit_group", code.cell("status"))


def must(
    code: Code,
    what: str,
    call: str,
    *arguments: Operand,
    hints: dict[int, str] | None = None,
    hint: str | None = None,
    status: int = FAILED,
) -> None:
    """Make a system call; where it fails, say "nonet: cannot WHAT", why, and the hint for that."""
    code.syscall(call, *arguments)
    require(code, what, hints=hints, hint=hint, status=status)


def require(
    code: Code,
    what: str,
    *,
    hints: dict[int, str] | None = None,
    hint: str | None = None,
    status: int = FAILED,
) -> None:
    """End if the last system call has failed. `hints` are by errno, `hint` is for any other."""
    pairs = dict(hints or {})
    if hint is not None:
        pairs[_ANY] = hint
    with code.when(code.result, "<", 0):
        told: list[int | Label] = [status, code.text(f"nonet: cannot {what}: ")]
        for number, text in pairs.items():
            told += [number, code.text(f"\n{_HINT}{text}")]
        code.set(code.cell("failure"), code.words([*told, 0]))
        code.do(fail_of_errno)


def fail_of_errno(code: Code) -> None:
    """End of what `failure` tells: a status, a text, and pairs of an errno and a hint."""
    failure, number, key = code.cell("failure"), code.cell("errno"), code.cell("key")
    string = code.cell("string")
    code.operate("-", number, 0, code.result)
    code.load(code.cell("status"), failure)
    begin_message(code)
    code.load(string, failure, 8)
    code.do(put_string)
    code.do(put_reason)
    with code.loop() as over:
        code.add(failure, failure, 16)
        code.load(key, failure)
        code.branch(key, "==", 0, over)
        found, past = Label(), Label()
        code.branch(key, "==", number, found)
        code.branch(key, "!=", _ANY, past)
        code.place(found)
        code.load(string, failure, 8)
        code.do(put_string)
        code.jump(over)
        code.place(past)
    code.do(fail)


def allocate(code: Code, what: str, size: Cell) -> None:
    """Get so many bytes of memory, which are 0. Where there are none, say "cannot WHAT"."""
    must(code, what, "mmap", 0, size, _PROT_READ_WRITE, _MAP_PRIVATE_ANONYMOUS, -1, 0)


def say_and_end(code: Code, text: str, **numbers: Cell) -> None:
    """End with a message in which "(name)" stands for a number."""
    begin_message(code)
    put_filled(code, text, {f"({name})": cell for name, cell in numbers.items()})
    end(code, FAILED)
