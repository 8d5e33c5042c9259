#!/usr/bin/python3
"""A recall with real processes: one hub, three edges, cameras on two of them, one edge that stands still.

`recall_test.py --bin DIR [--keep DIR]`. The version in force is recalled while edge-2 is stopped and its camera runs on. The certificate
names who answered and whose lease only lapsed; behind it no camera uses the version as in force; and when edge-2 goes on it follows
the version before. Nothing brings the recalled one back, and a hub that is killed forgets nothing of it.
"""

import argparse
import json
import os
import signal
import subprocess
import sys

sys.dont_write_bytecode = True
from harness import Cluster, Failure, Process, Scratch, now_ns, wait_until

MODEL = "detector"
SILENT = "edge-2"


def check(what, good, answer=None):
    if not good:
        raise Failure(f"{what}: {answer}")


def must(answer, what):
    check(what, answer["ok"], answer)
    return answer


class Recall:
    def __init__(self, options, folder):
        self.options, self.folder, self.cameras = options, folder, {}

    def cli(self, *words, **values):
        return self.cluster.cli_json(*words, **values)

    def bring_out(self, version):
        assets = os.path.join(self.folder, version)
        subprocess.run([os.path.join(self.options.bin, "camera-assets"), "--release", assets, "--version", version], check=True,
                       capture_output=True, timeout=300, stdin=subprocess.DEVNULL)
        must(self.cli("model", "publish", assets, "--name", MODEL, "--version", version, "--key",
                      os.path.join(self.cluster.folder, "model-key.pem")), f"publish {version}")
        must(self.cli("model", "stage", MODEL, version), f"stage {version}")
        wait_until(f"{version} staged by all", lambda: len(self.cli("model", "status", MODEL).get("staged_edges", [])) == 3, 60, step=0.2)
        must(self.cli("model", "activate", MODEL, version), f"activate {version}")

    def start_camera(self, edge):
        log = os.path.join(self.folder, f"camera-{edge}.jsonl")
        command = [os.path.join(self.options.bin, "camera"), "--run-dir", self.cluster.config[edge]["run_dir"], "--name", edge,
                   "--peers", "", "--camera", "0", "--cameras", "1", "--model", MODEL, "--fps", "20", "--log", log]
        self.cameras[edge] = (Process(f"camera-{edge}", command, os.path.join(self.cluster.logs, f"camera-{edge}.log")), log)

    def frames(self, edge):
        """[(when it began, version, proven)], oldest first."""
        log = self.cameras[edge][1]
        if not os.path.exists(log):
            return []
        with open(log, encoding="utf-8") as lines:
            whole = [json.loads(line) for line in lines if line.endswith("\n")]
        return [(line["b"], line["version"], line["proven"]) for line in whole if "proven" in line]

    def follows(self, edge, version, seconds=30):
        wait_until(f"{edge} runs {version}, proven", lambda: self.frames(edge)[-1:] and self.frames(edge)[-1][1:] == (version, True), seconds)

    def run(self):
        with Cluster(self.options.bin, os.path.join(self.folder, "cluster"), hubs=1, edges=3, sites=1) as self.cluster:
            self.cluster.start_all()
            self.cluster.active_hub()
            try:
                self.bring_out("1.0.0")
                for edge in ("edge-1", SILENT):
                    self.start_camera(edge)
                    self.follows(edge, "1.0.0", 60)
                self.bring_out("2.0.0")
                for edge in ("edge-1", SILENT):
                    self.follows(edge, "2.0.0")
                self.recalled_while_one_stands_still()
                self.nothing_brings_it_back()
            finally:
                for camera, _ in self.cameras.values():
                    camera.kill()

    def recalled_while_one_stands_still(self):
        silent = self.cluster.processes[SILENT]
        silent.signal(signal.SIGSTOP)
        try:
            certified = must(self.cli("model", "recall", MODEL, "2.0.0", "--reason", "misses trucks", "--wait", "60s", timeout_ms=60_000),
                             "recall")
            behind = now_ns()
            check("it is certified", certified["state"] == "certified", certified)
            certificate = certified["certificate"]
            # A lease that is renewed late may have lapsed beside it: then nobody waited for that one either.
            check("each is in one list", sorted(certificate["answered"] + certificate["lapsed"] + certificate["without"])
                  == ["edge-1", "edge-2", "edge-3"], certificate)
            check("the silent one did not answer", SILENT not in certificate["answered"], certificate)
            check("its index is above the recall's", certificate["index"] > certified["index"], certified)
            self.follows("edge-1", "1.0.0")
            wait_until("frames behind the certificate", lambda: self.frames(SILENT)[-1][0] > behind + 500_000_000, 30)
            late = [frame for edge in self.cameras for frame in self.frames(edge) if frame[0] > behind and frame[1:] == ("2.0.0", True)]
            check("no camera uses it as in force behind the certificate", not late, late)
            used = [frame for frame in self.frames(SILENT) if frame[1:] == ("2.0.0", True)]
            check("the camera beside the edge that stood still did use it before", used)
        finally:
            silent.signal(signal.SIGCONT)
        self.follows(SILENT, "1.0.0", 60)
        late = [frame for frame in self.frames(SILENT) if frame[0] > behind and frame[1:] == ("2.0.0", True)]
        check("nor does it when its edge goes on", not late, late)
        listed = os.path.join(self.cluster.config[SILENT]["data_dir"], "models", "room", MODEL, "tidelock.recalled")
        wait_until("the edge that was away lists it", lambda: os.path.exists(listed), 30)

    def nothing_brings_it_back(self):
        for round_number in range(2):
            for words in (("stage", MODEL, "2.0.0"), ("activate", MODEL, "2.0.0"), ("rollback", MODEL)):
                answer = self.cli("model", *words)
                check(f"model {' '.join(words)} is refused", not answer["ok"] and answer["code"] == "conflict", answer)
            seen = must(self.cli("model", "recalls", MODEL, "2.0.0"), "recalls")
            check("the reason is kept", seen["reason"] == "misses trucks" and seen["state"] == "certified", seen)
            if round_number == 0:
                self.cluster.kill("hub-1")
                self.cluster.start("hub-1")
                self.cluster.active_hub()
        history = must(self.cli("model", "history", MODEL), "history")["history"]
        for words in ("recalled 2.0.0: misses trucks", "certified that nobody uses 2.0.0 as in force"):
            check(f"the history says '{words}'", any(entry["what"].startswith(words) for entry in history), history)
        unknown = self.cli("model", "recall", MODEL, "9.9.9")
        check("what was never published is said", not unknown["ok"] and unknown["code"] == "not_found", unknown)
        last = self.cli("model", "recall", MODEL, "1.0.0")
        check("nothing is before the first", not last["ok"] and "--none" in last["message"], last)
        none = must(self.cli("model", "recall", MODEL, "1.0.0", "--none"), "recall to none")
        check("nothing takes its place", none["certificate"]["to"] == "", none)
        out = self.cluster.cli("model", "recalls")
        check("all are listed", out.returncode == 0 and "2.0.0" in out.stdout and "1.0.0" in out.stdout, out.stdout + out.stderr)
        print(out.stdout)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--keep")
    options = parser.parse_args()
    with Scratch(options.keep, "tidelock-recall-") as folder:
        try:
            Recall(options, folder).run()
        except Failure as failure:
            print(f"FAILED: {failure}", file=sys.stderr)
            return 1
    print("recall: no use behind the certificate, and it named the gateway that only lapsed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
