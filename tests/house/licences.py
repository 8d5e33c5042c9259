"""Every library that ./dev installs to build with has a line in docs/licences.md."""

import re

from tree import Finding

DOC = "docs/licences.md"


def libraries_of(dev):
    """The -dev packages in the core list of the ./dev script."""
    core = re.search(r"^\s*core\) cat <<'END'\n(.*?)^END$", dev, re.MULTILINE | re.DOTALL)
    lines = core[1].splitlines() if core else []
    return [p for line in lines if not line.startswith("#") for p in line.split() if p.endswith("-dev")]


def check(tree):
    if "dev" not in tree.paths:
        return []
    if DOC not in tree.paths:
        return [Finding(DOC, 0, "is not there: it names the licence of everything the project is built with")]
    text = tree.text(DOC)
    return [Finding(DOC, 0, f"does not name {package}, which ./dev installs")
            for package in libraries_of(tree.text("dev")) if f"`{package}`" not in text]
