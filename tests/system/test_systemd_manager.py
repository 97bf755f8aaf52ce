# SPDX-License-Identifier: GPL-3.0-or-later
"""What a real systemd does to services beside handing them sockets, with nonet between."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from units import (
    CONTROL,
    DYNAMIC,
    ELSEWHERE,
    KILLED,
    NOWHERE,
    PAGE,
    WEB,
    elsewhere,
    exec_start,
    failed,
    main_pid,
    refused,
)

if TYPE_CHECKING:
    from booted import Address, Booted

pytest_plugins = ("booted",)
OWN_CALLS = "seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self"
SANDBOX = """\
CapabilityBoundingSet=
LockPersonality=yes
MemoryDenyWriteExecute=yes
PrivateDevices=yes
PrivateNetwork=yes
PrivateTmp=yes
PrivateUsers=yes
ProcSubset=pid
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RestrictNamespaces=yes
RestrictRealtime=yes
SystemCallArchitectures=native"""


# --- users and privileges ---


def test_a_dynamic_user_under_no_new_privileges(box: Booted) -> None:
    box.change("web.service", "[Service]\nNoNewPrivileges=yes\n")
    box.systemctl("start", "web.socket", "web.service")
    facts = box.ask(WEB)
    assert facts["uid"] in DYNAMIC
    assert facts["status"] == {"NoNewPrivs": "1", "Seccomp": "2"}


def test_a_low_port_takes_the_capability(box: Booted) -> None:
    line = "/usr/bin/nonet --allow none -l 127.0.0.1:81 -- /usr/local/bin/web"
    box.change("web.service", exec_start(line))
    box.systemctl("start", "web.socket", "web.service")
    assert refused(box, "web.service") == [
        "nonet: cannot listen on 'tcp:127.0.0.1:81': permission denied",
        (
            "nonet: hint: a port below net.ipv4.ip_unprivileged_port_start"
            " takes CAP_NET_BIND_SERVICE"
        ),
    ]
    more = "AmbientCapabilities=CAP_NET_BIND_SERVICE\n"
    box.change("web.service", exec_start(line, more))
    box.systemctl("start", "web.service")
    assert box.ask(("127.0.0.1", 81))["uid"] in DYNAMIC


# --- stop and start again ---


UNITS = ("web", WEB), ("notify", CONTROL)


def start(box: Booted, unit: str) -> str:
    service = f"{unit}.service"
    box.systemctl("start", *(["web.socket"] if unit == "web" else []), service)
    return service


@pytest.mark.parametrize(("unit", "address"), UNITS)
def test_restart_gives_everything_anew(box: Booted, unit: str, address: Address) -> None:
    service = start(box, unit)
    first = box.ask(address)
    box.systemctl("restart", service)
    second = box.ask(address)
    box.systemctl("kill", "--kill-whom=main", "--signal=KILL", service)
    box.wait_for(service, NRestarts="1", ActiveState="active", SubState="running")
    third = box.ask(address)
    assert len({facts["pid"] for facts in (first, second, third)}) == 3
    assert third["pid"] == main_pid(box, service)
    for facts in (first, second, third):
        facts["environment"].pop("LISTEN_PIDFDID", None)
        assert facts["environment"].pop("LISTEN_PID") == str(facts.pop("pid"))
    assert first == second == third


@pytest.mark.parametrize(("unit", "address"), UNITS)
def test_stop_reaches_the_program(box: Booted, unit: str, address: Address) -> None:
    service = start(box, unit)
    box.ask(address)
    started = time.monotonic()
    box.systemctl("stop", service)
    assert time.monotonic() - started < 10  # systemd would kill it after 90 seconds
    shown = box.show(service, "Result", "ExecMainCode", "ExecMainStatus", "MainPID")
    assert shown == {
        "Result": "success", "ExecMainCode": KILLED, "ExecMainStatus": "15", "MainPID": "0"
    }  # fmt: skip


def test_what_is_refused_is_not_tried_again(box: Booted) -> None:
    box.change("web.service", exec_start("/usr/bin/nonet -o /nowhere -- /usr/local/bin/web"))
    box.systemctl("start", "web.socket", "web.service")
    assert refused(box, "web.service") == [
        "nonet: cannot open '/nowhere': no such file or directory"
    ]
    assert box.show("web.service", "NRestarts")["NRestarts"] == "0"


# --- what systemd itself does to a service ---

IGNORED = "nonet", "sh", "-c", 'trap "" PIPE; exec "$@"', "sh"  # as the manual says it


@pytest.mark.parametrize(
    ("words", "ignored"),
    [((), True), (("nonet",), False), (IGNORED, True)],
    ids=["without-nonet", "nonet", "ignored-again"],
)
def test_sigpipe_is_as_by_default(box: Booted, words: tuple[str, ...], *, ignored: bool) -> None:
    """systemd starts services with SIGPIPE ignored (IgnoreSIGPIPE=); nonet undoes that."""
    ended = box.run("systemd-run", "--quiet", "--wait", "--pipe",
                    *words, "grep", "SigIgn", "/proc/self/status")  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    assert bool(int(ended.stdout.split()[1], 16) & 1 << 12) == ignored


def sandboxed(box: Booted, lines: str) -> None:
    box.change("web.service", f"[Service]\nRestart=no\n{lines}\n")
    box.systemctl("start", "web.socket", "web.service")


def test_beside_the_rest_of_systemds_sandbox(box: Booted) -> None:
    sandboxed(box, SANDBOX)
    facts = box.ask(WEB, *ELSEWHERE.values())
    assert (facts["page"], elsewhere(facts)) == (PAGE, NOWHERE)


def test_a_system_call_filter_has_to_let_nonet_limit_itself(box: Booted) -> None:
    """Debian 12's @system-service has neither seccomp(2) nor Landlock."""
    sandboxed(box, f"SystemCallFilter=@system-service {OWN_CALLS}")
    facts = box.ask(WEB, *ELSEWHERE.values())
    assert (facts["page"], elsewhere(facts)) == (PAGE, NOWHERE)


def test_a_system_call_filter_that_refuses(box: Booted) -> None:
    sandboxed(box, "SystemCallFilter=@system-service\nSystemCallErrorNumber=EPERM")
    assert refused(box, "web.service") == [
        "nonet: cannot install the seccomp filter: operation not permitted",
        (
            "nonet: hint: an outer sandbox may forbid seccomp(2),"
            " or the kernel lack CONFIG_SECCOMP_FILTER"
        ),
    ]


def test_a_system_call_filter_that_kills(box: Booted) -> None:
    sandboxed(box, "SystemCallFilter=@system-service")
    killed_by_31 = {"Result": "signal", "ExecMainCode": KILLED, "ExecMainStatus": "31"}
    assert failed(box, "web.service") == killed_by_31


def test_restricted_address_families_hold_for_nonets_own_grants_too(box: Booted) -> None:
    """What the manager opened is handed over all the same."""
    sandboxed(box, "RestrictAddressFamilies=AF_UNIX")
    assert refused(box, "web.service") == [
        "nonet: cannot listen on 'tcp:127.0.0.1:8081': address family not supported by protocol"
    ]
    line = "/usr/bin/nonet --allow none -- /usr/local/bin/web"
    box.change("web.service", exec_start(line, "RestrictAddressFamilies=AF_UNIX\n"))
    box.systemctl("start", "web.service")
    assert elsewhere(box.ask(WEB, *ELSEWHERE.values())) == NOWHERE
