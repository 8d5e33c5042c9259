"""Activations: 200 gateways behind 100 ms, 200 real sessions at a real hub, eight processes of one gateway.

Simulated: a hub's core and 200 cores of edges over a network of 100 ms there and back, in virtual time; once with every message
taking the same time, once with up to 10 ms more each way. A commit of the ledger takes 5 ms.

Real hub: one hub process and the sessions of 200 gateways on loopback, each with its own certificate and connection, all in one
other process; an operator puts two versions in force in turns. Nothing is slowed down: it shows what processors add.

One gateway: eight processes take frames from page and arena while an edge writes 1,000 releases of five keys; apps and edge are
killed at random instants (SIGKILL) and started again. Frames that mix two releases, and frames that began when a release was in
the page and ran on the one before, must be zero: else this bench fails.
"""

import json
import os
import subprocess
import sys
import time

from rig import Failure, Tool, Writer, arguments, main, milliseconds, must, percentile, publish_and_stage, row
from harness import Cluster

MODEL = "detector"  # that bench-writer rolls back


def tool(options, name, *words):
    out = subprocess.run([os.path.join(options.bin, name), *map(str, words)], capture_output=True, text=True, timeout=600,
                         stdin=subprocess.DEVNULL)
    if out.returncode:
        raise Failure(f"{name} ended with {out.returncode}: {(out.stderr or out.stdout).strip()}")
    return json.loads(out.stdout)


def simulated(options):
    rows = []
    for jitter in (0, 20):
        found = tool(options, "bench-activation-sim", options.gateways, 100, jitter, 5, options.activations, options.seed)
        who = f"{options.gateways} simulated gateways, 100 ms" + (f" + 0..{jitter} ms" if jitter else "")
        rows += [
            row(f"activation, {who}, max", found["answered_ms_max"], "ms", 500, 250),
            row("  shown by the last gateway, max", found["shown_ms_max"], "ms"),
            row("  strong reads blocked, p99", found["window_ms_p99"], "ms", 250, 250),
        ]
    return rows


def real_hub(options, folder):
    with Cluster(options.bin, os.path.join(folder, "cluster"), hubs=1, edges=options.gateways, sites=max(1, options.gateways // 4)) as cluster:
        cluster.start("hub-1")
        cluster.active_hub()
        with Tool(options.bin, "bench-sessions", [cluster.folder, "1", str(options.gateways)], os.path.join(folder, "sessions.log")) as sessions:
            if int(sessions.ask("open", 180)) != options.gateways:
                raise Failure("not every session came up")
            for version in ("1.0.0", "2.0.0"):
                made = os.path.join(folder, "assets", version)
                subprocess.run([os.path.join(options.bin, "bench-holder"), "release", made, version, "1"], check=True, timeout=300,
                               stdin=subprocess.DEVNULL)
                publish_and_stage(cluster, MODEL, version, made, options.gateways)
                must(cluster.cli_json("model", "activate", MODEL, version), f"activate {version}")
            with Writer(options.bin, "swaps", os.path.join(cluster.folder, "client.toml"), os.path.join(folder, "writer.log")) as writer:
                writer.batch(1)  # connects
                sessions.ask("reset")
                answered, shown = [], []
                for _ in range(options.activations):
                    before = json.loads(sessions.ask("windows"))["windows_ms"]
                    began, ended, _ = writer.batch(1)[0]
                    deadline = time.monotonic() + 20
                    while True:
                        said = json.loads(sessions.ask("windows"))
                        fresh = [at for at in said["shown_ns"] if at >= began]
                        if len(fresh) == options.gateways and len(said["windows_ms"]) >= len(before) + options.gateways:
                            break
                        if time.monotonic() > deadline:
                            raise Failure(f"only {len(fresh)} of {options.gateways} gateways had the pointer after 20 s")
                        time.sleep(0.02)
                    answered += milliseconds([(began, ended, 0)])
                    shown.append((max(fresh) - began) / 1e6)
                windows = json.loads(sessions.ask("windows"))["windows_ms"]
    return [
        row(f"activation, one hub, {options.gateways} sessions, p50", percentile(answered, 50), "ms"),
        row("  max", max(answered), "ms", 500, 250),
        row("  shown by the last gateway, max", max(shown), "ms"),
        row("  strong reads blocked, p99", percentile(windows, 99), "ms", 250, 250),
    ]


def one_gateway(options):
    found = tool(options, "bench-page-flips", options.releases, options.kills, options.seed)
    if found["mixed"] or found["old"]:
        raise Failure(f"one gateway: {found}")
    who = f"{found['releases']} releases, {found['processes']} processes, {found['killed_apps']} apps and {found['killed_edges']} edges killed"
    return [
        row(f"mixed sets, {who}", found["mixed"], "", 0, 0),
        row("frames on the old set behind the page's store", found["old"], "", 0, 0),
        row("  of frames", found["frames"], ""),
    ]


def run(options, folder):
    return simulated(options) + real_hub(options, folder) + one_gateway(options)


def options_of(parser):
    parser.add_argument("--gateways", type=int, default=200)
    parser.add_argument("--activations", type=int, default=50, help="of each part")
    parser.add_argument("--releases", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)


if __name__ == "__main__":
    sys.exit(main("activation", arguments("activation", __doc__, options_of), run))
