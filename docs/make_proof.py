#!/usr/bin/python3
"""Writes the figures of docs/proof.md from what runs left in docs/proof-data: docs/make_proof.py [--check]

--check writes nothing and fails when the page does not show what the data say."""

import argparse
import json
import os
import sys

DOCS = os.path.dirname(os.path.abspath(__file__))
PAGE = os.path.join(DOCS, "proof.md")
DATA = os.path.join(DOCS, "proof-data")
BEGIN, END = "<!-- figures: docs/make_proof.py -->\n", "<!-- end of figures -->\n"


def lines_of(name):
    path = os.path.join(DATA, name)
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def document(name):
    path = os.path.join(DATA, name)
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def table(head, rows):
    return "".join("| " + " | ".join(str(cell) for cell in row) + " |\n" for row in [head, ["---"] * len(head), *rows])


def thousands(number):
    return f"{number:,}"


def simulator():
    rows = [[one["build"], thousands(one["seeds"]), thousands(one["reads"]), thousands(one["strong_reads"]), thousands(one["writes"]),
             thousands(one["activations"]), f"{one['virtual_seconds'] / 3600:,.1f} h", one["violations"]] for one in lines_of("sim.jsonl")]
    if not rows:
        return ""
    return "### Simulated clusters (`./dev sim`)\n\n" + table(
        ["build", "seeds", "reads judged", "strong", "writes", "activations", "simulated time", "violations"], rows)


def determinism():
    rows = [[one["build"], thousands(one["seeds"]), one["compilers"], thousands(one["equal"])] for one in lines_of("determinism.jsonl")]
    if not rows:
        return ""
    return "### The same story from each seed (`./dev sim --hashes FILE`, two builds)\n\n" + table(
        ["build", "seeds", "compilers", "equal hashes"], rows)


def small_scope():
    rows = [[one["build"], one["scope"], thousands(one["states"]), thousands(one["transitions"]), "yes" if one["exhausted"] else "no",
             one["depth"], thousands(one["compared"]), one["violations"]] for one in lines_of("small-scope.jsonl")]
    if not rows:
        return ""
    return "### Every interleaving of a small cluster (`sim/small_scope`)\n\n" + table(
        ["build", "scope", "states", "transitions", "to the end", "every path of fewer choices", "equal keys compared", "violations"], rows)


def mutants():
    one = document("mutants.json")
    if one is None:
        return ""
    rows = [[one["build"], one["mutants"], one["caught"], one["median_seeds"], max(row["median"] for row in one["table"])]]
    return "### Planted mutants (`docs/make_mutants.py --hunt`; [each of them](mutants.md))\n\n" + table(
        ["build", "mutants", "caught", "median seeds until caught", "of the slowest"], rows)


def gates():
    one = document("raft-gates.json")
    if one is None:
        return ""
    rows = [[one["build"], thousands(one["seeds"]), f"{one['virtual_seconds'] / 3600:,.1f} h", thousands(one["acknowledged"]), thousands(one["terms"]),
             thousands(one["crashes"]), thousands(one["partitions"]), thousands(one["installs"]), one["violations"]]]
    return "### The embedded ledger on virtual disks and network (`tidelock-raft-gates`)\n\n" + table(
        ["build", "seeds", "simulated time", "commands acknowledged", "terms", "crashes", "partitions", "snapshots installed", "violations"], rows)


def chaos():
    rows = []
    for one in lines_of("chaos.jsonl"):
        broken = ", ".join(f"{rule} {count}" for rule, count in sorted(one["violations_by_rule"].items()) if count) or "none"
        rows.append([one["build"], one["seed"], f"{one['minutes']:g} min", thousands(one["checked_operations"]), thousands(one["fault_count"]),
                     one["violations"], broken, one.get("note", "")])
    if not rows:
        return ""
    return "### Real processes (`./dev chaos`)\n\n" + table(
        ["build", "seed", "duration", "operations checked", "faults", "violations", "findings by rule", "note"], rows)


def fuzzers():
    runs = document("fuzz.json")
    if runs is None:
        return ""
    sums = {}
    for run in runs["runs"]:
        one = sums.setdefault(run["target"], {"guided": 0, "mutations": 0, "seconds": 0, "findings": 0})
        one["guided" if run.get("guided", True) else "mutations"] += run["executions"]
        for key in ("seconds", "findings"):
            one[key] += run[key]
    rows = [[f"`{name}`", thousands(one["guided"]), thousands(one["mutations"]), f"{one['seconds']:,.0f} s", one["findings"]]
            for name, one in sorted(sums.items())]
    return ("### Fuzzers, with address and undefined behaviour sanitizers (`./dev fuzz`; mutations of the corpus: "
            "`build/asan/bin/NAME_smoke fuzz/corpus/NAME --runs N`)\n\n" +
            table(["target", "executions led by coverage", "mutations", "time", "findings left"], rows))


def stores():
    rows = [[one["build"], one["test"], thousands(one["count"]), one["what"], one["findings"]] for one in lines_of("stores.jsonl")]
    if not rows:
        return ""
    return "### Stores (`tests/stores`)\n\n" + table(["build", "test", "count", "of what", "findings"], rows)


def error_branches():
    one = document("error-branches.json")
    if one is None:
        return ""
    rows = [[f"`{room}`", counted["executed"], counted["known"]] for room, counted in one["rooms"].items()]
    rows.append(["all", one["executed"], one["known"]])
    return "### Lines that make an error, and how many the tests execute (`./dev coverage`)\n\n" + table(["room", "executed", "of"], rows)


def show(page, made, only_check, problem):
    """Writes the page, or says whether it is what it should be. The exit status."""
    if not only_check:
        with open(page, "w", encoding="utf-8") as file:
            file.write(made)
        return 0
    with open(page, encoding="utf-8") as file:
        if file.read() == made:
            return 0
    print(problem, file=sys.stderr)
    return 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    with open(PAGE, encoding="utf-8") as file:
        text = file.read()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    sections = [one for one in (simulator(), determinism(), small_scope(), mutants(), gates(), chaos(), stores(), fuzzers(), error_branches()) if one]
    made = before + BEGIN + "\n" + "\n".join(sections) + "\n" + END + after
    return show(PAGE, made, options.check, "docs/proof.md does not show what docs/proof-data say: run docs/make_proof.py")


if __name__ == "__main__":
    sys.exit(main())
