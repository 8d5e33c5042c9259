"""The demo's report: promises held or broken, figures beside their floors, as JSON and as a table."""

# Figure, unit, floor (the largest good value) or None, what it says.
FIGURES = [
    ("activation_ms_p50", "ms", None, "activation, all edges alive"),
    ("activation_ms_p99", "ms", 50, "activation, all edges alive, plus one commit"),
    ("activation_failover_ms", "ms", None, "activation during which the active hub was killed"),
    ("failover_ms", "ms", 2000, "kill of the active hub to the first write in the ledger"),
    ("adoption_lag_ms_p50", "ms", None, "in force to seen by an app"),
    ("adoption_lag_ms_p99", "ms", 20, "in force to seen by an app"),
    ("swap_frame_gap_ms_max", "ms", None, "first frame on a new version, from when it was due"),
    ("frame_ms_p50", "ms", None, "one frame: model, features, log"),
    ("bound_us_p50", "us", None, "bound of proven reads"),
    ("bound_us_p99", "us", None, "bound of proven reads"),
    ("bound_slack_us_p50", "us", None, "bound minus true age"),
    ("hit_ratio_l1", "", None, "reads served inside the app"),
    ("hit_ratio_arena", "", None, "of the others: served from shared memory"),
    ("bytes_per_edge", "B", None, "on the wide-area link, both ways"),
]
FRAMES_SHARE_MIN = 0.7  # of the frames that were due; a stopped app misses those of two seconds


def promises(verdict, checks, frames_per_app, frames_due):
    """The whole report from the judge's verdict and what the demo itself checked."""
    lies, figures = verdict["lies"], verdict["figures"]
    result = dict(figures)
    result["frames_wrong_version_labelled_proven"] = lies["proven_wrong_version"]
    result["bound_violations"] = lies["bound_violation"]
    listed = []

    def promise(text, held, measured):
        listed.append({"promise": text, "held": bool(held), "measured": str(measured)})

    promise("no frame is labelled proven with a version that was not in force or did not produce it", lies["proven_wrong_version"] == 0,
            f"{lies['proven_wrong_version']} of {figures['frames_proven']} proven frames")
    promise("every other frame says so and names the version that produced it",
            lies["mislabelled"] == 0 and figures["frames_fallback_flagged"] == figures["frames"] - figures["frames_proven"],
            f"{lies['mislabelled']} mislabelled, {figures['frames_fallback_flagged']} flagged")
    promise("no value is older than its bound", lies["bound_violation"] == 0, f"{lies['bound_violation']} of {figures['reads']} reads")
    promise("reads with a token never go back", lies["monotonic_violation"] == 0, lies["monotonic_violation"])
    promise("no value was invented or served after its lifetime", lies["invented_value"] + lies["expired_value"] == 0,
            f"{lies['invented_value']} invented, {lies['expired_value']} expired")
    promise("no acknowledged write is lost", lies["lost_write"] == 0 and verdict["final_undecided"] == 0 and figures["features_lost"] == 0,
            f"{lies['lost_write']} lost, {verdict['final_undecided']} undecided, of {figures['writes_acknowledged']} acknowledged")
    total = sum(figures[f"features_{name}"] or 0 for name in ("flushed", "superseded", "expired", "pending", "shed", "lost"))
    promise("written = flushed + superseded + expired + pending + shed + lost", lies["books"] == 0 and total == figures["features_written"],
            f"{figures['features_written']} = {total}, {figures['writes_acknowledged']} acknowledged to apps, "
            f"{figures['writes_unknown']} of unknown outcome")
    promise("reads show what other gateways wrote", figures["reads_of_others"] > 0, f"{figures['reads_of_others']} reads")
    slowest = min(frames_per_app, key=frames_per_app.get)
    promise("frames go on through everything", frames_per_app[slowest] >= FRAMES_SHARE_MIN * frames_due,
            f"{frames_per_app[slowest]} of {frames_due:.0f} due on {slowest}, the slowest")
    listed += checks
    result["promises"] = listed
    result["examples"] = verdict["examples"]
    result["ok"] = all(one["held"] for one in listed)
    return result


def _number(value):
    if value is None:
        return "-"
    return f"{value:,.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else f"{value:,}"


def table(result):
    lines = [""]
    if "frames" in result:
        bases = ", ".join(f"{count} by {basis}" for basis, count in sorted(result["frames_by_basis"].items()))
        lines.append(f"  {result['frames']} frames ({bases}), {result['swaps']} swaps, {result['frames_fallback_flagged']} frames flagged")
        lines.append(f"  {result['reads']} reads, {result['reads_of_others']} of what other gateways wrote; "
                     f"{result['writes_acknowledged']} writes acknowledged")
        lines.append("")
        for name, unit, floor, meaning in FIGURES:
            value = result[name]
            note = ""
            if floor is not None and value is not None:
                note = f"  floor {floor} {unit}" + ("" if value <= floor else ", MISSED")
            lines.append(f"  {name:<24} {_number(value):>12} {unit:<2}  {meaning}{note}")
        lines.append("")
    for one in result["promises"]:
        lines.append(f"  {'held  ' if one['held'] else 'BROKEN'}  {one['promise']}: {one['measured']}")
    for kind, found in result.get("examples", {}).items():
        lines += ["", f"  {kind}:"] + [f"    {text}" for text in found[:3]]
    if "failure" in result:
        lines.append(f"  BROKEN  the run did not end: {result['failure'].splitlines()[0]}")
    lines += ["", "  every promise held" if result["ok"] else "  A PROMISE WAS BROKEN", ""]
    return "\n".join(lines)
