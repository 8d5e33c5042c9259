"""Durable writes, one after another: three hubs beside three members of etcd on the same disk.

The hubs are real processes under mutual TLS, written to through the operators' path; etcd runs without TLS. Both are written
to by one C++ program through one gRPC connection, in turns, so that a busy machine hurts both alike.
"""

import os
import sys

from rig import EtcdCluster, Writer, arguments, etcd_version, file_system, free_ports, main, milliseconds, percentile, row
from harness import Cluster

ROUNDS = 10
WARM_UP = 50


def run(options, folder):
    log = os.path.join(folder, "writer.log")
    peer = etcd_version()
    peer_name = f"{peer}, 3 members, no TLS" if peer else "etcd is not installed"
    each = options.writes // ROUNDS
    hubs, etcd = [], []
    with Cluster(options.bin, os.path.join(folder, "hubs"), hubs=3, edges=0) as cluster:
        cluster.start_all()
        cluster.active_hub()
        with Writer(options.bin, "hubs", os.path.join(cluster.folder, "client.toml"), log) as ours:
            ours.batch(WARM_UP)
            if not peer:
                hubs += milliseconds(ours.batch(options.writes))
            else:
                with EtcdCluster(os.path.join(folder, "etcd"), free_ports(6)) as theirs:
                    with Writer(options.bin, "etcd", theirs.addresses(theirs.leader()), log) as writer:
                        writer.batch(WARM_UP)
                        for _ in range(ROUNDS):
                            hubs += milliseconds(ours.batch(each))
                            etcd += milliseconds(writer.batch(each))
    alone = {}
    for kind in ("raft", "disk"):
        os.makedirs(os.path.join(folder, kind))
        with Writer(options.bin, kind, os.path.join(folder, kind), log) as writer:
            writer.batch(WARM_UP)
            alone[kind] = milliseconds(writer.batch(options.writes))
    return [
        row("durable write, 3 hubs, p50", percentile(hubs, 50), "ms", 0.6, 0.4, peer_name, percentile(etcd, 50)),
        row("durable write, 3 hubs, p99", percentile(hubs, 99), "ms", None, None, peer_name, percentile(etcd, 99)),
        row("commit, 3 ledgers in one process, p50", percentile(alone["raft"], 50), "ms"),
        row("commit, 3 ledgers in one process, p99", percentile(alone["raft"], 99), "ms"),
        row(f"one synced append, {file_system(folder)}, p50", percentile(alone["disk"], 50), "ms"),
        row(f"one synced append, {file_system(folder)}, p99", percentile(alone["disk"], 99), "ms"),
    ]


if __name__ == "__main__":
    parsed = arguments("ledger", __doc__, lambda parser: parser.add_argument("--writes", type=int, default=3000, help="of each kind"))
    sys.exit(main("ledger", parsed, run))
