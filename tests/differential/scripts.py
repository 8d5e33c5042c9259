"""The scripts and the replies recorded beside them, as files.

A script: `## title` begins a section, `#` a comment, an empty line a block; any other line is one command, quoted as
redis-cli quotes, after an optional `@N` that chooses the connection (1 when there is none). A section begins with no keys
and new connections. Inside a word
  $(now+S) $(nowms+MS)   are the wall clock plus so much,
  $(C*N)                 is the character C, N times,
  $(idN)                 is the CLIENT ID of connection N.
Lines that begin with `!` are the runner's own:
  !read                  everything that came on the connection since, without a command
  !scan COMMAND ...      repeats COMMAND, with the cursor where $(cursor) stands, until it is 0: all elements, sorted
  !close                 closes the connection
  !raw TEXT, !raw5 TEXT  bytes as they are, one reply or five

The recorded file of the same name has one line for each command, in the same order, under the same titles.
"""

import os
import re
from collections import namedtuple

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPTS, REPLIES = os.path.join(HERE, "scripts"), os.path.join(HERE, "replies")

# words is None for !close and !read. `block` counts the blocks of the section.
Row = namedtuple("Row", "line text connection directive words block")
Section = namedtuple("Section", "name title rows")

_SIMPLE = {"n": b"\n", "r": b"\r", "t": b"\t", "b": b"\b", "a": b"\a"}


def split(text):
    """The words of a line as redis-cli reads it, as bytes; ValueError when quotes do not match."""
    words, at = [], 0
    while True:
        while at < len(text) and text[at].isspace():
            at += 1
        if at == len(text):
            return words
        word, quote = bytearray(), None
        while True:
            if at == len(text):
                if quote:
                    raise ValueError(f"an open quote: {text}")
                break
            char = text[at]
            if quote == '"' and char == "\\" and at + 1 < len(text):
                hexadecimal = re.match(r"\\x([0-9a-fA-F]{2})", text[at:at + 4])
                if hexadecimal:
                    word.append(int(hexadecimal[1], 16))
                    at += 4
                    continue
                word += _SIMPLE.get(text[at + 1]) or text[at + 1].encode()
                at += 2
                continue
            if quote == "'" and text.startswith("\\'", at):
                word += b"'"
                at += 2
                continue
            if quote and char == quote:
                at += 1
                if at < len(text) and not text[at].isspace():
                    raise ValueError(f"a closing quote must be followed by a space: {text}")
                break
            if not quote and char in "\"'" and not word:
                quote = char
            elif not quote and char.isspace():
                break
            else:
                word += char.encode()
            at += 1
        words.append(bytes(word))


def quoted(word):
    """A word as `split` reads it back."""
    if word and re.fullmatch(rb"[!-&(-\[\]-~]+", word) and b'"' not in word:
        return word.decode()
    out = []
    for byte in word:
        char = chr(byte)
        out.append("\\" + char if char in '\\"' else char if 32 <= byte < 127 else f"\\x{byte:02x}")
    return '"' + "".join(out) + '"'


def _row(number, text, block):
    connection, rest = 1, text
    chosen = re.match(r"@(\d) +", text)
    if chosen:
        connection, rest = int(chosen[1]), text[chosen.end():]
    directive, words = None, None
    if rest.startswith("!"):
        directive, _, rest = rest[1:].partition(" ")
        if not re.fullmatch(r"read|scan|close|raw\d*", directive):
            raise ValueError(f"line {number}: no directive is called !{directive}")
    if directive not in ("read", "close"):
        words = split(rest)
    return Row(number, text, connection, directive, words, block)


def read(name):
    """The sections of scripts/NAME.txt."""
    sections, block = [], 0
    with open(os.path.join(SCRIPTS, name + ".txt"), encoding="ascii") as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip("\n")
            if line.startswith("## "):
                sections.append(Section(name, line[3:], []))
                block = 0
            elif not line:
                block += 1
            elif not line.startswith("#"):
                if not sections:
                    raise ValueError(f"{name}.txt:{number}: a command before the first section")
                try:
                    sections[-1].rows.append(_row(number, line, block))
                except ValueError as error:
                    raise ValueError(f"{name}.txt:{number}: {error}") from None
    titles = [section.title for section in sections]
    if len(set(titles)) != len(titles):
        raise ValueError(f"{name}.txt: two sections of one title")
    return sections


def names():
    return sorted(file[:-4] for file in os.listdir(SCRIPTS) if file.endswith(".txt"))


def read_replies(name):
    """{title: [reply]} of replies/NAME.txt; empty when there is none."""
    path, replies = os.path.join(REPLIES, name + ".txt"), {}
    if not os.path.exists(path):
        return replies
    with open(path, encoding="ascii") as file:
        for line in file:
            line = line.rstrip("\n")
            if line.startswith("## "):
                current = replies.setdefault(line[3:], [])
            elif not line.startswith("# "):
                current.append(line)
    return replies


def write_replies(name, version, sections, replies):
    os.makedirs(REPLIES, exist_ok=True)
    with open(os.path.join(REPLIES, name + ".txt"), "w", encoding="ascii") as file:
        file.write(f"# What redis-server {version} answers to scripts/{name}.txt; made by differential_test.py --record.\n")
        for section in sections:
            file.write(f"## {section.title}\n")
            file.writelines(reply + "\n" for reply in replies[section.title])
