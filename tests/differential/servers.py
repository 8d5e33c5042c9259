"""The two servers: redis-server 7.0 where it is installed, and an edge of a cluster of one hub and one edge."""

import os
import re
import shutil
import subprocess
import sys

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
from harness import Cluster, Process, wait_until
from wire import Connection

WANTED = "7.0."


def redis_version(binary="redis-server"):
    """The version as text; None when there is no such program."""
    if not shutil.which(binary):
        return None
    out = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10).stdout
    found = re.search(r"v=(\S+)", out)
    return found[1] if found else None


class Redis:
    """A redis-server of its own on a Unix socket, without a port, a file or a default configuration."""

    def __init__(self, folder):
        self.socket = os.path.join(folder, "redis.sock")
        self.process = Process("redis-server", ["redis-server", "--port", "0", "--unixsocket", self.socket, "--save",
                                                "", "--appendonly", "no",
                                                "--dir", folder], os.path.join(folder, "redis.log"))

    def __enter__(self):
        def answers():
            try:
                connection = Connection(self.socket, 1)
            except OSError:
                return False
            connection.send([b"PING"])
            connection.frame()
            connection.close()
            return True
        wait_until("redis-server answers", answers, 20)
        return self

    def __exit__(self, *_):
        self.process.stop()


class Edge:
    """A hub and an edge; what is not in a named namespace lives on the edge alone."""

    def __init__(self, bin_dir, folder):
        self.cluster = Cluster(bin_dir, os.path.join(folder, "cluster"), hubs=1, edges=1, sites=1)

    def __enter__(self):
        self.cluster.__enter__()
        try:
            self.cluster.start_all()
            self.cluster.active_hub()
        except BaseException:
            self.cluster.close()
            raise
        self.socket = self.cluster.config["edge-1"]["redis_unix"]
        return self

    def __exit__(self, *error):
        self.cluster.close()

    def alive(self):
        return self.cluster.processes["edge-1"].alive()

    def last_words(self):
        return self.cluster.processes["edge-1"].last_words()
