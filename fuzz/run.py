#!/usr/bin/python3
"""Runs fuzz targets under libFuzzer, one after the other, and writes down what each did. `./dev fuzz` calls it.

New inputs are kept in BUILD/fuzz/corpus/NAME, so that the next run continues where this one ended; findings lie in
BUILD/fuzz/findings. The record of runs (docs/proof-data/fuzz.json) has one line per run and is only appended to.
"""

import argparse
import fcntl
import json
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RECORD = os.path.join(ROOT, "docs", "proof-data", "fuzz.json")
# X7: no allocation from a length field: one above 256 MiB is a finding, and so is a run that grows beyond 2 GiB.
LIMITS = ["-malloc_limit_mb=256", "-rss_limit_mb=2048", "-timeout=20"]


def targets():
    """{name: what it is about}, from the first comment of each source. The canary is for the tests only."""
    out = {}
    for file in sorted(os.listdir(os.path.join(ROOT, "fuzz"))):
        if file.endswith("_fuzz.cc") and file != "canary_fuzz.cc":
            with open(os.path.join(ROOT, "fuzz", file), encoding="utf-8") as f:
                words = " ".join(line[3:].strip() for line in iter(f.readline, "") if line.startswith("//"))
            out[file[: -len("_fuzz.cc")]] = re.split(r"(?<=\.)\s", words)[0]
    return out


def read_record(path):
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as f:
        return json.load(f)["runs"]


def append(path, run):
    """Under a lock: runs of several shells may end together. One line per run, so that branches merge."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "a+", encoding="utf-8") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        f.seek(0)
        text = f.read()
        runs = json.loads(text)["runs"] if text else []
        runs.append(run)
        f.seek(0)
        f.truncate()
        f.write('{"runs": [\n' + ",\n".join("  " + json.dumps(one) for one in runs) + "\n]}\n")


def totals(runs):
    out = {}
    for run in runs:
        sums = out.setdefault(run["target"], {"executions": 0, "seconds": 0, "findings": 0})
        for key in sums:
            sums[key] += run[key]
    return out


def output_of(*command):
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True).stdout.strip()


def build_name():
    changed = output_of("git", "status", "--porcelain", "--", ".", ":!docs/proof-data")
    return output_of("git", "rev-parse", "--short=12", "HEAD") + ("-dirty" if changed else "")


def fuzz(name, seconds, folder):
    """One run. The record of it, and whether it was clean."""
    corpus, findings = os.path.join(folder, "corpus", name), os.path.join(folder, "findings")
    os.makedirs(corpus, exist_ok=True)
    os.makedirs(findings, exist_ok=True)
    command = [os.path.join(folder, "bin", name + "_fuzz"), corpus, os.path.join(ROOT, "fuzz", "corpus", name),
               f"-max_total_time={seconds}", "-print_final_stats=1", "-verbosity=0",
               f"-artifact_prefix={findings}/{name}-", *LIMITS]
    dictionary = os.path.join(ROOT, "fuzz", "dictionaries", name + ".dict")
    if os.path.exists(dictionary):
        command.append("-dict=" + dictionary)
    environment = dict(os.environ, UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1",
                       ASAN_OPTIONS="detect_stack_use_after_return=1:strict_string_checks=1:quarantine_size_mb=32")
    done = subprocess.run(command, check=False, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace")
    stats = dict(re.findall(r"^stat::(\w+):\s+(\d+)$", done.stdout, re.MULTILINE))
    run = {"target": name, "executions": int(stats.get("number_of_executed_units", 0)), "seconds": seconds,
           "findings": 0 if done.returncode == 0 else 1, "corpus": len(os.listdir(corpus)), "build": build_name(),
           "compiler": output_of("clang++-19", "-dumpversion"), "sanitizers": "address,undefined"}
    if done.returncode != 0:
        print(done.stdout[-6000:], file=sys.stderr)
        found = re.search(r"Test unit written to (\S+)", done.stdout)
        if found:
            print(f"replay: {command[0]} {found[1]}", file=sys.stderr)
    return run


def main():
    known = targets()
    parser = argparse.ArgumentParser(prog="./dev fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--all", action="store_true", help="every target")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default 60)")
    parser.add_argument("--folder", required=True, help="of the preset's build")
    parser.add_argument("--json", default=RECORD, help="the record to append to")
    options = parser.parse_args()
    names = list(known) if options.all else options.names
    for name in names:
        if name not in known:
            parser.error(f"no target '{name}'; ./dev fuzz lists them")
    if options.seconds < 1:
        parser.error("--seconds: give 1 or more")
    clean = True
    for name in names:
        run = fuzz(name, options.seconds, os.path.abspath(options.folder))
        append(options.json, run)
        clean = clean and run["findings"] == 0
        print(f"{name:14} {run['executions']:>12,} executions in {run['seconds']} s, corpus {run['corpus']}"
              f"{'' if run['findings'] == 0 else ': FOUND SOMETHING'}", flush=True)
    return 0 if clean else 1


def listing():
    sums = totals(read_record(RECORD))
    for name, about in targets().items():
        print(f"  {name:14} {sums.get(name, {}).get('executions', 0):>14,}  {about}")


if __name__ == "__main__":
    if sys.argv[1:] == ["--list"]:
        listing()
    else:
        sys.exit(main())
