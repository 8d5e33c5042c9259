#!/usr/bin/python3
"""X3 and M8 with real processes: a file of a model that goes bad on disk is found while it is in use, set aside and fetched anew; an
operator's verify, repair and gc at an edge and at hubs say what is there and change what they say. `model_care_test.py --bin DIR`."""

import argparse
import glob
import hashlib
import os
import sys
import time
import unittest

sys.dont_write_bytecode = True
from harness import Cluster, Scratch, wait_until
from transfers import EDGE, Releases, must

BIN = "."
SIZE = 400_000


def flip_a_bit(path):
    os.chmod(path, 0o644)
    with open(path, "r+b") as file:
        file.seek(SIZE // 2)
        byte = file.read(1)[0]
        file.seek(SIZE // 2)
        file.write(bytes([byte ^ 4]))


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


class ModelCare(unittest.TestCase):
    def cluster(self, folder, hubs, edge_toml=""):
        cluster = Cluster(BIN, os.path.join(folder, "cluster"), hubs=hubs, edges=1, sites=1)
        self.addCleanup(cluster.close)
        with open(cluster.config_file(EDGE), "a", encoding="utf-8") as out:
            out.write(edge_toml)
        cluster.start_all()
        cluster.active_hub()
        return cluster, Releases(cluster, folder)

    def at_edge(self, cluster, *words):
        """What the command line says of the edge's store: (exit code is 0, the answer's only node)."""
        answer = cluster.cli_json("model", *words, "--run-dir", cluster.config[EDGE]["run_dir"], with_config=False)
        self.assertEqual(len(answer["nodes"]), 1, answer)
        return answer["sound"], answer["nodes"][0]

    def test_a_bit_flips_in_a_file_of_a_running_edge(self):
        with Scratch() as folder:
            cluster, releases = self.cluster(folder, 1, "\n[models]\nrehash_kib_per_s = 65536\n")
            payload = releases.noise(SIZE)
            releases.publish("1.0.0", payload)
            releases.stage("1.0.0")
            releases.wait_staged("1.0.0", 120)
            must(cluster.cli_json("model", "activate", "detector", "1.0.0"), "activate")
            sound, store = self.at_edge(cluster, "verify")
            self.assertTrue(sound, store)
            self.assertEqual((store["corrupt"], store["missing"], store["releases"]), (0, 0, 1))
            room = os.path.join(cluster.config[EDGE]["run_dir"], "models", "detector", "1.0.0")
            weights = os.path.join(room, "weights.bin")
            right = hashlib.sha256(payload).hexdigest()
            self.assertEqual(digest(weights), right)
            flip_a_bit(weights)
            # Its turn comes by itself; nobody asked for it.
            wait_until("the damage is found", lambda: cluster.metrics(EDGE)["tidelock_edge_model_files_damaged_total"] >= 1, 60)
            wait_until("the file is whole again, and the version verified", lambda: digest(weights) == right and
                       os.path.exists(os.path.join(room, "tidelock.verified")), 60)
            aside = os.path.join(cluster.config[EDGE]["data_dir"], "models", "blobs", "quarantine", right)
            self.assertNotEqual(digest(aside), right, "what was damaged is kept aside")
            self.assertIn("file damaged on disk", cluster.processes[EDGE].last_words(200))
            sound, store = self.at_edge(cluster, "verify")
            self.assertTrue(sound, store)
            self.assertEqual((store["corrupt"], store["missing"], store["quarantined"]), (0, 0, 1))
            sound, store = self.at_edge(cluster, "gc", "--dry-run")
            self.assertEqual([one["state"] for one in store["files"]], ["quarantined"], "what is in use is not among it")
            self.at_edge(cluster, "gc")
            self.assertFalse(os.path.exists(aside))
            self.assertEqual(digest(weights), right)

    def test_a_hub_repairs_from_another_and_collects_what_no_release_names(self):
        with Scratch() as folder:
            cluster, releases = self.cluster(folder, 3)
            payload = releases.noise(SIZE)
            releases.publish("1.0.0", payload)
            right = hashlib.sha256(payload).hexdigest()
            blob = os.path.join(cluster.config["hub-2"]["data_dir"], "models", "blobs", right[:2], right)
            wait_until("hub-2 has it", lambda: os.path.exists(blob), 30)
            flip_a_bit(blob)
            shown = cluster.cli("model", "verify")
            self.assertEqual(shown.returncode, 1, shown.stdout)
            self.assertIn("corrupt      detector 1.0.0 weights.bin", shown.stdout)
            answer = cluster.cli_json("model", "verify", "--hub", "hub-2", "--repair")
            store = answer["nodes"][0]
            self.assertEqual((answer["sound"], store["node"], store["repaired"], store["quarantined"]), (True, "hub-2", 1, 1), store)
            self.assertEqual(digest(blob), right)
            # A file of no release goes when it is old enough that no publish can be under way with it.
            stray = hashlib.sha256(b"stray").hexdigest()
            place = os.path.join(cluster.config["hub-2"]["data_dir"], "models", "blobs", stray[:2], stray)
            cluster.stop("hub-2")
            os.makedirs(os.path.dirname(place), exist_ok=True)
            with open(place, "wb") as file:
                file.write(b"stray")
            offline = cluster.cli("model", "verify", "--store", os.path.dirname(os.path.dirname(os.path.dirname(place))), with_config=False)
            self.assertEqual(offline.returncode, 0, offline.stdout + offline.stderr)
            self.assertIn("files are whole", offline.stdout)
            cluster.start("hub-2")
            young = cluster.cli_json("model", "gc", "--hub", "hub-2")["nodes"][0]
            self.assertNotIn("unreferenced", [one["state"] for one in young["files"]])
            old = time.time() - 3600
            os.utime(place, (old, old))
            would = cluster.cli_json("model", "gc", "--hub", "hub-2", "--dry-run")["nodes"][0]
            self.assertEqual([one["sha256"] for one in would["files"] if one["state"] == "unreferenced"], [stray])
            self.assertTrue(os.path.exists(place), "a dry run removes nothing")
            cluster.cli_json("model", "gc", "--hub", "hub-2")
            self.assertFalse(os.path.exists(place))
            self.assertTrue(os.path.exists(blob), "what a release names stays")
            self.assertTrue(cluster.cli_json("model", "verify")["sound"])
            # Without any whole copy a repair says so: what another hub gives is hashed before it counts.
            for path in glob.glob(os.path.join(folder, "cluster", "hub-*", "**", right), recursive=True):
                flip_a_bit(path)
            lost = cluster.cli_json("model", "verify", "--repair")
            self.assertFalse(lost["sound"])
            self.assertTrue(any(one["state"] == "missing" for node in lost["nodes"] for one in node.get("files", [])), lost)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--bin", default=".")
    options, rest = parser.parse_known_args()
    BIN = options.bin
    unittest.main(argv=[sys.argv[0], *rest])
