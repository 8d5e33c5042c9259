#!/usr/bin/python3
"""The main job, end to end: three hubs, four edges in two sites, an inference app on each, and everything that goes wrong.

Under load it publishes, stages and activates models, kills the active hub in the middle of an activation, cuts a link and heals
it, restarts an edge, stops an app, rolls back. A judge (judge.py) that knows the truth then decides from the logs whether
anybody lied. Ends with a table; exits 0 only if every promise held.
"""

import argparse
import collections
import json
import os
import signal
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
import judge
import report
from harness import Cluster, Failure, Process, RespError, Scratch, now_ns, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
FPS = 6
MODEL = "detector"
VERSIONS = ("1.0.0", "2.0.0", "3.0.0")
# Every node has a clock of its own: offset in ms and rate in ppm. Nothing may depend on their agreeing.
SHIMS = {"hub-1": "86400000:110", "hub-2": "0:-140", "hub-3": "3600000:35", "edge-1": "172800000:-150", "edge-2": "5000:150",
         "edge-3": "1000000:-60", "edge-4": "31536000000:90"}
# Keys of the effective configuration that name this machine: addresses, ids, folders.
OF_THIS_MACHINE = ("id", "site", "data_dir", "run_dir", "grpc", "http", "redis", "redis_unix", "hubs", "tls", "join")
FEATURE_SEQ = slice(40, 48)  # examples/camera/camera.cc: struct Feature


class Screen:
    """Live progress: lines on any output, and one line that changes in place on a terminal."""

    def __init__(self):
        self.live = sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self.begin = time.monotonic()

    def say(self, text):
        print(f"{self._clear()}{time.monotonic() - self.begin:6.1f} s  {text}", file=sys.stderr, flush=True)

    def status(self, text):
        if self.live:
            print(f"{self._clear()}{time.monotonic() - self.begin:6.1f} s  {text[:110]}", end="", file=sys.stderr, flush=True)

    def _clear(self):
        return "\r\x1b[K" if self.live else ""


class LogTail:
    """What the apps log, as they log it: frames, versions and flags for the live line."""

    def __init__(self, paths):
        self.files = {camera: open(path, encoding="utf-8") for camera, path in paths.items()}
        self.rest = dict.fromkeys(paths, "")
        self.frames, self.flagged, self.version, self.reads = 0, 0, {}, 0

    def look(self):
        for camera, file in self.files.items():
            *lines, self.rest[camera] = (self.rest[camera] + file.read()).split("\n")
            for line in lines:
                if '"t":"frame"' in line:
                    frame = json.loads(line)
                    self.frames += 1
                    self.flagged += frame["fallback"]
                    self.version[camera] = frame["version"] + ("" if frame["proven"] else "?")
                elif '"t":"read"' in line:
                    self.reads += 1
        return self

    def line(self):
        versions = " ".join(f"{camera}:{version}" for camera, version in sorted(self.version.items()))
        return f"{self.frames} frames, {self.flagged} flagged, {self.reads} reads  {versions}"

    def close(self):
        for file in self.files.values():
            file.close()


class Demo:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.scale = options.seconds / 40
        self.screen = Screen()
        self.control_path = os.path.join(folder, "control.jsonl")
        self.control_lock = threading.Lock()
        self.apps, self.exits = {}, {}
        self.checks = []  # (promise, held, measured)

    def note(self, event, /, **values):
        with self.control_lock, open(self.control_path, "a", encoding="utf-8") as out:
            out.write(json.dumps({"t": event, **values}) + "\n")

    def check(self, promise, held, measured):
        self.checks.append({"promise": promise, "held": bool(held), "measured": str(measured)})

    # --- the parts -------------------------------------------------------------------------------------------------

    def run(self):
        breaks = {"edge-1": self.options.fault} if self.options.fault in ("stale", "lost-write") else {}
        assets = self.make_assets()
        with Cluster(self.options.bin, os.path.join(self.folder, "cluster"), hubs=3, edges=4, sites=2, links=True, shims=SHIMS,
                     breaks=breaks) as self.cluster:
            try:
                self.screen.say("starting 3 hubs and 4 edges in 2 sites, each with a clock of its own")
                self.cluster.start_all()
                self.screen.say(f"{self.cluster.active_hub()} is active, every edge is ready")
                self.check_configuration()
                self.release(assets, "1.0.0")
                self.activate("1.0.0")
                self.start_apps()
                self.load(assets)
                self.stop_apps()
                self.drain()
                self.read_finals()
                for edge, (up, down) in self.cluster.links.carried().items():
                    self.note("bytes", edge=edge, up=up, down=down)
            finally:
                for app in self.apps.values():
                    app.signal(signal.SIGCONT)
                    app.kill()
            codes = {node: self.cluster.stop(node) for node in self.cluster.edges + self.cluster.hubs}
            self.check("every hub and edge ends cleanly on SIGTERM", set(codes.values()) == {0},
                       ", ".join(f"{node} {code}" for node, code in codes.items() if code != 0) or "7 of 7")
        return self.judge()

    def make_assets(self):
        folder = os.path.join(self.folder, "assets")
        self.screen.say("making three versions of the model")
        for version in VERSIONS:
            out = subprocess.run([os.path.join(self.options.bin, "camera-assets"), "--release", os.path.join(folder, version),
                                  "--version", version], capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)
            if out.returncode:
                raise Failure(f"camera-assets: {out.stderr.strip() or out.returncode}")
        return folder

    def check_configuration(self):
        """The demo runs the production path: what is in effect minus addresses is what ships."""
        different = []
        for role, node in [("hub", hub) for hub in self.cluster.hubs] + [("edge", edge) for edge in self.cluster.edges]:
            shipped = json.loads(self.cluster.cli(role, "--print-config", "--defaults", with_config=False).stdout)
            effective = json.loads(self.cluster.cli(role, "--print-config", "--config", self.cluster.config_file(node),
                                                    with_config=False).stdout)
            for config in (shipped, effective):  # where neighbours of the site find it
                for address in ("listen", "address"):
                    config.get("transfer", {}).pop(address, None)
            different += [f"{node}: {key}" for key in sorted({*shipped, *effective} - {*OF_THIS_MACHINE})
                          if shipped.get(key) != effective.get(key)]
        self.check("the configuration in effect, minus addresses, is the one that ships", not different, ", ".join(different) or "7 nodes")

    def must(self, answer, what):
        if not answer["ok"]:
            raise Failure(f"{what}: {answer['code']}: {answer['message']}")
        return answer

    def release(self, assets, version):
        """Publish, stage, and wait until every edge has verified signature, hashes and golden outputs."""
        cli, begin = self.cluster.cli_json, time.monotonic()
        self.must(cli("model", "publish", os.path.join(assets, version), "--name", MODEL, "--version", version, "--key",
                      os.path.join(self.cluster.folder, "model-key.pem")), f"publish {version}")
        self.must(cli("model", "stage", MODEL, version), f"stage {version}")
        def staged():
            status = cli("model", "status", MODEL, timeout_ms=3_000)
            return status["ok"] and len(status["staged_edges"]) == len(self.cluster.edges)
        self.wait(f"{version} verified by every edge", staged, 60, step=0.2)
        self.screen.say(f"{version} published, staged and verified by 4 edges in {time.monotonic() - begin:.1f} s")

    def activate(self, version, verb="activate", all_up=True):
        words = ["model", verb, MODEL] + ([version] if verb == "activate" else [])
        begin = now_ns()
        answer = self.cluster.cli_json(*words, timeout_ms=20_000)
        end = now_ns()
        values = {"index": answer["index"], "elapsed_ms": round(answer["elapsed_ms"], 3)} if answer["ok"] else {}
        self.note("activation", kind=verb, version=version, begin=answer.get("begin_ns", begin), end=answer.get("end_ns", end),
                  ok=answer["ok"], all_up=all_up, **values)
        self.must(answer, f"{verb} {version}")
        self.screen.say(f"{verb}: {version} in force from index {answer['index']}, {answer['elapsed_ms']:.1f} ms")
        return answer

    def start_apps(self):
        program = "camera-test" if self.options.fault == "wrong-model" else "camera"
        paths = {}
        for i, edge in enumerate(self.cluster.edges):
            paths[edge] = os.path.join(self.folder, f"app-{edge}.jsonl")
            open(paths[edge], "w", encoding="utf-8").close()
            command = [os.path.join(self.options.bin, program), "--run-dir", self.cluster.config[edge]["run_dir"], "--name", edge,
                       "--peers", ",".join(other for other in self.cluster.edges if other != edge), "--camera", str(i),
                       "--cameras", str(len(self.cluster.edges)), "--model", MODEL, "--fps", str(FPS), "--log", paths[edge]]
            if self.options.fault == "wrong-model":
                command += ["--break", "wrong-model"]
            self.apps[edge] = Process(f"camera on {edge}", command, os.path.join(self.cluster.logs, f"camera-{edge}.log"))
        self.tail = LogTail(paths)
        self.wait("every app has scored a frame", lambda: len(self.tail.look().version) == len(self.apps), 60)
        self.screen.say("4 apps score frames, write features and read each other's")

    def wait(self, what, condition, seconds, step=0.05):
        def look():
            self.screen.status(self.tail.look().line() if self.apps else what)
            for edge, app in self.apps.items():
                if not app.alive():
                    raise Failure(f"the app on {edge} ended with {app.child.returncode}; {app.log} ends:\n{app.last_words()}")
            return condition()
        return wait_until(what, look, seconds, step)

    def at(self, seconds):
        """Waits until that moment of the schedule (of 40 s)."""
        due = self.load_begin + seconds * self.scale
        self.wait("the schedule", lambda: time.monotonic() >= due, max(1, due - time.monotonic() + 1))

    # --- the load --------------------------------------------------------------------------------------------------

    def load(self, assets):
        self.load_begin, self.load_begin_ns = time.monotonic(), now_ns()
        self.at(2)
        self.release(assets, "2.0.0")
        self.at(7)
        self.activate("2.0.0")
        self.at(10)
        self.release(assets, "3.0.0")
        self.at(15)
        dead = self.activate_through_a_kill("3.0.0")
        self.at(19)
        self.screen.say(f"starting {dead} again")
        self.cluster.start(dead, wait=False)
        self.cut_and_stop()
        self.cluster.wait_ready(dead)
        self.at(32)
        self.restart("edge-3")
        self.at(36)
        self.activate("2.0.0", verb="rollback")
        self.at(40)
        self.wait("a last second under load", lambda: self.everybody_on("2.0.0"), 20)
        self.load_end_ns = now_ns()

    def everybody_on(self, version):
        return set(self.tail.look().version.values()) == {version}

    def activate_through_a_kill(self, version):
        """kill -9 of the active hub in the middle of an activation: one edge's link is cut, so that the hub still waits for its
        acknowledgement when it dies; then the link is healed and the caller's retries meet the successor."""
        slow, active = "edge-4", self.cluster.active_hub()
        self.cluster.links.tell(f"cut {slow}/*")
        away_from = now_ns()
        outcome = {}
        def call():
            try:
                outcome["answer"] = self.activate(version, all_up=False)
            except Exception as failure:  # handed to the main thread below
                outcome["failure"] = failure
        caller = threading.Thread(target=call)
        caller.start()
        # The request is at the hub and waits for the edge that cannot answer: the hub itself says so.
        self.wait("the activation", lambda: not caller.is_alive() or self.cluster.metrics(active).get("tidelock_hub_open_blocks"), 10,
                  step=0.02)
        in_the_middle = caller.is_alive()
        killed = self.cluster.kill(active)
        self.note("kill", role="hub", id=active, active=True, at=killed)
        self.screen.say(f"kill -9 {active}, active, {'in the middle of' if in_the_middle else 'AFTER'} the activation of {version}")
        self.cluster.links.tell(f"heal {slow}/*")
        self.note("away", edge=slow, **{"from": away_from, "to": now_ns() + 1_000_000_000})
        caller.join()
        if "failure" in outcome:
            raise outcome["failure"]
        answer = outcome["answer"]
        self.check("the active hub died in the middle of an activation, which survived", answer["begin_ns"] < killed < answer["end_ns"],
                   f"{active} killed {(killed - answer['begin_ns']) / 1e6:.0f} ms after the request, in force after "
                   f"{answer['elapsed_ms']:.0f} ms")
        return active

    def cut_and_stop(self):
        """One edge loses its link for 8 s; meanwhile the app of another is stopped for 2 s."""
        seconds = max(3, 8 * min(1, self.scale))
        self.at(21)
        edge, stopped = "edge-2", "edge-4"
        cut = time.monotonic()
        away_from = now_ns()
        self.cluster.links.tell(f"cut {edge}/*")
        self.screen.say(f"link of {edge} cut for {seconds:.0f} s")
        self.wait("the cut", lambda: time.monotonic() >= cut + seconds / 4, 30)
        stop_from = now_ns()
        self.apps[stopped].signal(signal.SIGSTOP)
        self.screen.say(f"app on {stopped} stopped for 2 s")
        time.sleep(2)
        self.apps[stopped].signal(signal.SIGCONT)
        self.note("stopped", camera=stopped, **{"from": stop_from, "to": now_ns()})
        self.wait("the cut", lambda: time.monotonic() >= cut + seconds, 30)
        self.cluster.links.tell(f"heal {edge}/*")
        self.screen.say(f"link of {edge} healed")
        healed = now_ns()
        self.wait(f"{edge} connected again", lambda: self.connected(edge), 30, step=0.2)
        self.note("away", edge=edge, **{"from": away_from, "to": now_ns()})
        self.screen.say(f"{edge} is connected again, {(now_ns() - healed) / 1e9:.1f} s after the link came back")

    def connected(self, edge):
        status = self.cluster.cli_json("status", timeout_ms=3_000)
        return any(one["id"] == edge and one["connected"] for one in status.get("edges", []))

    def restart(self, edge):
        away_from = now_ns()
        code = self.cluster.stop(edge)
        self.check("an edge restarts without a human step", code == 0, f"{edge} ended with {code}")
        self.cluster.start(edge)
        self.wait(f"{edge} connected again", lambda: self.connected(edge), 30, step=0.2)
        self.note("away", edge=edge, **{"from": away_from, "to": now_ns()})
        self.screen.say(f"{edge} restarted in {(now_ns() - away_from) / 1e9:.1f} s")

    # --- the end ---------------------------------------------------------------------------------------------------

    def stop_apps(self):
        for app in self.apps.values():
            app.signal(signal.SIGTERM)
        self.exits = {edge: app.stop(15) for edge, app in self.apps.items()}
        self.check("every app ends cleanly on SIGTERM", set(self.exits.values()) == {0}, self.exits)
        self.tail.look()
        self.screen.say("apps stopped: " + self.tail.line())
        self.tail.close()
        self.apps = {}

    def drain(self):
        def nothing_pending():
            return all(self.cluster.features(edge)["pending"] == 0 for edge in self.cluster.edges)
        try:
            wait_until("every edge has flushed its outbox", nothing_pending, 20, step=0.1)
            self.note("drained", at=now_ns())
        except Failure as failure:
            self.screen.say(str(failure))
        for edge in self.cluster.edges:
            self.note("counters", edge=edge, **self.cluster.features(edge))

    def read_finals(self):
        """Reads what must be there: every track at every edge, each frame's record at one edge that did not write it."""
        time.sleep(0.6)  # so that a bound of 500 ms reaches back to after the drain
        wanted = collections.defaultdict(set)
        edges = self.cluster.edges
        for number, (key, writer) in enumerate(self.acknowledged_keys()):
            others = [edge for edge in edges if edge != writer]
            for edge in edges if key.startswith("feature:track:") else [others[number % len(others)]]:
                wanted[edge].add(key)
        count = 0
        for edge, keys in sorted(wanted.items()):
            with self.cluster.redis(edge, timeout=30) as redis:
                for key in sorted(keys):
                    begin = now_ns()
                    try:
                        reply = redis.call("TL.GET", key, "BOUND", "500", "DEADLINE", "3000")
                    except RespError as error:
                        reply = {"value": None, "bound_us": -1, "error": str(error)}
                    value, bound = reply["value"], reply["bound_us"]
                    self.note("final", edge=edge, key=key, b=begin, e=now_ns(), found=value is not None,
                              seq=int.from_bytes(value[FEATURE_SEQ], "little") if value else 0,
                              bound=(bound + 1) * 1000 if bound >= 0 else judge.FOREVER, **({"error": reply["error"]} if "error" in reply else {}))
                    count += 1
        self.screen.say(f"read {count} acknowledged features back")

    def acknowledged_keys(self):
        for name in sorted(os.listdir(self.folder)):
            if name.startswith("app-"):
                writes = [event for event in judge.load(os.path.join(self.folder, name)) if event["t"] == "write" and event["ok"]]
                camera = name[len("app-"):-len(".jsonl")]
                yield from ((key, camera) for key in sorted({write["key"] for write in writes}))

    def judge(self):
        """The judge is a process of its own."""
        verdict_path = os.path.join(self.folder, "verdict.json")
        out = subprocess.run([sys.executable, os.path.join(HERE, "judge.py"), self.folder, "--json", verdict_path], capture_output=True,
                             text=True, timeout=300, stdin=subprocess.DEVNULL)
        if out.returncode not in (0, 1):
            raise Failure(f"judge: {out.stderr.strip()}")
        with open(verdict_path, encoding="utf-8") as file:
            verdict = json.load(file)
        frames_per_app = {edge: self.count_frames(edge) for edge in self.cluster.edges}
        expected = (self.load_end_ns - self.load_begin_ns) / 1e9 * FPS
        return report.promises(verdict, self.checks, frames_per_app, expected)

    def count_frames(self, edge):
        events = judge.load(os.path.join(self.folder, f"app-{edge}.jsonl"))
        return sum(event["t"] == "frame" and self.load_begin_ns <= event["b"] <= self.load_end_ns for event in events)


def main():
    parser = argparse.ArgumentParser(prog="./dev demo", description=__doc__.splitlines()[0])
    parser.add_argument("--bin", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=int, default=40, help="how long the load runs (15 to 3600)")
    parser.add_argument("--json", help="write the report to this file")
    parser.add_argument("--break", dest="fault", choices=["stale", "wrong-model", "lost-write"], help="plant a fault: must exit 1")
    parser.add_argument("--keep", help="run in this folder and leave logs and data there")
    options = parser.parse_args()
    if not 15 <= options.seconds <= 3600:
        parser.error(f"--seconds {options.seconds}: 15 to 3600")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with Scratch(options.keep, "tidelock-demo-") as folder:
        if os.path.exists(os.path.join(folder, "control.jsonl")):
            parser.error(f"--keep {folder}: holds a run already")
        demo = Demo(options, folder)
        try:
            result = demo.run()
        except Failure as failure:
            demo.screen.say(f"FAILED: {failure}")
            result = {"ok": False, "failure": str(failure), "promises": demo.checks}
    if options.json:
        with open(options.json, "w", encoding="utf-8") as out:
            json.dump(result, out, indent=1)
            out.write("\n")
    print(report.table(result))
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
