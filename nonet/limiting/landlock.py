# SPDX-License-Identifier: GPL-3.0-or-later
"""The Landlock domain of a level: what a filter cannot see (landlock(7)).

Any domain puts the processes outside it out of reach of ptrace(2), pidfd_getfd(2)
and /proc/PID/mem, and leaves those inside to each other.
"""

from __future__ import annotations

import errno
import os

from nonet import kernel, levels
from nonet.errors import reason

# Below ABI 2 (Linux 5.19) every domain forbids link and rename between directories.
FIRST_USABLE_ABI = 2
_NEWER = "Linux 5.19 or later"
# From here on (Linux 7.0) a domain can be put on every thread of a process.
FIRST_THREADS_ABI = 8
_ACCESS_FS_REFER = 1 << 13  # LANDLOCK_ACCESS_FS_REFER, ABI 2

MISSING = {
    errno.ENOSYS: (
        "this kernel has no Landlock",
        "a kernel from 5.13 on, built with CONFIG_SECURITY_LANDLOCK=y",
    ),
    errno.EOPNOTSUPP: (
        "Landlock is switched off",
        "boot with 'landlock' in the kernel's lsm= parameter",
    ),
    errno.EPERM: (
        "Landlock is forbidden here, by a container's seccomp profile for one",
        "allow the landlock_* system calls in the outer profile",
    ),
}


class Landlock:
    """What this kernel's Landlock can do: its ABI (0: nothing), and if so why, and a hint."""

    __slots__ = ("abi", "hint", "why")

    def __init__(self, abi: int, why: str = "", hint: str = "") -> None:
        self.abi = abi
        self.why = why
        self.hint = hint

    @property
    def usable(self) -> bool:
        """Whether a domain can be had that forbids nothing nonet does not mean to."""
        return self.abi >= FIRST_USABLE_ABI


def probe() -> Landlock:
    """Ask the kernel. "This kernel cannot" is a value, not an error."""
    try:
        return present(kernel.landlock_abi())
    except OSError as error:
        return missing(error.errno or 0, reason(error))


def present(abi: int) -> Landlock:
    """Return what a kernel with this ABI can do."""
    if abi < FIRST_USABLE_ABI:
        return Landlock(abi, f"its ABI {abi} would forbid renames between directories", _NEWER)
    return Landlock(abi)


def missing(number: int, why: str) -> Landlock:
    """Return what a kernel can do that answers with an errno, which is called `why`."""
    return Landlock(0, *MISSING.get(number, (f"Landlock does not answer ({why})", "")))


def ruleset(level: str, abi: int, *, ipv6: bool = True) -> kernel.RulesetAttr:
    """Return what the domain of a level handles on a kernel with this ABI.

    `ipv6` says whether the broker of the level, if it has one, gives out IPv6 sockets.
    """
    handled = {"fs": 0, "net": 0, "scoped": 0}
    for right in levels.RIGHTS:
        if level in right.at and abi >= right.abi and right.ipv6 in (None, ipv6):
            handled[right.field] |= right.value
    if not any(handled.values()):  # a domain must handle something
        handled["fs"] = _ACCESS_FS_REFER
    return kernel.RulesetAttr(**handled)


def make(attr: kernel.RulesetAttr) -> int:
    """Return a descriptor of a ruleset, ready to be put on. Raises OSError."""
    fd = kernel.landlock_create_ruleset(attr)
    try:
        if attr.fs:
            _allow_everywhere(fd, attr.fs)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _allow_everywhere(ruleset_fd: int, access: int) -> None:
    root = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        kernel.landlock_add_path_rule(ruleset_fd, access, root)
    finally:
        os.close(root)
