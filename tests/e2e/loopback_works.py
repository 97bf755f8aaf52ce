# SPDX-License-Identifier: GPL-3.0-or-later
"""What each real program does over loopback: the table that test_loopback_works.py runs."""

from __future__ import annotations

from works import Work

AT = ("loopback",)
# Waits until a server listens, with bash's own connection.
READY = """
ready() { timeout 15 bash -c "until (: < /dev/tcp/$1/$2) 2> /dev/null; do sleep .05; done"; }
"""

# PostgreSQL refuses to be root, so root becomes somebody else, inside.
POSTGRESQL = """
    cat > work <<'END'
set -eu; PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
initdb -D data --no-sync --auth=trust --username=ann > initdb.log
pg_ctl -D data -w -l log -o "-k $PWD -h 127.0.0.1,::1 -p 5433 -c fsync=off" start > start.log
ask() { psql -X -A -t -p 5433 -U ann -d postgres "$@"; }
for host in 127.0.0.1 ::1; do
    ask -h $host -c 'create table t as select generate_series(1, 1000) n' \
        -c 'select sum(n), host(inet_server_addr()), host(inet_client_addr()) from t' \
        -c 'drop table t'
done
ask -h 127.0.0.1 -c "listen told; select pg_sleep(1)" > told &
sleep .3; ask -h ::1 -c "notify told, 'heard'"; wait; sed 's/PID .*/PID/' told
pg_ctl -D data -w -m fast stop > stop.log
END
    if [ $(id -u) = 0 ]; then
        chmod 711 ..; chown nobody .; set -- setpriv --reuid=nobody --clear-groups
    fi
    "$@" bash work
"""

REDIS = (
    READY
    + r"""
    redis-server --port 6380 --bind 127.0.0.1 ::1 --save '' > log &
    ready 127.0.0.1 6380
    redis-cli -p 6380 set word heard; redis-cli -h ::1 -p 6380 get word
    (sleep .3; redis-cli -p 6380 rpush list item > pushed) & redis-cli -p 6380 blpop list 10
    redis-benchmark -p 6380 --csv -n 2000 -t set,get --threads 2 | cut -d, -f1
    redis-cli -p 6380 shutdown nosave; wait
"""
)

NGINX = (
    READY
    + """
    cat > conf <<END
pid nginx.pid; error_log stderr; worker_processes 2; events {}
http {
    access_log off; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f;
    uwsgi_temp_path u; scgi_temp_path s;
    server { listen 127.0.0.1:8081; listen [::1]:8081; root $PWD/www; }
    server { listen 127.0.0.1:8082; location / { proxy_pass http://[::1]:8081; } }
}
END
    chmod 711 ..; mkdir www; seq 200000 > www/numbers
    nginx -p "$PWD" -c conf -g 'daemon off;' 2> log & ready 127.0.0.1 8082
    curl -sS http://127.0.0.1:8081/numbers | cksum
    curl -sS 'http://[::1]:8081/numbers' | cksum
    curl -sS http://localhost:8082/numbers | cksum
    kill -QUIT $!; wait
"""
)

NODE = """
    cat > work.js <<'END'
const http = require("http"), net = require("net"), { once } = require("events");
async function main() {
    for (const host of ["127.0.0.1", "::1", undefined]) {
        const server = http.createServer(async (request, response) => {
            let body = ""; for await (const piece of request) body += piece;
            response.end(`${request.method} ${body.length} served`);
        });
        server.listen(0, host); await once(server, "listening");
        const { port } = server.address(), name = net.isIPv6(host) ? `[${host}]` : "127.0.0.1";
        for (const to of [name, "localhost"]) {
            if (to === "localhost" && host) continue;
            const sent = { method: "POST", body: "x".repeat(1e6) };
            const said = await fetch(`http://${to}:${port}/`, sent);
            console.log(host, to, said.status, await said.text());
        }
        const all = Array.from({ length: 50 }, () => fetch(`http://${name}:${port}/`));
        console.log((await Promise.all(all)).filter(each => each.ok).length);
        server.closeAllConnections(); server.close(); await once(server, "close");
    }
}
main();
END
    node work.js
"""

# A live server as Flask's own test plugins have it: the application in a process of its own.
FLASK = """
    cat > test_live.py <<'END'
import multiprocessing, socket, threading, time, urllib.error, urllib.request
import flask, pytest

def make_app():
    app = flask.Flask("live")
    @app.get("/")
    def index(): return flask.render_template_string("hello {{ name }}", name="live server")
    @app.post("/echo")
    def echo(): return flask.jsonify(flask.request.get_json())
    return app

@pytest.fixture(scope="session", params=["127.0.0.1", "::1"])
def url(request):
    with socket.create_server(("127.0.0.1", 0)) as one: port = one.getsockname()[1]
    serve = dict(host=request.param, port=port, threaded=True, use_reloader=False)
    server = multiprocessing.Process(target=make_app().run, kwargs=serve, daemon=True)
    server.start()
    host = f"[{request.param}]" if ":" in request.param else request.param
    for _ in range(500):
        try: socket.create_connection((request.param, port)).close(); break
        except ConnectionRefusedError: time.sleep(0.02)
    yield f"http://{host}:{port}"
    server.terminate(); server.join()

def test_page(url):
    with urllib.request.urlopen(url) as page: assert page.read() == b"hello live server"

def test_echo(url):
    body = b'{"n": [1, 2]}'
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{url}/echo", body, headers)) as page:
        assert page.read().replace(b" ", b"") == body.replace(b" ", b"") + b"\\n"

def test_missing(url):
    with pytest.raises(urllib.error.HTTPError, match="404"): urllib.request.urlopen(f"{url}/no")

def test_many(url):
    seen = []
    def get(): seen.append(urllib.request.urlopen(url).status)
    threads = [threading.Thread(target=get) for _ in range(20)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert seen == [200] * 20
END
    export PYTHONDONTWRITEBYTECODE=1
    "$PIP_PYTHON" -m pytest -v -p no:cacheprovider -p no:xdist test_live.py
"""

XDIST = """
    cat > test_many.py <<'END'
import http.server, os, socket, threading, urllib.request
import pytest

@pytest.mark.parametrize("n", range(20))
def test_each_worker_serves_itself(n, worker_id):
    assert worker_id in {"gw0", "gw1"}
    handler = http.server.SimpleHTTPRequestHandler
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,)); thread.start()
        url = "http://127.0.0.1:%d/test_many.py" % server.server_port
        with urllib.request.urlopen(url) as page: assert b"def test_each_worker" in page.read()
        server.shutdown(); thread.join()

def test_udp():
    datagram = dict(type=socket.SOCK_DGRAM)
    with socket.socket(**datagram) as one, socket.socket(**datagram) as other:
        one.bind(("127.0.0.1", 0)); other.sendto(b"word", one.getsockname())
        assert one.recv(9) == b"word"

def test_that_fails(): assert 6 * 7 == 41
END
    export PYTHONDONTWRITEBYTECODE=1
    "$PIP_PYTHON" -m pytest -q -n 2 -p no:cacheprovider test_many.py || echo "status $?"
"""

# Root's has to do without Chromium's own sandbox; the other has it, or would not start.
CHROMIUM = (
    READY
    + """
    cat > page.html <<'END'
<p id=said>nothing</p><script>
Promise.all([fetch("/data"), fetch("http://127.0.0.1:8083/data", { mode: "no-cors" })])
    .then(async ([page, other]) => {
        said.textContent = `page ${await page.text()} ${other.type}`;
    });
</script>
END
    echo -n heard > data; python3 -m http.server -b 127.0.0.1 8083 2> log & server=$!
    ready 127.0.0.1 8083
    [ $(id -u) != 0 ] || set -- --no-sandbox
    chromium "$@" --headless --disable-gpu --disable-background-networking --no-first-run \
        --disable-component-update --user-data-dir=profile --virtual-time-budget=2000 --dump-dom \
        http://localhost:8083/page.html 2> log
    kill $server; rm -rf profile .[a-z]*
"""
)

WORKS = (
    Work(
        "postgresql",
        ("psql",),
        AT,
        "500500|::1",
        POSTGRESQL,
        apart=("data/*", "*.log", "log", "told"),
    ),
    Work("redis", ("redis-server", "redis-cli"), AT, "heard", REDIS, apart=("log",)),
    Work("nginx", ("nginx", "curl"), AT, " 1288895", NGINX, apart=("log",)),
    Work("node", ("node",), AT, "served", NODE),
    Work("flask", ("bash",), AT, "8 passed", FLASK, varies=(rb"in \d+\.\d\ds( \(.*?\))?",)),
    Work(
        "pytest-xdist",
        ("bash",),
        AT,
        "1 failed, 21 passed",
        XDIST,
        varies=(rb"in \d+\.\d\ds", rb"gw\d", rb"(?m)^[.F]*(?= *\[)"),
    ),
    Work("chromium", ("chromium", "python3"), AT, "page heard opaque", CHROMIUM, apart=("log",)),
)
