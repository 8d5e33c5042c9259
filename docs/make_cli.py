#!/usr/bin/python3
"""Writes docs/cli.md from what `tidelock --help` prints, for every subcommand: docs/make_cli.py --bin build/dev/bin [--check]"""

import argparse
import os
import re
import subprocess
import sys

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cli.md")
HEAD = """# The command line

Made by `docs/make_cli.py` from `--help`; do not edit. `--json` prints one object with `"ok"`; on failure it also holds `"code"`
and `"message"`. Exit codes: 0 done, 1 the request failed, 2 the command line is wrong. `--config` of `hub` and `edge` is their own
file; everything that talks to the cluster takes a `client.toml`.
"""


def help_of(binary, words):
    out = subprocess.run([binary, *words, "--help"], capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL, check=True)
    return out.stdout.strip()


def subcommands(text):
    """Names below "Subcommands:"; a line that begins in the first columns with a word is one."""
    match = re.search(r"^(?:Subcommands|SUBCOMMANDS):\n((?:[ \t]+.*\n?|\n)*)", text, re.MULTILINE)
    return re.findall(r"^ {2}([a-z][a-z-]*)\b", match[1], re.MULTILINE) if match else []


def sections(binary, words):
    text = help_of(binary, words).replace(binary, "tidelock")
    yield f"\n## {' '.join(['tidelock', *words])}\n\n```\n" + "\n".join(line.rstrip() for line in text.splitlines()) + "\n```\n"
    for name in subcommands(text):
        yield from sections(binary, [*words, name])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", required=True, help="folder of the tidelock program")
    parser.add_argument("--check", action="store_true", help="only say whether the page is what the program prints")
    options = parser.parse_args()
    page = HEAD + "".join(sections(os.path.abspath(os.path.join(options.bin, "tidelock")), []))
    if options.check:
        with open(PAGE, encoding="utf-8") as file:
            if file.read() == page:
                return 0
        print("docs/cli.md is not what tidelock --help prints; run docs/make_cli.py --bin build/dev/bin", file=sys.stderr)
        return 1
    with open(PAGE, "w", encoding="utf-8") as file:
        file.write(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
