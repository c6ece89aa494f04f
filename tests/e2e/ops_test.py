"""What an operator does: posthousectl, configuration checks, probes and metrics, reloads, orderly stops.

Against `standalone` and against six processes with mTLS, where it matters.
"""
import imaplib
import json
import os
import pathlib
import poplib
import re
import signal
import smtplib
import socket
import ssl
import subprocess
import threading
import time
import unittest
import urllib.error
import urllib.request

from dns_server import DnsServer
from posthouse import Posthouse, binary, free_ports
from smtp_sink import SmtpSink
from wire import Closed, Wire, imap, read_folder, split_trace, wait_count, wait_for

PASSWORD = "correct horse"


def get(port, path):
    """(status, body)"""
    try:
        r = urllib.request.urlopen("http://127.0.0.1:%d%s" % (port, path), timeout=10)
        return r.status, r.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()


class Operator:
    make = None

    @classmethod
    def setUpClass(cls):
        cls.dns = DnsServer()
        cls.addClassCleanup(cls.dns.__exit__)
        cls.port = free_ports(1)[0]
        cls.mail = cls.make({
            "routing": {"dns_servers": [cls.dns.address], "smtp_port": cls.port, "dns_min_ttl": "0s"},
            "queue": {"retry_min": "1s", "retry_max": "2s", "connect_timeout": "2s"}})
        cls.mail.__enter__()
        cls.addClassCleanup(cls.mail.__exit__, None, None, None)

    def ctl(self, *args, **kwargs):
        return self.mail.ctl(*args, **kwargs)

    def ctl_fails(self, *args, input=None):
        """posthousectl refuses: exit code not 0 and a reason on standard error. Returns the reason."""
        with self.assertRaises(RuntimeError) as caught:
            self.mail.ctl(*args, input=input)
        return str(caught.exception)

    def send(self, rcpt, subject, sender="friend@example.net", port="smtp", login=None):
        """The queue id that the 250 named."""
        with Wire(self.mail.ports[port]) as c:
            c.expect(b"220")
            c.expect(b"250", b"EHLO client.example")
            if login:
                c.login(*login)
            c.envelope(sender, rcpt)
            c.expect(b"354", b"DATA")
            c.send(b"Date: Fri, 13 Nov 2009 22:00:00 +0000\r\nMessage-ID: <%s@example.net>\r\nSubject: %s\r\n\r\nx\r\n.\r\n" % (
                subject.encode(), subject.encode()))
            return re.search(rb"Queued as (\S+)", c.expect(b"250")).group(1).decode()

    def can_login(self, user, password):
        try:
            imap(self.mail.ports["imap"], user, password).logout()
            return True
        except imaplib.IMAP4.error:
            return False

    # ---- directory

    def test_domains(self):
        self.assertIn("empty.example", self.ctl("domain", "add", "empty.example"))
        self.assertIn("empty.example", self.ctl("domain", "list"))
        self.assertRegex(self.ctl("domain", "show", "empty.example"), r"accounts +0")
        self.assertIn("empty.example", self.ctl_fails("domain", "add", "empty.example"))
        self.ctl_fails("domain", "add", "no domain!")
        self.ctl("account", "add", "last@empty.example", "--generate")
        self.ctl_fails("domain", "delete", "empty.example")
        self.ctl("account", "delete", "last@empty.example")
        self.ctl("domain", "delete", "empty.example")
        self.assertNotIn("empty.example", self.ctl("domain", "list"))

    def test_accounts_and_passwords(self):
        out = self.ctl("account", "add", "anna@ops.example", "--create-domain", "--generate", "--display-name", "Anna")
        generated = re.search(r"password: (\S+)", out).group(1)
        self.assertTrue(self.can_login("anna@ops.example", generated))
        self.assertFalse(self.can_login("anna@ops.example", "wrong"))
        self.ctl("password", "set", "anna@ops.example", "--password-file", "-", input="a new one\n")
        wait_for(lambda: self.can_login("anna@ops.example", "a new one"), 10, "the new password")
        wait_for(lambda: not self.can_login("anna@ops.example", generated), 10, "the end of the old password")
        shown = self.ctl("account", "show", "anna@ops.example") + self.ctl("account", "list", "--domain", "ops.example")
        self.assertIn("Anna", shown)
        self.assertNotIn("a new one", shown)
        self.assertNotIn("argon2", shown.lower())
        record = json.loads(self.ctl("account", "list", "--domain", "ops.example", "--json").splitlines()[0])
        self.assertEqual(record["address"], "anna@ops.example")
        self.ctl_fails("account", "add", "anna@ops.example", "--generate")
        self.ctl_fails("account", "add", "b@not-there.example", "--generate")
        self.ctl("account", "set", "anna@ops.example", "--status", "suspended")
        wait_for(lambda: not self.can_login("anna@ops.example", "a new one"), 10, "the suspension")
        self.ctl("account", "set", "anna@ops.example", "--status", "active")
        wait_for(lambda: self.can_login("anna@ops.example", "a new one"), 10, "the end of the suspension")
        self.ctl("password", "set", "anna@ops.example", "--no-password")
        wait_for(lambda: not self.can_login("anna@ops.example", "a new one"), 10, "the removal of the password")
        self.assertRegex(self.ctl("account", "show", "anna@ops.example"), r"password +none")
        self.ctl("password", "set", "anna@ops.example", "--password-file", "-", input="a third one\n")
        wait_for(lambda: self.can_login("anna@ops.example", "a third one"), 10, "a password again")
        self.ctl("account", "delete", "anna@ops.example")
        wait_for(lambda: not self.can_login("anna@ops.example", "a third one"), 10, "the deletion")

    def test_if_absent_makes_an_addition_repeatable(self):
        """As the bootstrap Job of the chart calls it, at each upgrade."""
        for n in range(3):
            self.ctl("tenant", "add", "boot", "--if-absent")
            self.ctl("domain", "add", "boot.example", "--tenant", "boot", "--if-absent")
            self.ctl("account", "add", "admin@first.example", "--create-domain", "--tenant", "boot", "--password-file", "-",
                     "--if-absent", input="password %d" % n)
            if n == 1:  # as if the first call had ended before it was done
                self.ctl("alias", "delete", "postmaster@first.example")
        self.assertTrue(self.can_login("admin@first.example", "password 0"))
        self.assertFalse(self.can_login("admin@first.example", "password 2"))
        self.assertIn("postmaster@first.example", self.ctl("alias", "list", "--domain", "first.example"))
        # What has the address is no account.
        self.assertIn("is an alias", self.ctl_fails("account", "add", "postmaster@first.example", "--generate", "--if-absent"))
        for noun, name in [("tenant", "boot"), ("domain", "boot.example")]:
            self.assertIn("exists", self.ctl_fails(noun, "add", name))
        self.ctl("account", "delete", "admin@first.example", "--erase-now")
        for domain in ["first.example", "boot.example"]:
            self.ctl("domain", "delete", domain, "--with-addresses")

    def test_aliases(self):
        for name in ("one", "two"):
            self.mail.add_account(name + "@alias.example", PASSWORD)
        self.ctl("alias", "add", "both@alias.example", "one@alias.example", "two@alias.example")
        self.assertIn("both@alias.example", self.ctl("alias", "list", "--domain", "alias.example"))
        self.send("both@alias.example", "to both")
        for name in ("one", "two"):
            wait_count(self.mail.ports["imap"], name + "@alias.example", PASSWORD, 1)
        self.send("one+detail@alias.example", "subaddress")
        wait_count(self.mail.ports["imap"], "one@alias.example", PASSWORD, 2)
        self.ctl("alias", "delete", "both@alias.example")
        with Wire(self.mail.ports["smtp"]) as c:
            c.expect(b"220")
            c.expect(b"250", b"EHLO client.example")
            c.expect(b"250", b"MAIL FROM:<>")
            # Whoever has just resolved it may remember it for a while; not for ever.
            wait_for(lambda: c.command(b"RCPT TO:<both@alias.example>").startswith(b"550"), 60, "the end of the alias")

    def test_ping(self):
        out = self.ctl("ping")
        for service in ("directory", "routing", "queue", "mailbox"):
            self.assertIn(service, out)

    # ---- sessions

    def open_sessions(self, user):
        """{protocol: a client that is logged in and waits}; an IMAP client idles in its INBOX, another one does nothing."""
        clients = {}
        for name, port in (("imap", "imap"), ("idle", "imap"), ("pop3", "pop3"), ("submission", "submission")):
            clients[name] = c = Wire(self.mail.ports[port])
            self.addCleanup(c.close)
            c.line()
        for name in ("imap", "idle"):
            clients[name].send(b'l LOGIN "%s" "%s"\r\n' % (user.encode(), PASSWORD.encode()))
            self.assertRegex(clients[name].line(), rb"^l OK")
        c = clients["idle"]
        c.send(b"s SELECT INBOX\r\n")
        while not c.line().startswith(b"s OK"):
            pass
        c.send(b"i IDLE\r\n")
        self.assertRegex(c.line(), rb"^\+ ")
        c = clients["pop3"]
        for command in (b"USER " + user.encode(), b"PASS " + PASSWORD.encode()):
            c.send(command + b"\r\n")
            self.assertRegex(c.line(), rb"^\+OK")
        c = clients["submission"]
        c.expect(b"250", b"EHLO client.example")
        c.login(user, PASSWORD)
        c.expect(b"250", b"MAIL FROM:<%s>" % user.encode())  # also within a transaction
        return clients

    def assert_ended(self, client, protocol, text):
        """Is told so unasked, and closed."""
        line = client.line()
        if protocol == "idle" and not line.startswith(b"*"):
            line = client.line()  # IDLE may be ended in words
        start = {"imap": rb"^\* BYE ", "idle": rb"^\* BYE ", "pop3": rb"^-ERR \[SYS/(TEMP|PERM)\] ", "submission": rb"^421 4\.7\.0 "}[protocol]
        self.assertRegex(line, start, protocol)
        self.assertIn(text, line, protocol)
        with self.assertRaises(Closed):
            client.line()

    def test_sessions_are_listed_and_kicked(self):
        user, other = "kicked@sessions.example", "stays@sessions.example"
        for name in (user, other):
            self.mail.add_account(name, PASSWORD)
        clients, others = self.open_sessions(user), self.open_sessions(other)
        listed = [json.loads(line) for line in self.ctl("sessions", "list", "--account", user.upper(), "--json").splitlines()]
        self.assertEqual(sorted(s["protocol"] for s in listed), ["imap", "imap", "pop3", "submission"])
        self.assertEqual({(s["address"], s["client_address"]) for s in listed}, {(user, "127.0.0.1")})
        self.assertEqual(self.ctl("sessions", "list").count(other), 4)
        self.assertEqual(len(self.ctl("sessions", "list", "--protocol", "pop3").splitlines()), 3)
        pop3 = next(s for s in listed if s["protocol"] == "pop3")
        self.assertIn("1 session ended", self.ctl("sessions", "kick", pop3["session_id"], "--reason", "stolen phone"))
        self.assert_ended(clients.pop("pop3"), "pop3", b"stolen phone")
        wait_for(lambda: pop3["session_id"] not in self.ctl("sessions", "list"), 10, "the end of the session")
        self.assertIn(pop3["session_id"], self.ctl_fails("sessions", "kick", pop3["session_id"]))
        self.assertIn("3 sessions ended", self.ctl("sessions", "kick", "--account", user))
        for name, client in clients.items():
            self.assert_ended(client, name, b"administrator")
        self.assertTrue(self.can_login(user, PASSWORD))  # its password is as before
        others["submission"].expect(b"250", b"RCPT TO:<%s>" % other.encode())
        others["imap"].send(b"n NOOP\r\n")
        self.assertRegex(others["imap"].line(), b"^n OK")
        self.assertIn("4 sessions ended", self.ctl("sessions", "kick", "--account", other))

    def test_open_sessions_end_soon_after_their_account_may_no_longer_log_in(self):
        """Soon: not at a poll, which is 30 s away. As a rule a few milliseconds."""
        ways = {
            "password": (b"Password was changed", lambda a: self.ctl("password", "set", a, "--password-file", "-", input="a new one\n")),
            "removal": (b"Password was changed", lambda a: self.ctl("password", "set", a, "--no-password")),
            "suspension": (b"Account is suspended", lambda a: self.ctl("account", "set", a, "--status", "suspended")),
            "deletion": (b"Account was deleted", lambda a: self.ctl("account", "delete", a)),
            "domain": (b"Account is suspended", lambda a: self.ctl("domain", "set", a.split("@")[1], "--status", "suspended")),
        }
        for way, (text, change) in ways.items():
            with self.subTest(way):
                user = "user@%s-ends.example" % way
                self.mail.add_account(user, PASSWORD)
                clients = self.open_sessions(user)
                change(user)
                began = time.time()
                for name, client in clients.items():
                    self.assert_ended(client, name, text)
                print("%s: %s: all four sessions ended within %.0f ms" % (type(self).__name__, way, 1000 * (time.time() - began)))
                self.assertLess(time.time() - began, 5)
                wait_for(lambda: "no sessions" in self.ctl("sessions", "list", "--account", user), 10, "an empty list")
                self.assertFalse(self.can_login(user, PASSWORD))

    # ---- queue

    def test_queue_and_trace(self):
        self.mail.add_account("ops@queue.example", PASSWORD)
        self.dns.a("dead.test", "127.0.9.1")  # nobody listens there
        queue_id = self.send("somebody@dead.test", "waits", "ops@queue.example", "submission", ("ops@queue.example", PASSWORD))
        listed = self.ctl("queue", "list", "--domain", "dead.test")
        self.assertIn(queue_id, listed)
        self.assertIn("ops@queue.example", listed)
        item = json.loads(self.ctl("queue", "list", "--sender", "ops@queue.example", "--json").splitlines()[0])
        self.assertEqual(item["queue_id" if "queue_id" in item else "queueId"], queue_id)
        shown = wait_for(lambda: next((s for s in [self.ctl("queue", "show", queue_id, "--header")] if "127.0.9.1" in s), None),
                         what="an attempt that says where")
        self.assertIn("somebody@dead.test", shown)
        self.assertIn("Subject: waits", shown)
        self.assertRegex(shown, r"(?i)refused")
        for key in (queue_id, "<waits@example.net>", "somebody@dead.test", "ops@queue.example"):
            self.assertIn(queue_id, self.ctl("trace", key), key)
        # Its host comes up: an operator need not wait for the back-off.
        with SmtpSink("127.0.9.1", self.port) as sink:
            self.ctl("queue", "retry", queue_id)
            sink.wait(1)
            wait_for(lambda: queue_id not in self.ctl("queue", "list"), what="the end of it")
        traced = self.ctl("trace", queue_id)
        self.assertIn("relayed", traced.lower())
        # One more is given up, and its sender told.
        queue_id = self.send("else@dead.test", "given-up", "ops@queue.example", "submission", ("ops@queue.example", PASSWORD))
        self.ctl("queue", "delete", queue_id, "--bounce")
        self.assertNotIn(queue_id, self.ctl("queue", "list"))
        wait_count(self.mail.ports["imap"], "ops@queue.example", PASSWORD, 1)
        self.assertIn(b"else@dead.test", read_folder(self.mail.ports["imap"], "ops@queue.example", PASSWORD)[0])
        self.ctl_fails("queue", "show", "no-such-id")
        self.ctl_fails("trace", "nobody-wrote-this@nowhere.test")

    def test_trace_follows_a_message_into_the_mailbox(self):
        self.mail.add_account("ops@trace.example", PASSWORD)
        queue_id = self.send("ops@trace.example", "traced")
        wait_count(self.mail.ports["imap"], "ops@trace.example", PASSWORD, 1)
        trace_id = split_trace(read_folder(self.mail.ports["imap"], "ops@trace.example", PASSWORD)[0])[0]["trace"].decode()
        for key in (queue_id, "<traced@example.net>", "ops@trace.example", trace_id):
            traced = wait_for(lambda: next((t for t in [self.ctl("trace", key, check=False)] if "delivered" in t.lower()), None),
                              what="trace of " + key)
            self.assertIn(queue_id, traced)
        logs = "".join(pathlib.Path(self.mail.path(name + ".log")).read_text() for name in self.mail.services)
        events = [json.loads(line) for line in logs.splitlines() if line.startswith("{") and trace_id in line]
        self.assertGreaterEqual(len(events), 2, "one trace id from acceptance to delivery")

    # ---- probes

    def test_probes_metrics_config_and_status_page(self):
        for name in self.mail.services:
            port = self.mail.http[name]
            self.assertEqual(get(port, "/livez")[0], 200)
            self.assertEqual(get(port, "/readyz")[0], 200)
            self.assertEqual(get(port, "/nothing")[0], 404)
            status, metrics = get(port, "/metrics")
            self.assertEqual(status, 200)
            self.assertIn("posthouse_build_info{", metrics)
            for line in metrics.splitlines():
                self.assertRegex(line, r'^(# (HELP|TYPE) |[a-z_][a-z0-9_]*(\{[^}]*\})? [-+.eE0-9naifNI]+$)')
            self.assertNotRegex(metrics, r"@[a-z]+\.example", "no address may be a label")
            status, config = get(port, "/config")
            self.assertEqual(status, 200)
            self.assertIn("mail.example.org", config)
            self.assertNotIn("PRIVATE KEY", config)
            status, page = get(port, "/")
            self.assertEqual(status, 200)
            self.assertIn("<", page)
            self.assertIn(name, page)


class Standalone(Operator, unittest.TestCase):
    make = Posthouse.standalone

    def test_the_ledger_adds_up_after_load(self):
        for i in range(3):
            self.mail.add_account("load%d@load.example" % i, PASSWORD)
        self.ctl("alias", "add", "all@load.example", *["load%d@load.example" % i for i in range(3)])
        before = self.mail.metrics("standalone")

        def worker(n):
            with smtplib.SMTP("127.0.0.1", self.mail.ports["smtp"], timeout=30) as c:
                for i in range(25):
                    to = [["load0@load.example"], ["load1@load.example", "load2@load.example"], ["all@load.example"]][i % 3]
                    c.sendmail("friend@example.net", to, b"Subject: %d-%d\r\n\r\nx\r\n" % (n, i))
        threads = [threading.Thread(target=worker, args=(n,)) for n in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        ledger = lambda: {k.split('"')[1]: v for k, v in self.mail.metrics("standalone").items() if k.startswith("posthouse_queue_ledger_recipients")}
        wait_for(lambda: ledger()["queued"] == 0, what="an empty queue")
        now, after = ledger(), self.mail.metrics("standalone")
        self.assertEqual(now["accepted"], sum(v for k, v in now.items() if k != "accepted"))
        self.assertEqual(after["posthouse_queue_items"], 0)
        grew = lambda name: after[name] - before.get(name, 0)
        self.assertEqual(grew('posthouse_ingress_messages_total{result="accepted"}'), 200)
        self.assertEqual(grew('posthouse_queue_enqueued_total{result="accepted"}'), 200)
        # Of 25: 9 to one, 8 to two, 8 to an alias of three.
        stored = 8 * (9 + 8 * 2 + 8 * 3)
        self.assertEqual(sum(len(read_folder(self.mail.ports["imap"], "load%d@load.example" % i, PASSWORD)) for i in range(3)), stored)
        self.assertEqual(grew('posthouse_queue_ledger_recipients{state="delivered"}'), stored)
        stats = json.loads(self.ctl("queue", "stats", "--json").splitlines()[0])
        self.assertEqual(int(stats["accepted"]), now["accepted"])

    def test_a_reload_takes_the_new_certificate_and_keeps_the_old_one_when_it_is_broken(self):
        def serial(port):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with context.wrap_socket(socket.create_connection(("127.0.0.1", self.mail.ports[port]), 10)) as s:
                return s.getpeercert(True)
        process = self.mail.processes["standalone"]
        ports = ("submissions", "imaps", "pop3s")
        old = serial("imaps")
        held = imap(self.mail.ports["imap"], *self.somebody())
        self.mail._certificates()
        process.send_signal(signal.SIGHUP)
        for port in ports:
            wait_for(lambda: serial(port) != old, 10, "the new certificate on " + port)
        new = serial("imaps")
        self.assertEqual({serial(port) for port in ports}, {new})
        with open(self.mail.path("mail.crt"), "w") as f:
            f.write("no certificate\n")
        process.send_signal(signal.SIGHUP)
        failures = lambda: self.mail.metrics("standalone")['posthouse_config_reloads_total{result="failed"}']
        wait_for(lambda: failures() >= 1, 10, "a refused reload")
        self.assertEqual(serial("imaps"), new)
        self.mail._certificates()
        # A broken file of configuration is refused too, and nothing changes.
        path = self.mail.path("standalone.yaml")
        text = pathlib.Path(path).read_text()
        with open(path, "w") as f:
            f.write(text + "no_such_key: 1\n")
        before = failures()
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: failures() > before, 10, "a refused reload")
        with open(path, "w") as f:
            f.write(text + "log_level: debug\n")
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: "debug" in get(self.mail.http["standalone"], "/config")[1], 10, "the new log level")
        with open(path, "w") as f:
            f.write(text)
        process.send_signal(signal.SIGHUP)
        held.noop()
        held.logout()

    def somebody(self):
        self.mail.add_account("somebody@reload.example", PASSWORD)
        return "somebody@reload.example", PASSWORD


class Six(Operator, unittest.TestCase):
    make = Posthouse.six

    def test_strangers_to_the_ca_get_no_answer(self):
        """mTLS: neither plaintext nor another CA's certificate gets in."""
        outsider = Posthouse.six()  # only its certificates are used; no process is started
        try:
            at = "127.0.0.1:%d" % self.mail.rpc["directory"]
            for options in ([], ["--ca", outsider.path("ca.crt"), "--cert", outsider.path("admin.crt"), "--key", outsider.path("admin.key")],
                            ["--ca", self.mail.path("ca.crt"), "--cert", outsider.path("admin.crt"), "--key", outsider.path("admin.key")]):
                r = subprocess.run([binary("posthousectl"), "--directory", at, "--timeout", "3", *options, "domain", "list"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
                self.assertNotEqual(r.returncode, 0, (options, r.stdout))
                self.assertEqual(r.stdout, "")
                self.assertTrue(r.stderr)
        finally:
            outsider.__exit__(None)


class Config(unittest.TestCase):
    def check(self, service, text, options=("--check-config",)):
        path = os.path.join(os.environ.get("TEST_TMPDIR") or "/tmp", "check-%d.yaml" % os.getpid())
        with open(path, "w") as f:
            f.write(text)
        r = subprocess.run([binary("posthouse-" + service), "--config", path, *options],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=30)
        os.unlink(path)
        return r

    def test_good_ones(self):
        for service in ("directory", "queue", "mailbox", "standalone"):
            text = "data_dir: /nonexistent/but/not/touched\nhostname: mail.example.org\n"
            if service == "queue":
                text += "peers: {routing: \"127.0.0.1:1\", mailbox: [{target: \"127.0.0.1:2\"}]}\n"
            if service == "mailbox":
                text += "peers: {directory: \"127.0.0.1:1\"}\n"
            r = self.check(service, text)
            self.assertEqual((r.returncode, r.stdout), (0, "ok\n"), (service, r.stderr))

    def test_wrong_ones_name_the_line_and_the_key(self):
        base = "hostname: mail.example.org\ndata_dir: /var/nothing\n"
        for line, words in (
                ("ingress: {smtp: {prot: 25}}\n", ["prot", "port"]),
                ("ingress: {smtp: {port: 99999}}\n", ["port", "99999"]),
                ("ingress: {smtp: {port: twentyfive}}\n", ["port", "twentyfive"]),
                ("queue: {retry_min: soon}\n", ["retry_min", "soon"]),
                ("queue: {retry_min: 1h, retry_max: 1m}\n", ["retry_m"]),
                ("store: {block_cache_bytes: 12 apples}\n", ["block_cache_bytes", "12 apples"]),
                ("ingress: {bare_lf: maybe}\n", ["bare_lf", "maybe"]),
                ("ingress: {relay_networks: [\"300.0.0.0/8\"]}\n", ["relay_networks", "300.0.0.0/8"]),
                ("log_level: loud\n", ["log_level", "loud"]),
                ("queue: {source_address: banana}\n", [":3:25: queue.source_address", "banana"]),
                ("routing: {dns_servers: [not-an-ip]}\n", [":3:25: routing.dns_servers", "not-an-ip"]),
                ("hostname: again.example.org\n", ["hostname"]),
                ("rpc: {certificate_file: /x.crt}\n", ["rpc"]),
                ("rpc: {address: 0.0.0.0}\n", ["rpc"]),
                ("routing: {transports: [{domain: \"*\", host: \"bad host\"}]}\n", ["host"]),
                ("- a list\n", ["yaml"]),
                ("queue: [\n", ["yaml"])):
            with self.subTest(line):
                r = self.check("standalone", base + line)
                self.assertEqual(r.returncode, 2, r.stdout + r.stderr)
                for word in words:
                    self.assertIn(word, r.stderr)
        self.assertRegex(self.check("standalone", base + "qeue: {}\n").stderr, r"check-\d+\.yaml:3:\d+: .*qeue")

    def test_a_wrong_one_does_not_start(self):
        r = self.check("standalone", "hostname: mail.example.org\n", options=())
        self.assertNotEqual(r.returncode, 0)
        self.assertIn("data_dir", r.stderr)

    def test_certificates_that_do_not_fit_do_not_start(self):
        mail = Posthouse.standalone()
        try:
            with open(mail.path("mail.key"), "w") as f:
                f.write("nothing\n")
            mail.start("standalone")
            self.assertNotEqual(mail.processes["standalone"].wait(30), 0)
            self.assertIn("mail.key", mail.log_tail("standalone"))
        finally:
            mail.__exit__(None)


class Stop(unittest.TestCase):
    def test_sigterm_finishes_what_is_under_way(self):
        """421 between transactions, BYE to IMAP; a message that is being sent is taken first."""
        with Posthouse.standalone({"drain_timeout": "10s"}) as mail:
            mail.add_account("user@example.org", PASSWORD)
            idle, busy, started = (Wire(mail.ports["smtp"]) for _ in range(3))
            for c in (idle, busy, started):
                self.addCleanup(c.close)
                c.expect(b"220")
                c.expect(b"250", b"EHLO client.example")
            busy.envelope("friend@example.net", "user@example.org")
            busy.expect(b"354", b"DATA")
            busy.send(b"Subject: under way\r\n\r\nfirst half\r\n")
            started.envelope("friend@example.net", "user@example.org")
            waiting = imap(mail.ports["imap"], "user@example.org", PASSWORD)
            waiting.select("INBOX")
            waiting.send(b"x IDLE\r\n")
            self.assertTrue(waiting.readline().startswith(b"+"))
            plain = imap(mail.ports["imap"], "user@example.org", PASSWORD)
            pop = poplib.POP3("127.0.0.1", mail.ports["pop3"], timeout=20)
            process = mail.processes["standalone"]
            process.send_signal(signal.SIGTERM)
            for c in (idle, started):
                self.assertTrue(c.reply().startswith(b"421 4.3.2"))
                with self.assertRaises(Closed):
                    c.line()
            self.assertRegex(plain.readline(), rb"^\* BYE ")
            line = waiting.readline()  # IDLE may be ended in words
            self.assertRegex(line if line.startswith(b"*") else waiting.readline(), rb"^\* BYE ")
            for c in (plain, waiting):
                self.assertEqual(c.readline(), b"")
                c.shutdown()
            self.assertIsNone(process.poll(), "one is still being served")
            with self.assertRaises(OSError):
                Wire(mail.ports["smtp"]).line()
            self.assertEqual(get(mail.http["standalone"], "/readyz")[0], 503)
            self.assertEqual(get(mail.http["standalone"], "/livez")[0], 200)
            busy.send(b"second half\r\n.\r\n")
            busy.expect(b"250")
            self.assertTrue(busy.reply().startswith(b"421"))
            pop.close()
            self.assertEqual(process.wait(20), 0)
            mail.start_all()
            wait_count(mail.ports["imap"], "user@example.org", PASSWORD, 1)
            got = read_folder(mail.ports["imap"], "user@example.org", PASSWORD)
            self.assertIn(b"second half", got[0])

    def test_a_client_that_never_ends_does_not_stop_the_stop(self):
        with Posthouse.standalone({"drain_timeout": "2s"}) as mail:
            mail.add_account("user@example.org", PASSWORD)
            c = Wire(mail.ports["smtp"])
            self.addCleanup(c.close)
            c.expect(b"220")
            c.expect(b"250", b"EHLO client.example")
            c.envelope("friend@example.net", "user@example.org")
            c.expect(b"354", b"DATA")
            began = time.time()
            self.assertEqual(mail.terminate("standalone"), 0)
            self.assertLess(time.time() - began, 10)

    def test_each_of_six_stops_cleanly(self):
        with Posthouse.six() as mail:
            mail.add_account("user@example.org", PASSWORD)
            for name in reversed(mail.services):
                self.assertEqual(mail.terminate(name), 0, name)


if __name__ == "__main__":
    unittest.main(verbosity=2)
