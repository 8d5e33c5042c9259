#!/usr/bin/python3
"""Sends the same commands to redis-server 7.0 and to an edge and compares the replies byte for byte.

`differential_test.py --bin DIR` starts both (redis-server only where one is installed; without it the recorded replies stand
for it), runs the scripts, then generated sequences, then clients as they are. Exit code 0: equal but for differences.txt.
"""

import argparse
import os
import sys
import time

sys.dont_write_bytecode = True
import catalogue
import clients
import generate
import scripts
import servers
import shapes
from differences import Differences
from harness import Failure, Scratch
from report import Report
from session import run_section

EDGE_SECONDS, REDIS_SECONDS, SLOW_SECONDS = 3, 5, 5


def wanted_sections(only):
    for name in scripts.names():
        sections = scripts.read(name)
        if only:
            sections = [section for section in sections if only in f"{name}: {section.title}"]
        if sections:
            yield name, sections


def record(socket, version, only):
    if only:
        raise Failure("--record takes all sections: a recorded file is of one version")
    count = 0
    for name, sections in wanted_sections(None):
        replies = {section.title: run_section(socket, section, REDIS_SECONDS) for section in sections}
        for section in sections:
            for row, reply in zip(section.rows, replies[section.title]):
                if reply.startswith(("(no", "(not")) and reply != "(none)":
                    raise Failure(f"{name}.txt:{row.line}: {row.text}: {reply}")
        scripts.write_replies(name, version, sections, replies)
        count += sum(map(len, replies.values()))
    catalogue.write(version, all_commands(socket))
    print(f"recorded {count} replies of redis-server {version} into tests/differential/replies, and its commands")


def all_commands(socket):
    """The names of all commands and subcommands that a server has."""
    connection = servers.Connection(socket, REDIS_SECONDS)
    connection.send([b"COMMAND", b"LIST", b"FILTERBY", b"PATTERN", b"*"])
    kind, names = connection.frame()
    connection.close()
    if kind != "*":
        raise Failure(f"COMMAND LIST FILTERBY PATTERN *: no list of commands but {kind}{names}")
    return {name.decode() for _, name in names}


def check_catalogue(edge, redis, report):
    """Every command of redis-server is served or left out for a reason, and docs/redis.md says which."""
    known = catalogue.recorded()
    if redis and all_commands(redis) != known:
        report.fault(f"{os.path.basename(catalogue.RECORDED)}: redis-server lists other commands: run with --record")
    with open(catalogue.PAGE, encoding="utf-8") as file:
        page = file.read()
    for fault in catalogue.faults(page, known, all_commands(edge.socket)):
        report.fault(fault)


def run_scripts(edge, redis, options, report):
    for name, sections in wanted_sections(options.only):
        recorded = scripts.read_replies(name)
        for section in sections:
            where = f"{name}.txt: {section.title}"
            known = recorded.get(section.title, [])
            if len(known) != len(section.rows):
                report.fault(f"{where}: {len(section.rows)} commands, {len(known)} recorded replies; run with --record")
                continue
            if redis:
                for row, told, live in zip(section.rows, known, run_section(redis, section, REDIS_SECONDS)):
                    if told != live:
                        report.fault(f"{name}.txt:{row.line}: {row.text}: recorded {told}, but redis-server says {live}")
            start = time.monotonic()
            report.section(section, known, run_section(edge.socket, section, EDGE_SECONDS))
            took = time.monotonic() - start
            if took > SLOW_SECONDS:
                print(f"slow: {where}: {took:.1f} s for {len(section.rows)} commands")
            if not edge.alive():
                raise Failure(f"the edge ended during {where}; its log ends:\n{edge.last_words()}")


def check_coverage(edge, report):
    """Every command that the edge names and Redis has is in the scripts."""
    connection = servers.Connection(edge.socket, EDGE_SECONDS)
    connection.send([b"COMMAND", b"LIST"])
    kind, names = connection.frame()
    connection.close()
    if kind != "*":
        return report.fault("COMMAND LIST: no list of commands")
    seen = {row.words[0].lower() for name in scripts.names() for section in scripts.read(name) for row in section.rows if row.words}
    for _, name in names:
        if not name.startswith(b"tl.") and name not in seen:
            report.fault(f"no script has a line for {name.decode()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     epilog="examples: --only 'shapes_numbers: INCRBY'; --scripts; --seed 7 --sequences 1")
    parser.add_argument("--bin", help="where tidelock is, build/dev/bin")
    parser.add_argument("--record", action="store_true",
                        help="ask redis-server 7.0 for all replies anew and write them; needs no edge")
    parser.add_argument("--only", help="sections whose 'file: title' holds this text")
    parser.add_argument("--scripts", action="store_true", help="scripts only: no generated sequences, no clients")
    parser.add_argument("--no-redis", action="store_true", help="as if no redis-server were installed")
    parser.add_argument("--sequences", type=int, default=200, help="generated sequences (200)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first of them (1)")
    parser.add_argument("--all", metavar="FILE", help="write every row that differs there")
    options = parser.parse_args()
    version = None if options.no_redis else servers.redis_version()
    if version and not version.startswith(servers.WANTED):
        print(f"SKIPPED redis-server: it is {version}, not 7.0; the recorded replies stand for it")
        version = None
    with Scratch(prefix="tidelock-diff-") as folder:
        if options.record:
            if not version:
                raise Failure("--record needs redis-server 7.0 (Debian: redis-server)")
            with servers.Redis(folder) as redis:
                record(redis.socket, version, options.only)
            return 0
        if not options.bin:
            parser.error("--bin is needed")
        if not version:
            print("SKIPPED redis-server 7.0 is not installed: recorded replies only, no generated sequences")
        with servers.Edge(options.bin, folder) as edge:
            if not version:
                return compare(edge, None, options)
            with servers.Redis(folder) as redis:
                return compare(edge, redis.socket, options)


def compare(edge, redis, options):
    differences = Differences()
    report = Report(differences)
    for name in shapes.stale():
        report.fault(f"scripts/{name}.txt is not what shapes.py writes")
    start = time.monotonic()
    run_scripts(edge, redis, options, report)
    if not options.only:
        check_coverage(edge, report)
        check_catalogue(edge, redis, report)
    print(f"scripts: {report.rows} commands in {time.monotonic() - start:.1f} s")
    if not options.scripts and not options.only:
        if redis:
            for failure in generate.run(redis, edge.socket, options.seed, options.sequences, differences):
                report.fault(failure)
        for failure in clients.run(edge.socket):
            report.fault(failure)
    if not options.only:
        for entry in differences.unused():
            report.fault(f"differences.txt:{entry.line}: nothing differs so any more ({entry.reason})")
    report.print()
    if options.all:
        report.write_all(options.all)
    return 0 if report.good() else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        print(f"differential: {failure}", file=sys.stderr)
        sys.exit(1)
