"""kill -9 at random instants under load: nothing acknowledged is lost, nothing comes twice.

First `standalone`, then six processes with mTLS between them; KILLS kills in total (default 50), each process
in its turn of a shuffled round, and at the end all at once. All the while SMTP clients send and IMAP clients
APPEND. Then every message whose end of data got 250, and every APPEND that got OK, must be there exactly once
with the bytes it was sent with, under the UID that APPENDUID named. What got no answer may be there, but whole
and once at most.

SEED=n repeats a run's choices (the timing is the machine's). A failure keeps the acknowledgements it
broke in its message.
"""
import os
import random
import time
import unittest

from counted_mail import PASSWORD, Appender, Sender, verify
from posthouse import Posthouse, SERVICES

KILLS = int(os.environ.get("KILLS", "50"))
SEED = int(os.environ.get("SEED", str(int(time.time()))))
RECEIVERS = ["one@example.org", "two@example.org"]  # by SMTP
APPENDERS = ["three@example.org", "four@example.org"]  # by IMAP
FAST_RETRIES = {"queue": {"retry_min": "1s", "retry_max": "2s"}}
GROUPS = [RECEIVERS[:1], RECEIVERS[1:], RECEIVERS]


class KillTest(unittest.TestCase):
    def test_standalone(self):
        with Posthouse.standalone(FAST_RETRIES) as mail:
            self.run_under_fire(mail, KILLS // 2)

    def test_six_processes(self):
        with Posthouse.six(FAST_RETRIES) as mail:
            self.run_under_fire(mail, KILLS - KILLS // 2)

    def run_under_fire(self, mail, kills):
        choices = random.Random(SEED)
        for user in RECEIVERS + APPENDERS:
            mail.add_account(user, PASSWORD)
        clients = [Sender(mail, "s%d" % i, SEED + i, GROUPS) for i in range(4)]
        clients += [Appender(mail, user, SEED + 100 + i) for i, user in enumerate(APPENDERS)]
        for client in clients:
            client.start()
        killed = self.kill_at_random(mail, kills, choices)
        for name in mail.services:
            mail.wait_ready(name)
        time.sleep(1)  # some mail after the last restart
        for client in clients:
            client.stopping.set()
        for client in clients:
            client.join(60)
            self.assertFalse(client.is_alive(), "%s hangs" % client.label)
            self.assertIsNone(client.crash)
        sent = {i: a for c in clients for i, a in c.acknowledged.items()}
        unanswered = {i: m for c in clients for i, m in c.open.items()}
        print("%s: killed %s; %d acknowledged, %d unanswered" % (
            "six" if mail.mtls else "standalone", killed, len(sent), len(unanswered)))
        self.assertGreater(len(sent), kills, "the load hardly ran: the test would prove nothing")
        self.assertGreater(len(unanswered), 0, "no kill met a message on its way")
        arrived = sum(verify(self, mail, user, sent, unanswered) for user in RECEIVERS + APPENDERS)
        print("every one of them is there once; of the unanswered %d arrived" % arrived)

    def kill_at_random(self, mail, kills, choices):
        killed, turn = {}, []
        for _ in range(kills):
            if not turn:
                turn = choices.sample(mail.services, len(mail.services))
            name = turn.pop()
            # Sometimes while it is still starting, mostly while it works.
            if choices.random() < 0.8:
                for each in mail.services:
                    mail.wait_ready(each)
            time.sleep(choices.random() * 1.2)
            mail.kill(name)
            killed[name] = killed.get(name, 0) + 1
            time.sleep(choices.random() * 0.3)
            mail.start(name)
        for each in mail.services:
            mail.wait_ready(each)
        time.sleep(choices.random())
        for each in mail.services:  # the whole machine, as it were
            mail.kill(each)
        for each in mail.services:
            mail.start(each)
        return killed

if __name__ == "__main__":
    print("SEED=%d KILLS=%d" % (SEED, KILLS))
    assert len(SERVICES) == 6
    unittest.main(verbosity=2)
