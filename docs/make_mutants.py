#!/usr/bin/python3
"""Writes docs/mutants.md from docs/proof-data/mutants.json: docs/make_mutants.py [--hunt | --check] [--sim FILE] [--seeds N] [--jobs N]

--hunt   hunts every planted mutant first (tidelock-sim --mutant all) and records that run; some minutes
--check  writes nothing and fails when the page does not show what the data say; with --sim also when the data are not of
         exactly the mutants that this simulator has"""

import argparse
import json
import os
import subprocess
import sys

DOCS = os.path.dirname(os.path.abspath(__file__))
PAGE = os.path.join(DOCS, "mutants.md")
DATA = os.path.join(DOCS, "proof-data", "mutants.json")
HEAD = """# Planted mutants

Made by `docs/make_mutants.py` from [proof-data/mutants.json](proof-data/mutants.json); do not edit. A simulator that finds nothing
proves nothing, so each rule is broken on purpose, by one switch in the product's own cores, and the simulator has to notice. The
switches (`TIDELOCK_MUTANT` in `src/`) exist in the simulator's build only: elsewhere they are the constant false, and a check of
`tests/house` sees to it.

`tidelock-sim --mutant NAME` hunts one of them, `--mutant all` the whole list, `docs/make_mutants.py --hunt` the whole list for this
page. *Seeds* says how many seeds it took in each of {ranges} disjoint ranges of at most {most} (- : none noticed). A *scenario* bends
what a seed draws towards what is otherwise too rare (`sim/scenarios.cc`); *any* is the ordinary draw. A seed counts only when it is
clean without the mutant.

Build {build}, and for those marked *later* a later one: **{caught} of {mutants}** are caught in most of the ranges; the median of the medians is {median_seeds} seeds, the largest
median {worst}.

| mutant | rule | what it does | scenario | seeds | median | noticed as |
|---|---|---|---|---|---|---|
"""

# What RELIABILITY lists, or a list before this one had, and nothing can notice here, with the reason.
EQUIVALENT = """
## Not in the list, because nothing can notice

- *A retry moves `tb`* (A2). An id is appended once in a term; a later term's append of it is an entry of its own, and counts
  from its own first attempt.
- *An acknowledgement without term* (S3). A block acknowledgement travels in a session, and a session belongs to one term: its
  number alone names the block.
- *An acknowledgement of a former session counted in the next* (S3). An edge that lives on holds the block across sessions. One
  that restarted has left a page that shows the block, and is told of it in its new session before it can be sent a mark (S1).
- *The waits of A4 without their `1 + 2 rho`*. What ends first is shortened: an edge counts `lease (1 - 2 rho)` on a clock that is
  slow by `rho` at most, so its lease ends within `lease (1 - 2 rho) / (1 - rho) < lease / (1 + rho)`, which is the least that `lease`
  on the hub's clock can be; likewise the window. Both factors together are a margin, `lease-ignores-drift` is the one that counts.
- *A lease recorded after the mark left* (A3). A step of the hub is one event: nothing can come between the two.
- *A fetch answer that is older than an invalidation, or than what is held* (F7). A session is one ordered stream and its
  requests end with it, so an answer comes behind every record below its index; an active hub has applied all that an earlier
  session of the edge was told. The tests of F7 are a second line.
- *A replay from the last mark on* (F11), *a record at or below what was fed* (F11) and *a record older than what is held* (F7)
  need each other: an edge resumes from what it was fed, takes nothing at or below that, and shows nothing older than it holds.
  `replay-shown-again` breaks all three.
- *An epoch that is loaded before the blocks* (F5). Only a reader that is stopped between the two sees it, and only if all of this
  happens meanwhile: a block opens, its write is appended, the session is lost before the record, the next one cannot replay it, and
  its first mark closes the block; a reader that was stopped for longer than 0.3 ms looks at everything anew once. The long run
  that found the flaw met it once in some 15,000 seeds. The table of stories in `read_order_test` has it.
- *A snapshot across a change of its namespace* and *one ahead of the feed* (S4). A value that was changed meanwhile has a
  version above what was applied before, so the second test refuses it; in a whole generation nothing can be ahead of the feed,
  because an answer comes behind every record below its index. (But for a key that is fetched anew as absent in between, whose
  version is 0.) `snapshot-mixed` breaks both.
- *An edge that ignores its suspend* (C2). H counts the sleep (C1), so what was proven before has aged by it; dropping the
  proofs is a second line, for clocks that fail to count. The clocks of the simulator do count.
- *The blocks test and the acknowledgement test of S1* are each enough in an ordered session; so are *authority tested before
  the index* and after it, for probes that are answered.
"""


def data():
    with open(DATA, encoding="utf-8") as file:
        return json.load(file)


def hunt(options):
    build = subprocess.run(["git", "-C", DOCS, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    command = [options.sim, "--mutant", "all", "--seeds", str(options.seeds), "--jobs", str(options.jobs), "--json", DATA]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, check=False)
    if done.returncode not in (0, 1):  # 1: some are not noticed; the page says which
        sys.exit(done.returncode)
    found = {"build": build, **data()}
    head = json.dumps({key: value for key, value in found.items() if key != "table"}, indent=2)[:-2]
    rows = ",\n    ".join(json.dumps(one) for one in found["table"])
    with open(DATA, "w", encoding="utf-8") as file:
        file.write(f"{head},\n  \"table\": [\n    {rows}\n  ]\n}}\n")


def row(one):
    seeds = " ".join(str(n) if n else "-" for n in one["seeds"])
    noticed = one["violation"].split(":")[0] if one["violation"] else "-"
    # Hunted on a build after that of the whole list, which brought them or changed what they meet.
    later = " (later)" if one.get("later") else ""
    return (f"| `{one['name']}`{later} | {one['rule']} | {one['what']} | {one['scenario'] or 'any'} | {seeds} | {one['median'] or '-'} "
            f"| {noticed} |\n")


def page(found):
    head = HEAD.format(ranges=len(found["table"][0]["seeds"]), most=found["seeds_most"], caught=found["caught"], build=found["build"],
                       mutants=found["mutants"], median_seeds=found["median_seeds"], worst=max(one["median"] for one in found["table"]))
    return head + "".join(row(one) for one in found["table"]) + EQUIVALENT


# Each line of `--mutant list`: name, rule, scenario, what it does.
def of_simulator(sim):
    text = subprocess.run([sim, "--mutant", "list"], capture_output=True, text=True, check=True).stdout
    return [tuple(line.split(None, 3)) for line in text.splitlines()]


def check(options, found):
    with open(PAGE, encoding="utf-8") as file:
        if file.read() != page(found):
            return "docs/mutants.md does not show what docs/proof-data/mutants.json says: run docs/make_mutants.py"
    if options.sim:
        recorded = [(one["name"], one["rule"], one["scenario"] or "any", one["what"]) for one in found["table"]]
        differs = sorted(set(recorded) ^ set(of_simulator(options.sim)))
        if differs:
            return "docs/proof-data/mutants.json is not of the simulator's mutants, run docs/make_mutants.py --hunt: " + differs[0][0]
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hunt", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--sim", help="the simulator (with --hunt: build/dev/bin/tidelock-sim)")
    parser.add_argument("--seeds", type=int, default=1000, help="of each of the ranges, at most")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    if options.hunt:
        options.sim = options.sim or os.path.join(DOCS, "..", "build/dev/bin/tidelock-sim")
        hunt(options)
    found = data()
    if options.check:
        problem = check(options, found)
        if problem:
            print(problem, file=sys.stderr)
        return 1 if problem else 0
    with open(PAGE, "w", encoding="utf-8") as file:
        file.write(page(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
