"""What of a reply may differ from run to run, per command: times, ids, the order of sets, chance. Nothing else is touched.

A normaliser takes the command's words and one reply frame and returns a frame. Errors and nulls never get here.
"""

import itertools
import time

from wire import render

SECONDS, MILLIS = 10, 10_000  # scripts use lifetimes that are multiples of these and look at them long before half of one has passed


def _number(frame):
    return int(frame[1]) if frame[0] in ":," else None


def _nearest(value, unit):
    return (value + unit // 2) // unit * unit


def _mark(text):
    return "+", f"<{text}>".encode()


def _whatever(text):
    return lambda words, frame: _mark(text) if frame[0] != "*" else frame


def _lifetime(unit):
    def normalise(words, frame):
        value = _number(frame)
        if value is None or value <= 0:
            return frame
        return _mark(f"about {_nearest(value, unit)}")
    return normalise


def _instant(unit, scale):
    """An instant near now becomes one relative to now; the far future stands as it is."""
    def normalise(words, frame):
        value = _number(frame)
        if value is None or value <= 0:
            return frame
        ahead = value - int(time.time() * scale)
        return frame if ahead > 100_000 * scale else _mark(f"now + about {_nearest(ahead, unit)}")
    return normalise


def _sorted(words, frame):
    if not isinstance(frame[1], list):
        return frame
    return frame[0], sorted(frame[1], key=render)


def _pairs(frames):
    pairs = sorted(zip(frames[::2], frames[1::2]), key=lambda pair: render(pair[0]))
    return [frame for pair in pairs for frame in pair]


def _sorted_pairs(words, frame):
    if not isinstance(frame[1], list) or len(frame[1]) % 2:
        return frame
    return frame[0], _pairs(frame[1])


def _scan(pairs):
    def normalise(words, frame):
        if frame[0] != "*" or len(frame[1]) != 2 or not isinstance(frame[1][1][1], list):
            return frame
        cursor, (kind, elements) = frame[1]
        if cursor != ("$", b"0"):
            return "*", [_mark("cursor"), _mark("some")]
        return "*", [cursor, (kind, _pairs(elements) if pairs else sorted(elements, key=render))]
    return normalise


def _one_of(words, frame):
    return _mark("random") if frame[0] == "$" and frame[1] is not None else frame


def _random_fields(words, frame):
    """How many of which shape; which of them is chance. All of them, when all were asked for, are told by other commands."""
    if frame[0] == "$":
        return _one_of(words, frame)
    if frame[0] != "*" or not frame[1]:
        return frame
    return "*", [("*", [_mark("random")] * len(item[1])) if item[0] == "*" else _mark("random") for item in frame[1]]


def _field_names(words, frame):
    """CLIENT INFO and LIST: what does not hang on time, sockets and memory."""
    if frame[0] not in "$=" or frame[1] is None:
        return frame
    kept = (b"name=", b"db=", b"sub=", b"psub=", b"multi=", b"resp=")
    lines = [b" ".join(word for word in line.split() if word.startswith(kept)) for line in frame[1].splitlines()]
    return frame[0], b"\n".join(sorted(lines))


def _hello(words, frame):
    """Its id and version are the server's own."""
    if not isinstance(frame[1], list) or len(frame[1]) % 2:
        return frame
    items = list(frame[1])
    for at in range(0, len(items), 2):
        if items[at][1] in (b"id", b"version"):
            items[at + 1] = _mark(items[at][1].decode())
    return frame[0], items


def _shape(words, frame):
    """Types only."""
    if isinstance(frame[1], list):
        return frame[0], [_shape(words, item) for item in frame[1]]
    return _mark(frame[0])


def _command_info(words, frame):
    """Name, arity, flags, key positions and categories; tips, key specifications and subcommands are Redis's own catalogue."""
    if frame[0] != "*":
        return frame
    if len(words) == 2:
        return _kind(words, frame)
    return "*", [("*", [_sorted(words, part) for part in item[1][:7]]) if item[1] else item for item in frame[1]]


def _kind(words, frame):
    """The type of the outermost frame only."""
    return _mark(frame[0])


BY_COMMAND = {
    "TTL": _lifetime(SECONDS), "PTTL": _lifetime(MILLIS),
    "EXPIRETIME": _instant(SECONDS, 1), "PEXPIRETIME": _instant(MILLIS, 1000),
    "TIME": _shape,
    "KEYS": _sorted, "SCAN": _scan(False), "RANDOMKEY": _one_of,
    "HGETALL": _sorted_pairs, "HKEYS": _sorted, "HVALS": _sorted, "HSCAN": _scan(True), "HRANDFIELD": _random_fields,
    "OBJECT IDLETIME": _whatever("idle"), "OBJECT FREQ": _whatever("frequency"),
    "MEMORY USAGE": _whatever("bytes"), "MEMORY STATS": _kind, "MEMORY DOCTOR": _kind,
    "CLIENT ID": _whatever("id"), "CLIENT INFO": _field_names, "CLIENT LIST": _field_names,
    "CLIENT TRACKINGINFO": _sorted_pairs,
    "HELLO": _hello, "INFO": _kind,
    "CONFIG GET": _sorted_pairs,
    "COMMAND": _kind, "COMMAND COUNT": _whatever("count"), "COMMAND LIST": _kind, "COMMAND DOCS": _kind,
    "COMMAND INFO": _command_info,
    "ACL GENPASS": lambda words, frame: _mark(f"{len(frame[1])} digits"), "ACL USERS": _sorted, "ACL CAT": _sorted,
    "ACL LOG": _kind, "ACL LIST": _sorted,
    "SLOWLOG GET": _kind, "SLOWLOG LEN": _whatever("count"),
    "LATENCY LATEST": _kind, "LATENCY HISTORY": _kind, "LATENCY HISTOGRAM": _kind, "LATENCY DOCTOR": _kind,
    "PUBSUB CHANNELS": _sorted,
}
_CONTAINERS = {name.split()[0] for name in BY_COMMAND if " " in name} | {"FUNCTION"}
_NAMES_ONLY = 2


def command_of(words):
    """The name that the report and the normalisers go by: "GET", "CLIENT LIST"."""
    if not words:
        return "(nothing)"
    name = words[0].upper().decode("latin-1")
    if name in _CONTAINERS and len(words) > 1 and words[1].isalpha():
        return name + " " + words[1].upper().decode("latin-1")
    return name if name.replace(".", "").isalnum() else "(other)"


def normalise(words, frame):
    if frame[0] in "-!_" or frame[1] is None:
        return frame
    if words and words[-1].upper() == b"HELP":
        return frame
    rule = BY_COMMAND.get(command_of(words))
    return rule(words, frame) if rule else frame


def normalise_pushes(words, frames):
    """Several frames at once: UNSUBSCRIBE from everything takes the channels in any order, patterns that match one message too."""
    if words and len(words) == 1 and words[0].upper() in (b"UNSUBSCRIBE", b"PUNSUBSCRIBE"):
        if all(isinstance(frame[1], list) and len(frame[1]) == 3 for frame in frames):
            names = sorted((frame[1][1] for frame in frames), key=render)
            return [(kind, [parts[0], name, parts[2]]) for (kind, parts), name in zip(frames, names)]
    ordered = []
    for _, run in itertools.groupby(frames, _message):
        ordered += sorted(run, key=render)
    return ordered


def _message(frame):
    """What patterns share when they match one message; any other frame is alone."""
    if isinstance(frame[1], list) and len(frame[1]) == 4 and frame[1][0] == ("$", b"pmessage"):
        return frame[1][2:]
    return id(frame)
