"""Which commands of Redis the edge serves: docs/redis.md names every one, served or left out, and no other.

`redis_commands.txt` holds COMMAND LIST of redis-server 7.0, subcommands as "client|id"; --record writes it anew.
"""

import os
import re

HERE = os.path.dirname(os.path.abspath(__file__))
RECORDED = os.path.join(HERE, "redis_commands.txt")
PAGE = os.path.join(HERE, "..", "..", "docs", "redis.md")
SERVED, LEFT_OUT = "## Commands", "## What is left out"
SINCE_7_2 = {"client|setinfo"}  # today's clients send it


def recorded():
    with open(RECORDED, encoding="ascii") as file:
        return {line.strip() for line in file if not line.startswith("#")}


def write(version, names):
    with open(RECORDED, "w", encoding="ascii") as file:
        file.write(f"# COMMAND LIST of redis-server {version}; made by differential_test.py --record.\n")
        file.writelines(name + "\n" for name in sorted(names))


def names_of(page, heading):
    """The commands in the table under a heading: `GET`, `CLIENT ID/LIST`; what stands in brackets is options."""
    names = set()
    inside = False
    for line in page.splitlines():
        if line.startswith("## "):
            inside = line == heading
        if not inside or not line.startswith("| ") or line.startswith("| group") or line.startswith("| family"):
            continue
        cell = re.sub(r"\([^)]*\)", "", line.split("|")[2])
        for word in re.findall(r"`([^`]+)`", cell):
            name, _, subcommands = word.lower().partition(" ")
            names.add(name)
            names.update(f"{name}|{sub}" for sub in subcommands.split("/") if sub)
    return names


def faults(page, redis, edge):
    """What is wrong, as text. `redis` and `edge`: all names that COMMAND LIST knows, subcommands too."""
    served, left_out = names_of(page, SERVED), names_of(page, LEFT_OUT)
    containers = {name.split("|")[0] for name in edge if "|" in name}
    # `CLIENT UNBLOCK` of the second table names CLIENT too, which is served.
    left_out -= {name for name in left_out if name in containers and any(one.startswith(name + "|") for one in left_out)}
    found = []

    def each(names, text):
        found.extend(f"docs/redis.md: {name.replace('|', ' ').upper()}: {text}" for name in sorted(names))

    each((name for name in redis - edge - left_out if name.split("|")[0] not in left_out),
         f"redis-server has it and the edge has not; say why under '{LEFT_OUT}'")
    each(left_out & edge, f"the edge serves it; it stands under '{LEFT_OUT}'")
    each(left_out - redis, f"redis-server 7.0 does not have it; it stands under '{LEFT_OUT}'")
    each(edge - served, f"the edge serves it; name it under '{SERVED}'")
    each(served - edge, f"the edge does not serve it; it stands under '{SERVED}'")
    each((name for name in edge - redis - SINCE_7_2 if not name.startswith("tl.")), "redis-server 7.0 does not have it")
    return found
