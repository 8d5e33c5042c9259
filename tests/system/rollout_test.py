#!/usr/bin/python3
"""Rollouts with real processes: one hub, four edges, and a camera on the canary.

`rollout_test.py --bin DIR [--keep DIR]`. Four versions come out to the canary first, each fails another gate, and every gateway is back
on the version before by itself. The next one is good: the hub is killed in the middle, goes on where it was, and ends everywhere; what was
foreseen of it is compared with what happened. A second operator who wants another rollout meanwhile is told who holds it.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
from harness import Cluster, Failure, Process, Scratch, wait_until

MODEL = "detector"
CANARY = "edge-1"
# A version, the gate that it fails, and what the apps say of it with TL.HEALTH beside ten good frames of 20 ms.
FAILING = [
    ("2.0.0", "error_rate<0.1", ["BAD", "COUNT", "10"]),
    ("2.1.0", "p99_ms<500", ["OK", "COUNT", "10", "LATENCY_US", "900000"]),
    ("2.2.0", "drift<0.2", ["OK", "DRIFT", "0.7"]),
    ("2.3.0", "sick<1", ["SICK"]),
]
# The weights of these versions have nothing in common, so that each takes as much of its size as the one before.
FORESEEN_WITHIN = 1.25


def check(what, good, answer=None):
    if not good:
        raise Failure(f"{what}: {answer}")


def must(answer, what):
    check(what, answer["ok"], answer)
    return answer


class Apps(threading.Thread):
    """Says every 100 ms, on each gateway, how the version in force there does."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self.cluster, self.stopping, self.failure = cluster, threading.Event(), None
        self.bad = {version: words for version, _, words in FAILING}

    def run(self):
        links = {}
        while not self.stopping.wait(0.1):
            for edge in self.cluster.edges:
                try:
                    redis = links.get(edge) or links.setdefault(edge, self.cluster.redis(edge))
                    version = json.loads(redis.call("TL.INFO"))["models"].get(MODEL, {}).get("current")
                    if not version:
                        continue
                    redis.call("TL.HEALTH", MODEL, version, "OK", "COUNT", "10", "LATENCY_US", "20000")
                    if version in self.bad:
                        redis.call("TL.HEALTH", MODEL, version, *self.bad[version])
                except (OSError, ConnectionError, ValueError) as failure:
                    links.pop(edge, None)
                    self.failure = failure


class Rollouts:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder

    def cli(self, *words, **values):
        return self.cluster.cli_json(*words, **values)

    def publish(self, version):
        assets = os.path.join(self.folder, version)
        subprocess.run([os.path.join(self.options.bin, "camera-assets"), "--release", assets, "--version", version], check=True,
                       capture_output=True, timeout=300, stdin=subprocess.DEVNULL)
        must(self.cli("model", "publish", assets, "--name", MODEL, "--version", version, "--key",
                      os.path.join(self.cluster.folder, "model-key.pem")), f"publish {version}")

    def in_force(self):
        """{edge: the version that the edge says is in force}"""
        found = {}
        for edge in self.cluster.edges:
            with self.cluster.redis(edge) as redis:
                found[edge] = json.loads(redis.call("TL.INFO"))["models"].get(MODEL, {}).get("current")
        return found

    def everywhere(self, version, seconds=30):
        wait_until(f"{version} everywhere", lambda: set(self.in_force().values()) == {version}, seconds)

    def watch(self):
        return self.cli("rollout", "watch", MODEL, "--once", timeout_ms=3_000)

    def phase(self, wanted, seconds=60):
        last = {}
        def look():
            last.update(self.watch())
            return last.get("phase") in wanted
        try:
            wait_until(f"phase {wanted}", look, seconds, step=0.2)
        except Failure as failure:
            raise Failure(f"{failure}; last seen: {last}") from None
        return last

    def start(self, version, waves, dwell="2s"):
        return self.cli("rollout", "start", MODEL, version, "--waves", waves, "--gate", "error_rate<0.1", "--gate", "p99_ms<500",
                        "--dwell", dwell, "--patience", "60s", "--samples", "50")

    def camera(self):
        """What the camera on the canary scored frames with: [(version, proven)]."""
        with open(self.camera_log, encoding="utf-8") as log:
            lines = [json.loads(line) for line in log if line.endswith("\n")]
        return [(line["version"], line["proven"]) for line in lines if "proven" in line]

    def run(self):
        with Cluster(self.options.bin, os.path.join(self.folder, "cluster"), hubs=1, edges=4, sites=4) as self.cluster:
            site = self.cluster.config[CANARY]["site"]
            self.cluster.rewrite(CANARY, r"^site *= .*$", f'site = "{site}"\nlabels = {{ canary = "yes" }}')
            self.cluster.start_all()
            self.cluster.active_hub()
            apps = Apps(self.cluster)
            try:
                self.first_version()
                apps.start()
                for version, gate, _ in FAILING:
                    self.bad_version(version, gate)
                self.camera_went_there_and_back()
                self.hub_killed()
                self.twice_back()
                self.refusals()
            finally:
                apps.stopping.set()
                if hasattr(self, "app"):
                    self.app.kill()

    def first_version(self):
        self.publish("1.0.0")
        must(self.cli("model", "stage", MODEL, "1.0.0"), "stage")
        wait_until("1.0.0 staged by all", lambda: len(self.cli("model", "status", MODEL).get("staged_edges", [])) == 4, 60, step=0.2)
        must(self.cli("model", "activate", MODEL, "1.0.0"), "activate")
        self.everywhere("1.0.0")
        self.camera_log = os.path.join(self.folder, "camera.jsonl")
        command = [os.path.join(self.options.bin, "camera"), "--run-dir", self.cluster.config[CANARY]["run_dir"], "--name", CANARY,
                   "--peers", "", "--camera", "0", "--cameras", "1", "--model", MODEL, "--fps", "10", "--log", self.camera_log]
        self.app = Process("camera", command, os.path.join(self.cluster.logs, "camera.log"))
        wait_until("a proven frame of 1.0.0", lambda: os.path.exists(self.camera_log) and ("1.0.0", True) in self.camera(), 60)

    def bad_version(self, version, gate):
        """The canary goes first; its gate fails; everybody is back, and nobody else ever left."""
        self.publish(version)
        planned = must(self.cli("rollout", "plan", MODEL, version, "--waves", "canary=yes,50%", "--gate", gate, "--dwell", "20s",
                                "--samples", "50"), f"plan {version}")
        check("three waves are planned", [wave["wave"] for wave in planned["waves"]] == ["canary=yes", "50%", "100%"], planned)
        check("the canary is foreseen", planned["waves"][0]["foreseen"]["gateways"] == 1, planned)
        command = [os.path.join(self.options.bin, "tidelock"), "--json", "--config", os.path.join(self.cluster.folder, "client.toml")]
        watching = subprocess.Popen([*command, "rollout", "watch", MODEL], stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
        must(self.cli("rollout", "start", MODEL), "start")
        others = set()
        def rolled_back():
            others.update(version for edge, version in self.in_force().items() if edge != CANARY)
            return self.watch().get("phase") == "rolled_back"
        try:
            wait_until(f"the rollback of {version}", rolled_back, 60, step=0.1)
            lines = [json.loads(line) for line in watching.communicate(timeout=30)[0].splitlines()]
        finally:
            watching.kill()
        self.everywhere("1.0.0")
        check("nobody but the canary left 1.0.0", others == {"1.0.0"}, others)
        seen = self.watch()
        check(f"{version}: the gate is named", f"gate {gate} failed" in seen["reason"], seen["reason"])
        check("watch told each change on a line", len(lines) > 2 and "ok" not in lines[0], lines)
        check("and the end", lines[-1]["ok"] is False and lines[-1]["code"] == "rolled_back", lines[-1])
        check("whole files count against what came", seen["whole_bytes"] > 0 and seen["saved_bytes"] + seen["fetched_bytes"]
              == max(seen["whole_bytes"], seen["fetched_bytes"]), seen)

    def camera_went_there_and_back(self):
        versions = [version for version, _, _ in FAILING]
        wait_until("the camera is back on 1.0.0, proven", lambda: self.camera()[-1] == ("1.0.0", True), 30)
        index_order = [version for version, proven in self.camera() if proven]
        changes = [version for i, version in enumerate(index_order) if i == 0 or index_order[i - 1] != version]
        # One that failed quickly may have been gone before a frame; each that ran came once.
        check("the camera ran the first of them, proven", "2.0.0" in changes, changes)
        check("it changed there and back, each once", changes[::2] == ["1.0.0"] * (len(changes) // 2 + 1)
              and changes[1::2] == [version for version in versions if version in changes[1::2]], changes)

    def hub_killed(self):
        """Killed while the first wave dwells; its successor goes on, and each wave comes once."""
        self.publish("3.0.0")
        must(self.start("3.0.0", "canary=yes,75%", dwell="5s"), "start")
        refused = self.start("3.0.0", "100%")
        check("a second rollout is refused", not refused["ok"] and refused["code"] == "conflict", refused)
        check("it says who holds it", "held by 'client" in refused["message"] or "held by 'operator" in refused["message"], refused)
        self.phase({"dwelling"})
        began = time.monotonic()
        self.cluster.kill("hub-1")
        self.cluster.start("hub-1")
        last = self.phase({"done"}, seconds=120)
        self.everywhere("3.0.0")
        check("three waves passed, each once", [wave["was"]["gateways"] for wave in last["waves"]] == [1, 2, 1], last)
        check("no dwell time was skipped", time.monotonic() - began > 10, time.monotonic() - began)
        for wave in last["waves"]:
            check("a forecast stands beside what happened", wave["foreseen"]["ended_ms"] > 0 and wave["was"]["ended_ms"] > 0, wave)
        second = last["waves"][1]
        ratio = second["was"]["bytes"] / max(1, second["foreseen"]["bytes"])
        check(f"the bytes of the second wave were foreseen within {FORESEEN_WITHIN}", 1 / FORESEEN_WITHIN <= ratio <= FORESEEN_WITHIN, second)
        check("the end compares", 1 / FORESEEN_WITHIN <= last["compared"]["bytes_ratio"] <= FORESEEN_WITHIN
              and last["compared"]["time_ratio"] > 0, last.get("compared"))
        out = self.cluster.cli("rollout", "watch", MODEL)
        check("watch says how it ended", out.returncode == 0 and "3.0.0  done" in out.stdout, out.stdout + out.stderr)

    def twice_back(self):
        """What a rollback took away comes back by name only. Staging is waited for on the way."""
        self.publish("4.0.0")
        staged = must(self.cli("model", "stage", MODEL, "4.0.0", "--wait", "--wait-for", "60s"), "stage --wait")["transfer"]
        check("all have staged it", staged["staged"] == staged["reachable"] == 4, staged)
        check("each says what it took", all(one["share_percent"] == 100 and one["fetched_bytes"] > 0 for one in staged["gateways"]), staged)
        check("of whole files", staged["whole_bytes"] == 4 * staged["release_bytes"] > 0, staged)
        must(self.cli("model", "activate", MODEL, "4.0.0"), "activate")
        must(self.cli("model", "rollback", MODEL), "rollback")
        self.everywhere("3.0.0")
        again = self.cli("model", "rollback", MODEL)
        check("a second rollback is refused", not again["ok"] and again["code"] == "conflict", again)
        check("it says what was rolled back", "rolled back from 4.0.0" in again["message"] and "model activate" in again["message"], again)
        self.cluster.kill(self.cluster.edges[-1])
        self.publish("5.0.0")
        late = self.cli("model", "stage", MODEL, "5.0.0", "--wait", "--wait-for", "0s")
        check("who has not staged is told", not late["ok"] and late["code"] == "waiting" and len(late["transfer"]["gateways"]) == 4, late)
        self.cluster.start(self.cluster.edges[-1])
        must(self.cli("model", "stage", MODEL, "3.0.0"), "stage what is in force")

    def refusals(self):
        history = must(self.cli("model", "history", MODEL), "history")["history"]
        said = [entry["what"] for entry in history]
        for words in ("activated 1.0.0", "rolled back, every gateway returns to 1.0.0", "3.0.0 is in force everywhere"):
            check(f"the history says '{words}'", any(words in one for one in said), said)
        check("a hub did by itself what nobody asked for", {entry["who"] for entry in history} >= {"hub-1"}, history)
        for words, code in ((("pause", MODEL), "conflict"), (("resume", MODEL), "conflict"), (("abort", MODEL), "conflict"),
                            (("start", "unknown"), "not_found"), (("plan", MODEL, "9.9.9", "--waves", "1"), "not_found"),
                            (("plan", MODEL, "3.0.0", "--waves", "1"), "conflict"), (("plan", MODEL, "1.0.0", "--waves", "x"), "invalid")):
            answer = self.cli("rollout", *words)
            check(f"rollout {' '.join(words)} is refused", not answer["ok"] and answer["code"] == code, answer)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--keep")
    options = parser.parse_args()
    with Scratch(options.keep, "tidelock-rollout-") as folder:
        try:
            Rollouts(options, folder).run()
        except Failure as failure:
            print(f"FAILED: {failure}", file=sys.stderr)
            return 1
    print("rollouts: the canary went back from each gate, and the hub's death cost nothing")
    return 0


if __name__ == "__main__":
    sys.exit(main())
