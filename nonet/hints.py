# SPDX-License-Identifier: GPL-3.0-or-later
"""What would bring what a machine lacks, as --check says it.

It names the kernel's version, option or boot parameter, the parameter of sysctl(8), or
what a container is to be allowed. Why something fails is found by trying it in a child.
"""

from __future__ import annotations

import _socket
import errno
import os

from nonet import kernel, levels
from nonet.kernel import broker as look
from nonet.limiting import RLIMIT, landlock
from nonet.limiting import filter as seccomp
from nonet.trials import outcome

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from nonet.errors import NonetError
    from nonet.limiting import Limit

# landlock(7): the version of Linux that brings an ABI
_SINCE = {2: "5.19", 4: "6.7", 6: "6.12"}
_IPV6_ABI = next(right.abi for right in levels.RIGHTS if right.ipv6)
_ALLOW_ALL = bytes.fromhex("060000000000ff7f")  # BPF_RET, SECCOMP_RET_ALLOW
_AROUND = "in the seccomp profile of the container or sandbox"

_YAMA = "/proc/sys/kernel/yama/ptrace_scope"

# What forbids network namespaces: a parameter, its value, and what would not.
_SYSCTLS = (
    ("user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=1000"),
    ("user/max_net_namespaces", "0", "sysctl user.max_net_namespaces=1000"),
    ("kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile with userns",
    ),
)


def for_limit(limit: Limit, asked: str | None) -> list[str]:
    """Return what would bring what a limit that can be had lacks."""
    found, level = limit.landlock, limit.level
    hints = []
    no_ipv6 = limit.served is not None and bool(limit.served.ipv6) and not limit.served.inner
    if limit.tightened:
        hints.append(_for_landlock(found, levels.abi_needed(asked or levels.DEFAULT)))
    elif not found.usable and not no_ipv6:
        hints.append(_for_landlock(found, landlock.FIRST_USABLE_ABI))
    elif limit.ruleset is not None and limit.ruleset.fs and not no_ipv6:
        enough = (n for n in _SINCE if not landlock.ruleset(level, n, ipv6=limit.ipv6).fs)
        hints.append(_for_landlock(found, next(enough)))
    if no_ipv6:  # what brings it brings the rest
        hints += _for_ipv6(found)
    if limit.served is not None and limit.served.udp and not limit.served.inner:
        hints.append(f"for UDP: {_for_udp()}")
    return hints


def for_refusal(error: NonetError, asked: str | None, how: str) -> list[str]:
    """Return what would bring a level that cannot be had."""
    level = asked or levels.DEFAULT
    found = landlock.probe()
    hints = []
    needed = levels.abi_needed(level)
    if how != RLIMIT and found.abi < needed:
        hints.append(_for_landlock(found, needed))
    if seccomp_missing := _for_seccomp():
        hints.append(seccomp_missing)
    elif level == levels.LOOPBACK and (tcp_missing := _for_tcp()):
        hints.append(tcp_missing)
    return hints or ([error.hint] if error.hint else [])


def for_killed() -> list[str]:
    """Return what would keep a sandbox from ending who puts a limit on."""
    seccomp_missing = _for_seccomp()
    return (
        [seccomp_missing] if seccomp_missing else [f"allow the landlock_* system calls {_AROUND}"]
    )


def outer_filter() -> bool:
    """Return whether a seccomp filter is on already (proc_pid_status(5)); without /proc: no."""
    return any(line.split() == ["Seccomp:", "2"] for line in _read("/proc/self/status"))


def _read(path: str) -> list[str]:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read().splitlines()
    except OSError:
        return []


def _for_landlock(found: landlock.Landlock, needed: int) -> str:
    version = f"Linux {_SINCE[needed]} or later"
    if found.abi:
        return version
    if outcome(kernel.landlock_abi) != errno.ENOSYS:
        return f"{found.hint or 'let Landlock answer'}; it takes {version}"
    hidden = f", or allow the landlock_* system calls {_AROUND}" if outer_filter() else ""
    return f"{version}, built with CONFIG_SECURITY_LANDLOCK=y{hidden}"


def _for_seccomp() -> str | None:
    """Return what would bring filters; None: they are there."""
    family = seccomp.family(os.uname().machine)
    met = 0 if family is None else outcome(lambda: _install_a_filter(family))
    if not met:
        return None
    if outer_filter():
        return f"allow the seccomp system call {_AROUND}"
    return "Linux 4.17 or later, built with CONFIG_SECCOMP_FILTER=y"


def _install_a_filter(family: str) -> None:
    import prctl

    prctl.set_no_new_privs(1)
    kernel.seccomp_set_mode_filter(kernel.seccomp_number(family), _ALLOW_ALL)


# --- level loopback ---


def _for_tcp() -> str | None:
    met = outcome(lambda: _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM))
    if not met:
        return None
    if outer_filter():
        return f"allow AF_INET sockets {_AROUND}"
    return "a kernel built with CONFIG_INET=y, where sockets are allowed"


def _for_udp() -> str:
    """Return what would bring an empty network namespace, which cannot be had."""
    for parameter, value, hint in _SYSCTLS:
        if _read(f"/proc/sys/{parameter}") == [value]:
            return hint
    if outcome(_leave_network) == errno.EINVAL:
        return "a kernel built with CONFIG_NET_NS=y and CONFIG_USER_NS=y"
    if outer_filter():
        return f"allow unshare(2) with CLONE_NEWUSER and CLONE_NEWNET {_AROUND}"
    return "leave to make user namespaces, which a chroot or a security module denies"


def _leave_network() -> None:
    look.leave_network()
    look.set_up_lo(_socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM))


def _for_ipv6(found: landlock.Landlock) -> list[str]:
    """Return what would bring TCP over IPv6: Landlock, and a broker that may look."""
    import prctl

    hints = []
    if found.abi < _IPV6_ABI:
        hints.append(_for_landlock(found, _IPV6_ABI))
    if prctl.cap_permitted.setuid and not prctl.cap_effective.sys_ptrace:
        hints.append("for IPv6: CAP_SYS_PTRACE; for a container --cap-add SYS_PTRACE")
    elif _read(_YAMA) not in ([], ["0"]) and not prctl.cap_effective.sys_ptrace:
        hints.append("for IPv6: sysctl kernel.yama.ptrace_scope=0, or root")
    elif not hints:
        hints.append(f"for IPv6: allow process_vm_readv(2) and pidfd_getfd(2) {_AROUND}")
    return hints
