#!/usr/bin/python3
"""Writes bench/FIGURES.md from the runs in bench/results: docs/make_figures.py [--check] [--take FILE --build COMMIT [--note TEXT]]

--take puts what `./dev bench NAME --json FILE` wrote into bench/results first, with the build and what else ran meanwhile.
--check writes nothing and fails when the page does not show what the results say."""

import argparse
import datetime
import json
import os
import sys

sys.dont_write_bytecode = True
from make_proof import show

BENCH = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bench")
PAGE = os.path.join(BENCH, "FIGURES.md")
RESULTS = os.path.join(BENCH, "results")
HEAD = """# Figures
One run of each bench, as it came out; `docs/make_figures.py` writes this page. Machines differ, and so do hours on one machine:
compare ratios, and run the command beside a table on the gateway that you have. README.md says which floors are missed, and why.
"""


def number(value):
    return "" if value is None else f"{value:.4g}"


def verdict(row):
    if row["floor"] is None or row["value"] is None:
        return ""
    aim = row["aim"] if row["aim"] is not None else row["floor"]
    return "missed" if row["value"] > row["floor"] else "ok" if row["value"] > aim else "aim"


def section(run):
    lines = [f"\n## {run['name']}", f"`./dev bench {run['name']}` on {run['machine']}, {run['when']}, build {run['build']}" +
             (f"; {run['note']}" if run.get("note") else "") + ".\n",
             "| figure | value | unit | floor | aim | | beside |", "| --- | ---: | --- | ---: | ---: | --- | --- |"]
    for row in run["rows"]:
        beside = row["peer"] or ""
        if row["peer_value"] is not None:
            beside += f": {number(row['peer_value'])}" + (f" (ratio {row['ratio']:.2g})" if row["ratio"] is not None else "")
        cells = [row["figure"].strip(), number(row["value"]), row["unit"], number(row["floor"]), number(row["aim"]), verdict(row), beside]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def take(path, build, note):
    with open(path, encoding="utf-8") as file:
        run = json.load(file)
    when = datetime.datetime.fromtimestamp(os.path.getmtime(path), datetime.timezone.utc).strftime("%Y-%m-%d")
    kept = {"name": run["name"], "machine": run["machine"], "when": when, "build": build, "note": note, "rows": run["rows"]}
    with open(os.path.join(RESULTS, run["name"] + ".json"), "w", encoding="utf-8") as file:
        json.dump(kept, file, indent=1)
        file.write("\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--take", metavar="FILE")
    parser.add_argument("--build", help="the commit that was measured")
    parser.add_argument("--note", default="", help="what else ran meanwhile")
    options = parser.parse_args()
    if options.take:
        if not options.build:
            parser.error("--take needs --build: the commit that was measured")
        take(options.take, options.build, options.note)
    runs = []
    for name in sorted(os.listdir(RESULTS)):
        with open(os.path.join(RESULTS, name), encoding="utf-8") as file:
            runs.append(json.load(file))
    made = HEAD + "".join(section(run) for run in runs)
    return show(PAGE, made, options.check, "bench/FIGURES.md does not show what bench/results say: run docs/make_figures.py")


if __name__ == "__main__":
    sys.exit(main())
