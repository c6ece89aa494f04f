"""Hosts that accept connections and never say a word: mail for hosts that answer does not wait for them.

Three situations, in which slow hosts once took every outgoing slot: many domains whose one MX is silent; many
silent hosts that differ; and each of them after a restart, when no host is known and DNS is asked for all at once.
Prints how long live mail took meanwhile. The bound is wide, since the machine may be busy; by hand on a quiet one:
SILENT_DOMAINS=1500 SILENT_HOSTS=150 LIVE_SECONDS=2.
"""
import os
import selectors
import smtplib
import socket
import threading
import time
import unittest

from dns_server import DnsServer
from posthouse import Posthouse, free_ports
from smtp_sink import SmtpSink
from wire import wait_for

DOMAINS = int(os.environ.get("SILENT_DOMAINS", "400"))
HOSTS = int(os.environ.get("SILENT_HOSTS", "40"))
BOUND = float(os.environ.get("LIVE_SECONDS", "30"))
# As many times the silent hosts as the default has in the large run: hosts that have not accepted mail yet share half.
SLOTS = int(os.environ.get("SLOTS", str(HOSTS * 10 // 3)))
LIVE = 30
SENDER = "sender@example.org"


class SilentHosts:
    """One port on many addresses: takes connections and says nothing."""

    def __init__(self, addresses, port):
        self._selector = selectors.DefaultSelector()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.most, self._held = {}, {}
        self._listeners = []
        for address in addresses:
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((address, port))
            s.listen(1024)
            s.setblocking(False)
            self._selector.register(s, selectors.EVENT_READ, address)
            self._listeners.append(s)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while not self._stop.is_set():
            for key, _ in self._selector.select(0.1):
                if isinstance(key.data, tuple):  # the client gave up
                    self._selector.unregister(key.fileobj)
                    self._held[key.data[0]] -= 1
                    key.fileobj.close()
                    continue
                s, _ = key.fileobj.accept()
                with self._lock:
                    self._held[key.data] = self._held.get(key.data, 0) + 1
                    self.most[key.data] = max(self.most.get(key.data, 0), self._held[key.data])
                self._selector.register(s, selectors.EVENT_READ, (key.data,))

    def close(self):
        self._stop.set()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()
        self._selector.close()

    def connections(self):
        with self._lock:
            return sum(self.most.values())


class SilentHostsTest(unittest.TestCase):
    def setUp(self):
        self.port = free_ports(1)[0]
        self.dns = DnsServer()
        self.dns.__enter__()
        self.addCleanup(self.dns.__exit__, None, None, None)
        self.sink = SmtpSink("127.0.3.1", self.port)
        self.addCleanup(self.sink.close)
        self.dns.mx("live.test", (10, "mx.live.test"))
        self.dns.a("mx.live.test", "127.0.3.1")

    def start(self, slots=SLOTS):
        self.mail = Posthouse.standalone({
            "routing": {"dns_servers": [self.dns.address], "smtp_port": self.port, "ipv6": False},
            "queue": {"max_concurrent": slots, "max_per_destination": min(20, slots), "greeting_timeout": "60s"},
            "ingress": {"relay_networks": ["127.0.0.0/8"]}, "log_level": "warning"})
        self.mail.__enter__()
        self.addCleanup(self.mail.__exit__, None, None, None)

    def send(self, recipients):
        with smtplib.SMTP("127.0.0.1", self.mail.ports["smtp"], timeout=60) as c:
            for rcpt in recipients:
                c.sendmail(SENDER, [rcpt], "Subject: x\r\n\r\nx\r\n")

    def live_mail(self, what):
        """Sends live mail one by one; the longest time until the sink has it."""
        times = []
        for n in range(LIVE):
            before, began = len(self.sink.messages), time.monotonic()
            self.send(["user%d@live.test" % n])
            self.sink.wait(before + 1, BOUND)
            times.append(time.monotonic() - began)
        print("%s: live mail p50 %.3f s, longest %.3f s" % (what, sorted(times)[len(times) // 2], max(times)), flush=True)
        self.assertLess(max(times), BOUND)

    def test_many_domains_at_one_silent_host(self):
        silent = SilentHosts(["127.0.3.2"], self.port)
        self.addCleanup(silent.close)
        self.dns.a("mx.silent.test", "127.0.3.2")
        domains = ["d%d.silent.test" % n for n in range(DOMAINS)]
        for domain in domains:
            self.dns.mx(domain, (10, "mx.silent.test"))
        self.start()
        self.send(["u@" + d for d in domains])
        wait_for(lambda: silent.connections() > 0, 30, "a connection to the silent host")
        self.live_mail("%d domains at one silent host" % DOMAINS)
        print("at most %d connections to the silent host" % silent.connections())
        self.assertLessEqual(silent.connections(), 20)
        self.mail.terminate("standalone", 60)  # what it knew of the hosts is gone
        asked = len(self.dns.queries)
        self.mail.start("standalone")
        self.mail.wait_ready("standalone")
        self.live_mail("after a restart")
        queries = self.dns.queries[asked:]
        print("%d queries after the restart, %d of them repeated" % (len(queries), len(queries) - len(set(queries))))
        self.assertLessEqual(silent.connections(), 40)  # those before the restart may linger

    def test_many_silent_hosts(self):
        addresses = ["127.0.4.%d" % (n + 1) for n in range(HOSTS)]
        silent = SilentHosts(addresses, self.port)
        self.addCleanup(silent.close)
        for n, address in enumerate(addresses):
            self.dns.mx("h%d.silent.test" % n, (10, "mx%d.silent.test" % n))
            self.dns.a("mx%d.silent.test" % n, address)
        self.start()
        for _ in range(4):
            self.send(["u@h%d.silent.test" % n for n in range(HOSTS)])
        wait_for(lambda: silent.connections() >= min(HOSTS, SLOTS) // 4, 30, "connections to the silent hosts")
        self.live_mail("%d silent hosts, 4 messages each" % HOSTS)
        print("at most %d connections to silent hosts" % silent.connections())
        self.mail.terminate("standalone", 60)
        self.mail.start("standalone")
        self.mail.wait_ready("standalone")
        self.live_mail("after a restart")

    def test_more_silent_hosts_than_slots_leave_those_of_hosts_that_accept(self):
        slots = HOSTS * 3 // 4
        addresses = ["127.0.4.%d" % (n + 1) for n in range(HOSTS)]
        silent = SilentHosts(addresses, self.port)
        self.addCleanup(silent.close)
        for n, address in enumerate(addresses):
            self.dns.mx("h%d.silent.test" % n, (10, "mx%d.silent.test" % n))
            self.dns.a("mx%d.silent.test" % n, address)
        self.start(slots)
        self.live_mail("before")
        self.send(["u@h%d.silent.test" % n for n in range(HOSTS)])
        wait_for(lambda: silent.connections() >= slots // 4, 30, "connections to the silent hosts")
        self.live_mail("%d silent hosts, %d connections" % (HOSTS, slots))


if __name__ == "__main__":
    unittest.main(verbosity=2)
