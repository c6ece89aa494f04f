"""Mail for other systems: DNS decides where it goes, and what their hosts do decides what becomes of it.

The DNS server and the hosts are this test's own (tests/harness), each host on a loopback address of its own;
Debian's smtp-sink is one of them. Reports are read as a user reads them: over IMAP, parsed by Python's email.
"""
import email
import email.policy
import glob
import os
import pathlib
import pwd
import shutil
import smtplib
import ssl
import subprocess
import time
import unittest

from dns_server import DnsServer
from posthouse import Posthouse, free_ports
from smtp_sink import HANG, SmtpSink
from wire import Wire, read_folder, wait_for

USER, PASSWORD = "user@example.org", "correct horse"
MESSAGE = ("From: user@example.org\r\nTo: somebody@dest.test\r\nDate: Fri, 13 Nov 2009 22:00:00 +0000\r\n"
           "Message-ID: <%s@example.org>\r\nSubject: %s\r\n\r\n.dots and\r\n..more\r\n")


def config(port, dns, **queue):
    return {
        "routing": {"dns_servers": [dns.address], "smtp_port": port, "dns_timeout": "1s", "dns_tries": 2, "dns_min_ttl": "0s"},
        "queue": dict({"retry_min": "1s", "retry_max": "2s", "connect_timeout": "2s", "reply_timeout": "2s", "idle_connection": "3s"}, **queue),
    }


class Internet:
    """DNS, and an address for every host that a test asks for."""

    def __init__(self):
        self.dns = DnsServer()
        self.port = free_ports(1)[0]
        self._last = 10
        self._sinks = []

    def address(self):
        self._last += 1
        return "127.0.%d.%d" % (self._last // 250 + 1, self._last % 250 + 1)

    def host(self, name, **behaviour):
        """A host with its own address in the DNS, that listens."""
        address = self.address()
        sink = SmtpSink(address, self.port, **behaviour)
        self._sinks.append(sink)
        self.dns.a(name, address)
        return sink

    def dead_host(self, name):
        """One that refuses connections."""
        address = self.address()
        self.dns.a(name, address)
        return address

    def close(self):
        for sink in self._sinks:
            sink.close()
        self.dns.__exit__()


class Relay:
    """What both shapes of the system have to show."""

    make = None
    queue = {}

    @classmethod
    def setUpClass(cls):
        cls.net = Internet()
        cls.addClassCleanup(cls.net.close)
        cls.mail = cls.make(config(cls.net.port, cls.net.dns, **cls.queue))
        cls.mail.__enter__()
        cls.addClassCleanup(cls.mail.__exit__, None, None, None)
        cls.mail.add_account(USER, PASSWORD)

    def submit(self, *recipients, subject=None, rcpt_options=(), mail_options=(), body=None):
        subject = subject or self.id().split(".")[-1]
        text = body if body is not None else (MESSAGE % (subject, subject)).encode()
        with smtplib.SMTP("127.0.0.1", self.mail.ports["submission"], timeout=30) as c:
            c.ehlo("client.example")
            c.login(USER, PASSWORD)
            self.assertEqual(c.sendmail(USER, list(recipients), text, mail_options=list(mail_options), rcpt_options=list(rcpt_options)), {})
        return text

    def queue_list(self):
        return self.mail.ctl("queue", "list")

    def reports_on(self, address):
        """Reports in the user's INBOX that name the recipient."""
        found = []
        for raw in read_folder(self.mail.ports["imap"], USER, PASSWORD):
            report = email.message_from_bytes(raw, policy=email.policy.default)
            if report.get_content_type() == "multipart/report" and address in self.fields(report)[1]:
                found.append(report)
        return found

    def fields(self, report):
        """(per-message fields, {recipient: per-recipient fields}) of a report (RFC 3464 §2.1)."""
        parts = list(report.iter_parts())
        self.assertEqual(parts[1].get_content_type(), "message/delivery-status")
        blocks = parts[1].get_payload()
        return blocks[0], {b["Final-Recipient"].split(";", 1)[1].strip(): b for b in blocks[1:]}

    def wait_report(self, address, action, seconds=30):
        """The one report with that action about `address`, and its fields; checked as a reader would."""
        def look():
            return [r for r in self.reports_on(address) if self.fields(r)[1][address]["Action"] == action]
        report = wait_for(look, seconds, "a report on %s (%s)" % (address, action))
        self.assertEqual(len(report), 1)
        report = report[0]
        fields = self.fields(report)[1][address]
        # RFC 3464 §2, RFC 3461 §6, RFC 3834 §5: to the sender, from nobody, not to be answered.
        self.assertEqual(report["Return-Path"], "<>")
        self.assertEqual(report.get_param("report-type"), "delivery-status")
        self.assertIn("auto-", report["Auto-Submitted"])
        self.assertEqual(report["To"].addresses[0].addr_spec, USER)
        self.assertIn("MAILER-DAEMON", report["From"].upper())
        self.assertTrue(report["Message-ID"] and report["Date"] and report["Subject"])
        self.assertEqual(report.defects, [])
        parts = list(report.iter_parts())
        self.assertEqual(len(parts), 3)
        self.assertEqual(parts[0].get_content_type(), "text/plain")
        self.assertIn(address, parts[0].get_content())
        self.assertIn(parts[2].get_content_type(), ("text/rfc822-headers", "message/rfc822"))
        self.assertIn("Reporting-MTA", self.fields(report)[0])
        return report, fields

    # ---- where it goes

    def test_goes_to_the_best_mx_byte_for_byte(self):
        first, second = self.net.host("mx1.best.test"), self.net.host("mx2.best.test")
        self.net.dns.mx("best.test", (20, "mx2.best.test"), (10, "mx1.best.test"))
        text = self.submit("somebody@best.test")
        got = first.wait(1)[0]
        self.assertEqual((got.sender, got.recipients), (USER, ["somebody@best.test"]))
        self.assertTrue(got.data.endswith(text), got.data)
        added = got.data[:-len(text)]
        self.assertRegex(added, rb"\AReceived: from client\.example [^\0]*with ESMTPA[^\0]*\r\n\Z")
        self.assertEqual(added.count(b"Received:"), 1)
        self.assertNotIn(b"Return-Path", added, "RFC 5321 §4.4: final delivery adds it, relays do not")
        self.assertEqual(second.messages, [])

    def test_smtp_sink_of_debian_takes_it(self):
        address = self.net.dead_host("mx.debian.test")
        self.net.dns.mx("debian.test", (10, "mx.debian.test"))
        folder = self.mail.path("smtp-sink")
        os.makedirs(folder)
        command = ["smtp-sink", "-c", "-d", "m."]
        if os.geteuid() == 0:  # it insists on being somebody else, who may write here but not walk here from the root
            nobody = pwd.getpwnam("nobody")
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
            command += ["-u", "nobody"]
        sink = subprocess.Popen(command + ["%s:%d" % (address, self.net.port), "100"], cwd=folder,
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            text = self.submit("somebody@debian.test")
            dumped = wait_for(lambda: [d for d in (pathlib.Path(p).read_bytes() for p in glob.glob(folder + "/m.*")) if b"..more" in d],
                              what="smtp-sink's copy")
            self.assertEqual(len(dumped), 1)
            self.assertIn(text.replace(b"\r\n", b"\n"), dumped[0])
            self.assertIn(b"<somebody@debian.test>", dumped[0])
        finally:
            sink.terminate()
            sink.communicate()

    def test_groups_of_thousands_work_up_to_the_limit(self):
        """12 groups of 490: 10 are taken, the 11th is for the next transaction (452), and everybody gets one copy."""
        sink = self.net.host("mx.groups.test")
        self.net.dns.mx("groups.test", (10, "mx.groups.test"))
        for g in range(12):
            self.mail.ctl("alias", "add", "group%d@example.org" % g, *["m%d-%d@groups.test" % (g, i) for i in range(490)])
        with smtplib.SMTP("127.0.0.1", self.mail.ports["smtp"], timeout=60) as c:
            c.ehlo("client.example")
            c.mail("far@far.example")
            codes = [c.rcpt("group%d@example.org" % g)[0] for g in range(12)]
            self.assertEqual(codes, [250] * 10 + [452] * 2)
            self.assertEqual(c.data(b"Subject: groups\r\n\r\nx\r\n")[0], 250)
        wait_for(lambda: sum(len(m.recipients) for m in sink.messages) >= 4900, 120, "4,900 recipients")
        got = [r for m in sink.messages for r in m.recipients]
        self.assertEqual(len(got), 4900)
        self.assertEqual(len(set(got)), 4900)

    def test_without_mx_the_domain_itself(self):
        sink = self.net.host("implicit.test")
        self.submit("somebody@implicit.test")
        self.assertEqual(sink.wait(1)[0].recipients, ["somebody@implicit.test"])

    def test_behind_a_cname(self):
        sink = self.net.host("mx.real.test")
        self.net.dns.mx("real.test", (10, "mx.real.test"))
        self.net.dns.cname("alias.test", "real.test")
        self.submit("somebody@alias.test")
        self.assertEqual(sink.wait(1)[0].recipients, ["somebody@alias.test"])

    def test_a_truncated_answer_comes_over_tcp(self):
        sink = self.net.host("mx.big.test")
        self.net.dns.mx("big.test", (10, "mx.big.test"))
        self.net.dns.truncate("big.test")
        self.submit("somebody@big.test")
        sink.wait(1)
        self.assertIn(("big.test", "MX", "tcp"), self.net.dns.queries)

    def test_a_slow_answer_is_waited_for(self):
        sink = self.net.host("mx.slow.test")
        self.net.dns.mx("slow.test", (10, "mx.slow.test"))
        self.net.dns.delay("slow.test", 0.6)
        self.submit("somebody@slow.test")
        sink.wait(1)

    # ---- the second MX

    def second_takes_over(self, domain, first, second):
        self.net.dns.mx(domain, (10, "mx1." + domain), (20, "mx2." + domain))
        began = time.time()
        self.submit("somebody@" + domain)
        self.assertEqual(second.wait(1)[0].recipients, ["somebody@" + domain])
        if isinstance(first, SmtpSink):
            self.assertEqual(first.messages, [])
            self.assertGreaterEqual(len(first.sessions), 1)
        return time.time() - began

    def test_second_mx_when_the_first_refuses_connections(self):
        self.net.dead_host("mx1.refuse.test")
        took = self.second_takes_over("refuse.test", None, self.net.host("mx2.refuse.test"))
        self.assertLess(took, 10)

    def test_second_mx_when_the_first_says_421(self):
        first = self.net.host("mx1.busy.test")
        first.greeting = "421 4.3.2 busy"
        self.second_takes_over("busy.test", first, self.net.host("mx2.busy.test"))

    def test_second_mx_when_the_first_hangs(self):
        first = self.net.host("mx1.hang.test")
        first.greeting = HANG
        took = self.second_takes_over("hang.test", first, self.net.host("mx2.hang.test"))
        self.assertLess(took, 15)

    def test_second_mx_when_the_first_has_no_address(self):
        self.second_takes_over("lost.test", None, self.net.host("mx2.lost.test"))

    # ---- what bounces at once

    def test_null_mx_bounces(self):
        self.net.host("null.test")  # its address is not to be used
        self.net.dns.null_mx("null.test")
        self.submit("somebody@null.test")
        _, fields = self.wait_report("somebody@null.test", "failed")
        self.assertEqual(fields["Status"], "5.1.10")  # RFC 7505 §4.2

    def test_a_domain_that_does_not_exist_bounces(self):
        self.submit("somebody@nowhere.test")
        _, fields = self.wait_report("somebody@nowhere.test", "failed")
        self.assertEqual(fields["Status"], "5.1.2")  # RFC 3463 §3.2

    def test_5yz_for_one_of_two(self):
        sink = self.net.host("mx.half.test")
        self.net.dns.mx("half.test", (10, "mx.half.test"))
        sink.replies["RCPT bad@half.test"] = "550 5.1.1 no such user here"
        self.submit("good@half.test", "bad@half.test")
        self.assertEqual(sink.wait(1)[0].recipients, ["good@half.test"])
        report, fields = self.wait_report("bad@half.test", "failed")
        self.assertEqual(fields["Status"], "5.1.1")
        self.assertIn("550 5.1.1 no such user here", fields["Diagnostic-Code"])
        self.assertIn("mx.half.test", fields["Remote-MTA"])
        self.assertNotIn("good@half.test", self.fields(report)[1])
        self.assertEqual(len(sink.messages), 1)

    # ---- what is tried again

    def test_4yz_then_success(self):
        sink = self.net.host("mx.later.test")
        self.net.dns.mx("later.test", (10, "mx.later.test"))
        sink.replies["RCPT somebody@later.test"] = ["451 4.7.1 greylisted", "250 2.1.5 ok"]
        sink.replies["."] = ["452 4.3.1 full", "250 2.0.0 taken"]
        self.submit("somebody@later.test")
        sink.wait(1)
        time.sleep(1)
        self.assertEqual(len(sink.messages), 1)
        self.assertEqual(self.reports_on("somebody@later.test"), [])

    def test_a_connection_that_breaks_at_the_dot_is_tried_again(self):
        sink = self.net.host("mx.broken.test")
        self.net.dns.mx("broken.test", (10, "mx.broken.test"))
        sink.close_after = "."
        self.submit("somebody@broken.test")
        sink.wait_sessions(1)
        wait_for(lambda: sink.sessions[0].ended, what="the break")
        sink.close_after = None
        sink.wait(1)

    def test_servfail_waits(self):
        sink = self.net.host("mx.sick.test")
        self.net.dns.mx("sick.test", (10, "mx.sick.test"))
        self.net.dns.fail("sick.test", "SERVFAIL")
        self.submit("somebody@sick.test")
        wait_for(lambda: sum(q[0] == "sick.test" for q in self.net.dns.queries) >= 4, what="a second look")
        self.assertIn("sick.test", self.queue_list())
        self.assertEqual(self.reports_on("somebody@sick.test"), [])
        self.net.dns.fail("sick.test", None)
        sink.wait(1)
        wait_for(lambda: "sick.test" not in self.queue_list(), what="an empty queue")

    # ---- connections and TLS

    def test_messages_share_a_connection(self):
        sink = self.net.host("mx.many.test")
        self.net.dns.mx("many.test", (10, "mx.many.test"))
        for i in range(10):
            self.submit("user%d@many.test" % i)
            sink.wait(i + 1)
        self.assertEqual(len(sink.sessions), 1, "one after the other, they need one connection")
        wait_for(lambda: sink.sessions[0].ended, 10, "QUIT after the idle time")
        self.assertEqual(sink.sessions[0].commands[-1].upper(), "QUIT")

    def test_a_kept_connection_that_died_is_replaced(self):
        sink = self.net.host("mx.died.test")
        self.net.dns.mx("died.test", (10, "mx.died.test"))
        self.submit("one@died.test")
        sink.wait(1)
        sink.close_after = "MAIL"
        self.submit("two@died.test")
        wait_for(lambda: sink.sessions[0].ended, what="the end of the first session")
        sink.close_after = None
        self.assertEqual(sink.wait(2)[1].recipients, ["two@died.test"])

    def test_starttls_when_offered(self):
        sink = self.net.host("mx.secure.test", certificate=self.mail.path("mail.crt"), key=self.mail.path("mail.key"))
        self.net.dns.mx("secure.test", (10, "mx.secure.test"))
        text = self.submit("somebody@secure.test")
        got = sink.wait(1)[0]
        self.assertTrue(got.tls)
        self.assertTrue(got.data.endswith(text))
        # RFC 3207 §4.2: what was said in the clear is forgotten, so EHLO is said again.
        self.assertEqual([c.split()[0] for c in got.session.commands][:4], ["EHLO", "STARTTLS", "EHLO", "MAIL"])

    def test_broken_starttls_falls_back(self):
        for how in ("broken", "close"):
            with self.subTest(how):
                sink = self.net.host("mx.%s-tls.test" % how)
                sink.starttls = how
                self.net.dns.mx("%s-tls.test" % how, (10, "mx.%s-tls.test" % how))
                self.submit("somebody@%s-tls.test" % how)
                self.assertFalse(sink.wait(1)[0].tls)
                self.assertEqual(len(sink.messages), 1)

    # ---- who may relay

    def test_a_stranger_may_not(self):
        sink = self.net.host("mx.foreign.test")
        self.net.dns.mx("foreign.test", (10, "mx.foreign.test"))
        with Wire(self.mail.ports["smtp"]) as c:
            c.expect(b"220")
            c.expect(b"250", b"EHLO client.example")
            c.expect(b"250", b"MAIL FROM:<%s>" % USER.encode())
            c.expect(b"554 5.7.1", b"RCPT TO:<somebody@foreign.test>")
        with Wire(self.mail.ports["submission"]) as c:
            c.expect(b"220")
            c.expect(b"250", b"EHLO client.example")
            c.expect(b"530 5.7.0", b"MAIL FROM:<%s>" % USER.encode())
        time.sleep(0.2)
        self.assertEqual(sink.sessions, [])

    def test_a_user_may_over_starttls_and_over_tls(self):
        sink = self.net.host("mx.out.test")
        self.net.dns.mx("out.test", (10, "mx.out.test"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.mail.path("mail.crt"))
        with smtplib.SMTP("localhost", self.mail.ports["submission"], timeout=30) as c:
            c.starttls(context=context)
            c.login(USER, PASSWORD)
            c.sendmail(USER, ["one@out.test"], MESSAGE % ("one", "one"))
        with smtplib.SMTP_SSL("localhost", self.mail.ports["submissions"], timeout=30, context=context) as c:
            c.login(USER, PASSWORD)
            c.sendmail(USER, ["two@out.test"], MESSAGE % ("two", "two"))
        got = sink.wait(2)
        for message in got:
            self.assertIn(b"with ESMTPSA\r\n", message.data)

    # ---- success reports, when asked for

    def test_dsn_on_request(self):
        """RFC 3461: handed on to a host with DSN, told by us when the host has none."""
        with_dsn, without = self.net.host("mx.dsn.test"), self.net.host("mx.nodsn.test")
        without.extensions.remove("DSN")
        self.net.dns.mx("dsn.test", (10, "mx.dsn.test"))
        self.net.dns.mx("nodsn.test", (10, "mx.nodsn.test"))
        self.submit("somebody@dsn.test", "somebody@nodsn.test", mail_options=["RET=HDRS", "ENVID=letter+2B1"],
                    rcpt_options=["NOTIFY=SUCCESS,FAILURE"])
        got = with_dsn.wait(1)[0]
        self.assertIn("ENVID=letter+2B1", got.mail)
        rcpt = next(c for c in got.session.commands if c.startswith("RCPT"))
        self.assertIn("NOTIFY=SUCCESS,FAILURE", rcpt)
        report, _ = self.wait_report("somebody@nodsn.test", "relayed")
        self.assertEqual(self.fields(report)[0]["Original-Envelope-Id"], "letter+1")
        self.assertEqual(self.reports_on("somebody@dsn.test"), [])


class Standalone(Relay, unittest.TestCase):
    make = Posthouse.standalone


class Six(Relay, unittest.TestCase):
    make = Posthouse.six
    # A part is enough here: what differs is that queue, routing and mailbox talk over mTLS.


for name in [n for n in dir(Relay) if n.startswith("test_")]:
    if name not in ("test_goes_to_the_best_mx_byte_for_byte", "test_second_mx_when_the_first_refuses_connections",
                    "test_null_mx_bounces", "test_5yz_for_one_of_two", "test_4yz_then_success", "test_starttls_when_offered",
                    "test_a_stranger_may_not"):
        setattr(Six, name, None)


class Expiry(Relay, unittest.TestCase):
    """A host that stays dead: retries, a warning, then a report."""

    make = Posthouse.standalone
    queue = {"expire_after": "9s", "delay_warning_after": "3s"}

    def test_warning_then_expiry(self):
        self.net.dead_host("mx.dead.test")
        self.net.dns.mx("dead.test", (10, "mx.dead.test"))
        began = time.time()
        text = self.submit("somebody@dead.test", mail_options=["RET=FULL"])
        report, fields = self.wait_report("somebody@dead.test", "delayed", 8)
        self.assertGreaterEqual(time.time() - began, 2.5)
        self.assertRegex(fields["Status"], r"^4\.4\.[12]$")
        self.assertTrue(fields["Will-Retry-Until"])
        report, fields = self.wait_report("somebody@dead.test", "failed", 20)
        self.assertGreaterEqual(time.time() - began, 8)
        self.assertRegex(fields["Status"], r"^[45]\.4\.[1-7]$")
        self.assertTrue(fields["Last-Attempt-Date"])
        returned = list(report.iter_parts())[2]
        self.assertEqual(returned.get_content_type(), "message/rfc822")
        self.assertIn("test_warning_then_expiry", returned.get_content()["Subject"])
        time.sleep(1)
        self.assertEqual(len(self.reports_on("somebody@dead.test")), 2)
        self.assertNotIn("dead.test", self.queue_list())
        ledger = {k.split('"')[1]: v for k, v in self.mail.metrics("standalone").items() if k.startswith("posthouse_queue_ledger_recipients")}
        self.assertGreaterEqual(ledger["expired"], 1)
        self.assertEqual(ledger["accepted"], sum(v for k, v in ledger.items() if k != "accepted"))

    def test_a_host_that_comes_back_in_time(self):
        address = self.net.dead_host("mx.back.test")
        self.net.dns.mx("back.test", (10, "mx.back.test"))
        self.submit("somebody@back.test")
        time.sleep(2)
        with SmtpSink(address, self.net.port) as sink:
            sink.wait(1)
        self.assertEqual([r for r in self.reports_on("somebody@back.test") if self.fields(r)[1]["somebody@back.test"]["Action"] == "failed"], [])

    def test_a_report_that_nobody_takes_is_not_reported(self):
        """The null reverse-path gets no report (RFC 5321 §4.5.5): no loop of bounces."""
        with smtplib.SMTP("127.0.0.1", self.mail.ports["submission"], timeout=30) as c:
            c.ehlo("client.example")
            c.login(USER, PASSWORD)
            c.sendmail("", ["somebody@nowhere-either.test"], MESSAGE % ("null", "null"))
        wait_for(lambda: "nowhere-either.test" not in self.queue_list(), what="the end of it")
        self.assertEqual(self.reports_on("somebody@nowhere-either.test"), [])


for name in [n for n in dir(Relay) if n.startswith("test_")]:
    setattr(Expiry, name, None)


if __name__ == "__main__":
    for program in ("smtp-sink",):
        assert shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin"), "%s is missing: tools/install-deps --test" % program
    os.environ["PATH"] += ":/usr/sbin"
    unittest.main(verbosity=2)
