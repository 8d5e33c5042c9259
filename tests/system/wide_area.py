"""The network of a chaos run: who can reach whom, and how well.

Namespaces (root, Linux): each node in a network namespace of its own, with a route through a router. The router loses packets
of one direction by a rule "from A to B blackhole": what is lost is lost in silence, and answers still come. Half of the edges
reach their hubs through link-proxy, which can delay, throttle and break off connections.
Proxy (anybody): every connection between nodes goes through link-proxy, which can also stop one direction of it.

All addresses are on this machine only. Namespaces die with the process that made them, for they lie in one of their own.
"""

import os
import subprocess
import sys

from harness import Failure, Links

INSIDE = "TIDELOCK_CHAOS_NAMESPACE"
_ROUTER = "10.77.0.1"


def enter_namespace():
    """Starts this program again inside a network and mount namespace of its own; returns only where that is not possible."""
    if os.environ.get(INSIDE):
        return True
    if os.geteuid() != 0 or subprocess.run(["unshare", "--net", "--mount", "ip", "link"], capture_output=True).returncode:
        return False
    os.environ[INSIDE] = "1"
    sys.stderr.flush()
    os.execvp("unshare", ["unshare", "--net", "--mount", "--propagation", "private", sys.executable, *sys.argv])


def _ip(*words, node=None):
    command = ["ip"] + (["-n", node] if node else []) + [str(word) for word in words]
    out = subprocess.run(command, capture_output=True, text=True)
    if out.returncode:
        raise Failure(f"{' '.join(command)}: {out.stderr.strip()}")


class Proxied:
    """Links through link-proxy only."""
    name = "proxy"

    def __init__(self, cluster):
        self.cluster = cluster
        pairs = [(node, hub) for node in cluster.edges + cluster.hubs for hub in cluster.hubs if node != hub]
        self.links = Links(os.path.join(cluster.bin, "link-proxy"), {f"{node}/{hub}": cluster.config[hub]["grpc"] for node, hub in pairs},
                           os.path.join(cluster.logs, "link-proxy.log"))
        for node in cluster.edges + cluster.hubs:
            own = {hub: self.links.addresses.get(f"{node}/{hub}", cluster.config[hub]["grpc"]) for hub in cluster.hubs}
            _write_hubs(cluster, node, own)

    def prefix(self, _node):
        return []

    def cut(self, source, target):
        """Nothing gets from one node to another any more."""
        if f"{source}/{target}" in self.links.addresses:
            self.links.tell(f"cut {source}/{target} up")
        if f"{target}/{source}" in self.links.addresses:
            self.links.tell(f"cut {target}/{source} down")

    def heal(self, source, target):
        for name in (f"{source}/{target}", f"{target}/{source}"):
            if name in self.links.addresses:
                self.links.tell(f"heal {name}")

    def shape(self, edge, delay_ms, bytes_per_s):
        self.links.tell(f"delay {edge}/* {delay_ms}")
        self.links.tell(f"rate {edge}/* {bytes_per_s}")

    def drop(self, edge):
        self.links.tell(f"drop {edge}/*")

    def shaped(self):
        return self.cluster.edges

    def close(self):
        self.links.process.kill()


class Routed:
    """Network namespaces around a router."""
    name = "namespaces"

    def __init__(self, cluster):
        self.cluster, self.rules = cluster, set()
        self.proxied = cluster.edges[1::2]
        self.address = {hub: f"10.77.1.{i}" for i, hub in enumerate(cluster.hubs, 1)}
        self.address |= {edge: f"10.77.2.{i}" for i, edge in enumerate(cluster.edges, 1)} | {"wan": "10.77.3.1"}
        os.makedirs("/run/netns", exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run/netns"], check=True)  # names of this run only
        _ip("link", "set", "lo", "up")
        _ip("addr", "add", f"{_ROUTER}/32", "dev", "lo")
        with open("/proc/sys/net/ipv4/ip_forward", "w", encoding="ascii") as setting:
            setting.write("1")
        for node, address in self.address.items():
            self._join(node, address)
        for hub in cluster.hubs:
            for key in ("grpc", "http"):
                cluster.rewrite(hub, rf'^{key} *= *"[^"]*"', f'{key} = "{self.address[hub]}:{_port(cluster.config[hub][key])}"')
        for edge in cluster.edges:
            cluster.rewrite(edge, r'^http *= *"[^"]*"', f'http = "{self.address[edge]}:{_port(cluster.config[edge]["http"])}"')
        real = {hub: cluster.config[hub]["grpc"] for hub in cluster.hubs}
        self.links = Links(os.path.join(cluster.bin, "link-proxy"), {f"{edge}/{hub}": real[hub] for edge in self.proxied for hub in cluster.hubs},
                           os.path.join(cluster.logs, "link-proxy.log"), before=self.prefix("wan"), options=["--bind", self.address["wan"]])
        for node in cluster.hubs + cluster.edges + ["client"]:
            _write_hubs(cluster, node, {hub: self.links.addresses.get(f"{node}/{hub}", real[hub]) for hub in cluster.hubs})

    def _join(self, node, address):
        _ip("netns", "add", node)
        _ip("link", "add", f"v-{node}", "type", "veth", "peer", "name", "eth0", "netns", node)
        _ip("link", "set", f"v-{node}", "up")
        _ip("link", "set", "lo", "up", node=node)
        _ip("link", "set", "eth0", "up", node=node)
        _ip("addr", "add", f"{address}/32", "dev", "eth0", node=node)
        _ip("route", "add", _ROUTER, "dev", "eth0", node=node)
        _ip("route", "add", "default", "via", _ROUTER, node=node)
        _ip("route", "add", f"{address}/32", "dev", f"v-{node}")

    def prefix(self, node):
        return ["nsenter", f"--net=/run/netns/{node}"]

    def _pair(self, source, target):
        """An edge behind the proxy loses its way to it, whatever hub is meant."""
        via = {edge: "wan" for edge in self.proxied}
        source, target = (via.get(target, source) if target in via else source), (via.get(source, target) if source in via else target)
        return self.address[source], self.address[target]

    def cut(self, source, target):
        pair = self._pair(source, target)
        if pair not in self.rules:
            self.rules.add(pair)
            _ip("rule", "add", "pref", "100", "from", pair[0], "to", pair[1], "blackhole")

    def heal(self, source, target):
        for one, other in ((source, target), (target, source)):
            pair = self._pair(one, other)
            if pair in self.rules:
                self.rules.remove(pair)
                _ip("rule", "del", "pref", "100", "from", pair[0], "to", pair[1], "blackhole")

    def shape(self, edge, delay_ms, bytes_per_s):
        self.links.tell(f"delay {edge}/* {delay_ms}")
        self.links.tell(f"rate {edge}/* {bytes_per_s}")

    def drop(self, edge):
        self.links.tell(f"drop {edge}/*")

    def shaped(self):
        return self.proxied

    def close(self):
        self.links.process.kill()


def _port(address):
    return address.rsplit(":", 1)[1]


def _write_hubs(cluster, node, addresses):
    cluster.rewrite(node, r"^hubs *= *\[[^\]]*\]", "hubs = [" + ", ".join(f'"{hub}={address}"' for hub, address in addresses.items()) + "]")
