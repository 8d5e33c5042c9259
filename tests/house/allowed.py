"""Exceptions to the house rules, each with its reason. An entry that no longer excuses anything is itself a finding, so
these lists only hold what is true. Keep them short: a second entry of a kind is a hint that the rule or the code is wrong."""

# Rooms of one floor of which one may include the other, this way only: (from, to). CMakeLists.txt names them too.
SIDEWAYS = {
    ("ledger/raft", "ledger"): "the engine implements the interface",
    ("ledger/raft", "store/kv"): "log and vote rest in a key-value store (RocksDB), so as not to have two stores",
    ("store/remote", "wire/resp"): "a cache server is spoken to with the client and the sockets that are there already",
    ("wire/http", "telemetry"): "/metrics prints the registry",
    ("store/objects", "wire/http"): "cloud stores are spoken to over HTTP",
    ("store/objects", "telemetry"): "its tests read the log, in which no secret may be",
    ("store/bundle", "store/models"): "files are opened, written and synced as everywhere else",
    ("store/objects", "store/models"): "the folder engine syncs and renames files as the blob store does",
}

# Headers of rooms that are part of the public face: include/tidelock may name them.
PUBLIC = {
    "src/protocol/receipt.h": "what every read returns",
    "src/memory/value_ref.h": "a value that was read without a copy",
    "src/memory/in_place.h": "what runs on a value where it lies",
    "src/infer/engine.h": "the tensors and the engine that a model handle hands out",
}

# Tools of examples, which are no apps and may include what they build with.
EXAMPLE_TOOLS = {
    "examples/camera/make_assets.cc": "it builds the demo's model and clip",
    "examples/camera/clip_test.cc": "it tests that tool down to a signed release",
}

# Third-party libraries that more than one room may wrap: library -> (rooms, reason).
WRAPPED_TWICE = {
    "ssl": ({"wire/resp", "wire/grpc"}, "gRPC brings its own TLS, and its tests speak TLS by hand"),
    "json": ({"cli", "codec", "store/objects"}, "the metadata service of a machine gives its credentials as JSON; so are OpenSSF model signatures"),
    "crypto": ({"codec", "wire/resp", "wire/grpc"}, "TLS says what went wrong through the error queue of all OpenSSL, and keeps sessions with it"),
}

# Third-party headers that one of our headers may bring to other rooms: (our header, their header).
IN_HEADERS = {}

# Files over the length limit.
LONG_FILES = {
    "src/ledger/raft/raft_ledger.cc": "one class with two threads: which of them owns what must be seen in one place",
    "dev": "the one door: every subcommand with its own help, one after the other",
    "src/ledger/raft/raft_driver_test.cc": "a virtual cluster and the tests that drive it",
    "src/protocol/hub_core_test.cc": "one bench, one test per rule: read from top to bottom beside docs/protocol.md",
    "src/protocol/outbox_test.cc": "tables and the crash model share one virtual disk",
    "src/protocol/state_machine_test.cc": "one bench, one test per rule",
}

# (rule of bans.py, path or folder with a final slash).
BANS = {
    ("clock", "src/base/elapsed_clock.cc"): "the one place that reads the real clock (C1)",
    ("clock", "src/wire/grpc/"): "gRPC takes deadlines as time points; they only say how long a call may wait",
    ("clock", "src/wire/http/server.cc"): "deadlines of one request's reads and writes; nothing of the protocol hangs on them",
    ("clock", "src/ledger/raft/raft_ledger_test.cc"): "deadlines of waits on real threads; no result hangs on them",
    ("clock", "src/memory/local_reader_test.cc"): "shows that the vDSO reads are no system calls",
    ("sleep", "src/cli/operator.cc"): "the pause between two rounds over hubs that all said no: there is no event to wait for",
    ("sleep", "src/cli/rollout.cc"): "`rollout watch` asks twice a second: hubs do not call operators",
    ("sleep", "src/cli/model_care.cc"): "looks ten times a second how far a node's work is: nodes do not call operators",
    ("sleep", "src/cli/model_recall.cc"): "`model recall` looks a few times a second whether there is a certificate: hubs do not call operators",
    ("sleep", "src/cli/model_transfer.cc"): "`model stage --wait` looks twice a second how far it is: hubs do not call operators",
    ("shell", "examples/camera/clip_test.cc"): "runs the tool that is tested; fixed strings and a folder made by mkdtemp",
    ("clock", "src/telemetry/log.cc"): "the wall time that a log line bears, for people to read",
}

# Paths of machines inside files that are about such paths: (path, text).
MACHINE_PATHS = {}

# Rules of docs/protocol.md that no code or test carries yet: tag -> what is missing and why.
RULES_NOT_YET = {}
