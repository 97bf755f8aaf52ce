# SPDX-License-Identifier: GPL-3.0-or-later
"""What a frozen launcher says, and how it ends: in the words of nonet.errors.

Strings are built at the cell `at`, up to `end`: what does not fit is left out.
"""

from __future__ import annotations

import os
import signal

from nonet.errors import FAILED, NonetError, reason
from nonet.freeze.code import Label

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from nonet.freeze.code import Cell, Code, Operand

WHY = "(why)"
_SIZE = 1 << 20  # bytes: of a message
_ANY = -1
_LAST_ERRNO = 133
_UNKNOWN = "unknown error"
_HINT = "nonet: hint: "
_SPELLED = {"\t": "t", "\n": "n", "\r": "r"}


# --- building strings ---


def begin(code: Code, place: Label | Cell, size: int) -> None:
    """Begin a string in an area of so many bytes."""
    code.set(code.cell("at"), place)
    code.add(code.cell("end"), code.cell("at"), size - 1)  # room for a zero byte


def put(code: Code, what: str | bytes | Cell) -> None:
    """Append a text, or what a cell points to."""
    string = code.text(what) if isinstance(what, (str, bytes)) else what
    code.set(code.cell("string"), string)
    code.do(put_string)


def put_filled(code: Code, text: str, said: dict[str, Cell]) -> None:
    """Append a text in which names stand for numbers that the kernel will have said.

    WHY stands for what the errno in `errno` means.
    """
    names = [name for name in (*said, WHY) if name in text]
    if not names:
        if text:
            put(code, text)
        return
    first = min(names, key=text.index)
    before, _, after = text.partition(first)
    put_filled(code, before, {})
    if first == WHY:
        code.do(put_reason)
    else:
        put_number(code, said[first])
    put_filled(code, after, said)


def put_number(code: Code, number: Cell) -> None:
    """Append a number in decimal."""
    code.set(code.cell("number"), number)
    code.do(put_decimal)


def put_quoted(code: Code, string: Cell) -> None:
    """Append a string in quotes, as errors.quote() spells it; beyond ASCII byte by byte."""
    code.set(code.cell("string"), string)
    code.do(put_in_quotes)


def close(code: Code) -> None:
    """End a string with a zero byte."""
    code.store(code.cell("at"), 0, 0, 1)


def put_byte(code: Code) -> None:
    """Append the byte in `byte`."""
    at = code.cell("at")
    with code.when(at, "<", code.cell("end")):
        code.store(at, 0, code.cell("byte"), 1)
        code.add(at, at, 1)


def put_string(code: Code) -> None:
    """Append what `string` points to."""
    string, byte = code.cell("string"), code.cell("byte")
    with code.loop() as end:
        code.load(byte, string, 0, 1)
        code.branch(byte, "==", 0, end)
        code.do(put_byte)
        code.add(string, string, 1)


def put_decimal(code: Code) -> None:
    """Append `number` in decimal."""
    number, string, digit = code.cell("number"), code.cell("string"), code.cell("digit")
    digits = code.area(32)
    code.add(string, digits, 31)
    code.store(string, 0, 0, 1)
    with code.loop() as end:
        code.divide(number, digit, number, 10)
        code.add(digit, digit, ord("0"))
        code.add(string, string, -1)
        code.store(string, 0, digit, 1)
        code.branch(number, "==", 0, end)
    code.do(put_string)


def put_in_quotes(code: Code) -> None:
    """Append what `string` points to, in quotes."""
    string, byte, high = code.cell("string"), code.cell("byte"), code.cell("high")
    character, hexadecimal = code.cell("character"), code.blob(b"0123456789abcdef")

    def literally(number: int | Cell) -> None:
        code.set(byte, number)
        code.do(put_byte)

    literally(ord("'"))
    with code.loop() as end:
        code.load(character, string, 0, 1)
        code.branch(character, "==", 0, end)
        code.add(string, string, 1)
        plain, done = Label(), Label()
        with code.when(character, ">=", ord(" ")), code.when(character, "<", 0x7F):
            code.jump(plain)
        literally(ord("\\"))
        for control, letter in _SPELLED.items():
            with code.when(character, "==", ord(control)):
                literally(ord(letter))
                code.jump(done)
        literally(ord("x"))
        code.divide(high, character, character, 16)
        for digit in (high, character):
            code.add(digit, hexadecimal, digit)
            code.load(digit, digit, 0, 1)
            literally(digit)
        code.jump(done)
        code.place(plain)
        literally(character)
        code.place(done)
    literally(ord("'"))


def put_reason(code: Code) -> None:
    """Append what the errno in `errno` means."""
    number, string, byte = code.cell("errno"), code.cell("string"), code.cell("byte")
    left, unknown, end = code.cell("left"), Label(), Label()
    code.set(left, number)
    code.branch(number, ">", _LAST_ERRNO, unknown)
    code.set(string, code.blob(b"\0".join(_reasons()) + b"\0"))
    with code.loop() as found:
        code.branch(left, "==", 0, found)
        code.load(byte, string, 0, 1)
        with code.when(byte, "==", 0):
            code.add(left, left, -1)
        code.add(string, string, 1)
    code.load(byte, string, 0, 1)
    code.branch(byte, "==", 0, unknown)
    code.do(put_string)
    code.jump(end)
    code.place(unknown)
    put(code, f"{_UNKNOWN} ")
    put_number(code, number)
    code.place(end)


def _reasons() -> list[bytes]:
    texts = [reason(OSError(number, os.strerror(number))) for number in range(_LAST_ERRNO + 1)]
    return [b"" if text.startswith(_UNKNOWN) else text.encode() for text in texts]


# --- saying ---


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
