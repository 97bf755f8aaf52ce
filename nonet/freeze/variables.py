# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking variables up in the environment, in machine code."""

from __future__ import annotations

from nonet.freeze.code import Label

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from nonet.freeze.code import Code


def find_variable(code: Code, name: str) -> None:
    """Store where the value of an environment variable is in `found`; 0: there is none."""
    code.set(code.cell("name"), code.text(name))
    code.do(look_up)


def look_up(code: Code) -> None:
    """Find the first variable called `name`."""
    cell = code.cell
    entry, variable, found = cell("entry"), cell("variable"), cell("found")
    code.set(found, 0)
    code.set(entry, cell("envp"))
    with code.loop() as over:
        code.load(variable, entry)
        code.branch(variable, "==", 0, over)
        code.do(is_called)
        with code.when(cell("rest"), "!=", 0), code.when(cell("byte"), "==", ord("=")):
            code.add(found, cell("rest"), 1)
            code.jump(over)
        code.add(entry, entry, 8)


def begins(code: Code) -> None:
    """See whether `variable` begins with `name`: `rest` is what follows, or 0."""
    cell = code.cell
    rest, string, byte, other = cell("rest"), cell("string"), cell("byte"), cell("other")
    end_ = Label()
    code.set(rest, cell("variable"))
    code.set(string, cell("name"))
    with code.loop() as differs:
        code.load(byte, rest, 0, 1)
        code.load(other, string, 0, 1)
        code.branch(other, "==", 0, end_)
        code.branch(byte, "!=", other, differs)
        code.add(rest, rest, 1)
        code.add(string, string, 1)
    code.set(rest, 0)
    code.place(end_)


def is_called(code: Code) -> None:
    """See whether `variable` is called `name`.

    If so, `rest` points to the "=" or to its end, and `byte` is what is there; else `rest` is 0.
    """
    rest, byte, end_ = code.cell("rest"), code.cell("byte"), Label()
    code.do(begins)
    code.branch(rest, "==", 0, end_)
    code.branch(byte, "==", 0, end_)
    code.branch(byte, "==", ord("="), end_)
    code.set(rest, 0)
    code.place(end_)
