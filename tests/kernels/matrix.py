# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernels, what each must have, and what is different on it.

A facility that is missing is a failure of the test, never a skip. What an attempt on
the contract's table meets on a kernel that differs from what the table says in
general is declared here, attempt by attempt.
"""

from __future__ import annotations

from errno import EINVAL, EPERM
from typing import Any

BARE, NONE, PATH, UNIX, LOOPBACK = "bare", "none", "path", "unix", "loopback"
UNDOMAINED = "none-without-landlock"  # as the contract's tests call it
ROW = "Max network"
FIRST_NET_ABI, FIRST_SCOPED_ABI, NEVER = 4, 6, 1000
FIRST_THREADS_ABI = 8  # from here on Landlock reaches every thread of a process
WITHOUT_LANDLOCK = "lsm=lockdown,yama"

FACILITIES: dict[str, object] = {
    "limits": [],
    "seccomp": True,
    "i386": True,
    "io_uring": True,
    "keys": True,
    "mptcp": True,
    "vsock": True,
    "ipv6": True,
    "user namespaces": True,
}

# What an attempt ends in beside an errno: as subject.departure() has it.
SUCCESS = "success"


def _odd(text: str) -> str:
    return f"odd: {text}"


class Kernel:
    """A kernel to boot.

    `build` is a variant of our own, `suite` where Debian's comes from ("newest": wherever
    that is). `landlock` is the ABI that must be there, or what the kernel says instead.
    `rlimit` says whether RLIMIT_NETWORK must be there and enforce. `levels` are those at
    which the table is tried, where not every exact one is.
    """

    def __init__(
        self,
        name: str,
        *,
        landlock: int | str,
        build: str | None = None,
        suite: str | None = None,
        rows: tuple[str, ...] = (),
        rlimit: bool = False,
        or_later: bool = False,
        architecture: str = "amd64",
        append: str = "",
        levels: tuple[str, ...] | None = None,
    ) -> None:
        self.name = name
        self.build = build
        self.suite = suite
        self.append = append
        self.landlock = landlock
        self.rows = rows
        self.rlimit = rlimit
        self.abi = landlock if isinstance(landlock, int) else 0
        self.or_later = or_later  # a later ABI is as good
        self.facilities = {**FACILITIES, "landlock": landlock, "limits": list(rows)}
        self.architecture = architecture
        if architecture != "amd64":
            self.facilities["i386"] = False
        self._levels = levels

    @property
    def exact(self) -> tuple[str, ...]:
        """The levels that must be exact: the issue's promise, not what nonet chooses."""
        found = [NONE]
        if self.abi >= 6 or self.rlimit:
            found.append(PATH)
        if self.abi >= 4:
            found.append(UNIX)
        return (*found, LOOPBACK)

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels at which every attempt is made, the control first."""
        if self._levels is not None:
            return self._levels
        none = NONE if self.abi else UNDOMAINED
        # Without IPv6, and Landlock to see to it, loopback has a table of its own: SOCKETS.
        tried = [level for level in self.exact if level != LOOPBACK or self.abi >= FIRST_NET_ABI]
        return (BARE, *(none if level == NONE else level for level in tried))

    @property
    def threads(self) -> tuple[str, ...]:
        """The levels that nonet.limit() must be able to put on a process of several threads."""
        if 0 < self.abi < FIRST_THREADS_ABI:
            return ()
        if not self.abi:  # RLIMIT_NETWORK is not taken there: no fork proves it
            return (NONE,)
        return tuple(level for level in self.exact if level != LOOPBACK)

    @property
    def in_a_thread(self) -> tuple[str, ...]:
        """The level at which a thread that was there before the limit makes every attempt."""
        return (PATH if self.abi else UNDOMAINED,) if self.threads else ()

    @property
    def frozen(self) -> tuple[str, ...]:
        """The levels at which every attempt is made under a frozen file: without RLIMIT_NETWORK."""
        needed = {PATH: FIRST_SCOPED_ABI, UNIX: FIRST_NET_ABI, NONE: 0, UNDOMAINED: 0}
        return tuple(level for level in self.levels if self.abi >= needed.get(level, NEVER))

    def expect(self) -> dict[str, dict[str, Any]]:
        """Return what is different here: by level and attempt."""
        changed: dict[str, dict[str, Any]] = {
            level: {} for level in (BARE, NONE, PATH, UNIX, LOOPBACK)
        }
        if self.abi < 4:
            for level in (BARE, NONE, PATH):
                changed[level]["run_nonet_and_ask_for_more"] = _odd("cannot enforce level unix")
            for level in (BARE, PATH):
                changed[level]["ask_a_nested_nonet_for_abstract_names"] = _odd("(125)")
        if self.abi < 6:
            # Kept although open-ended, and no domain of this ABI sees abstract names.
            changed[NONE]["sendmsg_from_a_kept_datagram_socket_to_an_abstract_name"] = SUCCESS
        if self.rlimit:
            changed[PATH].update(BY_RLIMIT)
            if not self.abi:
                changed[PATH].update(BY_RLIMIT_WITHOUT_LANDLOCK)
        return changed


# RLIMIT_NETWORK refuses more than the table does at path: whatever names an address
# that is no pathname, and abstract names inside, too.
BY_RLIMIT: dict[str, Any] = {
    "bind_an_abstract_name": EPERM,
    "autobind_by_a_bind_of_length_2": EPERM,
    "autobind_a_held_unix_socket": EPERM,
    "autobind_by_passcred": _odd("NotRefusedError"),  # it works, and no name is given
    "sendto_with_an_address": EPERM,
    "sendmsg_with_an_address": EPERM,
    "disconnect_then_listen": EINVAL,  # it is still connected
}
# The filter stands in for the domain, as at level none.
BY_RLIMIT_WITHOUT_LANDLOCK: dict[str, Any] = {
    "proc_mem_outside": SUCCESS,
    "all_of_it_inside": EPERM,
}

# Broken variants: it is nonet's choice that is tested, and the level that it falls back to.
FALLEN_BACK = (NONE,)

KERNELS = (
    Kernel("6.1 with RLIMIT_NETWORK", build="enforced", landlock=2, rows=(ROW,), rlimit=True),
    Kernel(
        "the same, Landlock off",
        build="enforced",
        landlock="Operation not supported",
        rows=(ROW,),
        rlimit=True,
        append=WITHOUT_LANDLOCK,
    ),
    Kernel(
        "one that enforces nothing", build="hollow", landlock=2, rows=(ROW,), levels=FALLEN_BACK
    ),
    Kernel(
        "another limit in its place",
        build="foreign",
        landlock=2,
        rows=("Max other things",),
        levels=FALLEN_BACK,
    ),
    Kernel(
        "Debian 12's 6.1, Landlock off",
        suite="bookworm",
        landlock="Operation not supported",
        append=WITHOUT_LANDLOCK,
    ),
    Kernel("Debian 12's 6.1", suite="bookworm", landlock=2),
    Kernel("Debian 12's backported 6.12", suite="bookworm-backports", landlock=6),
    Kernel("the same on arm64", suite="bookworm-backports", landlock=6, architecture="arm64"),
    Kernel("Debian's newest", suite="newest", landlock=10, or_later=True),
)
