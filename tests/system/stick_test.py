#!/usr/bin/python3
"""M2 with real processes: a version comes to a gateway on a stick, and crosses its link with no byte of a file; whatever becomes of the
hubs, of the gateway, or of a transfer that is under way. `stick_test.py --bin DIR`."""

import argparse
import os
import sys
import unittest

sys.dont_write_bytecode = True
from harness import Cluster, Scratch, wait_until
from transfers import EDGE, Releases, link, must

BIN = "."
SIZE = 1_500_000
QUIET_BYTES = 400_000  # sessions, manifests, heartbeats; less than a third of the file


class Stick(unittest.TestCase):
    def cluster(self, folder):
        cluster = Cluster(BIN, os.path.join(folder, "cluster"), hubs=1, edges=1, sites=1, links=True)
        self.addCleanup(cluster.close)
        cluster.start_all()
        cluster.active_hub()
        return cluster, Releases(cluster, folder)

    def export(self, cluster, folder, version, kind):
        path = os.path.join(folder, f"detector-{version}.{kind}")
        must(cluster.cli_json("model", "export", "detector", version, "--out", path, "--model-key",
                              os.path.join(cluster.folder, "model-key.pub.pem")), "export")
        return path

    def carry_in(self, cluster, path):
        return cluster.cli_json("model", "import", path, "--run-dir", cluster.config[EDGE]["run_dir"], with_config=False, timeout_ms=60_000)

    def verified(self, cluster, version):
        return os.path.exists(os.path.join(cluster.config[EDGE]["run_dir"], "models", "detector", version, "tidelock.verified"))

    def files_from_hubs(self, cluster):
        return cluster.metrics(EDGE)["tidelock_edge_model_bytes_total"]

    def test_what_came_while_the_hubs_were_away_costs_the_link_nothing(self):
        with Scratch() as folder:
            cluster, releases = self.cluster(folder)
            releases.publish("1.0.0", releases.noise(SIZE))
            stick = self.export(cluster, folder, "1.0.0", "zip")
            wait_until("the edge has its key", lambda: self.carry_in(cluster, os.path.join(folder, "none.zip"))["code"] == "not_found", 30)
            before = link(cluster)[0]
            cluster.stop("hub-1")
            answer = must(self.carry_in(cluster, stick), "import")["imported"]
            self.assertEqual((answer["model"], answer["version"], answer["named"], answer["verified"]), ("detector", "1.0.0", False, False))
            self.assertEqual(answer["bytes"], answer["new_bytes"])
            self.assertGreater(answer["bytes"], SIZE)
            self.assertFalse(self.verified(cluster, "1.0.0"), "it proves nothing by itself")
            # A kill takes nothing of it, nor does a collection.
            cluster.kill(EDGE)
            cluster.start(EDGE, wait=False)
            wait_until("the edge answers", lambda: cluster.cli_json("model", "gc", "--run-dir", cluster.config[EDGE]["run_dir"],
                                                                    with_config=False)["ok"], 30)
            cluster.start("hub-1")
            cluster.active_hub()
            releases.stage("1.0.0")
            releases.wait_staged("1.0.0", 120)
            must(cluster.cli_json("model", "activate", "detector", "1.0.0"), "activate")
            wait_until("it is verified", lambda: self.verified(cluster, "1.0.0"), 30)
            self.assertEqual(self.files_from_hubs(cluster), 0)
            self.assertLess(link(cluster)[0] - before, QUIET_BYTES)
            again = must(self.carry_in(cluster, stick), "import again")["imported"]
            self.assertTrue(again["verified"] and again["named"])

    def test_a_transfer_under_way_gives_way_and_hubs_are_not_needed(self):
        with Scratch() as folder:
            cluster, releases = self.cluster(folder)
            releases.publish("1.0.0", releases.noise(SIZE))
            stick = self.export(cluster, folder, "1.0.0", "tar")
            cluster.links.tell(f"rate {EDGE}/* 20000")  # more than a minute for the file
            before = link(cluster)[0]
            releases.stage("1.0.0")
            wait_until("some of it is here", lambda: releases.partial_bytes() > 20_000, 60, step=0.01)
            answer = must(self.carry_in(cluster, stick), "import")["imported"]
            self.assertTrue(answer["named"])
            self.assertLess(answer["new_bytes"], answer["bytes"], "what had come by the link was used")
            wait_until("it is verified", lambda: self.verified(cluster, "1.0.0"), 30)
            self.assertLess(link(cluster)[0] - before, SIZE // 2)
            # The next one is named while there is a link, and comes when there is none.
            cluster.links.tell(f"rate {EDGE}/* 0")
            releases.publish("2.0.0", releases.noise(SIZE))
            stick = self.export(cluster, folder, "2.0.0", "zip")
            cluster.links.tell(f"rate {EDGE}/* 20000")
            releases.stage("2.0.0")
            wait_until("some of it is here", lambda: releases.partial_bytes() > 20_000, 60, step=0.01)
            cluster.kill("hub-1")
            self.assertTrue(must(self.carry_in(cluster, stick), "import")["imported"]["named"])
            wait_until("it is verified without a hub", lambda: self.verified(cluster, "2.0.0"), 60)

    def test_a_stick_that_is_not_right_is_refused(self):
        with Scratch() as folder:
            cluster, releases = self.cluster(folder)
            releases.publish("1.0.0", releases.noise(SIZE))
            stick = self.export(cluster, folder, "1.0.0", "zip")
            with open(stick, "r+b") as file:
                file.seek(SIZE // 2)
                byte = file.read(1)[0]
                file.seek(SIZE // 2)
                file.write(bytes([byte ^ 4]))
            def refused():
                answer = self.carry_in(cluster, stick)
                return answer if answer["code"] != "unavailable" else None  # no session yet
            answer = wait_until("the edge judges it", refused, 30)
            self.assertEqual((answer["ok"], answer["code"]), (False, "corrupt"), answer)
            self.assertIn(f"bundle {stick}: member '", answer["message"])
            blobs = os.path.join(cluster.config[EDGE]["data_dir"], "models", "blobs")
            self.assertEqual(os.listdir(os.path.join(blobs, "partial")), [])
            self.assertEqual(os.listdir(os.path.join(blobs, "blobs")), [])
            nowhere = cluster.cli_json("model", "import", stick, with_config=False)
            self.assertEqual(nowhere["code"], "invalid")
            self.assertIn("--run-dir", nowhere["message"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--bin", default=".")
    options, rest = parser.parse_known_args()
    BIN = options.bin
    unittest.main(argv=[sys.argv[0], *rest])
