# SPDX-License-Identifier: GPL-3.0-or-later
"""PROGRAM of a frozen launcher: which it is, and where, as nonet.program finds it."""

from __future__ import annotations

import errno

from nonet import program
from nonet.errors import CANNOT_EXECUTE, NOT_FOUND, NonetError, UsageError, quote
from nonet.freeze.code import Label
from nonet.freeze.saying import begin_message, end, end_with
from nonet.freeze.strings import begin, close, put, put_byte, put_quoted, put_reason
from nonet.freeze.variables import find_variable
from nonet.options import SYNOPSIS

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from collections.abc import Sequence

    from nonet.freeze.code import Code

AT_FDCWD = -100
_X_OK, _AT_EACCESS = 1, 0x200
_S_IFMT, _S_IFDIR = 0o170000, 0o040000
_PATH_MAX = 4096  # no path is longer, its zero byte included (include/uapi/linux/limits.h)
_NOT_FOUND, _IS_DIRECTORY, _NO_PERMISSION = 1, 2, 3


def read_arguments(code: Code, argv: Sequence[bytes]) -> None:
    """Find the arguments and the environment; put the frozen words before further arguments.

    Without frozen words the first argument names PROGRAM.
    """
    stack, count = code.cell("stack"), code.cell("argument count")
    first, argv_at, envp = code.cell("first argument"), code.cell("argv"), code.cell("envp")
    code.start(stack, 8 * len(argv))
    code.set(code.cell("standard error"), 2)
    code.load(count, stack)
    with code.when(count, "<", 1):
        end_with(code, NonetError("read the arguments", "there is not even a name"))
    code.add(envp, count, count)
    code.add(envp, envp, envp)
    code.add(envp, envp, envp)
    code.add(envp, envp, stack)
    code.add(envp, envp, 16)  # past argc, argv and the NULL at its end
    code.add(first, stack, 16)
    code.set(argv_at, first)
    word = code.cell("word")
    if not argv:
        usage = UsageError("run PROGRAM", "none was given", SYNOPSIS)
        with code.when(count, "<", 2):
            end_with(code, usage)
        code.load(word, first)
        code.load(word, word, 0, 4)
        code.operate("&", word, word, 0xFFFFFF)
        with code.when(word, "==", int.from_bytes(b"--\0", "little")):
            code.add(first, first, 8)
            code.set(argv_at, first)
            with code.when(count, "==", 2):
                end_with(code, usage)
        code.load(code.cell("program"), first)
        return
    code.add(argv_at, first, -8 * len(argv))
    for number, fixed in enumerate(argv):
        code.store(argv_at, 8 * number, code.text(fixed))
    code.set(code.cell("program"), code.text(argv[0]))
    code.set(code.cell("quoted program"), code.text(quote(argv[0])))


def find_program(code: Code, name: bytes | None) -> None:
    """Find PROGRAM, and store its path in `path`; None: it is named when the file runs."""
    if name is None:
        slash, byte, string = Label(), code.cell("byte"), code.cell("string")
        found = Label()
        code.set(string, code.cell("program"))
        with code.loop() as over:
            code.load(byte, string, 0, 1)
            code.branch(byte, "==", 0, over)
            code.branch(byte, "==", ord("/"), slash)
            code.add(string, string, 1)
        code.do(search)
        code.jump(found)
        code.place(slash)
        code.do(check_named)
        code.place(found)
    else:
        code.do(check_named if b"/" in name else search)


def check_named(code: Code) -> None:
    """Check the path that `program` is."""
    path, verdict = code.cell("path"), code.cell("verdict")
    code.set(path, code.cell("program"))
    code.do(check)
    with code.when(verdict, "==", _NOT_FOUND):
        begin_message(code)
        put(code, "nonet: cannot find ")
        code.do(put_program)
        put(code, ": ")
        code.do(put_reason)
        end(code, NOT_FOUND)
    with code.when(verdict, "!=", 0):
        code.do(refuse)


def check(code: Code) -> None:
    """Look whether `path` can be executed: `verdict` is 0 if so."""
    path, verdict, mode = code.cell("path"), code.cell("verdict"), code.cell("mode")
    status, end_ = code.reserved("status", 256), Label()
    code.set(verdict, 0)
    code.syscall("newfstatat", AT_FDCWD, path, status, 0)
    with code.when(code.result, "<", 0):
        code.operate("-", code.cell("errno"), 0, code.result)
        code.set(verdict, _NOT_FOUND)
        code.jump(end_)
    code.load(mode, status, code.STAT_MODE, 4)
    code.operate("&", mode, mode, _S_IFMT)
    with code.when(mode, "==", _S_IFDIR):
        code.set(verdict, _IS_DIRECTORY)
        code.jump(end_)
    code.syscall("faccessat2", AT_FDCWD, path, _X_OK, _AT_EACCESS)
    with code.when(code.result, "==", -errno.ENOSYS):  # before 5.8: by the real user
        code.syscall("faccessat", AT_FDCWD, path, _X_OK)
    with code.when(code.result, "<", 0):
        code.set(verdict, _NO_PERMISSION)
    code.place(end_)


def refuse(code: Code) -> None:
    """End: `path` is there, and cannot be executed for the reason in `verdict`."""
    verdict = code.cell("verdict")
    path, named, done = code.cell("path"), Label(), Label()
    begin_message(code)
    put(code, "nonet: cannot execute ")
    code.branch(path, "==", code.cell("program"), named)
    put_quoted(code, path)
    code.jump(done)
    code.place(named)
    code.do(put_program)
    code.place(done)
    with code.when(verdict, "==", _IS_DIRECTORY):
        put(code, ": is a directory")
    with code.when(verdict, "==", _NO_PERMISSION):
        put(code, ": permission denied")
    end(code, CANNOT_EXECUTE)


def search(code: Code) -> None:
    """Look for `program` in PATH as execvp(3) does."""
    cell = code.cell
    place, path, verdict, byte = cell("place"), cell("path"), cell("verdict"), cell("byte")
    candidate, refused = code.area(2 * _PATH_MAX), code.area(2 * _PATH_MAX)
    # What was refused last, and where what is not there has another reason than that.
    kept, hint, hint_errno = cell("refused"), cell("hint"), cell("hint errno")
    find_variable(code, "PATH")
    with code.when(cell("found"), "==", 0):
        code.set(cell("found"), code.text(program.NO_PATH))
    code.set(place, cell("found"))
    code.load(byte, cell("program"), 0, 1)
    found, over, following = Label(), Label(), Label()
    code.branch(byte, "==", 0, over)  # no name
    with code.loop():
        begin(code, candidate, 2 * _PATH_MAX)
        code.set(cell("from"), place)
        code.do(put_place)
        put(code, cell("program"))
        close(code)
        code.set(path, candidate)
        code.do(check)
        code.branch(verdict, "==", 0, found)
        with code.when(verdict, "==", _NOT_FOUND):
            code.branch(cell("errno"), "==", errno.ENOENT, following)
            code.set(hint, place)
            code.set(hint_errno, cell("errno"))
            code.jump(following)
        code.set(kept, verdict)
        begin(code, refused, 2 * _PATH_MAX)
        put(code, path)
        close(code)
        code.place(following)
        with code.loop() as next_place:  # past the next colon, or to the end
            code.load(byte, place, 0, 1)
            code.branch(byte, "==", 0, over)
            code.add(place, place, 1)
            code.branch(byte, "==", ord(":"), next_place)
    code.place(over)
    with code.when(kept, "!=", 0):
        code.set(verdict, kept)
        code.set(path, refused)
        code.do(refuse)
    code.do(not_in_path)
    code.place(found)


def not_in_path(code: Code) -> None:
    """End: no folder has `program`. `hint` is one that has another reason, or 0."""
    cell = code.cell
    hint, folder = cell("hint"), code.area(_PATH_MAX)
    begin(code, folder, _PATH_MAX)
    code.set(cell("from"), hint)
    with code.when(hint, "!=", 0):
        code.do(put_folder)
    close(code)
    begin_message(code)
    put(code, "nonet: cannot find ")
    code.do(put_program)
    put(code, ": not in PATH")
    with code.when(hint, "!=", 0):
        put(code, "\nnonet: hint: ")
        code.set(cell("path"), folder)
        put_quoted(code, cell("path"))
        put(code, " in PATH: ")
        code.set(cell("errno"), cell("hint errno"))
        code.do(put_reason)
    end(code, NOT_FOUND)


def put_program(code: Code) -> None:
    """Append the name of PROGRAM in quotes."""
    quoted, unknown, done = code.cell("quoted program"), Label(), Label()
    code.branch(quoted, "==", 0, unknown)
    put(code, quoted)
    code.jump(done)
    code.place(unknown)
    put_quoted(code, code.cell("program"))
    code.place(done)


def put_folder(code: Code) -> None:
    """Append what `from` points to, up to a colon; `last` is its last byte."""
    string, byte, last = code.cell("from"), code.cell("byte"), code.cell("last")
    code.set(last, 0)
    with code.loop() as over:
        code.load(byte, string, 0, 1)
        code.branch(byte, "==", 0, over)
        code.branch(byte, "==", ord(":"), over)
        code.do(put_byte)
        code.set(last, byte)
        code.add(string, string, 1)


def put_place(code: Code) -> None:
    """Append the folder that `from` points to, and a slash."""
    byte, last = code.cell("byte"), code.cell("last")
    code.do(put_folder)
    with code.when(last, "==", 0):  # an empty one is the working directory
        code.set(byte, ord("."))
        code.do(put_byte)
    with code.when(last, "!=", ord("/")):
        code.set(byte, ord("/"))
        code.do(put_byte)


def execute(code: Code) -> None:
    """Become PROGRAM."""
    cell = code.cell
    code.syscall("execve", cell("path"), cell("argv"), cell("environment"))
    code.operate("-", cell("errno"), 0, code.result)
    begin_message(code)
    put(code, "nonet: cannot execute ")
    code.do(put_program)
    put(code, ": ")
    code.do(put_reason)
    for number, hint in program.HINTS.items():
        with code.when(cell("errno"), "==", number):
            put(code, f"\nnonet: hint: {hint}")
    end(code, CANNOT_EXECUTE)
