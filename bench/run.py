# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make bench` runs: how long it takes to start a program, bare, under nonet, under peers.

Every round runs each row once, so that a busy moment of the machine falls on all of
them; the table gives medians and each row's ratio to the bare program.
"""

from __future__ import annotations

import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 31
GRANTS = (1, 10, 100, 1000)
NONET = str(Path(sys.executable).with_name("nonet"))
TRUE = shutil.which("true") or "/bin/true"

PEERS = {
    "setpriv": ["setpriv", "--no-new-privs"],
    "unshare -Urn": ["unshare", "--user", "--map-root-user", "--net"],
    "bwrap": ["bwrap", "--dev-bind", "/", "/", "--unshare-net"],
    "firejail": ["firejail", "--quiet", "--noprofile", "--net=none"],
}


def rows() -> dict[str, list[str]]:
    """Return the command of each row; peers that are not installed are left out, and said so."""
    found = {
        "true": [TRUE],
        "python -c pass": [sys.executable, "-c", "pass"],
        "nonet": [NONET, TRUE],
        "nonet --allow none": [NONET, "--allow", "none", TRUE],
    }
    for count in GRANTS:
        words = [w for n in range(count) for w in ("-l", f"n{n}=unix:@nonet-bench-{n}")]
        found[f"nonet, grants: {count}"] = [NONET, "-x", *words, TRUE]
    for name, words in PEERS.items():
        if shutil.which(words[0]):
            found[name] = [*words, TRUE]
        else:
            print(f"{name}: not installed")
    return found


def timed(command: list[str]) -> float:
    """Return the seconds that a command takes. Raises CalledProcessError if it fails."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    commands = rows()
    times: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(ROUNDS):
        print(f"\rround {number + 1} of {ROUNDS}", end="", file=sys.stderr, flush=True)
        for name, command in commands.items():
            times[name].append(timed(command))
    print(file=sys.stderr)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    print(f"{'start-up, median of ' + str(ROUNDS):28} {'ms':>8} {'to true':>8} {'to python':>10}")
    for name, median in medians.items():
        bare, python = median / medians["true"], median / medians["python -c pass"]
        print(f"{name:28} {median * 1e3:8.1f} {bare:8.1f} {python:10.2f}")


main()
