# SPDX-License-Identifier: GPL-3.0-or-later
"""nonet: run a program that keeps the sockets it holds and can acquire no others."""

from __future__ import annotations

__version__ = "0.1.0"
