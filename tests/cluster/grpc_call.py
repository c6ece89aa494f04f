"""One gRPC call with an empty request, by a client of 60 lines: to learn whether a server lets a certificate call a method.

HTTP/2 (RFC 9113) with headers that are neither compressed nor indexed (RFC 7541 §6.2.2). Of the answer only grpc-status is read: gRPC's
server sends a header that it sends for the first time in a connection as plain octets.
"""
import re
import socket
import ssl
import struct
import time

DATA, HEADERS, SETTINGS, PING = 0, 1, 4, 6
END_STREAM, END_HEADERS, ACK = 1, 4, 1
STATUS = re.compile(rb"grpc-status[\x01\x02](\d{1,2})")


def frame(kind, flags, stream, payload):
    return struct.pack("!I", len(payload))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + payload


def header(name, value):
    assert len(name) < 127 and len(value) < 127
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def read(sock, count):
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            raise ConnectionError("closed")
        data += more
    return data


def call(address, port, host, method, certificate, key, ca, patience=0.7):
    """The status code (a number), or None when the call was let in and goes on (a stream). Raises ConnectionError or ssl.SSLError when
    there is no connection. `method` is "package.Service/Method"; `host` is the name that the server's certificate must have."""
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["h2"])
    with socket.create_connection((address, port), 10) as plain, context.wrap_socket(plain, server_hostname=host) as sock:
        fields = [(":method", "POST"), (":scheme", "https"), (":path", "/" + method), (":authority", host), ("te", "trailers"),
                  ("content-type", "application/grpc")]
        block = b"".join(header(n, v) for n, v in fields)
        sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, b"") + frame(HEADERS, END_HEADERS, 1, block)
                     + frame(DATA, END_STREAM, 1, b"\0" * 5))
        end, answered = time.time() + 10, False
        while time.time() < end:
            sock.settimeout(max(0.05, (patience if answered else end - time.time())))
            try:
                head = read(sock, 9)
                length = struct.unpack("!I", b"\0" + head[:3])[0]
                payload = read(sock, length)
            except socket.timeout:
                return None
            kind, flags = head[3], head[4]
            if kind == SETTINGS and not flags & ACK:
                sock.sendall(frame(SETTINGS, ACK, 0, b""))
            elif kind == PING and not flags & ACK:
                sock.sendall(frame(PING, ACK, 0, payload))
            elif kind == HEADERS:
                found = STATUS.search(payload)
                if found:
                    return int(found[1])
                answered = True
        return None
