# SPDX-License-Identifier: GPL-3.0-or-later
"""What each real program does: the table that test_programs.py runs."""

from __future__ import annotations

from dataclasses import dataclass

from programs import GREETING

EVERY = ("none", "path", "unix")
ANY = ("none", "path")  # needs no socket that has a name
NAMED = ("path",)  # works over AF_UNIX sockets with a pathname
ADDRESS = rb"\b0x[0-9a-f]{4,}"


@dataclass(frozen=True)
class Work:
    """A script for bash, and what its standard output says when the work is done."""

    name: str
    programs: tuple[str, ...]
    levels: tuple[str, ...]
    says: str
    script: str
    varies: tuple[bytes, ...] = ()  # patterns of text that differs between any two runs
    apart: tuple[str, ...] = ()  # files whose content differs between any two runs


WORKS = (
    Work("git", ("git",), ANY, "commit 2 Second", """
        git init -q -b main origin; cd origin
        echo one > file; git add file; git commit -q -m First
        echo two >> file; git commit -q -a -m Second; cd ..
        git clone -q origin near; git clone -q --no-local origin far
        git -C far fsck --strict; git -C far gc -q; git -C near pull
        git -C far log --stat --format='%H %an %ad %s'; git -C near diff HEAD~1
        git -C near shortlog -s HEAD < /dev/null
        echo "commit $(git -C far rev-list --count HEAD) $(git -C far log -1 --format=%s)"
    """, apart=("*/.git/index",)),
    Work("gcc-make", ("gcc", "make"), ANY, "built: 42", r"""
        echo 'int answer(void) { return 42; }' > answer.c
        echo '#include <stdio.h>' > main.c
        echo 'int answer(void); int main(void) { printf("built: %d\\n", answer()); }' >> main.c
        printf 'program: main.o answer.o\n\t$(CC) -o $@ $^\n%%.o: %%.c\n\t$(CC) -g -c $<\n' \
            > Makefile
        make -j2 -O CC=gcc; make -q CC=gcc; ./program
    """, varies=(rb"(?m)^gcc .*\n",)),  # two jobs end in either order
    Work("pip", ("bash",), ANY, GREETING, """
        "$PIP_PYTHON" -m pip --isolated --no-cache-dir --disable-pip-version-check \
            install --no-index --no-compile --no-deps --target=lib "$WHEEL"
        PYTHONPATH=lib python3 -B -c 'import greet'
    """),
    Work("multiprocessing", ("python3",), ANY, "spawn [0, 1, 4, 9, 16] queue pipe", """
        cat > work.py <<'END'
import multiprocessing
def square(n): return n * n
def child(queue, pipe): queue.put("queue"); pipe.send("pi" + pipe.recv())
if __name__ == "__main__":
    for method in "fork", "spawn":
        context = multiprocessing.get_context(method)
        with context.Pool(2) as pool: squares = pool.map(square, range(5))
        queue, (here, there) = context.Queue(), context.Pipe()
        process = context.Process(target=child, args=(queue, there)); process.start()
        here.send("pe"); print(method, squares, queue.get(), here.recv()); process.join()
END
        python3 work.py
    """),
    Work("forkserver", ("python3",), NAMED, "forkserver [0, 1, 4] {1: 'manager'}", """
        cat > work.py <<'END'
import multiprocessing
def square(n): return n * n
if __name__ == "__main__":
    context = multiprocessing.get_context("forkserver")
    with context.Pool(2) as pool, context.Manager() as manager:
        shared = manager.dict(); shared[1] = "manager"
        print("forkserver", pool.map(square, range(3)), shared)
END
        python3 work.py
    """),
    Work("asyncio", ("python3",), ANY, "HELLO thread [0, 1]", """
        cat > work.py <<'END'
import asyncio
async def main():
    tr = await asyncio.create_subprocess_exec("tr", "a-z", "A-Z", stdin=-1, stdout=-1)
    out, _ = await tr.communicate(b"hello")
    both = await asyncio.gather(asyncio.sleep(0.01, 0), asyncio.sleep(0, 1))
    print(out.decode(), await asyncio.to_thread(lambda: "thread"), both)
asyncio.run(main())
END
        python3 work.py
    """),
    Work("asyncio-unix", ("python3",), NAMED, "served b'ping'", """
        cat > work.py <<'END'
import asyncio
async def serve(reader, writer):
    writer.write(b"served %r" % await reader.read(4)); writer.close()
async def main():
    async with await asyncio.start_unix_server(serve, "socket"):
        reader, writer = await asyncio.open_unix_connection("socket")
        writer.write(b"ping"); print((await reader.read()).decode()); writer.close()
asyncio.run(main())
END
        python3 work.py
    """),
    *(Work(name, ("node",), ANY, "written CHILD forked worker", f"""
        export UV_USE_IO_URING={ring}
        cat > work.js <<'END'
const fs = require("fs/promises"), {{ execFile, fork }} = require("child_process");
const {{ Worker, isMainThread, parentPort }} = require("worker_threads");
const { '{ once }' } = require("events"), run = require("util").promisify(execFile);
async function main() {{
    await fs.mkdir("made"); await fs.writeFile("made/file", "written");
    const read = await fs.readFile("made/file", "utf8"); await fs.rename("made/file", "moved");
    await fs.stat("moved");
    const {{ stdout }} = await run("sh", ["-c", "echo child | tr a-z A-Z"]);
    const [answer] = await once(fork(__filename, ["child"]), "message");
    const [said] = await once(new Worker(__filename), "message");
    console.log(read, stdout.trim(), answer, said);
}}
if (!isMainThread) parentPort.postMessage("worker");
else if (process.argv[2]) process.send("forked");
else main();
END
        node work.js
    """) for name, ring in (("node", 0), ("node-io-uring", 1))),
    Work("bash", ("bash",), ANY, "141 0", r"""
        set +o pipefail
        yes | head -1; echo "${PIPESTATUS[@]}"
        printf 'b\na\nb\n' | sort | uniq -c | tee counted
        diff <(seq 3) <(seq 4) || echo "differ: $?"
        coproc cat; echo through >&"${COPROC[1]}"; read -r line <&"${COPROC[0]}"; echo "$line"
        exec {COPROC[1]}>&-; wait
        (trap 'echo caught; exit 7' TERM; kill -TERM $BASHPID) || echo "status $?"
    """),
    Work("tar", ("tar", "gzip"), ANY, "in/deep/file", """
        mkdir -p in/deep; seq 1000 > in/deep/file; ln -s deep/file in/link; chmod 750 in/deep
        tar --mtime=@0 --sort=name -c in | gzip -n > archive.tar.gz
        tar -tvzf archive.tar.gz; mkdir out; tar -xzf archive.tar.gz -C out; diff -r in out/in
    """),
    Work("gpg", ("gpg", "gpg-agent", "gpgconf"), NAMED, "GOODSIG", """
        mkdir -m 700 gnupg; export GNUPGHOME=$PWD/gnupg
        trap 'gpgconf --kill all; gpgconf --remove-socketdir' EXIT
        printf '%s\n' %no-protection 'Key-Type: eddsa' 'Key-Curve: ed25519' \
            'Key-Usage: sign' 'Name-Real: Ann' %commit | gpg --batch -q --gen-key
        echo text > text; gpg --batch -q --detach-sign text
        gpg --batch -q --status-fd 1 --verify text.sig text
        echo more >> text; gpg --batch -q --verify text.sig text || echo "altered: $?"
    """, varies=(rb"[0-9A-F]{16,}", rb"(?<=SIG_ID )\S+", rb"\d{10}",
            rb"20\d\d-\d\d-\d\d", rb"(?<=made ).*"),
        apart=("gnupg/*", "*.sig")),
    Work("ssh-agent", ("ssh-agent", "ssh-add", "ssh-keygen"), NAMED, 'Good "file" signature', """
        ssh-keygen -q -t ed25519 -N '' -C ann -f key
        eval "$(ssh-agent -a "$PWD/agent")"; trap 'ssh-agent -k' EXIT
        ssh-add key; ssh-add -l; echo text > text; mv key aside
        ssh-keygen -Y sign -f key.pub -n file text; echo "ann $(cat key.pub)" > signers
        ssh-keygen -Y verify -f signers -I ann -n file -s text.sig < text
        ssh-add -D; ssh-add -l || echo "empty: $?"
    """, varies=(rb"SHA256:\S+", rb"(?<=pid )\d+"), apart=("aside", "key.pub", "signers", "*.sig")),
    Work("dbus", ("dbus-run-session", "dbus-send"), NAMED, 'string "org.freedesktop.DBus"', """
        dbus-run-session -- dbus-send --session --print-reply --dest=org.freedesktop.DBus \
            /org/freedesktop/DBus org.freedesktop.DBus.ListNames
    """, varies=(rb"time=\S+", rb"(?m)^dbus-daemon\[.*\n")),  # to root's it says: no audit netlink
    Work("sqlite3", ("sqlite3",), ANY, "2|7", """
        sqlite3 data.db 'PRAGMA journal_mode=WAL; CREATE TABLE t (a INTEGER PRIMARY KEY, b);
            BEGIN; INSERT INTO t (b) VALUES (3), (4); COMMIT;'
        sqlite3 data.db 'SELECT count(*), sum(b) FROM t;' .dump; sqlite3 data.db '.backup copy.db'
    """),
    Work("strace", ("strace",), EVERY, "exited with 3", r"""
        strace -f -e trace=execve,kill -e signal=none -o trace \
            sh -c 'date -u -d @0; (kill -0 $$; exit 3)' || echo "status $?"
        cat trace
    """, varies=(ADDRESS, rb"(?m)^\d+ +", rb"(?<=kill\()\d+")),
    Work("gdb", ("gcc", "gdb"), EVERY, "$1 = 21", r"""
        echo 'int twice(int n) { return 2 * n; } int main(void) { return twice(21); }' > main.c
        gcc -g -o program main.c
        gdb -nx --batch -iex 'set debuginfod enabled off' -ex 'break twice' -ex run \
            -ex 'print n' -ex 'set var n = 4' -ex backtrace -ex continue ./program
    """, varies=(ADDRESS, rb"(?<=process )\d+")),
)  # fmt: skip
