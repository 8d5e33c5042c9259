#!/usr/bin/python3
"""X2 with real processes: a gateway follows the root that its file pins, whatever its hubs bring or hide; a hub refuses what the trust
files do not allow before any gateway hears of it; a key that was rotated signs nothing that a running gateway takes, and a catalogue
that expires there flags what is in force and stops what is new. `trust_test.py --bin DIR`."""

import argparse
import copy
import os
import shutil
import struct
import sys
import unittest

sys.dont_write_bytecode = True
from harness import Cluster, Scratch, wait_until
from transfers import EDGE, MODEL, Releases, must

BIN = "."


class Publisher:
    """All keys of one publisher, and the four files as he signs them with the command line."""

    def __init__(self, cluster, folder, name):
        self.cluster, self.place, self.roots, self.timer = cluster, os.path.join(folder, name), ["root.trust"], "timer"
        os.makedirs(self.place)
        for key in ("root", "vision", "ci", "timer"):
            self.key("new", "--out", self.at(key))
        self.key("root", "init", "--domain", name, "--key", self.at("root.pub.pem"), "--snapshot", self.at("ci.pub.pem"), "--timestamp",
                 self.at("timer.pub.pem"), "--namespace", f"{MODEL}={self.at('vision.pub.pem')}", "--out", self.at("root.trust"))
        self.key("root", "sign", self.at("root.trust"), "--key", self.at("root.pem"))

    def at(self, name):
        return os.path.join(self.place, name)

    def key(self, *words):
        return must(self.cluster.cli_json("key", *words, with_config=False), " ".join(words))

    def content(self):
        return self.key("show", self.at("root.trust"))["content_sha256"]

    def allow(self, release, version):
        self.key("targets", "--root", self.at("root.trust"), "--namespace", MODEL, "--release", f"{MODEL}:{version}={release}",
                 "--publisher", os.path.join(self.cluster.folder, "model-key.pem"), "--key", self.at("vision.pem"), "--out",
                 self.at("targets.trust"))
        self.catalogue()

    def withdraw(self, version):
        self.key("targets", "--root", self.at("root.trust"), "--namespace", MODEL, "--withdraw", f"{MODEL}:{version}", "--key",
                 self.at("vision.pem"), "--out", self.at("targets.trust"))
        self.catalogue()

    def catalogue(self):
        self.key("snapshot", "--root", self.at("root.trust"), "--targets", self.at("targets.trust"), "--key", self.at("ci.pem"), "--out",
                 self.at("snapshot.trust"))
        self.timestamp()

    def timestamp(self, out="timestamp.trust"):
        self.key("timestamp", "--root", self.at(self.roots[-1]), "--snapshot", self.at("snapshot.trust"), "--key",
                 self.at(f"{self.timer}.pem"), "--out", self.at(out), "--hours", "1")

    def timestamp_that_expires_in(self, seconds):
        """One of an hour, made by a command whose clock is nearly an hour behind."""
        behind = os.path.join(self.place, "clock")
        with open(behind, "wb") as out:  # clock_preload.cc: Setting
            out.write(struct.pack("<IIqqqqq", 0, 0, (seconds - 3600) * 10**9, 0, 0, 0, 0))
        late = {"LD_PRELOAD": os.path.join(self.cluster.bin, "clock-preload.so"), "TIDELOCK_CLOCK_FILE": behind}
        os.environ.update(late)
        try:
            self.timestamp()
        finally:
            for name in late:
                del os.environ[name]

    def rotate_timer(self):
        """The next root, in which another key signs timestamps; and one that it signed."""
        self.key("new", "--out", self.at("timer-2"))
        self.key("rotate", "timestamp", "--root", self.at("root.trust"), "--key", self.at("timer-2.pub.pem"), "--note", "timer was stolen",
                 "--out", self.at("root-2.trust"))
        self.key("root", "sign", self.at("root-2.trust"), "--previous", self.at("root.trust"), "--key", self.at("root.pem"))
        self.roots, self.timer = ["root.trust", "root-2.trust"], "timer-2"
        self.timestamp()

    def push(self, timestamp="timestamp.trust", roots=None):
        words = [word for root in self.roots if roots is None or root in roots for word in ("--root", self.at(root))]
        return self.cluster.cli_json("key", "push", *words, "--timestamp", self.at(timestamp), "--snapshot", self.at("snapshot.trust"),
                                     "--targets", self.at("targets.trust"))


class Trust(unittest.TestCase):
    def test_pinned_roots_and_what_a_hub_refuses(self):
        with Scratch() as folder:
            cluster = Cluster(BIN, os.path.join(folder, "cluster"), hubs=1, edges=2, sites=1)
            self.addCleanup(cluster.close)
            ours, theirs = Publisher(cluster, folder, "ours"), Publisher(cluster, folder, "theirs")
            for edge, pin in (("edge-1", f'root_sha256 = "{ours.content()}"'), ("edge-2", f'root = "{theirs.at("root.trust")}"')):
                with open(cluster.config_file(edge), "a", encoding="utf-8") as out:
                    out.write(f"\n[trust]\n{pin}\n")
            cluster.start_all()
            cluster.active_hub()
            releases = Releases(cluster, folder)
            release = os.path.join(folder, "kept")
            shutil.copytree(releases.base, release)
            model_key = os.path.join(cluster.folder, "model-key.pem")
            must(cluster.cli_json("model", "publish", release, "--name", MODEL, "--version", "1.0.0", "--key", model_key), "publish")
            # No trust files at the hub: it asks nothing, and gateways with a pin take nothing.
            releases.stage("1.0.0")

            def why(edge, part):
                return [one for one in releases.status().get("waiting", []) if one["edge"] == edge and part in one["why"]]
            wait_until("edge-1 misses its root", lambda: why("edge-1", "no hub has brought the pinned root"), 60, step=0.1)
            wait_until("edge-2 misses a catalogue", lambda: why("edge-2", "push the catalogue"), 60, step=0.1)

            ours.allow(release, "1.0.0")
            must(ours.push(), "push")
            wait_until("edge-1 has staged it", lambda: "edge-1" in releases.status()["staged_edges"], 60, step=0.1)
            must(cluster.cli_json("model", "activate", MODEL, "1.0.0"), "activate")
            self.assertNotIn("edge-2", releases.status()["staged_edges"], "what its own publisher never signed")
            wait_until("edge-2 says whose files those are", lambda: "trust files not taken" in cluster.processes["edge-2"].last_words(400), 60,
                       step=0.1)
            self.assertEqual(theirs.key("verify", "--root", theirs.at("root.trust"))["ok"], True)
            theirs.allow(release, "1.0.0")
            self.assertEqual(theirs.push()["code"], "denied", "hubs follow one publisher")

            # A version that is published and not in the catalogue: the operator hears of it, and no gateway does.
            must(cluster.cli_json("model", "publish", release, "--name", MODEL, "--version", "2.0.0", "--key", model_key), "publish")
            refused = cluster.cli_json("model", "stage", MODEL, "2.0.0")
            self.assertEqual((refused["ok"], refused["code"]), (False, "denied"), refused)
            self.assertIn("(arbitrary install)", refused["message"])
            self.assertEqual(releases.status()["staged"], "1.0.0")
            ours.allow(release, "2.0.0")
            must(ours.push(), "push")
            releases.stage("2.0.0")
            wait_until("edge-1 has staged that too", lambda: "edge-1" in releases.status()["staged_edges"], 60, step=0.1)
            must(cluster.cli_json("model", "activate", MODEL, "2.0.0"), "activate")
            # What was withdrawn is nowhere to go back to.
            ours.withdraw("1.0.0")
            must(ours.push(), "push")
            back = cluster.cli_json("model", "rollback", MODEL)
            self.assertEqual(back["code"], "denied", back)
            self.assertEqual(releases.status()["current"], "2.0.0")

    def test_a_rotated_key_and_a_catalogue_that_expires(self):
        with Scratch() as folder:
            cluster = Cluster(BIN, os.path.join(folder, "cluster"), hubs=1, edges=1, sites=1)
            self.addCleanup(cluster.close)
            cluster.start_all()
            cluster.active_hub()
            releases = Releases(cluster, folder)
            ours = Publisher(cluster, folder, "ours")
            releases.publish("1.0.0")
            must(cluster.cli_json("model", "publish", releases.base, "--name", MODEL, "--version", "2.0.0", "--key",
                                  os.path.join(cluster.folder, "model-key.pem")), "publish 2.0.0")
            ours.allow(releases.base, "1.0.0")
            must(ours.push(), "push")
            releases.stage("1.0.0")
            releases.wait_staged("1.0.0", 60)
            must(cluster.cli_json("model", "activate", MODEL, "1.0.0"), "activate")

            def said(event):
                with open(os.path.join(cluster.logs, f"{EDGE}.log"), encoding="utf-8") as log:
                    return [line for line in log if f'"{event}"' in line]

            taken = len(said("trust files taken"))
            ours.rotate_timer()
            must(ours.push(), "push the next root")
            wait_until("the edge follows the next root", lambda: len(said("trust files taken")) > taken, 60, step=0.1)
            self.assertIn('"standing":"fresh"', said("trust files taken")[-1])

            # What the former key signs now is worth nothing, with the former root and without.
            thief = copy.copy(ours)
            thief.roots, thief.timer = ["root.trust"], "timer"
            for _ in range(3):  # newer than any that was pushed
                thief.timestamp("forged.trust")
            for roots, why in (((), "which the root does not give this role; only its keys may sign"), (("root.trust",), "(rollback)")):
                forged = thief.push("forged.trust", roots)
                self.assertEqual((forged["ok"], forged["code"]), (False, "denied"), forged)
                self.assertIn(why, forged["message"])

            # A catalogue that nobody signs anew: what is in force stays, flagged, and nothing new is staged.
            flag = os.path.join(cluster.config[EDGE]["run_dir"], "models", ".trust-expired")
            self.assertFalse(os.path.exists(flag))
            ours.allow(releases.base, "2.0.0")
            ours.timestamp_that_expires_in(20)
            must(ours.push(roots=()), "push a timestamp that ends soon")
            wait_until("the edge says that its catalogue expired", lambda: said("trust files expired"), 60, step=0.1)
            self.assertEqual(cluster.metrics(EDGE).get("tidelock_edge_model_trust_expired"), 1)
            with open(flag, encoding="utf-8") as why:
                self.assertIn("expired", why.read())
            status = releases.status()
            self.assertEqual((status["current"], status["staged_edges"]), ("1.0.0", [EDGE]), status)
            late = cluster.cli_json("model", "stage", MODEL, "2.0.0")
            self.assertEqual((late["ok"], late["code"]), (False, "stale"), late)
            self.assertIn("expired", late["message"])

            ours.timestamp()
            must(ours.push(roots=()), "push a fresh one")
            wait_until("the edge is fresh again", lambda: said("trust files are fresh"), 60, step=0.1)
            self.assertEqual(cluster.metrics(EDGE).get("tidelock_edge_model_trust_expired"), 0)
            self.assertFalse(os.path.exists(flag))
            releases.stage("2.0.0")
            releases.wait_staged("2.0.0", 60)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--bin", default=".")
    options, rest = parser.parse_known_args()
    BIN = options.bin
    unittest.main(argv=[sys.argv[0], *rest])
