#!/usr/bin/python3
"""Tests of the house checks: each rule on a tiny tree that keeps it and one that breaks it."""

import os
import sys
import tempfile
import unittest
from unittest import mock

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bans
import definitions
import floors
import licences
import mutants
import rules
from tree import Cpp, Tree

CMAKE = """
tidelock_room(base LIBS xxhash expected)
tidelock_room(codec ROOMS base LIBS zstd)
tidelock_room(protocol ROOMS codec)
tidelock_room(memory ROOMS protocol)
  tidelock_room(store/kv ROOMS base LIBS rocksdb)
  tidelock_room(telemetry ROOMS base)
  tidelock_room(client ROOMS memory)
  tidelock_room(hub ROOMS memory store/kv)
"""


class TreeCase(unittest.TestCase):
    """Runs a check on a tree made of {path: text}, with no exceptions allowed unless a case gives them."""

    def setUp(self):
        for table in (floors.SIDEWAYS, floors.WRAPPED_TWICE, floors.IN_HEADERS, floors.PUBLIC, bans.BANS, bans.LONG_FILES,
                      bans.MACHINE_PATHS, rules.RULES_NOT_YET):
            patch = mock.patch.dict(table, clear=True)
            patch.start()
            self.addCleanup(patch.stop)

    def findings(self, check, files):
        with tempfile.TemporaryDirectory() as root:
            for path, text in files.items():
                os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
                with open(os.path.join(root, path), "w", encoding="utf-8") as f:
                    f.write(text)
            return [f"{f.path}:{f.line}: {f.message}" for f in check(Tree(root))]

    def one(self, check, files, *expected):
        found = self.findings(check, files)
        self.assertEqual(len(found), 1, found)
        for text in expected:
            self.assertIn(text, found[0])


class CppText(unittest.TestCase):
    def test_splits_code_comments_and_strings(self):
        cases = [
            ("line comment", "int a; // F1\n", "int a;", "// F1", ""),
            ("comment mark in a string", 's = "// no";', "s =", "", '"// no"'),
            ("quote in a comment", '/* " */ b;', "b;", '/* " */', ""),
            ("escaped quote", r's = "a\"b"; c;', "c;", "", r'"a\"b"'),
            ("raw string", 's = R"x(// " )")x"; d;', "d;", "", '// " )"'),
            ("digit separators are no characters", "n = 1'000'000; e; // it's", "1'000'000; e;", "// it's", ""),
            ("a character", "c = '\"'; f;", "f;", "", "'\"'"),
        ]
        for why, text, code, comments, strings in cases:
            source = Cpp(text)
            self.assertIn(code, source.code, why)
            self.assertIn(comments, source.comments, why)
            self.assertIn(strings, source.strings, why)
            self.assertEqual({len(source.code), len(source.comments), len(source.strings)}, {len(text)}, why)

    def test_keeps_line_numbers(self):
        self.assertEqual(Cpp("/* a\nb */\nint c;").code, "    \n    \nint c;")


class Floors(TreeCase):
    def house(self, files):
        told = {f"src/{room}/README.md": "Never: more." for room in floors.FLOOR_OF}
        headers = {"src/base/a.h": "", "src/codec/b.h": "", "src/protocol/p.h": "", "src/memory/m.h": "",
                   "src/store/kv/kv.h": "", "src/hub/hub.h": "", "src/telemetry/t.h": ""}
        headers = {path: "#pragma once\n" for path in headers}
        return {"CMakeLists.txt": CMAKE, **told, **headers, **files}

    def test_includes_that_are_fine(self):
        fine = {
            "src/hub/a.cc": '#include <vector>\n#include <sys/mman.h>\n#include "memory/m.h"\n#include "store/kv/kv.h"\n',
            "src/base/c.cc": '#include <xxhash.h>\n#include <tl/expected.hpp>\n#include "base/a.h"\n',
            "src/codec/d_test.cc": '#include <gtest/gtest.h>\n#include "codec/b.h"\n',
            "sim/oracle/o.cc": '#include "base/a.h"\n#include "sim/oracle/o.h"\n',
            "sim/oracle/o.h": "#pragma once\n", "sim/oracle/README.md": "Never: more.",
            "src/memory/e.cc": '// #include "hub/hub.h"\n/*\n#include "hub/hub.h"\n*/\n',
        }
        self.assertEqual(self.findings(floors.check, self.house(fine)), [])

    def test_includes_that_are_not(self):
        cases = [
            ("up the house", "src/memory/x.cc", '#include "hub/hub.h"', "a floor above"),
            ("sideways", "src/telemetry/x.cc", '#include "store/kv/kv.h"', "rooms of one floor"),
            ("not named in CMake", "src/client/x.cc", '#include "telemetry/t.h"', "does not name telemetry"),
            ("a library of another room", "src/hub/x.cc", "#include <rocksdb/db.h>", "wrapped by store/kv"),
            ("a thread in the protocol", "src/protocol/x.cc", "#include <thread>", "protocol floor"),
            ("a socket in the protocol", "src/protocol/x.h", "#pragma once\n#include <sys/socket.h>", "protocol floor"),
            ("a clock in a test of the protocol", "src/protocol/x_test.cc", "#include <chrono>", "protocol floor"),
            ("gtest in the product", "src/hub/x.cc", "#include <gtest/gtest.h>", "test libraries"),
            ("a typing error", "src/hub/x.cc", '#include "memory/mm.h"', "no such file"),
            ("a library nobody named", "src/hub/x.cc", "#include <libfoo/foo.hpp>", "unknown third-party"),
            ("a public header that shows the inside", "include/tidelock/x.h", '#pragma once\n#include "memory/m.h"',
             "public header"),
            ("an oracle that asks the product", "sim/oracle/x.cc", '#include "protocol/p.h"', "base/ and sim/oracle/ only"),
            ("an oracle that asks the simulator", "sim/oracle/x.cc", '#include "sim/cluster.h"',
             "base/ and sim/oracle/ only"),
            ("an example that looks inside", "examples/x.cc", '#include "memory/m.h"', "public library only"),
        ]
        for why, path, text, expected in cases:
            with self.subTest(why):
                files = self.house({path: text})
                if path.startswith("examples/"):
                    files["examples/README.md"] = "Never: more."
                if path.startswith("sim/"):
                    files |= self.house({"sim/cluster.h": "#pragma once"})
                    files["sim/README.md"] = files["sim/oracle/README.md"] = "Never: more."
                self.one(floors.check, files, path, expected)

    def test_a_sideways_include_with_a_reason_and_an_excuse_without_use(self):
        cmake = CMAKE.replace("tidelock_room(telemetry ROOMS base)", "tidelock_room(telemetry ROOMS base store/kv)")
        files = self.house({"CMakeLists.txt": cmake, "src/telemetry/x.cc": '#include "store/kv/kv.h"\n'})
        with mock.patch.dict(floors.SIDEWAYS, {("telemetry", "store/kv"): "why"}):
            self.assertEqual(self.findings(floors.check, files), [])
            self.one(floors.check, self.house({}), "('telemetry', 'store/kv') excuses nothing")

    def test_third_party_headers_stay_inside(self):
        inside = {"src/store/kv/internal.h": "#pragma once\n#include <rocksdb/db.h>\n#include <tl/expected.hpp>\n",
                  "src/store/kv/face.h": '#pragma once\n#include "store/kv/internal.h"\n',
                  "src/store/kv/x.cc": '#include "store/kv/internal.h"\n'}
        self.assertEqual(self.findings(floors.check, self.house(inside)), [])
        leak = self.house({**inside, "src/hub/x.cc": '\n#include "store/kv/face.h"\n'})
        self.one(floors.check, leak, "src/hub/x.cc:2", "brings rocksdb/db.h")
        with mock.patch.dict(floors.IN_HEADERS, {("src/store/kv/internal.h", "rocksdb/db.h"): "why"}):
            self.assertEqual(self.findings(floors.check, leak), [])

    def test_a_library_has_one_room(self):
        cmake = CMAKE + "tidelock_room(edge ROOMS base LIBS rocksdb)\n"
        self.one(floors.check, self.house({"CMakeLists.txt": cmake}), "rocksdb is wrapped by edge, store/kv")

    def test_rooms_are_told_and_stand_somewhere(self):
        silent = self.house({"src/hub/README.md": "It is the hub."})
        self.one(floors.check, silent, "src/hub/README.md", "never does")
        del silent["src/hub/README.md"]
        self.one(floors.check, silent, "src/hub:", "README.md")
        homeless = self.house({"src/attic/x.cc": "", "src/attic/README.md": "Never."})
        self.one(floors.check, homeless, "src/attic/x.cc", "no room")
        self.one(floors.check, self.house({"src/hub/y.h": ""}), "src/hub/y.h", "#pragma once")

    def test_a_type_has_one_definition(self):
        one = "#pragma once\nnamespace tidelock {\nstruct Edge;\nstruct Read {\n  int x;\n};\n}  // namespace tidelock\n"
        house = self.house({"src/base/one.h": one, "src/base/other.h": one.replace("Read {", "Write {")})
        self.assertEqual(self.findings(definitions.check, house), [])
        self.one(definitions.check, self.house({"src/base/one.h": one, "src/base/other.h": one}), "other.h", "Read", "one.h")
        hidden = one.replace("struct Read", "namespace {\nstruct Read").replace("};\n", "};\n}  // namespace\n")
        self.assertEqual(self.findings(definitions.check, self.house({"src/base/one.h": one, "src/base/other.h": hidden})), [])


class Bans(TreeCase):
    def test_calls(self):
        cases = [
            ("a clock", "src/hub/x.cc", "auto t = std::chrono::steady_clock::now();", "clock"),
            ("C's clock", "src/hub/x.cc", "clock_gettime(CLOCK_MONOTONIC, &t);", "clock"),
            ("a sleeping test", "src/hub/x_test.cc", "std::this_thread::sleep_for(1ms);", "wait for the event"),
            ("chance", "sim/x.cc", "std::random_device r;", "base/rng.h"),
            ("a shell", "src/cli/x.cc", 'system("ls");', "posix_spawn"),
            ("strcpy", "src/hub/x.cc", "strcpy(a, b);", "snprintf"),
            ("stoi", "src/cli/x.cc", "int n = std::stoi(s);", "from_chars"),
            ("assert", "src/hub/x.cc", "assert(a);", "TIDELOCK_ASSERT"),
            ("detach", "src/hub/x.cc", "t.detach();", "join"),
            ("exit", "src/hub/x.cc", "std::exit(1);", "main()"),
            ("a test switched off", "src/hub/x_test.cc", "TEST(Hub, DISABLED_Runs) {}", "mend"),
            ("unfinished", "src/hub/x.cc", "// TO" + "DO: later", "finish"),
        ]
        for why, path, text, expected in cases:
            with self.subTest(why):
                self.one(bans.check, {path: "\n" + text + "\n"}, path + ":2:", expected)

    def test_what_only_looks_like_it(self):
        fine = ("static_assert(a); filesystem(x); ecosystem(y); s.system(z); on_exit(1); nap.sleep(2); "
                'log("assert( system( TO' + 'DO"); // calls assert(x) and strcpy(a, b)\n'
                "uptime(nullptr); wake_time (0); operand(); brand();\n")
        self.assertEqual(self.findings(bans.check, {"src/hub/x.cc": fine}), [])
        bench = "auto t = std::chrono::steady_clock::now();\n"
        self.assertEqual(self.findings(bans.check, {"bench/x.cc": bench}), [], "benches measure")

    def test_an_excuse_and_one_without_use(self):
        files = {"src/base/elapsed_clock.cc": "clock_gettime(1, &t);\n"}
        with mock.patch.dict(bans.BANS, {("clock", "src/base/elapsed_clock.cc"): "why"}):
            self.assertEqual(self.findings(bans.check, files), [])
            self.one(bans.check, {"a.md": ""}, "excuses nothing")

    def test_places(self):
        host, home, temporary = "deb" + ".debian.org", "/wo" + "rk/x", "/t" + "mp/x"
        cases = [
            ("a registry", "README.md", f"see http://{host}/debian", "registry"),
            ("a machine's path", "docs/a.md", f"cd {home}", "one machine"),
            ("a fixed temporary file", "src/hub/x_test.cc", f'"{temporary}"', "fresh folder"),
        ]
        for why, path, text, expected in cases:
            with self.subTest(why):
                self.one(bans.check, {path: text + "\n"}, path + ":1:", expected)
        self.assertEqual(self.findings(bans.check, {"docs/a.md": f"--dir {temporary} and $ROOT{home}, re{home}\n"}), [])
        self.assertEqual(self.findings(bans.check, {"a.bin": "\0" + home}), [], "not text")

    def test_length(self):
        self.one(bans.check, {"src/hub/x.cc": "\n" * 701}, "701 lines")
        self.assertEqual(self.findings(bans.check, {"src/hub/x.cc": "\n" * 700, "docs/a.md": "\n" * 900}), [])
        with mock.patch.dict(bans.LONG_FILES, {"src/hub/x.cc": "why"}):
            self.assertEqual(self.findings(bans.check, {"src/hub/x.cc": "\n" * 701}), [])
            self.one(bans.check, {"src/hub/x.cc": "\n"}, "short again")


class Rules(TreeCase):
    def setUp(self):
        super().setUp()
        patch = mock.patch.dict(rules.COMPLETE, {"F": 2}, clear=True)
        patch.start()
        self.addCleanup(patch.stop)

    def tree(self, **changed):
        files = {"doc": "- **F1.** One.\n- **F2 Two.** Two.\n**M1 Manifest.** A model.\n",
                 "code": "// F1\nint a;  // as F2 says, and M1\n", "test": "// F1\nTEST(Reads, F2_Holds) {}\n"}
        files.update(changed)
        return {"docs/protocol.md": files["doc"], "src/protocol/a.cc": files["code"], "src/protocol/a_test.cc": files["test"]}

    def test_all_is_well(self):
        self.assertEqual(self.findings(rules.check, self.tree()), [])

    def test_what_counts_as_a_tag_in_a_test(self):
        for test in ('// F1, F2\n', '{"F1", 1}, {"F2: why", 2}', "TEST(F1, X) {} TEST_F(F2Reads, Y) {}", "// (F1-F2)"):
            self.assertEqual(self.findings(rules.check, self.tree(test=test)), [], test)

    def test_what_is_wrong(self):
        cases = [
            ("no tag in code", {"code": "// F1\nint F2;\n"}, "rule F2 has no tag in the product's code"),
            ("no tag in a test", {"test": "// F1\n"}, "rule F2 has no tag in a test"),
            ("a string in code is no tag", {"code": '// F1\ns = "F2";\n'}, "rule F2 has no tag in the product's code"),
            ("a tag nobody stated", {"code": "// F1 F2\n\n// S9\n"}, "src/protocol/a.cc:3: names rule S9"),
            ("a used family must be stated", {"code": "// F1 F2 D3\n"}, "names rule D3"),
        ]
        for why, changed, expected in cases:
            with self.subTest(why):
                self.one(rules.check, self.tree(**changed), expected)

    def test_the_page_states_every_rule(self):
        found = self.findings(rules.check, self.tree(doc="**F1.**\n**M1.**\n"))
        self.assertIn("docs/protocol.md:0: does not state rule F2 (as bold text: **F2.**)", found)
        files = self.tree()
        del files["docs/protocol.md"]
        self.one(rules.check, files, "docs/protocol.md", "is not there")

    def test_what_only_looks_like_a_tag(self):
        code = "// F1 F2, C++20 and C11, F16 tensors, SHA-256, v2.A7, 0xF3, UTF-8, A64x, x.F9, -S7 flag\n"
        self.assertEqual(self.findings(rules.check, self.tree(code=code)), [])

    def test_an_excuse(self):
        with mock.patch.dict(rules.RULES_NOT_YET, {"F2": "later"}):
            self.assertEqual(self.findings(rules.check, self.tree(code="// F1 M1\n")), [])
            self.one(rules.check, self.tree(), "rule F2 is built and tested now")


class Mutants(TreeCase):
    HEADER = "enum class Mutant : int { kNone, kDeaf, kCount };"
    SOUND = {"src/base/mutant.h": HEADER, "sim/mutants.cc": "{kDeaf, 1}", "src/protocol/a.cc": "if (TIDELOCK_MUTANT(kDeaf)) return;",
             "sim/CMakeLists.txt": "TIDELOCK_MUTANTS"}

    def test_all_is_well(self):
        self.assertEqual(self.findings(mutants.check, self.SOUND), [])

    def test_what_is_wrong(self):
        cases = [
            ({"CMakeLists.txt": "add_compile_definitions(TIDELOCK_MUTANTS)"}, "only the simulator"),
            ({"src/protocol/b.cc": "#define TIDELOCK_MUTANTS"}, "only the simulator"),
            ({"src/hub/b.cc": "planted_mutant = Mutant::kDeaf;"}, "only the simulator"),
            ({"src/protocol/b.cc": "TIDELOCK_MUTANT(kBlind)"}, "not a mutant"),
            ({"src/protocol/a.cc": "// TIDELOCK_MUTANT(kDeaf)"}, "has no switch"),
            ({"sim/mutants.cc": "{}"}, "does not say what kDeaf breaks"),
        ]
        for change, expected in cases:
            with self.subTest(expected):
                self.one(mutants.check, {**self.SOUND, **change}, expected)


class Licences(TreeCase):
    DEV = "packages_of() {\n  case $1 in\n    core) cat <<'END'\n# c\ng++-12 liba-dev\nlibb-dev\nEND\n  lint) libc-dev\n"

    def test_every_library_is_named(self):
        self.assertEqual(licences.libraries_of(self.DEV), ["liba-dev", "libb-dev"])
        self.assertEqual(self.findings(licences.check, {"dev": self.DEV, "docs/licences.md": "`liba-dev` `libb-dev`"}), [])
        self.one(licences.check, {"dev": self.DEV, "docs/licences.md": "`liba-dev`"}, "libb-dev")
        self.one(licences.check, {"dev": self.DEV}, "is not there")

    def test_the_real_list_is_read(self):
        here = os.path.dirname(os.path.abspath(__file__))
        with open(os.path.join(here, "..", "..", "dev"), encoding="utf-8") as f:
            self.assertIn("librocksdb-dev", licences.libraries_of(f.read()))


if __name__ == "__main__":
    unittest.main()
