"""Exceptions to the house rules, each with its reason. An entry that no longer excuses anything is itself a finding, so
these lists only hold what is true. Keep them short: a second entry of a kind is a hint that the rule or the code is wrong."""

# Rooms of one floor that may include each other, this way only: (from, to).
SIDEWAYS = {
    ("ledger/raft", "ledger"): "the engine implements the interface",
    ("ledger/raft", "store/kv"): "log and vote rest in a key-value store (RocksDB), so as not to have two stores",
    ("store/models", "store/kv"): "metadata of models rests in a key-value store",
    ("wire/http", "telemetry"): "/metrics prints the registry",
}

# Headers of rooms that are part of the public face: include/tidelock may name them.
PUBLIC = {
    "src/protocol/receipt.h": "what every read returns",
    "src/infer/engine.h": "the tensors and the engine that a model handle hands out",
}

# Third-party libraries that more than one room may wrap: library -> rooms.
WRAPPED_TWICE = {
    "crypto": ({"codec", "wire/grpc"}, "hashes and certificates are bytes in, bytes out; TLS belongs to the wire"),
}

# Third-party headers inside one of our own headers: (our header, their header).
IN_HEADERS = {}

# Files over the length limit.
LONG_FILES = {}

# (rule of bans.py, path or folder with a final slash).
BANS = {
    ("clock", "src/base/elapsed_clock.cc"): "the one place that reads the real clock (C1)",
    ("random", "src/base/"): "the one place that makes seeds",
}

# Paths of machines inside files that are about such paths: (path, text).
MACHINE_PATHS = {}

# Rules of docs/protocol.md that no code or test carries yet: tag -> what is missing and why.
RULES_NOT_YET = {}
