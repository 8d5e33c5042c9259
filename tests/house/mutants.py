"""Planted mutants stay out of what ships: TIDELOCK_MUTANTS is defined for the simulator's own build alone, and every mutant
of base/mutant.h has its switch and its line in the table."""

import re

from tree import Finding, line_of

HEADER, TABLE = "src/base/mutant.h", "sim/mutants.cc"
DEFINED_IN = {"sim/CMakeLists.txt"}  # the one place that may switch mutants on
SPEAKS_OF_IT = {HEADER, "tests/house/mutants.py", "tests/house/house_test.py"}

_FLAG = re.compile(r"\bTIDELOCK_MUTANTS\b|\bplanted_mutant\b")
_SWITCH = re.compile(r"\bTIDELOCK_MUTANT\(\s*(k\w+)\s*\)")
_ENUM = re.compile(r"enum class Mutant\b[^{]*\{([^}]*)\}")
_BUILD = ("CMakeLists.txt", ".cmake", ".json")


def check(tree):
    findings = []
    for path in tree.paths:
        if path in DEFINED_IN or path in SPEAKS_OF_IT or path.startswith("sim/"):
            continue
        if not path.endswith(_BUILD + (".h", ".cc", ".c")) and path != "dev":
            continue
        text = tree.text(path)
        for match in _FLAG.finditer(text):
            findings.append(Finding(path, line_of(text, match.start()),
                                    f"names {match.group()}: only the simulator's build of the cores has mutants"))
    if HEADER not in tree.paths:
        return findings
    listed = set(re.findall(r"\b(k\w+)\b", _ENUM.search(tree.cpp(HEADER).code)[1])) - {"kNone", "kCount"}
    switched = set()
    for path in tree.cpp_paths():
        if path == HEADER:
            continue
        source = tree.cpp(path)
        for match in _SWITCH.finditer(source.code):
            switched.add(match[1])
            if match[1] not in listed:
                findings.append(Finding(path, line_of(source.text, match.start()), f"{match[1]} is not a mutant of {HEADER}"))
    findings += [Finding(HEADER, 0, f"{name} has no switch: plant it, or take it from the list") for name in sorted(listed - switched)]
    told = set(re.findall(r"\b(k\w+)\b", tree.cpp(TABLE).code)) if TABLE in tree.paths else set()
    findings += [Finding(TABLE, 0, f"does not say what {name} breaks") for name in sorted(listed - told)]
    return findings
