"""What differs, by command. Within a block the first difference is the cause of the next ones until shown otherwise, so
commands are ordered by how often they come first."""

from collections import defaultdict

from normalise import command_of

EXAMPLES, WIDTH = 2, 150


class _Tally:
    def __init__(self):
        self.rows = self.excused = self.differ = self.first = 0
        self.examples = []


class Report:
    def __init__(self, differences):
        self.differences, self.rows = differences, 0
        self.by_command, self.faults, self.lines = defaultdict(_Tally), [], []

    def fault(self, text):
        """Something else than a row that differs."""
        self.faults.append(text)

    def section(self, section, redis, tidelock):
        blocks = set()
        for row, said, got in zip(section.rows, redis, tidelock):
            self.rows += 1
            tally = self.by_command[command_of(row.words) if row.words else "!" + row.directive]
            tally.rows += 1
            if said == got:
                continue
            if self.differences.excuse(row.text, said, got):
                tally.excused += 1
                continue
            tally.differ += 1
            first = row.block not in blocks
            blocks.add(row.block)
            tally.first += first
            self.lines.append((f"{section.name}.txt:{row.line}", row.text, said, got))
            if first and got != "(not run)" and len(tally.examples) < EXAMPLES and got not in [example[3] for example in tally.examples]:
                tally.examples.append(self.lines[-1])

    def good(self):
        return not self.faults and not any(tally.differ for tally in self.by_command.values())

    def print(self):
        differing = [(name, tally) for name, tally in self.by_command.items() if tally.differ]
        differing.sort(key=lambda item: (-item[1].first, -item[1].differ, item[0]))
        if differing:
            print(f"{'command':22} {'rows':>6} {'differ':>6} {'first':>6}   (first: nothing before it in its block differs)")
        for name, tally in differing:
            print(f"{name:22} {tally.rows:6} {tally.differ:6} {tally.first:6}")
            for where, text, said, got in tally.examples:
                print(f"    {where}: {_short(text)}\n      redis    {_short(said)}\n      tidelock {_short(got)}")
        for text in self.faults:
            print(f"FAULT {text}")
        excused = sum(tally.excused for tally in self.by_command.values())
        wrong = sum(tally.differ for _, tally in differing)
        print(f"{self.rows} commands of {len(self.by_command)} kinds: {self.rows - excused - wrong} equal, {excused} differ as differences.txt says, "
              f"{wrong} differ ({len(differing)} kinds of command); {len(self.faults)} other faults")

    def write_all(self, path):
        with open(path, "w", encoding="ascii") as file:
            for where, text, said, got in self.lines:
                file.write(f"{where}: {text}\n  redis    {said}\n  tidelock {got}\n")


def _short(text):
    return text if len(text) <= WIDTH else text[:WIDTH] + f"... ({len(text)})"
