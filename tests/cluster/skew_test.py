"""Two neighbouring versions in one system, under SMTP and IMAP load: nothing acknowledged is lost or comes twice.

    PREVIOUS_BIN=DIR bazel test --test_env=PREVIOUS_BIN //tests/cluster:skew_test

DIR has the programs of the version before: the bazel-bin of its commit, or a folder with `posthouse`. Six processes begin with the version
before. Then each service is upgraded alone, those that are called before their callers (UPGRADE.md), and each is put back alone in the
same order. So every pair of services runs with the new one calling the old one, and with the old one calling the new one, and every
store is opened by the new version and then by the old one again. While a service restarts, its callers get temporary errors; a second
after it is ready nobody does.

    SEED=n repeats a run's choices.
"""
import os
import subprocess
import sys
import time
import unittest

import posthouse
from load import TEMPORARY, Load

SEED = int(os.environ.get("SEED", str(int(time.time()))))
PREVIOUS = os.environ.get("PREVIOUS_BIN", "")
ORDER = ["directory", "routing", "mailbox", "queue", "ingress", "gateway"]
SETTLE = 1.0


def program(base, service):
    """The command of `service` ("ctl": posthousectl) among the programs below `base`."""
    own = {"ctl": ["tools/posthousectl/posthousectl", "posthousectl"]}.get(
        service, ["services/%s/posthouse-%s" % (service, service), "posthouse-" + service])
    for place in own:
        if os.path.isfile(os.path.join(base, place)):
            return [os.path.abspath(os.path.join(base, place))]
    for place in ("services/posthouse/posthouse", "posthouse"):
        if os.path.isfile(os.path.join(base, place)):
            return [os.path.abspath(os.path.join(base, place)), service]
    sys.exit("%s: no program of %s" % (base, service))


def version(command):
    return subprocess.run(command + ["--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


class Mixed(posthouse.Posthouse):
    """Six processes, each of the version that `old` says."""

    def __init__(self):
        super().__init__(posthouse.SERVICES, {"drain_timeout": "15s", "queue": {"retry_min": "1s", "retry_max": "2s"}}, {})
        self.old = set(self.services)
        self.surprises = []

    def command(self, name):
        if name in self.old:
            return program(PREVIOUS, name)
        return [posthouse.binary("posthouse"), name]

    def start(self, name):
        with open(self.path(name + ".log"), "ab") as log:
            os.makedirs(self.path("data-" + name), exist_ok=True)
            self.processes[name] = subprocess.Popen(self.command(name) + ["--config", self.path(name + ".yaml")],
                                                    stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def ctl(self, *args, input=None, check=True):
        """The administrator's program is as old as the oldest process."""
        where = ["--%s=127.0.0.1:%d" % (s, self.rpc[s]) for s in ("directory", "routing", "queue", "mailbox")]
        tls = ["--ca", self.path("ca.crt"), "--cert", self.path("admin.crt"), "--key", self.path("admin.key")]
        command = program(PREVIOUS, "ctl") if self.old else [posthouse.binary("posthouse"), "ctl"]
        done = subprocess.run(command + tls + where + list(args), input=input, text=True, timeout=60, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
        if check and done.returncode != 0:
            raise RuntimeError("posthousectl %s: exit %d\n%s%s" % (" ".join(args), done.returncode, done.stdout, done.stderr))
        return done.stdout

    def replace(self, name):
        code = self.terminate(name)
        if code != 0:
            self.surprises.append("%s: exit code %d after SIGTERM:\n%s" % (name, code, self.log_tail(name)))
        self.old ^= {name}
        self.start(name)
        self.wait_ready(name)


@unittest.skipUnless(PREVIOUS, "PREVIOUS_BIN names the programs of the version before")
class Skew(unittest.TestCase):
    def test_each_service_is_upgraded_alone_and_put_back_alone(self):
        with Mixed() as system:
            print("from %s to %s" % (version(program(PREVIOUS, "queue")), version([posthouse.binary("posthouse"), "queue"])))
            clients = Load(system, SEED)
            time.sleep(2)
            for direction in ("upgrade", "put back"):
                for name in ORDER:
                    phase = "%s %s" % (direction, name)
                    clients.phase(phase)
                    begin = time.time()
                    system.replace(name)
                    print("%-20s %4.1f s" % (phase, time.time() - begin))
                    time.sleep(SETTLE)
                    clients.phase("after " + phase)
                    time.sleep(1.5)
            clients.phase("end")
            clients.finish(self, 300)
            for phase in list(clients.noted.seen):
                self.assertLessEqual(clients.seen(phase), set() if phase.startswith("after") else TEMPORARY, phase)


if __name__ == "__main__":
    print("SEED=%d" % SEED)
    unittest.main(verbosity=2)
