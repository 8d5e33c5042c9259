"""Which version of the demo's model produced an output: the rule of examples/camera/versions.md. Knows nothing of labels."""

NUMBERS = 16
TOLERANCE = 0.01


def code_of(version):
    major, minor, patch = (int(part) for part in version.split("."))
    return 1024 * major + 32 * minor + patch


def signature_of(code, stat):
    def weight(k, c):
        return (((7 * code + 5 * k + 3 * c) % 11) - 5) / 10
    return [sum(weight(k, c) * stat[c] for c in range(3)) + (4 if code >> k & 1 else -4) for k in range(NUMBERS)]


class Rule:
    def version_of(self, frame):
        """The version whose weights made this frame's output from this frame's input; None when no version's did."""
        if len(frame["sig"]) != NUMBERS or len(frame["stat"]) != 3:
            return None
        code = sum(1 << k for k, number in enumerate(frame["sig"]) if number > 0)
        genuine = signature_of(code, frame["stat"])
        if any(abs(got - expected) > TOLERANCE for got, expected in zip(frame["sig"], genuine)):
            return None
        return f"{code >> 10}.{code >> 5 & 31}.{code & 31}"
