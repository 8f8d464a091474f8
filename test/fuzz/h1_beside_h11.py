"""The bridge's reader of heads beside h11, a strict implementation of HTTP/1.1 by others.

What ours accepts, h11 must read in the same way: method, target, names, values, where the body begins and ends, whether
the connection goes on. (What ours refuses, h11 may take.) The heads are drawn from a seed: proper ones of many forms,
and ones that are spoiled in the ways that have made two servers see different requests in the same bytes.

    h1_beside_h11.py PROGRAM [--seed N] [--seconds N]

PROGRAM is h1_beside_h11.c's. FUZZ_SECONDS says how long, too. Prints TAP.

Part of scoreboard; PostgreSQL licence, see LICENSE.
"""
import argparse
import collections
import os
import random
import subprocess
import sys
import time

import h11

BATCH = 2000
# What a body longer than this would be is compared by its header alone.
LONGEST_BODY = 100_000
FOLLOWING = b"GET /following HTTP/1.1\r\nHost: h\r\n\r\n"

KNOWN = """Accept Accept-Encoding Accept-Language Authorization Cache-Control Connection Content-Encoding Content-Length
    Content-Type Cookie Date Expect Host Idempotency-Key If-None-Match Keep-Alive Last-Event-ID Origin Proxy-Connection
    Sec-WebSocket-Key Sec-WebSocket-Protocol TE Trailer Transfer-Encoding Upgrade User-Agent Via X-Forwarded-For
    X-Request-Id""".split()
METHODS = ["GET", "POST", "HEAD", "PUT", "OPTIONS", "DELETE", "PATCH", "M-SEARCH", "!#$%&'*+-.^_`|~"]
TARGETS = ["/", "/health", "/v1/leaderboard/top?board=global&limit=3", "/v1/users/a%2Fb/score", "/a/../b", "//", "/./",
           "/?", "/?a?b", "/a;b=c", "/%74op", "/x?y=/z"]
BAD_TARGETS = ["http://h/health", "HTTP://h", "h:443", "*", "health", "", "/a b", "/#x", "/%", "/%zz", "/\xe4", "/\\", "/a\tb",
               "/\"", "/\x7f", "/{}", "/|", "/^"]
VALUES = ["x", "", "a b", "a\tb", "a, b", "\xe4\xf6", "\"quoted\"", "Bearer abc.def", "x" * 300, ":", "a:b", "5", "close"]
LENGTHS = ["0", "5", "17", "05", "16384", "16385", "99999", "+5", "-5", "0x5", "5,5", "5, 5", "5, 6", "", " ", "5 5", "5.0", "1e1",
           "\xb2", "9" * 25, "9223372036854775807", "9223372036854775808", "18446744073709551621", "4294967301", "00", "5\t", "5;"]
ENCODINGS = ["chunked", "", "identity", "gzip, chunked", "chunked, identity", "Chunked", "xchunked", "chunked;q=1", " chunked"]
CONNECTIONS = ["close", "keep-alive", "Close", "keep-alive, close", "close,", ",close", "upgrade", "Upgrade, close", "closed", "\"close\"",
               "host", "content-length", "close , x", "\tclose"]
HOSTS = ["board.test", "board.test:8080", "[::1]:80", "", "a b", "a@b", "a/b", "a,b", "\xe4", "a#b"]
VERSIONS = ["HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "HTTP/1.10", "HTTP/01.1", "HTP/1.1", "http/1.1", "HTTP/1.1 ", " HTTP/1.1",
            "HTTP/ 1.1", "HTTP/1", "HTTP/1.", "", "HTTP/1.1\x0b", "HTTPS/1.1", "HTTP/1.\xb9"]
COLONS = [":", ":  ", ":\t", " :", "\t:", " : ", "", "::", ":\x00", ":\x0b", ";"]
LINE_ENDS = ["\n", "\r", "\r\r\n", "\n\r", "\r\n ", "\r\n\t", "\x0b\r\n", "\x00\r\n", "\r\n\r\n", "\x85\r\n", "\r\n\x00"]
PIECES = ["\r\n", "\n", "\r", "\x00", "\x0b", "\x0c", "\x1f", "\x7f", "\x85", "\xa0", " ", "\t", ":", ",", "\r\n\r\n", "\r\n ",
          "Content-Length: 5\r\n", "Content-Length:5\r\n", "content-length: 6\r\n", "Transfer-Encoding: chunked\r\n", "Host: other\r\n"]


class Heads:
    """Draws heads, as bytes; `plain` is true for those that everybody has to take."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def one_in(self, number):
        return self.random.randrange(number) == 0

    def choose(self, good, bad, rarely):
        return self.random.choice(bad if self.one_in(rarely) else good)

    def name(self):
        name = self.random.choice(KNOWN)
        if self.one_in(5):  # a beginning of a known name, or a name that begins with one
            name = name[:self.random.randrange(1, len(name) + 1)] + self.random.choice(["", "", "x", "-"])
        return name if self.one_in(2) else "".join(self.random.choice([c.upper(), c.lower()]) for c in name)

    def field(self):
        name = self.name()
        lists = {"content-length": LENGTHS, "transfer-encoding": ENCODINGS, "connection": CONNECTIONS, "host": HOSTS}
        value = self.random.choice(lists.get(name.lower(), VALUES))
        return name + self.choose([": "], COLONS, 15) + value + self.choose(["", " ", "\t"], ["\r", "\x00"], 200) + self.line_end()

    def line_end(self):
        return self.choose(["\r\n"], LINE_ENDS, 80)

    def plain(self):
        lines = [f"{self.random.choice(METHODS)} {self.random.choice(TARGETS)} HTTP/1.1", "Host: board.test"]
        if self.one_in(2):
            lines.append(f"Content-Length: {self.random.randrange(20000)}")
        for name in self.random.sample([n for n in KNOWN if n not in ("Host", "Content-Length", "Transfer-Encoding", "Connection")], 4):
            lines.append(f"{name}: {self.random.choice(VALUES)}")
        return "\r\n".join(lines) + "\r\n\r\n"

    def drawn(self):
        text = self.choose(METHODS, ["get", "", "G(T", "GET\x00", "G\xc4T"], 20) + self.choose([" "], ["  ", "\t", ""], 40)
        text += self.choose(TARGETS, BAD_TARGETS, 6) + self.choose([" "], ["  ", "\t", ""], 40)
        text += self.choose(["HTTP/1.1"], VERSIONS, 10) + self.line_end()
        if not self.one_in(12):
            text += "Host: board.test\r\n"
        if self.one_in(3):
            text += f"Content-Length: {self.random.choice(LENGTHS[:5])}\r\n"
        fields = [self.field() for _ in range(self.random.randrange(4))]
        if self.one_in(200):
            fields += ["X-Large: " + "x" * self.random.randrange(15000, 18000) + "\r\n"]
        return text + "".join(fields) + "\r\n"

    def spoiled(self, text):
        for _ in range(self.random.randrange(1, 4)):
            at = self.random.randrange(len(text) + 1)
            how = self.random.randrange(4)
            if how == 0:
                text = text[:at] + self.random.choice(PIECES) + text[at:]
            elif how == 1:
                text = text[:at] + text[at + self.random.randrange(1, 20):]
            elif how == 2:
                text = text[:at] + chr(self.random.randrange(256)) + text[at + 1:]
            else:  # a line twice, or elsewhere
                lines = text.split("\r\n")
                lines.insert(self.random.randrange(len(lines)), self.random.choice(lines))
                text = "\r\n".join(lines)
        return text

    def draw(self):
        kind = self.random.randrange(10)
        text = self.plain() if kind < 3 else self.drawn()
        plain = kind < 2
        if kind == 2 or kind > 7:
            text = self.spoiled(text)
        return text.encode("latin-1"), plain


Reading = collections.namedtuple("Reading", "size minor length keep_alive upgrade expect method target fields")


def from_hex(text):
    return bytes.fromhex(text[1:])


def parse_line(line):
    """What the program printed: its outcome, and the head where it was read."""
    outcome, *rest = line.split()
    if outcome != "read":
        return outcome, None
    size, minor, length, keep_alive, upgrade, expect = (int(word) for word in rest[:6])
    method, path, query, _, *texts = rest[6:]
    target = from_hex(path) + (b"?" + from_hex(query) if query[0] == "=" else b"")
    fields = [(from_hex(name).lower(), from_hex(value)) for name, value in zip(texts[::2], texts[1::2])]
    return outcome, Reading(size, minor, length, bool(keep_alive), bool(upgrade), bool(expect), from_hex(method), target, fields)


def ours(program, heads):
    packed = b"".join(b"%d\n%s" % (len(head), head) for head in heads)
    answer = subprocess.run([program], input=packed, stdout=subprocess.PIPE, check=True).stdout
    lines = answer.decode("ascii").splitlines()
    assert len(lines) == len(heads), "the program answered something else"
    return [parse_line(line) for line in lines]


def difference(head, mine):
    """How h11 reads an accepted head otherwise; None where it doesn't. Behind the head come its body and another request."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    small = mine.length <= LONGEST_BODY
    connection.receive_data(head[:mine.size] + (b"b" * mine.length + FOLLOWING if small else b""))
    request = connection.next_event()
    if not isinstance(request, h11.Request):
        return f"h11 reads {request!r}"
    pairs = [
        ("method", mine.method, request.method), ("target", mine.target, request.target), ("version", b"1.%d" % mine.minor, request.http_version),
        ("fields", mine.fields, [(bytes(name), bytes(value)) for name, value in request.headers]),
        ("expect", mine.expect, connection.they_are_waiting_for_100_continue),
    ]
    for what, here, there in pairs:
        if here != there:
            return f"{what}: {here!r}, h11 {there!r}"
    return body_difference(connection, mine) if small else None


def body_difference(connection, mine):
    length = 0
    while isinstance(event := connection.next_event(), h11.Data):
        length += len(event.data)
    if not isinstance(event, h11.EndOfMessage):
        return f"h11 reads {event!r} as the body's end"
    if length != mine.length:
        return f"length: {mine.length}, h11 {length}"
    # h11 ends every connection of HTTP/1.0.
    state = connection.their_state
    if mine.minor == 1 and state in (h11.DONE, h11.MUST_CLOSE) and mine.keep_alive != (state is h11.DONE):
        return f"keep-alive: {mine.keep_alive}, h11 {state}"
    return None


def compare(program, heads, counts):
    """The first head that was read in two ways, with how; None: there is none."""
    for (head, plain), (outcome, mine) in zip(heads, ours(program, [head for head, _ in heads])):
        counts[outcome] += 1
        if mine is None:
            if plain:
                return head, f"a proper head is {outcome}"
            continue
        # Nobody reads such a body: it is refused and the connection ends. h11 may refuse the number.
        if mine.length > 1 << 62:
            continue
        try:
            wrong = difference(head, mine)
        except h11.RemoteProtocolError as error:
            wrong = f"h11 refuses it: {error}"
        if wrong:
            return head, wrong
    return None


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("program")
    arguments.add_argument("--seed", type=int, default=20260101)
    arguments.add_argument("--seconds", type=float, default=float(os.environ.get("FUZZ_SECONDS", "2")))
    options = arguments.parse_args()
    heads = Heads(options.seed)
    counts = collections.Counter()
    found = None
    end = time.monotonic() + options.seconds
    print(f"# {options.seconds} s, seed {options.seed}, h11 {h11.__version__}")
    while found is None and (sum(counts.values()) < 5 * BATCH or time.monotonic() < end):
        found = compare(options.program, [heads.draw() for _ in range(BATCH)], counts)
    if found:
        print(f"not ok 1 - {found[1]}\n# {found[0]!r}")
        return 1
    print(f"ok 1 - {sum(counts.values())} heads: what is accepted, h11 reads in the same way")
    status = 0
    for number, outcome in enumerate(["more", "read", "malformed", "large", "encoded", "version"], 2):
        print(f"{'ok' if counts[outcome] else 'not ok'} {number} - heads {outcome}: {counts[outcome]}")
        status |= not counts[outcome]
    return status


if __name__ == "__main__":
    sys.exit(main())
