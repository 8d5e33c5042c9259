#!/usr/bin/python3
"""Redis commands that read and write, on keys that are written through a real hub. `redis_through_test.py --bin DIR`.

What needs no hub is tested beside the source (src/edge/strings_test.cc).
"""

import argparse
import os
import signal
import sys
import threading
import time
import unittest

sys.dont_write_bytecode = True
from harness import Cluster, RespError, Scratch, wait_until

BIN = "."
INCREMENTS = 40
LEDGER_VERSION = 4  # from which keys may be asked for without being written


class Through(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = cls.enterClassContext(Scratch(prefix="tidelock-through-"))
        cls.cluster = cls.enterClassContext(Cluster(BIN, os.path.join(folder, "cluster"), 1, 2, 1))
        cls.cluster.start_all()
        cls.cluster.active_hub()
        # A ledger begins at version 1 and is raised once its hubs have told each other; EXEC does its best from then on.
        wait_until("the ledger is raised", lambda: cls.cluster.cli_json("hub", "list").get("ledger_version", 0) >= LEDGER_VERSION, 30)

    def setUp(self):
        self.redis = self.enterContext(self.cluster.redis("edge-1"))

    def strong(self, key):
        return self.redis.call("TL.GET", key, "STRONG")["value"]

    def test_strings_and_lifetimes(self):
        call = self.redis.call
        self.assertEqual(call("INCRBY", "config:n", "41"), 41)
        self.assertEqual(call("INCR", "config:n"), 42)
        self.assertEqual(call("APPEND", "config:n", "x"), 3)
        with self.assertRaisesRegex(RespError, "^ERR value is not an integer or out of range$"):
            call("DECR", "config:n")
        self.assertEqual(call("SETRANGE", "config:n", "1", "Y"), 3)
        self.assertEqual(call("GETSET", "config:n", "v"), b"4Yx")
        then = int(time.time()) + 1000
        self.assertEqual(call("EXPIREAT", "config:n", then), 1)
        self.assertEqual(call("EXPIREAT", "config:n", then - 10, "GT"), 0)
        self.assertEqual(call("APPEND", "config:n", "w"), 2)
        left = self.redis.call("TL.GET", "config:n", "STRONG")["ttl_ms"]
        self.assertTrue(900_000 < left <= 1_000_000, left)
        self.assertEqual(call("GETEX", "config:n", "PERSIST"), b"vw")
        self.assertEqual(self.redis.call("TL.GET", "config:n", "STRONG")["ttl_ms"], -1)
        self.assertEqual(call("GETDEL", "config:n"), b"vw")
        self.assertIsNone(self.strong("config:n"))

    def test_hashes(self):
        call = self.redis.call
        self.assertEqual(call("HSET", "config:row", "a", "1", "b", "2"), 2)
        self.assertEqual(call("HSETNX", "config:row", "a", "9"), 0)
        self.assertEqual(call("HINCRBY", "config:row", "a", "41"), 42)
        self.assertEqual(call("HINCRBYFLOAT", "config:row", "b", "0.5"), b"2.5")
        with self.assertRaisesRegex(RespError, "^WRONGTYPE "):
            call("APPEND", "config:row", "x")
        got = call("TL.GET", "config:row", "STRONG", "FIELDS", "b", "nothing", "a")
        self.assertEqual(got["value"], [b"2.5", None, b"42"])
        self.assertEqual(call("EXPIRE", "config:row", "1000"), 1)
        self.assertEqual(call("HDEL", "config:row", "a", "nothing"), 1)
        left = call("TL.GET", "config:row", "STRONG", "FIELDS", "b")["ttl_ms"]
        self.assertTrue(900_000 < left <= 1_000_000, left)
        self.assertEqual(call("HDEL", "config:row", "b"), 1)
        self.assertIsNone(self.strong("config:row"))

    def test_several_keys_at_one_index(self):
        call = self.redis.call
        self.assertEqual(call("MSET", "config:m1", "0", "config:m2", "b", "own:m", "c", "config:m1", "a"), b"OK")
        version = {key: call("TL.GET", key, "STRONG")["version"] for key in ("config:m1", "config:m2")}
        self.assertEqual(version["config:m1"], version["config:m2"])
        self.assertEqual([self.strong("config:m1"), self.strong("config:m2"), call("GET", "own:m")], [b"a", b"b", b"c"])
        self.assertEqual(call("MSETNX", "config:one", "1"), 1)
        self.assertEqual(call("MSETNX", "config:one", "2"), 0)
        self.assertEqual(call("MSETNX", "config:two", "2", "config:one", "2"), 0)
        self.assertIsNone(self.strong("config:two"), "all or nothing")
        self.assertEqual(call("MSETNX", "config:two", "2", "config:three", "3"), 1)
        self.assertEqual(self.strong("config:three"), b"3")
        with self.assertRaisesRegex(RespError, "^ERR MSETNX: some of these keys"):
            call("MSETNX", "own", "1", "config:four", "2")
        self.assertEqual(self.strong("config:one"), b"1")
        self.assertEqual(call("EXISTS", "own"), 0)
        many = [word for n in range(1025) for word in (f"config:many{n}", "x")]
        with self.assertRaisesRegex(RespError, "^ERR 1025 keys"):
            call("MSET", *many)
        self.assertIsNone(self.strong("config:many0"))
        with self.assertRaisesRegex(RespError, "at most 1081344 bytes together"):
            call("MSET", "config:large1", "x" * 600_000, "config:large2", "y" * 600_000)
        self.assertEqual(self.strong("config:m1"), b"a", "and the hub lives on")

    def queue(self, *commands):
        """MULTI and these commands, each queued."""
        self.assertEqual(self.redis.call("MULTI"), b"OK")
        for command in commands:
            self.assertEqual(self.redis.call(*command), b"QUEUED", command)

    def test_transactions(self):
        call = self.redis.call
        call("MSET", "config:t1", "1", "config:t2", "2")
        self.queue(("INCR", "config:t1"), ("GET", "config:t2"), ("APPEND", "config:t2", "x"), ("GET", "config:t2"),
                   ("HSET", "config:t3", "a", "1", "b", "2"), ("HINCRBY", "config:t3", "a", "4"), ("HGETALL", "config:t3"),
                   ("SET", "config:t4", "v", "EX", "1000"), ("APPEND", "config:t4", "w"), ("TTL", "config:t4"),
                   ("DEL", "config:t1", "config:none", "config:t2"), ("EXISTS", "config:t1", "config:t4"),
                   ("SET", "config:t1", "again", "NX"), ("SET", "config:t1", "never", "NX"),
                   ("MGET", "config:t1", "config:t2"), ("MSET", "config:t5", "5", "config:t6", "6"))
        self.assertEqual(
            call("EXEC"), [2, b"2", 2, b"2x", 2, 5, {"a": b"5", "b": b"2"}, b"OK", 2, 1000, 2, 1, b"OK", None,
                           [b"again", None], b"OK"])
        got = {key: call("TL.GET", "config:" + key, "STRONG", *(("FIELDS", "a") if key == "t3" else ()))
               for key in ("t1", "t3", "t4", "t5", "t6")}
        self.assertEqual([got[key]["value"] for key in ("t1", "t4", "t5", "t6")], [b"again", b"vw", b"5", b"6"])
        self.assertEqual(len({one["version"] for one in got.values()}), 1, "all at one index")
        self.assertTrue(900_000 < got["t4"]["ttl_ms"] <= 1_000_000, got["t4"])
        self.assertIsNone(self.strong("config:t2"))
        # Reads alone write nothing.
        self.queue(("GET", "config:t5"), ("GET", "config:t6"))
        self.assertEqual(call("EXEC"), [b"5", b"6"])
        self.assertEqual(call("TL.GET", "config:t5", "STRONG")["version"], got["t5"]["version"])
        # What fails in one command leaves the others alone, as in Redis. (The harness stops at an error inside.)
        with self.cluster.redis("edge-1") as redis:
            for command in (("MULTI",), ("SET", "config:t5", "x"), ("INCR", "config:t5"), ("SET", "config:t6", "y")):
                redis.call(*command)
            with self.assertRaisesRegex(RespError, "^ERR value is not an integer or out of range$"):
                redis.call("EXEC")
        self.assertEqual([self.strong("config:t5"), self.strong("config:t6")], [b"x", b"y"])

    def test_what_a_transaction_at_the_hub_refuses(self):
        call = self.redis.call
        call("MSET", "config:r1", "1", "config:r2", "2")
        self.assertEqual(call("MULTI"), b"OK")
        for command in (("RENAME", "config:r1", "config:r3"), ("MEMORY", "USAGE", "config:r1"), ("TL.GET", "config:r1")):
            with self.assertRaisesRegex(RespError, f"{command[0].lower()} of such keys cannot be part of a transaction"):
                call(*command)
        with self.assertRaisesRegex(RespError, "^EXECABORT"):
            call("EXEC")
        for command in (("SET", "own", "1"), ("PING",)):
            self.queue(("SET", "config:r1", "never"), command)
            with self.assertRaisesRegex(RespError, "^EXECABORT .* so no instant is theirs"):
                call("EXEC")
        self.queue(("SET", "config:r1", "x" * 600_000), ("SET", "config:r2", "y" * 600_000))
        with self.assertRaisesRegex(RespError, "bytes together"):
            call("EXEC")
        with self.cluster.redis("edge-1") as redis:  # the harness stops at an error inside
            for command in (("MULTI",), ("SET", "config:r0", "set"), ("SET", "model:none:current@default", "never")):
                redis.call(*command)
            with self.assertRaisesRegex(RespError, "^NOPERM key 'model:none"):
                redis.call("EXEC")
        self.assertEqual(self.strong("config:r0"), b"set")
        self.queue(("SET", "config:r0", "1"), ("GET", "model:none:current@default"))
        self.assertEqual(call("EXEC"), [b"OK", None])
        with self.assertRaisesRegex(RespError, "^NOPERM key 'model:none"):
            call("DEL", "config:r1", "model:none:current@default")
        self.queue(*[("GET", f"config:r{n}") for n in range(1025)])
        with self.assertRaisesRegex(RespError, "^EXECABORT .* 1025 keys"):
            call("EXEC")
        call("SET", "config:large", "x" * 1_000_000)
        self.queue(("SET", "config:r1", "never"), *[("GET", "config:large")] * 140)
        with self.assertRaisesRegex(RespError, "^ERR the answers of this transaction are above"):
            call("EXEC")
        self.assertEqual(call("WATCH", "own"), b"OK")
        self.queue(("SET", "config:r1", "never"))
        with self.assertRaisesRegex(RespError, "^EXECABORT .* so no instant is theirs"):
            call("EXEC")
        self.queue(("GET", "config:none"), ("GET", "config:r2"))
        self.assertEqual(call("EXEC"), [None, b"2"])
        self.assertEqual([self.strong("config:r1"), self.strong("config:r2")], [b"1", b"2"])

    def test_a_watched_key_that_was_written_elsewhere_ends_the_transaction(self):
        call = self.redis.call
        call("MSET", "config:w1", "1", "config:w2", "2")
        other = self.enterContext(self.cluster.redis("edge-2"))
        self.assertEqual(call("WATCH", "config:w1"), b"OK")
        self.assertEqual(call("GET", "config:w1"), b"1")
        self.queue(("SET", "config:w2", "of w1"))
        other.call("SET", "config:w1", "changed")
        self.assertIsNone(call("EXEC"), "its writer was told before EXEC came")
        self.assertEqual(self.strong("config:w2"), b"2")
        self.assertEqual(call("WATCH", "config:w1"), b"OK")
        self.assertEqual(call("GET", "config:w1"), b"changed")
        self.queue(("SET", "config:w2", "of w1"))
        self.assertEqual(call("EXEC"), [b"OK"])
        self.assertEqual(self.strong("config:w2"), b"of w1")

    def test_what_a_transaction_only_reads_or_watches_is_not_written(self):
        call = self.redis.call
        version = lambda key: call("TL.GET", key, "STRONG")["version"]
        call("MSET", "config:k1", "1", "config:k2", "2", "config:k3", "3")
        before = {key: version(key) for key in ("config:k1", "config:k2")}
        self.assertEqual(call("WATCH", "config:k1"), b"OK")
        self.assertEqual(call("GET", "config:k1"), b"1")
        self.queue(("GET", "config:k2"), ("GET", "config:none"), ("INCR", "config:k3"))
        self.assertEqual(call("EXEC"), [b"2", None, 4])
        self.assertEqual({key: version(key) for key in before}, before)
        # So two that watch one key and write others do not get into each other's way.
        with self.cluster.redis("edge-2") as other:
            self.assertEqual(other.call("GET", "config:k1"), b"1")  # held before it is watched: no fetch after
            for redis, key in ((self.redis, "config:k2"), (other, "config:k3")):
                self.assertEqual(redis.call("WATCH", "config:k1"), b"OK")
                self.assertEqual(redis.call("GET", "config:k1"), b"1")
                self.assertEqual(redis.call("MULTI"), b"OK")
                self.assertEqual(redis.call("SET", key, "mine"), b"QUEUED")
            self.assertEqual([self.redis.call("EXEC"), other.call("EXEC")], [[b"OK"], [b"OK"]])

    def test_several_keys_are_deleted_at_one_index(self):
        call = self.redis.call
        call("MSET", "config:d1", "1", "config:d2", "2", "config:d3", "3", "own:d", "4")
        gone = []

        def take():
            with self.cluster.redis("edge-2") as redis:
                gone.append(redis.call("DEL", "config:d1", "config:none", "config:d2", "config:d3"))

        taker = threading.Thread(target=take)
        taker.start()
        gone.append(call("UNLINK", "config:d3", "config:d2", "config:d1"))
        taker.join()
        self.assertEqual(sorted(gone), [0, 3], "one of the two had them all")
        self.assertEqual([self.strong(f"config:d{n}") for n in (1, 2, 3)], [None] * 3)
        self.assertEqual(call("SET", "config:d1", "1"), b"OK")
        self.assertEqual(call("DEL", "config:d1", "own:d"), 2)
        self.assertEqual(call("DEL", "config:d1", "config:d2"), 0)
        call("MSET", "config:d1", "1", "config:d2", "2")
        self.assertEqual(call("DEL", "config:d1", "config:d2", "config:d1"), 2)

    def test_transactions_of_two_edges_lose_nothing(self):
        self.redis.call("MSET", "config:from", "1000", "config:to", "0")
        failed = []

        def move(edge):
            with self.cluster.redis(edge) as redis:
                for _ in range(INCREMENTS):
                    got = None
                    while got is None:
                        redis.call("MULTI")
                        redis.call("DECRBY", "config:from", "3")
                        redis.call("INCRBY", "config:to", "3")
                        try:
                            got = redis.call("EXEC")
                        except RespError as error:
                            if not str(error).startswith("BUSY"):
                                failed.append(str(error))
                                return
                    if got[0] + got[1] != 1000:
                        failed.append(got)

        movers = [threading.Thread(target=move, args=(edge,)) for edge in ("edge-1", "edge-2")]
        for one in movers:
            one.start()
        for one in movers:
            one.join()
        self.assertEqual(failed, [])
        self.assertEqual([self.strong("config:from"), self.strong("config:to")],
                         [str(1000 - 6 * INCREMENTS).encode(), str(6 * INCREMENTS).encode()])

    def test_moves(self):
        call = self.redis.call
        call("SET", "config:a", "1", "EX", "1000")
        self.assertEqual(call("RENAME", "config:a", "config:b"), b"OK")
        self.assertIsNone(self.strong("config:a"))
        self.assertEqual(self.strong("config:b"), b"1")
        left = self.redis.call("TL.GET", "config:b", "STRONG")["ttl_ms"]
        self.assertTrue(900_000 < left <= 1_000_000, left)
        call("SET", "moved", "2")
        self.assertEqual(call("RENAMENX", "moved", "config:b"), 0)
        self.assertEqual(call("COPY", "moved", "config:b"), 0)
        self.assertEqual(self.strong("config:b"), b"1")
        self.assertEqual(call("RENAMENX", "moved", "config:c"), 1)
        self.assertEqual(call("EXISTS", "moved"), 0)
        self.assertEqual(call("COPY", "config:c", "config:b", "REPLACE"), 1)
        self.assertEqual(self.strong("config:b"), b"2")
        self.assertEqual(call("RENAME", "config:c", "feature:through:moved"), b"OK")
        self.assertIsNone(self.strong("config:c"))
        self.assertEqual(call("GET", "feature:through:moved"), b"2")
        self.assertEqual(call("RENAME", "config:b", "config:b"), b"OK")
        with self.assertRaisesRegex(RespError, "^ERR no such key$"):
            call("RENAME", "config:c", "config:b")
        self.assertEqual(self.strong("config:b"), b"2")

    def test_a_flush_deletes_a_namespace_everywhere(self):
        other = self.enterContext(self.cluster.redis("edge-2"))
        self.redis.call("TL.FLUSH", "config:")
        for i in range(600):  # more than one turn, from both edges
            (self.redis if i % 2 else other).call("SET", f"config:flush:{i}", "v")
        self.redis.call("SET", "feature:flush:mine", "1")
        other.call("TL.SET", "feature:flush:theirs", "2", "ACK", "ORIGIN")
        self.redis.call("SET", "own:flush", "stays")
        self.assertEqual(other.call("TL.GET", "config:flush:1", "STRONG")["value"], b"v")
        self.assertEqual(self.redis.call("TL.FLUSH", "config:"), 600)
        self.assertIsNone(other.call("TL.GET", "config:flush:1", "STRONG")["value"])
        self.assertEqual(self.redis.call("TL.FLUSH", "config:"), 0)
        self.assertEqual(self.redis.call("TL.FLUSH", "feature:"), 2)  # one of them was never held here
        for redis in (self.redis, other):
            wait_until("the deletions to be flushed",
                       lambda: all(redis.call("TL.GET", f"feature:flush:{who}", "STRONG")["value"] is None
                                   for who in ("mine", "theirs")), 20)
        self.assertEqual(self.redis.call("GET", "own:flush"), b"stays")

    def test_increments_of_two_edges_all_count(self):
        failures = []

        def work(edge):
            try:
                with self.cluster.redis(edge, timeout=60) as redis:
                    left = INCREMENTS
                    while left > 0:
                        try:
                            redis.call("INCR", "config:shared")
                            left -= 1
                        except RespError as error:
                            if not str(error).startswith("BUSY too many writers"):  # nothing happened
                                raise
            except Exception as error:
                failures.append(f"{edge}: {error}")

        threads = [threading.Thread(target=work, args=(edge,)) for edge in ("edge-1", "edge-2")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assertEqual(self.strong("config:shared"), str(2 * INCREMENTS).encode())


    def test_many_keys_are_asked_for_together(self):  # F8
        keys = [f"config:warm:{number}" for number in range(300)]
        with self.cluster.redis("edge-2") as redis:
            redis.pipeline([("SET", key, key) for key in keys])
            self.assertEqual(redis.call("MGET", *keys), [key.encode() for key in keys])
            fetches = lambda: self.cluster.metrics("edge-2")["tidelock_edge_fetches_total"]
            before = fetches()
            answers = redis.call("TL.MGET", "STRONG", "KEYS", *keys)
            self.assertEqual([answer["value"] for answer in answers], [key.encode() for key in keys])
            asked = fetches() - before
            self.assertGreaterEqual(asked, 2, "each key must be asked for")
            self.assertLessEqual(asked, 4, "300 keys in messages of 256")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--bin", default=".")
    options, rest = parser.parse_known_args()
    BIN = options.bin
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    unittest.main(argv=[sys.argv[0], *rest])
