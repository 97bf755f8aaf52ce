# SPDX-License-Identifier: GPL-3.0-or-later
"""Real programs do their work over loopback, to the same result as without nonet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from loopback_works import WORKS
from names import NamedMachine
from programs import require
from test_programs import perform

if TYPE_CHECKING:
    from conftest import Machine
    from works import Work


@pytest.mark.parametrize("work", WORKS, ids=[work.name for work in WORKS])
def test_work_over_loopback_has_the_same_result(machine: Machine, work: Work) -> None:
    require(machine, "bash", *work.programs)
    named = NamedMachine(machine)
    without = perform(named, work)
    assert without.status == 0, without
    assert work.says.encode() in without.stdout, without
    assert perform(named, work, named.nonet, "--allow", "loopback", "--") == without
