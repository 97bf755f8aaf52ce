# SPDX-License-Identifier: GPL-3.0-or-later
"""Services of a real systemd at level loopback: the broker starts and ends with them."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from test_systemd_manager import SANDBOX
from units import DYNAMIC, KILLED, main_pid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from booted import Booted

pytest_plugins = ("booted",)
HERE = Path(__file__).resolve().parent
ADDRESS = ("127.0.0.1", 8090)
UNIT = "lo.service"
TEXT = f"""\
[Service]
ExecStart=/usr/bin/nonet --allow loopback -- /usr/local/bin/lo {ADDRESS[1]}
[Install]
WantedBy=multi-user.target
"""
PROMPTLY = 5  # seconds: systemd kills what is left after 90
ALL = {"tcp4": "ok", "tcp6": "ok", "udp4": "ok"}


@pytest.fixture
def lo(box: Booted) -> Iterator[Booted]:
    """The booted system with a service that listens on loopback by itself."""
    program, unit = box.path("/usr/local/bin/lo"), box.path(f"/etc/systemd/system/{UNIT}")
    shutil.copyfile(HERE / "on_lo.py", program)
    program.chmod(0o755)
    unit.write_text(TEXT)
    box.systemctl("daemon-reload")
    box.systemctl("enable", UNIT)  # so that how it ended is not forgotten
    yield box
    box.systemctl("stop", UNIT)
    box.systemctl("disable", UNIT)
    unit.unlink()


def processes(box: Booted) -> list[str]:
    """Return the names of the processes that the service has."""
    group = box.show(UNIT, "ControlGroup")["ControlGroup"]
    if not group:
        return []
    try:
        pids = box.path(f"/sys/fs/cgroup{group}/cgroup.procs").read_text().split()
        return sorted(Path(f"/proc/{pid}/comm").read_text().strip() for pid in pids)
    except FileNotFoundError:  # with its last process the group goes, too
        return []


def stop(box: Booted) -> None:
    """Stop it: all its processes end by themselves, at once."""
    began = time.monotonic()
    box.systemctl("stop", UNIT)
    assert time.monotonic() - began < PROMPTLY
    assert processes(box) == []
    shown = box.show(UNIT, "Result", "ExecMainCode", "ExecMainStatus", "MainPID")
    assert shown == {
        "Result": "success", "ExecMainCode": KILLED, "ExecMainStatus": "15", "MainPID": "0"
    }  # fmt: skip
    assert "Killing" not in box.log(UNIT)
    assert "left-over" not in box.log(UNIT)


@pytest.mark.parametrize("kind", ["simple", "exec", "notify"])
def test_it_starts_is_reached_and_stops(lo: Booted, kind: str) -> None:
    lo.change(UNIT, f"[Service]\nType={kind}\n")
    lo.systemctl("start", UNIT)
    facts = lo.ask(ADDRESS)
    assert facts == {"pid": main_pid(lo, UNIT), "uid": 0, "sockets": ALL}
    assert processes(lo) == ["lo", "nonet-broker", "nonet-broker"]
    stop(lo)


def test_it_is_started_again(lo: Booted) -> None:
    lo.change(UNIT, "[Service]\nType=notify\nRestart=on-failure\nRestartSec=0\n")
    lo.systemctl("start", UNIT)
    pids = [lo.ask(ADDRESS)["pid"]]
    lo.systemctl("restart", UNIT)
    pids.append(lo.ask(ADDRESS)["pid"])
    lo.systemctl("kill", "--kill-whom=main", "--signal=KILL", UNIT)
    lo.wait_for(UNIT, NRestarts="1", ActiveState="active", SubState="running")
    pids.append(lo.ask(ADDRESS)["pid"])
    assert len(set(pids)) == 3
    assert processes(lo) == ["lo", "nonet-broker", "nonet-broker"]
    stop(lo)


def test_it_is_reloaded_by_a_signal_to_all(lo: Booted) -> None:
    """The program ignores it, and so does the broker."""
    line = "/usr/bin/nonet --allow loopback -- /bin/sh -c "
    line += f"\"trap '' HUP; exec /usr/local/bin/lo {ADDRESS[1]}\""
    lo.change(UNIT, f"[Service]\nType=notify\nExecStart=\nExecStart={line}\n")
    lo.systemctl("start", UNIT)
    lo.systemctl("kill", "--kill-whom=all", "--signal=HUP", UNIT)
    assert lo.ask(ADDRESS)["sockets"] == ALL
    stop(lo)


def test_beside_the_rest_of_systemds_sandbox(lo: Booted) -> None:
    """Without namespaces there is no UDP."""
    more = "DynamicUser=yes\nType=notify\nPrivateNetwork=no\n"
    lo.change(UNIT, f"[Service]\n{SANDBOX}\n{more}")
    lo.systemctl("start", UNIT)
    facts = lo.ask(ADDRESS)
    assert facts["uid"] in DYNAMIC
    assert facts["sockets"] == {**ALL, "udp4": "EPERM"}
    assert processes(lo) == ["lo", "nonet-broker"]
    stop(lo)
