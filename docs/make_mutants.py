#!/usr/bin/python3
"""Writes docs/mutants.md from a hunt of every planted mutant: docs/make_mutants.py --bin build/dev/bin [--jobs N] [--json FILE]

With --json, the hunt's own report (tidelock-sim --mutant all --json FILE) is read instead of hunting again."""

import argparse
import json
import os
import subprocess
import sys
import tempfile

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "mutants.md")
HEAD = """# Planted mutants

Made by `docs/make_mutants.py`; do not edit. A simulator that finds nothing proves nothing, so each rule is broken on purpose, by
one switch in the product's own cores, and the simulator has to notice. The switches (`TIDELOCK_MUTANT` in `src/`) exist in the
simulator's build only: elsewhere they are the constant false, and a check of `tests/house` sees to it.

`tidelock-sim --mutant NAME` hunts one of them, `--mutant all` the whole list. *Seeds* says how many seeds it took in each of
{ranges} disjoint ranges of {most} (- : none noticed). A *scenario* bends what a seed draws towards what is otherwise too rare
(`sim/scenarios.cc`). Without the mutant the same seed is
clean. A mutant also changes the course of a seed, so a table says something only about a simulator that is clean over many more
seeds than were hunted here: else what was noticed may be another fault.

**{caught} of {mutants}** are caught in most of the ranges; the median of the medians is {median_seeds}.

| mutant | rule | what it does | scenario | seeds | median | noticed as |
|---|---|---|---|---|---|---|
"""


def report(options):
    if options.json:
        with open(options.json, encoding="utf-8") as file:
            return json.load(file)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "mutants.json")
        subprocess.run([os.path.join(options.bin, "tidelock-sim"), "--mutant", "all", "--seeds", str(options.seeds),
                        "--jobs", str(options.jobs), "--json", path], stdin=subprocess.DEVNULL, check=False)  # 1: some are not noticed; the page says which
        with open(path, encoding="utf-8") as file:
            return json.load(file)


def row(one):
    seeds = " ".join(str(n) if n else "-" for n in one["seeds"])
    noticed = one["violation"].split(":")[0] if one["violation"] else "-"
    return (f"| `{one['name']}` | {one['rule']} | {one['what']} | {one['scenario'] or 'any'} | {seeds} | {one['median'] or '-'} "
            f"| {noticed} |\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", default="build/dev/bin", help="folder of tidelock-sim")
    parser.add_argument("--seeds", type=int, default=1000, help="of each of the ranges, at most")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--json", help="a report that is there already")
    options = parser.parse_args()
    found = report(options)
    page = HEAD.format(ranges=len(found["table"][0]["seeds"]), most=found["seeds_most"], caught=found["caught"],
                       mutants=found["mutants"], median_seeds=found["median_seeds"])
    page += "".join(row(one) for one in found["table"])
    page += EQUIVALENT
    with open(PAGE, "w", encoding="utf-8") as file:
        file.write(page)
    return 0


# What RELIABILITY lists and nothing can notice here, with the reason.
EQUIVALENT = """
## Not in the list, because nothing can notice

- *A retry moves `tb`* (A2). An id is appended once in a term; a later term's append of it is an entry of its own, and counts
  from its own first attempt.
- *An acknowledgement without term* (S3). A block acknowledgement travels in a session, and a session belongs to one term: its
  number alone names the block. `former-ack-counts` is the part of it that can happen.
- *A lease recorded after the mark left* (A3). A step of the hub is one event: nothing can come between the two.
- *A fetch answer that is older than an invalidation, or than what is held* (F7). A session is one ordered stream and its
  requests end with it, so an answer comes behind every record below its index; an active hub has applied all that an earlier
  session of the edge was told. The tests of F7 are a second line.
- *An edge that ignores its suspend* (C2). H counts the sleep (C1), so what was proven before has aged by it; dropping the
  proofs is a second line, for clocks that fail to count. The clocks of the simulator do count.
- *The blocks test and the acknowledgement test of S1* are each enough in an ordered session; so are *authority tested before
  the index* and after it, for probes that are answered.
"""

if __name__ == "__main__":
    sys.exit(main())
