"""Whole clusters of real processes on one machine, for the demo, `./dev cluster` and the system tests.

Everything that is started here dies with whoever started it: processes are killed by their id when a Cluster is closed, and
by the kernel when this process dies without closing it. No process is ever looked up by name.
"""

import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import tomllib
import urllib.error
import urllib.request

READY_SECONDS = 60
STOP_SECONDS = 10
_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


class Failure(Exception):
    """Something that should have worked did not; the message says what, and where its log is."""


def now_ns():
    """The clock that all logs share: CLOCK_MONOTONIC."""
    return time.monotonic_ns()


def wait_until(what, condition, seconds, step=0.02):
    """Polls until `condition()` is true and returns its value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise Failure(f"{what}: not within {seconds} s")
        time.sleep(step)


def http_get(address, path, timeout=2):
    """(status, body); status 0 when nobody answers."""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=timeout) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except (OSError, ValueError):
        return 0, ""


def parse_metrics(text):
    """{name: sum over its labels}, and {name{labels}: value} beside it."""
    values = {}
    for line in text.splitlines():
        match = re.fullmatch(r"([A-Za-z_:][\w:]*)(\{.*\})? (\S+)(?: \S+)?", line)
        if match:
            value = float(match[3])
            values[match[1]] = values.get(match[1], 0) + value
            if match[2]:
                values[match[1] + match[2]] = value
    return values


class RespError(Exception):
    """An error reply."""


class Resp:
    """A blocking Redis client: RESP2 and RESP3, over TCP (host:port) or a Unix socket (a path)."""

    def __init__(self, address, timeout=10):
        if "/" in address:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(timeout)
            self.socket.connect(address)
        else:
            host, port = address.rsplit(":", 1)
            self.socket = socket.create_connection((host, int(port)), timeout=timeout)
        self.file = self.socket.makefile("rb")
        self.call("HELLO", "3")

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def call(self, *words):
        self.send(*words)
        return self.receive()

    def pipeline(self, commands):
        """All replies in order; an error reply is returned as a RespError."""
        replies = []
        for start in range(0, len(commands), 64):
            part = commands[start:start + 64]
            for words in part:
                self.send(*words)
            for _ in part:
                try:
                    replies.append(self.receive())
                except RespError as error:
                    replies.append(error)
        return replies

    def send(self, *words):
        parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))

    def receive(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the connection ended")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise RespError(rest.decode())
        if kind == b"+":
            return rest
        if kind == b":":
            return int(rest)
        if kind == b",":
            return float(rest)
        if kind == b"#":
            return rest == b"t"
        if kind == b"_":
            return None
        if kind in b"$=!":
            size = int(rest)
            if size < 0:
                return None
            data = self.file.read(size + 2)[:-2]
            if kind == b"!":
                raise RespError(data.decode())
            return data[4:] if kind == b"=" else data
        if kind in b"*~>":
            return None if int(rest) < 0 else [self.receive() for _ in range(int(rest))]
        if kind == b"%":
            return {self._key(): self.receive() for _ in range(int(rest))}
        raise ConnectionError(f"no reply begins with {kind!r}")

    def _key(self):
        key = self.receive()
        return key.decode() if isinstance(key, bytes) else key


class Process:
    """One child with a log file. It dies with this process."""

    def __init__(self, name, command, log, env=None, stdin=None, stdout=None, limits=None):
        self.name, self.log = name, log
        def before_exec():
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if limits:
                limits()
        # The kernel ties the child's life to the *thread* that starts it, so helper threads start none.
        assert threading.current_thread() is threading.main_thread(), "start processes from the main thread"
        self.log_from = os.path.getsize(log) if os.path.exists(log) else 0
        with open(log, "ab") as out:
            self.child = subprocess.Popen(command, stdin=stdin or subprocess.DEVNULL, stdout=stdout or out, stderr=out,
                                          env={**os.environ, **(env or {})}, preexec_fn=before_exec, start_new_session=True)
        self.pid = self.child.pid

    def alive(self):
        return self.child.poll() is None

    def signal(self, number):
        if self.alive():
            self.child.send_signal(number)

    def kill(self):
        """kill -9; returns the instant after which it runs no more."""
        self.signal(signal.SIGKILL)
        self.child.wait()
        return now_ns()

    def stop(self, seconds=STOP_SECONDS):
        """SIGTERM and its exit code; None when it had to be killed."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def last_words(self, lines=15):
        with open(self.log, "rb") as log:
            log.seek(max(0, os.path.getsize(self.log) - 8192))
            return b"\n".join(log.read().splitlines()[-lines:]).decode(errors="replace")


class Links:
    """The wide-area links: one link-proxy for all of them."""

    def __init__(self, binary, targets, log, before=(), options=()):
        command = [*before, binary, *options]
        for name, address in targets.items():
            command += ["--link", f"{name}={address}"]
        self.process = Process("link-proxy", command, log, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.lock = threading.Lock()
        self.addresses = json.loads(self.process.child.stdout.readline())["links"]

    def tell(self, command):
        with self.lock:
            self.process.child.stdin.write(command.encode() + b"\n")
            self.process.child.stdin.flush()
            reply = json.loads(self.process.child.stdout.readline())
        if reply.get("ok") is False:
            raise Failure(f"link-proxy: {command}: {reply['message']}")
        return reply

    def carried(self):
        """{edge: (bytes up, bytes down)} over all of its links."""
        sums = {}
        for name, link in self.tell("stats")["links"].items():
            edge = name.split("/")[0]
            up, down = sums.get(edge, (0, 0))
            sums[edge] = (up + link["up"], down + link["down"])
        return sums


class Cluster:
    """Hubs and edges under one folder, made by `tidelock dev init`. Use it as a context: leaving it stops everything.

    `shims` maps a node id to "offset_ms:rate_ppm"; with it the processes are of the test build, whose clock can be told to differ.
    `breaks` maps a node id to a fault to plant. With `reuse` a folder that holds a cluster already is taken as it is.
    """

    def __init__(self, bin_dir, folder, hubs=3, edges=4, sites=2, links=False, shims=None, breaks=None,
                 reuse=False):
        self.bin, self.folder = os.path.abspath(bin_dir), os.path.abspath(folder)
        self.shims, self.breaks = shims or {}, breaks or {}
        self.hubs = [f"hub-{i}" for i in range(1, hubs + 1)]
        self.edges = [f"edge-{i}" for i in range(1, edges + 1)]
        self.processes, self.links = {}, None
        os.makedirs(self.folder, exist_ok=True)
        self.logs = os.path.join(self.folder, "logs")
        os.makedirs(self.logs, exist_ok=True)
        if not (reuse and os.path.exists(os.path.join(self.folder, "client.toml"))):
            made = self.cli_json("dev", "init", "--dir", self.folder, "--hubs", hubs, "--edges", edges,
                                 "--sites", min(sites, max(edges, 1)), with_config=False)
            if not made["ok"]:
                raise Failure(f"tidelock dev init: {made['message']}")
        for node in self.hubs + self.edges:
            if not os.path.exists(self.config_file(node)):
                raise Failure(f"{self.folder} holds a cluster without {node}; choose another folder")
        self.config = {node: self._read_config(node) for node in self.hubs + self.edges}
        if links:
            self._make_links()

    def _read_config(self, node):
        with open(self.config_file(node), "rb") as file:
            return tomllib.load(file)

    def config_file(self, node):
        if node == "client":
            return os.path.join(self.folder, "client.toml")
        return os.path.join(self.folder, node, "hub.toml" if node.startswith("hub-") else "edge.toml")

    def rewrite(self, node, old, new):
        """Replaces text of a node's configuration by a regular expression; it must be there."""
        path = self.config_file(node)
        with open(path, encoding="utf-8") as file:
            text, count = re.subn(old, lambda _: new, file.read(), flags=re.MULTILINE)
        if not count:
            raise Failure(f"{path}: nothing matches {old}")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        self.config[node] = self._read_config(node)

    def _make_links(self):
        targets = {f"{edge}/{hub}": self.config[hub]["grpc"] for edge in self.edges for hub in self.hubs}
        self.links = Links(os.path.join(self.bin, "link-proxy"), targets, os.path.join(self.logs, "link-proxy.log"))
        for edge in self.edges:
            own = ", ".join(f'"{hub}={self.links.addresses[f"{edge}/{hub}"]}"' for hub in self.hubs)
            self.rewrite(edge, r"^hubs *= *\[.*\]", f"hubs = [{own}]")

    def before(self, _node):
        """What stands in front of a node's command line."""
        return []

    # --- processes -------------------------------------------------------------------------------------------------

    def binary(self, node=None):
        test = node is not None and (node in self.shims or node in self.breaks)
        return os.path.join(self.bin, "tidelock-test" if test else "tidelock")

    def start(self, node, wait=True, limits=None):
        env = {}
        if node in self.shims:
            env["TIDELOCK_CLOCK_SHIM"] = self.shims[node]
        if node in self.breaks:
            env["TIDELOCK_BREAK"] = self.breaks[node]
        role = "hub" if node.startswith("hub-") else "edge"
        process = Process(node, [*self.before(node), self.binary(node), role, "--config", self.config_file(node)], os.path.join(self.logs, f"{node}.log"),
                          env=env, limits=limits)
        self.processes[node] = process
        if wait:
            self.wait_ready(node)
        return process

    def start_all(self):
        for node in self.hubs + self.edges:
            self.start(node, wait=False)
        for node in self.hubs + self.edges:
            self.wait_ready(node)

    def wait_ready(self, node, seconds=READY_SECONDS):
        process, address = self.processes[node], self.config[node]["http"]
        def ready():
            if not process.alive():
                raise Failure(f"{node} ended with {process.child.returncode}; {process.log} ends:\n{process.last_words()}")
            return http_get(address, "/readyz")[0] == 200
        try:
            wait_until(f"{node} ready", ready, seconds)
        except Failure as failure:
            raise Failure(f"{failure}; {process.log} ends:\n{process.last_words()}") from None

    def kill(self, node):
        return self.processes[node].kill()

    def stop(self, node):
        return self.processes[node].stop()

    def close(self):
        for process in self.processes.values():
            process.signal(signal.SIGCONT)
            process.signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for process in self.processes.values():
            try:
                process.child.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
        if self.links:
            self.links.process.kill()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # --- questions -------------------------------------------------------------------------------------------------

    def cli(self, *arguments, with_config=True, timeout=60):
        command = [os.path.join(self.bin, "tidelock")]
        if with_config:
            command += ["--config", os.path.join(self.folder, "client.toml")]
        return subprocess.run(command + [str(word) for word in arguments], capture_output=True, text=True, timeout=timeout,
                              stdin=subprocess.DEVNULL)

    def cli_json(self, *arguments, with_config=True, timeout_ms=10_000):
        """The answer as a dict; an error is one with ok false, code and message."""
        flags = ["--json", "--timeout-ms", str(timeout_ms)]
        out = self.cli(*flags, *arguments, with_config=with_config, timeout=timeout_ms / 1000 + 30)
        try:
            answer = json.loads(out.stdout)
        except ValueError:
            return {"ok": False, "code": "no_answer", "message": (out.stderr or out.stdout or f"exit code {out.returncode}").strip()}
        if answer["ok"] != (out.returncode == 0):
            raise Failure(f"tidelock {' '.join(map(str, arguments))}: ok is {answer['ok']}, but the exit code {out.returncode}")
        return answer

    def active_hub(self, seconds=READY_SECONDS):
        """The id of the hub that says it is active."""
        def find():
            status = self.cli_json("status", timeout_ms=3_000)
            return status.get("active") if status["ok"] else None
        return wait_until("an active hub", find, seconds)

    def metrics(self, node):
        status, text = http_get(self.config[node]["http"], "/metrics")
        return parse_metrics(text) if status == 200 else {}

    def features(self, edge):
        """What became of the write-behind records that the edge accepted: {"written", "flushed", ...}."""
        with self.redis(edge) as redis:
            return json.loads(redis.call("TL.INFO"))["features"]

    def redis(self, edge, timeout=10):
        return Resp(self.config[edge]["redis"], timeout)

    def endpoints(self):
        """What `./dev cluster --endpoints FILE` writes."""
        hubs = [{"id": hub, "pid": self.processes[hub].pid, "grpc": self.config[hub]["grpc"], "http": self.config[hub]["http"]}
                for hub in self.hubs]
        edges = [{"id": edge, "site": self.config[edge]["site"], "pid": self.processes[edge].pid, "redis": self.config[edge]["redis"],
                  "redis_unix": self.config[edge]["redis_unix"], "http": self.config[edge]["http"],
                  "page": os.path.join(self.config[edge]["run_dir"], "page")} for edge in self.edges]
        return {"hubs": hubs, "edges": edges}


class Scratch:
    """A fresh folder, removed afterwards unless `keep` names where it shall be (and stay)."""

    def __init__(self, keep=None, prefix="tidelock-"):
        self.keep, self.prefix = keep, prefix

    def __enter__(self):
        if self.keep:
            os.makedirs(self.keep, exist_ok=True)
            self.path = os.path.abspath(self.keep)
        else:
            self.path = tempfile.mkdtemp(prefix=self.prefix)
        return self.path

    def __exit__(self, *_):
        if not self.keep:
            shutil.rmtree(self.path, ignore_errors=True)
