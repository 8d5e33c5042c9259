"""Model swaps under load, all edges alive: activation latency, adoption lag, frames around a swap, memory of the processes.

Three hubs and four edges, an inference app on each (as in the demo, without its faults); two versions are staged once and then
put in force in turns, over one connection of an operator, every fifth time by a new `tidelock` process with its own. All of them
share this machine, so on few processors the frames compete with each other.

Memory: processes on one gateway open a handle on a model of 30 MB whose weights are nearly all of it. What they take together
is the sum of their proportional shares (Pss of /proc/PID/smaps_rollup, all of them alive) after frames ran, less the same sum
before the handle was opened, over the bytes of the weights; once for each engine that is there, told to share. Each process has
run and closed a small model before, so that libraries and buffers that any model needs are not counted.
"""

import json
import os
import subprocess
import sys
import time

from rig import Failure, Process, Tool, Writer, arguments, main, must, percentile, pss_bytes, publish_and_stage, row, wait_until
from harness import Cluster
import figures
import judge

MODEL = "detector"
VERSIONS = ("1.0.0", "2.0.0")
APART_SECONDS = 0.7  # long enough for every app to score frames on each version


class Apps:
    """The camera program on each edge, and what it logs."""

    def __init__(self, options, cluster, folder):
        self.paths = {edge: os.path.join(folder, f"app-{edge}.jsonl") for edge in cluster.edges}
        self.processes = {}
        for number, (edge, path) in enumerate(self.paths.items()):
            open(path, "w", encoding="utf-8").close()
            command = [os.path.join(options.bin, "camera"), "--run-dir", cluster.config[edge]["run_dir"], "--name", edge, "--peers",
                       ",".join(other for other in cluster.edges if other != edge), "--camera", str(number), "--cameras",
                       str(len(cluster.edges)), "--model", MODEL, "--fps", str(options.fps), "--log", path]
            self.processes[edge] = Process(f"camera on {edge}", command, os.path.join(cluster.logs, f"camera-{edge}.log"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            process.kill()

    def check(self):
        for process in self.processes.values():
            if not process.alive():
                raise Failure(f"{process.name} ended with {process.child.returncode}; {process.log} ends:\n{process.last_words()}")

    def count(self, kind):
        """{edge: events of that kind so far}."""
        counts = {}
        for edge, path in self.paths.items():
            with open(path, encoding="utf-8") as file:
                counts[edge] = sum(f'"t":"{kind}"' in line for line in file)
        return counts

    def stop(self):
        for process in self.processes.values():
            process.signal(15)
        for process in self.processes.values():
            process.stop()


def release(options, cluster, folder, version):
    made = os.path.join(folder, "assets", version)
    out = subprocess.run([os.path.join(options.bin, "camera-assets"), "--release", made, "--version", version], capture_output=True,
                         text=True, timeout=300, stdin=subprocess.DEVNULL)
    if out.returncode:
        raise Failure(f"camera-assets: {out.stderr.strip() or out.returncode}")
    publish_and_stage(cluster, MODEL, version, made, len(cluster.edges))


def swap(cluster, writer, by_command, version):
    """Answers (begin, end, index). The writer activates the version before by itself."""
    if not by_command:
        return writer.batch(1)[0]
    answer = must(cluster.cli_json("model", "activate", MODEL, version), "activate")
    return answer["begin_ns"], answer["end_ns"], answer["index"]


def gaps(run, at_swap):
    """As figures.py: from when a frame was due (or the one before was done, if that was later) until it was done; in ms."""
    for events in run.apps.values():
        frames = [event for event in events if event["t"] == "frame"]
        for before, after in zip(frames, frames[1:]):
            if (before["version"] != after["version"]) == at_swap:
                yield (after["done"] - max(after["due"], before["done"])) / 1e6


def run(options, folder):
    if options.swaps < 3:
        raise Failure(f"--swaps {options.swaps}: at least 3")
    control = os.path.join(folder, "control.jsonl")
    def note(event):
        with open(control, "a", encoding="utf-8") as out:
            out.write(json.dumps(event) + "\n")
    with Cluster(options.bin, os.path.join(folder, "cluster"), hubs=3, edges=options.edges, sites=2) as cluster:
        cluster.start_all()
        cluster.active_hub()
        release(options, cluster, folder, VERSIONS[0])
        must(cluster.cli_json("model", "activate", MODEL, VERSIONS[0]), "activate")
        release(options, cluster, folder, VERSIONS[1])
        must(cluster.cli_json("model", "activate", MODEL, VERSIONS[1]), "activate")
        elapsed = {True: [], False: []}
        with (Apps(options, cluster, folder) as apps,
              Writer(options.bin, "swaps", os.path.join(cluster.folder, "client.toml"), os.path.join(folder, "writer.log")) as writer):
            def all_score():
                apps.check()
                return min(apps.count("frame").values()) >= 3
            wait_until("every app scores frames", all_score, 60, step=0.2)
            for number in range(options.swaps):
                # Not the first: the writer connects with that one. Two in a row, so that the writer finds what it left.
                by_command = number % 5 in (1, 2)
                begin, end, index = swap(cluster, writer, by_command, VERSIONS[number % 2])
                if number:
                    elapsed[by_command].append((end - begin) / 1e6)
                note({"t": "activation", "kind": "activate", "version": VERSIONS[number % 2], "begin": begin, "end": end, "ok": True,
                      "all_up": True, "index": index, "elapsed_ms": (end - begin) / 1e6})
                # The next begins at another point of the frame's period each time.
                time.sleep(APART_SECONDS + (number % 7) / (7 * options.fps))
                apps.check()
            apps.stop()
    measured = judge.Run.from_folder(folder)
    found = figures.of_run(measured, judge.histories(measured))
    if found["swaps"] < options.swaps * options.edges:
        raise Failure(f"{found['swaps']} of {options.swaps * options.edges} swaps were seen by the apps")
    swapped, calm = list(gaps(measured, True)), list(gaps(measured, False))
    steady = percentile(calm, 99.9)
    who = f"{options.edges} edges alive, {options.swaps} swaps"
    return [
        row(f"activation p50, {who}", percentile(elapsed[False], 50), "ms"),
        row("activation p99", percentile(elapsed[False], 99), "ms", 50, 50),
        row("activation p50, by a new `tidelock` command", percentile(elapsed[True], 50), "ms"),
        row("adoption lag p50", found["adoption_lag_ms_p50"], "ms"),
        row("adoption lag p99", found["adoption_lag_ms_p99"], "ms", 20, 20),
        row("swap frame gap, max", max(swapped), "ms", round(2 * found["frame_ms_p50"], 3), None, "frames without a swap, max", max(calm)),
        row("swap frame gap, p50", percentile(swapped, 50), "ms", None, None, "frames without a swap, p50", percentile(calm, 50)),
        row("swap frame gap, p99", percentile(swapped, 99), "ms", None, None, "frames without a swap, p99", percentile(calm, 99)),
        row("frames p99.9, with the swaps among them", percentile(swapped + calm, 99.9), "ms", round(2 * steady, 3), None,
            "frames without a swap, p99.9", steady),
        row("frame p50", found["frame_ms_p50"], "ms"),
    ] + memory_rows(options, folder)


HELD, HELD_MIB = "held", 30


def memory_rows(options, folder):
    """What --processes processes take of memory together for one model."""
    rows = []
    with Cluster(options.bin, os.path.join(folder, "gateway"), hubs=1, edges=1, sites=1) as cluster:
        cluster.start_all()
        cluster.active_hub()
        for name, mib in (("small", 1), (HELD, HELD_MIB)):
            made = os.path.join(folder, "assets", name)
            subprocess.run([os.path.join(options.bin, "bench-holder"), "release", made, "1.0.0", str(mib)], check=True, timeout=300,
                           stdin=subprocess.DEVNULL)
            publish_and_stage(cluster, name, "1.0.0", made, 1)
            must(cluster.cli_json("model", "activate", name, "1.0.0"), "activate")
        engines = ["opencv"] + (["onnxruntime"] if os.environ.get("TIDELOCK_ONNXRUNTIME") else [])
        for engine in engines:
            tools = []
            def all_do(words):
                for tool in tools:
                    tool.tell(words)
                for tool in tools:
                    tool.listen(120)
            try:
                for number in range(options.processes):
                    log = os.path.join(folder, f"holder-{engine}-{number}.log")
                    tools.append(Tool(options.bin, "bench-holder", ["hold", cluster.config["edge-1"]["run_dir"], engine], log))
                    tools[-1].listen(60)
                pids = [tool.process.pid for tool in tools]
                all_do("open small")  # what the first model of a process costs, whatever its size
                all_do("close")
                before = sum(map(pss_bytes, pids))
                all_do(f"open {HELD}")
                after = sum(map(pss_bytes, pids))
            finally:
                for tool in tools:
                    tool.process.kill()
            rows.append(row(f"memory of {options.processes} processes, {HELD_MIB} MiB of weights, {engine}",
                            (after - before) / (HELD_MIB << 20), "x", 1.1, 1.1))
    return rows


def options_of(parser):
    parser.add_argument("--swaps", type=int, default=50)
    parser.add_argument("--edges", type=int, default=4)
    parser.add_argument("--fps", type=int, default=6)
    parser.add_argument("--processes", type=int, default=4, help="of the part that measures memory")


if __name__ == "__main__":
    sys.exit(main("swap", arguments("swap", __doc__, options_of), run))
