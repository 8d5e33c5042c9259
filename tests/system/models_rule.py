"""Which version of the demo's model produced an output. Stated in examples/camera/versions.md; knows nothing of labels."""


class Rule:
    def version_of(self, frame):
        return frame["version"]
