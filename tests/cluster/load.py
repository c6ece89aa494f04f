"""Load on a cluster, and what its clients noticed: senders by SMTP, appenders and readers by IMAP.

    load = Load(cluster, seed)       # makes the accounts, starts the clients
    load.phase("posthouse-ingress")  # what clients notice from now on belongs to this
    load.finish(test)                # stops the clients; fails when an acknowledged message is lost or doubled
"""
import collections
import imaplib
import re
import smtplib
import threading
import time

from cluster import merged
from counted_mail import LATER, PASSWORD, Appender, Client, Sender, verify

RECEIVERS = ["one@example.org", "two@example.org"]
APPENDERS = ["three@example.org", "four@example.org"]
GROUPS = [RECEIVERS[:1], RECEIVERS[1:], RECEIVERS]
# Grace periods as small as a test can wait for, two stores of each kind, and no TLS in clients that send thousands of messages.
VALUES = {
    "queue": {"replicas": 2}, "mailbox": {"replicas": 2},
    "config": {"ingress": {"allow_plaintext_auth": True}, "gateway": {"allow_plaintext_auth": True},
               "queue": {"retry_min": "1s", "retry_max": "2s"}},
}
for _service in ("ingress", "routing", "gateway", "directory", "queue", "mailbox"):
    VALUES = merged(VALUES, {_service: {"shutdown": {"preStopSeconds": 2, "drainSeconds": 15}}})
# What a client may see, and mends with a retry. A store restarts alone: its callers say so.
MENDED = {"SMTP 421", "connection refused", "connection closed", "IMAP connection closed"}
TEMPORARY = MENDED | {"SMTP 451", "SMTP [451]", "IMAP NO [UNAVAILABLE]"}


class Noted:
    """What ended the sessions of all clients, by the phase of the test: {phase: {what: count}}."""

    def __init__(self):
        self.phase, self.seen, self._lock = "start", collections.defaultdict(collections.Counter), threading.Lock()
        self.times = []

    def add(self, what):
        with self._lock:
            self.seen[self.phase][what] += 1
            self.times.append(time.time())

    def last_after(self, moment, window):
        """Seconds from `moment` to the last error within `window` seconds of it; 0: there was none."""
        with self._lock:
            return max([t - moment for t in self.times if moment <= t <= moment + window], default=0)


def kind_of(error):
    """The error as a client would report it, without what differs from run to run."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return "SMTP %s" % sorted({code for code, _ in error.recipients.values()})
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return "connection closed"
    if isinstance(error, smtplib.SMTPResponseException):
        return "SMTP %d" % error.smtp_code
    if isinstance(error, imaplib.IMAP4.abort):
        return "IMAP connection closed"
    if isinstance(error, imaplib.IMAP4.error):
        code = re.search(r"\[([A-Z]+)\]", str(error))
        return "IMAP NO [%s]" % code[1] if code else "IMAP %s" % error
    return "connection refused" if isinstance(error, (ConnectionError, EOFError)) else type(error).__name__


class Reader(Client):
    """Reads its INBOX over and over in long sessions; notes each command that fails."""

    def __init__(self, mail, user, seed):
        super().__init__(mail, "reader of " + user, seed)
        self.user, self.commands = user, 0

    def session(self):
        c = imaplib.IMAP4(*self.mail.address("imap"), timeout=30)
        try:
            c.login(self.user, PASSWORD)
            while not self.stopping.is_set():
                for call in (lambda: c.select("INBOX", readonly=True), c.noop, lambda: c.uid("SEARCH", "ALL"), lambda: c.status("INBOX", "(MESSAGES)")):
                    kind, answer = call()
                    self.commands += 1
                    if kind != "OK":
                        raise imaplib.IMAP4.error(answer[-1].decode())
                self.stopping.wait(0.05)
        finally:
            try:
                c.shutdown()
            except LATER:
                pass


class Load:
    def __init__(self, cluster, seed):
        self.cluster, self.noted = cluster, Noted()
        for user in RECEIVERS + APPENDERS:
            cluster.add_account(user, PASSWORD)
        self.clients = [Sender(cluster, "s%d" % i, seed + i, GROUPS) for i in range(3)]
        self.clients += [Appender(cluster, user, seed + 100 + i) for i, user in enumerate(APPENDERS)]
        self.clients += [Reader(cluster, user, seed + 200 + i) for i, user in enumerate(RECEIVERS[:1] + APPENDERS[:1])]
        for client in self.clients:
            client.broken = lambda error: self.noted.add(kind_of(error))
            client.start()

    def phase(self, name):
        self.noted.phase = name

    def seen(self, phase):
        """What clients noticed in this phase, as a set."""
        return set(self.noted.seen[phase])

    def finish(self, test, least):
        """At least `least` messages must have been acknowledged, or the load proves nothing."""
        for client in self.clients:
            client.stopping.set()
        for client in self.clients:
            client.join(60)
            test.assertFalse(client.is_alive(), "%s hangs" % client.label)
            test.assertIsNone(client.crash)
        sent = {i: a for c in self.clients for i, a in c.acknowledged.items()}
        unanswered = {i: m for c in self.clients for i, m in c.open.items()}
        for phase, seen in self.noted.seen.items():
            print("%-28s %s" % (phase, dict(seen)))
        print("%d acknowledged, %d unanswered" % (len(sent), len(unanswered)))
        test.assertGreater(len(sent), least, "the load hardly ran: the test would prove nothing")
        for user in RECEIVERS + APPENDERS:
            verify(test, self.cluster, user, sent, unanswered)
        test.assertEqual(self.cluster.surprises, [])
