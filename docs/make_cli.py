#!/usr/bin/python3
"""Writes docs/cli.md and docs/man/man1 from what `tidelock --help` prints, for every subcommand:
docs/make_cli.py --bin build/dev/bin [--check]"""

import argparse
import os
import re
import subprocess
import sys

DOCS = os.path.dirname(os.path.abspath(__file__))
PAGE = os.path.join(DOCS, "cli.md")
MAN = os.path.join(DOCS, "man", "man1")
HEAD = """# The command line

Made by `docs/make_cli.py` from `--help`; do not edit. The same as manual pages: `man -M docs/man tidelock`. `--json` prints one
object with `"ok"`; on failure it also holds `"code"` and `"message"`. (`rollout watch` prints one without it for each change
before.) Exit codes: 0 done, 1 the request failed, 2 the command line is wrong. `--config` of `hub` and `edge` is their own file;
everything that talks to the cluster takes a `client.toml`.
"""
EXIT_STATUS = "0 when it was done, 1 when the request failed, 2 when the command line is wrong."


class Command:
    """One subcommand: its words, what --help prints, and the subcommands below it."""

    def __init__(self, binary, words):
        out = subprocess.run([binary, *words, "--help"], capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL, check=True)
        self.name = " ".join(["tidelock", *words])
        self.text = "\n".join(line.rstrip() for line in out.stdout.strip().replace(binary, "tidelock").splitlines())
        match = re.search(r"^(?:Subcommands|SUBCOMMANDS):\n((?:[ \t]+.*\n?|\n)*)", self.text, re.MULTILINE)
        names = re.findall(r"^ {2}([a-z][a-z-]*)\b", match[1], re.MULTILINE) if match else []
        self.below = [Command(binary, [*words, name]) for name in names]

    def markdown(self):
        return f"\n## {self.name}\n\n```\n{self.text}\n```\n" + "".join(one.markdown() for one in self.below)


# ---- roff

def escaped(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[:1] in (".", "'") else text


def verbatim(lines):
    return [".EX", *map(escaped, lines), ".EE"]


def terms(lines):
    """A list of CLI11: a name in the third column, what it is behind two spaces or in the lines below."""
    out = []
    for line in lines:
        name = re.match(r"^ {2}(\S.*?)(?: {2,}(.*))?$", line)
        if name:
            out += [".TP", f".B {escaped(name[1])}"] + ([escaped(name[2])] if name[2] else [])
        else:
            out.append(escaped(line.strip()))
    return out


def parts(text):
    """(what it is, usage, [(heading, lines)], what follows)"""
    before, _, rest = text.partition("\nUsage: ")
    usage, *blocks = rest.split("\n\n")
    lists, after = [], []
    for block in blocks:
        heading, *lines = block.splitlines()
        if not after and re.fullmatch(r"[A-Z][A-Za-z ]*:", heading):
            lists.append((heading[:-1], lines))
        else:
            after.append(block)
    return before.splitlines(), usage, lists, "\n\n".join(after).splitlines()


def body(command, heading):
    """The sections of one command; `heading` is .SH for the page's own and .SS for those below."""
    what, usage, lists, after = parts(command.text)
    out = []
    if heading == ".SH":
        out += [".SH SYNOPSIS", f".B {escaped(usage)}"]
        if what[1:]:
            out += [".SH DESCRIPTION", *verbatim(what[1:])]
    else:
        out += [f".SS {escaped(command.name)}", escaped(what[0]) + ".", ".PP", f".B {escaped(usage)}"]
    for title, lines in lists:
        out += [f".SH {title.upper()}"] if heading == ".SH" else [".PP", f".I {title}"]
        out += terms(lines)
    if after:
        out += [".SH NOTES"] if heading == ".SH" else [".PP"]
        out += verbatim(after)
    return out


def manual(command, others):
    title = command.name.replace(" ", "-")
    out = ['.\\" Made by docs/make_cli.py from --help; do not edit.', f'.TH {title.upper()} 1 "" Tidelock "Tidelock manual"',
           ".SH NAME", f"{escaped(title)} \\- {escaped(parts(command.text)[0][0].removeprefix('Tidelock: '))}", *body(command, ".SH")]
    if command.below and " " in command.name:
        out.append(".SH COMMANDS")
        for one in command.below:
            out += body(one, ".SS")
    pages = [escaped(one) + "(1)" for one in others if one != title]
    return "\n".join([*out, ".SH EXIT STATUS", EXIT_STATUS, ".SH SEE ALSO", ",\n".join(pages), ""])


def pages(binary):
    """path -> text of everything that is made"""
    root = Command(binary, [])
    tops = [root, *root.below]
    names = [one.name.replace(" ", "-") for one in tops]
    made = {PAGE: HEAD + root.markdown()}
    for name, one in zip(names, tops):
        made[os.path.join(MAN, name + ".1")] = manual(one, names if one is root else names[:1])
    return made


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", required=True, help="folder of the tidelock program")
    parser.add_argument("--check", action="store_true", help="only say whether the pages are what the program prints")
    options = parser.parse_args()
    made = pages(os.path.abspath(os.path.join(options.bin, "tidelock")))
    there = {PAGE} | {os.path.join(MAN, name) for name in (os.listdir(MAN) if os.path.isdir(MAN) else [])}
    if options.check:
        wrong = sorted(there ^ set(made))
        for path in sorted(there & set(made)):
            with open(path, encoding="utf-8") as file:
                if file.read() != made[path]:
                    wrong.append(path)
        for path in wrong:
            print(f"{os.path.relpath(path, os.path.dirname(DOCS))} is not what tidelock --help prints; run docs/make_cli.py --bin build/dev/bin",
                  file=sys.stderr)
        return 1 if wrong else 0
    os.makedirs(MAN, exist_ok=True)
    for path in there - set(made):
        os.remove(path)
    for path, text in made.items():
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
