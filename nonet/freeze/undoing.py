# SPDX-License-Identifier: GPL-3.0-or-later
"""What a frozen launcher undoes where it fails, what cannot be undone, and signals meanwhile."""

from __future__ import annotations

import signal

from nonet.errors import FAILED, quote
from nonet.freeze.finding import AT_FDCWD
from nonet.freeze.saying import must

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nonet.freeze.code import Code, Label
    from nonet.freeze.frozen import Frozen, Held

_FORMAT, _REGULAR = 0o170000, 0o100000
_SIG_BLOCK, _SIG_SETMASK = 0, 2
_SA_RESTORER = 0x0400_0000
_SET = 8  # sizeof(sigset_t), as the kernel has it


def aside_of(code: Code, one: Frozen) -> Label:
    """Return where the path is written to which an old socket is moved, for now."""
    return code.reserved(f"aside {one.place}", len(one.path) + 16)


def undoing(grants: Sequence[Frozen], held: Held) -> Callable[[Code], None]:
    """Return what writes the routine that removes the paths that were made."""

    def undo(code: Code) -> None:
        made = code.cell("made")
        for one in reversed(grants):
            if one.leaves_a_path:
                path = code.text(one.path)
                code.load(made, held.made, 8 * one.place)
                with code.when(made, "!=", 0):
                    code.syscall("unlinkat", AT_FDCWD, path, 0)
                if "replace" in one.grant.flags:
                    code.load(made, held.aside, 8 * one.place)
                    with code.when(made, "!=", 0):
                        code.syscall("renameat", AT_FDCWD, aside_of(code, one), AT_FDCWD, path)

    return undo


def settle(code: Code, grants: Sequence[Frozen], held: Held) -> None:
    """Let signals be; remove old sockets, and empty files."""
    code.do(let_signals_in)  # the last chance for one that came meanwhile
    code.do(keep_signals_out)
    aside, fd, mode = code.cell("made"), code.cell("fd"), code.cell("mode")
    for one in grants:
        if "replace" in one.grant.flags:
            code.load(aside, held.aside, 8 * one.place)
            with code.when(aside, "!=", 0):
                code.syscall("unlinkat", AT_FDCWD, aside_of(code, one), 0)
        if "trunc" in one.grant.flags:
            status = code.reserved("status", 256)
            code.load(fd, held.fds, 8 * one.place)
            code.syscall("fstat", fd, status)
            code.load(mode, status, code.STAT_MODE, 4)
            code.operate("&", mode, mode, _FORMAT)
            with code.when(mode, "==", _REGULAR):
                must(code, f"empty {quote(one.grant.path)}", "ftruncate", fd, 0)
    code.do(release_signals)


# --- signals, as in nonet.signals ---

_ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


def _set(code: Code, call: int, mask: Label) -> None:
    code.syscall("rt_sigprocmask", call, mask, 0, _SET)


def hold_signals(code: Code) -> None:
    """Hold those back that would end this process, unless they are ignored."""
    watched, before = code.reserved("watched", 8), code.reserved("before", 8)
    action, handler, bits = code.reserved("action", 32), code.cell("handler"), code.cell("bits")
    for number in _ENDING:
        code.syscall("rt_sigaction", number, 0, action, _SET)
        code.load(handler, action)
        with code.when(handler, "==", 0):  # SIG_DFL
            code.add(bits, bits, 1 << number - 1)
    code.store(watched, 0, bits)
    code.syscall("rt_sigprocmask", _SIG_BLOCK, watched, before, _SET)
    code.store(action, 0, code.routine(end_of_signal))
    code.store(action, 8, _SA_RESTORER)
    code.store(action, 16, code.routine(end_of_signal))  # it never returns
    code.store(action, 24, -1)
    _for_watched(code, action)


def _for_watched(code: Code, action: Label) -> None:
    bits = code.cell("one")
    for number in _ENDING:
        code.operate("&", bits, code.cell("bits"), 1 << number - 1)
        with code.when(bits, "!=", 0):
            code.syscall("rt_sigaction", number, action, 0, _SET)


def let_signals_in(code: Code) -> None:
    """Let in what was held back."""
    _set(code, _SIG_SETMASK, code.reserved("before", 8))


def keep_signals_out(code: Code) -> None:
    """Hold it back again."""
    _set(code, _SIG_BLOCK, code.reserved("watched", 8))


def release_signals(code: Code) -> None:
    """Let them do what they did before."""
    _for_watched(code, code.words([0, 0, 0, 0]))
    code.do(let_signals_in)


def end_of_signal(code: Code) -> None:
    """Undo what was made, and die of the signal that came."""
    number = code.cell("signal")
    code.handle(number)
    if code.undo is not None:
        code.do(code.undo)
    code.syscall("rt_sigaction", number, code.words([0, 0, 0, 0]), 0, _SET)
    _set(code, _SIG_SETMASK, code.words([0]))
    code.syscall("getpid")
    code.set(code.cell("pid"), code.result)
    code.syscall("kill", code.cell("pid"), number)
    code.syscall("exit_group", FAILED)
