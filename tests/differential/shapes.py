#!/usr/bin/python3
"""Writes the scripts that are cross products: every command in every shape on a key of every state, alone, inside MULTI and
in RESP3, and every command with too few and too many words. `shapes.py` writes scripts/shapes_*.txt; `--check` compares.

They are generated once and committed, so that a reader and a difference can point at a line.
"""

import argparse
import os
import re
import sys

sys.dont_write_bytecode = True
from scripts import HERE, SCRIPTS

# A key is named by its state, so what a line is about can be read off it.
STATES = {
    "missing": (),
    "text": ("SET text hello",),
    "empty": ('SET empty ""',),
    "ten": ("SET ten 10",),
    "negative": ("SET negative -7",),
    "max": ("SET max 9223372036854775807",),
    "min": ("SET min -9223372036854775808",),
    "float": ("SET float 3.5",),
    "spaced": ('SET spaced " 10"',),
    "binary": (r'SET binary "\x00\xff\r\n\x01TLv"',),
    "marked": (r'SET marked "\x00TLvh"',),
    "lasting": ("SET lasting 100 EX 100",),
    "hash": ("HSET hash f 1 g two",),
    "fading": ("HSET fading f 1.5", "EXPIRE fading 100"),
}
NOT_OVERWRITTEN = ("missing", "hash", "fading")
FEW = ("missing", "text", "ten", "hash")  # where the state hardly matters
HASHES = ("missing", "text", "lasting", "hash", "fading")
LOOK = ("GET %", "TTL %")

INTEGERS = ("1", "-1", "0", "10", "9223372036854775807", "-9223372036854775808", "9223372036854775808",
            "-9223372036854775809",
            "abc", "1.5", '" 1"', '"1 "', '""', "+1", "01", "-0", "0x10", "1e2", r'"1\x00"')
FLOATS = ("1", "0.1", "-2.5", "1e3", "1.5e-3", "0", "-0", "3.0e2", "5e-324", "inf", "-inf", "nan", "1e400", "abc",
          '""', '" 1"', '"1 "', "0x10",
          "1.7976931348623157e308", "100000000000000000000", "0.30000000000000004", r'"1\x00"', "+1", ".5", "5.")
LIFETIMES = ("100", "0", "-1", "-100", "abc", "1.5", '""', "9223372036854775807", "-9223372036854775808",
             "9223372036854775808", "+100")
RANGES = (("0", "-1"), ("0", "0"), ("1", "2"), ("-3", "-1"), ("-1", "-3"), ("5", "2"), ("-1", "-5"), ("0", "100"),
          ("100", "200"), ("-100", "2"), ("-100", "-50"),
          ("x", "1"), ("1", "x"), ("1", ""), ("9223372036854775807", "1"), ("0", "9223372036854775807"),
          ("-9223372036854775808", "-1"),
          ("9223372036854775808", "1"))

# (file, title, commands, states, what is looked at afterwards). `%` is the key.
PLAN = []


def plan(file, title, commands, states=tuple(STATES), look=()):
    PLAN.append((file, title, tuple(commands), tuple(states), tuple(look)))


def cross(form, *lists):
    for values in _product(lists):
        yield form.format(*values)


def _product(lists):
    if not lists:
        yield ()
        return
    for head in lists[0]:
        for rest in _product(lists[1:]):
            yield (head, *rest)


plan("strings", "plain reads", ("GET %", "STRLEN %", "TYPE %", "EXISTS %", "EXISTS % % missing", "MGET % missing %",
                                "TTL %", "PTTL %", "TOUCH %",
                                "TOUCH % % missing", "OBJECT ENCODING %", "OBJECT REFCOUNT %", "OBJECT IDLETIME %",
                                "OBJECT FREQ %", "EXPIRETIME %",
                                "PEXPIRETIME %", "MEMORY USAGE %", "MEMORY USAGE % SAMPLES 5",
                                "MEMORY USAGE % SAMPLES x", "MEMORY USAGE % x"))
plan("strings", "reads that write", ("GETDEL %", "GETSET % new", 'GETSET % ""', "APPEND % abc", 'APPEND % ""',
                                     "SETNX % new", "SETEX % 100 new", "PSETEX % 100000 new",
                                     "MSET % new other 1", "DEL %", "UNLINK %", "DEL % % missing", "PERSIST %"),
     look=LOOK)
plan("strings", "MSETNX", ("MSETNX % new other 1", "MSETNX other 1 % new", "MSETNX % a % b"),
     look=(*LOOK, "GET other", "DEL other"))
plan("strings", "SET and its options", ("SET % new", "SET % new NX", "SET % new XX", "SET % new GET",
                                        "SET % new NX GET", "SET % new XX GET", "SET % new EX 100",
                                        "SET % new px 100000", "SET % new KEEPTTL", "SET % new XX KEEPTTL GET",
                                        "SET % new EXAT $(now+100)",
                                        "SET % new PXAT $(nowms+100000)", "SET % new EX 100 NX GET"), look=LOOK)
plan("strings", "SET and what it refuses", ("SET % new NX XX", "SET % new EX", "SET % new EX 10 PX 10",
                                            "SET % new EX 10 KEEPTTL", "SET % new KEEPTTL PX 10", "SET % new bogus",
                                            "SET % new EXAT", "SET % new GET bogus", "SET % new PERSIST",
                                            "SET % new EX 10 EX 10", "SET % new XX NX GET", 'SET % new ""',
                                            *cross("SET % new {} {}", ("EX", "PX"), LIFETIMES[1:-1]),
                                            *cross("SET % new {} {}", ("EXAT", "PXAT"), ("0", "-1", "abc", "1"))),
     FEW, ("GET %",))
plan("strings", "SETEX and PSETEX and what they refuse", cross("{} % {} new", ("SETEX", "PSETEX"), LIFETIMES), FEW,
     ("GET %",))
plan("strings", "GETEX", ("GETEX %", "GETEX % EX 100", "GETEX % PX 100000", "GETEX % EXAT $(now+100)",
                          "GETEX % PXAT $(nowms+100000)", "GETEX % PERSIST", "GETEX % EXAT 1",
                          "GETEX % PXAT 1"), look=LOOK)
plan("strings", "GETEX and what it refuses", ("GETEX % EX", "GETEX % PERSIST EX 10", "GETEX % EX 10 PX 10",
                                              "GETEX % KEEPTTL", "GETEX % NX", "GETEX % bogus", "GETEX % EX 10 PERSIST",
                                              *cross("GETEX % {} {}", ("EX", "PX"), LIFETIMES[1:-1])), FEW, ("TTL %",))
plan("ranges", "GETRANGE", (f'GETRANGE % "{a}" "{b}"' for a, b in RANGES),
     ("missing", "text", "empty", "ten", "binary", "hash"))
plan("ranges", "SUBSTR is its old name", ("SUBSTR % 0 -1", "SUBSTR % 1 2"), FEW)
plan("ranges", "SETRANGE", ("SETRANGE % 0 x", "SETRANGE % 2 XY", 'SETRANGE % 0 ""', 'SETRANGE % 7 ""',
                            "SETRANGE % 10 zz", "SETRANGE % -1 x", "SETRANGE % x y", 'SETRANGE % "" y',
                            "SETRANGE % 536870912 x", "SETRANGE % 536870911 xx", "SETRANGE % 9223372036854775807 x",
                            "SETRANGE % 9223372036854775808 x",
                            'SETRANGE % -1 ""', 'SETRANGE % 1 "\\x00\\xff"'),
     ("missing", "text", "empty", "ten", "binary", "lasting", "hash"), LOOK)
plan("numbers", "INCR and DECR", ("INCR %", "DECR %"), look=LOOK)
plan("numbers", "INCRBY", cross("INCRBY % {}", INTEGERS), ("missing", "text", "ten", "max", "min", "spaced", "float",
                                                           "empty", "lasting", "hash"), ("GET %",))
plan("numbers", "DECRBY", cross("DECRBY % {}", INTEGERS), ("missing", "text", "ten", "max", "min", "negative",
                                                           "lasting", "hash"), ("GET %",))
plan("numbers", "INCRBYFLOAT", cross("INCRBYFLOAT % {}", FLOATS), ("missing", "text", "ten", "float", "max", "spaced",
                                                                   "lasting", "hash"), ("GET %",))
plan("expiry", "EXPIRE and PEXPIRE", cross("{} % {}", ("EXPIRE",), LIFETIMES),
     ("missing", "text", "lasting", "hash", "fading"), ("EXISTS %", "TTL %"))
plan("expiry", "PEXPIRE", cross("PEXPIRE % {}", ("100000", *LIFETIMES[1:-1])),
     ("missing", "text", "lasting", "fading"), ("EXISTS %", "PTTL %"))
plan("expiry", "conditions", cross("EXPIRE % {} {}", ("50", "200", "0"),
                                   ("NX", "XX", "GT", "LT", "xx", "NX XX", "NX GT", "NX LT", "GT LT", "XX GT", "XX LT",
                                    "bogus", '""', "NX NX")),
     ("missing", "text", "lasting", "fading"), ("TTL %",))
plan("expiry", "conditions in milliseconds", cross("PEXPIRE % {} {}", ("50000", "200000", "-1"),
                                                   ("NX", "XX", "GT", "LT", "gt lt", "bogus")),
     ("missing", "text", "lasting"), ("PTTL %",))
plan("expiry", "instants", ("EXPIREAT % $(now+100)", "PEXPIREAT % $(nowms+100000)",
                            *cross("EXPIREAT % {}", ("0", "1", "-1", "abc", "9223372036854775807", "1.5", '""')),
                            *cross("PEXPIREAT % {}", ("0", "1", "-1", "abc", "9223372036854775808")),
                            *cross("EXPIREAT % $(now+200) {}", ("NX", "XX", "GT", "LT", "XX LT", "NX GT", "bogus")),
                            *cross("PEXPIREAT % $(nowms+50000) {}", ("NX", "XX", "GT", "LT", "bogus"))),
     ("missing", "text", "lasting", "hash", "fading"), ("EXISTS %", "TTL %", "EXPIRETIME %"))
plan("expiry", "what a write does to a lifetime", ("APPEND % 1", "INCR %", "SETRANGE % 0 9", "GETSET % 5", "SET % 5",
                                                   "INCRBYFLOAT % 1", "HSET % g 1", "HDEL % f", "HINCRBY % n 1",
                                                   "PERSIST %", "RENAME % moved", "COPY % copied"),
     ("lasting", "fading"),
     ("TYPE %", "TTL %", "PTTL moved", "PTTL copied", "DEL moved copied"))
plan("keys", "COPY, RENAME and RENAMENX to a new name", ("COPY % to", "COPY % to REPLACE", "COPY % to DB 0",
                                                         "COPY % to DB 0 REPLACE", "RENAME % to", "RENAMENX % to"),
     look=("EXISTS %", "TYPE to", "GET to", "TTL to", "DEL to"))
plan("keys", "COPY, RENAME and RENAMENX to a name that is taken", ("COPY % ten2", "COPY % ten2 replace",
                                                                   "RENAME % ten2", "RENAMENX % ten2"),
     look=("EXISTS %", "TYPE ten2", "GET ten2", "TTL ten2",
                                                                                                                                                 "SET ten2 10 EX 50"))
plan("keys", "COPY, RENAME and what they refuse", ("COPY % %", "COPY % % REPLACE", "COPY % to DB", "COPY % to DB x",
                                                   "COPY % to DB -1", "COPY % to bogus", "COPY % to REPLACE bogus",
                                                   "COPY % to DB 99", "RENAME % %", "RENAMENX % %"), FEW,
     ("EXISTS %", "EXISTS to"))
FIELDS = ("f", "g", "none", '""')
plan("hashes", "reads", (*cross("HGET % {}", FIELDS), *cross("HEXISTS % {}", FIELDS), *cross("HSTRLEN % {}", FIELDS),
                         "HMGET % f g none f", "HMGET % none", "HGETALL %", "HKEYS %", "HVALS %",
                         "HLEN %", "TYPE %", "OBJECT ENCODING %", "HSCAN % 0", "HSCAN % 0 MATCH f*",
                         "HSCAN % 0 COUNT 1", "HSCAN % 0 MATCH * COUNT 100", "HSCAN % x", "HSCAN % -1",
                         "HSCAN % 0 COUNT 0", "HSCAN % 0 COUNT x", "HSCAN % 0 MATCH", "HSCAN % 0 bogus 1",
                         "HSCAN % 0 NOVALUES", "HSCAN % 99999999999999999999"), HASHES)
plan("hashes", "HRANDFIELD", ("HRANDFIELD %", *cross("HRANDFIELD % {}",
                                                     ("0", "1", "2", "10", "-1", "-5", "x", '""', "1.5",
                                                      "9223372036854775807", "-9223372036854775808",
                                                      "9223372036854775808")),
                              *cross("HRANDFIELD % {} WITHVALUES", ("0", "1", "10", "-3", "-9223372036854775808",
                                                                    "4611686018427387904")), "HRANDFIELD % 1 bogus",
                              "HRANDFIELD % WITHVALUES", "HRANDFIELD % 1 WITHVALUES x"), HASHES)
plan("hashes", "writes", ("HSET % f new", "HSET % h 3", "HSET % f a h b h c", 'HSET % "" ""',
                          r'HSET % "\x00\xff" "\r\n"', "HSETNX % f new", "HSETNX % h new", "HMSET % f new h 3",
                          "HDEL % f", "HDEL % none", "HDEL % f f g", "HDEL % f g none", "HSET % f new h",
                          "HMSET % f new h", "DEL %", "GETDEL %", "SET % over", "SETNX % over",
                          "MSET % over", "GETSET % over", "PERSIST %", "EXPIRE % 50", "UNLINK %"), HASHES,
     ("TYPE %", "HGETALL %", "TTL %"))
plan("hashes", "HINCRBY", (*cross("HINCRBY % f {}", INTEGERS), "HINCRBY % g 1", "HINCRBY % n 5"), HASHES,
     ("HGETALL %",))
plan("hashes", "HINCRBYFLOAT", (*cross("HINCRBYFLOAT % f {}", FLOATS), "HINCRBYFLOAT % g 1", "HINCRBYFLOAT % n 5.5"),
     HASHES, ("HGETALL %",))

# One shape of each command: for MULTI, RESP3 and WATCH.
READS = ("GET %", "STRLEN %", "GETRANGE % 0 2", "MGET % missing", "EXISTS %", "TTL %", "PTTL %", "EXPIRETIME %",
         "PEXPIRETIME %", "TYPE %", "TOUCH %", "OBJECT ENCODING %", "OBJECT REFCOUNT %",
         "HGET % f", "HMGET % f none", "HGETALL %", "HEXISTS % f", "HLEN %", "HSTRLEN % f", "HKEYS %", "HVALS %",
         "HRANDFIELD %", "HRANDFIELD % 2", "HRANDFIELD % 2 WITHVALUES",
         "HRANDFIELD % -3 WITHVALUES", "HSCAN % 0", "MEMORY USAGE %")
WRITES = ("SET % new", "SET % new NX", "SET % new XX GET", "SET % new EX 100", "SETEX % 100 new",
          "PSETEX % 100000 new", "SETNX % new", "GETDEL %", "APPEND % x", "MSET % new", "MSETNX % new",
          "GETSET % new", "GETEX % EX 50", "GETEX % PERSIST", "SETRANGE % 1 xx", "INCR %", "DECR %", "INCRBY % 5",
          "DECRBY % 5", "INCRBYFLOAT % 0.5", "DEL %", "UNLINK %", "EXPIRE % 50",
          "PEXPIRE % 50000", "EXPIREAT % $(now+50)", "PEXPIREAT % $(nowms+50000)", "EXPIRE % -1", "PERSIST %",
          "COPY % to REPLACE", "COPY missing % REPLACE", "RENAME % to", "RENAMENX % to",
          "HSET % f new", "HSETNX % h new", "HMSET % f new", "HDEL % f", "HDEL % f g", "HINCRBY % n 2",
          "HINCRBYFLOAT % n 0.5")
WRONG = ("SET %", "GET", "SET % v bogus", "INCRBY % x", "EXPIRE % x", "HSET % f", "HINCRBY % f x", "NOSUCHCOMMAND %",
         "OBJECT bogus %")
WHOLE = ("PING", "PING hi", "ECHO hi", "DBSIZE", "SELECT 0", "SELECT 1x", "TIME", "CLIENT GETNAME", "CLIENT ID",
         "CONFIG GET maxmemory-nosuch", "COMMAND COUNT", "KEYS zz*", "SCAN 0 MATCH zz*",
         "RANDOMKEY", "PUBLISH channel message", "PUBSUB CHANNELS", "PUBSUB NUMSUB a b", "PUBSUB NUMPAT",
         "OBJECT HELP", "LATENCY LATEST", "SLOWLOG LEN", "SLOWLOG GET", "ACL WHOAMI", "ACL CAT string",
         "FUNCTION FLUSH", "FLUSHDB", "FLUSHALL ASYNC", "FUNCTION LIST", "UNWATCH", "MEMORY DOCTOR", "CLIENT LIST",
         "CLIENT INFO", "COMMAND INFO get", "COMMAND GETKEYS MSET a 1 b 2", "INFO server",
         "HELLO 3", "HELLO 2")
SAME = ("missing", "text", "ten", "lasting", "hash", "fading")


def blocks_of(commands, states, look, before=(), after=()):
    """Without a look the commands only read, and one block makes the keys; else each command has a block and makes its own."""
    if not look:
        yield [line for state in states for line in STATES[state]]
        for command in commands:
            yield [line.replace("%", state) for state in states for line in (*before, command, *after)]
        return
    for command in commands:
        for state in states:
            lines = [f"DEL {state}", *STATES[state]] if state in NOT_OVERWRITTEN else [*STATES[state]]
            lines += [*before, command.replace("%", state), *after]
            lines += [one.replace("%", state) for one in look]
            yield lines


def command_table():
    """(name, arity) of every command of the edge that Redis has too."""
    path = os.path.join(HERE, "..", "..", "src", "wire", "resp", "command_table.cc")
    with open(path, encoding="utf-8") as file:
        found = re.findall(r'^    \{"([a-z.]+)", C::k\w+, (-?\d+),', file.read(), re.MULTILINE)
    return [(name, int(arity)) for name, arity in found if not name.startswith("tl.")]


# With words that fit they would end the server, or what they answer is the subject of another script.
NOT_RUN = {"shutdown": (0,), "quit": (0, 1, 2, 3, 4, 5), "command": (0,), "info": (0, 1, 2, 3, 4, 5), "client": (0,)}
SUBCOMMANDS = {
    "CLIENT": ("ID", "SETNAME", "GETNAME", "INFO", "LIST", "SETINFO", "NO-EVICT", "KILL", "PAUSE", "UNPAUSE", "REPLY",
               "TRACKING", "TRACKINGINFO", "CACHING", "GETREDIR", "HELP", "NOSUCH"),
    "COMMAND": ("COUNT", "GETKEYS", "LIST", "HELP", "NOSUCH"),
    "CONFIG": ("GET", "SET", "RESETSTAT", "HELP", "NOSUCH"),
    "OBJECT": ("ENCODING", "FREQ", "IDLETIME", "REFCOUNT", "HELP", "NOSUCH"),
    "PUBSUB": ("CHANNELS", "NUMSUB", "NUMPAT", "HELP", "NOSUCH"),
    "ACL": ("WHOAMI", "LIST", "USERS", "GETUSER", "DELUSER", "CAT", "GENPASS", "DRYRUN", "LOG", "HELP", "NOSUCH"),
    "MEMORY": ("USAGE", "DOCTOR", "STATS", "PURGE", "HELP", "NOSUCH"),
    "SLOWLOG": ("GET", "LEN", "RESET", "HELP", "NOSUCH"),
    "LATENCY": ("LATEST", "HISTORY", "RESET", "HISTOGRAM", "DOCTOR", "HELP", "NOSUCH"),
    "FUNCTION": ("FLUSH", "LIST", "HELP", "NOSUCH"),
}


def arity_sections():
    for name, _ in command_table():
        rows = []
        for count in range(6):
            if count in NOT_RUN.get(name, ()):
                continue
            word = name if count % 2 else name.upper()
            rows.append(" ".join([word, *["x"] * count]))
        rows += [" ".join([name, *['""'] * count]) for count in range(1, 4) if count not in NOT_RUN.get(name, ())]
        yield f"words of {name}", [[row] for row in rows]
    for name, subcommands in SUBCOMMANDS.items():
        rows = [f"{name} {'' if count == 0 else ' '.join(['x'] * count)}".strip() for count in range(3)]
        for subcommand in subcommands:
            rows += [" ".join([name, subcommand, *["x"] * count]) for count in range(4)]
            rows.append(f"{name.lower()} {subcommand.lower()}")
        yield f"subcommands of {name.lower()}", [[row] for row in rows[1:]]


def sections():
    """{file: [(title, blocks)]}"""
    files = {}
    for file, title, commands, states, look in PLAN:
        files.setdefault("shapes_" + file, []).append((title, list(blocks_of(commands, states, look))))
    files["shapes_arity"] = list(arity_sections())
    multi = []
    for title, commands, states in (("reads in a transaction", READS, SAME), ("writes in a transaction", WRITES, SAME),
                                    ("refused in a transaction", WRONG, ("text",))):
        multi.append((title, list(blocks_of(commands, states, LOOK[:1], ("MULTI",), ("EXEC",)))))
    multi.append(("commands of the server in a transaction", [["MULTI", command, "EXEC"] for command in WHOLE]))
    watch = []
    for command in WRITES:
        for state in ("missing", "ten", "hash"):
            watch.append([f"DEL {state}", *STATES[state], f"WATCH {state}", "@2 " + command.replace("%", state),
                          "MULTI", "PING", "EXEC", f"GET {state}"])
    multi.append(("what another connection does to a watched key", watch))
    multi.append(("reads of a watched key disturb nothing", [["SET ten 10", "HSET hash f 1"]] + [
        [f"WATCH {state}", "@2 " + command.replace("%", state), "MULTI", "PING",
         "EXEC"] for command in READS for state in ("ten", "hash")]))
    files["shapes_transactions"] = multi
    resp3 = [("reads in RESP3", [["HELLO 3"], *blocks_of(READS, SAME, ())]),
             ("writes in RESP3", [["HELLO 3"], *blocks_of(WRITES, SAME, ("GET %", "HGETALL %"))]),
             ("a transaction in RESP3", [["HELLO 3"], *blocks_of(READS + WRITES[::4], ("missing", "hash"), (),
                                                                 ("MULTI",), ("EXEC",))]),
             ("commands of the server in RESP3", [["HELLO 3", command] for command in WHOLE])]
    files["shapes_resp3"] = resp3
    return files


def texts():
    for name, parts in sections().items():
        out = [f"# Made by shapes.py: change that, not this.\n"]
        for title, blocks in parts:
            out.append(f"## {title}\n")
            out.append("\n".join("".join(line + "\n" for line in block) for block in blocks))
        yield name, "".join(out)


def stale():
    """The names of the scripts that are not what this program would write."""
    found = []
    for name, text in texts():
        path = os.path.join(SCRIPTS, name + ".txt")
        if not os.path.exists(path) or open(path, encoding="ascii").read() != text:
            found.append(name)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true",
                        help="write nothing; fail when a script is not what this would write")
    options = parser.parse_args()
    if options.check:
        wrong = stale()
        for name in wrong:
            print(f"scripts/{name}.txt is not what shapes.py writes", file=sys.stderr)
        return 1 if wrong else 0
    for name, text in texts():
        with open(os.path.join(SCRIPTS, name + ".txt"), "w", encoding="ascii") as file:
            file.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
