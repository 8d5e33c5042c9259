#!/usr/bin/python3
"""Checks the tree against the rules of the house: floors, bans, rule tags, licences, one definition of a type. `check.py [--root DIR]`.

Prints one line per finding, `path:line: what is wrong and what would be right`, and exits 1 if there is any.
"""

import argparse
import os
import sys

sys.dont_write_bytecode = True
import bans
import definitions
import floors
import licences
import mutants
import rules
from tree import Tree

CHECKS = {"definitions": definitions.check, "floors": floors.check, "bans": bans.check, "rules": rules.check, "licences": licences.check, "mutants": mutants.check}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = os.path.dirname(os.path.abspath(__file__))
    parser.add_argument("--root", default=os.path.dirname(os.path.dirname(here)))
    parser.add_argument("--only", choices=sorted(CHECKS), help="run one check")
    options = parser.parse_args()
    tree = Tree(options.root)
    failed = 0
    for name, check in CHECKS.items():
        if options.only in (None, name):
            for path, line, message in sorted(check(tree)):
                print(f"{path}:{line}: {message}" if line else f"{path}: {message}")
                failed += 1
    print(f"house: {len(tree.paths)} files, {failed} findings", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
