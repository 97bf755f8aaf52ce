# SPDX-License-Identifier: GPL-3.0-or-later
"""The exported directives, enforced by a real systemd: the contract's table in a unit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from errno import EAFNOSUPPORT, EPERM
from pathlib import Path
from signal import SIGSYS
from typing import TYPE_CHECKING

import acquire  # noqa: F401 - registers its attempts, as the next two do
import doors  # noqa: F401
import holding  # noqa: F401
import pytest
from base import ATTEMPTS, BARE, NONE, PATH, UNIX, Attempt
from network import Network
from subject import ODD, Subject, departure, expected
from world import PYTHON, World

from nonet import levels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from booted import Booted

pytest_plugins = ("booted",)
HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
NETWORK = "/run/nonet-test-network"
NOBODY = 65534
USERS = {"root": 0, "unprivileged": NOBODY}
EXPORTED = (NONE, PATH, UNIX)
PRIVATE = "path-with-private-users"
LEVELS = (BARE, *EXPORTED, PRIVATE)

UNIT = """\
[Service]
ExecStart={python} -I -S {place}/holder.py {python} -I -S {place}/probe.py
StandardInput=socket
StandardOutput=socket
StandardError=journal
User={uid}
NetworkNamespacePath={network}
"""
SOCKET = """\
[Socket]
ListenStream={path}
Accept=yes
"""
# What a unit may say already, and a drop-in must not be widened by.
GENEROUS = """\
RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK AF_UNIX
SystemCallArchitectures=native x86
SystemCallFilter=~reboot
"""

# Rows that the directives leave open, as they say themselves.
OPEN = {
    NONE: {"socketpair-dgram", "held-steer", "held-join", "fastopen", "tty-input", "sctp-connectx"},
}
OPEN[UNIX] = OPEN[NONE] - {"socketpair-dgram"} | {"held-ulp", "held-aim"}
OPEN[PATH] = OPEN[UNIX] | {"abstract-outside"}
# Of other rows, what goes by a call, or by Landlock, that they leave open; and what cannot tell
# a refusal with EAFNOSUPPORT from the kernel's own.
BY_OTHER_WAYS = {
    NONE: {
        "inet_socketpair",
        "sendto_with_an_address",
        "autobind_by_passcred",
        "sendmsg_from_a_datagram_pair_to_an_abstract_name",
        "sendmsg_from_a_kept_datagram_socket_to_an_abstract_name",
        "proc_mem_outside",
    },
    PATH: {
        "ask_a_nested_nonet_for_abstract_names",
        "every_other_family",
        "inet_socketpair",
        "proc_mem_outside",
    },
    UNIX: {"every_other_family", "inet_socketpair", "proc_mem_outside"},
}
# In the directives' words, beside the rows: refused of socketpair(2) and sendto(2) alone.
IN_PART = {NONE: {"other-family", "held-aim"}, PATH: {"other-family"}, UNIX: {"other-family"}}
# systemd refuses families with an errno of its own, also where a child of the probe's tries;
# not where nonet's own filter is asked first, nor where a call in another convention is killed.
ROWS_OF_FAMILIES = {"inet-tcp", "inet-udp", "inet-other", "other-family", "raise"}
IN_A_CHILD = {"exec_another_program", "exec_a_set_user_id_program"}
AS_BY_NONET = {"x32_socket", "run_nonet_and_ask_for_more"}


def export(level: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "nonet", "--export", "systemd", "--allow", level],
        capture_output=True, check=True, cwd=ROOT, text=True,
    ).stdout  # fmt: skip


def limited_by(level: str) -> str:
    """Return the drop-in of a unit."""
    if level == BARE:
        return ""
    if level == PRIVATE:
        return export(PATH) + "PrivateUsers=yes\n"
    return export(level)


@pytest.fixture(scope="module")
def world(booted: Booted) -> Iterator[World]:
    """The servers, in a folder that has the same name here and in the booted system."""
    place = Path(f"/tmp/nonet-booted-{os.getpid()}")
    booted.path(str(place)).mkdir()
    place.symlink_to(booted.path(str(place)))
    usual = tempfile.gettempdir()
    with Network() as network, open(f"/run/netns/{network.inside}", "rb") as file:
        ipv4 = Path("/proc/sys/net/ipv4")
        network.call(network.inside, lambda: (ipv4 / "ping_group_range").write_text("0 65535"))
        network.call(network.inside, lambda: (ipv4 / "tcp_fastopen").write_text("3"))
        booted.path(NETWORK).touch()
        fd = file.fileno()
        ended = booted.run("mount", "-c", "--bind", f"/proc/self/fd/{fd}", NETWORK, pass_fds=[fd])
        assert ended.returncode == 0, ended.stderr
        tempfile.tempdir = str(place)
        try:
            made = World(network)
        finally:
            tempfile.tempdir = usual
        python = booted.run("readlink", "-f", PYTHON).stdout.strip()
        shutil.copy(booted.path(python), made.places["setuid-python"])
        Path(made.places["setuid-python"]).chmod(0o4755)
        yield made
        made.close()
        booted.run("umount", NETWORK)
    place.unlink()


@pytest.fixture(scope="module")
def subjects(booted: Booted, world: World) -> Iterator[dict[tuple[str, str], Subject]]:
    place = world.directory / "contract"
    shutil.copytree(ROOT / "tests/e2e/contract", place)
    shutil.copy(HERE / "holder.py", place)
    units = booted.path("/run/systemd/system")
    names = {(level, user): f"probe-{level}-{user}" for level in LEVELS for user in USERS}
    for (level, user), name in names.items():
        unit = UNIT.format(python=PYTHON, place=place, uid=USERS[user], network=NETWORK)
        (units / f"{name}@.service").write_text(unit + (GENEROUS if level != BARE else ""))
        (units / f"{name}.socket").write_text(SOCKET.format(path=f"/run/{name}.sock"))
        (units / f"{name}@.service.d").mkdir()
        (units / f"{name}@.service.d/nonet.conf").write_text(limited_by(level))
    booted.systemctl("daemon-reload")
    booted.systemctl("start", *(f"{name}.socket" for name in names.values()))
    made = {}
    for (level, user), name in names.items():
        uid = USERS[user]
        made[level, user] = subject = Subject(
            world,
            PATH if level == PRIVATE else level,
            prefix=[*booted.enter, "setpriv", f"--reuid={uid}", f"--regid={uid}",
                    "--clear-groups", "--"],
            nonet=["/usr/bin/nonet"],
            probe=place / "probe.py",
            environ={"PATH": "/usr/bin:/bin"},
            words=[PYTHON, "-I", "-S", str(HERE / "pass_on.py"),
                   str(booted.path(f"/run/{name}.sock"))],
        )  # fmt: skip
        _know_the_victim(subject)
    yield made
    for subject in made.values():
        subject.close()
    booted.systemctl("stop", *(f"{name}.socket" for name in names.values()))


def _know_the_victim(subject: Subject) -> None:
    """The victim is a child of nsenter(1), and has a number inside."""
    pid = subject.victim.pid
    subject.victim.pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text())
    status = Path(f"/proc/{subject.victim.pid}/status").read_text()
    (numbers,) = [line for line in status.splitlines() if line.startswith("NSpid:")]
    subject.places["victim"] = int(numbers.split()[-1])


def wanted(attempt: Attempt, level: str) -> object:
    """Return what is to come of an attempt in a unit."""
    if level == BARE or is_open(attempt, level):
        return expected(attempt, BARE)
    if attempt.name.startswith("i386_"):  # tighter than nonet
        return -SIGSYS
    if attempt.name == "all_of_it_inside":  # tighter, too
        return EPERM
    if level != NONE and attempt.row in ROWS_OF_FAMILIES and attempt.name not in AS_BY_NONET:
        in_a_child = attempt.name in IN_A_CHILD
        return f"{ODD}NotRefusedError({EAFNOSUPPORT}," if in_a_child else EAFNOSUPPORT
    return expected(attempt, level)


def is_open(attempt: Attempt, level: str) -> bool:
    return attempt.row in OPEN[level] or attempt.name in BY_OTHER_WAYS[level]


def _cases() -> Iterator[object]:
    """Yield what is refused before what is open, whose packets may come late."""
    for level in (BARE, *EXPORTED):
        known = [
            (level != BARE and is_open(attempt, level), user, attempt)
            for user, uid in USERS.items()
            for attempt in ATTEMPTS.values()
            if set(EXPORTED if level == BARE else (level,)) & set(attempt.at)
            # Else the kernel itself refuses what is open.
            if not (attempt.needs_root and uid and (level == BARE or is_open(attempt, level)))
        ]
        for _, user, attempt in sorted(known, key=lambda case: case[0]):
            name = f"{level}-{user}-{attempt.row}-{attempt.name}"
            yield pytest.param(level, user, attempt, id=name)


@pytest.mark.parametrize(("level", "user", "attempt"), list(_cases()))
def test_attempt(
    subjects: dict[tuple[str, str], Subject], level: str, user: str, attempt: Attempt
) -> None:
    bare = level == BARE or is_open(attempt, level)
    result = subjects[level, user].make(attempt.name, bare=bare)
    reference = BARE if bare else level
    assert departure(attempt, reference, result, wanted(attempt, level)) == ""


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize(
    "attempt", [a for a in ATTEMPTS.values() if a.row == "outside-process"], ids=lambda a: a.name
)
def test_private_users_hold_what_is_outside(
    subjects: dict[tuple[str, str], Subject], user: str, attempt: Attempt
) -> None:
    """The drop-in names this way out."""
    assert "PrivateUsers=yes" in export(PATH)
    assert departure(attempt, PATH, subjects[PRIVATE, user].make(attempt.name)) == ""


@pytest.mark.parametrize("level", EXPORTED)
def test_what_is_open_is_what_the_directives_say(level: str) -> None:
    text = export(level)
    said = {row.key for row in levels.ROWS if f": {row.attempt}\n" in text}
    by_landlock = {"abstract-outside", "held-aim"} if level != NONE else set()
    assert said == OPEN[level] - by_landlock | IN_PART[level]
    assert ("to keep abstract names outside out of reach" in text) == (level == PATH)
    assert ("to hold a TCP socket to its peer" in text) == (level != NONE)


@pytest.mark.parametrize("level", EXPORTED)
def test_systemd_accepts_them(booted: Booted, level: str) -> None:
    unit = "/run/systemd/system/exported.service"
    try:
        for more, status in ("", 0), ("SystemCallFilter=~no_such_call:EPERM\n", 1):
            text = f"{export(level)}{more}ExecStart=/bin/true\n"
            booted.path(unit).write_text(text)
            ended = booted.run("systemd-analyze", "verify", "--recursive-errors=no", unit)
            assert (ended.returncode, ended.stderr == "") == (status, not status), ended
    finally:
        booted.path(unit).unlink()
