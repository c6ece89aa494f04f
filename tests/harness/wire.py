"""SMTP octet by octet, and what tests read mailboxes with.

smtplib and its kin repair what they send; Wire sends exactly the bytes it is given and waits for whole replies.
"""
import base64
import imaplib
import re
import socket
import ssl
import time

# What is put on top of a message on its way into a mailbox (RFC 5321 §4.4), and nothing else.
TRACE = re.compile(
    rb"\AReturn-Path: <(?P<sender>[^>\r\n]*)>\r\n"
    rb"(?:Delivered-To: (?P<recipient>[^\r\n]+)\r\n)?"
    rb"Received: from \S+ \(\[[0-9a-fA-F.:]+\]\)\r\n"
    rb"\tby \S+ \(Posthouse\) with (?P<protocol>[A-Z0-9]+)\r\n"
    rb"(?:\t\([^\r\n]*\)\r\n)?"
    rb"\tid (?P<trace>[0-9a-f]+)(?:\r\n\tfor <[^>\r\n]+>)?;\r\n"
    rb"\t\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000\r\n")


def split_trace(message):
    """(the match of TRACE, the message as it was sent)."""
    m = TRACE.match(message)
    if m is None:
        raise AssertionError("no trace fields on top: %r" % message[:400])
    return m, message[m.end():]


def dot_stuff(message):
    """The message as it travels after DATA, its end included (RFC 5321 §4.5.2)."""
    stuffed = message.replace(b"\r\n.", b"\r\n..")
    if stuffed.startswith(b"."):
        stuffed = b"." + stuffed
    if not stuffed.endswith(b"\r\n") and stuffed:
        stuffed += b"\r\n"
    return stuffed + b".\r\n"


class Closed(Exception):
    """The peer closed the connection."""


class Wire:
    def __init__(self, port, host="127.0.0.1", tls=False, timeout=20):
        self.socket = socket.create_connection((host, port), timeout)
        self.buffer = b""
        if tls:
            self.start_tls()

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def start_tls(self):
        """The client's side of the handshake; what was read before it is kept in `buffer`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.socket = context.wrap_socket(self.socket)

    def send(self, data):
        self.socket.sendall(data)

    def line(self):
        """One line with its CRLF; raises Closed."""
        while b"\n" not in self.buffer:
            try:
                data = self.socket.recv(65536)
            except (ConnectionResetError, ssl.SSLError) as e:
                if isinstance(e, (socket.timeout, ssl.SSLWantReadError)):
                    raise
                data = b""
            if not data:
                raise Closed(self.buffer)
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line + b"\n"

    def reply(self):
        """A whole SMTP reply: its lines, joined."""
        lines = []
        while True:
            lines.append(self.line())
            if lines[-1][3:4] != b"-":
                return b"".join(lines)

    def command(self, line):
        self.send(line + b"\r\n")
        return self.reply()

    def silent(self, seconds=0.3):
        """Whether nothing (more) comes within that time."""
        if self.buffer:
            return False
        before = self.socket.gettimeout()
        self.socket.settimeout(seconds)
        try:
            data = self.socket.recv(65536)
        except socket.timeout:
            return True
        except (ConnectionResetError, ssl.SSLError):
            return True
        finally:
            self.socket.settimeout(before)
        self.buffer += data
        return not data

    def expect(self, code, line=None):
        """Sends `line` unless None; asserts that the reply starts with `code`."""
        reply = self.reply() if line is None else self.command(line)
        if not reply.startswith(code):
            raise AssertionError("%r: %r, expected %r" % (line, reply, code))
        return reply

    def login(self, user, password):
        token = base64.b64encode(b"\0" + user.encode() + b"\0" + password.encode())
        self.expect(b"235", b"AUTH PLAIN " + token)

    def envelope(self, sender, *recipients):
        """MAIL and RCPTs, all of them accepted."""
        self.expect(b"250", b"MAIL FROM:<%s>" % sender.encode())
        for recipient in recipients:
            self.expect(b"250", b"RCPT TO:<%s>" % recipient.encode())


def imap(port, user, password):
    c = imaplib.IMAP4("127.0.0.1", port, timeout=60)
    try:
        c.login(user, password)
    except imaplib.IMAP4.error:
        c.shutdown()
        raise
    return c


def read_folder(port, user, password, folder="INBOX"):
    """All messages of a folder, in order."""
    c = imap(port, user, password)
    try:
        kind, data = c.select(folder, readonly=True)
        if kind != "OK":
            raise imaplib.IMAP4.error(data[0].decode())
        if int(data[0]) == 0:
            return []
        kind, data = c.fetch("1:*", "(BODY.PEEK[])")
        assert kind == "OK", data
        return [item[1] for item in data if isinstance(item, tuple)]
    finally:
        c.logout()


def wait_for(check, seconds=30, what="it"):
    """Calls `check` until what it returns is true, and returns that."""
    end = time.time() + seconds
    while True:
        result = check()
        if result:
            return result
        if time.time() > end:
            raise AssertionError("%s did not happen within %d s" % (what, seconds))
        time.sleep(0.05)


def wait_count(port, user, password, count, seconds=60, folder="INBOX"):
    """Until the folder has that many messages."""
    c = imap(port, user, password)
    try:
        def enough():
            kind, data = c.status(folder, "(MESSAGES)")
            assert kind == "OK", data
            return int(re.search(rb"MESSAGES (\d+)", data[0])[1]) >= count
        wait_for(enough, seconds, "message %d of %s" % (count, user))
    finally:
        c.logout()
