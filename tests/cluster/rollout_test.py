"""Rolling restart of every service under SMTP and IMAP load, from the rendered chart: nothing acknowledged is lost or comes twice.

Each workload is restarted in its turn, as `kubectl rollout restart` does it, while clients send, append and read. Clients of ingress and
gateway see a 421, a BYE or a refused connection, and a retry mends it. A store has one process: while it restarts, calls to it get a
temporary error, which is counted and printed. A second after the last new pod is ready, no call fails.

    ROUNDS=5 by hand: restarts everything five times.   SEED=n repeats a run's choices.
"""
import os
import random
import time
import unittest

from cluster import PROPAGATION, Cluster
from load import MENDED, TEMPORARY, VALUES, Load

ROUNDS = int(os.environ.get("ROUNDS", "1"))
SEED = int(os.environ.get("SEED", str(int(time.time()))))
STATELESS = ["posthouse-routing", "posthouse-ingress", "posthouse-gateway"]
STORES = ["posthouse-directory", "posthouse-queue", "posthouse-mailbox"]
# Time after the readiness of the last new pod in which calls may still go to an old address.
SETTLE = 1.0


class Rollout(unittest.TestCase):
    def test_a_rolling_restart_of_everything_loses_and_doubles_nothing(self):
        with Cluster(VALUES) as cluster:
            print("ready, seconds and MiB at rest:")
            for pod in sorted(cluster.pods, key=lambda p: p.name):
                print("  %-28s %4.1f  %3d" % (pod.name, pod.ready_after, pod.rss_kib() // 1024))
            load = Load(cluster, SEED)
            time.sleep(1)
            order = random.Random(SEED)
            for _ in range(ROUNDS):
                for name in order.sample(STATELESS + STORES, len(STATELESS + STORES)):
                    load.phase(name)
                    begin = time.time()
                    times = cluster.rollout(name)
                    print("%-20s %4.1f s; pods ended in %s s, were ready in %s s" % (
                        name, time.time() - begin, ", ".join("%.1f" % t[0] for t in times), ", ".join("%.1f" % t[1] for t in times)))
                    # A store is ready when it listens: its callers then have to notice. The window ends before the next pod goes.
                    noticed = max(load.noted.last_after(t[2], PROPAGATION) for t in times)
                    print("%-20s calls failed until %3.0f ms after a pod was ready" % (name, 1000 * noticed))
                    time.sleep(SETTLE)
                    load.phase("after " + name)
                    time.sleep(1)
            load.phase("end")
            load.finish(self, 200 * ROUNDS)
            for phase in list(load.noted.seen):
                self.assertLessEqual(load.seen(phase), TEMPORARY if phase in STORES else MENDED, phase)
                if phase.startswith("after"):
                    self.assertEqual(load.seen(phase), set(), phase)


if __name__ == "__main__":
    print("SEED=%d ROUNDS=%d" % (SEED, ROUNDS))
    unittest.main(verbosity=2)
