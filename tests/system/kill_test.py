#!/usr/bin/python3
"""kill -9 of hubs and edges, again and again under load: they come back by themselves and nothing acknowledged is gone.

`kill_test.py --bin DIR [--count N] [--seed S] [--keep DIR]`. N kills of each role; the seed is printed and replays the choices
(not the timing of a real machine). Each round kills an edge, one hub (half of the time the active one) or, one time in eight,
every hub at once; starts it again; and then checks, while writers go on:
- the restarted process is ready without a human step;
- every edge shows its own acknowledged writes, and other edges' as far as the bound says (a history per key, one writer each);
- at the end, after a drain, every edge shows every acknowledged write, and the books of every edge balance.
"""

import argparse
import random
import sys
import threading
import time

sys.dont_write_bytecode = True
import judge
from harness import Cluster, Failure, RespError, Scratch, now_ns, wait_until

KEYS_PER_WRITER = 8
TTL_MS = 3_600_000
ACKS = ("os", "disk", "disk", "origin")


class Writer(threading.Thread):
    """Writes rising numbers to its own keys through one edge, and remembers what it was told. Survives its edge."""

    def __init__(self, cluster, edge, number):
        super().__init__(daemon=True)
        self.cluster, self.edge = cluster, edge
        self.keys = [f"feature:kill:{edge}:{number}:{k}" for k in range(KEYS_PER_WRITER)]
        self.lock = threading.Lock()
        self.tried = dict.fromkeys(self.keys, 0)
        self.acked = dict.fromkeys(self.keys, 0)  # by any level: survives a kill of the edge
        self.at_hub = {key: [] for key in self.keys}  # (end, number) of writes that the hub has
        self.acknowledged = self.unknown = 0
        self.stopping = threading.Event()

    def run(self):
        redis, count = None, 0
        while not self.stopping.is_set():
            key, ack = self.keys[count % KEYS_PER_WRITER], ACKS[(count // KEYS_PER_WRITER) % len(ACKS)]
            count += 1
            with self.lock:
                self.tried[key] += 1
                number = self.tried[key]
            sent = False
            try:
                redis = redis or self.cluster.redis(self.edge, timeout=8)
                sent = True
                redis.call("TL.SET", key, str(number), "PX", str(TTL_MS), "ACK", ack)
            except RespError:
                with self.lock:
                    self.unknown += 1
            except (OSError, ConnectionError, ValueError):
                with self.lock:
                    self.unknown += sent
                if redis:
                    redis.close()
                redis = None
                self.stopping.wait(0.05)
            else:
                with self.lock:
                    self.acked[key] = number
                    self.acknowledged += 1
                    if ack == "origin":
                        self.at_hub[key] = self.at_hub[key][-200:] + [(now_ns(), number)]
            self.stopping.wait(0.003)
        if redis:
            redis.close()

    def snapshot(self, key):
        """(acknowledged so far, what the hub had and since when)."""
        with self.lock:
            return self.acked[key], list(self.at_hub[key])


class Kills:
    def __init__(self, cluster, seed):
        self.cluster, self.random = cluster, random.Random(seed)
        self.writers = [Writer(cluster, edge, number) for edge in cluster.edges for number in range(2)]
        self.reads = 0

    def say(self, text):
        print(text, file=sys.stderr, flush=True)

    def run(self, count):
        for writer in self.writers:
            writer.start()
        rounds = ["hub"] * count + ["edge"] * count
        self.random.shuffle(rounds)
        for number, role in enumerate(rounds, 1):
            begin = time.monotonic()
            nodes = self.victims(role)
            time.sleep(self.random.uniform(0.05, 0.6))
            for node in nodes:
                self.cluster.kill(node)
            time.sleep(self.random.uniform(0.0, 0.5))
            for node in nodes:
                self.cluster.start(node, wait=False)
            for node in nodes:
                self.cluster.wait_ready(node)
            if role == "hub":
                wait_until("one active hub", self.active, 30)
            self.check_reads()
            self.say(f"{number}/{len(rounds)} kill -9 {' '.join(nodes)}: back after {time.monotonic() - begin:.1f} s")
        for writer in self.writers:
            writer.stopping.set()
        for writer in self.writers:
            writer.join(20)
        self.check_end()

    def victims(self, role):
        if role == "edge":
            return [self.random.choice(self.cluster.edges)]
        if self.random.randrange(8) == 0:
            return list(self.cluster.hubs)
        active = self.active()
        return [active if active and self.random.randrange(2) else self.random.choice(self.cluster.hubs)]

    def active(self):
        return next((hub for hub in self.cluster.hubs if self.cluster.metrics(hub).get("tidelock_hub_active") == 1), None)

    def read(self, redis, key, bound_ms=1000):
        """(number, bound, begin) of one bounded read; number 0 when there is nothing, None when the edge refuses."""
        begin = now_ns()
        try:
            reply = redis.call("TL.GET", key, "BOUND", str(bound_ms), "DEADLINE", "3000")
        except RespError:
            return None, 0, begin
        self.reads += 1
        bound = (reply["bound_us"] + 1) * 1000 if reply["bound_us"] >= 0 else judge.FOREVER
        return int(reply["value"] or 0), bound, begin

    def check_reads(self):
        for edge in self.cluster.edges:
            with self.cluster.redis(edge) as redis:
                for writer in self.writers:
                    key = self.random.choice(writer.keys)
                    acked, at_hub = writer.snapshot(key)
                    number, bound, begin = self.read(redis, key)
                    if number is None:
                        continue
                    least = max((n for end, n in at_hub if end < begin - bound), default=0)
                    if writer.edge == edge:
                        least = max(least, acked)  # an edge shows what it accepted itself
                    if number < least:
                        raise Failure(f"{edge} shows {key} = {number}, bound {bound / 1e6:.1f} ms; {least} was acknowledged by {writer.edge}")
                    if number > writer.tried[key]:
                        raise Failure(f"{edge} shows {key} = {number}, which nobody wrote yet")

    def check_end(self):
        wait_until("every outbox is empty", lambda: all(self.cluster.features(edge)["pending"] == 0 for edge in self.cluster.edges), 60)
        drained = now_ns()
        time.sleep(0.6)
        for edge in self.cluster.edges:
            with self.cluster.redis(edge) as redis:
                for writer in self.writers:
                    for key in writer.keys:
                        number, bound, begin = self.read(redis, key, 500)
                        if number is None or begin - bound < drained:
                            raise Failure(f"{edge} cannot prove {key} after everything was healed (bound {bound / 1e6:.1f} ms)")
                        if not writer.acked[key] <= number <= writer.tried[key]:
                            raise Failure(f"{edge} shows {key} = {number}; {writer.acked[key]} was acknowledged, {writer.tried[key]} tried")
        for edge in self.cluster.edges:
            counters = self.cluster.features(edge)
            if counters["written"] != sum(counters[name] for name in judge.SUM) or counters["lost"]:
                raise Failure(f"the books of {edge} do not balance: {counters}")
            acknowledged = sum(writer.acknowledged for writer in self.writers if writer.edge == edge)
            unknown = sum(writer.unknown for writer in self.writers if writer.edge == edge)
            if not acknowledged <= counters["written"] <= acknowledged + unknown:
                raise Failure(f"{edge} counts {counters['written']} writes; {acknowledged} were acknowledged, {unknown} unknown")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", required=True)
    parser.add_argument("--count", type=int, default=5, help="kills of each role")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--keep", help="run in this folder and leave it there")
    options = parser.parse_args()
    print(f"kill_test: seed {options.seed}", file=sys.stderr)
    with Scratch(options.keep, "tidelock-kill-") as folder:
        with Cluster(options.bin, folder, hubs=3, edges=2, sites=1) as cluster:
            try:
                cluster.start_all()
                cluster.active_hub()
                kills = Kills(cluster, options.seed)
                kills.run(options.count)
            except Failure as failure:
                print(f"kill_test: FAILED with seed {options.seed}: {failure}", file=sys.stderr)
                return 1
    print(f"kill_test: {options.count} kills of each role, {sum(w.acknowledged for w in kills.writers)} acknowledged writes, "
          f"{kills.reads} reads, nothing lost", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
