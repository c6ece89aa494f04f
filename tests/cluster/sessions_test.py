"""Sessions at several gateways and ingresses: listed, kicked and ended wherever they are; and how a session finds a store that moved.

The targets of posthousectl are those of the chart: one name for all gateways, one for all ingresses.
"""
import json
import time
import unittest

from cluster import Cluster
from counted_mail import PASSWORD
from load import VALUES
from wire import Closed, Wire, wait_for

USER = "user@example.org"


class Sessions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(VALUES)
        cls.cluster.__enter__()
        cls.addClassCleanup(cls.cluster.__exit__, None, None, None)

    def pods(self, component):
        return [p for p in self.cluster.pods if p.component == component]

    def connect(self, pod, listener):
        port = next(p["containerPort"] for p in pod.container["ports"] if p["name"] == listener)
        c = Wire(port, host=pod.address)
        self.addCleanup(c.close)
        c.line()
        return c

    def log_in_everywhere(self, user):
        """[(protocol, client)]: a session of each protocol at each pod."""
        clients = []
        for pod in self.pods("gateway"):
            c = self.connect(pod, "imap")
            c.send(b"l LOGIN %s \"%s\"\r\n" % (user.encode(), PASSWORD.encode()))
            self.assertRegex(c.line(), b"^l OK")
            clients.append(("imap", c))
            c = self.connect(pod, "pop3")
            for command in (b"USER " + user.encode(), b"PASS " + PASSWORD.encode()):
                c.send(command + b"\r\n")
                self.assertRegex(c.line(), rb"^\+OK")
            clients.append(("pop3", c))
        for pod in self.pods("ingress"):
            c = self.connect(pod, "submission")
            c.expect(b"250", b"EHLO client.example")
            c.login(user, PASSWORD)
            clients.append(("submission", c))
        return clients

    def assert_all_end(self, clients):
        began = time.time()
        for protocol, client in clients:
            self.assertRegex(client.line(), {"imap": rb"^\* BYE ", "pop3": rb"^-ERR ", "submission": rb"^421 "}[protocol])
            with self.assertRaises(Closed):
                client.line()
        print("%d sessions ended within %.0f ms" % (len(clients), 1000 * (time.time() - began)))
        self.assertLess(time.time() - began, 5)  # and not at a poll, which is 30 s away

    def test_the_sessions_of_all_replicas_are_listed_and_kicked(self):
        user = "kicked@example.org"
        self.cluster.add_account(user, PASSWORD)
        self.assertEqual((len(self.pods("gateway")), len(self.pods("ingress"))), (2, 2))
        clients = self.log_in_everywhere(user)
        listed = [json.loads(line) for line in self.cluster.ctl("sessions", "list", "--account", user, "--json").splitlines()]
        self.assertEqual(sorted(s["protocol"] for s in listed), ["imap", "imap", "pop3", "pop3", "submission", "submission"])
        self.assertEqual(len({s["session_id"] for s in listed}), 6)
        self.assertIn("6 sessions ended", self.cluster.ctl("sessions", "kick", "--account", user))
        self.assert_all_end(clients)

    def test_a_change_of_an_account_ends_its_sessions_at_all_replicas(self):
        for number, change in enumerate((
                lambda a: self.cluster.ctl("password", "set", a, "--password-file", "-", input="another one\n"),
                lambda a: self.cluster.ctl("account", "set", a, "--status", "suspended"),
                lambda a: self.cluster.ctl("account", "delete", a))):
            user = "changed%d@example.org" % number
            self.cluster.add_account(user, PASSWORD)
            clients = self.log_in_everywhere(user)
            change(user)
            self.assert_all_end(clients)

    def test_a_session_finds_its_store_at_a_new_address(self):
        """The node of a store is gone; its pod comes back elsewhere. Sessions that were open go on."""
        self.cluster.add_account(USER, PASSWORD)
        home = json.loads(self.cluster.ctl("account", "show", USER, "--json"))["account"]["home"]
        clients = [c for protocol, c in self.log_in_everywhere(USER) if protocol == "imap"]

        def select(client):
            client.send(b"s SELECT INBOX\r\n")
            while True:
                line = client.line()
                if line.startswith(b"s "):
                    return line.startswith(b"s OK")

        for client in clients:
            self.assertTrue(select(client))
        pod = next(p for p in self.pods("mailbox") if p.name == home)
        old = pod.address
        self.cluster.lose_node([pod.name])
        self.assertNotEqual(next(p for p in self.pods("mailbox") if p.name == pod.name).address, old)
        for client in clients:
            wait_for(lambda: select(client), 15, "the store at its new address")


if __name__ == "__main__":
    unittest.main(verbosity=2)
