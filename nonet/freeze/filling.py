# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments of PROGRAM, with numbers in the places of {NAME}, as nonet.telling fills them."""

from __future__ import annotations

from nonet.freeze.code import Label
from nonet.freeze.saying import allocate
from nonet.freeze.strings import NUMBER, begin, close, put_byte, put_number
from nonet.freeze.variables import begins

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from collections.abc import Sequence

    from nonet.freeze.code import Code
    from nonet.freeze.frozen import Frozen
    from nonet.freeze.placing import Pairs


def fill(code: Code, argv: Sequence[bytes], grants: Sequence[Frozen], pairs: Pairs) -> None:
    """Put numbers in the places of {NAME} in the arguments, frozen ones and further ones."""
    named = {one.grant.name: one for one in grants if one.grant.name}
    if not named:
        return
    for position, word in enumerate(argv[1:], 1):
        if any(b"{%s}" % name.encode() in word for name in named):
            size = len(word) + word.count(b"{") * NUMBER + 1
            place = code.area(size)
            code.set(code.cell("argument"), code.text(word))
            begin(code, place, size)
            _fill(code, named, pairs)
            code.store(code.cell("argv"), 8 * position, place)
    slot, argument = code.cell("slot"), code.cell("argument")
    code.set(slot, code.cell("first argument"))
    if not argv:
        code.add(slot, slot, 8)  # PROGRAM's own name
    with code.loop() as over:
        code.load(argument, slot)
        code.branch(argument, "==", 0, over)
        following = Label()
        code.do(measure)
        code.branch(code.cell("braces"), "==", 0, following)
        allocate(code, "make the arguments", code.cell("size"))
        code.store(slot, 0, code.result)
        code.set(code.cell("at"), code.result)
        code.add(code.cell("end"), code.result, code.cell("size"))
        code.add(code.cell("end"), code.cell("end"), -1)
        _fill(code, named, pairs)
        code.place(following)
        code.add(slot, slot, 8)


def measure(code: Code) -> None:
    """Count the braces in `argument`, and what it may grow to: a number for each."""
    at, byte, size = code.cell("rest"), code.cell("byte"), code.cell("size")
    braces = code.cell("braces")
    code.set(at, code.cell("argument"))
    code.set(braces, 0)
    code.set(size, 1)
    with code.loop() as over:
        code.load(byte, at, 0, 1)
        code.branch(byte, "==", 0, over)
        code.add(at, at, 1)
        code.add(size, size, 1)
        with code.when(byte, "==", ord("{")):
            code.add(braces, braces, 1)
            code.add(size, size, NUMBER)


def _fill(code: Code, named: dict[str, Frozen], pairs: Pairs) -> None:
    """Append `argument` with numbers for {NAME}."""
    at, byte = code.cell("argument"), code.cell("byte")
    with code.loop() as over:
        code.load(byte, at, 0, 1)
        code.branch(byte, "==", 0, over)
        plain, done = Label(), Label()
        code.branch(byte, "!=", ord("{"), plain)
        code.set(code.cell("variable"), at)
        for name, one in named.items():
            code.set(code.cell("name"), code.text(f"{{{name}}}"))
            code.do(begins)
            with code.when(code.cell("rest"), "!=", 0):
                code.set(at, code.cell("rest"))
                code.load(code.cell("value"), pairs.wanted, 8 * pairs.first[one.place])
                put_number(code, code.cell("value"))
                code.jump(done)
        code.load(byte, at, 0, 1)
        code.place(plain)
        code.do(put_byte)
        code.add(at, at, 1)
        code.place(done)
    close(code)
