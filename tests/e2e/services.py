# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers that adopt a socket, as each of them does: the table that test_services.py runs.

Each answers `GET PATH` with "served PATH", and `GET /elsewhere` by trying to connect to a
listener that it was not granted: with what that listener said, or why it was refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field

LISTEN = ("-l", "web=tcp:$HOST:$PORT")
INETD = ("-c", "web=tcp:$HOST:$PORT,fd=0,fd=1")


@dataclass(frozen=True)
class Service:
    """A server, all of them at level none and as both users.

    `refused` stands in its answer where it may not connect elsewhere, `logs` in what it
    says. The options grant it a listener ($HOST is inside), or else a connection to the
    test ($HOST is outside) for one request.
    """

    name: str
    needs: tuple[str, ...]
    words: tuple[str, ...]
    files: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = LISTEN
    environ: dict[str, str] = field(default_factory=dict)
    refused: str = "EPERM"
    logs: str = ""


# Its binary-upgrade protocol: NGINX names the listeners that it inherits. It needs its
# master: without one nginx 1.22 crashes on them, wherever it runs.
NGINX = """
    daemon off; worker_processes 2; error_log stderr; pid nginx.pid;
    events {}
    http {
        access_log off;
        client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
        uwsgi_temp_path uwsgi; scgi_temp_path scgi;
        server {
            listen $HOST:$PORT;
            location / { return 200 "served $uri"; }
            location /elsewhere { proxy_pass http://127.0.0.1:$ELSEWHERE; }
        }
    }
"""

PYTHON = """
import errno, socket

def answer(path):
    if path != "/elsewhere":
        return f"served {path}".encode()
    try:
        with socket.create_connection(("127.0.0.1", $ELSEWHERE), 9) as one:
            return one.recv(999)
    except OSError as error:
        return errno.errorcode[error.errno].encode()
"""
GUNICORN = ("$PYTHON", "-m", "gunicorn")  # it says that it gets no control socket, and serves
WSGI = f"""{PYTHON}
def wsgi(environ, start):
    start("200 OK", [("Content-Type", "text/plain")])
    return [answer(environ["PATH_INFO"])]
"""
ASGI = f"""{PYTHON}
async def asgi(scope, receive, send):
    await send(dict(type="http.response.start", status=200, headers=[]))
    await send(dict(type="http.response.body", body=answer(scope["path"])))
"""
# Not TCPServer's own constructor: it makes a socket before it is told of another.
SOCKETSERVER = f"""{PYTHON}
import http.server, os, socketserver

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(answer(self.path))

class Adopted(socketserver.ThreadingMixIn, http.server.HTTPServer):
    def __init__(self, fd):
        socketserver.BaseServer.__init__(self, None, Handler)
        self.socket = socket.socket(fileno=fd)
        self.server_name, self.server_port = self.socket.getsockname()

assert os.environ["LISTEN_PID"] == str(os.getpid()) and os.environ["LISTEN_FDS"] == "1"
Adopted(3).serve_forever()
"""

NODE = """
const http = require("http"), net = require("net");
http.createServer((request, response) => {
    if (request.url !== "/elsewhere") return response.end("served " + request.url);
    net.connect($ELSEWHERE, "127.0.0.1")
        .on("data", data => response.end(data))
        .on("error", error => response.end(error.code));
}).listen({ fd: Number($NUMBER) });
"""

# A child of inetd: the connection is its standard input and output.
CHILD = r"""#!/bin/bash
while read -r line && [[ $line != $'\r' ]]; do [[ $path ]] || { set -- $line; path=$2; }; done
printf 'HTTP/1.0 200 OK\r\n\r\n'
if [[ $path == /elsewhere ]]; then
    $TRY 2>&1
else
    echo -n "served $path" | cat
fi
"""
BY_BASH = "{ exec 3<>/dev/tcp/127.0.0.1/$ELSEWHERE && cat <&3; }"
BY_SOCAT = "socat -u TCP:127.0.0.1:$ELSEWHERE -"
NOT_PERMITTED = "Operation not permitted"

SERVICES = (
    Service("nginx", ("nginx",), ("nginx", "-p", "$HOME", "-c", "nginx.conf"),
            {"nginx.conf": NGINX}, environ={"NGINX": "3;"},
            refused="500 Internal Server Error", logs=f"socket() failed (1: {NOT_PERMITTED})"),
    # gunicorn takes LISTEN_FDS by itself, and the same number from --bind as one more, which
    # it then cannot open. So the number that is bound by name is one that LISTEN_FDS has not.
    Service("gunicorn", (),
            (*GUNICORN, "--bind", "fd://{web}", "app:wsgi"), {"app.py": WSGI},
            options=("-l", "web=tcp:$HOST:$PORT,fd=7")),
    Service("gunicorn-listen-fds", (), (*GUNICORN, "app:wsgi"), {"app.py": WSGI}),
    Service("uvicorn", (),
            ("$PYTHON", "-m", "uvicorn", "--fd", "{web}", "app:asgi"), {"app.py": ASGI}),
    Service("node-argument", ("node",), ("node", "serve.js", "{web}"),
            {"serve.js": NODE.replace("$NUMBER", "process.argv[2]")}),
    Service("node-environment", ("node",), ("node", "serve.js"),
            {"serve.js": NODE.replace("$NUMBER", "process.env.NONET_FD_WEB")},
            options=("-l", "web=tcp:$HOST:$PORT,fd=9")),
    Service("socketserver", ("python3",), ("python3", "serve.py"), {"serve.py": SOCKETSERVER}),
    Service("inetd-bash", ("bash",), ("./child",),
            {"child": CHILD.replace("$TRY", BY_BASH)}, options=INETD, refused=NOT_PERMITTED),
    Service("inetd-socat", ("bash", "socat"), ("socat", "-t0.1", "STDIO", "EXEC:./child"),
            {"child": CHILD.replace("$TRY", BY_SOCAT)}, options=INETD, refused=NOT_PERMITTED),
    Service("socat-fd", ("bash", "socat"), ("socat", "-t0.1", "FD:{web}", "EXEC:./child"),
            {"child": CHILD.replace("$TRY", BY_SOCAT)},
            options=("-c", "web=tcp:$HOST:$PORT"), refused=NOT_PERMITTED),
)  # fmt: skip
