"""A type has one definition: two headers that define the same name in one namespace are undefined behaviour as soon as one
program has both, and no compiler or linker says so."""

import re
from collections import defaultdict

from tree import Finding, line_of

_NAMESPACE = re.compile(r"^namespace\s*([\w:]*)\s*\{", re.MULTILINE)
_TYPE = re.compile(r"^(?:struct|class|union|enum class|enum)\s+(?:\[\[\w+\]\]\s*)?(\w+)\b(?!\s*::)[^;{]*\{", re.MULTILINE)
_ENDS = re.compile(r"^\}", re.MULTILINE)


def types_of(code):
    """(namespace, name, position) of each type that a header defines outside of anonymous namespaces. The house's style puts
    what a namespace holds into the first column, and so the brace that ends it, or a type in it."""
    events = sorted([(m.start(), "in", m[1]) for m in _NAMESPACE.finditer(code)] +
                    [(m.start(), "type", m[1]) for m in _TYPE.finditer(code)] +
                    [(m.start(), "out", "") for m in _ENDS.finditer(code)])
    inside = []  # of namespaces, and None for a type
    for at, what, name in events:
        if what == "in":
            inside.append(name)
        elif what == "type":
            yield "::".join(inside), name, at
            if "\n" in code[at:code.find("}", at)]:
                inside.append(None)
        elif inside:
            inside.pop()


def check(tree):
    places = defaultdict(list)
    for path in tree.cpp_paths():
        if not path.endswith(".h") or not path.startswith(("src/", "include/")):
            continue
        source = tree.cpp(path)
        for namespace, name, at in types_of(source.code):
            places[namespace, name].append((path, line_of(source.text, at)))
    return [Finding(path, line, f"defines {name}, which {places[key][0][0]} defines as well: give one of them another name")
            for key, found in places.items() for name in [key[1]] for path, line in found[1:]
            if path != found[0][0]]
