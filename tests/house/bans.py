"""Calls and words that have a better replacement here, and files that have grown too long."""

import re

from allowed import BANS, LONG_FILES, MACHINE_PATHS
from tree import Finding, is_test, line_of

LINES_MAX = 700


class Ban:
    """`where` picks the files, `part` the text searched: code, comments or text."""

    def __init__(self, name, pattern, instead, where=lambda path: True, part="code"):
        self.name, self.pattern, self.instead = name, re.compile(pattern), instead
        self.where, self.part = where, part


def _house(path):  # what ships, its tests and the simulator; benches measure and examples pace frames
    return path.startswith(("src/", "include/", "apps/", "sim/", "fuzz/"))


def _ships(path):
    return path.startswith(("src/", "include/", "apps/")) and not is_test(path)


CPP_BANS = [
    Ban("clock", r"\b(clock_gettime|gettimeofday|timespec_get|clock_nanosleep)\s*\(|\b(steady|system|high_resolution)_clock::now|"
        r"\b(std::|::)time\s*\(|\btime\s*\(\s*(nullptr|NULL|0)\s*\)|\b__rdtsc\b",
        "take a base/clock.h Clock; only base/elapsed_clock.cc reads the real one, so that sim and tests can choose the time", _house),
    Ban("sleep", r"\b(sleep_for|sleep_until|usleep|nanosleep)\s*\(|(?<![\w.:>])sleep\s*\(",
        "wait for the event itself (condition variable, future, poll with a timeout), or step virtual time", _house),
    Ban("random", r"\bstd::(random_device|mt19937|mt19937_64|default_random_engine|minstd_rand)\b|(?<![\w.:>])s?rand\s*\(",
        "take a base/rng.h Rng, so that a seed replays the run", _house),
    Ban("shell", r"(?<![\w.>])(system|popen)\s*\(", "posix_spawn with an argument list: no shell reads our strings"),
    Ban("unbounded copy", r"(?<![\w.:>])(gets|strcpy|strcat|sprintf|vsprintf|strtok)\s*\(", "std::string, or snprintf with a size"),
    Ban("unchecked number", r"(?<![\w.>])(std::)?(atoi|atol|atoll|atof|stoi|stol|stoul|stoull|stod)\s*\(",
        "std::from_chars, and an error that names the field and the value", _ships),
    Ban("assert", r"(?<!\w)assert\s*\(", "TIDELOCK_ASSERT of base/assert.h, which stays on in release builds", _house),
    Ban("detached thread", r"\.\s*detach\s*\(\s*\)", "keep the thread and join it in stop()", _house),
    Ban("using namespace std", r"\busing\s+namespace\s+std\s*;", "name what you use"),
    Ban("exit", r"(?<![\w.>])(std::)?(exit|_exit|quick_exit)\s*\(", "return an error; only main() ends the process",
        lambda path: path.startswith("src/") and not is_test(path)),
    Ban("disabled test", r"\bTEST\w*\s*\([^)]*\bDISABLED_", "mend the test or remove it", is_test),
    Ban("unfinished", r"\b(TODO|FIXME|XXX|HACK)\b", "finish it, or open an issue and say nothing here", part="comments"),
]

# Written in pieces so that this file does not name what it bans.
_HOSTS = [("deb", ".debian.org"), ("security", ".debian.org"), ("registry", ".npmjs.org"), ("pypi", ".org"),
          ("files.python", "hosted.org"), ("static.crates", ".io"), ("index.crates", ".io"), ("proxy.go", "lang.org"),
          ("repo.maven", ".apache.org"), ("registry-1", ".docker.io")]
REGISTRY_HOST = re.compile("|".join(re.escape(a + b) for a, b in _HOSTS))
MACHINE_PATH = re.compile(r"(?<![\w.$}\-/])/(work|farm|root|home/[a-z]\w*)/[\w.]")
TEMPORARY_PATH = re.compile(r"(?<![\w.$}\-/])/(var/)?tmp/[\w.]")
_CODE = (".h", ".cc", ".c", ".py", ".sh", ".proto", ".ts", ".js", ".css", ".cmake")


def _excused(name, path, used):
    for rule, where in BANS:
        if rule == name and (path == where or (where.endswith("/") and path.startswith(where))):
            used.add((rule, where))
            return True
    return False


def check(tree):
    findings, used, used_paths = [], set(), set()
    for path in tree.cpp_paths():
        source = tree.cpp(path)
        for ban in CPP_BANS:
            if not ban.where(path):
                continue
            for match in ban.pattern.finditer(getattr(source, ban.part)):
                if not _excused(ban.name, path, used):
                    text = match.group().strip()
                    findings.append(Finding(path, line_of(source.text, match.start()), f"{ban.name}: {text}. Instead: {ban.instead}"))
    for path in tree.paths:
        findings += _places(tree, path, used_paths) + _length(tree, path)
    findings += [Finding("tests/house/allowed.py", 0, f"the exception for {rule} in {where} excuses nothing any more: remove it")
                 for rule, where in BANS if (rule, where) not in used]
    findings += [Finding("tests/house/allowed.py", 0, f"{path} no longer names {text}: remove the exception")
                 for path, text in MACHINE_PATHS if (path, text) not in used_paths]
    return findings


def _places(tree, path, used):
    text, findings = tree.text(path), []
    patterns = [(REGISTRY_HOST, "a package registry's host: the machine's own configuration names its mirror"),
                (MACHINE_PATH, "a path of one machine: take it from a flag, the environment or the repository's own place")]
    if path.endswith(_CODE) and not path.startswith("tests/house/"):
        patterns.append((TEMPORARY_PATH, "a fixed temporary path: two runs would meet in it. Use a fresh folder "
                         "(std::filesystem::temp_directory_path, tempfile.mkdtemp)"))
    for pattern, message in patterns:
        for match in pattern.finditer(text):
            if (path, match.group()) in MACHINE_PATHS:
                used.add((path, match.group()))
            else:
                findings.append(Finding(path, line_of(text, match.start()), f"names {match.group()}, {message}"))
    return findings


def _length(tree, path):
    if not path.endswith(_CODE) and path != "dev":
        return []
    lines = tree.text(path).count("\n")
    if lines > LINES_MAX and path not in LONG_FILES:
        return [Finding(path, 0, f"{lines} lines, more than {LINES_MAX}: split it, or give the reason in tests/house/allowed.py")]
    if lines <= LINES_MAX and path in LONG_FILES:
        return [Finding("tests/house/allowed.py", 0, f"{path} is short again: remove its exception")]
    return []
