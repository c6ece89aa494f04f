"""`posthouse probe` against a whole system: one round, rounds with metrics, and what fails."""
import re
import signal
import subprocess
import unittest
import urllib.request

from posthouse import Posthouse, binary, free_ports
from wire import wait_for

ACCOUNT, PASSWORD = "probe@probe.example", "only for the probe"


class Probe(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.mail = Posthouse.standalone()
        cls.mail.__enter__()
        cls.addClassCleanup(cls.mail.__exit__, None, None, None)
        cls.mail.add_account(ACCOUNT, PASSWORD)
        cls.password = cls.mail.path("probe-password")
        with open(cls.password, "w") as f:
            f.write(PASSWORD + "\n")

    def command(self, *more, password=None):
        at = lambda port: "127.0.0.1:%d" % self.mail.ports[port]
        return [binary("posthouse"), "probe", "--account=" + ACCOUNT, "--password-file=" + (password or self.password),
                "--tls-name=mail.example.org", "--tls-ca=" + self.mail.path("mail.crt"), "--submissions=" + at("submissions"),
                "--imaps=" + at("imaps"), "--pop3s=" + at("pop3s"), "--no-relay=" + at("smtp"), *more]

    def test_a_round_sends_reads_and_deletes_a_message(self):
        done = subprocess.run(self.command("--once"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(re.findall(r"^(\w+) +ok ", done.stdout, re.M), ["submit", "imap", "pop3", "delete", "no_relay"])

    def test_a_wrong_password_fails_with_what_the_server_said(self):
        wrong = self.mail.path("wrong-password")
        with open(wrong, "w") as f:
            f.write("wrong")
        done = subprocess.run(self.command("--once", password=wrong), stdout=subprocess.PIPE, text=True, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"submit +failed +AUTH was answered: 535")

    def test_rounds_are_counted_and_sigterm_ends_them(self):
        port = free_ports(1)[0]
        with subprocess.Popen(self.command("--interval=1s", "--http=127.0.0.1:%d" % port), stderr=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL) as process:
            def rounds():
                try:
                    text = urllib.request.urlopen("http://127.0.0.1:%d/metrics" % port, timeout=5).read().decode()
                except OSError:
                    return 0
                return float(re.search(r'^posthouse_probe_rounds_total\{result="ok"\} (\S+)$', text, re.M)[1])
            try:
                wait_for(lambda: rounds() >= 2, 30, "two rounds")
            finally:
                process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(60), 0)


if __name__ == "__main__":
    unittest.main()
