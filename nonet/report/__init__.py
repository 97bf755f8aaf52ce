# SPDX-License-Identifier: GPL-3.0-or-later
"""The report: who tried the network, and what for.

Where a program runs under nonet's eye, a refused call asks the broker instead of failing
there and then. The broker notes it, and refuses it.
"""
