# SPDX-License-Identifier: GPL-3.0-or-later
"""A command line as an executable of its own: machine code that makes a launch's system calls."""
