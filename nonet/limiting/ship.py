# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the filters that are shipped: `python -m nonet.limiting.ship`, or `make filters`."""

from __future__ import annotations

from nonet import levels
from nonet.limiting import filter as shipped
from nonet.limiting.assemble import assemble
from nonet.rules import rules_of

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from collections.abc import Iterator


PLAIN, INNER, REPORT = "plain", "inner", "report"


def variants() -> Iterator[tuple[str, str, bool, str]]:
    """Yield (machine, level, domain, kind) of every shipped filter.

    Without a domain only levels that need nothing of Landlock can be had, and the one
    that RLIMIT_NETWORK serves.
    """
    for machine in shipped.MACHINES:
        for level in levels.LEVELS:
            domains = [True]
            if not levels.abi_needed(level) or level == levels.PATH:
                domains.append(False)
            for domain in domains:
                yield machine, level, domain, PLAIN
                yield machine, level, domain, REPORT
                if level == levels.LOOPBACK:
                    yield machine, level, domain, INNER


if __name__ == "__main__":
    for machine, level, domain, kind in variants():
        special = {"inner": kind == INNER, "report": kind == REPORT}
        with open(shipped.path(machine, level, domain=domain, **special), "wb") as file:
            file.write(assemble(machine, rules_of(level, domain=domain, **special)))
