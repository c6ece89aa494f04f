"""Stores that earlier versions wrote: today's standalone shows all of it unchanged, and writes on.

Each testdata/store-VERSION.tar.gz is a stopped data directory, and store-VERSION.json is what its own version showed
of it (observe.py). make_store.py makes both.
"""
import glob
import json
import os
import smtplib
import tarfile
import unittest

import observe
from dns_server import DnsServer
from posthouse import Posthouse
from wire import wait_count

HERE = os.path.dirname(os.path.abspath(__file__))
MESSAGE = b"Subject: new\r\nMessage-ID: <new@example.com>\r\n\r\nnew\r\n"
# Waiting items stay as they are, apart from further attempts.
CONFIG = {"queue": {"retry_min": "10m", "expire_after": "3650d", "done_retention": "3650d", "delay_warning_after": "0s"},
          "store": {"min_free_bytes": 1}}


def stores():
    return sorted(glob.glob(os.path.join(HERE, "testdata", "store-*.tar.gz")))


class OldStoreTest(unittest.TestCase):
    maxDiff = None

    def open(self, archive):
        """Today's standalone on a copy of the store, and what its own version showed."""
        dns = DnsServer()
        self.addCleanup(dns.__exit__)
        for name in ("remote.test", "away.test"):
            dns.fail(name, "SERVFAIL")
        mail = Posthouse.standalone(dict(CONFIG, routing={"dns_servers": [dns.address]}))
        with tarfile.open(archive) as tar:
            tar.extractall(mail.dir)
        os.rename(mail.path("data"), mail.path("data-standalone"))
        self.addCleanup(mail.__exit__, None, None, None)
        mail.__enter__()
        with open(archive.replace(".tar.gz", ".json")) as f:
            return mail, json.load(f)

    def test_there_is_a_store_to_read(self):
        self.assertTrue(stores())

    def test_everything_is_as_it_was(self):
        for archive in stores():
            with self.subTest(os.path.basename(archive)):
                mail, expected = self.open(archive)
                self.compare(mail, expected)
                # Also after the new version has written its files and started again.
                self.assertEqual(mail.terminate("standalone"), 0)
                mail.start_all()
                self.compare(mail, expected)

    def compare(self, mail, expected):
        seen = json.loads(json.dumps(observe.everything(mail)))
        for user, was in expected["accounts"].items():
            now = seen["accounts"][user]
            for name, folder in was["folders"].items():
                self.assertEqual(now["folders"][name], folder, "%s of %s" % (name, user))
            self.assertEqual(now, was, user)
        for part in ("directory", "queue", "stats"):
            self.assertEqual(self.known(seen[part], expected[part]), expected[part], part)

    def known(self, now, was):
        """`now` without fields that the old version did not have yet."""
        if isinstance(now, dict) and isinstance(was, dict):
            return {k: self.known(v, was[k]) for k, v in now.items() if k in was}
        if isinstance(now, list) and isinstance(was, list) and len(now) == len(was):
            return [self.known(n, w) for n, w in zip(now, was)]
        return now

    def test_it_goes_on_where_it_ended(self):
        for archive in stores():
            with self.subTest(os.path.basename(archive)):
                mail, expected = self.open(archive)
                inbox = expected["accounts"]["bob@example.org"]["folders"]["INBOX"]
                with smtplib.SMTP("127.0.0.1", mail.ports["smtp"], timeout=60) as s:
                    s.sendmail("friend@example.com", ["bob@example.org"], MESSAGE)
                wait_count(mail.ports["imap"], "bob@example.org", observe.PASSWORDS["bob@example.org"],
                           len(inbox["messages"]) + 1)
                self.write_on(mail, inbox)
                # What was removed before stays so, and mail that waits is not lost by new work.
                self.assertEqual(set(observe.queue(mail)), set(expected["queue"]))
                for queue_id in expected["queue"]:
                    mail.ctl("queue", "delete", queue_id)
                self.assertEqual(observe.queue(mail), {})
                mail.ctl("account", "delete", "gone@example.org")
                mail.kill("standalone")
                mail.start_all()
                again = observe.account(mail, "bob@example.org")["folders"]
                self.assertEqual(len(again["INBOX"]["messages"]), 1)
                self.assertEqual(len(again["Moved"]["messages"]), len(inbox["messages"]))
                self.assertEqual(observe.queue(mail), {})

    def write_on(self, mail, inbox):
        c = observe.connect(mail.ports["imap"], "bob@example.org")
        now = observe.folder(c, "INBOX")
        self.assertEqual(now["messages"][-1]["uid"], inbox["uid_next"])
        self.assertGreater(now["messages"][-1]["modseq"], inbox["highest_modseq"])
        self.assertEqual(now["uid_validity"], inbox["uid_validity"])
        observe.ok(c.create("Moved"))
        observe.ok(c.select("INBOX"))
        observe.ok(c.store("1:*", "+FLAGS", "(\\Seen $New)"))
        observe.ok(c.uid("MOVE", "1:%d" % (inbox["uid_next"] - 1), "Moved"))
        moved = observe.folder(c, "Moved")["messages"]
        self.assertEqual([m["sha256"] for m in moved], [m["sha256"] for m in inbox["messages"]])
        c.logout()


if __name__ == "__main__":
    unittest.main()
