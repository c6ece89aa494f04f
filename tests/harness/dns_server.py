"""A DNS server for tests: UDP and TCP on loopback, a zone that the test fills, and misbehaviour on demand.

    with DnsServer() as dns:
        dns.mx("dest.test", (10, "mx1.dest.test"), (20, "mx2.dest.test"))
        dns.a("mx1.dest.test", "127.0.0.11")
        ... routing: dns_servers: [dns.address]

What is not in the zone does not exist (NXDOMAIN); a name with records of other types has no data. `fail`,
`delay`, `drop` and `truncate` change how a name is answered. `queries` lists what was asked, as (name, type,
"udp" or "tcp"). RFC 1035; names are ASCII and at most 253 long, which is all a test needs.
"""
import socket
import socketserver
import struct
import threading
import time

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "MX": 15, "TXT": 16, "AAAA": 28}
RCODES = {"FORMERR": 1, "SERVFAIL": 2, "NXDOMAIN": 3, "NOTIMP": 4, "REFUSED": 5}


def encode_name(name):
    out = b""
    for label in filter(None, name.split(".")):
        out += bytes([len(label)]) + label.encode()
    return out + b"\0"


def decode_question(message):
    """(id, flags, name, type, question bytes) of a query; raises on nonsense."""
    ident, flags, count = struct.unpack("!HHH", message[:6])
    labels, at = [], 12
    while message[at]:
        labels.append(message[at + 1:at + 1 + message[at]].decode().lower())
        at += 1 + message[at]
    kind, _ = struct.unpack("!HH", message[at + 1:at + 5])
    if count != 1:
        raise ValueError("one question at a time")
    return ident, flags, ".".join(labels), kind, message[12:at + 5]


class DnsServer:
    def __init__(self, ttl=60):
        self.ttl = ttl
        self.queries = []
        self._lock = threading.Lock()
        self._records = {}  # name -> [(type, rdata)]
        self._rcodes, self._delays, self._dropped, self._truncated = {}, {}, set(), set()
        outer = self

        class Udp(socketserver.BaseRequestHandler):
            def handle(self):
                data, sock = self.request
                reply = outer._answer(data, "udp")
                if reply is not None:
                    sock.sendto(reply, self.client_address)

        class Tcp(socketserver.StreamRequestHandler):
            timeout = 10

            def handle(self):
                while True:
                    head = self.rfile.read(2)
                    if len(head) < 2:
                        return
                    reply = outer._answer(self.rfile.read(struct.unpack("!H", head)[0]), "tcp")
                    if reply is None:
                        return
                    self.wfile.write(struct.pack("!H", len(reply)) + reply)

        class ThreadingTcp(socketserver.ThreadingTCPServer):
            allow_reuse_address = daemon_threads = True

        class ThreadingUdp(socketserver.ThreadingUDPServer):
            daemon_threads = True

        while True:  # one port number, free for both
            self._udp = ThreadingUdp(("127.0.0.1", 0), Udp)
            self.port = self._udp.server_address[1]
            try:
                self._tcp = ThreadingTcp(("127.0.0.1", self.port), Tcp)
                break
            except OSError:
                self._udp.server_close()
        self.address = "127.0.0.1:%d" % self.port
        self._threads = [threading.Thread(target=s.serve_forever, args=(0.05,), daemon=True) for s in (self._udp, self._tcp)]
        for t in self._threads:
            t.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for server in (self._udp, self._tcp):
            server.shutdown()
            server.server_close()
        for t in self._threads:
            t.join()

    # ---- the zone

    def _add(self, name, kind, data):
        with self._lock:
            self._records.setdefault(name.lower(), []).append((TYPES[kind], data))

    def a(self, name, *addresses):
        for address in addresses:
            self._add(name, "A", socket.inet_aton(address))

    def aaaa(self, name, *addresses):
        for address in addresses:
            self._add(name, "AAAA", socket.inet_pton(socket.AF_INET6, address))

    def replace_a(self, name, *addresses):
        """These addresses and no others from now on; none: the name does not exist."""
        with self._lock:
            if addresses:
                self._records[name.lower()] = [(TYPES["A"], socket.inet_aton(a)) for a in addresses]
            else:
                self._records.pop(name.lower(), None)

    def mx(self, name, *hosts):
        """Each host a pair: preference, name."""
        for preference, host in hosts:
            self._add(name, "MX", struct.pack("!H", preference) + encode_name(host))

    def null_mx(self, name):
        """RFC 7505."""
        self.mx(name, (0, ""))

    def cname(self, name, target):
        self._add(name, "CNAME", encode_name(target))

    def txt(self, name, text):
        self._add(name, "TXT", b"".join(bytes([len(text[i:i + 255])]) + text[i:i + 255].encode() for i in range(0, len(text) or 1, 255)))

    def remove(self, name):
        with self._lock:
            self._records.pop(name.lower(), None)

    # ---- misbehaviour

    def fail(self, name, rcode):
        """Answers this rcode ("SERVFAIL"); None: no longer."""
        with self._lock:
            if rcode is None:
                self._rcodes.pop(name.lower(), None)
            else:
                self._rcodes[name.lower()] = RCODES[rcode]

    def delay(self, name, seconds):
        with self._lock:
            self._delays[name.lower()] = seconds

    def drop(self, name):
        """Says nothing."""
        with self._lock:
            self._dropped.add(name.lower())

    def truncate(self, name):
        """Over UDP no records and the TC bit: the whole answer comes over TCP."""
        with self._lock:
            self._truncated.add(name.lower())

    # ---- answers

    def _answer(self, message, proto):
        try:
            ident, flags, name, kind, question = decode_question(message)
        except (IndexError, ValueError, UnicodeDecodeError, struct.error):
            return None
        kind_name = next((k for k, v in TYPES.items() if v == kind), str(kind))
        with self._lock:
            self.queries.append((name, kind_name, proto))
            delay, dropped = self._delays.get(name, 0), name in self._dropped
            truncated = proto == "udp" and name in self._truncated
            rcode, answers, exists, at = self._rcodes.get(name, 0), [], False, name
            for _ in range(9):  # a chain of CNAMEs
                records = self._records.get(at, [])
                exists = bool(records)
                found = [(at, t, d) for t, d in records if t == kind]
                alias = [(at, t, d) for t, d in records if t == TYPES["CNAME"]]
                answers += found or alias
                if found or not alias:
                    break
                at = self._name_in(alias[0][2])
        if delay:
            time.sleep(delay)
        if dropped:
            return None
        if rcode == 0 and not exists:
            rcode = RCODES["NXDOMAIN"]
        if self._rcodes.get(name) or truncated:
            answers = []
        body = b"".join(encode_name(n) + struct.pack("!HHIH", t, 1, self.ttl, len(d)) + d for n, t, d in answers)
        authority = b""
        if not any(t == kind for _, t, _ in answers) and rcode in (0, RCODES["NXDOMAIN"]) and not truncated:
            zone = encode_name(at.split(".", 1)[-1])  # RFC 2308: negative answers name a SOA
            soa = encode_name("ns.test") + encode_name("hostmaster.test") + struct.pack("!IIIII", 1, 3600, 600, 86400, self.ttl)
            authority = zone + struct.pack("!HHIH", TYPES["SOA"], 1, self.ttl, len(soa)) + soa
        out = 0x8000 | (flags & 0x0100) | 0x0080 | 0x0400 | (0x0200 if truncated else 0) | rcode
        header = struct.pack("!HHHHHH", ident, out, 1, len(answers), 1 if authority else 0, 0)
        return header + question + body + authority

    @staticmethod
    def _name_in(rdata):
        labels, at = [], 0
        while rdata[at]:
            labels.append(rdata[at + 1:at + 1 + rdata[at]].decode().lower())
            at += 1 + rdata[at]
        return ".".join(labels)
