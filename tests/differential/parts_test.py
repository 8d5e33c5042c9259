#!/usr/bin/python3
"""The parts of the differential test, without a server: what is read, what counts as equal, what becomes small."""

import contextlib
import io
import os
import sys
import tempfile
import unittest
import unittest.mock

sys.dont_write_bytecode = True
import catalogue
import clients
import generate
import scripts
from differences import Differences
from normalise import command_of, normalise, normalise_pushes
from report import Report
from wire import render


def bulk(text):
    return "$", text


class Lines(unittest.TestCase):
    def test_words_are_read_as_redis_cli_reads_them(self):
        for text, words in (("GET k", [b"GET", b"k"]), ('SET k ""', [b"SET", b"k", b""]),
                            (r'SET k "\x00\xff\r\n"', [b"SET", b"k", b"\x00\xff\r\n"]),
                            ("ECHO 'a b'", [b"ECHO", b"a b"]),
                            (r"ECHO 'it\'s'", [b"ECHO", b"it's"]), (r'ECHO "\"q\" \\"', [b"ECHO", b'"q" \\']),
                            ("  PING  ", [b"PING"])):
            self.assertEqual(scripts.split(text), words, text)
        for text in ('GET "a', "GET 'a", 'GET "a"b'):
            self.assertRaises(ValueError, scripts.split, text)

    def test_a_quoted_word_reads_back(self):
        for word in (b"", b"plain", b"a b", bytes(range(256)), b'"', b"'", b"\\", b"\x00TLvh"):
            self.assertEqual(scripts.split(scripts.quoted(word)), [word])

    def test_every_script_is_recorded(self):
        rows = 0
        for name in scripts.names():
            replies = scripts.read_replies(name)
            for section in scripts.read(name):
                self.assertEqual(len(replies[section.title]), len(section.rows), f"{name}: {section.title}")
                rows += len(section.rows)
        self.assertGreaterEqual(rows, 5_000)


class Frames(unittest.TestCase):
    def test_frames_that_differ_look_different(self):
        frames = [bulk(b"1"), (":", b"1"), ("+", b"1"), bulk(None), ("*", None), ("_", b""), bulk(b""), ("*", []),
                  ("~", []), ("%", []), ("*", [bulk(b"a"), bulk(b"b")]),
                  ("*", [bulk(b'a", "b')]), ("-", b"ERR"), (",", b"1"), ("#", b"t"), ("=", b"txt:1"), bulk(b"a" * 300),
                  bulk(b"a" * 299)]
        self.assertEqual(len({render(frame) for frame in frames}), len(frames))

    def test_only_what_is_declared_is_normalised(self):
        one, other = ("*", [bulk(b"a"), bulk(b"b")]), ("*", [bulk(b"b"), bulk(b"a")])
        self.assertEqual(normalise([b"keys", b"*"], one), normalise([b"KEYS", b"*"], other))
        self.assertNotEqual(normalise([b"MGET", b"x", b"y"], one), normalise([b"MGET", b"x", b"y"], other))
        self.assertEqual(normalise([b"TTL", b"k"], (":", b"99")), normalise([b"TTL", b"k"], (":", b"100")))
        self.assertNotEqual(normalise([b"TTL", b"k"], (":", b"99")), normalise([b"TTL", b"k"], (":", b"50")))
        self.assertNotEqual(normalise([b"TTL", b"k"], (":", b"-1")), normalise([b"TTL", b"k"], (":", b"-2")))
        pairs = ("*", [bulk(b"f"), bulk(b"1"), bulk(b"g"), bulk(b"2")])
        self.assertNotEqual(normalise([b"HGETALL", b"h"], pairs), normalise([b"HGETALL", b"h"],
                                                                            ("*", [bulk(b"f"), bulk(b"2"), bulk(b"g"),
                                                                                   bulk(b"1")])))
        self.assertEqual(normalise([b"KEYS", b"*"], ("-", b"ERR")), ("-", b"ERR"))
        self.assertEqual(command_of([b"client", b"id"]), "CLIENT ID")

    def test_messages_keep_their_order(self):
        first, second = (("*", [bulk(b"pmessage"), bulk(b"p"), bulk(b"c"), bulk(text)]) for text in (b"2", b"1"))
        self.assertEqual(normalise_pushes(None, [first, second]), [first, second])


class Lists(unittest.TestCase):
    def setUp(self):
        folder = self.enterContext(tempfile.TemporaryDirectory())
        self.path = os.path.join(folder, "differences.txt")

    def differences(self, text):
        with open(self.path, "w", encoding="ascii") as file:
            file.write(text)
        return Differences(self.path)

    def test_an_entry_excuses_what_it_says_and_must_be_needed(self):
        found = self.differences("# why\nLPUSH * | * | -ERR unknown* | no lists\nGET k | :1 | :2 | odd\n")
        self.assertTrue(found.excuse("LPUSH l a", ":1", "-ERR unknown command"))
        self.assertTrue(found.excuse("@2 lpush", ":1", "-ERR unknown command"))
        for words in (("LPUSHX l a", ":1", "-ERR unknown"), ("LPUSH l a", ":1", ":2"), ("GET k2", ":1", ":2"),
                      ("GET k", ":2", ":1")):
            self.assertIsNone(found.excuse(*words), words)
        self.assertEqual([entry.reason for entry in found.unused()], ["odd"])

    def test_an_entry_without_a_reason_is_refused(self):
        self.assertRaises(ValueError, self.differences, "GET k | :1 | :2\n")

    def test_a_report_is_good_only_when_nothing_differs(self):
        section = scripts.Section("file", "title", [scripts.Row(1, "GET k", 1, None, [b"GET", b"k"], 0)])
        report = Report(self.differences(""))
        report.section(section, [":1"], [":1"])
        self.assertTrue(report.good())
        report.section(section, [":1"], [":2"])
        self.assertFalse(report.good())


class Catalogue(unittest.TestCase):
    PAGE = ("## Commands\n| group | commands |\n|---|---|\n| a | `GET` `SET` (`NX` `GET`) `CLIENT ID/LIST`, `TL.GET` |\n"
            "## What is left out\n| family | commands | why |\n|---|---|---|\n| b | `LPUSH` `XINFO` `CLIENT UNBLOCK` | `NO` |\n"
            "## Next\n| c | `MOVE` | |\n")
    REDIS = {"get", "set", "client", "client|id", "client|list", "client|unblock", "lpush", "xinfo", "xinfo|help"}
    EDGE = {"get", "set", "client", "client|id", "client|list", "tl.get"}

    def test_names_are_those_of_the_table(self):
        self.assertEqual(catalogue.names_of(self.PAGE, catalogue.SERVED),
                         {"get", "set", "client", "client|id", "client|list", "tl.get"})
        self.assertEqual(catalogue.names_of(self.PAGE, catalogue.LEFT_OUT), {"lpush", "xinfo", "client", "client|unblock"})

    def test_a_page_that_says_all_is_right_and_any_other_wrong(self):
        self.assertEqual(catalogue.faults(self.PAGE, self.REDIS, self.EDGE), [])
        for redis, edge, text in ((self.REDIS | {"move"}, self.EDGE, "MOVE: redis-server has it and the edge has not"),
                                  (self.REDIS | {"client|pause"}, self.EDGE, "CLIENT PAUSE: redis-server has it"),
                                  (self.REDIS, self.EDGE | {"lpush"}, "LPUSH: the edge serves it; it stands under"),
                                  (self.REDIS - {"xinfo"}, self.EDGE, "XINFO: redis-server 7.0 does not have it"),
                                  (self.REDIS, self.EDGE | {"tl.set"}, "TL.SET: the edge serves it; name it"),
                                  (self.REDIS, self.EDGE - {"set"}, "SET: the edge does not serve it"),
                                  (self.REDIS, self.EDGE | {"odd"}, "ODD: redis-server 7.0 does not have it")):
            self.assertIn(text, "\n".join(catalogue.faults(self.PAGE, redis, edge)))


class Clients(unittest.TestCase):
    def test_one_that_is_missing_is_skipped_but_in_ci_a_failure(self):
        missing = (("nope", "nope-package", lambda: None, None),)
        with unittest.mock.patch.object(clients, "CLIENTS", missing), contextlib.redirect_stdout(io.StringIO()) as out:
            with unittest.mock.patch.dict(os.environ, {"CI": ""}):
                self.assertEqual(clients.run("no.sock"), [])
            self.assertEqual(out.getvalue(), "SKIPPED nope is not installed (Debian: nope-package)\n")
            with unittest.mock.patch.dict(os.environ, {"CI": "true"}):
                self.assertEqual(clients.run("no.sock"), ["nope is not installed (Debian: nope-package)"])


class Generated(unittest.TestCase):
    def test_a_sequence_hangs_on_its_seed_alone(self):
        self.assertEqual(generate.sequence(7), generate.sequence(7))
        self.assertNotEqual(generate.sequence(7), generate.sequence(8))

    def test_a_failure_becomes_small(self):
        class Pair:
            """Two servers that differ in STRLEN of a key that APPEND made."""

            def first_difference(self, commands):
                made = set()
                for at, (_, words) in enumerate(commands):
                    if words[0] == b"APPEND":
                        made.add(words[1])
                    if words[0] == b"STRLEN" and words[1] in made:
                        return at, ":1", ":2"
                return None

        noise = [(1, [b"GET", b"k%d" % i]) for i in range(20)]
        commands = noise + [(1, [b"APPEND", b"k", b"long value"])] + noise + [(1, [b"STRLEN", b"k"])] + noise
        small, told, got = generate.shrink(Pair(), commands)
        self.assertEqual([words[0] for _, words in small], [b"APPEND", b"STRLEN"])
        self.assertEqual((told, got), (":1", ":2"))


if __name__ == "__main__":
    unittest.main()
