"""Clients that count: what was acknowledged, and whether it is there, once, with its bytes.

    clients = [Sender(mail, "s1", seed), Appender(mail, "user@example.org", seed)]    # threads; start(), stopping.set(), join()
    sent = {ident: acknowledged ...}; verify(test, mail, "user@example.org", sent, unanswered)

`mail` says where a listener is: mail.address("smtp") -> (host, port), asked for each connection. What got no answer may be there, but
whole and once at most.
"""
import hashlib
import imaplib
import random
import re
import smtplib
import threading
import time

PASSWORD = "correct horse"
DRAIN_SECONDS = 60
# What a client sees when a server dies, or is not back yet, or says "later".
LATER = (OSError, EOFError, smtplib.SMTPException, imaplib.IMAP4.error)


def make_message(ident, size):
    body = (hashlib.sha256(ident.encode()).hexdigest() + "\r\n") * (size // 66 + 1)
    return ("From: sender@example.net\r\nTo: user@example.org\r\nSubject: %s\r\nMessage-ID: <%s@example.net>\r\n"
            "X-Ident: %s\r\n\r\n%s" % (ident, ident, ident, body)).encode()


def after_trace(message):
    """The message as it was sent: from its own first header field on."""
    return message[message.index(b"From: sender@example.net"):]


class Client(threading.Thread):
    """Sends until told to stop; remembers what was acknowledged and what was left open."""

    def __init__(self, mail, name, seed):
        super().__init__(daemon=True)
        self.mail, self.label, self.random = mail, name, random.Random(seed)
        self.stopping = threading.Event()
        self.acknowledged, self.open = {}, {}  # X-Ident -> (message, recipients, ...); -> message
        self.crash = None

    def run(self):
        try:
            while not self.stopping.is_set():
                try:
                    self.session()
                except LATER as e:
                    self.broken(e)
                    time.sleep(0.05)
        except Exception as e:  # a bug of this test must not look like a success
            self.crash = e

    def broken(self, error):
        """A command failed or a session ended, in a way that a retry mends."""

    def next_message(self):
        self.stopping.wait(0.01 + self.random.random() * 0.03)
        ident = "%s-%d-%d" % (self.label, len(self.acknowledged) + len(self.open), self.random.randrange(1 << 30))
        size = self.random.choice([500] * 12 + [3000] * 6 + [40000, 90000, 400000])
        if self.random.random() < 0.005:
            size = 2500000
        return ident, make_message(ident, size)


class Sender(Client):
    """Sends by SMTP to one of `groups` of addresses."""

    def __init__(self, mail, name, seed, groups):
        super().__init__(mail, name, seed)
        self.groups = groups

    def session(self):
        with smtplib.SMTP(*self.mail.address("smtp"), timeout=30) as c:
            for _ in range(self.random.randrange(1, 40)):
                if self.stopping.is_set():
                    return
                ident, message = self.next_message()
                to = self.random.choice(self.groups)
                self.open[ident] = message
                refused = c.sendmail("sender@example.net", to, message)  # raises unless the end of data got 250
                del self.open[ident]
                self.acknowledged[ident] = (message, [r for r in to if r not in refused])


class Appender(Client):
    """Appends by IMAP to the INBOX of `user`."""

    def __init__(self, mail, user, seed):
        super().__init__(mail, user.split("@")[0], seed)
        self.user = user

    def session(self):
        c = imaplib.IMAP4(*self.mail.address("imap"), timeout=30)
        try:
            c.login(self.user, PASSWORD)
            for _ in range(self.random.randrange(1, 40)):
                if self.stopping.is_set():
                    return
                ident, message = self.next_message()
                self.open[ident] = message
                kind, answer = c.append("INBOX", "(\\Seen)", None, message)
                if kind != "OK":
                    self.broken(imaplib.IMAP4.error(answer[-1]))
                    continue  # NO: stays open, as "unavailable" says nothing about what happened
                del self.open[ident]
                uid = re.search(rb"APPENDUID (\d+) (\d+)", answer[0])
                self.acknowledged[ident] = (message, [self.user], uid and (int(uid[1]), int(uid[2])))
        finally:
            try:
                c.shutdown()
            except LATER:
                pass


def connect(mail, user, seconds=60):
    end = time.time() + seconds
    while True:
        try:
            c = imaplib.IMAP4(*mail.address("imap"), timeout=60)
            c.login(user, PASSWORD)
            return c
        except LATER:
            if time.time() > end:
                raise
            time.sleep(0.2)


def idents_in(c):
    """X-Ident -> UIDs, of all messages of INBOX, and its UIDVALIDITY."""
    kind, _ = c.select("INBOX", readonly=True)
    assert kind == "OK"
    validity = int(c.response("UIDVALIDITY")[1][0])
    kind, data = c.uid("FETCH", "1:*", "(UID BODY.PEEK[HEADER.FIELDS (X-Ident)])")
    assert kind == "OK", data
    found = {}
    for item in data:
        if not isinstance(item, tuple):
            continue
        uid = int(re.search(rb"UID (\d+)", item[0])[1])
        ident = item[1].split(b":", 1)[1].strip().decode()
        found.setdefault(ident, []).append(uid)
    return found, validity


def bodies_in(c, uids):
    """UID -> message, in chunks."""
    bodies = {}
    for at in range(0, len(uids), 40):
        chunk = ",".join(map(str, uids[at:at + 40]))
        kind, data = c.uid("FETCH", chunk, "(UID BODY.PEEK[])")
        assert kind == "OK", data
        for item in data:
            if isinstance(item, tuple):
                bodies[int(re.search(rb"UID (\d+)", item[0])[1])] = item[1]
    return bodies


def verify(test, mail, user, sent, unanswered):
    """Waits for what is owed to `user`, then checks all of it. Returns how many of the unanswered arrived."""
    owed = {i for i, a in sent.items() if user in a[1]}
    c = connect(mail, user)
    end = time.time() + DRAIN_SECONDS
    while True:
        found, validity = idents_in(c)
        missing = owed - set(found)
        if not missing or time.time() > end:
            break
        time.sleep(0.5)
    test.assertFalse(missing, "%s: %d of %d acknowledged are lost: %s\nqueue:\n%s" % (
        user, len(missing), len(owed), sorted(missing)[:5], mail.ctl("queue", "list", check=False)))
    twice = {i: uids for i, uids in found.items() if len(uids) > 1}
    test.assertFalse(twice, "%s: more than once" % user)
    stray = set(found) - owed - set(unanswered)
    test.assertFalse(stray, "%s: never sent to it" % user)
    bodies = bodies_in(c, [uids[0] for uids in found.values()])
    for ident, uids in found.items():
        message = sent[ident][0] if ident in owed else unanswered[ident]
        test.assertTrue(after_trace(bodies[uids[0]]) == message, "%s: %s has other bytes" % (user, ident))
        if ident in owed and len(sent[ident]) == 3:
            test.assertEqual(sent[ident][2], (validity, uids[0]), "%s: APPENDUID of %s" % (user, ident))
    c.logout()
    return len(set(found) & set(unanswered))
