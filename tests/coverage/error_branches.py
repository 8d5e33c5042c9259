#!/usr/bin/python3
"""Which error branches of the product the tests have executed (R22): error_branches.py BUILD [--json FILE] [--all]

BUILD is a build folder of preset `coverage` in which tests have run. An error branch is a line of src/ that makes an error
(`fail(...)`, an `Error{...}`) outside tests. Prints each that never ran, and the share that did."""

import argparse
import collections
import json
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MAKES_ERROR = re.compile(r"\bfail\((?!ok\.error|[a-z_]+(\.|->)error\(\))|\bError\{Code::|\bgive_up\(\{|\brefuse\(applied")
DEFINES = re.compile(r"^(inline |static |template|\[\[nodiscard|tl::unexpected|#|//|void |\*)")


def counts(build):
    """{source: {line: executions}} summed over all objects."""
    total = collections.defaultdict(lambda: collections.defaultdict(int))
    notes = []
    for folder, _, names in os.walk(build):
        notes += [os.path.join(folder, name) for name in names if name.endswith(".gcno")]
    for note in notes:
        shown = subprocess.run(["gcov-12", "--json-format", "--stdout", note], cwd=build, capture_output=True, text=True)
        for line in shown.stdout.splitlines():
            for file in json.loads(line)["files"]:
                source = os.path.normpath(os.path.join(build, file["file"]))
                path = os.path.relpath(source, ROOT)
                if path.startswith("src/"):
                    for one in file["lines"]:
                        total[path][one["line_number"]] += one["count"]
    return total


def error_lines(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        for number, text in enumerate(file, 1):
            stripped = text.strip()
            if MAKES_ERROR.search(stripped) and not DEFINES.match(stripped):
                yield number, stripped


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build")
    parser.add_argument("--json")
    parser.add_argument("--all", action="store_true", help="list the executed ones as well")
    options = parser.parse_args()
    total = counts(os.path.abspath(options.build))
    if not total:
        print(f"error_branches.py: {options.build} holds no counts; run ./dev coverage", file=sys.stderr)
        return 2
    rooms = collections.defaultdict(lambda: [0, 0])
    missed = []
    for path in sorted(total):
        if path.endswith(("_test.cc", "_fixture.h")):
            continue
        for number, text in error_lines(path):
            near = [total[path][at] for at in range(number, number + 4) if at in total[path]]
            if not near:
                continue  # no code: an alternative of a template or a macro
            rooms[os.path.dirname(path)[4:]][1] += 1
            if near[0] > 0:
                rooms[os.path.dirname(path)[4:]][0] += 1
                if options.all:
                    print(f"ran     {path}:{number}: {text}")
            else:
                missed.append((path, number, text))
    for path, number, text in missed:
        print(f"NEVER   {path}:{number}: {text[:140]}")
    ran, known = (sum(one[at] for one in rooms.values()) for at in (0, 1))
    for room, (hit, of) in sorted(rooms.items()):
        print(f"{room:15} {hit:4} of {of:4}")
    print(f"{'all':15} {ran:4} of {known:4}  ({100 * ran / known:.1f} %)")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"executed": ran, "known": known, "rooms": {room: {"executed": hit, "known": of} for room, (hit, of) in sorted(rooms.items())},
                       "never": [{"at": f"{path}:{number}", "line": text} for path, number, text in missed]}, file, indent=1)
            file.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
