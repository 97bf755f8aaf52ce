# SPDX-License-Identifier: GPL-3.0-or-later
"""The file around the machine code (elf(5)): no interpreter, no library, nothing to relocate.

One segment is read and executed: headers, instructions, constants. One is memory. Section
headers and symbols follow, which nothing loads: they are for who takes the file apart.
"""

from __future__ import annotations

import struct

from nonet.freeze.code import DATA, MEMORY, TEXT

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from nonet.freeze.code import Code, Label

_BASE, _PAGE = 0x40_0000, 0x1_0000  # the largest page of both architectures
_EHDR, _PHDR, _SHDR, _SYM = (
    struct.Struct("<16sHHIQQQIHHHHHH"),
    struct.Struct("<IIQQQQQQ"),
    struct.Struct("<IIQQQQIIQQ"),
    struct.Struct("<IBBHQQ"),
)
_PT_LOAD, _PT_GNU_STACK, _X, _W, _R = 1, 0x6474_E551, 1, 2, 4
_ET_EXEC, _EV_CURRENT = 2, 1
_IDENT = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")  # 64 bits, little-endian
_PROGBITS, _SYMTAB, _STRTAB, _NOBITS = 1, 2, 3, 8
_WRITE, _ALLOC, _EXECINSTR = 1, 2, 4
_NAMES = b"\0.text\0.rodata\0.bss\0.symtab\0.strtab\0.shstrtab\0"
_SEGMENTS = 3
_HEADERS = _EHDR.size + _SEGMENTS * _PHDR.size


def build(code: Code) -> bytes:
    """Return the executable file of finished code, which begins with its first instruction."""
    text, data = code.sections[TEXT], code.sections[DATA]
    at = {TEXT: _BASE + _HEADERS}
    at[DATA] = _up(at[TEXT] + len(text), 16)
    loaded = at[DATA] + len(data) - _BASE
    at[MEMORY] = _up(_BASE + loaded, _PAGE) + _PAGE
    _resolve(code, at)
    contents = bytes(text).ljust(at[DATA] - at[TEXT], b"\0") + bytes(data)
    symbols, names = _symbols(code, at)
    tables = symbols + names + _NAMES
    headers = _EHDR.pack(
        _IDENT, _ET_EXEC, code.ELF, _EV_CURRENT, at[TEXT], _EHDR.size,
        _up(loaded + len(tables), 8), 0, _EHDR.size, _PHDR.size, _SEGMENTS, _SHDR.size, 7, 6,
    ) + b"".join((
        _PHDR.pack(_PT_LOAD, _R | _X, 0, _BASE, _BASE, loaded, loaded, _PAGE),
        _PHDR.pack(_PT_LOAD, _R | _W, 0, at[MEMORY], at[MEMORY], 0, code.memory, _PAGE),
        _PHDR.pack(_PT_GNU_STACK, _R | _W, 0, 0, 0, 0, 0, 16),  # not to be executed
    ))  # fmt: skip
    offsets = [loaded, loaded + len(symbols), loaded + len(symbols) + len(names)]
    sections = b"".join((
        bytes(_SHDR.size),
        _section(".text", _PROGBITS, _ALLOC | _EXECINSTR, at[TEXT], at[TEXT] - _BASE, len(text)),
        _section(".rodata", _PROGBITS, _ALLOC, at[DATA], at[DATA] - _BASE, len(data)),
        _section(".bss", _NOBITS, _ALLOC | _WRITE, at[MEMORY], loaded, code.memory),
        _section(".symtab", _SYMTAB, 0, 0, offsets[0], len(symbols), link=5,
                 info=len(symbols) // _SYM.size, entry=_SYM.size),
        _section(".strtab", _STRTAB, 0, 0, offsets[1], len(names)),
        _section(".shstrtab", _STRTAB, 0, 0, offsets[2], len(_NAMES)),
    ))  # fmt: skip
    body = headers + contents + tables
    return body.ljust(_up(len(body), 8), b"\0") + sections


def _up(number: int, step: int) -> int:
    return -(-number // step) * step


def _section(
    name: str, kind: int, flags: int, address: int, offset: int, size: int,
    *, link: int = 0, info: int = 0, entry: int = 0,
) -> bytes:  # fmt: skip
    place = _NAMES.index(b"\0" + name.encode() + b"\0") + 1
    return _SHDR.pack(place, kind, flags, address, offset, size, link, info, 8, entry)


def _resolve(code: Code, at: dict[str, int]) -> None:
    """Put addresses in the place of labels."""
    for section, offset, kind, label in code.fixups:
        there = _address(label, at)
        if section == DATA:
            struct.pack_into("<Q", code.sections[DATA], offset, there)
        else:
            code.patch(code.sections[TEXT], offset, kind, there, at[TEXT] + offset)


def _address(label: Label, at: dict[str, int]) -> int:
    if label.offset < 0:
        raise AssertionError(f"{label.name or 'a label'} is placed nowhere")
    return at[label.section] + label.offset


def _symbols(code: Code, at: dict[str, int]) -> tuple[bytes, bytes]:
    entries, names = bytes(_SYM.size), b"\0"
    for label in code.symbols:
        entries += _SYM.pack(len(names), 0, 0, 1, _address(label, at), 0)  # local, in .text
        names += label.name.encode() + b"\0"
    return entries, names
