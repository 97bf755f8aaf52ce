# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m nonet`: the same as the `nonet` command."""

from nonet.cli import main

main()
