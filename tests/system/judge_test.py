#!/usr/bin/python3
"""Tests of the judge: each kind of lie planted in a small log is counted once, and the truth beside it is not."""

import json
import os
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
import figures
import judge
import models_rule
from judge import FOREVER, Run

MS = 1_000_000
SECOND = 1000 * MS
KEY = "feature:track:edge-1:7"


class Produced:
    """The rule of these tests: the frame says itself what produced it."""

    @staticmethod
    def version_of(frame):
        return frame["produced"]


def activation(version, index, begin, end, ok=True, **more):
    return {"t": "activation", "kind": "activate", "version": version, "begin": begin * MS, "end": end * MS, "ok": ok, "index": index,
            "elapsed_ms": end - begin, "all_up": True, **more}


def frame(n, begin, version, index, proven=True, produced=None, bound=0, took=1, **more):
    return {"t": "frame", "n": n, "due": begin * MS, "b": begin * MS, "e": (begin + took) * MS, "version": version, "activation": index,
            "proven": proven, "fallback": not proven, "bound": bound if bound == FOREVER else bound * MS,
            "basis": "lease" if proven else "none", "run_b": (begin + took) * MS, "run_e": (begin + took + 20) * MS,
            "done": (begin + took + 20) * MS, "produced": produced or version, "objects": 2, **more}


def write(seq, begin, end, ack="disk", ok=True, key=KEY, ttl=30_000, **more):
    return {"t": "write", "key": key, "seq": seq, "b": begin * MS, "e": end * MS, "ttl": ttl * MS, "ack": ack, "ok": ok, "version": 0,
            **more}


def read(seq, begin, bound, took=1, key=KEY, version=0, basis="proof", **more):
    return {"t": "read", "key": key, "b": begin * MS, "e": (begin + took) * MS, "ok": True, "seq": seq, "writer": "edge-1", "whole": True,
            "version": version or seq, "bound": bound if bound == FOREVER else bound * MS, "writers": 0, "basis": basis, "source": "arena",
            "fallback": False, "token": 0, **more}


def not_found(begin, bound, took=1, key=KEY):
    return {"t": "read", "key": key, "b": begin * MS, "e": (begin + took) * MS, "ok": False, "code": "not_found", "bound": bound * MS}


def counters(edge="edge-1", **values):
    return {"t": "counters", "edge": edge, **{name: 0 for name in ("written", *judge.SUM)}, **values}


def final(seq, begin, found=True, bound=500, edge="edge-2", key=KEY):
    return {"t": "final", "edge": edge, "key": key, "b": begin * MS, "e": (begin + 1) * MS, "found": found, "seq": seq,
            "bound": bound * MS}


TWO = [activation("1.0.0", 10, 0, 5), activation("2.0.0", 20, 1000, 1010)]


class Cases(unittest.TestCase):
    def verdict(self, apps, control=()):
        run = Run({"edge-1": [], **apps} if isinstance(apps, dict) else {"edge-1": list(apps)}, list(control))
        return judge.judge(run, Produced)

    def check(self, cases):
        for why, apps, control, expected in cases:
            with self.subTest(why):
                report = self.verdict(apps, control)
                self.assertEqual({k: n for k, n in report["lies"].items() if n}, expected, report["examples"])


class Frames(Cases):
    def test_versions(self):
        old_unproven = frame(2, 1200, "1.0.0", 10, proven=False, bound=FOREVER)
        self.check([
            ("the version in force", [frame(1, 100, "1.0.0", 10), frame(2, 1100, "2.0.0", 20)], TWO, {}),
            ("during the activation either is right", [frame(1, 1005, "1.0.0", 10)], TWO, {}),
            ("the new one before its acknowledgement is right, too", [frame(1, 1005, "2.0.0", 20)], TWO, {}),
            ("begun just before the acknowledgement", [frame(1, 1010, "1.0.0", 10)], TWO, {}),
            ("old version proven after the new one was acknowledged", [frame(1, 1011, "1.0.0", 10)], TWO,
             {"proven_wrong_version": 1, "bound_violation": 1}),
            ("the same, but flagged, with no bound: the truth", [old_unproven], TWO, {}),
            ("flagged, with a bound that does not hold", [frame(1, 1200, "1.0.0", 10, proven=False, bound=100)], TWO,
             {"bound_violation": 1}),
            ("flagged, with a bound that holds", [frame(1, 1200, "1.0.0", 10, proven=False, bound=190)], TWO, {}),
            ("the new version before anybody asked for it", [frame(1, 500, "2.0.0", 20)], TWO, {"proven_wrong_version": 1}),
            ("an activation that never was", [frame(1, 500, "9.9.9", 15)], TWO, {"proven_wrong_version": 1}),
            ("the index of another version", [frame(1, 500, "2.0.0", 10)], TWO, {"proven_wrong_version": 1}),
            ("the bytes of another version under the label in force", [frame(1, 500, "1.0.0", 10, produced="2.0.0")], TWO,
             {"proven_wrong_version": 1}),
            ("the same without a proof is still a wrong label",
             [frame(1, 500, "1.0.0", 10, produced="2.0.0", proven=False, bound=FOREVER)], TWO, {"mislabelled": 1}),
            ("an output that no version makes", [frame(1, 500, "1.0.0", 10, produced="nonsense")], TWO, {"proven_wrong_version": 1}),
        ])

    def test_order_is_by_index_not_by_version(self):
        back = [*TWO, activation("1.0.0", 30, 2000, 2010, kind="rollback")]
        self.check([
            ("after a rollback the older version is in force", [frame(1, 2100, "1.0.0", 30)], back, {}),
            ("but not by its former activation", [frame(1, 2100, "1.0.0", 10)], back, {"proven_wrong_version": 1, "bound_violation": 1}),
            ("nor the newer version", [frame(1, 2100, "2.0.0", 20)], back, {"proven_wrong_version": 1, "bound_violation": 1}),
        ])

    def test_unknown_outcome(self):
        unknown = [activation("1.0.0", 10, 0, 5), activation("2.0.0", 0, 1000, 9000, ok=False)]
        self.check([
            ("it may never take effect", [frame(1, 20000, "1.0.0", 10)], unknown, {}),
            ("it may take effect late", [frame(1, 9500, "1.0.0", 10), frame(2, 9600, "2.0.0", 33)], unknown, {}),
            ("shown once, it is in force", [frame(1, 9600, "2.0.0", 33), frame(2, 9700, "1.0.0", 10)], unknown,
             {"proven_wrong_version": 1}),
            ("not before it began", [frame(1, 900, "2.0.0", 33)], unknown, {"proven_wrong_version": 1}),
        ])

    def test_one_order_in_all_processes(self):
        slow = [activation("1.0.0", 10, 0, 5), activation("2.0.0", 20, 1000, 3000)]
        self.check([
            ("seen by one, then not by another: no proof may say so",
             {"edge-1": [frame(1, 1500, "2.0.0", 20)], "edge-2": [frame(1, 1600, "1.0.0", 10)]}, slow, {"proven_wrong_version": 1}),
            ("at the same time either may be", {"edge-1": [frame(1, 1500, "2.0.0", 20)], "edge-2": [frame(1, 1501, "1.0.0", 10)]}, slow, {}),
        ])


class Reads(Cases):
    def test_bounds(self):
        writes = [write(1, 0, 5, "origin"), write(2, 1000, 1100, "origin"), write(3, 1500, 1505, "disk")]
        self.check([
            ("the newest", [*writes, read(3, 1600, 100)], [], {}),
            ("older, and the bound says so", [*writes, read(1, 1600, 501)], [], {}),
            ("older than the bound says", [*writes, read(1, 1601, 500)], [], {"bound_violation": 1}),
            ("older, unbounded: the truth", [*writes, read(1, 1601, FOREVER, basis="none", fallback=True)], [], {}),
            ("flagged bounds must hold, too", [*writes, read(1, 1601, 500, fallback=True)], [], {"bound_violation": 1}),
            ("a write only the gateway acknowledged is not sequenced: it binds nobody", [*writes, read(2, 9000, 1)], [], {}),
            ("a read that lasted over the write's acknowledgement", [*writes, read(1, 1090, 5, took=900)], [], {}),
            ("unless it lasted so long that its bound cannot have counted the wait", [*writes, read(1, 1090, 5, took=1100)], [],
             {"bound_violation": 1}),
            ("or the app was stopped", [*writes, read(1, 1090, 5, took=1100)],
             [{"t": "stopped", "camera": "edge-1", "from": 1095 * MS, "to": 2095 * MS}], {}),
            ("a write of unknown outcome binds nobody", [write(1, 0, 5, "origin"), write(2, 6, 9, "origin", ok=False), read(1, 900, 1)], [], {}),
            ("a later acknowledged write covers it", [*writes, write(4, 1600, 1700, "origin"), read(3, 1800, 99)], [], {"bound_violation": 1}),
        ])

    def test_values(self):
        self.check([
            ("never written", [write(1, 0, 5), read(2, 100, 0)], [], {"invented_value": 1}),
            ("written later", [write(1, 0, 5), write(2, 200, 205), read(2, 100, 0)], [], {"invented_value": 1}),
            ("written while it was read", [write(1, 100, 105), read(1, 99, 0, took=3)], [], {}),
            ("a key nobody writes", [read(1, 100, 0, key="feature:other")], [], {"invented_value": 1}),
            ("torn bytes", [write(1, 0, 5), read(1, 100, 0, whole=False)], [], {"invented_value": 1}),
            ("long after its lifetime", [write(1, 0, 5, ttl=1000), read(1, 1106, 0)], [], {"expired_value": 1}),
            ("right after its lifetime", [write(1, 0, 5, ttl=1000), read(1, 1104, 0)], [], {}),
        ])

    def test_absence(self):
        there = write(1, 0, 5, "origin", ttl=1000)
        self.check([
            ("absent before it was written", [there, not_found(0, 0)], [], {}),
            ("absent within the bound", [there, not_found(100, 95)], [], {}),
            ("absent beyond the bound", [there, not_found(101, 95)], [], {"bound_violation": 1}),
            ("expired while being read", [there, not_found(999, 95)], [], {}),
        ])

    def test_versions_are_one_order(self):
        writes = [write(1, 0, 5), write(2, 10, 15)]
        shown = read(2, 100, 0, version=60)
        self.check([
            ("an older version, the bound says so", {"edge-1": [*writes, shown], "edge-2": [read(1, 300, 200, version=50)]}, [], {}),
            ("an older version beyond its bound", {"edge-1": [*writes, shown], "edge-2": [read(1, 300, 198, version=50)]}, [],
             {"bound_violation": 1}),
            ("a local value has a count of its own", {"edge-1": [*writes, shown], "edge-2": [read(1, 300, 1, version=3, basis="local")]}, [], {}),
            ("a token covers what existed at its index", {"edge-1": [*writes, shown], "edge-2": [read(1, 101, 500, version=50, token=60)]}, [],
             {"monotonic_violation": 1}),
            ("a token below it does not", {"edge-1": [*writes, shown], "edge-2": [read(1, 101, 500, version=50, token=59)]}, [], {}),
            ("nor does a flagged read promise it",
             {"edge-1": [*writes, shown], "edge-2": [read(1, 101, 500, version=50, token=60, fallback=True)]}, [], {}),
        ])


class Writes(Cases):
    def test_books(self):
        two = [write(1, 0, 5), write(2, 10, 15), write(3, 20, 25, ok=False)]
        self.check([
            ("they balance", two, [counters(written=2, flushed=1, superseded=1)], {}),
            ("the failed one may have been accepted", two, [counters(written=3, flushed=3)], {}),
            ("one was forgotten", two, [counters(written=1, flushed=1)], {"books": 1}),
            ("one was invented", two, [counters(written=4, flushed=4)], {"books": 1}),
            ("the sum is wrong", two, [counters(written=3, flushed=2)], {"books": 1}),
            ("lost is said", two, [counters(written=3, flushed=2, lost=1)], {"lost_write": 1}),
        ])

    def test_finals(self):
        drained = {"t": "drained", "at": 2000 * MS}
        writes = [write(1, 0, 5, "origin"), write(2, 100, 105, "disk"), write(3, 200, 205, ok=False)]
        self.check([
            ("there", writes, [drained, final(2, 3000)], {}),
            ("the one of unknown outcome is there", writes, [drained, final(3, 3000)], {}),
            ("gone", writes, [drained, final(0, 3000, found=False)], {"lost_write": 1}),
            ("an older one is there", writes, [drained, final(1, 3000)], {"lost_write": 1}),
            ("its lifetime is over", writes, [drained, final(0, 40_000, found=False)], {}),
        ])
        for why, control in [("before the drain", [drained, final(1, 1900)]), ("bound reaches behind it", [drained, final(1, 2400)]),
                             ("never drained", [final(2, 3000)]), ("a key nobody looked at", [drained, final(2, 3000, key="other")])]:
            with self.subTest(why):
                report = self.verdict(writes, control)
                self.assertEqual(sum(report["lies"].values()), 0)
                self.assertEqual(report["final_undecided"], 1)


class Figures(Cases):
    def test_frames_and_swaps(self):
        apps = {"edge-1": [frame(1, 100, "1.0.0", 10), frame(2, 266, "1.0.0", 10), frame(3, 1100, "2.0.0", 20, due=1070 * MS),
                           {"t": "swap", "version": "2.0.0", "activation": 20, "seen": 1012 * MS, "swapped": 1013 * MS}],
                "edge-2": [frame(1, 100, "1.0.0", 10),
                           {"t": "swap", "version": "2.0.0", "activation": 20, "seen": 1008 * MS, "swapped": 1009 * MS}],
                "edge-3": [frame(1, 100, "1.0.0", 10), {"t": "swap", "version": "2.0.0", "activation": 20, "seen": 9000 * MS, "swapped": 9001 * MS}]}
        apps["edge-4"] = [{"t": "swap", "version": "2.0.0", "activation": 20, "seen": 7000 * MS, "swapped": 7001 * MS},
                          frame(1, 7100, "2.0.0", 20)]  # started late: its first version is no swap
        away = {"t": "away", "edge": "edge-3", "from": 900 * MS, "to": 8000 * MS}
        found = self.verdict(apps, [*TWO, away])["figures"]
        self.assertEqual((found["frames"], found["swaps"]), (6, 3))
        self.assertEqual(found["frames_by_basis"], {"lease": 6})
        self.assertEqual(found["frame_ms_p50"], 21)
        self.assertEqual(found["adoption_lag_ms_p99"], 4, "counted from the first app that saw it; the edge that was away is left out")
        self.assertEqual(found["swap_frame_gap_ms_max"], 51, "from when it was due")
        self.assertEqual((found["activation_ms_p50"], found["activation_ms_p99"]), (5, 10))
        self.assertIsNone(found["activation_failover_ms"])

    def test_failover(self):
        kill = {"t": "kill", "role": "hub", "id": "hub-1", "active": True, "at": 1000 * MS}
        writes = [write(1, 990, 1001, "origin"), write(2, 1100, 1101, "disk"), write(3, 1200, 1900, "origin")]
        probe = {"t": "probe", "b": 1300 * MS, "e": 1800 * MS, "ok": True}
        self.assertEqual(self.verdict(writes, [kill])["figures"]["failover_ms"], 900)
        self.assertEqual(self.verdict(writes, [kill, probe])["figures"]["failover_ms"], 800)
        self.assertIsNone(self.verdict([], [kill])["figures"]["failover_ms"])

    def test_reads(self):
        found = self.verdict([write(1, 0, 5, "origin"), write(2, 6, 10, "origin"), read(2, 20, 7, source="l1"), read(1, 20, 15),
                              not_found(5000, 5000)])["figures"]
        self.assertEqual((found["hit_ratio_l1"], found["hit_ratio_arena"]), (0.3333, 0.5))
        self.assertEqual((found["bound_us_p50"], found["bound_us_p99"]), (7000, 15000))
        self.assertEqual(found["bound_slack_us_p50"], 5000)

    def test_percentile(self):
        for values, percent, expected in [([], 50, None), ([3], 99, 3), ([1, 2], 50, 1), (range(1, 101), 99, 99), (range(1, 11), 99, 10)]:
            self.assertEqual(figures.percentile(values, percent), expected)

    def test_nothing_at_all(self):
        self.assertEqual(self.verdict([])["figures"]["frames"], 0)


class ModelsRule(unittest.TestCase):
    def test_the_example_worked_by_hand(self):
        # 1.2.3 is code 1024 + 64 + 3 = 1091: bits 0, 1, 6, 10. weight(0, c) for c = 0, 1, 2: (7637 + 3c) mod 11 = 3, 6, 9.
        signature = models_rule.signature_of(1091, [1, 0.5, 0.25])
        self.assertAlmostEqual(signature[0], -0.2 + 0.05 + 0.1 + 4)
        self.assertEqual([k for k, number in enumerate(signature) if number > 0], [0, 1, 6, 10])

    def test_versions(self):
        stat = [0.3, 0.5, 0.7]
        def produced(signature, seen=stat):
            return models_rule.Rule().version_of({"sig": signature, "stat": seen})
        for version in ("1.0.0", "2.0.0", "3.0.0", "63.31.31", "0.0.0"):
            self.assertEqual(produced(models_rule.signature_of(models_rule.code_of(version), stat)), version)
        genuine = models_rule.signature_of(models_rule.code_of("2.0.0"), stat)
        self.assertIsNone(produced(genuine, [0.3, 0.55, 0.7]), "another frame's output")
        self.assertIsNone(produced([4.0] * 16), "made up")
        self.assertIsNone(produced(genuine[:15]), "cut short")


class Files(unittest.TestCase):
    def test_a_folder(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "app-edge-1.jsonl"), "w", encoding="utf-8") as out:
                out.write(json.dumps(write(1, 0, 5)) + "\n" + '{"t":"read","key"')
            with open(os.path.join(folder, "control.jsonl"), "w", encoding="utf-8") as out:
                out.write("\n".join(json.dumps(event) for event in TWO) + "\n")
            run = Run.from_folder(folder)
        self.assertEqual([event["t"] for event in run.apps["edge-1"]], ["write"], "a line cut off by a kill is left out")
        self.assertEqual(len(run.controls("activation")), 2)

    def test_bad_lines_are_named(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "app-x.jsonl")
            with open(path, "w", encoding="utf-8") as out:
                out.write('{"t":"end"}\nnonsense\n')
            with self.assertRaisesRegex(ValueError, "app-x.jsonl:2"):
                judge.load(path)


if __name__ == "__main__":
    unittest.main()
