"""A model over a bad link: bytes on the wire with cuts and kills, heartbeats beside bulk, a budget that holds.

One hub and one edge, a link of 1 Mbit/s and 300 ms between them (link-proxy: all connections share the rate and the queue). The payload
does not compress. Every cut is an outage that ends every connection; a kill is SIGKILL of the edge, which is then started again.
Bytes are those of both connections, TLS included, TCP/IP headers not; what a broken connection lost on its way stands beside them.
"""

import os
import sys
import time

from rig import Failure, arguments, main, percentile, row
from harness import Cluster
from transfers import EDGE, Heartbeats, Releases, disturb, link, must

MB = 1_000_000


def shape(cluster, bytes_per_s, delay_ms):
    cluster.links.tell(f"rate {EDGE}/* {bytes_per_s}")
    cluster.links.tell(f"delay {EDGE}/* {delay_ms}")


def steady(cluster, releases, options):
    """Heartbeats alone, then beside bulk."""
    with Heartbeats(cluster) as idle:
        time.sleep(options.idle_seconds)
    size = int(options.idle_seconds * options.rate)
    releases.publish("2.0.0", releases.noise(size))
    begin = time.monotonic()
    with Heartbeats(cluster) as bulk:
        releases.stage("2.0.0")
        releases.wait_staged("2.0.0", 20 * options.idle_seconds + 60)
    return idle.samples, bulk.samples, size, time.monotonic() - begin


def disturbed(cluster, releases, options):
    size = int(options.mb * MB)
    releases.publish("3.0.0", releases.noise(size))
    before, lost = link(cluster)
    begin = time.monotonic()
    releases.stage("3.0.0")
    seconds = 10 * size / options.rate + 10 * (options.cuts + options.kills) + 60
    disturb(cluster, releases, "3.0.0", size, options.cuts, options.kills, seconds)
    after, lost_after = link(cluster)
    return size, after - before, lost_after - lost, time.monotonic() - begin


def budget(cluster, releases, options):
    """A budget of a third of the payload. Bytes on the wire when the edge says that it stopped, and a while later."""
    size, allowed = int(options.mb * MB), int(options.mb * MB / 3)
    cluster.stop(EDGE)
    path = cluster.config_file(EDGE)
    with open(path, "a", encoding="utf-8") as out:
        out.write(f"daily_budget_bytes = {allowed}\n")  # into [transfer], the last of the file
    releases.publish("4.0.0", releases.noise(size))
    cluster.start(EDGE)
    # What the edge spent earlier today counts: it has no budget left if the runs before took more than this one.
    spent = cluster.metrics(EDGE)["tidelock_edge_transfer_day_bytes"]
    if spent:
        raise Failure(f"the edge has spent {spent} bytes of its day before the budget is tried")
    shape(cluster, 20 * options.rate, 30)
    time.sleep(2)
    before = link(cluster)[0]
    releases.stage("4.0.0")
    deadline = time.monotonic() + 120
    why = ""
    while "paused" not in why:
        if time.monotonic() >= deadline:
            raise Failure(f"no pause was reported: {releases.status()}")
        why = "".join(one["why"] for one in releases.status().get("waiting", []) if one["version"] == "4.0.0")
        time.sleep(0.1)
    time.sleep(5)  # and nothing more comes
    return allowed, link(cluster)[0] - before, why


def run(options, folder):
    if options.quick:
        options.mb, options.cuts, options.kills, options.idle_seconds = options.mb / 10, options.cuts // 10, options.kills // 10, 10
    def fresh(name):
        return Cluster(options.bin, os.path.join(folder, name), hubs=1, edges=1, sites=1, links=True)
    with fresh("transfer") as cluster:
        cluster.start_all()
        cluster.active_hub()
        releases = Releases(cluster, folder)
        releases.publish("1.0.0")
        releases.stage("1.0.0")
        releases.wait_staged("1.0.0", 120)
        must(cluster.cli_json("model", "activate", "detector", "1.0.0"), "activate")
        shape(cluster, options.rate, 150)
        time.sleep(3)
        idle, bulk, calm_size, calm_seconds = steady(cluster, releases, options)
        size, wire, lost, seconds = disturbed(cluster, releases, options)
    with fresh("budget") as cluster:
        cluster.start_all()
        cluster.active_hub()
        releases = Releases(cluster, os.path.join(folder, "budget"))
        allowed, spent, why = budget(cluster, releases, options)
    print(f"the edge said: {why}", file=sys.stderr)
    who = f"{options.mb:g} MB, {options.cuts} cuts, {options.kills} kills"
    return [
        row(f"bytes on the wire / payload, {who}", wire / size, "x", 1.03, 1.03),
        row("  and those lost with broken connections", (wire + lost) / size, "x"),
        row("  time / payload at the link's rate", seconds * options.rate / size, "x"),
        row("time / payload at the link's rate, no cut", calm_seconds * options.rate / calm_size, "x"),
        row("heartbeat p99 beside bulk / idle", percentile(bulk, 99) / percentile(idle, 99), "x", 2, 2),
        row("heartbeat p50 beside bulk", percentile(bulk, 50), "ms", None, None, "idle p50", percentile(idle, 50)),
        row("heartbeat p99 beside bulk", percentile(bulk, 99), "ms", None, None, "idle p99", percentile(idle, 99)),
        row(f"bytes beyond a daily budget of {allowed / MB:.3g} MB", max(0, spent - allowed), "B", 65_536, 0),
        row("bytes of the budget that were used", min(1, spent / allowed), "x"),
    ]


def options_of(parser):
    parser.add_argument("--mb", type=float, default=30, help="payload, in millions of bytes")
    parser.add_argument("--cuts", type=int, default=100)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rate", type=int, default=125_000, help="of the link, bytes a second one way")
    parser.add_argument("--idle-seconds", type=float, default=40, help="heartbeats alone, and about as long beside bulk")
    parser.add_argument("--quick", action="store_true", help="a tenth of payload, cuts and kills")


if __name__ == "__main__":
    sys.exit(main("transfer", arguments("transfer", __doc__, options_of), run))
