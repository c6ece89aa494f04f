"""No second message inside a first, no command from before TLS after it, no mail for strangers to elsewhere.

Wrong ends of data (CVE-2023-51764 to -51766 and their kin) against the MX and the submission port, whole and cut
into pieces; commands injected before STARTTLS and STLS on SMTP, IMAP and POP3 (CVE-2011-0411 and its kin,
CVE-2021-33515); BDAT chunks that look like commands; and the sixteen relay attempts of nmap's smtp-open-relay.
"""
import socket
import ssl
import sys
import time
import unittest

from dns_server import DnsServer
from posthouse import Posthouse, free_ports
from smtp_sink import SmtpSink
from wire import Closed, Wire, read_folder, split_trace, wait_count

USER, WRITER, PASSWORD = "user@example.org", "writer@example.org", "correct horse"
SMUGGLED = "smuggled@sender.example"
FOREIGN = "foreign.test"

# Name, octets, whether the MX port takes a message with them (RFC 5321 §2.3.8: bare CR, LF and NUL are nobody's).
WRONG_ENDS = [
    ("LF.LF", b"\n.\n", False),
    ("LF.CRLF", b"\n.\r\n", False),
    ("CRLF.LF", b"\r\n.\n", False),
    ("CR.CR", b"\r.\r", False),
    ("CR.CRLF", b"\r.\r\n", False),
    ("CRLF.CR", b"\r\n.\r", False),
    ("LF.CR", b"\n.\r", False),
    ("CR.LF", b"\r.\n", False),
    ("LFCR.LFCR", b"\n\r.\n\r", False),
    ("LFLF.LFLF", b"\n\n.\n\n", False),
    ("CRLF.LFCRLF", b"\r\n.\n\r\n", False),
    ("CRLF.CRCRLF", b"\r\n.\r\r\n", False),
    ("CRCRLF.CRCRLF", b"\r\r\n.\r\r\n", False),
    ("CRLF.NULCRLF", b"\r\n.\0\r\n", False),
    ("CRLFNUL.CRLF", b"\r\n\0.\r\n", False),
    ("CRLF.CRNULLF", b"\r\n.\r\0\n", False),
    ("CRLF.SPCRLF", b"\r\n. \r\n", True),
    ("CRLF.TABCRLF", b"\r\n.\t\r\n", True),
    ("CRLFSP.CRLF", b"\r\n .\r\n", True),
    ("CRLF..CRLF", b"\r\n..\r\n", True),
    ("VT.VT", b"\x0b.\x0b", True),
    ("FF.FF", b"\x0c.\x0c", True),
    ("NEL.NEL", b"\x85.\x85", True),
    ("NEL.NEL in UTF-8", b"\xc2\x85.\xc2\x85", True),
    ("LS.LS", "\u2028.\u2028".encode(), True),
    ("overlong LF", b"\xc0\x8a.\xc0\x8a", True),
]


def config(dns, port):
    return {"ingress": {"allow_any_sender": True}, "routing": {"dns_servers": [dns.address], "smtp_port": port}}


def smuggling(name, sequence, rcpt):
    """Message data with a wrong end in the middle, what would come behind it, and the right end."""
    return (b"Date: Fri, 13 Nov 2009 22:00:00 +0000\r\nMessage-ID: <a@sender.example>\r\nSubject: %s\r\n\r\nfirst" % name.encode(),
            sequence,
            b"MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nDATA\r\nSubject: second\r\n\r\nx\r\n.\r\n" % (SMUGGLED.encode(), rcpt.encode()))


class WrongEnds(unittest.TestCase):
    def connect(self, port):
        c = Wire(mail.ports[port])
        c.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        c.expect(b"220")
        c.expect(b"250", b"EHLO client.example")
        if port != "smtp":
            c.login(WRITER, PASSWORD)
        return c

    def play(self, port, rcpt, codes, send):
        """Every sequence in one session; `send` puts the pieces on the wire. Exactly one reply, and in step."""
        accepted = 0
        with self.connect(port) as c:
            for name, sequence, clean in WRONG_ENDS:
                with self.subTest(name):
                    c.envelope("sender@sender.example", rcpt)
                    c.expect(b"354", b"DATA")
                    send(c, *smuggling(name, sequence, rcpt))
                    reply = c.reply()
                    self.assertTrue(reply.startswith(codes[clean]), reply)
                    self.assertTrue(c.silent(0.05), (name, c.buffer))
                    c.expect(b"250", b"NOOP")
                    accepted += reply.startswith(b"250")
            c.expect(b"221", b"QUIT")
        return accepted

    def test_wrong_ends_of_data(self):
        def whole(c, head, sequence, tail):
            c.send(head + sequence + tail)

        def in_octets(c, head, sequence, tail):
            c.send(head)
            for i in range(len(sequence)):
                time.sleep(0.002)
                c.send(sequence[i:i + 1])
            time.sleep(0.002)
            c.send(tail)

        def cut_before_the_line_feed(c, head, sequence, tail):
            text = head + sequence + tail
            at = len(head) + max(sequence.find(b"\r"), 0) + 1
            c.send(text[:at])
            time.sleep(0.005)
            c.send(text[at:])

        for port, rcpt, codes in (("smtp", USER, {True: b"250", False: b"550 5.6.0"}),
                                  ("submission", WRITER, {True: b"250", False: b"250"})):
            accepted = sum(self.play(port, rcpt, codes, send) for send in (whole, in_octets, cut_before_the_line_feed))
            wait_count(mail.ports["imap"], rcpt, PASSWORD, accepted)
            got = read_folder(mail.ports["imap"], rcpt, PASSWORD)
            self.assertEqual(len(got), accepted)
            for message in got:
                trace, rest = split_trace(message)
                self.assertEqual(trace["sender"], b"sender@sender.example")
                self.assertIn(b"MAIL FROM:<%s>" % SMUGGLED.encode(), rest, "what was smuggled is text of the first message")
            print("%s: %d wrong ends in 3 ways, %d messages, nothing smuggled" % (port, len(WRONG_ENDS), accepted))

    def test_the_right_end_is_the_end(self):
        """CR CR LF . CR LF: a stray CR, then a correct end; what follows are commands."""
        for port, code in (("smtp", b"550 5.6.0"), ("submission", b"250")):
            with self.connect(port) as c:
                c.envelope("sender@sender.example", "right@example.org")
                c.expect(b"354", b"DATA")
                c.send(b"Subject: x\r\n\r\nfirst\r\r\n.\r\nNOOP\r\n")
                c.expect(code)
                c.expect(b"250 2.0.0")
                self.assertTrue(c.silent(0.05))


class Commands(unittest.TestCase):
    def test_a_bare_line_feed_ends_no_command(self):
        for end in (b"\n", b"\r", b"\n\r"):
            with Wire(mail.ports["smtp"]) as c:
                c.expect(b"220")
                c.send(b"EHLO client.example" + end + b"MAIL FROM:<a@sender.example>" + end + b"RCPT TO:<%s>" % USER.encode() + end + b"\r\n")
                reply = c.reply()
                self.assertTrue(reply.startswith(b"5"), reply)
                self.assertTrue(c.silent(0.1), "it was one line")

    def test_nothing_is_read_after_quit(self):
        with Wire(mail.ports["smtp"]) as c:
            c.expect(b"220")
            c.send(b"EHLO client.example\r\nQUIT\r\nMAIL FROM:<a@sender.example>\r\nRCPT TO:<%s>\r\n" % USER.encode())
            c.expect(b"250")
            c.expect(b"221")
            with self.assertRaises(Closed):
                c.line()

    def test_a_chunk_is_never_a_command(self):
        text = b"MAIL FROM:<%s>\r\nRCPT TO:<chunk@example.org>\r\nDATA\r\nx\r\n.\r\n" % SMUGGLED.encode()
        with Wire(mail.ports["smtp"]) as c:
            c.expect(b"220")
            c.expect(b"250", b"EHLO client.example")
            c.send(b"BDAT %d\r\n" % len(text) + text)  # out of order: refused, and its octets are not looked at
            c.expect(b"503")
            self.assertTrue(c.silent(0.1), c.buffer)
            c.envelope("sender@sender.example", "chunk@example.org")
            c.send(b"BDAT %d\r\n" % len(text) + text + b"BDAT 7 LAST\r\n\r\n.\r\n\r\n")
            c.expect(b"250")
            c.expect(b"250")
            self.assertTrue(c.silent(0.1), c.buffer)
            c.expect(b"250", b"NOOP")
        wait_count(mail.ports["imap"], "chunk@example.org", PASSWORD, 1)
        got = read_folder(mail.ports["imap"], "chunk@example.org", PASSWORD)
        self.assertEqual(len(got), 1)
        self.assertEqual(split_trace(got[0])[1], text + b"\r\n.\r\n\r\n")

    def test_a_chunk_of_no_size_ends_the_session_or_is_refused(self):
        for size in (b"-1", b"", b"x", b"99999999999999999999999", b"5 FIRST"):
            with Wire(mail.ports["smtp"]) as c:
                c.expect(b"220")
                c.expect(b"250", b"EHLO client.example")
                c.envelope("sender@sender.example", USER)
                reply = c.command(b"BDAT " + size)
                self.assertTrue(reply.startswith(b"5"), (size, reply))


class BeforeTls(unittest.TestCase):
    """RFC 3207 §4.2, RFC 9051 §6.2.1, RFC 2595 §4: what was said in the clear is not heard after the handshake."""

    def inject(self, port, start, injected, go_ahead):
        """After the handshake; None when the server refused it, which is as good."""
        c = Wire(mail.ports[port])
        self.addCleanup(c.close)
        c.line()
        if port in ("smtp", "submission"):
            c.expect(b"250", b"EHLO client.example")
        c.send(start + b"\r\n" + injected)
        self.assertTrue(c.line().startswith(go_ahead))
        self.assertEqual(c.buffer, b"", "answered in the clear")
        try:
            c.start_tls()
            self.assertTrue(c.silent(0.5), "answered after TLS: %r" % c.buffer)
        except (ssl.SSLError, ConnectionError) as e:
            print("%s: handshake refused: %s" % (port, e))
            return None
        return c

    def test_smtp(self):
        for port in ("smtp", "submission"):
            for injected in (b"NOOP\r\n", b"RSET\r\nMAIL FROM:<a@b.example>\r\n", b"EHLO injected.example\r\nMAIL FROM:<a@b.example>\r\n", b"MAIL FROM:<"):
                with self.subTest("%s %r" % (port, injected)):
                    c = self.inject(port, b"STARTTLS", injected, b"220")
                    if c is not None:
                        # Not EHLO's state of before, and nothing in front of this line.
                        c.expect(b"503" if port == "smtp" else b"530", b"MAIL FROM:<a@sender.example>")
                        reply = c.expect(b"250", b"EHLO client.example")
                        self.assertNotIn(b"STARTTLS", reply)

    def test_imap(self):
        for injected in (b"b NOOP\r\n", b"b LOGIN %s \"%s\"\r\n" % (USER.encode(), PASSWORD.encode()), b"b LOGIN {5+}\r\n"):
            with self.subTest(injected):
                c = self.inject("imap", b"a STARTTLS", injected, b"a OK")
                if c is not None:
                    c.send(b"c SELECT INBOX\r\n")
                    self.assertRegex(c.line(), rb"^c (BAD|NO) ")

    def test_pop3(self):
        for injected in (b"CAPA\r\n", b"USER %s\r\nPASS %s\r\n" % (USER.encode(), PASSWORD.encode())):
            with self.subTest(injected):
                c = self.inject("pop3", b"STLS", injected, b"+OK")
                if c is not None:
                    c.send(b"STAT\r\n")
                    self.assertTrue(c.line().startswith(b"-ERR"))

    def test_a_login_of_before_is_forgotten(self):
        with Wire(mail.ports["submission"]) as c:
            c.expect(b"220")
            c.expect(b"250", b"EHLO client.example")
            c.login(WRITER, PASSWORD)
            reply = c.command(b"STARTTLS")
            if reply.startswith(b"220"):
                c.start_tls()
                c.expect(b"250", b"EHLO client.example")
                c.expect(b"530", b"MAIL FROM:<%s>" % WRITER.encode())
            else:
                self.assertTrue(reply.startswith(b"5"), reply)


class OpenRelay(unittest.TestCase):
    """What nmap's smtp-open-relay tries: none of it may be taken by a stranger."""

    def attempts(self):
        user, domain, server, ip = "antispam", FOREIGN, "mail.example.org", "127.0.0.1"
        own = "%s@[%s]" % (user, ip)
        return [
            ("", "%s@%s" % (user, domain)),
            ("%s@%s" % (user, domain), "%s@%s" % (user, domain)),
            ("%s@%s" % (user, server), "%s@%s" % (user, domain)),
            (own, "%s@%s" % (user, domain)),
            (own, "%s%%%s@[%s]" % (user, domain, ip)),
            (own, "%s%%%s@%s" % (user, domain, server)),
            (own, "\"%s@%s\"" % (user, domain)),
            (own, "\"%s%%%s\"" % (user, domain)),
            (own, "%s@%s@[%s]" % (user, domain, ip)),
            (own, "\"%s@%s\"@[%s]" % (user, domain, ip)),
            (own, "%s@%s@%s" % (user, domain, server)),
            (own, "@[%s]:%s@%s" % (ip, user, domain)),
            (own, "@%s:%s@%s" % (server, user, domain)),
            (own, "%s!%s" % (domain, user)),
            (own, "%s!%s@[%s]" % (domain, user, ip)),
            (own, "%s!%s@%s" % (domain, user, server)),
        ]

    def test_sixteen_attempts(self):
        cases = self.attempts()
        self.assertEqual(len(cases), 16)
        # With a domain of ours as the server's name, and a sender of ours.
        for ours in ("example.org",):
            cases += [(USER, rcpt.replace("mail.example.org", ours)) for _, rcpt in cases[:16]]
        for port in ("smtp", "submission", "submissions"):
            for sender, rcpt in cases:
                with self.subTest("%s %s -> %s" % (port, sender, rcpt)), Wire(mail.ports[port], tls=port == "submissions") as c:
                    c.expect(b"220")
                    c.expect(b"250", b"EHLO client.example")
                    mail_reply = c.command(b"MAIL FROM:<%s>" % sender.encode())
                    rcpt_reply = c.command(b"RCPT TO:<%s>" % rcpt.encode())
                    self.assertTrue(rcpt_reply.startswith(b"5"), (mail_reply, rcpt_reply))
                    if port != "smtp":
                        self.assertTrue(mail_reply.startswith(b"530"), mail_reply)
        time.sleep(0.3)
        self.assertEqual(sink.sessions, [])
        # The sink is within reach, so that its silence says something.
        with Wire(mail.ports["submission"]) as c:
            c.expect(b"220")
            c.expect(b"250", b"EHLO client.example")
            c.login(WRITER, PASSWORD)
            c.envelope(WRITER, "antispam@" + FOREIGN)
            c.expect(b"354", b"DATA")
            c.send(b"Subject: allowed\r\n\r\nx\r\n.\r\n")
            c.expect(b"250")
        sink.wait(1)


if __name__ == "__main__":
    with DnsServer() as dns:
        port = free_ports(1)[0]
        sink = SmtpSink("127.0.7.1", port)
        dns.mx(FOREIGN, (10, "mx." + FOREIGN))
        dns.a("mx." + FOREIGN, "127.0.7.1")
        with Posthouse.standalone(config(dns, port)) as mail:
            for account in (USER, WRITER, "right@example.org", "chunk@example.org"):
                mail.add_account(account, PASSWORD)
            result = unittest.main(exit=False, verbosity=2).result
        sink.close()
    sys.exit(0 if result.wasSuccessful() and result.testsRun else 1)
