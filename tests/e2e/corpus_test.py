"""Real and odd messages through the whole system: each arrives once, byte for byte below the trace fields.

Sent by smtplib, swaks and, where no client would send such bytes, by a bare socket, to `standalone` and to six
processes that speak mTLS over TCP. Read back by curl, mbsync (IMAP), poplib and fetchmail (POP3). The envelope
sender numbers the messages, so that what comes back is compared with exactly what was sent.

The MX port takes a message as it is or not at all; the submission port makes CRLF of bare CR and LF and drops
NULs. Which of them holds for a message is decided from its bytes (messages.py).
"""
import glob
import os
import pathlib
import poplib
import re
import shutil
import smtplib
import ssl
import subprocess
import unittest

import messages
from posthouse import Posthouse
from wire import Wire, dot_stuff, split_trace, wait_count

USER, WRITER, PASSWORD = "user@example.org", "writer@example.org", "correct horse"
CONFIG = {"ingress": {"allow_any_sender": True}}  # the envelope sender is the number of the message
poplib._MAXLINE = 1 << 23  # poplib gives up on lines over 2048 octets; messages have longer ones


def tls_without_verification():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def sender_of(number):
    return "m%05d@sender.example" % number


class Corpus:
    """The tests of one shape of the system."""

    make = None  # Posthouse.standalone or Posthouse.six
    tls = False  # readers use the TLS ports

    @classmethod
    def setUpClass(cls):
        cls.mail = cls.make(CONFIG)
        cls.mail.__enter__()
        cls.addClassCleanup(cls.mail.__exit__, None, None, None)
        for account in (USER, WRITER):
            cls.mail.add_account(account, PASSWORD)
        cls.sent = {}  # number -> (name, bytes), in USER's mailbox
        what, real = messages.real_or_made()
        own = messages.python_email()
        print("%s: %d messages (%s), %d of Python's own tests" % (cls.__name__, len(real), what, len(own)))
        assert len(real) == messages.REAL and len(own) == 47, (len(real), len(own))
        cls.send_by_smtplib(real + own)
        cls.send_odd()
        cls.send_by_swaks(own[:10] + real[:10])
        wait_count(cls.mail.ports["imap"], USER, PASSWORD, len(cls.sent))
        cls.scratch = cls.mail.path("clients")
        os.makedirs(cls.scratch)

    @classmethod
    def number(cls, name, message):
        """The number under which `message` will be looked for."""
        ended = message.endswith(b"\r\n") or not message  # a message is whole lines
        cls.sent[len(cls.sent)] = (name, message if ended else message + b"\r\n")
        return sender_of(len(cls.sent) - 1)

    @classmethod
    def send_by_smtplib(cls, corpus):
        c = smtplib.SMTP("127.0.0.1", cls.mail.ports["smtp"], timeout=60)
        c.ehlo("client.example")
        if cls.tls:
            c.starttls(context=tls_without_verification())
            c.ehlo("client.example")
        for name, message in corpus:
            assert messages.refused_by_mx(message) is None, name
            options = ["BODY=8BITMIME"] if any(b > 127 for b in message) else []
            c.sendmail(cls.number(name, message), [USER], message, mail_options=options)
        c.quit()

    @classmethod
    def send_odd(cls):
        """By socket, octet by octet: kept as they are, or refused with the right code and nothing kept."""
        cls.refused = 0
        with Wire(cls.mail.ports["smtp"], timeout=60) as c:
            c.expect(b"220")
            c.expect(b"250", b"EHLO client.example")
            for name, message in messages.odd():
                code = messages.refused_by_mx(message)
                c.envelope(sender_of(99999) if code else cls.number(name, message), USER)
                c.expect(b"354", b"DATA")
                c.send(dot_stuff(message))
                reply = c.reply()
                assert reply.startswith(code or b"250"), (name, code, reply)
                cls.refused += code is not None

    @classmethod
    def send_by_swaks(cls, some):
        for name, message in some:
            path = cls.mail.path("swaks.txt")
            with open(path, "wb") as f:
                f.write(dot_stuff(message))
            r = subprocess.run(
                ["swaks", "--server", "127.0.0.1", "--port", str(cls.mail.ports["smtp"]), "--from", cls.number("swaks " + name, message),
                 "--to", USER, "--helo", "client.example", "--no-data-fixup", "--data", "@" + path, "--hide-all"],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
            assert r.returncode == 0, r.stdout

    # ---- reading

    def check(self, got, client, takes=lambda message: True):
        """`got`: messages as a client gave them, with their trace fields, CRLF line ends; all those that it `takes`."""
        owed = {number for number, (_, message) in self.sent.items() if takes(message)}
        seen = {}
        for message in got:
            trace, rest = split_trace(message)
            number = int(re.fullmatch(rb"m(\d+)@sender.example", trace["sender"])[1])
            self.assertNotIn(number, seen, "%s: twice: %s" % (client, self.sent[number][0]))
            self.assertEqual(trace["recipient"], USER.encode())
            seen[number] = rest
        missing = [self.sent[n][0] for n in owed - set(seen)]
        self.assertFalse(missing, "%s: missing" % client)
        self.assertFalse(set(seen) - owed, "%s: never sent, or refused" % client)
        for number in sorted(owed):
            name, message = self.sent[number][0], messages.delivered(self.sent[number][1])
            if seen[number] != message:
                at = next((i for i, (a, b) in enumerate(zip(seen[number], message)) if a != b), min(len(message), len(seen[number])))
                self.fail("%s: %s: differs at %d of %d: got %r, sent %r" % (
                    client, name, at, len(message), seen[number][max(0, at - 40):at + 40], message[max(0, at - 40):at + 40]))
        print("%s: %s: %d messages of %d once, bytes equal" % (type(self).__name__, client, len(owed), len(self.sent)))

    def test_curl_by_imap(self):
        folder = os.path.join(self.scratch, "curl")
        os.makedirs(folder)
        scheme = "imaps" if self.tls else "imap"
        url = "%s://127.0.0.1:%d/INBOX;MAILINDEX=[1-%d]" % (scheme, self.mail.ports[scheme], len(self.sent))
        subprocess.run(["curl", "-sS", "-k", "--fail-early", "--user", "%s:%s" % (USER, PASSWORD), url, "-o", folder + "/#1"],
                       check=True, timeout=120)
        got = [pathlib.Path(path).read_bytes() for path in glob.glob(folder + "/*")]
        self.assertEqual(len(got), len(self.sent))
        self.check(got, "curl " + scheme)

    def test_mbsync_to_maildir(self):
        maildir, rc = os.path.join(self.scratch, "maildir"), os.path.join(self.scratch, "mbsyncrc")
        os.makedirs(maildir)
        with open(rc, "w") as f:
            f.write("IMAPAccount here\nHost localhost\nPort %d\nUser %s\nPass \"%s\"\n%s\nTimeout 60\n\n" % (
                self.mail.ports["imaps" if self.tls else "imap"], USER, PASSWORD,
                "SSLType IMAPS\nCertificateFile %s" % self.mail.path("mail.crt") if self.tls else "SSLType None\nAuthMechs LOGIN"))
            f.write("IMAPStore far\nAccount here\n\nMaildirStore near\nPath %s/\nInbox %s/INBOX\nSubFolders Verbatim\n\n"
                    "Channel all\nFar :far:\nNear :near:\nPatterns INBOX\nCreate Near\nSync Pull\nSyncState *\n" % (maildir, maildir))
        os.chmod(rc, 0o600)
        mbsync = lambda: subprocess.run(["mbsync", "-c", rc, "all"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=200,
                                        env=dict(os.environ, HOME=self.scratch))
        r = mbsync()
        self.assertEqual(r.returncode, 0, r.stdout)
        paths = lambda: sorted(glob.glob(maildir + "/INBOX/cur/*") + glob.glob(maildir + "/INBOX/new/*"))
        first = paths()
        # A Maildir has LF line ends, and mbsync signs what it copies with a field of its own.
        got = [re.sub(rb"(?m)^X-TUID: \S{12}\n", b"", pathlib.Path(path).read_bytes(), count=1).replace(b"\n", b"\r\n") for path in first]
        # It leaves alone what has no blank line behind its header ("incomplete header").
        self.check(got, "mbsync", lambda message: message.startswith(b"\r\n") or b"\r\n\r\n" in message)
        r = mbsync()
        self.assertEqual(r.returncode, 0, r.stdout)
        self.assertEqual(paths(), first, "a second run has nothing to do")

    def test_poplib(self):
        if self.tls:
            c = poplib.POP3_SSL("127.0.0.1", self.mail.ports["pop3s"], timeout=60, context=tls_without_verification())
        else:
            c = poplib.POP3("127.0.0.1", self.mail.ports["pop3"], timeout=60)
        c.user(USER)
        c.pass_(PASSWORD)
        count, octets = c.stat()
        self.assertEqual(count, len(self.sent))
        uids = [line.split()[1] for line in c.uidl()[1]]
        self.assertEqual(len(set(uids)), count)
        got = [b"".join(line + b"\r\n" for line in c.retr(n + 1)[1]) for n in range(count)]
        self.assertEqual(sum(map(len, got)), octets)
        c.quit()
        self.check(got, "poplib")

    def test_submission_makes_lines_of_what_it_gets(self):
        cases = [(n, m) for n, m in messages.odd() if m.startswith(messages.HEAD)]
        with Wire(self.mail.ports["submission"], timeout=60) as c:
            c.expect(b"220")
            c.expect(b"250", b"EHLO client.example")
            c.login(WRITER, PASSWORD)
            for number, (name, message) in enumerate(cases):
                c.envelope(sender_of(number), WRITER)
                c.expect(b"354", b"DATA")
                c.send(dot_stuff(message))
                c.expect(b"250")
        wait_count(self.mail.ports["imap"], WRITER, PASSWORD, len(cases))
        c = poplib.POP3("127.0.0.1", self.mail.ports["pop3"], timeout=60)
        c.user(WRITER)
        c.pass_(PASSWORD)
        self.assertEqual(c.stat()[0], len(cases))
        for n in range(len(cases)):
            trace, rest = split_trace(b"".join(line + b"\r\n" for line in c.retr(n + 1)[1]))
            name, message = cases[int(trace["sender"][1:6])]
            self.assertIn(trace["protocol"], (b"ESMTPA", b"ESMTPSA"))
            self.assertTrue(rest == messages.submitted(message), (name, rest[-200:], message[-200:]))
        c.quit()


class Standalone(Corpus, unittest.TestCase):
    make = Posthouse.standalone

    def test_some_odd_ones_were_refused(self):
        self.assertGreaterEqual(self.refused, 8)

    def test_fetchmail_by_pop3(self):
        """fetchmail edits headers, so it has to bring each message once and every body unchanged."""
        folder, rc = os.path.join(self.scratch, "fetchmail"), os.path.join(self.scratch, "fetchmailrc")
        os.makedirs(folder)
        mda = os.path.join(self.scratch, "mda")
        with open(mda, "w") as f:
            f.write("#!/bin/sh\nexec cat > \"$(mktemp %s/XXXXXX)\"\n" % folder)
        os.chmod(mda, 0o700)
        with open(rc, "w") as f:
            f.write("set invisible\nset no bouncemail\npoll 127.0.0.1 service %d proto pop3 timeout 60 bad-header accept\n"
                    " user \"%s\" password \"%s\" is nobody here\n sslproto ''\n mda \"%s\"\n keep\n no rewrite\n pass8bits\n" % (self.mail.ports["pop3"], USER, PASSWORD, mda))
        os.chmod(rc, 0o600)
        r = subprocess.run(["fetchmail", "-f", rc, "--pidfile", os.path.join(self.scratch, "fetchmail.pid"), "--nosyslog"],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=200, env=dict(os.environ, HOME=self.scratch))
        self.assertEqual(r.returncode, 0, r.stdout[-2000:])
        body = lambda message: message.partition(b"\n\n")[2]
        seen = {}
        for path in glob.glob(folder + "/*"):
            message = pathlib.Path(path).read_bytes()
            number = int(re.match(rb"Return-Path: <m(\d+)@", message)[1])
            self.assertNotIn(number, seen)
            seen[number] = body(message)
        self.assertEqual(set(seen), set(self.sent), r.stdout[-2000:])
        for number, (name, message) in self.sent.items():
            # It breaks lines that are longer than its buffer.
            if max(map(len, message.split(b"\r\n"))) < 8000:
                self.assertEqual(seen[number], body(b"X: trace\n" + message.replace(b"\r\n", b"\n")), name)
        print("fetchmail: %d messages once, bodies equal" % len(seen))


class Six(Corpus, unittest.TestCase):
    make = Posthouse.six
    tls = True


if __name__ == "__main__":
    for program in ("curl", "mbsync", "fetchmail", "swaks"):
        assert shutil.which(program), "%s is missing: tools/install-deps --test" % program
    unittest.main(verbosity=2)
