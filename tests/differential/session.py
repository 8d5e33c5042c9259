"""Runs rows against one server and says what came back, one line a row."""

import re
import time

import normalise
from wire import Closed, Connection, render

_MARKER = b"tidelock-differential-marker"
_SUBSCRIBE = {b"SUBSCRIBE", b"PSUBSCRIBE", b"UNSUBSCRIBE", b"PUNSUBSCRIBE"}
_PLACEHOLDER = re.compile(rb"\$\((now|nowms|id)([+-]?\d+)\)|\$\((.)\*(\d+)\)", re.DOTALL)
SCAN_ROUNDS_MAX = 10_000


class _Peer:
    """One connection and what its replies hang on: the commands that EXEC will answer."""

    def __init__(self, address, timeout):
        self.wire = Connection(address, timeout)
        self.queued = None  # inside MULTI: the commands so far
        self.silent = None  # CLIENT REPLY: "skip" for one command, "off" until ON


class Session:
    """The connections of one section. After a reply that did not come, the rest of the section is not run: `stuck`."""

    def __init__(self, address, timeout):
        self.address, self.timeout, self.peers, self.stuck = address, timeout, {}, False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for peer in self.peers.values():
            peer.wire.close()

    def run(self, row):
        """The rendered reply of a row."""
        if self.stuck:
            return "(not run)"
        try:
            if row.directive == "close":
                self._peer(row.connection).wire.close()
                del self.peers[row.connection]
                return "(closed by the script)"
            peer = self._peer(row.connection)
            if row.directive == "scan":
                return render(self._scan(peer, row.words))
            frames = self._frames(peer, row)
        except Closed:
            self.peers.pop(row.connection, None)
            return "(the connection ended)"
        except TimeoutError:
            self.stuck = True
            return "(no reply)"
        except ValueError as error:
            self.stuck = True
            return f"(no RESP: {error})".encode("ascii", "backslashreplace").decode().replace("\n", " ")
        return " ; ".join(map(render, frames)) if frames else "(none)"

    def call(self, words):
        """One reply frame on the first connection, as it is."""
        peer = self._peer(1)
        peer.wire.send(words)
        return peer.wire.frame()

    def _peer(self, number):
        if number not in self.peers:
            self.peers[number] = _Peer(self.address, self.timeout)
        return self.peers[number]

    def _expand(self, words):
        def value(match):
            if match[3] is not None:
                return match[3] * int(match[4])
            if match[1] == b"id":
                other = self._peer(int(match[2])).wire
                other.send([b"CLIENT", b"ID"])
                return other.frame()[1]
            return b"%d" % (int(time.time() * (1 if match[1] == b"now" else 1000)) + int(match[2]))
        return [_PLACEHOLDER.sub(value, word) if b"$(" in word else word for word in words]

    def _until_marker(self, peer):
        peer.wire.send([b"PING", _MARKER])
        frames = []
        while True:
            frame = peer.wire.frame()
            if frame[0] == "-" and not frames:  # refused: so is the marker, perhaps
                peer.wire.frame()
                return [frame]
            if frame == ("$", _MARKER) or frame == ("*", [("$", b"pong"), ("$", _MARKER)]):
                return frames
            frames.append(frame)
            if len(frames) > 10_000:
                raise ValueError("the marker never comes back")

    def _frames(self, peer, row):
        if row.directive == "read":
            return normalise.normalise_pushes(None, self._until_marker(peer))
        words = self._expand(row.words)
        if row.directive and row.directive.startswith("raw"):
            peer.wire.send_raw(b" ".join(words))
            if row.directive != "raw":
                return [peer.wire.frame() for _ in range(int(row.directive[3:]))]
        else:
            peer.wire.send(words)
        name = words[0].upper() if words else b""
        subscribe = name in _SUBSCRIBE and peer.queued is None
        if subscribe:
            return normalise.normalise_pushes(words, self._until_marker(peer))
        upper = [word.upper() for word in words]
        if upper == [b"CLIENT", b"REPLY", b"ON"]:
            peer.silent = None
        elif peer.silent == "off":
            return []
        elif upper in ([b"CLIENT", b"REPLY", b"OFF"], [b"CLIENT", b"REPLY", b"SKIP"]):
            peer.silent = upper[2].decode().lower()
            return []
        elif peer.silent == "skip":
            peer.silent = None
            return []
        frames = [peer.wire.frame()]
        while frames[-1][0] in ">|":  # pushes and attributes come before the reply
            frames.append(peer.wire.frame())
        frames[-1] = self._normalised(peer, name, words, frames[-1])
        return frames

    def _normalised(self, peer, name, words, frame):
        if name == b"MULTI" and frame == ("+", b"OK"):
            peer.queued = []
        elif name == b"RESET" or name == b"DISCARD":
            peer.queued = None
        elif name == b"EXEC":
            queued, peer.queued = peer.queued or [], None
            if frame[0] == "*" and frame[1] is not None and len(frame[1]) == len(queued):
                return "*", [normalise.normalise(*pair) for pair in zip(queued, frame[1])]
        elif frame == ("+", b"QUEUED") and peer.queued is not None:
            peer.queued.append(words)
            return frame
        return normalise.normalise(words, frame)

    def _scan(self, peer, words):
        cursor, found = b"0", set()
        for _ in range(SCAN_ROUNDS_MAX):
            peer.wire.send([cursor if word == b"$(cursor)" else word for word in words])
            frame = peer.wire.frame()
            if frame[0] != "*" or len(frame[1]) != 2:
                return frame
            cursor, elements = frame[1][0][1], frame[1][1][1]
            if words[0].upper() == b"HSCAN":
                found.update(zip(map(render, elements[::2]), map(render, elements[1::2])))
            else:
                found.update(map(render, elements))
            if cursor == b"0":
                lines = (" = ".join(one) if isinstance(one, tuple) else one for one in sorted(found))
                return "*", [("+", line.encode()) for line in lines]
        raise ValueError("the cursor never comes back to 0")


# What a script may leave behind on the server when it, or the server, does not do what was meant.
_CLEAN_UP = ([b"CONFIG", b"SET", b"requirepass", b""], [b"CLIENT", b"UNPAUSE"])


def run_section(address, section, timeout):
    """The replies of a section, on a server without keys and with new connections."""
    with Session(address, timeout) as first:
        try:
            frame = first.call([b"FLUSHALL"])
            if frame != ("+", b"OK"):
                return [f"(not run: FLUSHALL says {render(frame)})"] * len(section.rows)
            with Session(address, timeout) as session:
                replies = [session.run(row) for row in section.rows]
            for words in _CLEAN_UP:
                first.call(words)
        except (Closed, TimeoutError, ValueError) as error:
            return [f"(not run: {type(error).__name__} around the section)"] * len(section.rows)
    return replies
