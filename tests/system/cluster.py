#!/usr/bin/python3
"""Keeps a cluster running until interrupted, and writes where its parts are: `./dev cluster`.

The file is {"hubs":[{"id","pid","grpc","http"}],"edges":[{"id","site","pid","redis","redis_unix","http","page"}]}, addresses as
host:port. It appears, whole, once every process is ready. A folder that holds a cluster already is started again as it is.
"""

import argparse
import json
import os
import signal
import sys
import time

sys.dont_write_bytecode = True
from harness import Cluster, Failure


class Interrupted(Exception):
    """SIGINT or SIGTERM."""


def interrupt(*_):
    raise Interrupted


def main():
    parser = argparse.ArgumentParser(prog="./dev cluster", description=__doc__.splitlines()[0],
                                     epilog="example: ./dev cluster --hubs 3 --edges 4 --dir ./run --endpoints ./run/endpoints.json")
    parser.add_argument("--bin", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--hubs", type=int, default=3, help="1, 3 or 5")
    parser.add_argument("--edges", type=int, default=4)
    parser.add_argument("--sites", type=int, default=2, help="sites the edges are spread over")
    parser.add_argument("--dir", required=True, help="holds configuration, data and logs")
    parser.add_argument("--endpoints", required=True, help="file to write the addresses to")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
    cluster = None
    try:
        cluster = Cluster(options.bin, options.dir, options.hubs, options.edges, options.sites, reuse=True)
        cluster.start_all()
        cluster.active_hub()
        write_whole(options.endpoints, cluster.endpoints())
        print(f"cluster: {options.hubs} hubs and {options.edges} edges are ready; {options.endpoints} says where; interrupt to stop",
              file=sys.stderr, flush=True)
        while True:
            for node, process in cluster.processes.items():
                if not process.alive():
                    raise Failure(f"{node} ended with {process.child.returncode}; {process.log} ends:\n{process.last_words()}")
            time.sleep(0.5)
    except Interrupted:
        return 0
    except Failure as failure:
        print(f"cluster: {failure}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if cluster:
            cluster.close()


def write_whole(path, value):
    with open(path + ".new", "w", encoding="utf-8") as out:
        json.dump(value, out, indent=1)
        out.write("\n")
    os.replace(path + ".new", path)


if __name__ == "__main__":
    sys.exit(main())
