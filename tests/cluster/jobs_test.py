"""The bootstrap Job and the pods of `helm test`, with the commands that the chart renders, on what the chart starts.

The Job runs after each installation and upgrade: twice must be as once.
"""
import base64
import imaplib
import os
import re
import smtplib
import socket
import subprocess
import time
import unittest

from cluster import Cluster, chart, merged, write_volume
from load import VALUES
from posthouse import binary

ACCOUNT = "first@example.org"
# Flags of the probe with the address of a listener.
MAIL = {"submissions": "submissions", "imaps": "imaps", "pop3s": "pop3s", "no-relay": "smtp"}


class OfTheAdministrator:
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(merged(VALUES, cls.OWN))
        cls.cluster.__enter__()
        cls.addClassCleanup(cls.cluster.__exit__, None, None, None)

    def run_pod(self, spec):
        """Runs the containers of a pod of the administrator, one after the other. Returns their outputs."""
        folders = {}
        for volume in spec["volumes"]:
            folders[volume["name"]] = os.path.join(self.cluster.dir, "job-" + volume["name"])
            secret = self.cluster.object("Secret", volume["secret"]["secretName"])["data"]
            write_volume(folders[volume["name"]], {k: base64.b64decode(v) for k, v in secret.items()})
        outputs = []
        for container in chart.containers(spec):
            mounts = sorted(((m["mountPath"], folders[m["name"]]) for m in container["volumeMounts"]), key=lambda m: -len(m[0]))
            command = list(container["command"])
            words = {"/usr/bin/posthousectl": [binary("posthouse"), "ctl"], "/usr/bin/posthouse": [binary("posthouse")]}[command[0]]
            for word in command[1:]:
                for path, folder in mounts:
                    word = word.replace("=" + path + "/", "=" + folder + "/")
                if word.startswith(("--server=", "--directory=", "--routing=", "--queue=", "--mailbox=", "--edge=")):
                    word = word.replace("=", "=dns://%s/" % self.cluster.dns.address, 1)
                flag = word[2:].split("=")[0]
                if flag in MAIL:  # through a Service: one of its pods
                    word = "--%s=%s:%d" % (flag, *self.cluster.address(MAIL[flag]))
                words.append(word)
            done = subprocess.run(words, text=True, timeout=60, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.assertEqual(done.returncode, 0, "%s\n%s" % (" ".join(words), done.stdout))
            outputs.append(done.stdout)
        return outputs

    def test_the_mail_of_helm_test_goes_through_submission_imap_and_pop3_and_its_account_goes(self):
        before = self.cluster.ctl("domain", "list")
        spec = chart.pod_spec(self.cluster.object("Pod", "posthouse-test-mail"))
        for _ in range(2):
            text = "".join(self.run_pod(spec))
            self.assertEqual(re.findall(r"^(\w+) +ok +[0-9.]+ s$", text, re.M), ["submit", "imap", "pop3", "delete", "no_relay"], text)
            self.assertEqual(self.cluster.ctl("domain", "list"), before)

    def test_the_ping_of_helm_test_finds_every_service_ready(self):
        text, = self.run_pod(chart.pod_spec(self.cluster.object("Pod", "posthouse-test-ping")))
        self.assertEqual(text.count(" ok "), self.SERVICES, text)


class Standalone(OfTheAdministrator, unittest.TestCase):
    OWN = {"deploymentMode": "standalone", "standalone": {"shutdown": {"preStopSeconds": 2, "drainSeconds": 15}},
           "proxyProtocol": {"enabled": True, "trustedCIDRs": ["127.0.0.9/32"]}}
    SERVICES = 5

    def test_a_load_balancer_has_a_port_of_its_own_and_its_header_counts_nowhere_else(self):
        service = self.cluster.object("Service", "posthouse-smtp")["spec"]["ports"][0]["targetPort"]
        pod = self.cluster.pods[0]
        ports = {p["name"]: p["containerPort"] for p in pod.container["ports"]}
        for source, port, greets in (("127.0.0.9", service, True), ("127.0.0.8", service, False), ("127.0.0.8", "smtp", True)):
            with socket.create_connection((pod.address, ports[port]), 30, source_address=(source, 0)) as s:
                if port == service:
                    s.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.1 1 25\r\n")
                try:
                    self.assertEqual(s.recv(4)[:3], b"220" if greets else b"", (source, port))
                except ConnectionResetError:
                    self.assertFalse(greets, (source, port))


class Distributed(OfTheAdministrator, unittest.TestCase):
    OWN = {"bootstrap": {"enabled": True, "account": ACCOUNT}}
    SERVICES = 8

    def test_the_bootstrap_job_makes_an_account_that_works_and_a_second_run_changes_nothing(self):
        job = next(t for t in self.cluster.objects if t["kind"] == "Job")
        self.assertTrue(job["metadata"]["name"].startswith("posthouse-bootstrap-"))
        spec = chart.pod_spec(job)
        self.run_pod(spec)
        accounts = self.cluster.ctl("account", "list")
        self.assertIn(ACCOUNT, accounts)
        self.run_pod(spec)
        self.assertEqual(self.cluster.ctl("account", "list"), accounts)
        password = base64.b64decode(self.cluster.object("Secret", "posthouse-account")["data"]["password"]).decode()
        with smtplib.SMTP(*self.cluster.address("submission"), timeout=30) as c:
            c.login(ACCOUNT, password)
            c.sendmail(ACCOUNT, [ACCOUNT], "From: %s\r\nSubject: first mail\r\n\r\nHello.\r\n" % ACCOUNT)
        with imaplib.IMAP4(*self.cluster.address("imap"), timeout=30) as c:
            c.login(ACCOUNT, password)
            end = time.time() + 30
            while c.select("INBOX")[1] == [b"0"]:
                self.assertLess(time.time(), end, "the first mail did not arrive")
                time.sleep(0.1)

    def test_a_test_that_was_cut_off_leaves_an_account_that_the_next_one_can_use(self):
        self.cluster.ctl("account", "add", "test@posthouse-test.invalid", "--create-domain", "--password-file", "-", input="another password\n")
        self.run_pod(chart.pod_spec(self.cluster.object("Pod", "posthouse-test-mail")))
        self.assertNotIn("posthouse-test.invalid", self.cluster.ctl("account", "list"))

    def test_the_ping_waits_for_a_service_that_starts(self):
        pod = self.cluster.kill("posthouse-directory-0")
        self.run_pod({**chart.pod_spec(self.cluster.object("Pod", "posthouse-test-ping"))})
        self.cluster.wait_ready([pod])

    def test_a_stranger_may_not_relay(self):
        with smtplib.SMTP(*self.cluster.address("smtp"), timeout=30) as c:
            with self.assertRaises(smtplib.SMTPRecipientsRefused):
                c.sendmail("a@example.net", ["b@example.com"], "Subject: relay\r\n\r\n")


if __name__ == "__main__":
    unittest.main(verbosity=2)
