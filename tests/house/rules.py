"""Every rule tag in code exists in docs/protocol.md, and every rule there has a tag in code and in a test (DESIGN 11).

A rule is stated as bold text that begins with its tag: **F5.** or **M1 Manifest.** A tag counts in a comment of a source; in
a test it may also stand in a string or begin a test's name (TEST(Freshness, F3_ServesWithinTheBound)).
"""

import re

from allowed import RULES_NOT_YET
from tree import Finding, is_test, line_of

DOC = "docs/protocol.md"
# The families whose every rule must be stated, built and tested; others (M, D, G, I, X, R) must be stated once used.
COMPLETE = {"C": 6, "F": 11, "A": 6, "S": 6}
FAMILIES = "CFASMDGIX"

_STATED = re.compile(rf"\*\*([{FAMILIES}][1-9]\d?)\b[^*\n]*\*\*")
_TAG = re.compile(rf"(?<![\w.+#])(?<!\D-)([{FAMILIES}])([1-9]\d?)(?![\w+])")
_TEST_NAME = re.compile(rf"\bTEST(?:_[FP])?\s*\(([^)]*)\)")
_TAG_IN_NAME = re.compile(rf"(?<![A-Za-z0-9])([{FAMILIES}][1-9]\d?)(?=_|[A-Z]|\W|$)")
# Words of the trade that look like tags: number formats, language standards.
NOT_TAGS = {"F16", "F32", "F64", "C11", "C14", "C17", "C20", "C23", "C99", "I16", "I32", "I64"}


def tags_in(text):
    for match in _TAG.finditer(text):
        if match.group() not in NOT_TAGS:
            yield match.group(), match.start()


def check(tree):
    if DOC not in tree.paths:
        return [Finding(DOC, 0, "is not there: it must state every rule, each as bold text that begins with its tag (**F5.**)")]
    stated = set(_STATED.findall(tree.text(DOC)))
    findings = []
    wanted = {f"{family}{n}" for family, last in COMPLETE.items() for n in range(1, last + 1)}
    for tag in sorted(wanted - stated, key=_order):
        findings.append(Finding(DOC, 0, f"does not state rule {tag} (as bold text: **{tag}.**)"))

    in_code, in_tests = set(), set()
    for path in tree.cpp_paths():
        source, test = tree.cpp(path), is_test(path)
        found = list(tags_in(source.comments))
        for tag, offset in found:
            if tag not in stated:
                findings.append(Finding(path, line_of(source.text, offset), f"names rule {tag}, which {DOC} does not state"))
        if not test:
            in_code.update(tag for tag, _ in found)
            continue
        in_tests.update(tag for tag, _ in found)
        in_tests.update(tag for tag, _ in tags_in(source.strings))
        for name in _TEST_NAME.findall(source.code):
            in_tests.update(t for t in _TAG_IN_NAME.findall(name) if t not in NOT_TAGS)

    for tag in sorted(wanted & stated, key=_order):
        missing = [where for where, tags in (("the product's code", in_code), ("a test", in_tests)) if tag not in tags]
        if missing and tag not in RULES_NOT_YET:
            findings.append(Finding(DOC, 0, f"rule {tag} has no tag in {' nor in '.join(missing)}"))
        if not missing and tag in RULES_NOT_YET:
            findings.append(Finding("tests/house/allowed.py", 0, f"rule {tag} is built and tested now: remove its exception"))
    for tag in sorted(set(RULES_NOT_YET) - wanted):
        findings.append(Finding("tests/house/allowed.py", 0, f"there is no rule {tag} to excuse"))
    return findings


def _order(tag):
    return tag[0], int(tag[1:])
