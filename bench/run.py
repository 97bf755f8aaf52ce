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
import tempfile
import time
from pathlib import Path

ROUNDS = 31
GRANTS = (1, 4, 10, 100, 1000)
FROZEN = (0, 4, 100)  # grants in a frozen file
NONET = str(Path(sys.executable).with_name("nonet"))
TRUE = shutil.which("true") or "/bin/true"

PEERS = {
    "setpriv": ["setpriv", "--no-new-privs"],
    "unshare -Urn": ["unshare", "--user", "--map-root-user", "--net"],
    "bwrap": ["bwrap", "--dev-bind", "/", "/", "--unshare-net"],
    "firejail": ["firejail", "--quiet", "--noprofile", "--net=none"],
    "systemd-run": ["systemd-run", "--quiet", "--pipe", "--wait", "-p", "PrivateNetwork=yes"],
}


def granting(count: int) -> list[str]:
    """Return options that open so many sockets, and close whatever else is inherited."""
    return ["-x", *(w for n in range(count) for w in ("-l", f"n{n}=unix:@nonet-bench-{n}"))]


def rows(folder: str) -> dict[str, list[str]]:
    """Return the command of each row; peers that do not work here are left out, and said so."""
    found = {
        "true": [TRUE],
        "python -c pass": [sys.executable, "-c", "pass"],
        "nonet": [NONET, TRUE],
        "nonet --allow none": [NONET, "--allow", "none", TRUE],
    }
    for count in GRANTS:
        found[f"nonet, grants: {count}"] = [NONET, *granting(count), TRUE]
    for count in FROZEN:
        file = f"{folder}/frozen-{count}"
        options = granting(count) if count else []
        subprocess.run([NONET, "--freeze", file, *options, TRUE], check=True)
        found[f"frozen, grants: {count}" if count else "frozen"] = [file]
    for name, words in PEERS.items():
        if not shutil.which(words[0]):
            print(f"{name}: not installed")
        elif tried([*words, TRUE]):
            found[name] = [*words, TRUE]
        else:
            print(f"{name}: does not work here")
    return found


def tried(command: list[str]) -> bool:
    """Return whether a command works."""
    ended = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True)
    return ended.returncode == 0


def timed(command: list[str]) -> float:
    """Return the seconds that a command takes. Raises CalledProcessError if it fails."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    with tempfile.TemporaryDirectory() as folder:
        measure(rows(folder))


def measure(commands: dict[str, list[str]]) -> None:
    """Print the medians of commands that are run in turn."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(ROUNDS):
        print(f"\rround {number + 1} of {ROUNDS}", end="", file=sys.stderr, flush=True)
        for name, command in commands.items():
            times[name].append(timed(command))
    print(file=sys.stderr)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    beside = [name for name in ("true", "python -c pass", "unshare -Urn") if name in medians]
    heads = "".join(f" {'to ' + name.split()[0]:>10}" for name in beside)
    print(f"{'start-up, median of ' + str(ROUNDS):28} {'ms':>8}{heads}")
    for name, median in medians.items():
        ratios = "".join(f" {median / medians[other]:10.2f}" for other in beside)
        print(f"{name:28} {median * 1e3:8.2f}{ratios}")


main()
