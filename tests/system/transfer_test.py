#!/usr/bin/python3
"""M3 with real processes: a version arrives whole over a link that is cut and an edge that is killed, for hardly more bytes than it
has; a budget stops a transfer, is seen by the operator, and no kill gives any of it back; an edge that was away skips a version. `transfer_test.py --bin DIR`."""

import argparse
import hashlib
import json
import os
import sys
import unittest

sys.dont_write_bytecode = True
from harness import Cluster, Scratch, wait_until
from transfers import EDGE, Releases, disturb, link, must, wait_staged_by

BIN = "."
SIZE = 3_000_000
EVENT_BYTES = 24_000  # a cut or a kill: two connections with certificates both ways, a welcome, half a message lost
QUIET_BYTES = 60_000  # heartbeats, and what the operator's questions make the hub say
CHUNK_BYTES = 65_536


class Transfer(unittest.TestCase):
    def cluster(self, folder, edge_toml="", edges=1):
        cluster = Cluster(BIN, os.path.join(folder, "cluster"), hubs=1, edges=edges, sites=edges, links=True)
        self.addCleanup(cluster.close)
        if edge_toml:
            with open(cluster.config_file(EDGE), "a", encoding="utf-8") as out:
                out.write(edge_toml)
        cluster.start_all()
        cluster.active_hub()
        return cluster, Releases(cluster, folder)

    def test_cuts_and_kills_cost_little(self):
        with Scratch() as folder:
            cluster, releases = self.cluster(folder)
            releases.publish("1.0.0")
            releases.stage("1.0.0")
            releases.wait_staged("1.0.0", 120)
            cluster.links.tell(f"rate {EDGE}/* 1000000")
            cluster.links.tell(f"delay {EDGE}/* 10")
            releases.publish("2.0.0", releases.noise(SIZE))
            before = link(cluster)[0]
            releases.stage("2.0.0")
            done = disturb(cluster, releases, "2.0.0", SIZE, cuts=5, kills=2, seconds=120, outage=(0.02, 0.1))
            wire = link(cluster)[0] - before
            self.assertEqual(done, {"cut": 5, "kill": 2})
            self.assertGreaterEqual(wire, SIZE, "the payload does not compress: it all came")
            self.assertLessEqual(wire, 1.03 * SIZE + 7 * EVENT_BYTES + QUIET_BYTES, "what came once does not come again")
            metrics = cluster.metrics(EDGE)
            self.assertGreater(metrics['tidelock_edge_transfer_bytes_total{kind="full"}'], 0)

    def test_a_new_version_comes_as_a_delta(self):
        with Scratch() as folder:
            cluster, releases = self.cluster(folder)
            payload = bytearray(releases.noise(SIZE))
            releases.publish("1.0.0", payload)
            releases.stage("1.0.0")
            releases.wait_staged("1.0.0", 120)
            payload[SIZE * 9 // 10:SIZE * 9 // 10 + 20_000] = releases.noise(20_000)
            payload[1_000:1_000] = releases.noise(500)
            cluster.links.tell(f"rate {EDGE}/* 20000")
            releases.publish("2.0.0", payload)
            before = link(cluster)[0]
            releases.stage("2.0.0")
            # A kill in the middle of the delta: it goes on where it was.
            wait_until("some of the delta is here", lambda: releases.partial_bytes() > 6_000, 60, step=0.01)
            cluster.kill(EDGE)
            cluster.start(EDGE)
            releases.wait_staged("2.0.0", 120)
            self.assertLess(link(cluster)[0] - before, 1.1 * 20_500 + EVENT_BYTES + QUIET_BYTES)
            metrics = cluster.metrics(EDGE)
            self.assertGreater(metrics['tidelock_edge_transfer_bytes_total{kind="delta"}'], 0)
            self.assertEqual(metrics['tidelock_edge_transfer_bytes_total{kind="full"}'], 0)
            self.assertEqual(metrics["tidelock_edge_delta_fallbacks_total"], 0)
            # What has nothing in common with the version before is no delta: it comes whole, counted and logged. Or not at all.
            cluster.links.tell(f"rate {EDGE}/* 0")
            releases.publish("3.0.0", releases.noise(SIZE // 10))
            releases.stage("3.0.0")
            releases.wait_staged("3.0.0", 120)
            self.assertEqual(cluster.metrics(EDGE)["tidelock_edge_delta_fallbacks_total"], 1)
            self.assertIn("no delta: the file comes whole", cluster.processes[EDGE].last_words(60))
            cluster.stop(EDGE)
            with open(cluster.config_file(EDGE), "a", encoding="utf-8") as out:
                out.write("full_fallback = false\n")  # into [transfer], the last of the file
            cluster.start(EDGE)
            releases.publish("4.0.0", releases.noise(SIZE // 10))
            releases.stage("4.0.0")
            wait_until("it says why not", lambda: [one for one in releases.status().get("waiting", []) if "does not come whole" in one["why"]],
                       60, step=0.2)

    def test_a_budget_stops_a_transfer_and_is_seen(self):
        budget = 1_000_000
        with Scratch() as folder:
            cluster, releases = self.cluster(folder, f"daily_budget_bytes = {budget}\n")
            releases.publish("1.0.0", releases.noise(SIZE))
            before = link(cluster)[0]
            releases.stage("1.0.0")
            def paused():
                waiting = releases.status().get("waiting", [])
                return [one for one in waiting if "paused: the daily budget of 1000000 bytes is spent" in one["why"]]
            found = wait_until("the pause is reported", paused, 60, step=0.2)
            self.assertEqual((found[0]["edge"], found[0]["version"]), (EDGE, "1.0.0"))
            text = cluster.cli("model", "status", "detector").stdout
            self.assertIn(f"{EDGE} has not staged 1.0.0: paused: the daily budget", text)
            spent = link(cluster)[0] - before
            self.assertGreater(spent, budget * 0.85)
            self.assertLess(spent, budget + CHUNK_BYTES)
            here = releases.partial_bytes()
            # M3: a kill gives none of it back; what is here stays here.
            cluster.kill(EDGE)
            cluster.start(EDGE)
            wait_until("the pause is reported again", paused, 60, step=0.2)
            self.assertLess(link(cluster)[0] - before, budget + CHUNK_BYTES + EVENT_BYTES + QUIET_BYTES)
            self.assertEqual(releases.partial_bytes(), here)
            self.assertLessEqual(cluster.metrics(EDGE)["tidelock_edge_transfer_day_bytes"], budget)
            # More budget, and it goes on where it was.
            cluster.stop(EDGE)
            cluster.rewrite(EDGE, r"^daily_budget_bytes = .*$", f"daily_budget_bytes = {20 * budget}")
            middle = link(cluster)[0]
            cluster.start(EDGE)
            releases.wait_staged("1.0.0", 120)
            total = SIZE + os.path.getsize(os.path.join(releases.base, "model.onnx"))
            self.assertLess(link(cluster)[0] - middle, 1.05 * (total - here) + 400_000 + QUIET_BYTES)
            self.assertEqual(releases.status()["waiting"], [])

    def test_an_edge_that_was_away_comes_straight_to_the_right_version(self):
        with Scratch() as folder:
            cluster, releases = self.cluster(folder, edges=2)  # the other one stays: somebody has each version
            size = SIZE // 3
            def bring(version, edges):
                releases.publish(version, releases.noise(size))
                releases.stage(version)
                wait_staged_by(releases, version, edges, 120)
                must(cluster.cli_json("model", "activate", "detector", version), f"activate {version}")
            bring("1.0.0", (EDGE, "edge-2"))
            cluster.stop(EDGE)
            bring("2.0.0", ("edge-2",))
            bring("3.0.0", ("edge-2",))
            before = link(cluster)[0]
            cluster.start(EDGE)
            room = os.path.join(cluster.config[EDGE]["run_dir"], "models", "detector")
            wait_until("3.0.0 is verified there", lambda: os.path.exists(os.path.join(room, "3.0.0", "tidelock.verified")), 120)
            wait_until("it is in force there", lambda: self.models(cluster)["detector"]["current"] == "3.0.0", 30)
            blobs = os.path.join(cluster.config[EDGE]["data_dir"], "models", "blobs")
            for version, here in (("2.0.0", False), ("3.0.0", True)):
                digest = hashlib.sha256(releases.payloads[version]).hexdigest()
                self.assertEqual(os.path.exists(os.path.join(blobs, "blobs", digest[:2], digest)), here, version)
            self.assertFalse(os.path.exists(os.path.join(room, "2.0.0")))
            self.assertNotIn('"version":"2.0.0"', cluster.processes[EDGE].last_words(1_000))
            metrics = cluster.metrics(EDGE)  # of this start
            came = metrics['tidelock_edge_transfer_bytes_total{kind="full"}'] + metrics['tidelock_edge_transfer_bytes_total{kind="delta"}']
            self.assertGreaterEqual(came, size)
            self.assertLess(came, 1.03 * size, "one version's bytes, not two")
            self.assertLess(link(cluster)[0] - before, 1.03 * size + EVENT_BYTES + 2 * QUIET_BYTES)

    def models(self, cluster):
        with cluster.redis(EDGE) as redis:
            return json.loads(redis.call("TL.INFO"))["models"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--bin", default=".")
    options, rest = parser.parse_known_args()
    BIN = options.bin
    unittest.main(argv=[sys.argv[0], *rest])
