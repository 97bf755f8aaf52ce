# SPDX-License-Identifier: GPL-3.0-or-later
"""What the services of a real systemd are handed by nonet, and that they can get no more."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Any

from units import (
    CONTROL,
    ELSEWHERE,
    EXAMPLES,
    INETD,
    NOWHERE,
    PAGE,
    PATH_ALONE,
    STATUS,
    UDP,
    WEB,
    WEB_PATH,
    WITNESS,
    WWW_DATA,
    elsewhere,
    exec_start,
    main_pid,
    refused,
)

if TYPE_CHECKING:
    from booted import Booted

pytest_plugins = ("booted",)
DAEMON_AT_NONE = (
    "/usr/bin/nonet --allow none -l control=/run/notify/control -- /usr/local/bin/daemon"
)


def environment(count: int, names: str, pid: int) -> dict[str, str]:
    return {"LISTEN_FDS": str(count), "LISTEN_PID": str(pid), "LISTEN_FDNAMES": names}


def told(facts: dict[str, Any]) -> dict[str, str]:
    """Return what the environment tells of descriptors; LISTEN_PIDFDID hangs on the kernel."""
    return {k: v for k, v in facts["environment"].items() if k != "LISTEN_PIDFDID"}


def test_the_examples_are_in_order(box: Booted) -> None:
    files = [f"/etc/systemd/system/{unit.name}" for unit in EXAMPLES]
    assert len(files) >= 7
    ended = box.run("systemd-analyze", "verify", *files)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


# --- web: descriptors of the manager's and nonet's own, at none ---


def test_the_managers_descriptors_come_first(box: Booted) -> None:
    box.systemctl("start", "web.socket", "web.service")
    over_tcp, over_path, own = box.ask(WEB), box.ask(WEB_PATH), box.ask(STATUS)
    assert [over_tcp["on"], over_path["on"], own["on"]] == [3, 4, 5]
    pid = main_pid(box, "web.service")
    assert over_tcp["pid"] == over_path["pid"] == own["pid"] == pid
    assert told(own) == {
        **environment(4, "web:web:status:page", pid),
        "NONET_FD_STATUS": "5",
        "NONET_FD_PAGE": "6",
    }
    assert own["arguments"] == ["--page-fd", "6"]
    assert own["page"] == PAGE


def test_a_visitor_starts_it(box: Booted) -> None:
    box.systemctl("start", "web.socket")
    assert box.show("web.service", "ActiveState")["ActiveState"] == "inactive"
    assert box.ask(WEB_PATH)["page"] == PAGE


def test_nothing_else_can_be_reached(box: Booted) -> None:
    box.systemctl("start", "web.socket", "web.service")
    reached = [box.ask(WITNESS), box.ask(WITNESS, kind="SOCK_DGRAM"),
               box.ask("/run/witness.sock"), box.ask("\0witness")]  # fmt: skip
    count = reached[-1]["accepted"]
    assert elsewhere(box.ask(WEB, *ELSEWHERE.values())) == NOWHERE
    assert box.ask(WITNESS)["accepted"] == count + 1
    assert box.ask(WITNESS)["accepted"] == count + 2


# --- notify: Type=notify, User=, a control socket ---


def test_a_service_at_path_notifies(box: Booted) -> None:
    box.systemctl("start", "notify.service")  # returns when it is ready
    facts = box.ask(CONTROL)
    assert facts["notified"] == "ok"
    assert facts["pid"] == main_pid(box, "notify.service")
    assert facts["environment"]["LISTEN_PID"] == str(facts["pid"])
    assert facts["uid"] == box.path(CONTROL).stat().st_uid == WWW_DATA
    assert stat.S_IMODE(box.path(CONTROL).stat().st_mode) == 0o660
    assert elsewhere(box.ask(CONTROL, *ELSEWHERE.values())) == PATH_ALONE


def test_a_service_at_none_cannot_notify(box: Booted) -> None:
    more = "TimeoutStartSec=2\nRestart=no\n"
    box.change("notify.service", exec_start(DAEMON_AT_NONE, more))
    assert box.run("systemctl", "start", "notify.service").returncode == 1
    assert box.show("notify.service", "Result")["Result"] == "timeout"
    assert "cannot notify: Operation not permitted" in box.log("notify.service").splitlines()


def test_a_service_at_none_is_started_as_type_exec(box: Booted) -> None:
    box.change("notify.service", exec_start(DAEMON_AT_NONE, "Type=exec\n"))
    box.systemctl("start", "notify.service")
    assert box.show("notify.service", "ActiveState")["ActiveState"] == "active"
    assert box.ask(CONTROL)["notified"] == "not asked"


# --- udp: an open-ended descriptor of the manager's ---


def test_udp_is_handed_over_if_kept(box: Booted) -> None:
    box.systemctl("start", "udp.socket")
    facts = box.ask(UDP, *ELSEWHERE.values(), kind="SOCK_DGRAM")
    assert told(facts) == environment(1, "udp.socket", main_pid(box, "udp.service"))
    assert elsewhere(facts) == PATH_ALONE


def test_udp_is_refused_if_not_kept(box: Booted) -> None:
    box.change("udp.service", exec_start("/usr/bin/nonet --allow path -- /usr/local/bin/udp"))
    box.systemctl("start", "udp.socket", "udp.service")
    assert refused(box, "udp.service") == [
        (
            "nonet: cannot hand over descriptor 3: a UDP socket is open-ended:"
            " sendmsg(2) can name another destination, where no filter sees it"
        ),
        "nonet: hint: close it (3<&- in a shell, or --close-others), or keep it: --keep 3",
    ]


def test_udp_at_none_is_answered_with_sendmsg_alone(box: Booted) -> None:
    line = "/usr/bin/nonet --allow none --keep 3 -- /usr/local/bin/udp"
    box.change("udp.service", exec_start(line))
    box.systemctl("start", "udp.socket")
    facts = box.ask(UDP, *ELSEWHERE.values(), kind="SOCK_DGRAM")
    assert (facts["sendto"], elsewhere(facts)) == ("EPERM", NOWHERE)


def test_a_connection_is_standard_input_and_output(box: Booted) -> None:
    box.systemctl("start", "inetd.socket")
    assert box.exchange(INETD, "one\n") == "ONE\n"
    assert box.exchange(INETD, "another\n") == "ANOTHER\n"
