"""kill -9 at random instants under load: nothing acknowledged is lost, nothing comes twice.

First `standalone`, then six processes with mTLS between them; KILLS kills in total (default 50), each process
in its turn of a shuffled round, and at the end all at once. All the while SMTP clients send and IMAP clients
APPEND. Then every message whose end of data got 250, and every APPEND that got OK, must be there exactly once
with the bytes it was sent with, under the UID that APPENDUID named. What got no answer may be there, but whole
and once at most.

SEED=n repeats a run's choices (the timing is the machine's). A failure keeps the acknowledgements it
broke in its message.
"""
import hashlib
import imaplib
import os
import random
import re
import smtplib
import threading
import time
import unittest

from posthouse import Posthouse, SERVICES

KILLS = int(os.environ.get("KILLS", "50"))
SEED = int(os.environ.get("SEED", str(int(time.time()))))
PASSWORD = "correct horse"
RECEIVERS = ["one@example.org", "two@example.org"]  # by SMTP
APPENDERS = ["three@example.org", "four@example.org"]  # by IMAP
DRAIN_SECONDS = 60
FAST_RETRIES = {"queue": {"retry_min": "1s", "retry_max": "2s"}}
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
                except LATER:
                    time.sleep(0.05)
        except Exception as e:  # a bug of this test must not look like a success
            self.crash = e

    def next_message(self):
        self.stopping.wait(0.01 + self.random.random() * 0.03)
        ident = "%s-%d-%d" % (self.label, len(self.acknowledged) + len(self.open), self.random.randrange(1 << 30))
        size = self.random.choice([500] * 12 + [3000] * 6 + [40000, 90000, 400000])
        if self.random.random() < 0.005:
            size = 2500000
        return ident, make_message(ident, size)


class Sender(Client):
    def session(self):
        with smtplib.SMTP("127.0.0.1", self.mail.ports["smtp"], timeout=30) as c:
            for _ in range(self.random.randrange(1, 40)):
                if self.stopping.is_set():
                    return
                ident, message = self.next_message()
                to = self.random.choice([RECEIVERS[:1], RECEIVERS[1:], RECEIVERS])
                self.open[ident] = message
                refused = c.sendmail("sender@example.net", to, message)  # raises unless the end of data got 250
                del self.open[ident]
                self.acknowledged[ident] = (message, [r for r in to if r not in refused])


class Appender(Client):
    def __init__(self, mail, user, seed):
        super().__init__(mail, user.split("@")[0], seed)
        self.user = user

    def session(self):
        c = imaplib.IMAP4("127.0.0.1", self.mail.ports["imap"], timeout=30)
        try:
            c.login(self.user, PASSWORD)
            for _ in range(self.random.randrange(1, 40)):
                if self.stopping.is_set():
                    return
                ident, message = self.next_message()
                self.open[ident] = message
                kind, answer = c.append("INBOX", "(\\Seen)", None, message)
                if kind != "OK":
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
            c = imaplib.IMAP4("127.0.0.1", mail.ports["imap"], timeout=60)
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


class KillTest(unittest.TestCase):
    def test_standalone(self):
        with Posthouse.standalone(FAST_RETRIES) as mail:
            self.run_under_fire(mail, KILLS // 2)

    def test_six_processes(self):
        with Posthouse.six(FAST_RETRIES) as mail:
            self.run_under_fire(mail, KILLS - KILLS // 2)

    def run_under_fire(self, mail, kills):
        choices = random.Random(SEED)
        for user in RECEIVERS + APPENDERS:
            mail.add_account(user, PASSWORD)
        clients = [Sender(mail, "s%d" % i, SEED + i) for i in range(4)]
        clients += [Appender(mail, user, SEED + 100 + i) for i, user in enumerate(APPENDERS)]
        for client in clients:
            client.start()
        killed = self.kill_at_random(mail, kills, choices)
        for name in mail.services:
            mail.wait_ready(name)
        time.sleep(1)  # some mail after the last restart
        for client in clients:
            client.stopping.set()
        for client in clients:
            client.join(60)
            self.assertFalse(client.is_alive(), "%s hangs" % client.label)
            self.assertIsNone(client.crash)
        sent = {i: a for c in clients for i, a in c.acknowledged.items()}
        unanswered = {i: m for c in clients for i, m in c.open.items()}
        print("%s: killed %s; %d acknowledged, %d unanswered" % (
            "six" if mail.mtls else "standalone", killed, len(sent), len(unanswered)))
        self.assertGreater(len(sent), kills, "the load hardly ran: the test would prove nothing")
        self.assertGreater(len(unanswered), 0, "no kill met a message on its way")
        arrived = sum(self.verify(mail, user, sent, unanswered) for user in RECEIVERS + APPENDERS)
        print("every one of them is there once; of the unanswered %d arrived" % arrived)

    def kill_at_random(self, mail, kills, choices):
        killed, turn = {}, []
        for _ in range(kills):
            if not turn:
                turn = choices.sample(mail.services, len(mail.services))
            name = turn.pop()
            # Sometimes while it is still starting, mostly while it works.
            if choices.random() < 0.8:
                for each in mail.services:
                    mail.wait_ready(each)
            time.sleep(choices.random() * 1.2)
            mail.kill(name)
            killed[name] = killed.get(name, 0) + 1
            time.sleep(choices.random() * 0.3)
            mail.start(name)
        for each in mail.services:
            mail.wait_ready(each)
        time.sleep(choices.random())
        for each in mail.services:  # the whole machine, as it were
            mail.kill(each)
        for each in mail.services:
            mail.start(each)
        return killed

    def verify(self, mail, user, sent, unanswered):
        """Waits for what is owed to `user`, then checks all of it. Returns the unanswered that arrived."""
        owed = {i for i, a in sent.items() if user in a[1]}
        c = connect(mail, user)
        end = time.time() + DRAIN_SECONDS
        while True:
            found, validity = idents_in(c)
            missing = owed - set(found)
            if not missing or time.time() > end:
                break
            time.sleep(0.5)
        self.assertFalse(missing, "%s: %d of %d acknowledged are lost: %s\nqueue:\n%s" % (
            user, len(missing), len(owed), sorted(missing)[:5], mail.ctl("queue", "list", check=False)))
        twice = {i: uids for i, uids in found.items() if len(uids) > 1}
        self.assertFalse(twice, "%s: more than once" % user)
        stray = set(found) - owed - set(unanswered)
        self.assertFalse(stray, "%s: never sent to it" % user)
        bodies = bodies_in(c, [uids[0] for uids in found.values()])
        for ident, uids in found.items():
            message = sent[ident][0] if ident in owed else unanswered[ident]
            self.assertTrue(after_trace(bodies[uids[0]]) == message, "%s: %s has other bytes" % (user, ident))
            if ident in owed and len(sent[ident]) == 3:
                self.assertEqual(sent[ident][2], (validity, uids[0]), "%s: APPENDUID of %s" % (user, ident))
        c.logout()
        return len(set(found) & set(unanswered))


if __name__ == "__main__":
    print("SEED=%d KILLS=%d" % (SEED, KILLS))
    assert len(SERVICES) == 6
    unittest.main(verbosity=2)
