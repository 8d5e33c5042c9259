"""What the benches in Python share: the report, a writer that takes turns, and etcd as a peer."""

import argparse
import fcntl
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "system"))
from figures import percentile
from harness import Failure, Process, Scratch, now_ns, wait_until  # noqa: F401 (for the benches)
from transfers import must  # noqa: F401


def row(figure, value, unit, floor=None, aim=None, peer=None, peer_value=None):
    ratio = value / peer_value if value is not None and peer_value else None
    rounded = [None if number is None else float(f"{number:.4g}") for number in (value, peer_value, ratio)]
    return {"figure": figure, "value": rounded[0], "unit": unit, "floor": floor, "aim": aim, "peer": peer,
            "peer_value": rounded[1], "ratio": rounded[2]}


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        model = next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), "unknown processor")
    return f"{model}, {os.cpu_count()} processors"


def file_system(folder):
    return subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, text=True, check=True).stdout.strip()


def _text(number):
    return "" if number is None else f"{number:.4g}"


def table(name, rows):
    lines = [f"{name} on {machine()}", f"{'figure':<44} {'value':>9} {'unit':<5} {'floor':>7} {'aim':>7}  peer"]
    for one in rows:
        verdict = ""
        if one["floor"] is not None and one["value"] is not None:
            aim = one["aim"] if one["aim"] is not None else one["floor"]
            verdict = "  MISSED" if one["value"] > one["floor"] else "  ok" if one["value"] > aim else "  aim"
        peer = one["peer"] or ""
        if one["peer_value"] is not None:
            peer += f": {_text(one['peer_value'])} (ratio {one['ratio']:.2g})"
        lines.append(f"{one['figure']:<44} {_text(one['value']):>9} {one['unit']:<5} {_text(one['floor']):>7} {_text(one['aim']):>7}"
                     f"  {peer}{verdict}")
    return "\n".join(lines)


def arguments(name, text, add=lambda parser: None):
    parser = argparse.ArgumentParser(prog=f"./dev bench {name}", description=text.strip().splitlines()[0])
    parser.add_argument("--bin", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--json", help="write the rows to this file as well")
    parser.add_argument("--dir", default="/var/tmp", help="where the run keeps its data: the disk under it is measured too")
    add(parser)
    return parser.parse_args()


def main(name, options, run):
    """Runs `run(options, folder)`, which answers the rows; prints them. The exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with Scratch(None, os.path.join(os.path.abspath(options.dir), "tidelock-bench-")) as folder:
            rows = run(options, folder)
        print(table(name, rows))
        if options.json:
            with open(options.json, "w", encoding="utf-8") as out:
                json.dump({"name": name, "machine": machine(), "rows": rows}, out, indent=1)
                out.write("\n")
        return 0
    except (Failure, OSError) as failure:
        print(f"bench {name}: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


class Writer:
    """bench/tools/writer.cc: writes one after another, on demand. Answers (begin, end, index) of each acknowledged write."""

    def __init__(self, bin_dir, kind, where, log):
        self.process = Process(f"writer {kind}", [os.path.join(bin_dir, "bench-writer"), kind, where], log,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.out, self.rest = self.process.child.stdout, b""
        fcntl.fcntl(self.out.fileno(), fcntl.F_SETPIPE_SZ, 1 << 20)  # a writer that waits for its reader measures nothing

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()

    def _ask(self, count):
        self.process.child.stdin.write(b"%d\n" % count)
        self.process.child.stdin.flush()

    def _parse(self, line):
        begin, end, index, *why = line.decode(errors="replace").split(" ", 3)
        return int(begin), int(end), int(index), why[0] if why else ""

    def batch(self, count):
        """`count` writes; a Failure when one was refused."""
        self._ask(count)
        writes = []
        for line in iter(self.out.readline, b"\n"):
            if not line:
                raise Failure(f"{self.process.name} ended; {self.process.log} ends:\n{self.process.last_words()}")
            writes.append(self._parse(line))
        refused = [why for *_, why in writes if why]
        if refused:
            raise Failure(f"{self.process.name}: {len(refused)} of {count} writes were not acknowledged: {refused[0]}")
        return [tuple(write) for *write, _ in writes]

    def start(self):
        """Writes without end; `until` reads along."""
        os.set_blocking(self.out.fileno(), False)
        self._ask(0)

    def until(self, wanted, seconds):
        """The first acknowledged write for which `wanted(begin, end)` holds; older ones are read and forgotten."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            ready, _, _ = select.select([self.out], [], [], max(0, deadline - time.monotonic()))
            chunk = os.read(self.out.fileno(), 1 << 16) if ready else None
            if chunk == b"":
                raise Failure(f"{self.process.name} ended; {self.process.log} ends:\n{self.process.last_words()}")
            *lines, self.rest = (self.rest + (chunk or b"")).split(b"\n")
            for line in lines:
                begin, end, _, why = self._parse(line)
                if not why and wanted(begin, end):
                    return begin, end
        raise Failure(f"{self.process.name}: no acknowledged write within {seconds} s")


class Tool:
    """A program of bench/tools that answers one line for each line it is told."""

    def __init__(self, bin_dir, name, arguments, log, env=None):
        self.process = Process(name, [os.path.join(bin_dir, name), *arguments], log, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               env=env or {})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()

    def listen(self, seconds):
        """The next line it says."""
        ready, _, _ = select.select([self.process.child.stdout], [], [], seconds)
        line = self.process.child.stdout.readline().decode().strip() if ready else ""
        if not line:
            raise Failure(f"{self.process.name} said nothing within {seconds} s; {self.process.log} ends:\n{self.process.last_words()}")
        return line

    def tell(self, words):
        self.process.child.stdin.write(words.encode() + b"\n")
        self.process.child.stdin.flush()

    def ask(self, words, seconds=120):
        self.tell(words)
        return self.listen(seconds)


def publish_and_stage(cluster, model, version, made, staged_edges):
    """A release of the folder `made`, verified by so many gateways."""
    must(cluster.cli_json("model", "publish", made, "--name", model, "--version", version, "--key",
                          os.path.join(cluster.folder, "model-key.pem"), timeout_ms=60_000), f"publish {version}")
    must(cluster.cli_json("model", "stage", model, version), f"stage {version}")
    def staged():
        status = cluster.cli_json("model", "status", model, timeout_ms=3_000)
        return status["ok"] and len(status["staged_edges"]) == staged_edges
    wait_until(f"{version} verified by {staged_edges} gateways", staged, 120, step=0.2)


def pss_bytes(pid):
    """The process's share of memory: what only it uses, and of what several use its part of each page."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as rollup:
        return next(int(line.split()[1]) * 1024 for line in rollup if line.startswith("Pss:"))


def milliseconds(writes):
    return [(end - begin) / 1e6 for begin, end, _ in writes]


class EtcdCluster:
    """Three members on loopback under one folder, without TLS. `election_ms` None leaves what etcd ships."""

    def __init__(self, folder, ports, election_ms=None):
        self.folder, self.processes = folder, {}
        self.clients = {f"etcd-{i}": f"127.0.0.1:{ports[2 * i - 2]}" for i in (1, 2, 3)}
        self.peers = {f"etcd-{i}": f"127.0.0.1:{ports[2 * i - 1]}" for i in (1, 2, 3)}
        self.election_ms = election_ms
        os.makedirs(folder, exist_ok=True)

    def __enter__(self):
        for name in self.clients:
            self.start(name)
        self.leader()
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            process.kill()

    def start(self, name):
        command = ["etcd", "--name", name, "--data-dir", os.path.join(self.folder, name), "--logger", "zap", "--log-level", "error",
                   "--listen-client-urls", f"http://{self.clients[name]}", "--advertise-client-urls", f"http://{self.clients[name]}",
                   "--listen-peer-urls", f"http://{self.peers[name]}", "--initial-advertise-peer-urls", f"http://{self.peers[name]}",
                   "--initial-cluster", ",".join(f"{other}=http://{address}" for other, address in self.peers.items())]
        if self.election_ms:
            command += ["--election-timeout", str(self.election_ms), "--heartbeat-interval", str(self.election_ms // 10)]
        self.processes[name] = Process(name, command, os.path.join(self.folder, f"{name}.log"))

    def leader(self, seconds=30):
        """The name of the member that leads, as that member itself says."""
        def find():
            for name, address in self.clients.items():
                if not self.processes[name].alive():
                    continue
                out = subprocess.run(["etcdctl", "--endpoints", f"http://{address}", "--command-timeout", "2s", "endpoint", "status", "-w",
                                      "json"], capture_output=True, text=True, timeout=20, env={**os.environ, "ETCDCTL_API": "3"},
                                     stdin=subprocess.DEVNULL)
                try:
                    status = json.loads(out.stdout)[0]["Status"]
                except (ValueError, LookupError):
                    continue
                if status.get("leader") == status["header"]["member_id"]:
                    return name
            return None
        return wait_until("a leader of etcd", find, seconds)

    def wait_started(self, name, seconds=30):
        """Until that member answers for itself again, with an entry of its log at hand."""
        def answers():
            out = subprocess.run(["etcdctl", "--endpoints", f"http://{self.clients[name]}", "--command-timeout", "2s", "endpoint", "health"],
                                 capture_output=True, text=True, timeout=20, env={**os.environ, "ETCDCTL_API": "3"}, stdin=subprocess.DEVNULL)
            return out.returncode == 0
        wait_until(f"{name} healthy", answers, seconds, step=0.1)

    def addresses(self, first):
        return ",".join([self.clients[first]] + [address for name, address in self.clients.items() if name != first])


def etcd_version():
    try:
        out = subprocess.run(["etcd", "--version"], capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        return None
    return "etcd " + re.search(r"etcd Version: (\S+)", out.stdout)[1]


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
