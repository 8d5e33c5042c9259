#!/usr/bin/python3
"""Tests of the ./dev script that install, build and start nothing: its help, its refusals, its package list."""

import os
import subprocess
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SUBCOMMANDS = ["setup", "build", "demo", "cluster", "chaos", "test", "fmt", "lint", "bench", "sim", "fuzz", "fresh", "clean"]


def dev(*arguments, cwd=ROOT):
    return subprocess.run([os.path.join(ROOT, "dev"), *arguments], cwd=cwd, capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL)


class Dev(unittest.TestCase):
    def test_alone_it_teaches_every_subcommand_in_one_line(self):
        out = dev()
        self.assertEqual(out.returncode, 0, out.stderr)
        for sub in SUBCOMMANDS:
            self.assertRegex(out.stdout, rf"(?m)^  {sub} +\S.*$")
        self.assertEqual(out.stdout, dev("--help").stdout)
        self.assertEqual(out.stdout, dev("help").stdout)

    def test_each_subcommand_has_help_and_runs_nothing_for_it(self):
        for sub in SUBCOMMANDS:
            told, flag = dev("help", sub), dev(sub, "--help")
            self.assertEqual((told.returncode, flag.returncode), (0, 0), sub)
            self.assertTrue(told.stdout.startswith(f"usage: ./dev {sub}"), sub)
            self.assertEqual(told.stdout, flag.stdout, sub)

    def test_refusals_name_what_was_wrong(self):
        cases = [
            (["frob"], "no subcommand 'frob'"),
            (["help", "frob"], "no subcommand 'frob'"),
            (["setup", "--with", "cake"], "--with 'cake'"),
            (["setup", "--frob"], "unknown argument '--frob'"),
            (["build", "--preset", "odd"], "no preset 'odd'"),
            (["bench", "frob", "--json", "x"], "no bench 'frob'"),
            (["fuzz", "frob"], "no target 'frob'"),
            (["fuzz", "--frob"], "unknown argument '--frob'"),
            (["test", "--sanitize", "some"], "--sanitize 'some'"),
            (["test", "--slow"], "unknown argument '--slow'"),
            (["fresh", "--only", "cake"], "--only 'cake'"),
            (["fresh", "--suite", "sid"], "--suite 'sid'"),
            (["clean", "--everything"], "unknown argument '--everything'"),
        ]
        for arguments, expected in cases:
            with self.subTest(arguments):
                out = dev(*arguments)
                self.assertEqual(out.returncode, 2, out.stderr)
                self.assertIn(expected, out.stderr)
                self.assertEqual(out.stdout, "")
                self.assertNotIn("\x1b", out.stderr, "no colours away from a terminal")

    def test_the_package_list_is_whole_and_says_each_name_once(self):
        core = dev("setup", "--list").stdout.split()
        self.assertIn("libraft-dev", core)
        self.assertEqual(len(core), len(set(core)))
        both = dev("setup", "--list", "--with", "lint").stdout.split()
        self.assertEqual(both[: len(core)], core)
        self.assertIn("clang-tidy-19", both)

    def test_works_from_any_folder_and_through_a_link(self):
        with tempfile.TemporaryDirectory() as elsewhere:
            self.assertEqual(dev("bench", cwd=elsewhere).returncode, 0)
            link = os.path.join(elsewhere, "dev")
            os.symlink(os.path.join(ROOT, "dev"), link)
            out = subprocess.run([link, "setup", "--list"], cwd=elsewhere, capture_output=True, text=True, timeout=60)
            self.assertEqual((out.returncode, out.stdout), (0, dev("setup", "--list").stdout))

    def test_the_scripts_parse(self):
        for script in ("dev", os.path.join(".ci", "run")):
            checked = subprocess.run(["bash", "-n", os.path.join(ROOT, script)], capture_output=True, text=True)
            self.assertEqual(checked.returncode, 0, checked.stderr)


if __name__ == "__main__":
    unittest.main()
