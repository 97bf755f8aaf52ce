# SPDX-License-Identifier: GPL-3.0-or-later
"""--check: the truth about this machine, held to what a launch on it then does.

This machine is made into others: by sandboxes around nonet, by limits around it, and by
namespaces.
"""

from __future__ import annotations

import errno
import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from base import NR
from told import PYTHON, outer

from nonet.levels import LEVELS, LOOPBACK

if TYPE_CHECKING:
    from conftest import Machine

HERE = Path(__file__).parent
ARCHITECTURE = NR["socket"]  # 41: x86-64, 198: arm64
UNSHARE = {41: 272, 198: 97}[ARCHITECTURE]
SELECT = {41: (23, 270), 198: (72,)}[ARCHITECTURE]  # select(2) and pselect6(2)
CREATE_RULESET, RESTRICT_SELF = 444, 446
KILLS = 0x8000_0000  # in the place of an errno: SECCOMP_RET_KILL_PROCESS

# What becomes of the default and of each level: exact, tightened, refused, not exact.
X, T, R, N = "exact", "tightened", "refused", "not exact"
ALL_EXACT, ALL_REFUSED, NO_LANDLOCK = [X] * 5, [R] * 5, [T, X, R, R, X]
NO_LOOPBACK = [X, X, X, X, R]


class Place:
    """A machine made of this one: the words before nonet, its options, and what is so there.

    `hints` are, by level, what a hint there has to name.
    """

    def __init__(
        self,
        verdicts: list[str],
        *before: str,
        options: tuple[str, ...] = (),
        unshared: tuple[str, ...] = (),
        hints: dict[str, str] | None = None,
    ) -> None:
        self.verdicts = dict(zip(("default", *LEVELS), verdicts, strict=True))
        self._before = before
        self.options = options
        self._unshared = unshared
        self.hints = hints or {}

    def nonet(self, machine: Machine, *words: str) -> list[str]:
        """Return the words that run nonet there, with words of its own."""
        user = ["--user", "--map-root-user"] if machine.uid else []
        namespaces = ["unshare", *user, *self._unshared] if self._unshared else []
        before = [machine.nonet if word == "NONET" else word for word in self._before]
        return [*namespaces, *before, machine.nonet, *self.options, *words]


def inside(level: str, depth: int = 1) -> list[str]:
    """Return the words of limits around."""
    return ["NONET", "--allow", level, "--"] * depth


WITHOUT_PROC = ("sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh")
PROFILE = "in the seccomp profile of the container or sandbox"
LANDLOCK, SECCOMP = "landlock_* system calls", "seccomp system call"
WATCHED = [PYTHON, "-I", "-S", "-c", (HERE / "watched.py").read_text()]
PLACES = {
    "as it is": Place(ALL_EXACT),
    "by seccomp alone": Place(ALL_EXACT, options=("--limit", "seccomp")),
    "by a limit that is not there": Place(
        ALL_REFUSED, options=("--limit", "rlimit"), hints={"path": "--limit seccomp"}
    ),
    "Landlock hidden": Place(
        NO_LANDLOCK,
        *outer(errno.ENOSYS, CREATE_RULESET),
        hints={"path": "Linux 6.12 or later, built with CONFIG_SECURITY_LANDLOCK=y, or allow the "
               + LANDLOCK, "unix": "Linux 6.7", "none": "Linux 5.19", "loopback": "Linux 6.7"},
    ),
    "Landlock switched off": Place(
        NO_LANDLOCK,
        *outer(errno.EOPNOTSUPP, CREATE_RULESET),
        hints={"path": "boot with 'landlock' in the kernel's lsm= parameter; it takes Linux 6.12"},
    ),
    "Landlock forbidden": Place(
        NO_LANDLOCK, *outer(errno.EPERM, CREATE_RULESET), hints={"path": LANDLOCK}
    ),
    "seccomp forbidden": Place(
        ALL_REFUSED,
        *outer(errno.EPERM, NR["seccomp"]),
        hints=dict.fromkeys(LEVELS, f"allow the {SECCOMP}"),
    ),
    "seccomp hidden": Place(
        ALL_REFUSED,
        *outer(errno.ENOSYS, NR["seccomp"]),
        hints=dict.fromkeys(LEVELS, f"allow the {SECCOMP}"),
    ),
    "both hidden": Place(
        ALL_REFUSED,
        *outer(errno.ENOSYS, NR["seccomp"], CREATE_RULESET),
        hints={"path": LANDLOCK, "none": SECCOMP},
    ),
    "namespaces forbidden": Place(
        ALL_EXACT, *outer(errno.EPERM, UNSHARE), hints={"loopback": "for UDP: allow unshare(2)"}
    ),
    "no namespaces in the kernel": Place(
        ALL_EXACT, *outer(errno.EINVAL, UNSHARE), hints={"loopback": "for UDP: a kernel built with"}
    ),
    "a broker that may not look": Place(
        ALL_EXACT,
        *outer(errno.EPERM, NR["pidfd_getfd"]),
        hints={"loopback": "for IPv6: allow process_vm_readv(2) and pidfd_getfd(2)"},
    ),
    "no sockets": Place(
        NO_LOOPBACK,
        *outer(errno.EAFNOSUPPORT, NR["socket"]),
        hints={"loopback": "allow AF_INET sockets"},
    ),
    "a listener around": Place(NO_LOOPBACK, *WATCHED, hints={"loopback": "listens already"}),
    "inside none": Place(NO_LOOPBACK, *inside("none"), hints={"loopback": "AF_INET"}),
    "inside path": Place(NO_LOOPBACK, *inside("path"), hints={"loopback": "AF_INET"}),
    "inside unix": Place(NO_LOOPBACK, *inside("unix"), hints={"loopback": "AF_INET"}),
    # The broker around binds what the limit inside keeps from bind(2): held TCP sockets.
    "inside loopback": Place([N, X, N, N, X], *inside("loopback")),
    "inside 16 Landlock domains": Place(
        ALL_REFUSED, *inside("none", 16), hints={"path": "16 domains can be nested"}
    ),
    "without /proc": Place(
        NO_LOOPBACK, *WITHOUT_PROC, unshared=("--mount",),
        hints={"loopback": "mount -t proc proc /proc"},
    ),
    "without a list of descriptors": Place(
        ALL_REFUSED, *WITHOUT_PROC, *outer(errno.EPERM, *SELECT), unshared=("--mount",),
        hints={"path": "mount /proc, or close all", "loopback": "mount -t proc"},
    ),
    "without a list, and all closed": Place(
        NO_LOOPBACK, *WITHOUT_PROC, *outer(errno.EPERM, *SELECT), unshared=("--mount",),
        options=("-x",), hints={"loopback": "mount -t proc proc /proc"},
    ),
    "with another's /proc": Place(
        NO_LOOPBACK, unshared=("--pid", "--fork"), hints={"loopback": "mount -t proc"}
    ),
    "as the first process": Place(ALL_EXACT, unshared=("--pid", "--fork", "--mount-proc")),
    "without a network": Place(ALL_EXACT, unshared=("--net",)),
    "no more namespaces": Place(
        ALL_EXACT,
        "sh", "-c", 'echo 0 >/proc/sys/user/max_net_namespaces && exec "$@"', "sh",
        unshared=("--user", "--map-root-user"),
        hints={"loopback": "for UDP: sysctl user.max_net_namespaces"},
    ),
    # Sandboxes that say yes, and do nothing.
    "Landlock pretended": Place([N] * 5, *outer(0, RESTRICT_SELF)),
    "seccomp pretended": Place([N, N, N, N, R], *outer(0, NR["seccomp"])),
}  # fmt: skip
every_place = pytest.mark.parametrize("place", PLACES.values(), ids=list(PLACES))


def answer(machine: Machine, place: Place, *words: str) -> dict[str, Any]:
    ended = machine.run(*place.nonet(machine, *words, "--check", "--json"))
    assert ended.stderr == b""
    found: dict[str, Any] = json.loads(ended.stdout)
    assert ended.returncode == (0 if found["exact"] else 125)
    return found


@every_place
def test_every_verdict_is_what_a_launch_then_does(machine: Machine, place: Place) -> None:
    found = answer(machine, place)["levels"]
    assert {level: one["verdict"] for level, one in found.items()} == place.verdicts
    for level, one in found.items():
        asked = [] if level == "default" else ["--allow", level]
        launch = machine.run(*place.nonet(machine, *asked, "-v", "true"))
        lines = [line.removeprefix("nonet: ") for line in launch.stderr.decode().splitlines()]
        if one["verdict"] == R:
            assert launch.returncode == 125
            (why,) = [line for line in lines if line.startswith("cannot ")]
            assert why.endswith(one["reason"])
            continue
        assert launch.returncode == 0  # of "not exact", a launch knows nothing
        tightened = f"level none instead of path: {one['reason']}"
        assert (lines[0] == tightened) == (one["verdict"] == T)
        head, *rest = lines[one["verdict"] == T :]
        assert head.startswith(f"level {one['level']}: ")
        assert rest == one["enforced_by"]


@every_place
def test_a_hint_says_what_would_bring_what_is_missing(machine: Machine, place: Place) -> None:
    found = answer(machine, place)["levels"]
    for level, hint in place.hints.items():
        assert any(hint in each for each in found[level]["hints"]), found[level]
    # Where nothing is missing, nothing is said.
    for level, one in found.items():
        if level not in place.hints and one["verdict"] == X and "Landlock" in one["mechanisms"]:
            assert one["hints"] == []


@pytest.mark.parametrize("name", ["as it is", "Landlock hidden", "a listener around"])
def test_it_exits_0_if_the_level_of_allow_is_exact(machine: Machine, name: str) -> None:
    place = PLACES[name]
    for level in LEVELS:
        found = answer(machine, place, "--allow", level)
        assert (found["asked"], found["exact"]) == (level, place.verdicts[level] == X)
    found = answer(machine, place)
    assert (found["asked"], found["exact"]) == ("path", place.verdicts["path"] == X)


def test_what_is_said_of_this_machine(machine: Machine) -> None:
    found = answer(machine, PLACES["as it is"])
    version = machine.run(machine.nonet, "-V").stdout.decode().split()[1]
    assert (found["nonet"], found["user"]) == (version, machine.uid)
    assert [found["kernel"], found["machine"]] == [os.uname().release, os.uname().machine]
    assert found["landlock"] >= 6
    assert not found["outer_filter"]
    assert answer(machine, PLACES["a listener around"])["outer_filter"]
    assert answer(machine, PLACES["Landlock hidden"])["landlock"] == 0


DIFFERS = {
    "as it is": {},
    # Told by the limit itself: nothing is said twice.
    "Landlock hidden": {},
    "namespaces forbidden": {},
    "a broker that may not look": {},
    "inside none": {
        "path": ["not here, with or without nonet: socket(AF_UNIX)"],
        "unix": ["not here, with or without nonet: connect(2) to an abstract name outside"],
    },
    "without a network": {"loopback": ["not here, with or without nonet: TCP over 127.0.0.1"]},
    "inside loopback": {"path": ["open: bind(2) on a held TCP socket, to 127.0.0.1"]},
    "Landlock pretended": {
        "none": ["open: pidfd_getfd(2) from a process outside"],
        "path": [
            "open: connect(2) to an abstract name outside",
            "open: connect(2) on a held TCP socket, to 127.0.0.1",
            "open: /proc/PID/mem of a process outside",
        ],
        "unix": ["open: bind(2) on a held TCP socket, to ::1"],
    },
    "seccomp pretended": {
        "none": ["open: socket(AF_UNIX)", "open: socketpair(AF_UNIX, DGRAM or RAW)"],
        "path": ["open: socket(AF_INET, SOCK_STREAM)", "open: request_key (DNS upcall)"],
    },
}


@pytest.mark.parametrize("name", DIFFERS)
def test_what_is_found_different_by_trying(machine: Machine, name: str) -> None:
    found = answer(machine, PLACES[name])["levels"]
    for level in LEVELS:
        lines = DIFFERS[name].get(level, [])
        assert set(lines) <= set(found[level]["differs"])
        if not DIFFERS[name]:
            assert found[level]["differs"] == []


def test_at_loopback_it_says_where_udp_or_ipv6_cannot_be_had_and_why(machine: Machine) -> None:
    for name, line in {
        "namespaces forbidden": "refused: UDP: no empty network namespace can be had (operation",
        "a broker that may not look": "refused: TCP over IPv6: the broker cannot look into the",
        "Landlock hidden": "refused: TCP over IPv6: bind(2) could untie it from lo, which takes",
    }.items():
        ended = machine.run(*PLACES[name].nonet(machine, "--check"))
        _, _, loopback = ended.stdout.decode().partition("\nloopback  exact: broker + seccomp")
        assert f"\n          {line}" in loopback


def test_a_sandbox_that_kills_for_seccomp_is_told(machine: Machine) -> None:
    """A launch dies of it, too."""
    place = Place(ALL_REFUSED, *outer(KILLS, NR["seccomp"]))
    found = answer(machine, place)["levels"]
    assert {level: one["verdict"] for level, one in found.items()} == place.verdicts
    for level in LEVELS[:-1]:
        assert found[level]["reason"] == f"whoever tries is ended by signal {signal.SIGSYS}"
        assert found[level]["hints"] == [f"allow the {SECCOMP} {PROFILE}"]
        launch = machine.run(*place.nonet(machine, "--allow", level, "true"))
        assert launch.returncode == -signal.SIGSYS
    assert found[LOOPBACK]["reason"] == "no broker can be started: a sandbox ends who tries"
    launch = machine.run(*place.nonet(machine, "--allow", LOOPBACK, "true"))
    assert (launch.returncode, launch.stdout) == (125, b"")


def test_a_sandbox_that_kills_for_an_attempt_is_as_good_as_a_refusal(machine: Machine) -> None:
    place = Place(ALL_EXACT, *outer(KILLS, NR["request_key"], NR["io_uring_setup"]))
    found = answer(machine, place)["levels"]
    assert {level: one["verdict"] for level, one in found.items()} == place.verdicts


# --- in words ---


@every_place
def test_the_words_fit_a_terminal_and_a_bug_report(machine: Machine, place: Place) -> None:
    ended = machine.run(*place.nonet(machine, "--check"))
    assert ended.stderr == b""
    lines = ended.stdout.decode().splitlines()
    assert max(len(line) for line in lines) < 80
    assert lines[0].startswith(f"nonet 0.1.0 on Linux {os.uname().release} (")
    starts = [line.split()[0] for line in lines[2:] if not line.startswith(" ")]
    assert starts == ["default", *LEVELS]
    text = " ".join(" ".join(lines).split())
    for level, verdict in place.verdicts.items():
        shown = "tightened to none" if verdict == T else verdict
        assert f" {level} {shown}: " in text
    for hint in place.hints.values():
        assert hint in text


def test_where_nobody_reads(machine: Machine) -> None:
    for redirection, why in ((">&-", "bad file descriptor"), (">/dev/full", "no space left")):
        ended = machine.run("sh", "-c", f'"$0" --check {redirection}', machine.nonet)
        assert ended.returncode == 125
        assert ended.stderr.decode().startswith(f"nonet: cannot write to standard output: {why}")


def test_where_nothing_can_be_found_out(machine: Machine) -> None:
    ended = machine.run("prlimit", "--nofile=8", machine.nonet, "--check")
    assert ended.stderr == b"nonet: cannot check this machine: too many open files\n"
    assert (ended.returncode, ended.stdout) == (125, b"")


# --- no trace ---

# In namespaces of its own, where everything that is left can be seen: processes, the dead
# ones too, and sockets with their names.
REMAINS = """
"$@" >/dev/null 2>&1
for place in /proc/[0-9]*; do
    test $place = /proc/$$ || cat $place/stat 2>/dev/null
done
sed 1d /proc/net/unix
find . -mindepth 1
true
"""


def remains(machine: Machine, *words: str) -> str:
    user = ["--user", "--map-root-user"] if machine.uid else []
    own = ["unshare", *user, "--pid", "--fork", "--mount-proc", "--net"]
    ended = machine.run(*own, "sh", "-c", REMAINS, "sh", *words)
    assert (ended.returncode, ended.stderr) == (0, b"")
    return ended.stdout.decode()


def test_nothing_is_left(machine: Machine) -> None:
    assert remains(machine, machine.nonet, "--check") == ""
    # What is left would be seen.
    broker = remains(
        machine, machine.nonet, "--allow", "loopback", "sh", "-c", "sleep 60 & : >file"
    )
    assert "(nonet-broker)" in broker
    assert "./file" in broker


def test_nothing_is_left_soon_after_it_is_killed(machine: Machine) -> None:
    script = """
    "$@" --check & sleep 0.{}; kill -KILL $!; wait
    for i in $(seq 300); do
        set -- /proc/[0-9]*  # nothing is started for it: the shell alone is to be there
        test $# -gt 1 || exit 0
        sleep 0.1
    done; ps -e; exit 1
    """
    user = ["--user", "--map-root-user"] if machine.uid else []
    own = ["unshare", *user, "--pid", "--fork", "--mount-proc", "--net"]
    for after in ("05", "15", "25"):
        ended = machine.run(*own, "sh", "-c", script.format(after), "sh", machine.nonet)
        assert ended.returncode == 0, ended.stdout


def test_children_that_it_inherits_are_not_waited_for(machine: Machine) -> None:
    script = 'sleep 600 & exec "$0" --check'
    own = ["unshare", *(["--user", "--map-root-user"] if machine.uid else [])]
    words = [*own, "--pid", "--fork", "--mount-proc", "sh", "-c", script, machine.nonet]
    assert machine.run(*words, timeout=60).returncode == 0


def test_where_the_end_of_a_child_is_ignored(machine: Machine) -> None:
    ignoring = "import os, signal, sys; signal.signal(17, 1); os.execv(sys.argv[1], sys.argv[1:])"
    ended = machine.run(PYTHON, "-c", ignoring, machine.nonet, "--check")
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_nothing_leaves_this_machine(machine: Machine) -> None:
    with machine.network.capture() as packets:
        for name in ("as it is", "seccomp pretended", "Landlock pretended"):
            answer(machine, PLACES[name])
    assert packets == []
