#!/usr/bin/python3
"""Hubs come, go and die while an edge writes, and nothing acknowledged is lost: real processes and real commands.

`membership_test.py --bin DIR [--keep DIR]`. In one cluster, one after the other: one hub is a build of yesterday, and then upgraded; three
hubs become five; one is taken out; one is
killed and replaced; the leadership moves to a hub that no edge was configured with; the majority is lost and one survivor
recovers; a backup is taken and restored into an empty cluster. One writer goes on through all of it.
"""

import argparse
import os
import random
import socket
import sys
import threading
import time

sys.dont_write_bytecode = True
from harness import Cluster, Failure, RespError, Scratch, http_get, wait_until

KEYS = 8
SURE = "--i-understand-that-writes-may-be-lost"


def check(what, good, answer=None):
    if not good:
        raise Failure(f"{what}: {answer}")


def free_address():
    """Below the range from which systems take ports for outgoing connections."""
    while True:
        with socket.socket() as one:
            try:
                one.bind(("127.0.0.1", random.randrange(12_000, 32_000)))
                return f"127.0.0.1:{one.getsockname()[1]}"
            except OSError:
                continue


class Writer(threading.Thread):
    """Writes rising numbers through the edge; `acked` are those that a majority of the hubs has, by the edge's word."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self.cluster = cluster
        self.tried = dict.fromkeys((f"config:member:{k}" for k in range(KEYS)), 0)
        self.acked = dict.fromkeys(self.tried, 0)
        self.total = 0
        self.running, self.stopping, self.idle = threading.Event(), threading.Event(), threading.Event()
        self.running.set()

    def run(self):
        redis = None
        while not self.stopping.is_set():
            if not self.running.is_set():
                self.idle.set()
                self.running.wait(0.05)
                continue
            self.idle.clear()
            key = f"config:member:{self.total % KEYS}"
            self.tried[key] += 1
            try:
                redis = redis or self.cluster.redis("edge-1", timeout=20)
                redis.call("SET", key, str(self.tried[key]))
            except RespError:
                self.stopping.wait(0.02)
            except (OSError, ConnectionError, ValueError):
                redis = None
                self.stopping.wait(0.05)
            else:
                self.acked[key] = self.tried[key]
                self.total += 1
            self.stopping.wait(0.002)

    def more(self, count=20, seconds=60):
        goal = self.total + count
        wait_until(f"{count} more acknowledged writes", lambda: self.total >= goal, seconds)

    def pause(self):
        self.running.clear()
        self.idle.wait(30)

    def go_on(self):
        self.idle.clear()
        self.running.set()


class Story:
    def __init__(self, cluster):
        self.cluster, self.writer = cluster, Writer(cluster)
        self.begun = time.monotonic()

    def say(self, text):
        print(f"membership_test: {time.monotonic() - self.begun:5.1f} s  {text}", file=sys.stderr, flush=True)

    def hubs(self, *words, timeout_ms=60_000):
        """As an operator does: what is answered with "busy", or "repeat in a moment", is repeated."""
        give_up = time.monotonic() + 30
        while True:
            answer = self.cluster.cli_json("hub", *words, timeout_ms=timeout_ms)
            again = answer.get("code") == "busy" or "repeat in a moment" in answer.get("message", "")
            if not again or time.monotonic() > give_up:
                return answer
            time.sleep(0.5)

    def voters(self):
        return sorted(hub["id"] for hub in self.hubs("list")["hubs"] if hub["voter"])

    def new_hub(self, name, joins=True):
        """Enrols a hub as its owner would: token, join, a configuration by hand. Answers ID=ADDRESS."""
        cluster = self.cluster
        tokens = os.path.join(cluster.folder, "hub-1", "tokens")
        token = cluster.cli_json("hub", "token", "--tokens", tokens, "--role", "hub", "--id", name, with_config=False)
        check("hub token", token["ok"], token)
        home = os.path.join(cluster.folder, name)
        enrolled = next(hub for hub in cluster.hubs if hub in cluster.processes and cluster.processes[hub].alive())
        if name not in cluster.hubs:
            joined = cluster.cli_json("join", "--hub", cluster.config[self.enroller]["http"], "--id", name, "--role", "hub",
                                      "--dir", home, "--token", token["token"], with_config=False)
            check("join", joined["ok"], joined)
            cluster.hubs.append(name)
        address = free_address()
        known = [f'"{enrolled}={cluster.config[enrolled]["grpc"]}"'] if joins else []
        with open(os.path.join(home, "hub.toml"), "w", encoding="utf-8") as file:
            file.write(f'id = "{name}"\ndata_dir = "{home}/data"\ngrpc = "{address}"\nhttp = "{free_address()}"\n'
                       f'hubs = [{", ".join(known + [f"{chr(34)}{name}={address}{chr(34)}"])}]\n'
                       f'joins = {"true" if joins else "false"}\n'
                       f'[tls]\nca = "{home}/tls/ca.pem"\ncertificate = "{home}/tls/cert.pem"\nkey = "{home}/tls/key.pem"\n')
        cluster.config[name] = cluster._read_config(name)
        return f"{name}={address}"

    def start_joiner(self, name):
        address = self.new_hub(name)
        self.cluster.start(name, wait=False)
        wait_until(f"{name} says what it waits for",
                   lambda: "hub add" in http_get(self.cluster.config[name]["http"], "/readyz")[1], 30)
        return address

    def check_nothing_lost(self):
        """Every acknowledged write is what the hubs show, or a later one that was tried."""
        self.writer.pause()
        for key, acked in self.writer.acked.items():
            answer = wait_until(f"{key} can be read",
                                lambda key=key: (a := self.cluster.cli_json("get", key, timeout_ms=20_000))["ok"] and a, 30)
            check(f"{key} = {answer['value']}; {acked} was acknowledged, {self.writer.tried[key]} tried",
                  acked <= int(answer["value"]) <= self.writer.tried[key])
        self.writer.go_on()

    def start_old(self, node):
        """As a build that speaks and reads only version 1 (the test build; the product knows no such switch)."""
        self.cluster.shims[node] = "0:0"
        os.environ["TIDELOCK_VERSION_MAX"] = "1"
        self.cluster.start(node, wait=False)
        del os.environ["TIDELOCK_VERSION_MAX"]

    # --- the chapters -------------------------------------------------------------------------------------------------

    def upgrade(self):
        check("the ledger waits for the hub of yesterday", self.hubs("list")["ledger_version"] == 1, self.hubs("list"))
        self.cluster.stop("hub-2")
        del self.cluster.shims["hub-2"]
        self.cluster.start("hub-2")
        wait_until("the ledger is raised", lambda: self.hubs("list").get("ledger_version", 0) > 1, 30)
        self.start_old_again()
        self.writer.more()
        self.say("old and new in one cluster, and the ledger was raised when the last was new")

    def start_old_again(self):
        """There is no way back: a build of yesterday stops where the ledger is newer."""
        self.cluster.stop("hub-2")
        self.start_old("hub-2")
        old = self.cluster.processes["hub-2"]
        wait_until("the hub of yesterday stops", lambda: not old.alive(), 30)
        check("and says why", "install a newer build" in old.last_words(), old.last_words())
        del self.cluster.shims["hub-2"]
        self.cluster.start("hub-2")

    def grow(self):
        refused = self.hubs("add", f"hub-9={free_address()}")
        check("adding a hub that is not there", refused["code"] == "unavailable" and "joins = true" in refused["message"], refused)
        for name in ("hub-4", "hub-5"):
            added = self.hubs("add", self.start_joiner(name))
            check(f"hub add {name}", added["ok"], added)
            self.cluster.wait_ready(name)
            self.writer.more()
        check("five voters", self.voters() == ["hub-1", "hub-2", "hub-3", "hub-4", "hub-5"], self.voters())
        again = self.hubs("add", f"hub-4={self.cluster.config['hub-4']['grpc']}")
        check("adding a member again is done at once", again["ok"], again)
        self.say("three hubs became five")

    def shrink(self):
        unknown = self.hubs("remove", "hub-9")
        check("removing a stranger", unknown["code"] == "not_found" and "hub-5" in unknown["message"], unknown)
        leader = self.hubs("list")["leader"]
        gone = leader if leader != self.enroller else "hub-2"
        removed = self.hubs("remove", gone)
        check(f"hub remove {gone}", removed["ok"] and gone not in self.voters(), removed)
        self.cluster.stop(gone)
        self.writer.more()
        self.say(f"{gone} was taken out" + (", while it led" if gone == leader else ""))

    def replace(self):
        dead = next(hub for hub in self.voters() if hub not in (self.enroller, "hub-4"))
        self.cluster.kill(dead)
        same = self.hubs("replace", dead, f"{dead}={free_address()}")
        check("replacing a hub by itself", same["code"] == "invalid" and "another id" in same["message"], same)
        address = self.start_joiner("hub-6")
        replaced = self.hubs("replace", dead, address)
        check("hub replace", replaced["ok"] and "hub-6" in self.voters() and dead not in self.voters(), replaced)
        self.writer.more()
        self.say(f"{dead} was killed, and hub-6 took its place")

    def transfer(self):
        moved = self.hubs("transfer", "hub-6")
        if not moved["ok"]:  # a busy machine: given up after an election timeout, and nothing happened
            moved = self.hubs("transfer", "hub-6")
        check("hub transfer", moved["ok"], moved)
        wait_until("hub-6 is active", lambda: self.cluster.metrics("hub-6").get("tidelock_hub_active") == 1, 30)
        self.writer.more()
        self.say("hub-6 leads, which no edge was configured with")

    def lose_the_majority(self):
        survivor = self.enroller
        self.writer.pause()
        for hub in self.voters():
            wait_until(f"{hub} has everything", lambda hub=hub: self.applied(hub) >= self.applied("hub-6"), 30)
        for hub in [hub for hub in self.voters() if hub != survivor]:
            self.cluster.kill(hub)
        config = self.cluster.config_file(survivor)
        running = self.offline("hub", "recover", SURE, config=config)
        check("recover while it runs", running["code"] == "conflict", running)
        self.cluster.stop(survivor)
        asked = self.offline("hub", "recover", config=config)
        check("recover without the flag", asked["code"] == "denied" and "index" in asked["message"], asked)
        recovered = self.offline("hub", "recover", SURE, config=config)
        check("hub recover", recovered["ok"] and "hub-6" in recovered["former"], recovered)
        check("it begins above everything", recovered["first_index"] > recovered["last_index"], recovered)
        self.cluster.start(survivor)
        self.cluster.active_hub()
        self.writer.go_on()
        self.writer.more()
        self.check_nothing_lost()
        self.say("the majority was lost, and one survivor is the cluster")

    def backup_and_restore(self):
        file = os.path.join(self.cluster.folder, "backup")
        self.writer.more()
        before = dict(self.writer.acked)
        made = self.cluster.cli_json("backup", "--out", file)
        check("backup", made["ok"] and made["index"] > 0, made)
        self.writer.more()  # what comes after it is not in it
        self.writer.pause()
        self.cluster.kill(self.enroller)
        config = self.cluster.config_file(self.enroller)
        refused = self.offline("restore", file, config=config)
        check("restore into a folder that holds a ledger", refused["code"] == "conflict", refused)
        with open(file, "rb") as whole, open(file + ".cut", "wb") as cut:
            cut.write(whole.read()[:-20])
        data = self.cluster.config[self.enroller]["data_dir"]
        os.rename(data, data + ".old")
        broken = self.offline("restore", file + ".cut", config=config)
        check("restore of half a file", broken["code"] == "corrupt", broken)
        restored = self.offline("restore", file, config=config)
        check("restore", restored["ok"] and restored["last_index"] == made["index"], restored)
        self.cluster.start(self.enroller)
        self.cluster.active_hub()
        for key, acked in before.items():
            answer = self.cluster.cli_json("get", key, timeout_ms=20_000)
            check(f"{key} = {answer}; {acked} was acknowledged before the backup", int(answer.get("value", 0)) >= acked)
            with self.cluster.redis("edge-1") as redis:
                def proven(key=key):
                    try:
                        return redis.call("TL.GET", key, "BOUND", "500", "DEADLINE", "3000")
                    except RespError:
                        return None
                shown = wait_until(f"the edge can prove {key}", proven, 30)
                check(f"the edge shows {key} = {shown['value']} where the hub has {answer['value']}",
                      shown["value"] in (answer["value"], answer["value"].encode()), shown)
        self.writer.go_on()
        self.writer.more()
        joined = self.hubs("add", self.start_joiner("hub-7"))
        check("hub add after a restore", joined["ok"], joined)
        self.writer.more()
        self.say("a backup was restored into an empty cluster, and the edge follows it")

    def offline(self, *words, config):
        return self.cluster.cli_json("--config", config, *words, with_config=False)

    def applied(self, hub):
        return self.cluster.metrics(hub).get("tidelock_ledger_applied_index", 0)

    def run(self):
        self.enroller = "hub-1"  # holds the CA's key here, and survives everything
        self.start_old("hub-2")
        for node in ("hub-1", "hub-3", "edge-1"):
            self.cluster.start(node, wait=False)
        for node in ("hub-1", "hub-2", "hub-3", "edge-1"):
            self.cluster.wait_ready(node)
        self.cluster.active_hub()
        self.writer.start()
        self.writer.more()
        for chapter in (self.upgrade, self.grow, self.shrink, self.replace, self.transfer):
            chapter()
            self.check_nothing_lost()
        self.lose_the_majority()
        self.backup_and_restore()
        self.writer.stopping.set()
        self.writer.join(30)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", required=True)
    parser.add_argument("--keep", help="run in this folder and leave it there")
    options = parser.parse_args()
    with Scratch(options.keep, "tidelock-membership-") as folder:
        with Cluster(options.bin, folder, hubs=3, edges=1, sites=1) as cluster:
            story = Story(cluster)
            try:
                story.run()
            except Failure as failure:
                story.say(f"FAILED: {failure}")
                return 1
    story.say(f"{story.writer.total} acknowledged writes, nothing lost")
    return 0


if __name__ == "__main__":
    sys.exit(main())
