"""Bad input: a clear error or a disconnect, bounded memory, others unaffected.

Ten-megabyte lines, half-open connections, thousands of idle ones, invalid literals, deep MIME and
NULs against every mail listener of a running `standalone`; a well-behaved client is served
throughout. Prints the resident memory it saw.
"""
import imaplib
import os
import re
import resource
import smtplib
import socket
import ssl
import time
import unittest

from posthouse import Posthouse

USER, PASSWORD = "user@example.org", "correct horse"
IDLE = int(os.environ.get("IDLE_CONNECTIONS", "5000"))
mail = None


def dial(port, greet=True):
    s = socket.create_connection(("127.0.0.1", mail.ports[port]), 20)
    s.settimeout(20)
    if greet:
        read_until(s, b"\n")
    return s


def read_until(s, end, limit=1 << 20):
    """Everything up to `end`, or up to the close."""
    data = b""
    while end not in data and len(data) < limit:
        try:
            chunk = s.recv(65536)
        except (ConnectionResetError, socket.timeout):
            break
        if not chunk:
            break
        data += chunk
    return data


def try_send(s, data):
    try:
        s.sendall(data)
    except (BrokenPipeError, ConnectionResetError, socket.timeout):
        pass


# A sanitizer's shadow and quarantine are not the server's memory.
SANITIZED = bool(os.environ.get("POSTHOUSE_SANITIZED"))


def rss():
    return mail.rss_kib("standalone")


def deliver(body, subject="probe"):
    with smtplib.SMTP("127.0.0.1", mail.ports["smtp"], timeout=30) as c:
        c.sendmail("sender@example.net", [USER], b"Subject: " + subject.encode() + b"\r\n" + body)


def inbox():
    c = imaplib.IMAP4("127.0.0.1", mail.ports["imap"], timeout=30)
    c.login(USER, PASSWORD)
    c.select("INBOX")
    return c


def wait_for(subject, seconds=30):
    """UID of the message, once it is visible."""
    c, end = inbox(), time.time() + seconds
    try:
        while time.time() < end:
            found = c.uid("SEARCH", None, "SUBJECT", '"%s"' % subject)[1][0].split()
            if found:
                return found[-1].decode()
            time.sleep(0.05)
            c.noop()
    finally:
        c.logout()
    raise AssertionError("%s did not arrive" % subject)


class System(unittest.TestCase):
    """Each class has a system of its own."""

    @classmethod
    def setUpClass(cls):
        global mail
        mail = Posthouse.standalone()
        mail.__enter__()
        cls.addClassCleanup(mail.__exit__, None, None, None)
        mail.add_account(USER, PASSWORD)


class Hostile(System):
    def setUp(self):
        self.before = rss()

    def tearDown(self):
        self.assertIsNone(mail.processes["standalone"].poll(), "the server ended")
        subject = "still fine after %s %d" % (self._testMethodName, time.time_ns())
        deliver(b"\r\nhello\r\n", subject)
        wait_for(subject)
        grown = rss() - self.before
        print("%s: RSS %d KiB, grown by %d KiB" % (self._testMethodName, rss(), grown), flush=True)

    def grown_less_than(self, mib):
        if not SANITIZED:
            self.assertLess(rss() - self.before, mib * 1024)

    def test_ten_megabyte_lines(self):
        for port in ("smtp", "submission", "imap", "pop3"):
            s = dial(port)
            try_send(s, b"x" * (10 << 20) + b"\r\n")
            reply = read_until(s, b"\n")
            self.assertTrue(reply == b"" or reply.split()[0] in (b"500", b"552", b"421", b"*", b"-ERR") or b" BAD" in reply,
                            (port, reply[:200]))
            s.close()
        self.grown_less_than(64)

    def test_a_line_without_end_is_cut_off(self):
        for port in ("smtp", "imap", "pop3"):
            s = dial(port)
            for _ in range(100):
                try_send(s, b"y" * (1 << 20))
            s.close()
        self.grown_less_than(64)

    def test_ten_megabyte_data_line_is_answered(self):
        s = dial("smtp")
        for line in (b"EHLO x.test", b"MAIL FROM:<a@b.test>", b"RCPT TO:<%s>" % USER.encode(), b"DATA"):
            s.sendall(line + b"\r\n")
            read_until(s, b"\n")
        try_send(s, b"Subject: long\r\n\r\n" + b"z" * (10 << 20) + b"\r\n.\r\n")
        reply = read_until(s, b"\n")
        self.assertIn(reply[:3], (b"250", b"500", b"552", b"554", b""), reply[:100])
        s.close()

    def test_half_open_connections(self):
        held = []
        for i in range(300):
            port = ("smtp", "imap", "pop3", "imaps")[i % 4]
            s = dial(port, greet=False)
            try_send(s, {"smtp": b"EHLO half", "imap": b"a LOGIN {5", "pop3": b"USE", "imaps": b"\x16\x03\x01"}[port])
            held.append(s)
        deliver(b"\r\nx\r\n", "while half open")
        wait_for("while half open")
        for s in held:
            s.close()

    def test_half_sent_messages(self):
        """DATA that stops half-way, on many connections: the memory for messages is a budget of the process."""
        count, sent = int(os.environ.get("HALF_SENT", "60")), int(os.environ.get("HALF_SENT_BYTES", str(2 << 20)))
        held = []
        block = b"x" * 998 + b"\r\n"
        before = rss()
        for i in range(count):
            s = socket.create_connection(("127.0.0.1", mail.ports["smtp"]), 20, source_address=("127.6.0.%d" % (i % 200 + 1), 0))
            s.settimeout(20)
            read_until(s, b"\n")
            for line in (b"EHLO x.test", b"MAIL FROM:<a@b.test>", b"RCPT TO:<%s>" % USER.encode(), b"DATA"):
                s.sendall(line + b"\r\n")
                reply = read_until(s, b"\n")
            self.assertTrue(reply.startswith(b"354"), reply)
            try_send(s, block * (sent // len(block)))
            held.append(s)
        time.sleep(1)  # until what was sent is taken
        grown = (rss() - before) // 1024
        memory = mail.metrics("standalone").get("posthouse_ingress_message_memory_bytes", 0) / (1 << 20)
        print("%d messages of %d KiB half sent: RSS %d MiB, grown by %d MiB; %d MiB of the budget" % (
            count, sent >> 10, rss() >> 10, grown, memory), flush=True)
        self.assertLessEqual(memory, 128)
        # The budget of ingress, that of the queue, and what sockets and calls hold.
        if not SANITIZED:
            self.assertLess(grown, 400)
        deliver(b"\r\nx\r\n", "while half sent")  # a small message still has room
        wait_for("while half sent")
        for s in held:
            s.close()

    def test_invalid_literals(self):
        for command in (b"a LOGIN {99999999999999999999}\r\n", b"a LOGIN {-1}\r\n", b"a LOGIN {abc}\r\n", b"a LOGIN {5\r\n",
                        b"a LOGIN {5}x\r\n", b"a LOGIN {4294967295+}\r\n", b"a LOGIN {18446744073709551616+}\r\n"):
            s = dial("imap")
            try_send(s, command)
            reply = read_until(s, b"\r\n")
            self.assertTrue(b" BAD" in reply or b" NO" in reply or b"* BYE" in reply or reply == b"", (command, reply))
            s.close()
        c = inbox()  # an APPEND over the limit is refused before it is sent, or swallowed
        s = c.socket()
        s.sendall(b"z APPEND INBOX {999999999999}\r\n")
        reply = read_until(s, b"\r\n")
        self.assertRegex(reply, rb"z (NO|BAD)|\* BYE")
        s.close()

    def test_a_non_synchronising_literal_over_the_limit_is_not_kept(self):
        s = dial("imap")
        try_send(s, b"a LOGIN {33554432+}\r\n")
        for _ in range(32):
            try_send(s, b"q" * (1 << 20))
        try_send(s, b' "x"\r\nb NOOP\r\n')
        reply = read_until(s, b"b OK")
        self.assertTrue(b"a BAD" in reply or b"a NO" in reply or b"BYE" in reply or reply == b"", reply[:200])
        s.close()
        self.grown_less_than(64)

    def test_deep_mime(self):
        depth = 3000
        nested = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (i, i) for i in range(depth))
        deliver(b"MIME-Version: 1.0\r\n" + nested + b"\r\nbottom\r\n", "deep multipart")
        deliver(b"MIME-Version: 1.0\r\n" + b"Content-Type: message/rfc822\r\n\r\n" * depth + b"\r\nbottom\r\n", "deep rfc822")
        wide = b"".join(b"--w\r\n\r\nx\r\n" for _ in range(50000))
        deliver(b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=w\r\n\r\n" + wide + b"--w--\r\n", "wide multipart")
        for subject in ("deep multipart", "deep rfc822", "wide multipart"):
            uid = wait_for(subject)
            c = inbox()
            kind, data = c.uid("FETCH", uid, "(BODYSTRUCTURE ENVELOPE RFC822.SIZE)")
            self.assertEqual(kind, "OK")
            self.assertIsNotNone(data[0])
            c.logout()
        self.grown_less_than(128)

    def test_nuls(self):
        s = dial("smtp")
        s.sendall(b"EHLO nul\0.test\r\n")
        self.assertIn(read_until(s, b"\n")[:1], (b"5", b"2", b""))
        s.close()
        s = dial("smtp")
        for line in (b"EHLO x.test", b"MAIL FROM:<a@b.test>", b"RCPT TO:<%s>" % USER.encode(), b"DATA"):
            s.sendall(line + b"\r\n")
            read_until(s, b"\n")
        try_send(s, b"Subject: nul\r\n\r\na\0b\r\n.\r\n")
        self.assertIn(read_until(s, b"\n")[:3], (b"250", b"550", b"554", b"500", b""))
        s.close()
        for port, command in (("imap", b"a NO\0OP\r\n"), ("imap", b"\0\0\0\r\n"), ("pop3", b"US\0ER x\r\n")):
            s = dial(port)
            try_send(s, command)
            reply = read_until(s, b"\n")
            self.assertTrue(reply == b"" or b"BAD" in reply or b"-ERR" in reply or b"BYE" in reply, (port, command, reply))
            s.close()

    def test_binary_noise(self):
        noise = os.urandom(200000)
        for port in ("smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s"):
            s = dial(port, greet=False)
            try_send(s, noise + b"\r\n")
            s.close()
        self.grown_less_than(64)

    def test_huge_headers(self):
        deliver(b"To: " + b",\r\n ".join(b"user%d@example.net" % i for i in range(100000)) + b"\r\n\r\nx\r\n", "many addresses")
        deliver(b"".join(b"X-%d: y\r\n" % i for i in range(200000)) + b"\r\nx\r\n", "many fields")
        deliver(b"References: " + b"<a@b>" * 400000 + b"\r\n\r\nx\r\n", "one long field")
        deliver(b"X: " + b"=?utf-8?q?=41?= " * 100000 + b"\r\n\r\nx\r\n", "encoded words")
        for subject in ("many addresses", "many fields", "one long field", "encoded words"):
            uid = wait_for(subject)
            c = inbox()
            kind, data = c.uid("FETCH", uid, "(ENVELOPE BODYSTRUCTURE BODY.PEEK[HEADER.FIELDS (Subject)])")
            self.assertEqual(kind, "OK")
            self.assertIn(subject.encode(), b"".join(d[1] for d in data if isinstance(d, tuple)))
            c.logout()
        self.grown_less_than(192)

    def test_deep_commands(self):
        deliver(b"\r\nx\r\n", "to be fetched")
        wait_for("to be fetched")
        c = inbox()
        s = c.socket()
        for command in (b"SEARCH " + b"(" * 20000 + b"ALL" + b")" * 20000, b"SEARCH " + b"NOT " * 15000 + b"ALL",
                        b"SEARCH " + b"OR " * 10000 + b"ALL " * 10001, b"FETCH 1 BODY[" + b"1." * 20000 + b"TEXT]",
                        b"FETCH " + b",".join(b"%d:%d" % (i, i + 1) for i in range(1, 8000)) + b" FLAGS",
                        b"FETCH 1 (" + b"(" * 20000 + b"FLAGS", b"LIST \"\" " + b"*%" * 20000, b"LIST \"\" " + b"a*" * 20 + b"b",
                        b"CREATE " + b"a/" * 10000 + b"a", b"STORE 1 +FLAGS (" + b" ".join(b"k%d" % i for i in range(5000)) + b")"):
            began = time.time()
            try_send(s, b"x " + command + b"\r\n")
            reply = b""
            while not re.search(rb"(?m)^x (OK|NO|BAD) .*\r\n", reply):
                data = read_until(s, b"\n")
                reply += data
                if data == b"":
                    break
            self.assertLess(time.time() - began, 20, command[:40])
            print("%s...: %s" % (command[:20].decode(), reply[-80:]))
            if not re.search(rb"(?m)^x ", reply):  # a disconnect
                s.close()
                c = inbox()
                s = c.socket()
        s.close()
        self.grown_less_than(64)


class Descriptors(unittest.TestCase):
    """More connections than descriptors: probes, stores and calls still get theirs."""

    def test_connections_leave_descriptors_for_other_work(self):
        few = Posthouse.standalone({"ingress": {"smtp": {"max_connections_per_address": 0}}})
        few.before_exec = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        with few:
            held, replies = [], []
            for _ in range(400):
                s = socket.create_connection(("127.0.0.1", few.ports["smtp"]), 20)
                s.settimeout(20)
                replies.append(read_until(s, b"\n")[:3])
                held.append(s)
            self.assertEqual(replies.count(b"220"), 128)  # half of the limit
            self.assertLessEqual(set(replies), {b"220", b"421", b""})
            few.wait_ready("standalone", 20)
            few.add_account(USER, PASSWORD)
            with open(few.path("standalone.log")) as log:
                self.assertNotIn("accept_failed", log.read())
            for s in held:
                s.close()


class Idle(System):
    """Thousands of connections that say nothing; on a fresh process, so that what they cost is seen."""

    def hold(self, what, count, most_kib, connect):
        held = [connect() for _ in range(10)]
        before, began = rss(), time.time()
        held += [connect() for _ in range(count - 10)]
        per = (rss() - before) / (count - 10)
        print("%d idle %s connections in %.1f s: %.1f KiB each; RSS %d KiB" % (count, what, time.time() - began, per, rss()), flush=True)
        deliver(b"\r\nx\r\n", "among the idle: " + what)
        wait_for("among the idle: " + what)
        if not SANITIZED:
            self.assertLess(per, most_kib, "KiB of server memory for an idle connection")
        return held

    def test_idle_connections(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

        def tls():
            s = context.wrap_socket(socket.create_connection(("127.0.0.1", mail.ports["imaps"]), 20))
            read_until(s, b"\n")
            return s

        def idling():
            c = inbox()
            c.send(b"i IDLE\r\n")
            c.readline()
            return c.socket()

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        count = min(IDLE, (soft if soft != resource.RLIM_INFINITY else 1 << 20) - 1200)
        held = self.hold("IMAP", count, 16, lambda: dial("imap"))
        held += self.hold("IMAP with TLS", 500, 64, tls)
        held += self.hold("IMAP in IDLE", 150, 64, idling)
        for s in held:
            s.close()


if __name__ == "__main__":
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    unittest.main(verbosity=2)
