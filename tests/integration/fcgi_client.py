"""FastCGI 1.0 by hand: records as bytes, so that a test may send what no web server would."""
import socket
import struct
import time

BEGIN, ABORT, END, PARAMS, STDIN, STDOUT, STDERR, DATA, GET_VALUES, GET_VALUES_RESULT, UNKNOWN_TYPE = range(1, 12)
RESPONDER, AUTHORIZER, FILTER = 1, 2, 3
KEEP_CONN = 1
REQUEST_COMPLETE, CANT_MPX_CONN = 0, 1


# ---- What a web server sends ----


def record(kind, content=b"", request_id=1, padding=0, version=1):
    return struct.pack(">BBHHBB", version, kind, request_id, len(content), padding, 0) + content + b"\0" * padding


def length(n):
    return bytes([n]) if n < 128 else struct.pack(">I", n | 1 << 31)


def pairs(values):
    out = b""
    for name, value in values.items():
        name, value = name.encode(), value.encode()
        out += length(len(name)) + length(len(value)) + name + value
    return out


def begin(request_id=1, role=RESPONDER, keep=True):
    return record(BEGIN, struct.pack(">HB5x", role, KEEP_CONN if keep else 0), request_id)


def stream(kind, content, request_id=1, piece=65535, padding=0):
    """The content in records, then the empty one that ends it."""
    out = b"".join(record(kind, content[at:at + piece], request_id, padding) for at in range(0, len(content), piece))
    return out + record(kind, b"", request_id)


def environment(method="GET", target="/ping", body=b"", **more):
    values = {"REQUEST_METHOD": method, "REQUEST_URI": target, "REMOTE_ADDR": "192.0.2.1"}
    if body:
        values |= {"CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(body))}
    return {name: value for name, value in (values | more).items() if value is not None}


def request(method="GET", target="/ping", body=b"", request_id=1, keep=True, padding=0, piece=65535, **more):
    """A whole request; more: further variables, None takes one away."""
    params = pairs(environment(method, target, body, **more))
    return (begin(request_id, keep=keep) + stream(PARAMS, params, request_id, piece)
            + stream(STDIN, body, request_id, piece, padding))


# ---- What it gets ----


class Response:
    """One request's answer. Without an END_REQUEST, `complete` is false."""

    def __init__(self):
        self.stdout = self.stderr = b""
        self.complete = self.stdout_ended = False
        self.app_status = self.protocol_status = None

    @property
    def head(self):
        return self.stdout.partition(b"\r\n\r\n")[0].decode()

    @property
    def body(self):
        return self.stdout.partition(b"\r\n\r\n")[2]

    @property
    def headers(self):
        lines = (line.partition(": ") for line in self.head.split("\r\n"))
        return {name.lower(): value for name, _, value in lines}

    @property
    def status(self):
        return int(self.headers["status"].split()[0])

    def __repr__(self):
        return f"complete={self.complete} app={self.app_status} protocol={self.protocol_status} {self.stdout[:500]!r}"


class Connection:
    def __init__(self, path, timeout=20):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(path)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data, piece=None, pause=0):
        """At once, or in pieces of that many bytes with pauses between."""
        if piece is None:
            self.socket.sendall(data)
            return
        for at in range(0, len(data), piece):
            self.socket.sendall(data[at:at + piece])
            if pause:
                time.sleep(pause)

    def half_close(self):
        self.socket.shutdown(socket.SHUT_WR)

    def _fill(self, size):
        """Whether so many bytes came before the end."""
        while len(self.buffer) < size:
            try:
                more = self.socket.recv(65536)
            except ConnectionResetError:
                more = b""
            if not more:
                return False
            self.buffer += more
        return True

    def read_record(self):
        """(kind, request id, content), or None when the worker has closed."""
        if not self._fill(8):
            assert not self.buffer, f"closed within a record: {self.buffer!r}"
            return None
        version, kind, request_id, size, padding, _ = struct.unpack(">BBHHBB", self.buffer[:8])
        assert version == 1, self.buffer[:8]
        assert self._fill(8 + size + padding), "closed within a record"
        content, self.buffer = self.buffer[8:8 + size], self.buffer[8 + size + padding:]
        return kind, request_id, content

    def read_response(self, request_id=1):
        """Up to END_REQUEST of that request, or to the end of the connection."""
        response = Response()
        while not response.complete:
            got = self.read_record()
            if got is None:
                break
            kind, of, content = got
            assert of == request_id, got
            if kind == STDOUT:
                assert not response.stdout_ended, "STDOUT behind its end"
                response.stdout += content
                response.stdout_ended = not content
            elif kind == STDERR:
                response.stderr += content
            else:
                assert kind == END and len(content) == 8, got
                response.app_status, response.protocol_status = struct.unpack(">IB3x", content)
                response.complete = True
        return response

    def ask(self, *arguments, **options):
        self.send(request(*arguments, **options))
        return self.read_response(options.get("request_id", 1))

    def closed(self):
        """Whether the worker closes (within the timeout) without another byte."""
        return not self._fill(1)

    def kept(self):
        """Whether another request is answered on it."""
        return self.ask().status == 200


def parse_pairs(content):
    """Names and values up to 127 bytes, as in FCGI_GET_VALUES_RESULT."""
    values = {}
    while content:
        n, v = content[0], content[1]
        values[content[2:2 + n].decode()] = content[2 + n:2 + n + v].decode()
        content = content[2 + n + v:]
    return values
