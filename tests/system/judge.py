#!/usr/bin/python3
"""The judge: reads what the processes of a run logged, decides what was true, and counts every lie. `judge.py FOLDER`.

It starts nothing, talks to nobody and shares no code with the product. It knows three things: what the apps were told
(their logs), what was done to the cluster and when (control.jsonl), and one clock that all of them share.

Every time is CLOCK_MONOTONIC in nanoseconds, read by the logging process itself right before (`b`) and right after (`e`) the
call it describes. A judgement is passed only where the order of two events is certain, whatever happened in between: a write
acknowledged before a read began is older than that read, everything else counts as simultaneous.

app-CAMERA.jsonl, one JSON object a line (examples/camera/camera.cc):
  {"t":"start","camera","pid","at","fps"}
  {"t":"frame","n","due","b","e","version","activation","proven","fallback","bound","basis","run_b","run_e","done",
   "sig":[..],"stat":[..],"objects"}          b, e: around acquire(); due: when the frame was due; done: when it was logged
  {"t":"swap","version","activation","seen","swapped"}
  {"t":"write","key","seq","b","e","ttl","ack","ok","version"}      ack: what was asked; not ok: "code","message" instead
  {"t":"read","key","b","e","ok","seq","writer","whole","version","bound","writers","basis","source","fallback","token"}
       a failed read: "ok":false,"code","bound"     whole: the bytes carry the checksum their writer put in
  {"t":"error","what","code","message","at"}
  {"t":"end","at","frames","pending","reads","l1_hits","arena_hits","edge_reads","fallbacks"}
control.jsonl (demo.py):
  {"t":"activation","kind":"activate|rollback","version","begin","end","ok","index","elapsed_ms","all_up":bool}
       begin: before the request existed; end: after its answer was there
  {"t":"kill","role":"hub|edge","id","active":bool,"at"}      {"t":"probe","b","e","ok"}: a write-through write of the demo's own
  {"t":"away","edge","from","to"}: link cut, process down or stopped     {"t":"stopped","camera","from","to"}
  {"t":"drained","at"}: every edge said that it had nothing left to flush
  {"t":"counters","edge","written","flushed","superseded","expired","pending","shed","lost"}
  {"t":"final","edge","key","b","e","found","seq","bound"}: reads after the drain
  {"t":"bytes","edge","up","down"}: what its links carried
"""

import argparse
import bisect
import collections
import json
import math
import os
import sys

sys.dont_write_bytecode = True
import figures
import models_rule

FOREVER = 2**63 - 1
SUM = ("flushed", "superseded", "expired", "pending", "shed", "lost")
GRACE = 1_000_000_000
EXAMPLES_MAX = 10  # of each kind of lie, in the report

Lie = collections.namedtuple("Lie", "kind app what")


def load(path):
    """The lines of a log. A last line without its end was cut off by a kill and is left out; any other bad line is an error."""
    lines = []
    with open(path, encoding="utf-8") as source:
        for number, text in enumerate(source, 1):
            if not text.endswith("\n"):
                break
            try:
                lines.append(json.loads(text))
            except ValueError as error:
                raise ValueError(f"{path}:{number}: no JSON: {error}") from None
    return lines


class Run:
    """Everything that was logged in one run."""

    def __init__(self, apps, control):
        self.apps = apps  # {camera: [event]}
        self.control = control

    @classmethod
    def from_folder(cls, folder):
        apps = {name[len("app-"):-len(".jsonl")]: load(os.path.join(folder, name))
                for name in sorted(os.listdir(folder)) if name.startswith("app-") and name.endswith(".jsonl")}
        return cls(apps, load(os.path.join(folder, "control.jsonl")))

    def of(self, kind):
        """(camera, event) of every app's events of a kind."""
        return [(camera, event) for camera, events in self.apps.items() for event in events if event["t"] == kind]

    def controls(self, kind):
        return [event for event in self.control if event["t"] == kind]


class Activations:
    """The history of the strong pointer. Order is by index. An activation whose outcome is unknown may have taken effect at any
    time after it began; its index is learned from whoever shows it first."""

    def __init__(self, events):
        self.known = {event["index"]: event for event in events if event["ok"]}
        self.open = [event for event in events if not event["ok"]]
        self._index()

    def _index(self):
        self.order = sorted(self.known)
        # earliest_ack[i]: when the first activation at or after order[i] was surely in force.
        self.earliest_ack = [0] * len(self.order) + [math.inf]
        for i in range(len(self.order) - 1, -1, -1):
            event = self.known[self.order[i]]
            self.earliest_ack[i] = min(event["end"] if event["ok"] else math.inf, self.earliest_ack[i + 1])

    def find(self, index, version, seen_by):
        event = self.known.get(index)
        if event is None:
            event = next((e for e in self.open if e["version"] == version and e["begin"] <= seen_by), None)
            if event is not None:
                self.open.remove(event)
                self.known[index] = event
                self._index()
        return event

    def newer_acked_at(self, index):
        """The earliest instant at which an activation newer than `index` had surely been acknowledged."""
        return self.earliest_ack[bisect.bisect_right(self.order, index)]


def judge_frames(run, rule):
    """Which version was in force, which one was claimed, which one produced the output."""
    lies, proven = [], []
    activations = Activations(run.controls("activation"))
    frames = sorted(run.of("frame"), key=lambda item: item[1]["b"])
    for camera, frame in frames:
        def lie(kind, what):
            lies.append(Lie(kind, camera, f"frame {frame['n']}: {what}"))
        produced = rule.version_of(frame)
        if produced != frame["version"]:
            lie("proven_wrong_version" if frame["proven"] else "mislabelled",
                f"labelled {frame['version']}, its output is of {produced or 'no version there is'}")
        newer = activations.newer_acked_at(frame["activation"])
        if frame["proven"]:
            event = activations.find(frame["activation"], frame["version"], frame["e"])
            newer = activations.newer_acked_at(frame["activation"])
            if event is None:
                lie("proven_wrong_version", f"proven by activation {frame['activation']}, which never was")
            elif event["version"] != frame["version"]:
                lie("proven_wrong_version", f"activation {frame['activation']} is of {event['version']}, not of {frame['version']}")
            elif event["begin"] > frame["e"]:
                lie("proven_wrong_version", f"activation {frame['activation']} began after the frame had its model")
            if newer < frame["b"]:
                lie("proven_wrong_version", f"{frame['version']} proven {(frame['b'] - newer) / 1e6:.3f} ms after a newer "
                    "activation was acknowledged")
            proven.append((camera, frame))
        if newer < frame["b"] - frame["bound"]:
            lie("bound_violation", f"pointer {(frame['b'] - newer) / 1e6:.3f} ms behind, bound {frame['bound'] / 1e6:.3f} ms")
    lies += _strong_order(proven)
    return lies


def _strong_order(proven):
    """Once one proven read has shown an activation, no proven read that begins later, in whatever process, shows an older one."""
    lies = []
    ended = sorted(((frame["e"], frame["activation"]) for _, frame in proven))
    newest, done = 0, 0
    for camera, frame in proven:  # by begin
        while done < len(ended) and ended[done][0] < frame["b"]:
            newest = max(newest, ended[done][1])
            done += 1
        if frame["activation"] < newest:
            lies.append(Lie("proven_wrong_version", camera,
                            f"frame {frame['n']}: activation {frame['activation']} proven after {newest} had been shown"))
    return lies


class KeyHistory:
    """The writes of one key. One app writes a key, with rising `seq`."""

    def __init__(self, writes):
        self.writes = sorted(writes, key=lambda write: write["seq"])
        self.seqs = [write["seq"] for write in self.writes]
        # acked[i]: the earliest instant at which a write at or after writes[i] was surely known to the hub.
        self.acked = [math.inf] * (len(self.writes) + 1)
        for i in range(len(self.writes) - 1, -1, -1):
            write = self.writes[i]
            at_hub = write["e"] if write["ok"] and write["ack"] in ("origin", "quorum") else math.inf
            self.acked[i] = min(at_hub, self.acked[i + 1])

    def newer_acked_at(self, seq):
        return self.acked[bisect.bisect_right(self.seqs, seq)]

    def find(self, seq):
        at = bisect.bisect_left(self.seqs, seq)
        return self.writes[at] if at < len(self.seqs) and self.seqs[at] == seq else None

    def last_acknowledged(self):
        return next((write for write in reversed(self.writes) if write["ok"]), None)


def histories(run):
    by_key = collections.defaultdict(list)
    for _, write in run.of("write"):
        by_key[write["key"]].append(write)
    return {key: KeyHistory(writes) for key, writes in by_key.items()}


def judge_reads(run, keys):
    """Values that were never written, bounds that did not hold, orders that were promised."""
    lies = []
    empty = KeyHistory([])
    stopped = collections.defaultdict(list)
    for span in run.controls("stopped"):
        stopped[span["camera"]].append(span)
    for camera, read in run.of("read"):
        def lie(kind, what):
            lies.append(Lie(kind, camera, f"read of {read['key']} at {read['b']}: {what}"))
        history = keys.get(read["key"], empty)
        if not read["ok"]:
            if read["code"] == "not_found":
                absent = _surely_there(history, read)
                if absent:
                    lie("bound_violation", absent)
            continue
        write = history.find(read["seq"])
        if not read["whole"]:
            lie("invented_value", "its bytes are not what any writer wrote")
        elif write is None or write["b"] > read["e"]:
            lie("invented_value", f"seq {read['seq']} was not written before the read ended")
        elif read["b"] > write["e"] + write["ttl"] + 100_000_000 and write["ok"]:
            # Expired bytes come back within 100 ms; lifetime counts from acceptance, which was before `e`.
            lie("expired_value", f"seq {read['seq']} was served {(read['b'] - write['e']) / 1e9:.1f} s after its write")
        newer = history.newer_acked_at(read["seq"])
        if _breaks_bound(newer, read, stopped[camera]):
            lie("bound_violation", f"seq {read['seq']} is {(read['b'] - newer) / 1e6:.3f} ms behind, its bound says "
                f"{read['bound'] / 1e6:.3f} ms")
    return lies + _version_order(run)


def _breaks_bound(newer, read, stopped):
    """The bound speaks of the instant at which the library returned: after b, and before e by no more than the machine may make a
    ready thread wait. Staleness was at least b - newer; and e - newer less GRACE, unless the app was stopped in between."""
    if newer < read["b"] - read["bound"]:
        return True
    return newer < read["e"] - read["bound"] - GRACE and not figures.overlaps(stopped, read["b"], read["e"])


def _surely_there(history, read):
    for write in reversed(history.writes):
        if write["ok"] and write["ack"] in ("origin", "quorum") and write["b"] + write["ttl"] > read["e"] and \
                write["e"] < read["b"] - read["bound"]:
            return (f"not found, bound {read['bound'] / 1e6:.3f} ms, though seq {write['seq']} was at the hub "
                    f"{(read['b'] - write['e']) / 1e6:.3f} ms before")
    return None


def _version_order(run):
    """Versions are ledger indexes: a version that somebody was shown exists, so whoever is shown an older one later is stale by at
    least the time between; and a read that carries a token sees at least what existed at that index (monotonic reads)."""
    lies = []
    by_key = collections.defaultdict(list)
    for camera, read in run.of("read"):
        if read["ok"] and read["basis"] in ("lease", "proof"):
            by_key[read["key"]].append((camera, read))
    for key, reads in by_key.items():
        reads.sort(key=lambda item: item[1]["b"])
        versions = sorted({read["version"] for _, read in reads})
        ended = sorted((read["e"], read["version"]) for _, read in reads)
        shown = [(0, 0)]  # (version, since when it is known to exist), rising in both
        done = 0
        for camera, read in reads:
            while done < len(ended) and ended[done][0] < read["b"]:
                if ended[done][1] > shown[-1][0]:
                    shown.append((ended[done][1], ended[done][0]))
                done += 1
            at = bisect.bisect_right(shown, (read["version"], math.inf))
            if at < len(shown) and shown[at][1] < read["b"] - read["bound"]:
                lies.append(Lie("bound_violation", camera, f"read of {key}: version {read['version']}, {shown[at][0]} was shown "
                                f"{(read['b'] - shown[at][1]) / 1e6:.3f} ms before, its bound says {read['bound'] / 1e6:.3f} ms"))
            token = read.get("token", 0)
            known = bisect.bisect_right(versions, token) - 1
            if token and not read["fallback"] and known >= 0 and versions[known] > read["version"]:
                lies.append(Lie("monotonic_violation", camera,
                                f"read of {key} with token {token}: version {read['version']}, though {versions[known]} is older than "
                                "the token"))
    return lies


def judge_writes(run, keys):
    """What was acknowledged must be there, and the books of every edge must balance."""
    lies, undecided = [], 0
    drained = min((event["at"] for event in run.controls("drained")), default=None)
    finals = run.controls("final")
    for final in finals:
        history = keys.get(final["key"])
        write = history.last_acknowledged() if history else None
        if write is None or write["b"] + write["ttl"] <= final["e"]:
            continue
        # After the drain every acknowledged write is at the hub: a read whose bound reaches back no further must show it.
        if drained is None or final["b"] - final["bound"] < drained:
            undecided += 1
        elif not final["found"] or final["seq"] < write["seq"]:
            shown = f"seq {final['seq']}" if final["found"] else "nothing"
            lies.append(Lie("lost_write", final["edge"], f"{final['key']}: seq {write['seq']} was acknowledged ({write['ack']}) and "
                            f"is gone; {shown} is there"))
    checked = {final["key"] for final in finals}
    end = max((final["e"] for final in finals), default=0)
    for key, history in sorted(keys.items()):
        write = history.last_acknowledged()
        if write and finals and key not in checked and write["b"] + write["ttl"] > end:
            undecided += 1
    for counters in run.controls("counters"):
        lies += _books(run, counters)
    return lies, undecided


def _books(run, counters):
    edge, written = counters["edge"], counters["written"]
    lies = []
    total = sum(counters[name] for name in SUM)
    if written != total:
        lies.append(Lie("books", edge, f"written {written} is not the sum of {', '.join(f'{n} {counters[n]}' for n in SUM)}"))
    if counters["lost"]:
        lies.append(Lie("lost_write", edge, f"counts {counters['lost']} lost writes itself"))
    writes = [write for write in run.apps.get(edge, []) if write["t"] == "write"]  # a camera is named for its edge
    acknowledged = sum(write["ok"] for write in writes)
    unknown = sum(not write["ok"] for write in writes)
    if not acknowledged <= written <= acknowledged + unknown:
        lies.append(Lie("books", edge, f"written {written}, but apps had {acknowledged} acknowledged and {unknown} of unknown outcome"))
    return lies


def judge(run, rule):
    """The report: every lie counted, the first few of each kind in words, and the figures."""
    keys = histories(run)
    lies = judge_frames(run, rule) + judge_reads(run, keys)
    write_lies, undecided = judge_writes(run, keys)
    lies += write_lies
    counts = collections.Counter(lie.kind for lie in lies)
    kinds = ("proven_wrong_version", "mislabelled", "bound_violation", "monotonic_violation", "invented_value", "expired_value",
             "lost_write", "books")
    examples = {kind: [f"{lie.app}: {lie.what}" for lie in lies if lie.kind == kind][:EXAMPLES_MAX] for kind in kinds}
    return {"lies": {kind: counts[kind] for kind in kinds},
            "examples": {kind: found for kind, found in examples.items() if found},
            "final_undecided": undecided,
            "figures": figures.of_run(run, keys)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="holds control.jsonl and app-*.jsonl")
    parser.add_argument("--json", help="where the report goes (default: stdout)")
    options = parser.parse_args()
    report = judge(Run.from_folder(options.folder), models_rule.Rule())
    text = json.dumps(report, indent=1)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as out:
            out.write(text + "\n")
    else:
        print(text)
    return 1 if any(report["lies"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())
