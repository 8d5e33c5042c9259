"""RESP as bytes on a socket: commands out, reply frames in, nothing interpreted away.

A frame is (type, value): the type is RESP's own first character, the value bytes, a list of frames, or None for a null of
RESP2. `render` writes a frame on one line such that two frames look alike only when their bytes are alike.
"""

import socket

_LINE = b"+-:,#_("
_BULK = b"$=!"
_MANY = {b"*"[0]: 1, b"~"[0]: 1, b">"[0]: 1, b"%"[0]: 2, b"|"[0]: 2}
BYTES_MAX = 64 << 20


class Closed(Exception):
    """The server ended the connection."""


class Connection:
    """One blocking connection; address is the path of a Unix socket."""

    def __init__(self, address, timeout):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(address)
        self.buffer, self.at = b"", 0

    def close(self):
        self.socket.close()

    def send(self, words):
        parts = [b"*%d\r\n" % len(words)]
        parts += [b"$%d\r\n%s\r\n" % (len(word), word) for word in words]
        self.send_raw(b"".join(parts))

    def send_raw(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            raise Closed from None

    def _fill(self):
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        if not data:
            raise Closed
        self.buffer, self.at = self.buffer[self.at:] + data, 0

    def _line(self):
        while True:
            end = self.buffer.find(b"\r\n", self.at)
            if end >= 0:
                line, self.at = self.buffer[self.at:end], end + 2
                return line
            self._fill()

    def _take(self, count):
        if not 0 <= count <= BYTES_MAX:
            raise ValueError(f"a length of {count}")
        while len(self.buffer) - self.at < count:
            self._fill()
        data, self.at = self.buffer[self.at:self.at + count], self.at + count
        return data

    def frame(self):
        line = self._line()
        if not line:
            raise ValueError("an empty line where a reply begins")
        kind, rest = line[0], line[1:]
        if kind in _LINE:
            return chr(kind), rest
        if kind not in _BULK and kind not in _MANY:
            raise ValueError(f"no reply begins with {line[:40]!r}")
        count = int(rest)
        if b"%d" % count != rest:
            raise ValueError(f"a length written as {rest!r}")
        if count == -1:
            return chr(kind), None
        if kind in _BULK:
            data = self._take(count + 2)
            if data[-2:] != b"\r\n":
                raise ValueError(f"a bulk string of {count} bytes does not end there")
            return chr(kind), data[:-2]
        return chr(kind), [self.frame() for _ in range(count * _MANY[kind])]


def escape(data):
    out = []
    for byte in data:
        char = chr(byte)
        if char in '\\"':
            out.append("\\" + char)
        elif 32 <= byte < 127:
            out.append(char)
        else:
            out.append({10: "\\n", 13: "\\r", 9: "\\t"}.get(byte) or f"\\x{byte:02x}")
    return "".join(out)


_BRACKETS = {"*": ("[", "]"), "~": ("~[", "]"), ">": (">[", "]"), "%": ("{", "}"), "|": ("|{", "}")}
LONG = 200


def render(frame):
    kind, value = frame
    if kind in "$=!":
        if value is None:
            return kind + "null"
        if len(value) > LONG and len(set(value)) == 1:  # a long run of one byte
            return f"{'' if kind == '$' else kind}{len(value)} x \"{escape(value[:1])}\""
        return ("" if kind == "$" else kind) + '"' + escape(value) + '"'
    if kind in _BRACKETS:
        if value is None:
            return kind + "null"
        opening, closing = _BRACKETS[kind]
        return opening + ", ".join(map(render, value)) + closing
    return kind + escape(value)
