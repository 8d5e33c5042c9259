#!/usr/bin/python3
"""M3 among the gateways of a site, with real processes: each byte crosses the wide-area link once, whoever is elected may die on the
way, a neighbour whose file is damaged costs time only, and a damaged file comes back from a neighbour. `site_test.py --bin DIR`."""

import argparse
import hashlib
import os
import sys
import unittest

sys.dont_write_bytecode = True
from harness import Cluster, Scratch, wait_until
from transfers import Releases, carried, must, wait_staged_by

BIN = "."
SIZE = 2_000_000
QUIET_BYTES = 250_000  # sessions, heartbeats and questions of four gateways


def payload_at(cluster, edge, payload):
    digest = hashlib.sha256(payload).hexdigest()
    return os.path.join(cluster.config[edge]["data_dir"], "models", "blobs", "blobs", digest[:2], digest)


def partial_bytes(cluster, edge):
    """What came to that gateway from a hub of a file that is not whole yet."""
    folder = os.path.join(cluster.config[edge]["data_dir"], "models", "blobs", "partial")
    try:
        return sum(entry.stat().st_size for entry in os.scandir(folder) if not entry.name.endswith(".any"))
    except FileNotFoundError:
        return 0


class Site(unittest.TestCase):
    def cluster(self, folder):
        cluster = Cluster(BIN, os.path.join(folder, "cluster"), hubs=1, edges=4, sites=1, links=True)
        self.addCleanup(cluster.close)
        cluster.start_all()
        cluster.active_hub()
        releases = Releases(cluster, folder)
        releases.publish("1.0.0")
        releases.stage("1.0.0")
        wait_staged_by(releases, "1.0.0", cluster.edges, 120)
        return cluster, releases

    def spent(self, cluster, edge):
        return cluster.metrics(edge).get("tidelock_edge_transfer_day_bytes", 0)

    def test_each_byte_crosses_the_wide_area_link_once(self):
        with Scratch() as folder:
            cluster, releases = self.cluster(folder)
            releases.publish("2.0.0", releases.noise(SIZE))
            for edge in cluster.edges:
                cluster.links.tell(f"rate {edge}/* 500000")
            before = carried(cluster)
            spent = {edge: self.spent(cluster, edge) for edge in cluster.edges}
            releases.stage("2.0.0")
            wait_staged_by(releases, "2.0.0", cluster.edges, 120)
            self.assertLess(carried(cluster) - before, 1.03 * SIZE + QUIET_BYTES)
            # The operator sees from whom it came.
            def told():
                came = [one for one in releases.status()["came"] if one["version"] == "2.0.0"]
                return came if len({one["edge"] for one in came}) == 4 else None
            came = wait_until("all four say where it came from", told, 60, step=0.2)
            from_hub = [one for one in came if one["from"] == "hub-1" and one["bytes"] >= SIZE]
            self.assertEqual(len(from_hub), 1, came)
            near = sum(one["bytes"] for one in came if one["from"] in cluster.edges)
            self.assertGreaterEqual(near, 2.9 * SIZE, came)
            text = cluster.cli("model", "status", "detector").stdout
            self.assertIn(f"{from_hub[0]['edge']} got {from_hub[0]['bytes']} bytes of 2.0.0 from hub-1", text)
            # What a neighbour gave is not charged.
            free = [edge for edge in cluster.edges if edge != from_hub[0]["edge"]]
            for edge in free:
                self.assertLess(self.spent(cluster, edge) - spent[edge], SIZE // 10)
            # Whoever fetches dies on the way: the next of the site takes over, and all get there.
            releases.publish("3.0.0", releases.noise(SIZE))
            releases.stage("3.0.0")
            elected = wait_until("somebody fetches it", lambda: next((edge for edge in cluster.edges
                                                                      if partial_bytes(cluster, edge) > SIZE // 10), None), 60, step=0.02)
            cluster.kill(elected)
            left = [edge for edge in cluster.edges if edge != elected]
            before = carried(cluster)
            wait_staged_by(releases, "3.0.0", left, 180)
            self.assertLess(carried(cluster) - before, 1.03 * SIZE + QUIET_BYTES, "one of the others fetched it, not all of them")
            cluster.start(elected)
            before = carried(cluster)
            wait_staged_by(releases, "3.0.0", cluster.edges, 120)
            self.assertLess(carried(cluster) - before, QUIET_BYTES, "the one that comes back takes it from its neighbours")
            # A repair too: whoever has a damaged file gets it from a neighbour, when an operator asks for it.
            path = payload_at(cluster, elected, releases.payloads["3.0.0"])
            os.chmod(path, 0o600)
            with open(path, "r+b") as file:
                file.seek(SIZE // 2)
                file.write(b"another word")
            kind = 'tidelock_edge_transfer_bytes_total{kind="neighbour"}'
            before, near = carried(cluster), cluster.metrics(elected)[kind]
            answer = must(cluster.cli_json("model", "verify", "--repair", "--run-dir", cluster.config[elected]["run_dir"],
                                           with_config=False), "repair")
            self.assertEqual((answer["sound"], answer["nodes"][0]["repaired"]), (True, 1), answer)
            self.assertEqual(hashlib.sha256(open(path, "rb").read()).digest(), hashlib.sha256(releases.payloads["3.0.0"]).digest())
            self.assertGreaterEqual(cluster.metrics(elected)[kind] - near, SIZE)
            self.assertLess(carried(cluster) - before, QUIET_BYTES, "and nothing of it crossed the wide-area link")

    def test_a_damaged_neighbour_costs_time_only(self):
        with Scratch() as folder:
            cluster, releases = self.cluster(folder)
            payload = releases.noise(SIZE)
            cluster.stop("edge-4")
            releases.publish("2.0.0", payload)
            releases.stage("2.0.0")
            others = cluster.edges[:3]
            wait_staged_by(releases, "2.0.0", others, 120)
            for edge in others:
                path = payload_at(cluster, edge, payload)
                os.chmod(path, 0o600)
                with open(path, "r+b") as file:
                    file.seek(SIZE // 2)
                    file.write(b"another word")
            before = carried(cluster)
            cluster.start("edge-4")
            wait_staged_by(releases, "2.0.0", ["edge-4"], 120)
            with open(payload_at(cluster, "edge-4", payload), "rb") as file:
                self.assertEqual(file.read(), payload)
            self.assertGreaterEqual(carried(cluster) - before, SIZE, "it came from the hub in the end")
            metrics = cluster.metrics("edge-4")
            self.assertGreaterEqual(metrics["tidelock_edge_site_lies_total"], 1)
            self.assertGreaterEqual(metrics["tidelock_edge_site_fallbacks_total"], 1)
            self.assertIn("a file did not come from a neighbour", cluster.processes["edge-4"].last_words(200))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--bin", default=".")
    options, rest = parser.parse_known_args()
    BIN = options.bin
    unittest.main(argv=[sys.argv[0], *rest])
