# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests know of the units: addresses, who runs them, what was refused and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from booted import Booted

_FOLDER = Path(__file__).resolve().parent.parent.parent / "examples"
EXAMPLES = [path for path in _FOLDER.iterdir() if path.suffix in (".service", ".socket")]
WEB, WEB_PATH, STATUS = ("127.0.0.1", 8080), "/run/web.sock", ("127.0.0.1", 8081)
UDP, INETD, CONTROL = ("127.0.0.1", 5300), ("127.0.0.1", 7777), "/run/notify/control"
PAGE_PATH, PAGE = "/srv/web/index.html", "the page\n"

# A service outside the limit, on one socket of every kind: it counts who reaches it.
WITNESS = ("127.0.0.1", 9000)
WITNESS_UNITS = {
    "witness.socket": """\
[Socket]
ListenStream=127.0.0.1:9000
ListenDatagram=127.0.0.1:9000
ListenStream=/run/witness.sock
ListenStream=@witness
""",
    "witness.service": """\
[Service]
Type=exec
ExecStart=/usr/local/bin/witness
""",
}
ELSEWHERE = {
    "tcp": ("AF_INET", "SOCK_STREAM", WITNESS),
    "udp": ("AF_INET", "SOCK_DGRAM", WITNESS),
    "path": ("AF_UNIX", "SOCK_STREAM", "/run/witness.sock"),
    "abstract": ("AF_UNIX", "SOCK_STREAM", "@witness"),
}
NOWHERE = dict.fromkeys(ELSEWHERE, "EPERM")
PATH_ALONE = NOWHERE | {"path": "ok"}

EXITED, KILLED = "1", "2"  # CLD_EXITED, CLD_KILLED (sigaction(2))
WWW_DATA = 33  # on every Debian (base-passwd)
DYNAMIC = range(61184, 65520)  # the users that DynamicUser= takes from (systemd.exec(5))


def elsewhere(facts: dict[str, Any]) -> dict[str, str]:
    """Return what became of the attempts in ELSEWHERE."""
    return dict(zip(ELSEWHERE, facts["attempts"], strict=True))


def exec_start(line: str, more: str = "") -> str:
    """Return the lines that replace what a service starts."""
    return f"[Service]\nExecStart=\nExecStart={line}\n{more}"


def failed(box: Booted, unit: str) -> dict[str, str]:
    """Return how a unit's main process ended, when the unit has failed."""
    box.wait_for(unit, ActiveState="failed")
    return box.show(unit, "Result", "ExecMainCode", "ExecMainStatus")


def refused(box: Booted, unit: str) -> list[str]:
    """Return what nonet said when it refused to run a unit's program."""
    exit_125 = {"Result": "exit-code", "ExecMainCode": EXITED, "ExecMainStatus": "125"}
    assert failed(box, unit) == exit_125
    return [line for line in box.log(unit).splitlines() if line.startswith("nonet: ")]


def main_pid(box: Booted, unit: str) -> int:
    return int(box.show(unit, "MainPID")["MainPID"])
