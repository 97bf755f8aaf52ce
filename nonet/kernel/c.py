# SPDX-License-Identifier: GPL-3.0-or-later
"""The C library's functions, and the few C types that their arguments take.

ctypes has all that and more, and takes longer to import than the rest of nonet. This is
made of the parts that ctypes itself is made of, under the names that it gives them. No other
module imports either.
"""

from __future__ import annotations

from _ctypes import addressof, byref, get_errno, sizeof

TYPE_CHECKING = False  # typing costs more to import than this module does
if TYPE_CHECKING:
    from ctypes import CDLL, Array, c_char, c_char_p, c_int, c_long, c_uint64, c_ulong
else:
    from _ctypes import FUNCFLAG_CDECL, FUNCFLAG_USE_ERRNO, Array, CFuncPtr, _SimpleCData, dlopen

    def _simple(name: str, code: str) -> type:
        """Return a type of one value, by its code in the struct module."""
        return type(name, (_SimpleCData,), {"_type_": code})

    c_char = _simple("c_char", "c")
    c_int = _simple("c_int", "i")
    c_long = _simple("c_long", "l")
    c_ulong = _simple("c_ulong", "L")
    c_uint64 = _simple("c_uint64", "Q")
    c_char_p = _simple("c_char_p", "z")

    class _Function(CFuncPtr):
        _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO
        _restype_ = c_int

    class CDLL:
        """A library's functions: each returns an int, and keeps errno for get_errno()."""

        def __init__(self, name: str | None, *, use_errno: bool) -> None:
            del use_errno  # always
            self._handle = dlopen(name, 0)

        def __getattr__(self, name: str) -> _Function:
            return _Function((name, self))


__all__ = [
    "Array", "addressof", "byref", "c_char", "c_char_p", "c_int", "c_long", "c_uint64", "c_ulong",
    "get_errno", "libc", "sizeof",
]  # fmt: skip

libc = CDLL(None, use_errno=True)
