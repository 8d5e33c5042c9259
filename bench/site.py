"""A new version at a site: bytes over the wide-area link, when four gateways hand each other what one of them fetched.

One hub, four gateways of one site, each with a link of its own to the hub (link-proxy); between themselves they have loopback. The
payload does not compress. Bytes are those of all connections of all four gateways to the hub, TLS included, from the order to stage
until all four have verified the version.
"""

import os
import sys
import time

from rig import Failure, arguments, main, row, wait_until
from harness import Cluster
from transfers import Releases, carried, must, wait_staged_by

MB = 1_000_000


def staged(cluster, releases, version, size, options):
    """Wide-area bytes, and seconds."""
    before = carried(cluster)
    begin = time.monotonic()
    releases.stage(version)
    wait_staged_by(releases, version, cluster.edges, 20 * size / options.rate + 120)
    seconds = time.monotonic() - begin
    return carried(cluster) - before, seconds


def run(options, folder):
    if options.quick:
        options.mb = options.mb / 10
    size = int(options.mb * MB)
    with Cluster(options.bin, os.path.join(folder, "site"), hubs=1, edges=options.gateways, sites=1, links=True) as cluster:
        cluster.start_all()
        cluster.active_hub()
        releases = Releases(cluster, folder)
        releases.publish("1.0.0")
        releases.stage("1.0.0")
        wait_staged_by(releases, "1.0.0", cluster.edges, 120)
        must(cluster.cli_json("model", "activate", "detector", "1.0.0"), "activate")
        for edge in cluster.edges:
            cluster.links.tell(f"rate {edge}/* {options.rate}")
            cluster.links.tell(f"delay {edge}/* 25")
        releases.publish("2.0.0", releases.noise(size))
        wire, seconds = staged(cluster, releases, "2.0.0", size, options)

        def told():  # gateways say so a little after they hold it
            came = [one for one in releases.status()["came"] if one["version"] == "2.0.0"]
            return came if {one["edge"] for one in came} == set(cluster.edges) else None

        came = wait_until("every gateway says where it came from", told, 60, step=0.2)
        bytes_from = {}
        for one in came:
            kind = "hub" if one["from"].startswith("hub-") else "neighbour"
            bytes_from[kind] = bytes_from.get(kind, 0) + one["bytes"]
        if bytes_from.get("neighbour", 0) < size:
            raise Failure(f"no neighbour gave the payload: {came}")
        fallbacks = sum(cluster.metrics(edge)["tidelock_edge_site_fallbacks_total"] for edge in cluster.edges)
        # And as a delta: a tenth of it changed, so one gateway fetches some of it and all take the whole file from it.
        releases.publish("3.0.0", releases.changed("2.0.0", size // 10))
        delta_wire, delta_seconds = staged(cluster, releases, "3.0.0", size, options)
    who = f"{options.gateways} gateways, {options.mb:g} MB"
    return [
        row(f"wide-area bytes / payload, {who}", wire / size, "x", 1.1, 1.1, "each for itself", float(options.gateways)),
        row("  time / payload at one link's rate", seconds * options.rate / size, "x"),
        row("  bytes from neighbours / payload", bytes_from["neighbour"] / size, "x"),
        row("  files that a hub was asked for beside", fallbacks, "", 0, 0),
        row("the same where a tenth changed (delta)", delta_wire / size, "x"),
        row("  seconds", delta_seconds, "s"),
    ]


def options_of(parser):
    parser.add_argument("--mb", type=float, default=30, help="payload, in millions of bytes")
    parser.add_argument("--gateways", type=int, default=4)
    parser.add_argument("--rate", type=int, default=500_000, help="of each gateway's link to the hub, bytes a second one way")
    parser.add_argument("--quick", action="store_true", help="a tenth of the payload")


if __name__ == "__main__":
    sys.exit(main("site", arguments("site", __doc__, options_of), run))
