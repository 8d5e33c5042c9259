#!/usr/bin/python3
"""Bad input of every kind gets a clear error, and nothing accepted before is lost. `bad_input_test.py --bin DIR`.

One small cluster serves the cases that leave it alone; cases that break a node have a cluster of their own.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

sys.dont_write_bytecode = True
import judge
from harness import Cluster, Process, RespError, Scratch, http_get, wait_until

BIN = "."
MODEL = "detector"
KEPT = ("feature:bad_input:kept", "accepted before anything went wrong")


class Base(unittest.TestCase):
    hubs, edges = 1, 1

    @classmethod
    def setUpClass(cls):
        scratch = Scratch(prefix="tidelock-bad-")
        cls.folder = cls.enterClassContext(scratch)
        cls.cluster = cls.enterClassContext(Cluster(BIN, os.path.join(cls.folder, "cluster"), cls.hubs, cls.edges, 1))
        cls.cluster.start_all()
        cls.cluster.active_hub()
        if cls.edges:
            with cls.cluster.redis("edge-1") as redis:
                redis.call("TL.SET", *KEPT, "PX", "3600000", "ACK", "origin")

    def tearDown(self):
        if self.edges and self.cluster.processes["edge-1"].alive():
            self.kept()

    def kept(self, edge="edge-1"):
        """What was accepted at the beginning is still there."""
        with self.cluster.redis(edge) as redis:
            self.assertEqual(redis.call("GET", KEPT[0]), KEPT[1].encode())

    def refused(self, answer, *parts, code=None):
        self.assertFalse(answer["ok"], answer)
        if code:
            self.assertIn(answer["code"], (code,) if isinstance(code, str) else code, answer)
        for part in parts:
            self.assertRegex(answer["message"], part)
        return answer

    def ends(self, process, *parts, seconds=20):
        """The process refuses to run, says why, and has not crashed."""
        code = process.child.wait(seconds)
        words = process.last_words()
        self.assertEqual(code, 1, f"exit code {code}: {words}")
        for part in parts:
            self.assertRegex(words, part)

    def elsewhere(self, text):
        """An edge's configuration with folders and ports that nobody uses."""
        text = text.replace("/edge-1/data", "/unused/data").replace("/edge-1/run", "/unused/run")
        return re.sub(r'^(redis|http) = "[^"]*"', r'\1 = "127.0.0.1:0"', text, flags=re.MULTILINE)

    def assets(self, version):
        folder = os.path.join(self.folder, "assets", version)
        if not os.path.exists(folder):
            subprocess.run([os.path.join(BIN, "camera-assets"), "--release", folder, "--version", version], check=True,
                           stdout=subprocess.DEVNULL, timeout=300)
        return folder

    def copy_of(self, version, name):
        folder = os.path.join(self.folder, "copies", name)
        shutil.copytree(self.assets(version), folder)
        return folder

    def publish(self, folder, version, key=None, name=MODEL):
        return self.cluster.cli_json("model", "publish", folder, "--name", name, "--version", version, "--key",
                                     key or os.path.join(self.cluster.folder, "model-key.pem"))

    def stage(self, version, name=MODEL):
        answer = self.cluster.cli_json("model", "stage", name, version)
        self.assertTrue(answer["ok"], answer)
        wait_until(f"{version} staged", lambda: len(self.cluster.cli_json("model", "status", name).get("staged_edges", [])) == self.edges, 60)


class Commands(Base):
    def test_unknown_command_of_the_line(self):
        out = self.cluster.cli("frobnicate")
        self.assertEqual(out.returncode, 2)
        self.assertIn("frobnicate", out.stdout + out.stderr)
        out = self.cluster.cli("model", "activate", "--frob")
        self.assertEqual(out.returncode, 2)

    def test_unknown_command_of_redis(self):
        with self.cluster.redis("edge-1") as redis:
            with self.assertRaisesRegex(RespError, "unknown command.*FROB"):
                redis.call("FROB", "x")
            with self.assertRaisesRegex(RespError, "wrong number of arguments"):
                redis.call("GET")
            with self.assertRaises(RespError):
                redis.call("TL.SET", "feature:x", "1", "ACK", "maybe")
            with self.assertRaises(RespError):
                redis.call("TL.GET", "feature:x", "BOUND", "-1")
            self.assertEqual(redis.call("PING"), b"PONG")

    def test_bytes_that_are_no_request(self):
        for junk in (b"*3000000000\r\n", b"*1\r\n$-10\r\n", b"*1\r\n$2000000000\r\n", b"$blabla\r\n", b"*1\r\nfoo\r\n", b"\x00" * 70_000,
                     b"a" * 70_000, b'SET "unbalanced\r\n'):
            with socket.create_connection(("127.0.0.1", int(self.cluster.config["edge-1"]["redis"].split(":")[1])), timeout=5) as peer:
                try:
                    peer.sendall(junk)
                    peer.shutdown(socket.SHUT_WR)
                    reply = peer.recv(4096)
                except ConnectionError:
                    reply = b""
                self.assertTrue(reply == b"" or reply.startswith(b"-"), (junk[:20], reply))

    def test_commands_for_people(self):
        run_dir = self.cluster.config["edge-1"]["run_dir"]
        def at_edge(*words):
            out = self.cluster.cli("--json", *words, "--run-dir", run_dir, with_config=False)
            return out.returncode, json.loads(out.stdout)
        code, answer = at_edge("get", KEPT[0], "--bound", "5000")
        self.assertEqual((code, answer["value"]), (0, KEPT[1]), answer)
        self.assertLessEqual(answer["receipt"]["bound_us"], 5_100_000)
        self.assertIn(answer["receipt"]["basis"], ("proof", "lease"))
        self.refused(at_edge("get", "feature:bad_input:never")[1], "no key", code="not_found")
        self.refused(at_edge("set", "feature:bad_input:x", "v", "--file", __file__)[1], "a value and --file", code="invalid")
        self.refused(at_edge("get", "k" * 5000)[1], "4096", code="invalid")
        code, answer = at_edge("set", "feature:bad_input:people", "\u00fc", "--ttl", "60000", "--ack", "origin")
        self.assertEqual((code, answer["ack"]), (0, "origin"), answer)
        self.assertEqual(self.cluster.cli_json("get", "feature:bad_input:people")["value"], "\u00fc")
        code, answer = at_edge("top")
        self.assertEqual((code, answer["edge"], answer["session"]["open"]), (0, "edge-1", True), answer)
        code, answer = at_edge("doctor")
        self.assertEqual([one for one in answer["findings"] if one["health"] == "broken" and one["check"] in ("memory", "clock")], [], answer)
        out = self.cluster.cli("get", "x", "--run-dir", os.path.join(self.folder, "nowhere"), with_config=False)
        self.assertEqual(out.returncode, 1)
        self.assertIn("nowhere/redis.sock", out.stderr)
        out = self.cluster.cli("doctor", "--config", os.path.join(self.folder, "absent.toml"), with_config=False)
        self.assertEqual(out.returncode, 2)
        self.assertIn("absent.toml", out.stderr)

    def test_configuration_names_file_line_key_and_value(self):
        path = self.cluster.config_file("edge-1")
        with open(path, encoding="utf-8") as file:
            good = file.read()
        for change, parts in [
            (lambda t: t + "\nlease = 5\n", ("lease", "5")),
            (lambda t: "frob = true\n" + t, (":1:", "frob", "true", "known keys")),
            (lambda t: t.replace('site = "site-1"', "site = 7"), ("site = 7", "string")),
            (lambda t: re.sub(r"hubs = \[.*\]", 'hubs = ["nonsense"]', t), ("hubs", "nonsense", "hub-1=")),
            (lambda t: re.sub(r"hubs = \[.*\]", "", t), ("hubs", "missing")),
            (lambda t: t + "\n[memory]\narena_mib = 0\n", ("arena_mib = 0", "from 1 to")),
            (lambda t: "site = \n" + t, (":1:",)),
            (lambda t: self.elsewhere(t).replace("key.pem", "absent.pem"), ("absent.pem",)),
        ]:
            broken = os.path.join(self.folder, "broken.toml")
            with open(broken, "w", encoding="utf-8") as out:
                out.write(change(good))
            answer = self.cluster.cli("edge", "--config", broken, with_config=False, timeout=20)
            self.assertEqual(answer.returncode, 1, answer.stderr)
            for part in ("broken.toml", *parts) if parts != ("absent.pem",) else parts:
                self.assertIn(part, answer.stderr)

    def test_configuration_that_is_not_there(self):
        out = self.cluster.cli("hub", "--config", os.path.join(self.folder, "absent.toml"), with_config=False)
        self.assertEqual(out.returncode, 1)
        self.assertIn("absent.toml", out.stderr)

    def test_unreachable_hub(self):
        closed = socket.create_server(("127.0.0.1", 0))
        address = "127.0.0.1:%d" % closed.getsockname()[1]
        closed.close()
        with open(os.path.join(self.cluster.folder, "client.toml"), encoding="utf-8") as file:
            text = re.sub(r"hubs = \[.*\]", f'hubs = ["hub-1={address}"]', file.read())
        path = os.path.join(self.folder, "unreachable.toml")
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        out = self.cluster.cli("--json", "--timeout-ms", "1500", "--config", path, "model", "list", with_config=False)
        self.refused(json.loads(out.stdout), "no hub gave an answer within 1500 ms", code=("unavailable", "maybe_applied"))

    def test_port_in_use(self):
        for node in ("hub-1", "edge-1"):
            copy = os.path.join(self.folder, f"twin-{node}.toml")
            config = self.cluster.config[node]
            with open(self.cluster.config_file(node), encoding="utf-8") as file:
                text = file.read().replace(config["data_dir"], os.path.join(self.folder, f"twin-{node}"))
            if node == "edge-1":
                text = text.replace(config["run_dir"], os.path.join(self.folder, "twin-run"))
            with open(copy, "w", encoding="utf-8") as out:
                out.write(text)
            ports = [config["grpc" if node == "hub-1" else "redis"].split(":")[1], config["http"].split(":")[1]]
            ports += re.findall(r'^listen = "[^"]*:(\d+)"', text, re.MULTILINE)  # for its neighbours
            twin = Process("twin", [self.cluster.binary(), node.split("-")[0], "--config", copy], os.path.join(self.folder, f"twin-{node}.log"))
            self.ends(twin, f"127.0.0.1:({'|'.join(ports)})", "in use|already|bind|listen")

    def test_two_processes_with_one_data_folder(self):
        for node in ("hub-1", "edge-1"):
            twin = Process("twin", [self.cluster.binary(), node.split("-")[0], "--config", self.cluster.config_file(node)],
                           os.path.join(self.folder, f"second-{node}.log"))
            self.ends(twin)
            self.assertEqual(http_get(self.cluster.config[node]["http"], "/readyz")[0], 200, "the first is unharmed")


class Models(Base):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.cluster_ready = False

    def first_version(self):
        if not type(self).cluster_ready:
            answer = self.publish(self.assets("1.0.0"), "1.0.0")
            self.assertTrue(answer["ok"], answer)
            self.stage("1.0.0")
            answer = self.cluster.cli_json("model", "activate", MODEL, "1.0.0")
            self.assertTrue(answer["ok"], answer)
            type(self).cluster_ready = True

    def in_force(self):
        return self.cluster.cli_json("model", "status", MODEL)["current"]

    def test_activation_of_what_nobody_staged(self):
        self.first_version()
        self.refused(self.cluster.cli_json("model", "activate", MODEL, "9.9.9"), "9.9.9", code=("not_found", "conflict", "invalid"))
        self.assertTrue(self.publish(self.assets("1.1.0"), "1.1.0")["ok"])
        self.refused(self.cluster.cli_json("model", "activate", MODEL, "1.1.0"), "1.1.0.*stage|stage.*1.1.0", code=("conflict", "invalid"))
        self.refused(self.cluster.cli_json("model", "activate", "nobody", "1.0.0"), "nobody", code=("not_found", "conflict", "invalid"))
        self.refused(self.cluster.cli_json("model", "stage", MODEL, "9.9.9"), "9.9.9", code=("not_found", "conflict", "invalid"))
        self.refused(self.cluster.cli_json("model", "rollback", MODEL), "first activation|return", code=("conflict", "not_found", "invalid"))
        self.assertEqual(self.in_force(), "1.0.0")

    def test_same_version_with_other_content(self):
        self.first_version()
        folder = self.copy_of("1.0.0", "other-content")
        with open(os.path.join(folder, "labels.txt"), "a", encoding="utf-8") as out:
            out.write("elephant\n")
        self.refused(self.publish(folder, "1.0.0"), "1.0.0", code="conflict")
        self.assertTrue(self.publish(self.assets("1.0.0"), "1.0.0")["ok"], "the same content again is no error")
        self.assertEqual(self.in_force(), "1.0.0")

    def test_wrong_signature(self):
        self.first_version()
        other = os.path.join(self.folder, "other-cluster")
        self.assertTrue(self.cluster.cli_json("dev", "init", "--dir", other, "--hubs", "1", "--edges", "0", with_config=False)["ok"])
        self.refused(self.publish(self.assets("1.2.0"), "1.2.0", key=os.path.join(other, "model-key.pem")), "sign|key",
                     code=("denied", "corrupt", "invalid", "conflict"))
        self.assertNotIn("1.2.0", self.cluster.cli_json("model", "status", MODEL)["published"])

    def test_broken_model_file(self):
        """Signed and published in good faith, but no model: no edge may ever say that it verified it."""
        self.first_version()
        folder = self.copy_of("1.0.0", "broken")
        with open(os.path.join(folder, "model.onnx"), "r+b") as file:
            file.truncate(os.path.getsize(file.name) // 2)
        answer = self.publish(folder, "1.3.0")
        if not answer["ok"]:
            self.refused(answer, "model.onnx|model")
            return
        self.assertTrue(self.cluster.cli_json("model", "stage", MODEL, "1.3.0")["ok"])
        wait_until("the edge says what is wrong with it", lambda: "1.3.0" in self.cluster.processes["edge-1"].last_words(80), 30)
        self.assertEqual(self.cluster.cli_json("model", "status", MODEL)["staged_edges"], [])
        self.refused(self.cluster.cli_json("model", "activate", MODEL, "1.3.0"), "1.3.0|stage|verif", code=("conflict", "invalid", "unavailable"))
        self.assertEqual(self.in_force(), "1.0.0")

    def test_wrong_golden_output(self):
        self.first_version()
        folder = self.copy_of("1.0.0", "golden")
        golden = next(os.path.join(path, name) for path, _, names in os.walk(folder) for name in names if name.startswith("output.signature"))
        with open(golden, "r+b") as file:
            file.write(b"\0\0\x80\x42")  # 64.0
        answer = self.publish(folder, "1.4.0")
        if not answer["ok"]:
            self.refused(answer, "golden|signature")
            return
        self.assertTrue(self.cluster.cli_json("model", "stage", MODEL, "1.4.0")["ok"])
        wait_until("the edge says what is wrong with it", lambda: "1.4.0" in self.cluster.processes["edge-1"].last_words(80), 30)
        self.assertEqual(self.cluster.cli_json("model", "status", MODEL)["staged_edges"], [])
        self.assertEqual(self.in_force(), "1.0.0")

    def test_two_activations_at_once(self):
        self.first_version()
        self.assertTrue(self.publish(self.assets("1.5.0"), "1.5.0")["ok"])
        self.stage("1.5.0")
        answers = []
        callers = [threading.Thread(target=lambda: answers.append(self.cluster.cli_json("model", "activate", MODEL, "1.5.0"))) for _ in range(2)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        self.assertTrue(any(answer["ok"] for answer in answers), answers)
        for answer in answers:
            if not answer["ok"]:
                self.refused(answer, ".", code=("conflict", "busy"))
        self.assertEqual(self.in_force(), "1.5.0")
        back = self.cluster.cli_json("model", "rollback", MODEL)
        self.assertTrue(back["ok"], back)
        self.assertEqual(self.in_force(), "1.0.0", "two activations of one version are one step, and a rollback undoes that step")

    def test_files_changed_behind_the_edges_back(self):
        """The app hashes and checks what it loads: a changed model or a truncated manifest is refused, by name."""
        self.first_version()
        room = os.path.join(self.cluster.config["edge-1"]["run_dir"], "models", MODEL, "1.0.0")
        for name, damage, expected in [("model.onnx", lambda data: data[:1000] + bytes([data[1000] ^ 1]) + data[1001:], "hash|sha256"),
                                       ("tidelock.manifest", lambda data: data[:len(data) // 2], "manifest")]:
            path = os.path.join(room, name)
            with open(path, "rb") as file:
                good = file.read()
            mode = os.stat(path).st_mode
            os.chmod(path, 0o600)
            try:
                self._replace(path, damage(good))
                log = os.path.join(self.folder, f"camera-{name}.jsonl")
                camera = Process("camera", [os.path.join(BIN, "camera"), "--run-dir", self.cluster.config["edge-1"]["run_dir"], "--name", "edge-1",
                                            "--log", log, "--seconds", "1"], log + ".err")
                wait_until("the app says what is wrong", lambda: "error" in [event["t"] for event in self._events(log)], 20)
                camera.stop()
                events = self._events(log)
                self.assertRegex(" ".join(event["message"] for event in events if event["t"] == "error"), expected)
                self.assertNotIn("frame", [event["t"] for event in events])
            finally:
                self._replace(path, good)
                os.chmod(path, mode)

    @staticmethod
    def _events(log):
        return judge.load(log) if os.path.exists(log) else []

    @staticmethod
    def _replace(path, data):
        """A new file under the old name: whoever mapped the old one keeps it."""
        with open(path + ".new", "wb") as out:
            out.write(data)
        os.replace(path + ".new", path)


class Certificates(Base):
    def setUp(self):
        self.other = os.path.join(self.folder, "other")
        if not os.path.exists(self.other):
            self.assertTrue(self.cluster.cli_json("dev", "init", "--dir", self.other, "--hubs", "1", "--edges", "1", with_config=False)["ok"])

    def test_an_operator_of_another_ca(self):
        with open(os.path.join(self.cluster.folder, "client.toml"), encoding="utf-8") as file:
            text = file.read().replace(self.cluster.folder + "/client/tls/cert.pem", self.other + "/client/tls/cert.pem")
            text = text.replace(self.cluster.folder + "/client/tls/key.pem", self.other + "/client/tls/key.pem")
        path = os.path.join(self.folder, "stranger.toml")
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        out = self.cluster.cli("--json", "--timeout-ms", "2000", "--config", path, "model", "list", with_config=False)
        self.refused(json.loads(out.stdout), code=("denied", "unavailable", "maybe_applied"))

    def test_an_edge_of_another_ca_gets_no_session_and_says_why(self):
        path = os.path.join(self.folder, "stranger-edge.toml")
        with open(os.path.join(self.other, "edge-1", "edge.toml"), encoding="utf-8") as file:
            text = re.sub(r"hubs = \[.*\]", f'hubs = ["hub-1={self.cluster.config["hub-1"]["grpc"]}"]', file.read())
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        stranger = Process("stranger", [self.cluster.binary(), "edge", "--config", path], os.path.join(self.folder, "stranger.log"))
        wait_until("it says why", lambda: re.search("certificate|TLS|handshake|SSL", stranger.last_words(200)), 20)
        status = self.cluster.cli_json("status")
        self.assertEqual([edge["id"] for edge in status["edges"] if edge["connected"]], ["edge-1"])
        self.assertEqual(stranger.stop(), 0)

    def test_an_edge_with_the_certificate_of_another_node(self):
        path = os.path.join(self.folder, "impostor.toml")
        with open(self.cluster.config_file("edge-1"), encoding="utf-8") as file:
            text = self.elsewhere(file.read()).replace('id = "edge-1"', 'id = "edge-9"', 1)
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        impostor = Process("impostor", [self.cluster.binary(), "edge", "--config", path], os.path.join(self.folder, "impostor.log"))
        wait_until("it is refused", lambda: not impostor.alive() or re.search("edge-9|certificate|denied", impostor.last_words(200)), 20)
        status = self.cluster.cli_json("status")
        self.assertNotIn("edge-9", [edge["id"] for edge in status["edges"] if edge["connected"]])
        impostor.stop()


class Alone(Base):
    """An edge without any hub: eventual data and flagged fallbacks go on."""

    def test_no_hub(self):
        with self.cluster.redis("edge-1") as redis:
            redis.call("SET", "local:greeting", "hello")
            self.cluster.kill("hub-1")
            try:
                self.assertEqual(redis.call("GET", "local:greeting"), b"hello")
                redis.call("SET", "local:greeting", "still here")
                self.assertEqual(redis.call("GET", "local:greeting"), b"still here")
                reply = redis.call("TL.SET", "feature:alone", "1", "ACK", "disk")
                self.assertEqual(reply["ack"], b"disk")
                self.assertEqual(redis.call("TL.GET", "feature:alone", "EVENTUAL")["value"], b"1")
                def flagged():
                    try:
                        reply = redis.call("TL.GET", KEPT[0], "BOUND", "500", "DEADLINE", "50")
                    except RespError as error:
                        return "STALE" in str(error).upper()
                    return reply["value"] == KEPT[1].encode() and reply["fallback"]
                wait_until("a read that cannot be proven says so", flagged, 10)
            finally:
                self.cluster.start("hub-1")
            wait_until("what was written alone arrives", lambda: self.cluster.cli_json("get", "feature:alone").get("value") == "1", 30)


class Disk(Base):
    def test_full_disk(self):
        """An edge whose disk is full refuses writes, says so, and loses nothing that it accepted."""
        disk = os.path.join(self.folder, "disk")
        os.makedirs(disk)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", disk], capture_output=True).returncode:
            self.skipTest("mounting a small tmpfs needs root")
        self.addCleanup(subprocess.run, ["umount", "-l", disk], check=True)
        self.cluster.stop("edge-1")
        data = self.cluster.config["edge-1"]["data_dir"]
        shutil.copytree(data, os.path.join(disk, "data"), dirs_exist_ok=True)
        self.cluster.rewrite("edge-1", r'^data_dir = .*$', f'data_dir = "{disk}/data"')
        self.cluster.start("edge-1")
        self.cluster.kill("hub-1")  # so that nothing is flushed and the outbox only grows
        accepted, refusal = {}, None
        with self.cluster.redis("edge-1", timeout=30) as redis:
            for number in range(400):
                value = os.urandom(100_000)  # does not compress
                try:
                    redis.call("TL.SET", f"feature:full:{number}", value, "PX", "3600000", "ACK", "disk")
                    accepted[number] = value
                except RespError as error:
                    refusal = str(error)
                    break
        self.assertIsNotNone(refusal, f"{len(accepted)} values of 100 kB fit on 48 MB")
        self.assertRegex(refusal.upper(), "BUSY|MAYBE|UNAVAILABLE|READ")
        self.assertGreater(len(accepted), 10)
        # Room is made, the edge is started again: what was accepted is there and reaches the hub.
        self.cluster.kill("edge-1")
        subprocess.run(["mount", "-o", "remount,size=256m", disk], check=True)
        self.cluster.start("hub-1")
        self.cluster.start("edge-1")
        with self.cluster.redis("edge-1", timeout=30) as redis:
            for number, value in accepted.items():
                self.assertEqual(redis.call("GET", f"feature:full:{number}"), value, number)
        self.kept()


class Ledger(Base):
    hubs = 3

    def test_corrupt_file(self):
        """A hub with a damaged ledger does not serve from it; it says which file; the others go on; nothing is lost."""
        victim = next(hub for hub in self.cluster.hubs if hub != self.cluster.active_hub())
        with self.cluster.redis("edge-1") as redis:
            for number in range(300):
                redis.call("TL.SET", f"feature:ledger:{number}", "x" * 2000, "PX", "3600000", "ACK", "disk")
            redis.call("TL.SET", "feature:ledger:last", "1", "PX", "3600000", "ACK", "origin")
        self.cluster.stop(victim)
        data = self.cluster.config[victim]["data_dir"]
        files = [os.path.join(path, name) for path, _, names in os.walk(data) for name in names if re.search(r"\.(sst|log)$", name)]
        biggest = max(files, key=os.path.getsize)
        size = os.path.getsize(biggest)
        with open(biggest, "r+b") as file:
            for at in range(size // 3, size * 2 // 3, max(1, size // 64)):
                file.seek(at)
                byte = file.read(1)
                file.seek(at)
                file.write(bytes([byte[0] ^ 0x55]))
        process = self.cluster.start(victim, wait=False)
        def outcome():
            return not process.alive() or http_get(self.cluster.config[victim]["http"], "/readyz")[0] == 200
        wait_until("it refuses, or was repaired by the others", outcome, 30)
        if not process.alive():
            self.assertEqual(process.child.returncode, 1, process.last_words())
            self.assertRegex(process.last_words(), "(?i)corrupt|checksum|damaged")
            self.assertIn(data, process.last_words())
        self.assertEqual(os.path.getsize(biggest) if os.path.exists(biggest) else size, size, "a damaged file is not cut short")
        with self.cluster.redis("edge-1") as redis:
            redis.call("TL.SET", "feature:ledger:after", "1", "PX", "3600000", "ACK", "origin")
            self.assertEqual(redis.call("GET", "feature:ledger:last"), b"1")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--bin", default=".")
    options, rest = parser.parse_known_args()
    BIN = options.bin
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    unittest.main(argv=[sys.argv[0], *rest])
