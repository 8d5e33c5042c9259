#!/usr/bin/python3
"""Tests of link-proxy with real sockets: it carries, freezes, goes on, closes, counts and refuses. `link_proxy_test.py --bin DIR`."""

import argparse
import json
import os
import socket
import subprocess
import sys
import threading
import time
import unittest

BIN = "."


class Echo:
    """Sends back what it gets, and an end for an end."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    @staticmethod
    def _serve(peer):
        with peer:
            try:
                while data := peer.recv(65536):
                    peer.sendall(data)
                peer.shutdown(socket.SHUT_WR)
            except OSError:
                pass


class Proxy:
    def __init__(self, *arguments):
        self.process = subprocess.Popen([os.path.join(BIN, "link-proxy"), *arguments], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1)
        self.links = json.loads(self.process.stdout.readline())["links"]

    def tell(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def connect(self, name="link"):
        host, port = self.links[name].split(":")
        peer = socket.create_connection((host, int(port)), timeout=10)
        peer.settimeout(10)
        return peer

    def close(self):
        self.process.stdin.close()
        code = self.process.wait(10)
        self.process.stdout.close()
        return code


def exactly(peer, count):
    data = b""
    while len(data) < count:
        part = peer.recv(count - len(data))
        if not part:
            break
        data += part
    return data


class LinkProxy(unittest.TestCase):
    def setUp(self):
        self.echo = Echo()
        self.addCleanup(self.echo.listener.close)

    def proxy(self, *arguments):
        proxy = Proxy(*(arguments or ("--to", self.echo.address)))
        self.addCleanup(lambda: proxy.process.poll() is None and proxy.close())
        return proxy

    def test_carries_more_than_it_may_hold(self):
        proxy = self.proxy()
        sent = os.urandom(5 << 20)
        with proxy.connect() as peer:
            writer = threading.Thread(target=peer.sendall, args=(sent,))
            writer.start()
            self.assertEqual(exactly(peer, len(sent)), sent)
            writer.join()
        stats = proxy.tell("stats")["links"]["link"]
        self.assertEqual((stats["up"], stats["down"]), (len(sent), len(sent)))

    def test_an_end_passes_through_after_what_was_said_before(self):
        with self.proxy("--to", self.echo.address, "--delay-ms", "50").connect() as peer:
            peer.sendall(b"last words")
            peer.shutdown(socket.SHUT_WR)
            self.assertEqual(exactly(peer, 100), b"last words")

    def test_a_cut_freezes_and_a_heal_goes_on(self):
        proxy = self.proxy()
        with proxy.connect() as old:
            old.sendall(b"a")
            self.assertEqual(exactly(old, 1), b"a")
            self.assertTrue(proxy.tell("cut link")["ok"])
            old.sendall(b"b")
            late = proxy.connect()  # completed by the kernel, served by nobody
            late.sendall(b"c")
            for peer in (old, late):
                peer.settimeout(0.3)
                with self.assertRaises(TimeoutError):
                    peer.recv(1)
                peer.settimeout(10)
            self.assertTrue(proxy.tell("heal link")["ok"])
            self.assertEqual(exactly(old, 1), b"b")
            self.assertEqual(exactly(late, 1), b"c")
            late.close()

    def test_a_cut_in_one_direction_lets_the_other_go_on(self):
        for direction, arrives in (("up", False), ("down", True)):
            proxy = self.proxy()
            with proxy.connect() as peer:
                peer.sendall(b"a")
                self.assertEqual(exactly(peer, 1), b"a")
                self.assertTrue(proxy.tell(f"cut link {direction}")["ok"])
                peer.sendall(b"b")
                peer.settimeout(0.3)
                with self.assertRaises(TimeoutError):
                    peer.recv(1)
                # Up: it never left. Down: the target had it, and its answer waits.
                self.assertEqual(proxy.tell("stats")["links"]["link"]["up"], 2 if arrives else 1)
                peer.settimeout(10)
                self.assertTrue(proxy.tell("heal link")["ok"])
                self.assertEqual(exactly(peer, 1), b"b")

    def test_whoever_left_during_a_cut_is_noticed_after_it(self):
        proxy = self.proxy()
        peer = proxy.connect()
        peer.sendall(b"a")
        exactly(peer, 1)
        proxy.tell("cut link")
        peer.close()
        self.assertEqual(proxy.tell("stats")["links"]["link"]["open"], 1)
        proxy.tell("heal link")
        deadline = time.monotonic() + 10
        while proxy.tell("stats")["links"]["link"]["open"] and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertEqual(proxy.tell("stats")["links"]["link"]["open"], 0)

    def test_drop_closes_and_new_connections_work(self):
        proxy = self.proxy()
        with proxy.connect() as peer:
            peer.sendall(b"a")
            exactly(peer, 1)
            proxy.tell("drop link")
            with self.assertRaises(ConnectionResetError):
                if not peer.recv(1):
                    raise ConnectionResetError
        with proxy.connect() as peer:
            peer.sendall(b"a")
            self.assertEqual(exactly(peer, 1), b"a")

    def test_delay_is_at_least_what_was_asked_each_way(self):
        proxy = self.proxy()
        proxy.tell("delay link 60")
        with proxy.connect() as peer:
            begin = time.monotonic()
            peer.sendall(b"a")
            exactly(peer, 1)
            self.assertGreaterEqual(time.monotonic() - begin, 0.120)

    def test_rate_is_at_most_what_was_asked(self):
        proxy = self.proxy()
        proxy.tell("rate link 100000")
        with proxy.connect() as peer:
            begin = time.monotonic()
            peer.sendall(b"x" * 20_000)
            exactly(peer, 20_000)
            self.assertGreaterEqual(time.monotonic() - begin, 0.2)

    def test_links_are_told_apart_and_a_star_means_many(self):
        other = Echo()
        self.addCleanup(other.listener.close)
        proxy = self.proxy("--link", f"edge-1/hub-1={self.echo.address}", "--link", f"edge-1/hub-2={other.address}",
                           "--link", f"edge-2/hub-1={self.echo.address}")
        self.assertEqual(proxy.tell("cut edge-1/*")["links"], 2)
        with proxy.connect("edge-2/hub-1") as peer:
            peer.sendall(b"a")
            self.assertEqual(exactly(peer, 1), b"a")

    def test_a_target_that_refuses_is_refused_here(self):
        closed = socket.create_server(("127.0.0.1", 0))
        address = "127.0.0.1:%d" % closed.getsockname()[1]
        closed.close()
        proxy = self.proxy("--to", address)
        with self.assertRaises(ConnectionResetError):
            with proxy.connect() as peer:
                if not peer.recv(1):
                    raise ConnectionResetError

    def test_refuses_what_it_does_not_understand_and_goes_on(self):
        proxy = self.proxy()
        for command in ("explode link", "cut", "cut nothing", "delay link soon", "delay link -1", "rate link", "cut link sideways"):
            self.assertFalse(proxy.tell(command)["ok"], command)
        self.assertTrue(proxy.tell("heal link")["ok"])

    def test_bad_arguments_name_the_argument(self):
        cases = [(["--to", "nowhere"], "nowhere"), (["--link", "x"], "'x'"), ([], "no link"), (["--frob", "1"], "--frob"),
                 (["--to", "127.0.0.1:70000"], "70000"), (["--to"], "--to needs a value"),
                 (["--to", "127.0.0.1:1", "--delay-ms", "x"], "--delay-ms 'x'")]
        for arguments, expected in cases:
            out = subprocess.run([os.path.join(BIN, "link-proxy"), *arguments], capture_output=True, text=True, timeout=10,
                                 stdin=subprocess.DEVNULL)
            self.assertEqual(out.returncode, 2, arguments)
            self.assertIn(expected, out.stderr)

    def test_ends_with_its_stdin(self):
        self.assertEqual(self.proxy().close(), 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--bin", default=".")
    options, rest = parser.parse_known_args()
    BIN = options.bin
    unittest.main(argv=[sys.argv[0], *rest])
