"""A machine is lost under load and restored from its backup: all that was acknowledged before the backup is there.

SMTP clients send to a local account and to another host, IMAP reads, and the other host takes nothing. Meanwhile a backup
is made. Later the other host takes its mail, and then the processes are killed and their data is deleted. After the restore:

- each message with a 250 before the backup is in INBOX once, or held in the queue and after `queue retry --held` in INBOX;
- mail that the other host took after the backup is held: it goes out a second time only when an operator says so;
- UIDVALIDITY is the same, and no UID or MODSEQ that a client saw stands for another message or change.

Prints the recovery point (the age of the newest message that is lost with the machine) and the recovery time.
"""
import imaplib
import json
import os
import re
import shutil
import smtplib
import tempfile
import threading
import time
import unittest

from posthouse import Posthouse
from smtp_sink import SmtpSink

USER, PASSWORD = "user@example.org", "correct horse"


def message(ident, to):
    return ("From: sender@example.org\r\nTo: %s\r\nSubject: %s\r\nX-Ident: %s\r\n\r\n%s\r\n"
            % (to, ident, ident, (ident + " ") * (3 + len(ident) * 997 % 4000))).encode()


class Sender(threading.Thread):
    """Sends to the local account until told to stop; keeps when each message got its 250."""

    def __init__(self, mail, name):
        super().__init__(daemon=True)
        self.mail, self.label = mail, name
        self.stopping = threading.Event()
        self.acknowledged = {}

    def run(self):
        count = 0
        while not self.stopping.is_set():
            try:
                with smtplib.SMTP("127.0.0.1", self.mail.ports["smtp"], timeout=30) as c:
                    while not self.stopping.wait(0.02):
                        count += 1
                        ident = "%s-%d" % (self.label, count)
                        c.sendmail("sender@example.net", [USER], message(ident, USER))
                        self.acknowledged[ident] = time.time()
            except (OSError, smtplib.SMTPException):
                self.stopping.wait(0.05)


def login(mail):
    c = imaplib.IMAP4("127.0.0.1", mail.ports["imap"], timeout=60)
    c.login(USER, PASSWORD)
    return c


def view(mail):
    """What a client knows of INBOX: X-Ident -> UIDs, UIDVALIDITY, UIDNEXT, HIGHESTMODSEQ."""
    c = login(mail)
    try:
        kind, _ = c.select("INBOX", readonly=True)
        assert kind == "OK"
        kind, status = c.status("INBOX", "(UIDVALIDITY UIDNEXT HIGHESTMODSEQ MESSAGES)")
        numbers = {k.decode(): int(v) for k, v in re.findall(rb"([A-Z]+) (\d+)", status[0])}
        found = {}
        if numbers["MESSAGES"]:
            kind, data = c.uid("FETCH", "1:*", "(UID BODY.PEEK[HEADER.FIELDS (X-Ident)])")
            assert kind == "OK", data
            for item in data:
                if isinstance(item, tuple):
                    found.setdefault(item[1].split(b":", 1)[1].strip().decode(), []).append(int(re.search(rb"UID (\d+)", item[0])[1]))
        return found, numbers
    finally:
        c.shutdown()


def until(condition, what, seconds=60):
    end = time.time() + seconds
    while not condition():
        assert time.time() < end, what
        time.sleep(0.1)


class BackupTest(unittest.TestCase):
    def setUp(self):
        self.backups = tempfile.mkdtemp(prefix="backups-", dir=os.environ.get("TEST_TMPDIR") or None)
        self.sink = SmtpSink("127.0.9.7")
        self.addCleanup(shutil.rmtree, self.backups, ignore_errors=True)
        self.addCleanup(self.sink.close)
        self.config = {
            "backup": {"directory": self.backups},
            "routing": {"transports": [{"domain": "remote.example", "host": "127.0.9.7", "port": self.sink.port, "tls": "none"}],
                        "allow_private_literals": True},
            "queue": {"retry_min": "1s", "retry_max": "2s"},
        }

    def test_standalone(self):
        with Posthouse.standalone(self.config) as mail:
            self.lose_and_restore(mail, ["standalone"])

    def test_six_processes(self):
        with Posthouse.six(self.config) as mail:
            self.lose_and_restore(mail, ["queue", "mailbox", "directory"])

    def send_remote(self, mail, ident):
        with smtplib.SMTP("127.0.0.1", mail.ports["submission"], timeout=30) as c:
            c.login(USER, PASSWORD)
            c.sendmail(USER, ["friend@remote.example"], message(ident, "friend@remote.example"))

    def arrived(self, ident):
        return sum(("X-Ident: %s\r\n" % ident).encode() in m.data for m in self.sink.messages)

    def queued(self, mail):
        return [json.loads(line) for line in mail.ctl("queue", "list", "--json", "--limit", "100000").splitlines()]

    def lose_and_restore(self, mail, stores):
        mail.add_account(USER, PASSWORD)
        self.sink.replies["MAIL"] = "451 4.3.0 not now"
        for i in range(3):
            self.send_remote(mail, "remote-%d" % i)
        senders = [Sender(mail, "s%d" % i) for i in range(3)]
        for sender in senders:
            sender.start()
        until(lambda: sum(len(s.acknowledged) for s in senders) > 60, "load")

        before = [ident for s in senders for ident in list(s.acknowledged)]
        first = [json.loads(line) for line in mail.ctl("--timeout", "60", "backup", "run", "--json").splitlines()]
        instant = time.time()
        self.assertEqual(len(first), 3, first)
        more = sum(len(s.acknowledged) for s in senders) + 30
        until(lambda: sum(len(s.acknowledged) for s in senders) > more, "load after the first backup")
        before = [ident for s in senders for ident in list(s.acknowledged)]
        second = [json.loads(line) for line in mail.ctl("--timeout", "60", "backup", "run", "--json").splitlines()]
        instant = time.time()
        copied = {b["id"]: sum(x["copied_bytes"] for x in bs) for bs in (first, second) for b in bs}
        mail.ctl("--timeout", "60", "backup", "verify")

        # After the backup: the other host takes its mail, and more comes in.
        self.sink.replies.pop("MAIL")
        until(lambda: all(self.arrived("remote-%d" % i) == 1 for i in range(3)), "remote mail")
        time.sleep(0.5)
        for sender in senders:
            sender.stopping.set()
        for sender in senders:
            sender.join(60)
        last = max(t for s in senders for t in s.acknowledged.values())
        until(lambda: not self.queued(mail), "an empty queue")
        seen, old = view(mail)
        self.assertTrue(set(before) <= set(seen))

        # The machine is lost.
        for name in mail.services:
            mail.kill(name)
        for name in stores:
            shutil.rmtree(mail.path("data-" + name))
        start = time.time()
        for name in stores:
            which = [] if name == "standalone" else ["--store", {"queue": "queue-0"}.get(name, name), "--backup", second[0]["id"]]
            data = mail.path("data-" + name)
            out = mail.ctl("backup", "restore", self.backups, data, *which)
            self.assertIn(second[0]["id"], out)
            with self.assertRaisesRegex(RuntimeError, "is in use: it is not empty"):
                mail.ctl("backup", "restore", self.backups, data, *which)
        mail.start_all()
        took = time.time() - start

        # Nothing that was held goes out by itself; new mail does.
        held = self.queued(mail)
        self.assertTrue({"friend@remote.example"} <= {r["recipient"]["address"] for i in held for r in i["recipients"]}, held)
        self.send_remote(mail, "remote-new")
        until(lambda: self.arrived("remote-new") == 1, "new mail")
        self.assertEqual([self.arrived("remote-%d" % i) for i in range(3)], [1, 1, 1])
        for item in held:
            if item["recipients"][0]["recipient"]["address"] == "friend@remote.example":
                mail.ctl("queue", "delete", item["queue_id"])
        mail.ctl("queue", "retry", "--held")
        until(lambda: not self.queued(mail), "an empty queue")
        self.assertEqual([self.arrived("remote-%d" % i) for i in range(3)], [1, 1, 1])

        found, new = view(mail)
        lost = [ident for ident in before if ident not in found]
        self.assertEqual(lost, [], "acknowledged before the backup")
        self.assertEqual([ident for ident, uids in found.items() if len(uids) > 1], [])
        with smtplib.SMTP("127.0.0.1", mail.ports["smtp"], timeout=30) as c:
            c.sendmail("sender@example.net", [USER], message("after", USER))
        until(lambda: "after" in view(mail)[0], "mail after the restore")
        found, new = view(mail)
        self.assertEqual(new["UIDVALIDITY"], old["UIDVALIDITY"])
        self.assertGreaterEqual(found["after"][0], old["UIDNEXT"])
        self.assertGreater(new["HIGHESTMODSEQ"], old["HIGHESTMODSEQ"])
        by_uid = {uid: ident for ident, uids in seen.items() for uid in uids}
        for ident, (uid,) in found.items():
            self.assertEqual(by_uid.get(uid, ident), ident, "UID %d was another message's" % uid)
        # And the next backup goes to the same directory.
        self.assertEqual(len(mail.ctl("--timeout", "60", "backup", "run", "--json").splitlines()), 3)
        print("recovery point %.1f s, recovery time %.1f s, %d of %d messages there, backups copied %s bytes" % (
            max(0, last - instant), took, len(found) - 1, len(seen), list(copied.values())))


if __name__ == "__main__":
    unittest.main()
