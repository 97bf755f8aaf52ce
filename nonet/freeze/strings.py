# SPDX-License-Identifier: GPL-3.0-or-later
"""Strings, built in machine code at the cell `at`, up to `end`: what does not fit is left out."""

from __future__ import annotations

import os

from nonet.errors import reason
from nonet.freeze.code import Label

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from nonet.freeze.code import Cell, Code

WHY = "(why)"
NUMBER = 64  # bytes that a number fits in when it is spelled
_LAST_ERRNO = 133
_UNKNOWN = "unknown error"
_SPELLED = {"\t": "t", "\n": "n", "\r": "r"}


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
