"""Sequences drawn from a seed, run on both servers, every reply compared; one that differs is made small before it is shown.

A sequence hangs on its seed alone. Its commands are those both servers serve; keys are few, so that they meet in every state.
"""

import random
import time

import normalise
from scripts import Row, quoted
from session import Session
from wire import render

COMMANDS = 40
TRIES = 400  # replays that one failure may cost
SHOWN = 8    # failures of different commands before the rest is not run
EDGE_SECONDS = 3

KEYS = (b"k", b"j", b"counter", b"row", b"row2")
FIELDS = (b"f", b"g", b"h", b"", b"\x00\xff")
NUMBERS = (b"0", b"1", b"-1", b"7", b"100", b"-100", b"9223372036854775807", b"-9223372036854775808",
           b"9223372036854775808", b"x", b"", b"1.5")
FLOATS = (b"0.5", b"-1.25", b"3", b"1e3", b"1e-5", b"x", b"", b"inf", b"nan", b"100000000000000000000")
SECONDS = (b"50", b"100", b"200", b"300", b"0", b"-1", b"x", b"9223372036854775807")


class _Draw:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.expiries = 0

    def one(self, *choices):
        return self.random.choice(choices)

    def key(self):
        return self.random.choices(KEYS, (30, 20, 15, 20, 10))[0]

    def field(self):
        return self.random.choices(FIELDS, (30, 20, 10, 2, 2))[0]

    def number(self):
        return self.one(*NUMBERS) if self.random.random() < 0.4 else b"%d" % self.random.randint(-20, 20)

    def value(self):
        kind = self.random.randrange(10)
        if kind < 3:
            return self.number()
        if kind == 3:
            return b""
        if kind == 4:
            return bytes(self.random.randrange(256) for _ in range(self.random.randint(1, 20)))
        if kind == 5:
            return self.one(b"\x00TLvh", b"\x00TLvs", b"\x00TLv", b"\r\n", b"*1\r\n$4\r\nPING\r\n")
        if kind == 6:
            return bytes([self.random.randrange(256)]) * self.one(64, 65, 1000, 5000)
        if kind == 7:
            return self.one(*FLOATS)
        return b"value%d" % self.random.randrange(100)

    def lifetime(self):
        return self.random.choices(SECONDS, (10, 20, 20, 10, 1, 1, 1, 1))[0]

    def millis(self):
        seconds = self.lifetime()
        return seconds + b"000" if seconds.isdigit() and len(seconds) < 5 else seconds

    def several(self, draw, most=3):
        return [draw() for _ in range(self.random.randint(1, most))]

    def expiry(self):
        return self.one([b"EX", self.lifetime()], [b"PX", self.millis()])

    def conditional_expire(self):
        """GT and LT compare instants: a lifetime of its own each time, for two equal ones differ by the millisecond they met."""
        self.expiries += 1
        return [b"%d" % (self.random.choice((300, 1000)) + 10 * self.expiries), self.one(b"NX", b"XX", b"GT", b"LT")]

    def set_options(self):
        options = []
        if self.random.random() < 0.3:
            options.append([self.one(b"NX", b"XX")])
        if self.random.random() < 0.2:
            options.append([b"GET"])
        if self.random.random() < 0.4:
            options.append(self.one(self.expiry(), [b"KEEPTTL"]))
        self.random.shuffle(options)
        return [word for option in options for word in option]


def _pairs(draw, first):
    return [word for _ in range(draw.random.randint(1, 3)) for word in (first(), draw.value())]


# weight, command
FORMS = (
    (6, lambda d: [b"GET", d.key()]), (8, lambda d: [b"SET", d.key(), d.value(), *d.set_options()]),
         (2, lambda d: [b"SETEX", d.key(), d.lifetime(), d.value()]),
    (1, lambda d: [b"PSETEX", d.key(), d.millis(), d.value()]), (2, lambda d: [b"SETNX", d.key(), d.value()]),
         (2, lambda d: [b"GETDEL", d.key()]), (2, lambda d: [b"STRLEN", d.key()]),
    (3, lambda d: [b"APPEND", d.key(), d.value()]), (2, lambda d: [b"MGET", *d.several(d.key)]),
         (2, lambda d: [b"MSET", *_pairs(d, d.key)]), (2, lambda d: [b"MSETNX", *_pairs(d, d.key)]),
    (2, lambda d: [b"GETSET", d.key(), d.value()]), (3, lambda d: [b"GETEX", d.key(),
                                                                   *d.one([], d.expiry(), [b"PERSIST"])]),
         (2, lambda d: [b"GETRANGE", d.key(), d.number(), d.number()]),
    (2, lambda d: [b"SETRANGE", d.key(), d.one(b"0", b"1", b"5", b"30", b"-1", b"x"), d.value()]),
         (3, lambda d: [b"INCR", d.key()]), (2, lambda d: [b"DECR", d.key()]),
    (3, lambda d: [b"INCRBY", d.key(), d.number()]), (2, lambda d: [b"DECRBY", d.key(), d.number()]),
         (3, lambda d: [b"INCRBYFLOAT", d.key(), d.one(*FLOATS)]), (4, lambda d: [b"DEL", *d.several(d.key)]),
    (1, lambda d: [b"UNLINK", d.key()]), (2, lambda d: [b"EXISTS", *d.several(d.key)]),
         (4, lambda d: [b"EXPIRE", d.key(), *d.one([d.lifetime()], [d.lifetime()], d.conditional_expire())]),
    (2, lambda d: [b"PEXPIRE", d.key(), d.millis(), *d.one([], [d.one(b"NX", b"XX")])]),
         (1, lambda d: [b"EXPIREAT", d.key(), d.one(b"1", b"4000000000", b"0", b"-1", b"x")]),
    (1, lambda d: [b"PEXPIREAT", d.key(), d.one(b"1", b"4000000000123")]), (3, lambda d: [b"TTL", d.key()]),
         (1, lambda d: [b"PTTL", d.key()]), (1, lambda d: [b"PEXPIRETIME", d.key()]),
    (2, lambda d: [b"PERSIST", d.key()]), (2, lambda d: [b"TYPE", d.key()]),
         (1, lambda d: [b"TOUCH", *d.several(d.key)]), (3, lambda d: [b"COPY", d.key(), d.key(),
                                                                      *d.one([], [b"REPLACE"])]),
    (3, lambda d: [b"RENAME", d.key(), d.key()]), (2, lambda d: [b"RENAMENX", d.key(), d.key()]),
         (1, lambda d: [b"KEYS", d.one(b"*", b"row*", b"?", b"[jk]")]), (1, lambda d: [b"DBSIZE"]),
    (8, lambda d: [b"HSET", d.key(), *_pairs(d, d.field)]), (2, lambda d: [b"HSETNX", d.key(), d.field(), d.value()]),
         (1, lambda d: [b"HMSET", d.key(), *_pairs(d, d.field)]),
    (3, lambda d: [b"HGET", d.key(), d.field()]), (2, lambda d: [b"HMGET", d.key(), *d.several(d.field)]),
         (4, lambda d: [b"HGETALL", d.key()]), (4, lambda d: [b"HDEL", d.key(), *d.several(d.field)]),
    (1, lambda d: [b"HEXISTS", d.key(), d.field()]), (2, lambda d: [b"HLEN", d.key()]),
         (1, lambda d: [b"HSTRLEN", d.key(), d.field()]), (1, lambda d: [b"HKEYS", d.key()]),
         (1, lambda d: [b"HVALS", d.key()]),
    (2, lambda d: [b"HINCRBY", d.key(), d.field(), d.number()]), (2, lambda d: [b"HINCRBYFLOAT", d.key(), d.field(),
                                                                                d.one(*FLOATS)]), (1, lambda d: [b"HRANDFIELD", d.key(), d.one(b"0", b"2", b"-3", b"10")]),
    (3, lambda d: [b"MULTI"]), (4, lambda d: [b"EXEC"]), (1, lambda d: [b"DISCARD"]),
         (3, lambda d: [b"WATCH", d.key()]), (1, lambda d: [b"UNWATCH"]), (1, lambda d: [b"FLUSHDB"]),
    (1, lambda d: [b"HELLO", d.one(b"2", b"3")]),
)
_WEIGHTS = [weight for weight, _ in FORMS]


def sequence(seed):
    """[(connection, words)]: mostly the first connection, now and then a second one."""
    draw = _Draw(seed)
    rows = []
    for _ in range(COMMANDS):
        form = draw.random.choices(FORMS, _WEIGHTS)[0][1]
        rows.append((2 if draw.random.random() < 0.15 else 1, form(draw)))
    return rows


def _text(connection, words):
    return f"@{connection} " + " ".join(map(quoted, words))


def _replies(address, commands):
    with Session(address, EDGE_SECONDS) as session:
        flushed = session.call([b"FLUSHALL"])
        if flushed != ("+", b"OK"):
            return [f"(not run: FLUSHALL says {render(flushed)})"] * len(commands)
        return [session.run(Row(0, "", connection, None, words, 0)) for connection, words in commands]


class _Pair:
    def __init__(self, redis, edge, differences):
        self.redis, self.edge, self.differences = redis, edge, differences

    def first_difference(self, commands):
        """(index, Redis, Tidelock) of the first reply that differs without a reason, or None."""
        told, got = _replies(self.redis, commands), _replies(self.edge, commands)
        for at, (one, other) in enumerate(zip(told, got)):
            if one == other:
                continue
            if self.differences.excuse(_text(*commands[at]), one, other):
                return None  # from here on the two are not in one state
            return at, one, other
        return None


def _smaller(words):
    """Simpler forms of a command: shorter values, then names that are easier on the eye."""
    for at in range(1, len(words)):
        word = words[at]
        for simpler in ({b"1",
                         b"v"} if len(word) > 1 else set()) | ({word[:len(word) // 2]} if len(word) > 8 else set()):
            if len(simpler) < len(word):
                yield words[:at] + [simpler] + words[at + 1:]


def shrink(pair, commands):
    """The smallest sequence found whose last command differs in the same command's reply."""
    at, told, got = pair.first_difference(commands)
    commands = commands[:at + 1]
    name, tries = commands[-1][1][0], TRIES

    def fails(candidate):
        nonlocal tries
        tries -= 1
        found = pair.first_difference(candidate)
        return found if found and found[0] == len(candidate) - 1 and candidate[-1][1][0] == name else None

    size = max(1, len(commands) // 2)
    while tries > 0:
        shorter = False
        start = 0
        while start < len(commands) - 1 and tries > 0:
            candidate = commands[:start] + commands[min(start + size, len(commands) - 1):]
            found = fails(candidate)
            if found:
                commands, shorter = candidate, True
                _, told, got = found
            else:
                start += size
        if size == 1 and not shorter:
            break
        size = max(1, size // 2)
    for at in range(len(commands)):
        for words in _smaller(commands[at][1]):
            candidate = commands[:at] + [(commands[at][0], words)] + commands[at + 1:]
            found = tries > 0 and fails(candidate)
            if found:
                commands = candidate
                _, told, got = found
                break
    return commands, told, got


def run(redis, edge, seed, count, differences):
    """The failures as text, each with its seed and its smallest sequence."""
    pair, failures, names, start = _Pair(redis, edge, differences), [], set(), time.monotonic()
    done = 0
    for one in range(seed, seed + count):
        done += 1
        commands = sequence(one)
        found = pair.first_difference(commands)
        if not found:
            continue
        name = normalise.command_of(commands[found[0]][1])
        if name in names:
            continue
        names.add(name)
        try:
            small, told, got = shrink(pair, commands)
        except TypeError:  # first_difference found nothing this time
            failures.append(f"generated, seed {one}: {_text(*commands[found[0]])} differed once and not again: redis {found[1]}, tidelock {found[2]}")
            continue
        lines = "".join(f"\n      {_text(*command)}" for command in small)
        failures.append(f"generated, seed {one} (--seed {one} --sequences 1):{lines}\n      redis    {told[:400]}\n      tidelock {got[:400]}")
        if len(failures) == SHOWN:
            break
    print(f"generated: {done} sequences of {COMMANDS} commands from seed {seed} in {time.monotonic() - start:.1f} s")
    return failures
