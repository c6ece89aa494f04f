"""Each service down in its turn, and a full disk: what waits, what is said, and that nothing is lost.

The table of ARCHITECTURE "failures and what must happen", as clients see it. What is unknown is a temporary
failure: no 5yz, no [AUTHENTICATIONFAILED], no bounce may come of an outage.
"""
import imaplib
import poplib
import time
import unittest

from posthouse import Posthouse, to_yaml
from wire import Wire, imap, read_folder, wait_count, wait_for

imaplib.Commands.setdefault("MOVE", ("SELECTED",))

USER, OTHER, PASSWORD = "user@example.org", "other@example.org", "correct horse"
LATER = {"queue": {"retry_min": "1s", "retry_max": "2s"}}


class Outage(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.mail = Posthouse.six(LATER)
        cls.mail.__enter__()
        cls.addClassCleanup(cls.mail.__exit__, None, None, None)
        for account in (USER, OTHER):
            cls.mail.add_account(account, PASSWORD)

    def setUp(self):
        self.subject = "%s %d" % (self._testMethodName, time.time_ns())

    def down(self, name):
        self.mail.kill(name)
        self.addCleanup(self.up, name)

    def up(self, name):
        if self.mail.processes[name].poll() is not None:
            self.mail.start(name)
            self.mail.wait_ready(name)

    def send(self, rcpt=USER):
        """The last reply: that to the end of data, or the one that refused."""
        with Wire(self.mail.ports["smtp"], timeout=90) as c:
            c.expect(b"220")
            c.expect(b"250", b"EHLO client.example")
            c.expect(b"250", b"MAIL FROM:<friend@example.net>")
            reply = c.command(b"RCPT TO:<%s>" % rcpt.encode())
            if not reply.startswith(b"250"):
                return reply
            reply = c.command(b"DATA")
            if not reply.startswith(b"354"):
                return reply
            c.send(b"Subject: %s\r\n\r\nx\r\n.\r\n" % self.subject.encode())
            return c.reply()

    def send_until_taken(self, rcpt=USER):
        def attempt():
            reply = self.send(rcpt)
            self.assertRegex(reply, rb"^(250|4\d\d) ")
            return reply.startswith(b"250")
        wait_for(attempt, 60, "a message taken again")

    def arrived(self, count, rcpt=USER):
        """The message of this test is in the mailbox that often, and not more often."""
        def look():
            try:
                got = read_folder(self.mail.ports["imap"], rcpt, PASSWORD)
            except imaplib.IMAP4.error as e:  # who has just come up is not found at once
                self.assertIn("[UNAVAILABLE]", str(e))
                return False
            return sum(self.subject.encode() in m for m in got) >= count
        wait_for(look, 60, "the message in the mailbox")
        time.sleep(0.5)
        got = read_folder(self.mail.ports["imap"], rcpt, PASSWORD)
        self.assertEqual(sum(self.subject.encode() in m for m in got), count)

    def imap_says(self, say):
        """The error of an IMAP session that comes as far as `say`; an answer has to come in time."""
        began = time.time()
        with self.assertRaises(imaplib.IMAP4.error) as caught:
            c = imaplib.IMAP4("127.0.0.1", self.mail.ports["imap"], timeout=90)
            try:
                c.login(USER, PASSWORD)
                say(c)
            finally:
                c.shutdown()
        self.assertLess(time.time() - began, 60)
        return str(caught.exception)

    def select(self, c):
        kind, data = c.select("INBOX")
        if kind != "OK":
            raise imaplib.IMAP4.error(data[0].decode())

    def test_mailbox_down(self):
        self.down("mailbox")
        self.assertTrue(self.send().startswith(b"250"))
        self.assertIn("[UNAVAILABLE]", self.imap_says(self.select))
        c = poplib.POP3("127.0.0.1", self.mail.ports["pop3"], timeout=90)
        c.user(USER)
        with self.assertRaises(poplib.error_proto) as caught:
            c.pass_(PASSWORD)
        self.assertIn("[SYS/TEMP]", str(caught.exception))
        c.close()
        wait_for(lambda: USER in self.mail.ctl("queue", "list"), what="the message in the queue")
        self.up("mailbox")
        self.arrived(1)
        self.assertIn("no messages are waiting", self.mail.ctl("queue", "list"))

    def test_an_open_imap_session_outlives_its_mailbox(self):
        c = imap(self.mail.ports["imap"], USER, PASSWORD)
        self.select(c)
        self.down("mailbox")
        kind, data = c.status("INBOX", "(MESSAGES)")
        self.assertEqual((kind, b"[UNAVAILABLE]" in data[0]), ("NO", True), data)
        self.up("mailbox")
        wait_for(lambda: c.status("INBOX", "(MESSAGES)")[0] == "OK", 60, "an answer again")
        c.logout()

    def test_queue_down(self):
        self.down("queue")
        reply = self.send()
        self.assertRegex(reply, rb"^4\d\d 4\.")
        imap(self.mail.ports["imap"], USER, PASSWORD).logout()
        self.up("queue")
        self.send_until_taken()
        self.arrived(1)

    def test_routing_down(self):
        self.mail.add_account("fresh@example.org", PASSWORD)
        self.down("routing")
        self.assertRegex(self.send("fresh@example.org"), rb"^451 4\.")
        self.assertRegex(self.send("nobody@example.org"), rb"^451 4\.")
        self.up("routing")
        self.send_until_taken("fresh@example.org")
        self.arrived(1, "fresh@example.org")

    def test_directory_down(self):
        self.mail.add_account("new@example.org", PASSWORD)
        self.assertTrue(self.send(OTHER).startswith(b"250"))  # now it is known to the caches
        self.down("directory")
        self.assertTrue(self.send(OTHER).startswith(b"250"), "mail for whom the caches know goes on")
        self.assertRegex(self.send("new@example.org"), rb"^451 4\.")
        said = self.imap_says(lambda c: None)
        self.assertIn("[UNAVAILABLE]", said)
        self.assertNotIn("AUTHENTICATIONFAILED", said)
        with Wire(self.mail.ports["submission"], timeout=90) as c:
            c.expect(b"220")
            c.expect(b"250", b"EHLO client.example")
            c.expect(b"454 4.7.0", b"AUTH PLAIN AHVzZXJAZXhhbXBsZS5vcmcAY29ycmVjdCBob3JzZQ==")
        self.up("directory")
        wait_for(lambda: self.logs_in(), 60, "a login again")
        self.arrived(2, OTHER)
        self.send_until_taken("new@example.org")

    def logs_in(self):
        try:
            imap(self.mail.ports["imap"], USER, PASSWORD).logout()
            return True
        except imaplib.IMAP4.error as e:
            self.assertNotIn("AUTHENTICATIONFAILED", str(e))
            return False

    def test_gateway_down(self):
        self.down("gateway")
        self.assertTrue(self.send().startswith(b"250"))
        self.up("gateway")
        self.arrived(1)

    def test_ready_does_not_depend_on_the_others(self):
        self.down("directory")
        for name in ("routing", "queue", "mailbox", "ingress", "gateway"):
            self.mail.wait_ready(name, 5)


class FullDisk(unittest.TestCase):
    def test_full_then_not(self):
        """452 and [OVERQUOTA] early, deletes work, and all is well when there is room again."""
        mail = Posthouse.standalone(LATER)
        with mail:
            mail.add_account(USER, PASSWORD)
            for i in range(3):
                self.assertTrue(self.send(mail, "before %d" % i).startswith(b"250"))
            wait_count(mail.ports["imap"], USER, PASSWORD, 3)
            c = imap(mail.ports["imap"], USER, PASSWORD)
            self.assertEqual(c.create("Old")[0], "OK")
            c.logout()
            self.restart(mail, "1000000GiB")  # more than any disk has: as if it were full
            self.assertRegex(self.send(mail, "refused"), rb"^452 4\.3\.1 ")
            c = imap(mail.ports["imap"], USER, PASSWORD)
            kind, data = c.append("INBOX", None, None, b"Subject: refused\r\n\r\nx\r\n")
            self.assertEqual((kind, b"[OVERQUOTA]" in data[0]), ("NO", True), data)
            c.select("INBOX")
            self.assertEqual(c.copy("3", "Trash")[0], "NO", "a copy takes room")
            self.assertEqual(c._simple_command("MOVE", "3", "Trash")[0], "OK", "how most clients delete")
            self.assertEqual(c.store("1", "+FLAGS", "\\Deleted")[0], "OK", "else nothing can be deleted")
            self.assertEqual(c.expunge()[0], "OK")
            self.assertEqual(c.delete("Old")[0], "OK")
            self.assertEqual(len(read_folder(mail.ports["imap"], USER, PASSWORD)), 1)
            c.logout()
            self.assertEqual(mail.metrics("standalone")["posthouse_queue_items"], 0)
            self.restart(mail, "1MiB")
            self.assertTrue(self.send(mail, "after").startswith(b"250"))
            wait_count(mail.ports["imap"], USER, PASSWORD, 2)
            got = b"".join(read_folder(mail.ports["imap"], USER, PASSWORD))
            self.assertIn(b"Subject: after", got)
            self.assertNotIn(b"refused", got)

    def send(self, mail, subject):
        with Wire(mail.ports["smtp"]) as c:
            c.expect(b"220")
            c.expect(b"250", b"EHLO client.example")
            c.envelope("friend@example.net", USER)
            c.expect(b"354", b"DATA")
            c.send(b"Subject: %s\r\n\r\nx\r\n.\r\n" % subject.encode())
            return c.reply()

    def restart(self, mail, min_free):
        self.assertEqual(mail.terminate("standalone"), 0)
        mail.extra = dict(mail.extra, store={"min_free_bytes": min_free})
        with open(mail.path("standalone.yaml"), "w") as f:
            f.write(to_yaml(mail._config("standalone")))
        mail.start_all()


if __name__ == "__main__":
    unittest.main(verbosity=2)
