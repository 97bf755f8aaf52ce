# SPDX-License-Identifier: GPL-3.0-or-later
"""The probe under nonet at one level, and what comes of each attempt."""

from __future__ import annotations

import json
import subprocess
import sys
from errno import ENETUNREACH, EPERM
from pathlib import Path
from typing import Any

from base import (
    ANY,
    ATTEMPTS,
    BARE,
    DECOY,
    GROUP,
    LOOPBACK,
    NO_EFFECT,
    NONE,
    SUCCESS,
    UNSEEN,
    Attempt,
)  # fmt: skip
from network import DECOY4, DECOY6, destination, is_reset, names_a_group
from world import PYTHON, Victim, World, hold

from nonet import levels

PROBE = Path(__file__).with_name("probe.py")

# Level none on a kernel without Landlock, where the filter stands in for the domain:
# what is left open (-v says so), and what is refused inside, too.
UNDOMAINED = "none-without-landlock"
INNER_REFUSAL = "cannot enforce level unix"
ODD = "odd: "  # an attempt that ends in what is neither a success nor an errno: a part of its text
WITHOUT_DOMAIN = {
    "run_nonet_and_ask_for_more": INNER_REFUSAL,
    "proc_mem_outside": SUCCESS,
    "all_of_it_inside": EPERM,
    # Kept, and open-ended: no filter sees where it sends.
    "sendmsg_from_a_kept_datagram_socket_to_an_abstract_name": SUCCESS,
}
CELLS = {row.key: row.cells for row in levels.ROWS}


class Subject:
    """One launch of the probe; it makes its attempts one after the other.

    `words` start it where something else than nonet limits it.
    """

    def __init__(
        self,
        world: World,
        level: str,
        *,
        prefix: list[str | bytes],
        nonet: list[str],
        probe: Path,
        environ: dict[str, str],
        options: tuple[str, ...] = (),
        words: list[str | bytes] | None = None,
    ) -> None:
        self.world = world
        self.level = level
        asked = NONE if level == UNDOMAINED else level
        mine = [a for a in ATTEMPTS.values() if level == BARE or asked in a.at]
        # At loopback a TCP socket that is not tied to lo is not handed over, unless it is kept.
        self.holdings = {a.name: hold(world, a.hold, tied=level == LOOPBACK) for a in mine}
        self.victim = Victim(prefix)
        kept = [
            fd for a in mine if a.keep or self._leads_out(a) for fd in self.holdings[a.name].fds
        ]
        keep = [f"--keep={fd}" for fd in kept]
        limit = [] if level == BARE else [*nonet, *options, "--allow", asked, *keep, "--"]
        self.process = subprocess.Popen(
            words or [*prefix, *limit, PYTHON, "-I", "-S", str(probe)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[fd for holding in self.holdings.values() for fd in holding.fds],
            env=environ,
            cwd="/",
        )
        self.places = {
            **world.places,
            "victim": self.victim.pid,
            "victim-address": self.victim.address,
            "nonet": nonet[-1],
        }

    def _leads_out(self, attempt: Attempt) -> bool:
        return self.level == LOOPBACK and attempt.hold in ("far", "far6")

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        self.victim.close()

    def count(self, attempt: Attempt) -> int:
        """Return how much has reached the other side of an attempt."""
        if attempt.seen in (None, DECOY, GROUP):
            return 0
        if attempt.seen == "victim":
            return self.victim.touched()
        own = self.holdings[attempt.name].count
        return own() if own else self.world.counts[attempt.seen]

    def make(self, name: str, *, bare: bool = False) -> tuple[dict[str, Any], int, int]:
        """Make an attempt. Return its answer, what was seen of it, and packets that got out.

        `bare`: nothing refuses it, as nothing does at BARE.
        """
        attempt = ATTEMPTS[name]
        order = {"name": name, "fds": self.holdings[name].fds, "places": self.places}
        self.world.quieten(bare=bare or self.level == BARE)
        before = self.count(attempt)
        with self.world.network.capture() as packets:
            assert self.process.stdin is not None
            assert self.process.stdout is not None
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        if attempt.row == "reached":  # what the host answers to a call that nobody takes
            packets = [frame for frame in packets if not is_reset(frame)]
        if self.level != BARE:  # a failure is to say what got out
            for frame in packets:
                print(f"{name}: {frame[:96].hex()}", file=sys.stderr)
        answer = json.loads(line) if line else {"odd": "the probe did not run"}
        if attempt.row == "held-steer" and attempt.hold:
            self.holdings[name].disconnect()  # what went astray is not sent again and again
        if attempt.seen == DECOY:
            return answer, sum(destination(p) in (DECOY4, DECOY6) for p in packets), len(packets)
        if attempt.seen == GROUP:
            return answer, sum(names_a_group(p) for p in packets), len(packets)
        return answer, self.count(attempt) - before, len(packets)


def expected(attempt: Attempt, level: str) -> object:
    """Return what the contract says of an attempt: an errno, a signal, or a word of base."""
    if level == UNDOMAINED:
        level = NONE
        if attempt.name in WITHOUT_DOMAIN:
            return WITHOUT_DOMAIN[attempt.name]
    if level in attempt.expect:
        return attempt.expect[level]
    if level == BARE:
        return SUCCESS
    cell = CELLS[attempt.row][level]
    if cell in levels.ERRNOS:
        return frozenset(levels.ERRNOS[cell])
    if cell == levels.FAILS:
        return ENETUNREACH
    return {levels.NO_EFFECT: NO_EFFECT, levels.IMPOSSIBLE: EPERM}.get(cell, SUCCESS)


def departure(
    attempt: Attempt,
    level: str,
    result: tuple[dict[str, Any], int, int],
    wanted: object = None,
) -> str:
    """Return how a result departs from what is expected; empty if it does not.

    `wanted` is what to expect where something else than nonet limits it.
    """
    answer, seen, packets = result
    if wanted is None:
        wanted = expected(attempt, level)
    success = wanted == SUCCESS
    if wanted in (SUCCESS, UNSEEN):
        holds = answer == {"ok": None}
    elif wanted == NO_EFFECT:
        holds = answer == {"ok": NO_EFFECT}
    elif wanted == INNER_REFUSAL:
        holds = INNER_REFUSAL in answer.get("odd", "")
    elif isinstance(wanted, str) and wanted.startswith(ODD):
        holds = wanted.removeprefix(ODD) in answer.get("odd", "")
    elif wanted == ANY:
        holds = answer.get("errno") != EPERM and "odd" not in answer
    elif isinstance(wanted, int) and wanted < 0:
        holds = answer == {"signal": -wanted}
    else:
        holds = answer.get("errno") in (wanted if isinstance(wanted, frozenset) else {wanted})
    if attempt.seen and (seen > 0) != success:
        holds = False
    if level != BARE and packets:
        holds = False
    return "" if holds else f"{answer}, {seen} seen, {packets} packets out; expected {wanted}"
