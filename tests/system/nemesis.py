"""What is done to a cluster, and when: drawn from a seed before the run begins, so that it can be printed and replayed."""

import random

# fault -> (weight, longest time in s it lasts). Targets: a hub, an edge, the app of an edge.
FAULTS = {
    "kill_hub": (8, 3.0), "kill_active": (6, 3.0), "kill_edge": (6, 2.0), "kill_app": (4, 1.0), "kill_hubs": (1, 2.0),
    "stop_hub": (5, 6.0), "stop_active": (5, 6.0), "stop_edge": (5, 4.0), "stop_app": (5, 4.0), "stutter_app": (8, 2.0),
    "cut_edge": (5, 8.0), "cut_hub": (5, 6.0), "deaf_edge": (4, 6.0), "mute_edge": (4, 6.0), "deaf_hub": (4, 5.0), "mute_hub": (4, 5.0),
    "flap_edge": (3, 4.0), "flap_hub": (3, 4.0), "slow_edge": (4, 8.0), "drop_edge": (4, 0.1),
    "full_disk": (2, 4.0), "flip_edge": (2, 3.0), "flip_hub": (1, 3.0),
    "clock_step": (5, 0.1), "clock_rate": (4, 0.1), "suspend": (3, 0.1),
}
_HUB = ("kill_hub", "kill_active", "kill_hubs", "stop_hub", "stop_active", "cut_hub", "deaf_hub", "mute_hub", "flap_hub", "flip_hub")
_ANY = ("clock_step", "clock_rate", "suspend")


class Event:
    """One fault: when it begins (s), how long it lasts, whom it hits, and a number for what it still has to choose."""

    def __init__(self, at, fault, target, seconds, number):
        self.at, self.fault, self.target, self.seconds, self.number = at, fault, target, seconds, number

    def __str__(self):
        return f"{self.at:8.2f} s  {self.fault:<12} {self.target:<8} {self.seconds:6.2f} s  {self.number}"


def schedule(seed, seconds, hubs, edges, without=()):
    """Events in time order. Nobody is hit twice at a time; several may be hit at once. Ends a little before `seconds`."""
    chance = random.Random(seed)
    busy = dict.fromkeys([*hubs, *edges], 0.0)
    faults = [fault for fault in FAULTS if fault not in without]
    weights = [FAULTS[fault][0] for fault in faults]
    events, at = [], 1.0
    # Each kind once at first, in random order, so that a short run has seen what it can; then by weight.
    first = chance.sample(faults, len(faults))
    while True:
        at += chance.uniform(0.2, 1.0) if first else chance.choice((chance.uniform(0.05, 0.5), chance.uniform(0.5, 4.0)))
        fault = first.pop() if first else chance.choices(faults, weights)[0]
        longest = FAULTS[fault][1]
        lasts = chance.choice((chance.uniform(0.05, 0.5), chance.uniform(0.1, longest))) if longest > 0.5 else longest
        lasts = min(lasts, longest)
        candidates = hubs if fault in _HUB else [*hubs, *edges] if fault in _ANY or fault == "full_disk" else edges
        target = chance.choice(candidates)
        number = chance.randrange(1 << 30)
        if at + lasts > seconds - 1.0:
            return events
        if busy[target] > at:
            continue
        busy[target] = at + lasts + 0.5
        events.append(Event(at, fault, target, lasts, number))
