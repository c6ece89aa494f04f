"""The bootstrap Job and the pods of `helm test`, with the commands that the chart renders, on what the chart starts.

The Job runs after each installation and upgrade: twice must be as once.
"""
import base64
import imaplib
import os
import smtplib
import subprocess
import time
import unittest

from cluster import Cluster, chart, merged, write_volume
from load import VALUES
from posthouse import binary

ACCOUNT = "first@example.org"


class Jobs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(merged(VALUES, {"bootstrap": {"enabled": True, "account": ACCOUNT}}))
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
            self.assertEqual(command[0], "/usr/bin/posthousectl")
            words = [binary("posthouse"), "ctl"]
            for word in command[1:]:
                for path, folder in mounts:
                    word = word.replace("=" + path + "/", "=" + folder + "/")
                if word.startswith(("--directory=", "--routing=", "--queue=", "--mailbox=", "--edge=")):
                    word = word.replace("=", "=dns://%s/" % self.cluster.dns.address, 1)
                words.append(word)
            done = subprocess.run(words, text=True, timeout=60, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.assertEqual(done.returncode, 0, "%s\n%s" % (" ".join(words), done.stdout))
            outputs.append(done.stdout)
        return outputs

    def test_the_bootstrap_job_makes_an_account_that_works_and_a_second_run_changes_nothing(self):
        spec = chart.pod_spec(self.cluster.object("Job", "posthouse-bootstrap"))
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

    def test_the_ping_of_helm_test_finds_every_service_ready(self):
        text, = self.run_pod(chart.pod_spec(self.cluster.object("Pod", "posthouse-test-ping")))
        self.assertEqual(text.count(" ok "), 8, text)

    def test_a_stranger_may_not_relay(self):
        with smtplib.SMTP(*self.cluster.address("smtp"), timeout=30) as c:
            with self.assertRaises(smtplib.SMTPRecipientsRefused):
                c.sendmail("a@example.net", ["b@example.com"], "Subject: relay\r\n\r\n")


if __name__ == "__main__":
    unittest.main(verbosity=2)
