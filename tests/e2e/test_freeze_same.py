# SPDX-License-Identifier: GPL-3.0-or-later
"""The launcher's own tests, on frozen files: each command line is frozen, and run."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import test_bad_input
import test_grants
import test_grants_refused
import test_held
import test_in_place
import test_socket_activation
import test_without_proc
from conftest import NOBODY, Machine
from freezing import freezer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from network import Network

# What is not the same, or not about what was frozen.
OTHERWISE = {
    "a name has to be resolved": {
        "test_connect_tries_every_address_in_turn", "test_a_name_that_does_not_resolve",
    },
    "what cannot go with --check cannot go with --freeze either": {"test_usage"},
    "--explain is not frozen": {
        "test_explain_tells_what_the_launch_does", "test_explain_refuses_what_the_launch_refuses",
        "test_explain_judges_them_too", "test_what_a_library_of_nonets_own_opened_is_not_inherited",
    },
    "--limit rlimit is not frozen": {"test_the_rlimit_is_asked_for_where_there_is_none"},
    "they are about Python, and test_freeze.py has one that is not": {
        "test_sigpipe_and_sigxfsz_are_at_their_default", "test_the_environment_is_byte_exact",
        "test_the_environment_is_as_without_nonet",
        "test_few_descriptors_are_enough", "test_too_few_descriptors_for_python_itself",
        "test_standard_error_that_is_full_or_gone", "test_a_closed_standard_stream",
        "test_pyseccomp_serves_where_no_shipped_filter_fits",
        "test_a_damaged_filter_is_not_used",
    },
    "they compare with a nonet whose limit is left out; limited they are run below": {
        "test_activated_by_systemd_with_grants_of_its_own",
        "test_systemd_activates_on_what_nonet_granted",
        "test_a_chain_of_launchers_keeps_every_number_and_name",
    },
    "beyond ASCII a name that is known only at run time is spelled byte by byte": {
        "test_a_name_of_any_bytes_stays_on_one_line",
    },
}  # fmt: skip

for _module in (
    test_held, test_grants, test_grants_refused, test_bad_input, test_in_place,
    test_socket_activation, test_without_proc,
):  # fmt: skip
    for _name, _test in vars(_module).items():
        if _name.startswith("test_") and not any(_name in names for names in OTHERWISE.values()):
            globals()[_name] = _test


@pytest.fixture(params=["root", "unprivileged"])
def machine(request: pytest.FixtureRequest, installed: str, network: Network) -> Iterator[Machine]:
    """A machine whose nonet freezes its command line, and runs what was written."""
    uid = 0 if request.param == "root" else NOBODY
    home, tools = (Path(tempfile.mkdtemp(prefix=f"nonet-{name}-")) for name in ("home", "tools"))
    os.chown(home, uid, uid)
    tools.chmod(0o755)
    yield Machine(freezer(installed, tools), network, home, uid)
    shutil.rmtree(home)
    shutil.rmtree(tools)


def test_activated_by_systemd(machine: Machine) -> None:
    test_socket_activation.test_activated_by_systemd_with_grants_of_its_own(machine, limited=True)


def test_systemd_activates(machine: Machine) -> None:
    test_socket_activation.test_systemd_activates_on_what_nonet_granted(machine, limited=True)


def test_a_chain_of_launchers(machine: Machine) -> None:
    test_socket_activation.test_a_chain_of_launchers_keeps_every_number_and_name(
        machine, limited=True
    )
