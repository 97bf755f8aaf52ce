# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of every build reach a listener on loopback, and serve one, at level loopback."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from network import OUTSIDE4
from programs import HAS_I386, needs_i386, require
from running import REACHED, Elsewhere, listener

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Machine

THREADS, ROUNDS = 8, 50
# Every thread asks the listener, then serves and asks one of its own; the first one also
# asks the address beyond the host.
SOURCE = r"""
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef DIRECT  /* what a C library without socketcall(2) does */
#define socket(family, type, protocol) syscall(SYS_socket, family, type, protocol)
#define connect(fd, address, size) syscall(SYS_connect, fd, address, size)
#define bind(fd, address, size) syscall(SYS_bind, fd, address, size)
#define listen(fd, backlog) syscall(SYS_listen, fd, backlog)
#define accept(fd, address, size) syscall(SYS_accept4, fd, address, size, 0)
#define getsockname(fd, address, size) syscall(SYS_getsockname, fd, address, size)
#endif
#define MUST(what) do { if (!(what)) { perror(#what); exit(1); } } while (0)

static int port, rounds;
static const char *beyond;

static struct sockaddr_in to(const char *host, int number)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(number) };
    inet_pton(AF_INET, host, &address.sin_addr);
    return address;
}

static void *work(void *unused)
{
    for (int n = 0; n < rounds; n++) {
        struct sockaddr_in own = to("127.0.0.1", 0), theirs = to("127.0.0.1", port);
        socklen_t size = sizeof own;
        char said[64] = "";
        int one, server, client, served;
        MUST((one = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) >= 0);
        MUST(connect(one, (void *)&theirs, sizeof theirs) == 0);
        MUST(read(one, said, sizeof said - 1) > 0 && strstr(said, "200 OK"));
        MUST((server = socket(AF_INET, SOCK_STREAM, 0)) >= 0);
        MUST(bind(server, (void *)&own, sizeof own) == 0 && listen(server, 1) == 0);
        MUST(getsockname(server, (void *)&own, &size) == 0);
        MUST((client = socket(AF_INET, SOCK_STREAM, 0)) >= 0);
        MUST(connect(client, (void *)&own, sizeof own) == 0);
        MUST((served = accept(server, NULL, NULL)) >= 0);
        MUST(write(client, "own", 3) == 3 && read(served, said, 3) == 3);
        MUST(memcmp(said, "own", 3) == 0);
        close(one); close(server); close(client); close(served);
    }
    return unused;
}

int main(int count, char **words)
{
    pthread_t threads[64];
    int one, number = atoi(words[2]);
    port = atoi(words[1]); rounds = atoi(words[3]); beyond = words[4];
    for (int n = 0; n < number; n++) MUST(pthread_create(&threads[n], NULL, work, NULL) == 0);
    for (int n = 0; n < number; n++) MUST(pthread_join(threads[n], NULL) == 0);
    struct sockaddr_in outside = to(beyond, atoi(words[5]));
    MUST((one = socket(AF_INET, SOCK_STREAM, 0)) >= 0);
    errno = 0;
    connect(one, (void *)&outside, sizeof outside);
    printf("%zu-bit: %s\n", 8 * sizeof(void *), strerror(errno));
    return count != 6;
}
"""
BUILDS = {"dynamic": (), "static": ("-static",)}
BUILDS_32 = {"32-bit": ("-m32", "-DDIRECT"), "32-bit-static": ("-m32", "-DDIRECT", "-static")}
if HAS_I386:  # elsewhere gcc knows no -m32
    BUILDS |= BUILDS_32


def build(folder: Path, *options: str) -> bytes:
    (folder / "program.c").write_text(SOURCE)
    built = subprocess.run(
        ["gcc", "-O1", "-Wall", "-Werror", "-pthread", *options, "-o", "program", "program.c"],
        cwd=folder, check=False, capture_output=True,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr.decode()
    return (folder / "program").read_bytes()


@pytest.fixture(scope="module", params=BUILDS)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return build(tmp_path_factory.mktemp("program"), *BUILDS[request.param])


def install(machine: Machine, program: bytes) -> None:
    path = machine.home / "program"
    path.write_bytes(program)
    path.chmod(0o755)


@pytest.mark.parametrize("threads", [1, THREADS])
def test_a_program_reaches_loopback_and_nothing_beyond(
    machine: Machine, program: bytes, threads: int
) -> None:
    require(machine, "gcc")
    install(machine, program)
    bits = 32 if program[4] == 1 else 64  # EI_CLASS (elf(5))
    network = machine.network
    with Elsewhere(network) as elsewhere, listener(network, network.outside, OUTSIDE4) as outside:
        words = ("./program", elsewhere.port, threads, ROUNDS, OUTSIDE4, outside.getsockname()[1])
        command = [str(word) for word in words]
        limited = machine.limited(["--allow", "loopback"], *command)
        assert limited.stderr == b""
        assert limited.stdout == f"{bits}-bit: Network is unreachable\n".encode()
        assert elsewhere.reached() == threads * ROUNDS, REACHED
        outside.settimeout(0)
        with pytest.raises(BlockingIOError):
            outside.accept()
        assert machine.run(*command).stdout == f"{bits}-bit: Success\n".encode()
        outside.accept()[0].close()


@needs_i386
def test_a_c_library_that_uses_socketcall_gets_no_socket(machine: Machine, tmp_path: Path) -> None:
    """As the manual says of Debian's for i386: the arguments of socketcall(2) are in memory."""
    install(machine, build(tmp_path, "-m32"))
    command = ("./program", "1", "1", "1", OUTSIDE4, "1")
    assert machine.run(*command).stderr.endswith(b": Connection refused\n")  # that is, on port 1
    limited = machine.limited(["--allow", "loopback"], *command)
    assert limited.returncode == 1
    assert b"socket" in limited.stderr
    assert limited.stderr.endswith(b": Operation not permitted\n")
