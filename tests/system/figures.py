"""The figures of a run, from its logs. Judges nothing: judge.py does."""

import collections
import math


def percentile(values, percent):
    """Nearest rank; None without values."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else None


def _ms(nanoseconds):
    return None if nanoseconds is None else round(nanoseconds / 1e6, 3)


def _us(nanoseconds):
    return None if nanoseconds is None else round(nanoseconds / 1e3, 1)


def overlaps(spans, begin, end):
    return any(span["from"] <= end and begin <= span["to"] for span in spans)


def of_run(run, keys):
    figures = {}
    figures.update(_frames(run))
    figures.update(_swaps(run))
    figures.update(_reads(run, keys))
    figures.update(_books(run))
    carried = {event["edge"]: event["up"] + event["down"] for event in run.controls("bytes")}
    figures["bytes_per_edge"] = round(sum(carried.values()) / len(carried)) if carried else None
    figures["bytes_by_edge"] = carried
    return figures


def _frames(run):
    frames = [frame for _, frame in run.of("frame")]
    return {
        "frames": len(frames),
        "frames_by_basis": dict(collections.Counter(frame["basis"] for frame in frames)),
        "frames_proven": sum(frame["proven"] for frame in frames),
        "frames_fallback_flagged": sum(frame["fallback"] for frame in frames),
        "frame_ms_p50": _ms(percentile([frame["done"] - frame["b"] for frame in frames], 50)),
    }


def _swaps(run):
    activations = {event["index"]: event for event in run.controls("activation") if event["ok"]}
    calm = [event["elapsed_ms"] for event in activations.values() if event["all_up"]]
    rough = [event["elapsed_ms"] for event in activations.values() if not event["all_up"]]
    # An app's first version is no swap: it loads what is in force already.
    started = {camera: min((event["b"] for event in events if event["t"] == "frame"), default=math.inf)
               for camera, events in run.apps.items()}
    swaps = [(camera, swap) for camera, swap in run.of("swap") if swap["swapped"] > started[camera]]
    # Everybody agrees on one earliest instant at which an activation was in force: its acknowledgement, or the first app that
    # saw it if that was before the acknowledgement had reached the caller.
    in_force = {index: event["end"] for index, event in activations.items()}
    for _, swap in swaps:
        if swap["activation"] in in_force:
            in_force[swap["activation"]] = min(in_force[swap["activation"]], swap["seen"])
    lags = []
    for camera, swap in swaps:
        event = activations.get(swap["activation"])
        away = [span for span in run.controls("away") if span["edge"] == camera]
        away += [span for span in run.controls("stopped") if span["camera"] == camera]
        if event and event["all_up"] and not overlaps(away, event["begin"], swap["seen"]):
            lags.append(swap["seen"] - in_force[swap["activation"]])
    return {
        "swaps": len(swaps),
        "activation_ms_p50": percentile(calm, 50),
        "activation_ms_p99": percentile(calm, 99),
        "activation_failover_ms": max(rough, default=None),
        "adoption_lag_ms_p50": _ms(percentile(lags, 50)),
        "adoption_lag_ms_p99": _ms(percentile(lags, 99)),
        "swap_frame_gap_ms_max": _ms(max(_gaps(run), default=None)),
        "failover_ms": _ms(_failover(run)),
    }


def _gaps(run):
    """For the first frame of each new version: how long the stream stood still beyond its own pace, that is from when the frame
    was due (or the frame before it was done, if that was later) until it was done. Frames of a stopped app do not count."""
    for camera, events in run.apps.items():
        frames = [event for event in events if event["t"] == "frame"]
        stopped = [span for span in run.controls("stopped") if span["camera"] == camera]
        for before, after in zip(frames, frames[1:]):
            if before["version"] != after["version"] and not overlaps(stopped, before["done"], after["done"]):
                yield after["done"] - max(after["due"], before["done"])


def _failover(run):
    """From the kill of the active hub to the first acknowledgement by the ledger of a write that began after it; the largest."""
    kills = [event["at"] for event in run.controls("kill") if event["role"] == "hub" and event["active"]]
    writes = [(write["b"], write["e"]) for _, write in run.of("write") if write["ok"] and write["ack"] in ("origin", "quorum")]
    writes += [(probe["b"], probe["e"]) for probe in run.controls("probe") if probe["ok"]]
    waits = [min((end - kill for begin, end in writes if begin > kill), default=math.inf) for kill in kills]
    return max(waits) if waits and max(waits) < math.inf else None


def _reads(run, keys):
    reads = [read for _, read in run.of("read") if read["ok"]]
    proven = [read for read in reads if read["basis"] in ("lease", "proof") and not read["fallback"]]
    slack = []
    for read in proven:
        history = keys.get(read["key"])
        newer = history.newer_acked_at(read["seq"]) if history else math.inf
        slack.append(read["bound"] - max(0, read["b"] - newer if newer < math.inf else 0))
    # From the receipts: the library's own counters also hold the model handle's look at its pointer, a thousand a second.
    sources = collections.Counter(read["source"] for read in reads)
    attempts = run.of("read")
    return {
        "reads": len(attempts),
        "reads_failed": dict(collections.Counter(read["code"] for _, read in attempts if not read["ok"])),
        "reads_by_basis": dict(collections.Counter(read["basis"] for read in reads)),
        "reads_by_source": dict(sources),
        "reads_of_others": sum(read["ok"] and read.get("writer") != camera for camera, read in attempts),
        "reads_fallback_flagged": sum(read["fallback"] for read in reads),
        "bound_us_p50": _us(percentile([read["bound"] for read in proven], 50)),
        "bound_us_p99": _us(percentile([read["bound"] for read in proven], 99)),
        "bound_slack_us_p50": _us(percentile(slack, 50)),
        "hit_ratio_l1": round(sources["l1"] / len(attempts), 4) if attempts else None,
        "hit_ratio_arena": round(sources["arena"] / (len(attempts) - sources["l1"]), 4) if len(attempts) > sources["l1"] else None,
    }


def _books(run):
    counters = run.controls("counters")
    writes = [write for _, write in run.of("write")]
    books = {f"features_{name}": sum(c[name] for c in counters) if counters else None
             for name in ("written", "flushed", "superseded", "expired", "pending", "shed", "lost")}
    books["writes_acknowledged"] = sum(write["ok"] for write in writes)
    books["writes_unknown"] = sum(not write["ok"] for write in writes)
    return books
