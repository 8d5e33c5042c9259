#!/usr/bin/python3
"""A release goes from `tidelock model publish` to an inference server beside a real edge. `model_server_test.py --bin DIR`.

The server is a stand-in for Triton in explicit mode; src/edge/model_server_test.cc holds such a stand-in against what Triton documents.
"""

import argparse
import http.server
import os
import re
import signal
import subprocess
import sys
import threading
import time
import unittest

sys.dont_write_bytecode = True
from harness import Cluster, Scratch, wait_until

BIN = "."
MODEL = "detector"


class Triton(http.server.ThreadingHTTPServer):
    """Serves the latest version of a model of its folder once it was told to load it."""

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), Answers)
        self.folder, self.loaded, self.load_seconds, self.loads = folder, {}, 0, 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def latest(self, model):
        folder = os.path.join(self.folder, model)
        return max((int(name) for name in os.listdir(folder) if name.isdigit()), default=None) if os.path.isdir(folder) else None


class Answers(http.server.BaseHTTPRequestHandler):
    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        asked = re.fullmatch(r"/v2/models/([^/]+)/versions/(\d+)/ready", self.path)
        self.answer(200 if asked and self.server.loaded.get(asked[1]) == int(asked[2]) else 400)

    def do_POST(self):
        asked = re.fullmatch(r"/v2/repository/models/([^/]+)/load", self.path)
        version = self.server.latest(asked[1]) if asked else None
        self.server.loads += 1
        time.sleep(self.server.load_seconds)  # a large model: nothing is said until it is loaded
        if version is not None:
            self.server.loaded[asked[1]] = version
        self.answer(200 if version is not None else 400)

    def log_message(self, *_):
        pass


class ModelServer(unittest.TestCase):
    def setUp(self):
        self.folder = self.enterContext(Scratch(prefix="tidelock-model-server-"))
        self.models = os.path.join(self.folder, "models")
        self.triton = self.enterContext(Triton(self.models))
        self.cluster = self.enterContext(Cluster(BIN, os.path.join(self.folder, "cluster"), 1, 1, 1))
        path = self.cluster.config_file("edge-1")
        with open(path, "a", encoding="utf-8") as file:
            file.write(f'\n[model_server]\nfolder = "{self.models}"\nurl = "{self.triton.url()}"\n')
        self.cluster.start_all()
        self.cluster.active_hub()

    def cli(self, *words):
        answer = self.cluster.cli_json("model", *words)
        self.assertTrue(answer["ok"], answer)
        return answer

    def bring(self, version):
        release = os.path.join(self.folder, "assets", version)
        subprocess.run([os.path.join(BIN, "camera-assets"), "--release", release, "--version", version], check=True, capture_output=True)
        self.cli("publish", release, "--name", MODEL, "--version", version, "--key", os.path.join(self.cluster.folder, "model-key.pem"))
        self.cli("stage", MODEL, version)
        wait_until(f"{version} to be verified", lambda: self.cli("status", MODEL)["staged_edges"] == ["edge-1"], 30)
        return self.cli("activate", MODEL, version)["index"]

    def served(self, index, seconds=30):
        wait_until(f"the server to serve activation {index}", lambda: self.triton.loaded.get(MODEL) == index, seconds)

    def test_a_load_that_says_nothing_for_longer_than_15_seconds(self):
        self.triton.load_seconds = 17  # after 15 s of silence a transfer from a store is cut; a load is waited for
        index = self.bring("1.0.0")
        self.served(index, 60)
        def told():
            return self.cluster.metrics("edge-1").get(f'tidelock_model_server_index{{model="{MODEL}"}}') == index
        wait_until("the edge to know", told, 30)
        self.assertEqual(self.triton.loads, 1, "it was told once, and nobody gave up on it")
        self.assertEqual(self.cluster.metrics("edge-1")["tidelock_model_server_failures_total"], 0)

    def test_from_publishing_to_a_rollback(self):
        first = self.bring("1.0.0")
        self.served(first)
        noted = os.path.join(self.cluster.config["edge-1"]["run_dir"], "models", MODEL, "tidelock.in_force")
        wait_until("the version in force to be noted for apps that start in the dark", lambda: os.path.exists(noted), 30)
        with open(os.path.join(self.folder, "assets", "1.0.0", "model.onnx"), "rb") as file:
            original = file.read()
        with open(os.path.join(self.models, MODEL, str(first), "model.onnx"), "rb") as file:
            self.assertEqual(file.read(), original)
        second = self.bring("2.0.0")
        self.served(second)
        third = self.cli("rollback", MODEL)["index"]
        self.assertGreater(third, second)
        self.served(third)
        wait_until("what nobody serves to go", lambda: sorted(os.listdir(os.path.join(self.models, MODEL))) == sorted(
            [str(second), str(third)]), 30)
        with open(os.path.join(self.models, MODEL, str(third), "model.onnx"), "rb") as file:
            self.assertEqual(file.read(), original)
        self.cluster.kill("edge-1")  # and the server is started anew meanwhile
        self.triton.loaded.clear()
        self.cluster.start("edge-1")
        self.served(third)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--bin", default=".")
    options, rest = parser.parse_known_args()
    BIN = options.bin
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    unittest.main(argv=[sys.argv[0], *rest])
