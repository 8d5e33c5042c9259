"""Models over a bad link: releases with a payload of any size, a link that is cut and an edge that is killed on the way."""

import os
import random
import shutil
import subprocess
import threading
import time

from harness import Failure, wait_until

MODEL = "detector"
EDGE = "edge-1"


def must(answer, what):
    if not answer["ok"]:
        raise Failure(f"{what}: {answer['code']}: {answer['message']}")
    return answer


class Releases:
    """Releases of one model that differ in a payload only: everything else of a later one is at the edge already."""

    def __init__(self, cluster, folder, seed=1):
        self.cluster, self.folder, self.random = cluster, folder, random.Random(seed)
        self.base, self.payloads = os.path.join(folder, "release"), {}
        out = subprocess.run([os.path.join(cluster.bin, "camera-assets"), "--release", self.base, "--version", "1.0.0"], capture_output=True,
                             text=True, timeout=300, stdin=subprocess.DEVNULL)
        if out.returncode:
            raise Failure(f"camera-assets: {out.stderr.strip() or out.returncode}")

    def publish(self, version, payload=b""):
        self.payloads[version] = payload
        made = os.path.join(self.folder, f"release-{version}")
        shutil.copytree(self.base, made)
        if payload:
            with open(os.path.join(made, "weights.bin"), "wb") as out:
                out.write(payload)
        must(self.cluster.cli_json("model", "publish", made, "--name", MODEL, "--version", version, "--key",
                                   os.path.join(self.cluster.folder, "model-key.pem")), f"publish {version}")
        shutil.rmtree(made)

    def noise(self, size):
        """Bytes that nothing makes smaller."""
        return self.random.randbytes(size)

    def changed(self, version, size):
        """The payload of that version with so many bytes in its middle replaced."""
        payload = bytearray(self.payloads[version])
        middle = (len(payload) - size) // 2
        payload[middle:middle + size] = self.noise(size)
        return payload

    def stage(self, version):
        must(self.cluster.cli_json("model", "stage", MODEL, version), f"stage {version}")

    def status(self):
        return self.cluster.cli_json("model", "status", MODEL, timeout_ms=3_000)

    def staged(self, version, edges=(EDGE,)):
        status = self.status()
        return status["ok"] and status["staged"] == version and set(edges) <= set(status["staged_edges"])

    def wait_staged(self, version, seconds):
        wait_staged_by(self, version, (EDGE,), seconds)

    def partial_bytes(self):
        """What lies at the edge of files that are not whole yet."""
        folder = os.path.join(self.cluster.config[EDGE]["data_dir"], "models", "blobs", "partial")
        try:
            return sum(entry.stat().st_size for entry in os.scandir(folder))
        except FileNotFoundError:
            return 0


def wait_staged_by(releases, version, edges, seconds):
    wait_until(f"{version} verified by {' '.join(edges)}", lambda: releases.staged(version, edges), seconds, step=0.2)


def carried(cluster):
    """Bytes that the links of all edges carried, either way."""
    return sum(up + down for up, down in cluster.links.carried().values())


def link(cluster):
    """Bytes of the edge's links: carried either way, and lost on the way."""
    links = cluster.links.tell("stats")["links"].values()
    return sum(one["up"] + one["down"] for one in links), sum(one["lost"] for one in links)


def disturb(cluster, releases, version, size, cuts, kills, seconds, seed=1, outage=(0.05, 0.3)):
    """Cuts the link and kills the edge, spread over the transfer of a payload of `size` bytes; until it is verified.

    A cut is an outage after which every connection is gone. Answers how many of each there were."""
    chance = random.Random(seed)
    events = ["cut"] * cuts + ["kill"] * kills
    chance.shuffle(events)
    done = {"cut": 0, "kill": 0}
    deadline = time.monotonic() + seconds
    for number, event in enumerate(events):
        due = size * (number + chance.random()) / len(events) * 0.98
        while releases.partial_bytes() < due:
            if time.monotonic() >= deadline:
                raise Failure(f"{version}: {releases.partial_bytes()} of {size} bytes after {done}, and no more within {seconds} s")
            time.sleep(0.01)
        if event == "cut":
            cluster.links.tell(f"cut {EDGE}/*")
            time.sleep(chance.uniform(*outage))
            cluster.links.tell(f"drop {EDGE}/*")
            cluster.links.tell(f"heal {EDGE}/*")
        else:
            cluster.kill(EDGE)
            cluster.start(EDGE, wait=False)
        done[event] += 1
    releases.wait_staged(version, max(30, deadline - time.monotonic()))
    return done


class Heartbeats:
    """Round trips of the session, one after the other: a write of a key that is written through, as a client feels it."""

    def __init__(self, cluster):
        self.cluster, self.samples, self.going = cluster, [], True
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.going = False
        self.thread.join()

    def _run(self):
        with self.cluster.redis(EDGE, timeout=30) as redis:
            number = 0
            while self.going:
                begin = time.monotonic()
                redis.call("SET", "config:heartbeat", number)
                self.samples.append((time.monotonic() - begin) * 1e3)
                number += 1
