"""Includes point down the house only (DESIGN 11), third-party headers stay in the room that wraps them, and every room
says what it is. Which room wraps which library is read from the tidelock_room lines of CMakeLists.txt: one list."""

import os
import re

from allowed import EXAMPLE_TOOLS, IN_HEADERS, PUBLIC, SIDEWAYS, WRAPPED_TWICE
from tree import Finding, is_test, line_of

# From the ground up. A folder below one of these (src/wire/grpc/gen) belongs to it.
FLOORS = [
    {"base"},
    {"codec"},
    {"protocol"},
    {"memory"},
    {"wire/grpc", "wire/resp", "wire/http", "ledger", "ledger/raft", "store/kv", "store/models", "store/chunks",
     "store/remote", "store/objects", "store/bundle", "bus", "infer", "telemetry"},
    {"hub", "edge", "client"},
    {"cli"},
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

# Libraries by the short name of cmake/rooms.cmake, and the headers that are theirs.
LIBRARIES = {
    "xxhash": r"xxhash\.h|xxh3\.h",
    "expected": r"tl/expected\.hpp",
    "zstd": r"zstd.*\.h|zdict\.h",
    "lz4": r"lz4.*\.h",
    "crypto": r"openssl/(?!ssl\.h).*",
    "ssl": r"openssl/ssl\.h",
    "fmt": r"fmt/.*",
    "rocksdb": r"rocksdb/.*",
    "raft": r"raft\.h|raft/.*|uv\.h|uv/.*",
    "grpc": r"grpc/.*|grpcpp/.*|google/protobuf/.*|.*\.pb\.h",
    "httplib": r"httplib\.h",
    "opencv": r"opencv2/.*|onnx/.*|onnxruntime.*\.h",
    "cli11": r"CLI/.*",
    "tomlplusplus": r"toml\+\+/.*|toml\.hpp",
    "json": r"nlohmann/.*",
    "archive": r"archive\.h|archive_entry\.h",
    "curl": r"curl/.*",
    "expat": r"expat\.h",
    "uring": r"liburing\.h|liburing/.*",
}
EVERYWHERE = {"expected"}  # header only, and part of what Result is
TEST_LIBRARIES = r"gtest/.*|gmock/.*|benchmark/.*"

STANDARD = r"[a-z_0-9]+"  # <vector>, <atomic>: the C++ library's headers have no dot
SYSTEM = (r"(sys|linux|netinet|arpa|net|asm|bits)/.*|(assert|ctype|dirent|dlfcn|elf|endian|errno|execinfo|fcntl|float|getopt|"
          r"grp|ifaddrs|immintrin|inttypes|libgen|limits|link|locale|malloc|math|memory|mqueue|netdb|poll|pthread|pwd|sched|"
          r"semaphore|setjmp|signal|spawn|stdarg|stdatomic|stdbool|stddef|stdint|stdio|stdlib|string|strings|syslog|termios|time|"
          r"ucontext|unistd|x86intrin|cpuid|nmmintrin|emmintrin|wmmintrin|arm_acle|arm_neon)\.h")

# The protocol floor decides; it never waits, reads a clock or touches the world. Its tests run in virtual time too.
PROTOCOL_NEVER = (r"thread|mutex|shared_mutex|condition_variable|future|stop_token|semaphore|latch|barrier|chrono|ctime|"
                  r"random|filesystem|fstream|iostream|(sys|netinet|arpa|net|linux)/.*|(unistd|fcntl|poll|pthread|netdb|time|"
                  r"signal|dirent)\.h")

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"\n]+)"|<([^>\n]+)>)', re.MULTILINE)
_ROOM_LINE = re.compile(r"^\s*tidelock_room\(([^)\s]+)([^)]*)\)", re.MULTILINE)


def room_of(path):
    """The room a path below src/ belongs to: the longest that matches. None outside of the rooms."""
    if not path.startswith("src/"):
        return None
    folder = os.path.dirname(path)[len("src/"):]
    while folder and folder not in FLOOR_OF:
        folder = os.path.dirname(folder)
    return folder or None


def declared_rooms(cmake):
    """{room: (rooms it names, libraries it wraps)} from the tidelock_room lines."""
    declared = {}
    for match in _ROOM_LINE.finditer(cmake):
        rooms, libraries, into = set(), set(), None
        for word in match[2].split():
            into = {"ROOMS": rooms, "LIBS": libraries}.get(word, into) if word.isupper() else (into.add(word) or into)
        declared[match[1]] = (rooms, libraries)
    return declared


def reachable(declared, room):
    seen, todo = set(), [room]
    while todo:
        for below in declared.get(todo.pop(), (set(), set()))[0]:
            if below not in seen:
                seen.add(below)
                todo.append(below)
    return seen


def includes_of(tree, path):
    """(line, name, is_quoted). Commented-out ones do not count."""
    source = tree.cpp(path)
    for match in _INCLUDE.finditer(source.text):
        if source.code[match.start():match.end()].lstrip().startswith("#"):
            yield line_of(source.text, match.start()), match[1] or match[2], match[1] is not None


def _resolve(known, path, name):
    beside = os.path.normpath(os.path.join(os.path.dirname(path), name))
    return next((p for p in ("src/" + name, "include/" + name, name, beside) if p in known), None)


def check(tree):
    known, used = set(tree.paths), set()
    declared = declared_rooms(tree.text("CMakeLists.txt")) if "CMakeLists.txt" in known else {}
    findings = []
    for path in tree.cpp_paths():
        for line, name, quoted in includes_of(tree, path):
            target = _resolve(known, path, name)
            message = (_ours(path, target, declared, used) if target else
                       _theirs(path, name, quoted, declared, used))
            if message:
                findings.append(Finding(path, line, f"includes {name}: {message}"))
    findings += _leaks(tree, known, used) + _libraries(declared, used) + _rooms(tree, known)
    used.update(("sideways", (here, there)) for here, (rooms, _) in declared.items() for there in rooms)
    findings += _unused(used)
    return findings


# The oracles judge the product by what was recorded: they must not be able to ask it.
ORACLE = "sim/oracle/"


def _ours(path, target, declared, used):
    here, there = room_of(path), room_of(target)
    if path.startswith(ORACLE) and there != "base" and not target.startswith(ORACLE):
        return "an oracle sees base/ and sim/oracle/ only: hand it a plain fact (sim/translate.h)"
    if path.startswith("include/"):
        if target in PUBLIC:
            used.add(("public", target))
            return None
        ok = target.startswith("include/") or there == "base"
        return None if ok else "a public header may name other public headers, base, and what PUBLIC in allowed.py lists"
    if path.startswith("examples/"):
        if target in PUBLIC:
            used.add(("public", target))
            return None
        ok = target.startswith(("include/", "examples/")) or there == "base" or path in EXAMPLE_TOOLS
        return None if ok else "an example uses the public library only (include/tidelock)"
    if target.startswith(("sim/", "tests/", "bench/", "fuzz/", "examples/", "apps/")):
        top, own = target.split("/")[0], path.split("/")[0]
        shared = {"sim": ("tests", "fuzz", "bench", "apps"), "tests": ("bench",)}.get(top, ())
        return None if top == own or own in shared else f"nothing of the house uses {top}/"
    if target.startswith("include/"):
        low = here is not None and FLOOR_OF[here] < FLOOR_OF["client"]
        return "public headers belong to the client's floor; this room is below it" if low else None
    if here is None or there is None:  # apps, sim, tests, bench, fuzz stand on top of everything
        return None
    if here == there:
        return None
    if FLOOR_OF[there] > FLOOR_OF[here]:
        return f"{there} is a floor above {here}; includes point down only: move what is shared below both"
    if FLOOR_OF[there] == FLOOR_OF[here]:
        if (here, there) not in SIDEWAYS:
            return f"{here} and {there} are rooms of one floor: hand an interface in, or give the reason in allowed.py"
        if os.path.dirname(here) == there:  # an interface folder has no tidelock_room line of its own
            used.add(("sideways", (here, there)))
    if here in declared and there in declared and there not in reachable(declared, here):
        return f"tidelock_room({here}) in CMakeLists.txt does not name {there}"
    return None


def _theirs(path, name, quoted, declared, used):
    room = room_of(path)
    if re.fullmatch(TEST_LIBRARIES, name):
        ok = is_test(path) or path.startswith("bench/")
        return None if ok else "test libraries belong in NAME_test.cc, NAME_fixture.h, tests/, sim/, fuzz/ and bench/"
    if room == "protocol" and re.fullmatch(PROTOCOL_NEVER, name):
        return "the protocol floor has no threads, clocks, chance, files or sockets: they come in as events"
    library = next((lib for lib, headers in LIBRARIES.items() if re.fullmatch(headers, name)), None)
    if library is None:
        if quoted:
            return "there is no such file in src/, include/ or beside this one"
        if re.fullmatch(f"{STANDARD}|{SYSTEM}", name):
            return None
        return "unknown third-party header: name its library in tests/house/floors.py and docs/licences.md"
    if library in EVERYWHERE or room is None:
        return None
    libraries = declared.get(room, (set(), set()))[1]
    # A room that declares no libraries at all (an interface) wraps none.
    if library not in libraries and not (is_test(path) and _below_wraps(declared, room, library)):
        owners = sorted(r for r, (_, libs) in declared.items() if library in libs) or ["no room"]
        return f"{library} is wrapped by {', '.join(owners)}; {room} speaks to that room instead"
    return None


def _leaks(tree, known, used):
    """A room may share headers with third-party types among its own sources. Another room must not get them: neither the
    types nor the seconds of compile time."""
    includes = {path: [(line, name, _resolve(known, path, name)) for line, name, _ in includes_of(tree, path)]
                for path in tree.cpp_paths()}
    heavy = {}  # header -> the third-party header it brings, directly or not

    def brings(header):
        if header not in heavy:
            heavy[header] = None  # a cycle brings nothing new
            for _, name, target in includes.get(header, ()):
                library = None if target else next((lib for lib, h in LIBRARIES.items() if re.fullmatch(h, name)), None)
                found = name if library and library not in EVERYWHERE else target and brings(target)
                if found and (header, found) in IN_HEADERS:
                    used.add(("header", (header, found)))
                elif found:
                    heavy[header] = found
                    break
        return heavy[header]

    findings = []
    for path, lines in sorted(includes.items()):
        if is_test(path) or not path.startswith(("src/", "include/")):
            continue
        for line, name, target in lines:
            if target and room_of(target) not in (None, room_of(path)) and brings(target):
                findings.append(Finding(path, line, f"includes {name}: it brings {brings(target)} out of the room that "
                                        "wraps it; keep that header inside, behind an interface or a pointer"))
    return findings


def _below_wraps(declared, room, library):
    """A test may use what a room it is linked with wraps."""
    return any(library in declared[r][1] for r in reachable(declared, room) if r in declared)


def _libraries(declared, used):
    findings = []
    for library in sorted({lib for _, libs in declared.values() for lib in libs} - EVERYWHERE):
        owners = {room for room, (_, libs) in declared.items() if library in libs}
        if library not in LIBRARIES:
            findings.append(Finding("CMakeLists.txt", 0, f"library {library} has no entry in tests/house/floors.py"))
        if len(owners) > 1:
            if owners <= WRAPPED_TWICE.get(library, (set(), ""))[0]:
                used.add(("twice", library))
            else:
                findings.append(Finding("CMakeLists.txt", 0, f"{library} is wrapped by {', '.join(sorted(owners))}: "
                                        "one room wraps a library, the others speak to it"))
    for room in sorted(set(declared) - set(FLOOR_OF)):
        findings.append(Finding("CMakeLists.txt", 0, f"room {room} stands on no floor: see FLOORS in tests/house/floors.py"))
    return findings


# Folders that hold sources and must say what they are and what they never do.
_TOLD = re.compile(r"(src|sim|fuzz|bench|examples|tests/[^/]+)(/|$)")


def _rooms(tree, known):
    findings = []
    sources = [p for p in tree.paths if p.endswith((".h", ".cc", ".py"))]
    for folder in sorted({os.path.dirname(p) for p in sources if _TOLD.match(p)}):
        if not _TOLD.match(folder):
            continue
        readme = folder + "/README.md"
        if readme not in known:
            findings.append(Finding(folder, 0, "has no README.md: a few lines on what it is and what it never does"))
        elif not re.search(r"\b[Nn]ever\b", tree.text(readme)):
            findings.append(Finding(readme, 0, "does not say what this folder never does: an absence cannot be read off code"))
    for path in tree.cpp_paths():
        if path.startswith("src/") and room_of(path) is None:
            findings.append(Finding(path, 0, "stands in no room of DESIGN 11; see FLOORS in tests/house/floors.py"))
        if path.endswith(".h") and "#pragma once" not in tree.text(path):
            findings.append(Finding(path, 0, "a header begins with #pragma once"))
    return findings


def _unused(used):
    tables = {"sideways": SIDEWAYS, "twice": WRAPPED_TWICE, "header": IN_HEADERS, "public": PUBLIC}
    entries = [(kind, key) for kind, table in tables.items() for key in table]
    return [Finding("tests/house/allowed.py", 0, f"the exception {kind} {key} excuses nothing any more: remove it")
            for kind, key in entries if (kind, key) not in used]
