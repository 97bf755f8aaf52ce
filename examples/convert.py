#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a PNG of a picture that nobody trusts: `convert.py PICTURE.ppm PICTURE.png`.

The bytes are parsed by a child that has given up the network before it reads the first one.
Whatever a picture makes of it, it can say one thing alone: a size, and that many pixels.
"""

from __future__ import annotations

import os
import re
import struct
import sys
import zlib

import nonet

MOST = 4096  # pixels, in either direction
_SIZE = struct.Struct("=II")
_GAP = rb"(?:\s|#.*\n)+"
_HEAD = re.compile(rb"P6%b(\d{1,4})%b(\d{1,4})%b255\s" % (_GAP, _GAP, _GAP))


def parse(data: bytes) -> tuple[int, int, bytes]:
    """Return width, height and pixels of a picture in netpbm's raw format (ppm(5)).

    Raises ValueError.
    """
    head = _HEAD.match(data)
    if not head:
        raise ValueError("this is no picture of a kind that is known here")
    width, height = int(head[1]), int(head[2])
    pixels = data[head.end() : head.end() + width * height * 3]
    if len(pixels) != width * height * 3:
        raise ValueError("the picture ends early")
    return width, height, pixels


def parse_apart(source: int) -> tuple[int, int, bytes]:
    """Return what parse() makes of a file, in a child without a network. Raises ValueError."""
    reader, writer = os.pipe()
    pid = os.fork()  # there are no threads yet: with them, start a program of its own instead
    if pid == 0:
        status = 1
        try:
            os.close(reader)
            nonet.limit("none")
            with open(source, "rb") as file, open(writer, "wb") as result:
                width, height, pixels = parse(file.read())
                result.write(_SIZE.pack(width, height) + pixels)
            status = 0
        except (OSError, ValueError, nonet.NonetError) as error:
            os.write(2, f"{error}\n".encode())
        finally:
            os._exit(status)
    os.close(writer)
    with open(reader, "rb") as result:
        said = result.read(_SIZE.size + MOST * MOST * 3)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    width, height = _SIZE.unpack_from(said.ljust(_SIZE.size, b"\0"))
    pixels = said[_SIZE.size :]
    if status or not (0 < width <= MOST and 0 < height <= MOST):
        raise ValueError("the picture cannot be read")
    if len(pixels) != width * height * 3:
        raise ValueError("the picture is not as large as it is said to be")
    return width, height, pixels


def png(width: int, height: int, pixels: bytes) -> bytes:
    """Return a picture as a PNG: 8 bits each of red, green and blue."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    rows = (pixels[at : at + width * 3] for at in range(0, len(pixels), width * 3))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
            chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))),
            chunk(b"IEND", b""),
        )
    )


def main() -> None:
    """Convert what the command line names."""
    origin, place = sys.argv[1:]
    with open(origin, "rb") as file:
        try:
            made = png(*parse_apart(file.fileno()))
        except ValueError as error:
            sys.exit(f"convert.py: {error}")
    with open(place, "wb") as file:
        file.write(made)


if __name__ == "__main__":
    main()
