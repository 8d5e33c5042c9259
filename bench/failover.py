"""kill -9 of the active hub under write-through writes: time until a write that began after it is acknowledged.

Three hub processes; the killed one is started again and caught up before the next kill. Beside it the same with the leader of
three members of etcd, once as etcd ships (election 1000 ms) and once with the election timeout of the hubs (300 ms).
"""

import os
import sys

from rig import EtcdCluster, Failure, Writer, arguments, etcd_version, free_ports, main, now_ns, percentile, row, wait_until
from harness import Cluster

RECOVER_SECONDS = 60
CALM_WRITES = 200  # between two kills, so that each meets a cluster at work


def measure(runs, writer, active, kill, heal):
    """Milliseconds from each kill to the first acknowledgement of a write that began after it."""
    waits = []
    writer.start()
    for _ in range(runs):
        settled = [0]
        def calm(_begin, _end):
            settled[0] += 1
            return settled[0] > CALM_WRITES
        writer.until(calm, RECOVER_SECONDS)
        name = active()
        before = now_ns()
        dead = kill(name)
        _, end = writer.until(lambda begin, _: begin >= dead, RECOVER_SECONDS)
        waits.append((end - before) / 1e6)
        heal(name)
    return waits


def of_hubs(options, folder):
    with Cluster(options.bin, folder, hubs=3, edges=0) as cluster:
        cluster.start_all()
        cluster.active_hub()
        def heal(hub):
            cluster.start(hub)
            def caught_up():
                status = cluster.cli_json("status", timeout_ms=3_000)
                applied = [one.get("applied", 0) for one in status.get("hubs", [])]
                # The writer does not stop, so "caught up" is a moving target: within what it writes in a blink.
                return len(applied) == 3 and min(applied) > 0 and max(applied) - min(applied) < 1000
            wait_until(f"{hub} caught up", caught_up, RECOVER_SECONDS, step=0.1)
        with Writer(options.bin, "hubs", os.path.join(folder, "client.toml"), os.path.join(folder, "writer.log")) as writer:
            return measure(options.runs, writer, cluster.active_hub, cluster.kill, heal)


def of_etcd(options, folder, election_ms):
    with EtcdCluster(folder, free_ports(6), election_ms) as etcd:
        def kill(name):
            return etcd.processes[name].kill()
        def heal(name):
            etcd.start(name)
            etcd.wait_started(name)
        with Writer(options.bin, "etcd", etcd.addresses(etcd.leader()), os.path.join(folder, "writer.log")) as writer:
            return measure(options.peer_runs, writer, etcd.leader, kill, heal)


def run(options, folder):
    if options.runs < 1 or options.peer_runs < 1:
        raise Failure(f"--runs {options.runs} --peer-runs {options.peer_runs}: at least 1")
    hubs = of_hubs(options, os.path.join(folder, "hubs"))
    peer = etcd_version()
    shipped = of_etcd(options, os.path.join(folder, "etcd"), None) if peer else []
    tuned = of_etcd(options, os.path.join(folder, "etcd-300"), 300) if peer else []
    names = [f"{peer} as shipped, {options.peer_runs} runs", f"{peer}, election 300 ms, {options.peer_runs} runs"] if peer else ["etcd is not installed"] * 2
    return [
        row(f"failover, max of {len(hubs)}", max(hubs), "ms", 2000, 900, names[0], max(shipped, default=None)),
        row("failover, median", percentile(hubs, 50), "ms", None, None, names[0], percentile(shipped, 50)),
        row(f"failover, max of {len(hubs)}, same election", max(hubs), "ms", None, None, names[1], max(tuned, default=None)),
        row("failover, median, same election", percentile(hubs, 50), "ms", None, None, names[1], percentile(tuned, 50)),
    ]


def options_of(parser):
    parser.add_argument("--runs", type=int, default=20, help="kills of the active hub")
    parser.add_argument("--peer-runs", type=int, default=5, help="kills of etcd's leader, in each of its two settings")


if __name__ == "__main__":
    sys.exit(main("failover", arguments("failover", __doc__, options_of), run))
