"""The files of the tree, and C++ text split into code, comments and strings. Shared by the checks."""

import os
import re
import subprocess
from collections import namedtuple

# One thing that is wrong, and where. `line` is 0 for a whole file.
Finding = namedtuple("Finding", "path line message")


class Cpp:
    """One C++ source. `code`, `comments` and `strings` each have the text's own length and line breaks, with everything
    that is not theirs turned to blanks, so a match in any of them has the right line number."""

    def __init__(self, text):
        self.text = text
        self.code, self.comments, self.strings = _split(text)


_TOKEN = re.compile(
    r"""(?P<comment>//(?:\\\n|[^\n])*|/\*.*?(?:\*/|\Z))
      |(?P<raw>R"(?P<mark>[^()\\\s]{0,16})\(.*?(?:\)(?P=mark)"|\Z))
      |(?P<string>"(?:\\.|[^"\\\n])*"?)
      |(?P<char>(?<![0-9a-zA-Z_])'(?:\\.|[^'\\\n])*'?)""",
    re.VERBOSE | re.DOTALL,
)


def _blank(text):
    return re.sub(r"[^\n]", " ", text)


def _split(text):
    code, comments, strings = [], [], []
    at = 0
    for token in _TOKEN.finditer(text):
        between, own = text[at : token.start()], token.group()
        code.append(between)
        for parts, wanted in ((comments, token["comment"]), (strings, token["string"] or token["raw"] or token["char"])):
            parts.append(_blank(between))
            parts.append(own if wanted is not None else _blank(own))
        code.append(_blank(own))
        at = token.end()
    rest = text[at:]
    code.append(rest)
    comments.append(_blank(rest))
    strings.append(_blank(rest))
    return "".join(code), "".join(comments), "".join(strings)


class Tree:
    """Every file that is tracked or could be: not what git ignores. Paths are relative to the root, with slashes."""

    def __init__(self, root):
        self.root = root
        self.paths = sorted(p for p in _list(root) if os.path.isfile(os.path.join(root, p)))
        self._texts = {}
        self._cpp = {}

    def text(self, path):
        """Empty for files that are not UTF-8 text."""
        if path not in self._texts:
            with open(os.path.join(self.root, path), "rb") as f:
                data = f.read()
            try:
                self._texts[path] = "" if b"\0" in data else data.decode("utf-8")
            except UnicodeDecodeError:
                self._texts[path] = ""
        return self._texts[path]

    def cpp(self, path):
        if path not in self._cpp:
            self._cpp[path] = Cpp(self.text(path))
        return self._cpp[path]

    def cpp_paths(self):
        return [p for p in self.paths if p.endswith((".h", ".cc", ".c"))]


def _list(root):
    if os.path.isdir(os.path.join(root, ".git")):
        listed = subprocess.run(
            ["git", "-c", "safe.directory=*", "-C", root, "ls-files", "-z", "-co", "--exclude-standard"],
            check=True, capture_output=True)
        return {p for p in listed.stdout.decode("utf-8", "replace").split("\0") if p}
    found = set()
    for folder, folders, files in os.walk(root):  # a tarball of the tree
        folders[:] = [d for d in folders if d not in ("build", ".dev", "__pycache__")]
        found.update(os.path.relpath(os.path.join(folder, f), root) for f in files if not f.endswith(".pyc"))
    return found


def is_test(path):
    """Sources that only prove things: they may name test libraries, and their rule tags count as tests."""
    return path.endswith(("_test.cc", "_fixture.h")) or path.startswith(("tests/", "sim/", "fuzz/"))


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1
