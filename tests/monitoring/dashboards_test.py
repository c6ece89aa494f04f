"""No panel of a dashboard is empty under load. Needs Debian's prometheus.

Six processes carry mail in all the ways that a panel shows: accepted, refused, deferred, relayed, read. A Prometheus of
the test's own scrapes them with the shipped rules, and answers what the panels ask.
"""
import contextlib
import glob
import imaplib
import json
import math
import os
import poplib
import smtplib
import ssl
import subprocess
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

from dns_server import DnsServer
from posthouse import Posthouse, free_ports
from smtp_sink import SmtpSink

FILES = "helm/posthouse/files"
USER, PASSWORD = "user@example.org", "correct horse"
MESSAGE = "From: user@example.org\r\nTo: you@example.net\r\nSubject: a panel\r\n\r\nwith a line\r\n"
PATIENCE = 240  # seconds; 20 on a quiet machine
ANY_CERTIFICATE = ssl._create_unverified_context()


class Prometheus:
    def __init__(self, mail):
        self.port = free_ports(1)[0]
        config = mail.path("prometheus.json")  # JSON is YAML
        with open(config, "w") as f:
            json.dump({
                "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
                "rule_files": [os.path.abspath(p) for p in glob.glob(FILES + "/rules/*.yaml")],
                "scrape_configs": [{"job_name": "posthouse", "static_configs": [
                    {"targets": ["127.0.0.1:%d" % port], "labels": {"namespace": "mail", "instance": name}}
                    for name, port in mail.http.items()]}],
            }, f)
        self.log = open(mail.path("prometheus.log"), "wb")
        self.process = subprocess.Popen(
            ["prometheus", "--config.file=" + config, "--storage.tsdb.path=" + mail.path("prometheus"),
             "--web.listen-address=127.0.0.1:%d" % self.port], stdout=self.log, stderr=self.log)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)
        self.log.close()

    def ask(self, expr):
        """The values of the series that `expr` has now; an error raises."""
        url = "http://127.0.0.1:%d/api/v1/query?%s" % (self.port, urllib.parse.urlencode({"query": expr}))
        try:
            answer = json.load(urllib.request.urlopen(url, timeout=30))
        except urllib.error.HTTPError as e:
            raise AssertionError("%s\n%s" % (expr, e.read().decode())) from e
        return [float(series["value"][1]) for series in answer["data"]["result"]]

    def ready(self):
        try:
            return urllib.request.urlopen("http://127.0.0.1:%d/-/ready" % self.port, timeout=2).status == 200
        except OSError:
            return False


def expression(target):
    for name, value in {"$__rate_interval": "30s", "$namespace": ".*", "$instance": ".*"}.items():
        target = target.replace(name, value)
    return target


def queries():
    """{(dashboard, panel): [expression]}."""
    found = {}
    for path in sorted(glob.glob(FILES + "/dashboards/*.json")):
        with open(path) as f:
            dashboard = json.load(f)
        for panel in dashboard["panels"]:
            if panel["type"] != "row":
                found[os.path.basename(path), panel["title"]] = [expression(t["expr"]) for t in panel["targets"]]
    return found


class Load:
    """One round of everything that a panel shows. Each round has its own connections, so that all counts rise."""

    def __init__(self, mail):
        self.mail = mail

    def round(self):
        self.strangers()
        self.submit("you@here.test", "later@slow.test", "gone@never.test", "me@example.org", USER)
        self.read()

    def strangers(self):
        with smtplib.SMTP("127.0.0.1", self.mail.ports["smtp"], timeout=60) as c:
            c.ehlo("client.example")
            c.sendmail("you@example.net", [USER], MESSAGE)
            self.refused(smtplib.SMTPException, c.sendmail, "you@example.net", ["nobody@example.org"], MESSAGE)

    def submit(self, *recipients):
        with smtplib.SMTP("127.0.0.1", self.mail.ports["submission"], timeout=60) as c:
            c.starttls(context=ANY_CERTIFICATE)
            c.login(USER, PASSWORD)
            c.sendmail(USER, list(recipients), MESSAGE)

    def read(self):
        imap = imaplib.IMAP4_SSL("127.0.0.1", self.mail.ports["imaps"], ssl_context=ANY_CERTIFICATE)
        self.refused(imaplib.IMAP4.error, imap.login, USER, "wrong")
        imap.login(USER, PASSWORD)
        imap.append("INBOX", None, None, MESSAGE.encode())
        imap.select("INBOX")
        imap.fetch("1:*", "(FLAGS BODY.PEEK[])")
        imap.copy("1", "Archive")
        imap.store("1", "+FLAGS", "(\\Deleted)")
        imap.expunge()
        imap.logout()
        pop = poplib.POP3_SSL("127.0.0.1", self.mail.ports["pop3s"], context=ANY_CERTIFICATE)
        pop.user(USER)
        pop.pass_(PASSWORD)
        if pop.stat()[0] > 0:
            pop.retr(1)
        pop.quit()

    def refused(self, error, do, *args):
        try:
            do(*args)
        except error:
            return
        raise AssertionError("%s%r was not refused" % (do, args))


@contextlib.contextmanager
def observed():
    """Six processes and their Prometheus: (Load, Prometheus). Also for tools/dashboard_pictures.py."""
    port = free_ports(1)[0]
    with DnsServer() as dns, SmtpSink("127.0.1.11", port), SmtpSink("127.0.1.12", port) as slow, SmtpSink("127.0.1.13", port) as never:
        for name, address in (("here.test", "127.0.1.11"), ("slow.test", "127.0.1.12"), ("never.test", "127.0.1.13")):
            dns.mx(name, (10, "mx." + name))
            dns.a("mx." + name, address)
        slow.replies = {"RCPT later@slow.test": "450 4.7.1 Greylisted"}
        never.replies = {"RCPT gone@never.test": "550 5.1.1 no such user"}
        config = {
            "directory": {"argon2_memory_kib": 64, "argon2_passes": 1, "wrong_passwords_per_address": 0, "wrong_passwords_per_network": 0,
                          "wrong_passwords_per_account": 0},
            "routing": {"dns_servers": [dns.address], "smtp_port": port, "dns_min_ttl": "0s", "dns_max_ttl": "0s"},
            "queue": {"retry_min": "1s", "retry_max": "2s"}, "store": {"min_free_bytes": 1},
        }
        with Posthouse.six(config) as mail, Prometheus(mail) as prometheus:
            for address in (USER, "me@example.org"):
                mail.add_account(address, PASSWORD)
            yield Load(mail), prometheus


class PanelsTest(unittest.TestCase):
    def test_no_panel_is_empty_under_load(self):
        with observed() as (load, prometheus):
            self.watch(load, prometheus)

    def watch(self, load, prometheus):
        asked = queries()
        self.assertGreater(len(asked), 100)
        end = time.monotonic() + PATIENCE
        while True:
            load.round()
            empty = asked if not prometheus.ready() else {
                panel: exprs for panel, exprs in asked.items() if not any(math.isfinite(v) for e in exprs for v in prometheus.ask(e))}
            if not empty:
                return
            if time.monotonic() > end:
                self.fail("empty after %d s: %s" % (PATIENCE, "\n".join("%s: %s" % item for item in empty.items())))


if __name__ == "__main__":
    unittest.main()
