# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m nonet`: the same as the `nonet` command."""

from nonet.main import main

main()
