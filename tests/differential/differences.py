"""differences.txt: where Tidelock answers otherwise on purpose. One line each, four fields between ` | `:
  pattern of command lines | what Redis says | what Tidelock says | why
`*` stands for anything, all else for itself; lines and replies are as scripts/ and replies/ have them, without `@N`, and
commands in any case. `GET *` is GET alone as well. The first entry that matches counts, and one that no row needs is a fault:
the list says what is true.
"""

import os
import re
from collections import namedtuple

from scripts import HERE

FILE = os.path.join(HERE, "differences.txt")
Difference = namedtuple("Difference", "line command redis tidelock reason")


def _pattern(text, flags=0):
    return re.compile("".join(".*" if char == "*" else re.escape(char) for char in text), re.DOTALL | flags)


class Differences:
    def __init__(self, path=FILE):
        self.entries, self.used = [], set()
        with open(path, encoding="ascii") as file:
            for number, line in enumerate(file, 1):
                line = line.rstrip("\n")
                if not line or line.startswith("#"):
                    continue
                fields = line.split(" | ")
                if len(fields) != 4 or not fields[3].strip():
                    raise ValueError(f"differences.txt:{number}: four fields between ' | ', the last one the reason")
                command = fields[0] if fields[0].endswith("*") else fields[0] + " "
                self.entries.append(Difference(number, _pattern(command, re.IGNORECASE), *map(_pattern, fields[1:3]),
                                               fields[3]))

    def excuse(self, command, redis, tidelock):
        """The entry for this difference, or None; it counts as used."""
        command = re.sub(r"^@\d +", "", command) + " "
        for entry in self.entries:
            if entry.command.fullmatch(command) and entry.redis.fullmatch(redis) and entry.tidelock.fullmatch(tidelock):
                self.used.add(entry.line)
                return entry
        return None

    def unused(self):
        return [entry for entry in self.entries if entry.line not in self.used]
