#!/usr/bin/python3
"""A real cluster under every fault we know of, while clients log all they are told and a checker looks for a lie.

Hubs, edges and apps are real processes with clocks of their own. A nemesis, drawn from --seed and printed before it begins, kills,
stops, cuts off, slows down, fills disks, flips bits and sets clocks. Clients log every operation with one clock that all share;
`history-check`, which has no code of the product, decides afterwards: strong reads linearizable, every bound true, tokens kept, what
was acknowledged there at the end, nothing served after its lifetime. Exit code 0: no violation; 1: some; 2: could not run.
"""

import argparse
import collections
import json
import mmap
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time

sys.dont_write_bytecode = True
import nemesis
import wide_area
from harness import READY_SECONDS, Cluster, Failure, Process, Resp, RespError, Scratch, http_get, now_ns, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
DISK_FAILED = 70       # how a hub ends whose store failed (docs/operations.md)
RECORD_FROM_MINUTES = 10
SMALL_DISK = "160m"
RECORD = struct.Struct("<qqQQqqQIHHBBBBBBBB")  # history.h
OPEN = 2**63 - 1


class NodeClock:
    """The file behind clock-preload: what one machine's clocks show differs from what ours do. Edge and apps share one."""

    def __init__(self, path, chance):
        with open(path, "wb") as out:
            out.write(bytes(48))
        with open(path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 48)
        self.path, self.changes = path, 0
        self.wall, self.slept, self.raw, self.rate, self.origin = 0, 0, chance.randrange(1, 10**18), 0, 0
        self.set_rate(chance.randrange(-150_000, 150_000))

    def _write(self, change):
        # Odd while it changes: readers wait, so that they never mix two settings.
        self.changes += 1
        struct.pack_into("<I", self.map, 0, self.changes)
        change()
        struct.pack_into("<qqqqq", self.map, 8, self.wall, self.slept, self.raw, self.rate, self.origin)
        self.changes += 1
        struct.pack_into("<I", self.map, 0, self.changes)

    def set_rate(self, ppb):
        def change():
            now = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
            if self.origin:
                self.raw += (now - self.origin) * self.rate // 1_000_000_000
            self.origin, self.rate = now, ppb
        self._write(change)

    def step_wall(self, ns):
        def change():
            self.wall += ns
        self._write(change)

    def suspend(self, ns):
        def change():
            self.slept += ns
            self.wall += ns
        self._write(change)


class ChaosCluster(Cluster):
    """A cluster whose nodes have clocks and, where root allows it, network namespaces and a small disk of their own."""

    def __init__(self, bin_dir, folder, hubs, edges, inside, seed):
        super().__init__(bin_dir, folder, hubs=hubs, edges=edges, sites=2)
        self.network = None
        chance = random.Random(f"clocks {seed}")
        self.clocks = {node: NodeClock(os.path.join(folder, f"clock-{node}"), chance) for node in self.hubs + self.edges}
        self.small_disks = [self.hubs[-1], self.edges[-1]] if inside else []
        for node in self.small_disks:
            os.makedirs(self.data(node), exist_ok=True)
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "tmpfs", self.data(node)], check=True)
        self.network = (wide_area.Routed if inside else wide_area.Proxied)(self)

    def data(self, node):
        return os.path.join(self.folder, node, "data")

    def before(self, node):
        return self.network.prefix(node) + self.with_clock(node)

    def with_clock(self, node):
        return ["env", f"LD_PRELOAD={os.path.join(self.bin, 'clock-preload.so')}", f"TIDELOCK_CLOCK_FILE={self.clocks[node].path}"]

    def redis(self, edge, timeout=10):  # over TCP only processes of its own machine are answered
        return Resp(os.path.join(self.config[edge]["run_dir"], "redis.sock"), timeout)

    def close(self):
        super().close()
        if self.network:
            self.network.close()
        for node in self.small_disks:
            subprocess.run(["umount", self.data(node)], check=False)


class Chaos:
    def __init__(self, options, folder, inside):
        self.options, self.folder, self.inside = options, folder, inside
        self.seconds = options.minutes * 60
        self.begin = time.monotonic()
        self.history = os.path.join(folder, "history")
        os.makedirs(self.history)
        self.processes = 0
        self.apps, self.down, self.frozen, self.flipped = {}, {}, collections.Counter(), {}
        self.ends = []  # (when, what ends a fault)
        self.faults, self.notes, self.problems = collections.Counter(), [], []
        self.forgotten, self.timeline = [], []
        self.models = 1 if self.seconds < 300 else 2

    def say(self, text):
        print(f"{time.monotonic() - self.begin:7.1f} s  {text}", file=sys.stderr, flush=True)

    def run(self):
        c = self.options
        without = set() if self.inside else {"full_disk"}
        hubs, edges = [f"hub-{i + 1}" for i in range(c.hubs)], [f"edge-{i + 1}" for i in range(c.edges)]
        self.events = nemesis.schedule(c.seed, self.seconds, hubs, edges, without | set(c.without))
        self.say(f"seed {c.seed}: {len(self.events)} faults in {self.seconds:.0f} s; replay: ./dev chaos --minutes {c.minutes:g} --seed {c.seed}"
                 f" --hubs {c.hubs} --edges {c.edges}")
        for event in self.events:
            print(f"  {event}", file=sys.stderr)
        self.say(f"network: {'a namespace for each node' if self.inside else 'link-proxy (namespaces need root)'}")
        with ChaosCluster(c.bin, os.path.join(self.folder, "cluster"), c.hubs, c.edges, self.inside, c.seed) as self.cluster:
            try:
                self.cluster.start_all()
                self.cluster.active_hub()
                self.release()
                self.load()
                self.settle()
            finally:
                for app in self.apps.values():
                    app.signal(signal.SIGCONT)
                    app.kill()
        return self.report()

    # --- the clients -----------------------------------------------------------------------------------------------

    def release(self):
        """Two versions of each model, staged: what the activations then go back and forth between."""
        cluster, assets = self.cluster, os.path.join(self.folder, "assets")
        for version in ("1.0.0", "2.0.0"):
            out = subprocess.run([os.path.join(cluster.bin, "camera-assets"), "--release", os.path.join(assets, version), "--version",
                                  version], capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)
            if out.returncode:
                raise Failure(f"camera-assets: {out.stderr.strip()}")
        for number in range(self.models):
            name = f"chaos-{number}"
            for version in ("1.0.0", "2.0.0"):
                for words in (("publish", os.path.join(assets, version), "--name", name, "--version", version, "--key",
                               os.path.join(cluster.folder, "model-key.pem")), ("stage", name, version)):
                    answer = cluster.cli_json("model", *words, timeout_ms=60_000)
                    if not answer["ok"]:
                        raise Failure(f"model {words[0]} {name} {version}: {answer['message']}")
                def staged(name=name):
                    status = cluster.cli_json("model", "status", name, timeout_ms=3_000)
                    return status["ok"] and len(status["staged_edges"]) == len(cluster.edges)
                wait_until(f"{name} {version} verified by every edge", staged, 120, step=0.3)
        self.say(f"{self.models} models with two versions are staged on {len(cluster.edges)} edges")

    def client(self, mode, edge=None):
        self.processes += 1
        log = os.path.join(self.history, f"{self.processes:05d}-{mode}")
        command = [os.path.join(self.cluster.bin, "chaos-app"), mode, "--process", str(self.processes), "--shared",
                   os.path.join(self.folder, "shared"), "--log", log, "--models", str(self.models)]
        if edge:
            command += ["--run-dir", self.cluster.config[edge]["run_dir"], "--gateway", edge.split("-")[1], "--reads",
                        str(self.options.reads), "--sample", str(self.options.sample)]
            command = self.cluster.before(edge) + command
        else:
            command += ["--config", self.cluster.config_file("client")]
        return Process(f"chaos-app {mode} {edge or ''}", command, os.path.join(self.cluster.logs, f"app-{edge or mode}.log"))

    # --- the load --------------------------------------------------------------------------------------------------

    def load(self):
        self.apps["hubs"] = self.client("operator")
        for edge in self.cluster.edges:
            self.apps[edge] = self.client("edge", edge)
        self.load_begin = time.monotonic()
        events, said = list(self.events), 0
        while (passed := time.monotonic() - self.load_begin) < self.seconds:
            while self.ends and self.ends[0][0] <= passed:
                self.ends.pop(0)[1]()
            while events and events[0].at <= passed:
                self.strike(events.pop(0), passed)
            self.look_after()
            if passed - said > 30:
                said = passed
                self.say(f"{sum(self.faults.values())} faults, {self.processes} clients so far")
            time.sleep(0.02)

    def later(self, when, what):
        self.ends.append((when, what))
        self.ends.sort(key=lambda end: end[0])

    def strike(self, event, passed):
        """Begins a fault and puts down how it ends."""
        node = event.target
        if event.fault in ("kill_active", "stop_active"):
            node = next((hub for hub in self.cluster.hubs if self.alive(hub) and self.is_active(hub)), node)
        if event.fault == "full_disk":
            node = self.cluster.small_disks[event.number % len(self.cluster.small_disks)]
        kind, _, role = event.fault.partition("_")
        done = getattr(self, f"{kind}_app" if role == "app" else kind)(node, event, passed + event.seconds)
        if done is not False:
            self.faults[event.fault] += 1
            self.timeline.append((now_ns(), event.fault, node, event.seconds))

    def is_active(self, hub):
        if self.frozen[hub]:
            return False
        status, text = http_get(self.cluster.config[hub]["http"], "/metrics", timeout=0.2)
        return status == 200 and "tidelock_hub_active 1" in text

    def alive(self, node):
        return node not in self.down and self.cluster.processes[node].alive()

    def kill(self, node, event, until):
        nodes = self.cluster.hubs if event.fault == "kill_hubs" else [node]
        nodes = [one for one in nodes if self.alive(one)]
        for one in nodes:
            self.down[one] = True
            self.cluster.kill(one)
            self.later(until, lambda one=one: self.start(one))
        return bool(nodes)

    def start(self, node):
        self.frozen[node] = 0
        self.down.pop(node, None)
        if not self.cluster.processes[node].alive():
            self.cluster.start(node, wait=False)

    def stop(self, node, event, until):
        if not self.alive(node):
            return False
        process = self.cluster.processes[node]
        self.frozen[node] += 1
        process.signal(signal.SIGSTOP)
        def go_on():
            self.frozen[node] = max(0, self.frozen[node] - 1)
            process.signal(signal.SIGCONT)
        self.later(until, go_on)
        return True

    def kill_app(self, node, _event, until):
        self.apps[node].kill()
        self.later(until, lambda: self.start_app(node))

    def start_app(self, node):
        if not self.apps[node].alive():
            self.apps[node] = self.client("edge", node)

    def stop_app(self, node, _event, until):
        app = self.apps[node]
        app.signal(signal.SIGSTOP)
        self.later(until, lambda: app.signal(signal.SIGCONT))

    def stutter_app(self, node, event, until):
        """Stopped and let go again and again: some stops fall between two loads of a read."""
        chance, app, at = random.Random(event.number), self.apps[node], until - event.seconds
        while at < until:
            for what in (signal.SIGSTOP, signal.SIGCONT):
                self.later(at, lambda what=what: app.signal(what))
                at += chance.uniform(0.001, 0.04)
        self.later(until + 0.1, lambda: app.signal(signal.SIGCONT))

    def others(self, node):
        return [hub for hub in self.cluster.hubs + (self.cluster.edges if node in self.cluster.hubs else []) if hub != node]

    def cut(self, node, _event, until, deaf=True, mute=True):
        for other in self.others(node):
            if mute:
                self.cluster.network.cut(node, other)
            if deaf:
                self.cluster.network.cut(other, node)
        self.later(until, lambda: self.heal(node))

    def deaf(self, node, event, until):
        self.cut(node, event, until, mute=False)

    def mute(self, node, event, until):
        self.cut(node, event, until, deaf=False)

    def heal(self, node):
        for other in self.others(node):
            self.cluster.network.heal(node, other)

    def flap(self, node, event, until):
        chance, at = random.Random(event.number), until - event.seconds
        while at < until:
            for what in (lambda: self.cut(node, None, until + 0.2), lambda: self.heal(node)):
                self.later(at, what)
                at += chance.uniform(0.05, 0.4)

    def slow(self, node, event, until):
        edges = self.cluster.network.shaped()
        edge = node if node in edges else edges[event.number % len(edges)]
        chance = random.Random(event.number)
        self.cluster.network.shape(edge, chance.randrange(5, 250), chance.choice((0, 20_000, 100_000)))
        self.later(until, lambda: self.cluster.network.shape(edge, 0, 0))

    def drop(self, node, event, _until):
        edges = self.cluster.network.shaped()
        self.cluster.network.drop(node if node in edges else edges[event.number % len(edges)])

    def full(self, node, _event, until):
        """Not a byte is left; a node that ends of it is started again when there is room."""
        ballast = os.path.join(self.cluster.data(node), "ballast")
        room = os.statvfs(self.cluster.data(node))
        with open(ballast, "wb") as out:
            try:
                os.posix_fallocate(out.fileno(), 0, max(1, room.f_bavail * room.f_bsize))
            except OSError:
                pass
        def make_room():
            if os.path.exists(ballast):
                os.unlink(ballast)
            if not self.alive(node):
                self.start(node)
        self.later(until, make_room)
        self.notes.append((node, "full"))

    def clock(self, node, event, _until):
        chance = random.Random(event.number)
        if event.fault == "clock_rate":
            self.cluster.clocks[node].set_rate(chance.randrange(-150_000, 150_001))
        else:
            self.cluster.clocks[node].step_wall(chance.choice((-1, 1)) * chance.choice((300, 2_000, 60_000, 3_600_000)) * 1_000_000)

    def suspend(self, node, event, _until):
        # Longer than the millisecond from which on it is noticed, and so short that no lifetime ends by it: true time does not pass.
        self.cluster.clocks[node].suspend(random.Random(event.number).randrange(5, 20) * 1_000_000)

    # --- damaged files ---------------------------------------------------------------------------------------------

    def flip(self, node, event, until):
        """Bits flip while a process is down. It must refuse, or repair, and never show a wrong value. A hub keeps a copy of its folder
        and gets it back when it refuses; an edge gets an empty one (its copies come again, its unsent writes are gone with its disk)."""
        if not self.alive(node) or (node in self.cluster.hubs and self.flipped):
            return False
        self.down[node] = True
        self.cluster.kill(node)
        data, copy = self.cluster.data(node), os.path.join(self.folder, f"copy-{node}")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(data, copy)
        chance = random.Random(event.number)
        files = sorted(os.path.join(place, name) for place, _, names in os.walk(data) for name in names
                       if os.path.getsize(os.path.join(place, name)) > 0 and name != "ballast")
        for path in chance.sample(files, min(len(files), 3)):
            with open(path, "r+b") as file:
                at = chance.randrange(os.path.getsize(path))
                file.seek(at)
                old = file.read(1)[0]
                file.seek(at)
                file.write(bytes([old ^ 1 << chance.randrange(8)]))
            self.say(f"flipped a bit of {os.path.relpath(path, self.folder)} at {at}")
        self.flipped[node] = copy
        self.later(until, lambda: self.start(node))
        return True

    def replace(self, node, process):
        """A node that found its files damaged."""
        data, copy = self.cluster.data(node), self.flipped[node]
        if node in self.cluster.hubs:
            # Only at its start: it has told nobody anything since the copy was made.
            if http_get(self.cluster.config[node]["http"], "/healthz", timeout=0.2)[0] == 0 and not self.ran_since_flip(process):
                self.empty(data)
                shutil.copytree(copy, data, dirs_exist_ok=True)
                self.faults["refused_damaged_hub"] += 1
                del self.flipped[node]
            else:
                self.faults["lost_hub"] += 1
                self.down[node] = True
                self.say(f"{node} is lost: it ran on damaged files and ended; {process.last_words(3)}")
                return
        else:
            self.empty(data)
            self.forgotten.append((int(node.split("-")[1]), now_ns()))
            self.faults["refused_damaged_edge"] += 1
            del self.flipped[node]
        self.start(node)

    @staticmethod
    def empty(folder):
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)

    @staticmethod
    def ran_since_flip(process):
        """Whether it joined its cluster before it ended, by its own log."""
        with open(process.log, encoding="utf-8", errors="replace") as log:
            log.seek(process.log_from)
            return "leader" in log.read()

    def look_after(self):
        """Nodes that ended by themselves: because of a disk, because of damage, or for a reason that is a finding."""
        for node, process in list(self.cluster.processes.items()):
            if node in self.down or process.alive():
                continue
            code = process.child.returncode
            ballast = os.path.join(self.cluster.data(node), "ballast")
            if node in self.flipped:
                self.say(f"{node}, whose files are damaged, ended with {code}")
                self.replace(node, process)
            elif node in self.cluster.small_disks and (node, "full") in self.notes:
                self.faults["ended_on_full_disk"] += 1
                if not os.path.exists(ballast):
                    self.start(node)
                else:
                    self.down[node] = True  # until there is room
            else:
                self.problems.append(f"{node} ended with {code}: {process.last_words(5)}")
                self.say(f"{node} ended by itself with {code}")
                self.start(node)
        for edge, app in list(self.apps.items()):
            if app.child.poll() not in (None, -signal.SIGKILL):
                self.problems.append(f"the client of {edge} ended with {app.child.returncode}: {app.last_words(5)}")
                self.apps[edge] = self.client("edge", edge) if edge != "hubs" else self.client("operator")

    # --- the end ---------------------------------------------------------------------------------------------------

    def settle(self):
        """No more faults: all must come back, drain, and show what was acknowledged (I10)."""
        for _, end in self.ends:
            end()
        self.ends = []
        cluster = self.cluster
        for node in cluster.hubs + cluster.edges:
            self.heal(node)
            cluster.processes[node].signal(signal.SIGCONT)
        for edge in cluster.network.shaped():
            cluster.network.shape(edge, 0, 0)
        for app in self.apps.values():
            app.signal(signal.SIGCONT)
        healed = time.monotonic()
        def ready():
            self.look_after()
            nodes = [node for node in cluster.hubs + cluster.edges if node not in self.down]
            return all(http_get(cluster.config[node]["http"], "/readyz")[0] == 200 for node in nodes)
        try:
            wait_until("every node ready after the last fault", ready, 2 * READY_SECONDS, step=0.2)
            cluster.active_hub()
            time.sleep(2)  # of load without faults
        except Failure as failure:
            self.problems.append(str(failure))
        for name, app in self.apps.items():
            code = app.stop(30)
            if code != 0:
                self.problems.append(f"the client of {name} did not end on SIGTERM: {code}")
        self.apps = {}
        try:
            wait_until("every edge has flushed its outbox", lambda: all(self.features(edge).get("pending") == 0 for edge in cluster.edges), 90,
                       step=0.2)
            self.event(3, now_ns())
        except Failure as failure:
            self.problems.append(f"{failure}; {({edge: self.features(edge) for edge in cluster.edges})}")
        self.converged_s = time.monotonic() - healed
        for gateway, at in self.forgotten:
            self.event(4, at, gateway)
        self.books()
        time.sleep(1)  # so that a bound of half a second reaches back to the drain, not further
        for reader in [self.client("final", edge) for edge in cluster.edges]:
            reader.child.wait(120)
        self.say(f"healed, drained and read after {time.monotonic() - healed:.1f} s")

    def features(self, edge):
        try:
            return self.cluster.features(edge)
        except (OSError, RespError, ValueError):
            return {}

    def books(self):
        for edge in self.cluster.edges:
            counters = self.features(edge)
            wiped = any(gateway == int(edge.split("-")[1]) for gateway, _ in self.forgotten)
            parts = ("flushed", "superseded", "expired", "pending", "shed", "lost")
            if counters and (counters["written"] != sum(counters[part] for part in parts) or counters["lost"]) and not wiped:
                self.problems.append(f"the books of {edge} do not balance: {counters}")

    def event(self, kind, at, gateway=0):
        with open(os.path.join(self.history, f"event-{kind}-{gateway}-{at}.hist"), "wb") as out:
            out.write(struct.pack("<IIQ", 0x314C4448, RECORD.size, 0))
            out.write(RECORD.pack(at, at, 0, 0, OPEN, 0, 0, 0, 0, gateway, kind, 0, 0, 1, 0, 0, 0, 0))

    # --- the verdict -----------------------------------------------------------------------------------------------

    def report(self):
        logs = sorted(os.path.join(self.history, name) for name in os.listdir(self.history) if name.endswith(".hist"))
        out = subprocess.run([os.path.join(self.options.bin, "history-check"), *logs], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if out.returncode not in (0, 1):
            raise Failure(f"history-check: {out.stderr.strip()}")
        verdict = json.loads(out.stdout)
        for violation in verdict["first"]:  # what was being done to the cluster then
            at = violation["record"]["begin"]
            violation["faults_before"] = [f"{(begin - at) / 1e9:+.3f} s {fault} {node} for {lasts:.2f} s" for begin, fault, node, lasts in self.timeline
                                          if at - 8_000_000_000 < begin < (violation["record"]["end"] or at)]
        # A hub that has just started does not know how long it was away: lifetimes are stretched by outages (docs/protocol.md, "The
        # ledger's clock"). Told apart where a hub was killed, so that every other rule is held to in such runs, too.
        restarted = any(self.faults[fault] for fault in ("kill_hub", "kill_active", "kill_hubs", "full_disk", "flip_hub"))
        stretched = sum(verdict["by_rule"].get(rule, 0) for rule in ("expired_value", "resurrected")) if restarted else 0
        violations = verdict["violations"] - stretched
        operations = verdict["operations"]
        for what in ("strong_reads", "bounded_reads", "local_reads", "writes_acknowledged"):
            if not operations[what]:
                self.problems.append(f"no {what} in the whole run: it proves nothing")
        if not self.faults:
            self.problems.append("no fault in the whole run: it proves nothing")
        answered = sum(count for name, count in operations.items() if name.endswith("_reads") and name != "refused_reads")
        writes = operations["writes_acknowledged"] + operations["writes_unknown"] + operations["writes_refused"]
        return {
            "build": build_id(), "seed": self.options.seed, "minutes": self.options.minutes, "hubs": self.options.hubs, "edges": self.options.edges,
            "network": self.cluster.network.name, "ok": not violations and not self.problems,
            "violations": violations, "lifetimes_stretched": stretched, "violations_by_rule": verdict["by_rule"], "problems": self.problems,
            "checked_operations": verdict["checked"], "operations": operations, "of_these": verdict["of_these"],
            "finals_undecided": verdict["finals_undecided"], "faults": dict(sorted(self.faults.items())),
            "fault_count": sum(self.faults.values()), "checker_ops_per_s": verdict["checker_ops_per_s"],
            "reads_answered_share": round(answered / max(1, answered + operations["refused_reads"]), 6),
            "reads_flagged_share": round(verdict["of_these"]["flagged"] / max(1, answered), 6),
            "writes_acknowledged_share": round(operations["writes_acknowledged"] / max(1, writes), 6),
            "seconds_to_converge": round(self.converged_s, 1), "first_violations": verdict["first"],
        }


def build_id():
    out = subprocess.run(["git", "-C", HERE, "describe", "--always", "--dirty", "--abbrev=12"], capture_output=True, text=True)
    return out.stdout.strip() or "unknown"


def show(report):
    lines = [f"  {name:<26} {report[name]}" for name in
             ("network", "checked_operations", "violations", "lifetimes_stretched", "checker_ops_per_s", "fault_count", "reads_answered_share", "reads_flagged_share",
              "writes_acknowledged_share", "finals_undecided", "seconds_to_converge")]
    lines += [f"  {name:<26} {count}" for name, count in report["operations"].items()]
    lines += [f"  fault {fault:<20} {count}" for fault, count in report["faults"].items()]
    lines += [f"  VIOLATION {one['rule']}: {one['what']}\n    {json.dumps(one['record'])}\n    {json.dumps(one.get('witness'))}\n    {', '.join(one['faults_before'])}"
              for one in report["first_violations"]]
    lines += [f"  PROBLEM {one}" for one in report["problems"]]
    print("\n".join(lines), file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(prog="./dev chaos", description=__doc__.splitlines()[0],
                                     epilog="example: ./dev chaos --minutes 30 --seed 7 --json chaos.json")
    parser.add_argument("--bin", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32), help="decides every fault; drawn when not given")
    parser.add_argument("--json", help="write the report there")
    parser.add_argument("--hubs", type=int, default=3)
    parser.add_argument("--edges", type=int, default=5)
    parser.add_argument("--reads", type=int, default=300, help="mixed reads a second and app")
    parser.add_argument("--sample", type=int, default=16, help="of the reads in bursts, one in so many is logged")
    parser.add_argument("--without", nargs="*", default=[], choices=sorted(nemesis.FAULTS), metavar="FAULT", help="faults to leave out")
    parser.add_argument("--proxy", action="store_true", help="no namespaces, though root would allow them")
    parser.add_argument("--keep", help="run in this folder and leave it there")
    parser.add_argument("--record", action="store_true", help="append to docs/proof-data/chaos.jsonl; runs of ten minutes and more always do")
    options = parser.parse_args()
    inside = not options.proxy and wide_area.enter_namespace()
    if not inside:
        os.environ.pop(wide_area.INSIDE, None)
    try:
        with Scratch(options.keep, "tidelock-chaos-") as folder:
            report = Chaos(options, folder, inside).run()
    except Failure as failure:
        print(f"chaos: seed {options.seed}: {failure}", file=sys.stderr)
        return 2
    show(report)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as out:
            json.dump(report, out, indent=1)
            out.write("\n")
    if options.record or options.minutes >= RECORD_FROM_MINUTES:
        record(report)
    print(f"chaos: seed {options.seed}: {report['checked_operations']} operations checked, {report['fault_count']} faults, "
          f"{report['violations']} violations, {len(report['problems'])} problems")
    return 0 if report["ok"] else 1


def record(report):
    kept = {name: value for name, value in report.items() if name not in ("first_violations", "problems")} | {"problems": len(report["problems"])}
    path = os.path.join(HERE, "..", "..", "docs", "proof-data", "chaos.jsonl")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "a", encoding="utf-8") as out:
        out.write(json.dumps(kept) + "\n")


if __name__ == "__main__":
    sys.exit(main())
