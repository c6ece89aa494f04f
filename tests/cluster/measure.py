"""Measures the memory of each pod of the rendered chart, by hand: at rest, and at its highest after large messages came in and were read.

    bazel build //services/posthouse && PYTHONPATH=tests/harness:tests/helm:tests/cluster python3 tests/cluster/measure.py
        [--messages 24] [--mebibytes 15] [--at-once 8] [--set KEY=VALUE ...]
"""
import argparse
import concurrent.futures
import imaplib
import smtplib
import time

from cluster import Cluster, merged

ACCOUNTS = ["a%d@example.org" % i for i in range(4)]
PASSWORD = "correct horse"


def peak_mib(pod):
    with open("/proc/%d/status" % pod.process.pid) as f:
        return int(next(line for line in f if line.startswith("VmHWM")).split()[1]) // 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=24)
    parser.add_argument("--mebibytes", type=int, default=15)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    values = {"config": {"gateway": {"allow_plaintext_auth": True}}}
    for each in options.set:
        path, value = each.split("=", 1)
        for key in reversed(path.split(".")):
            value = {key: int(value) if isinstance(value, str) and value.isdigit() else value}
        values = merged(values, value)
    body = ("x" * 76 + "\r\n") * (options.mebibytes * 1024 * 1024 // 78)

    def send(i):
        while True:
            try:
                with smtplib.SMTP(*cluster.address("smtp"), timeout=300) as c:
                    return c.sendmail("sender@example.net", [ACCOUNTS[i % 4]], "Subject: large %d\r\n\r\n%s" % (i, body))
            except (smtplib.SMTPException, OSError) as e:
                print("again: %s" % e)
                time.sleep(0.5)

    def read(i):
        with imaplib.IMAP4(*cluster.address("imap"), timeout=300) as c:
            c.login(ACCOUNTS[i % 4], PASSWORD)
            count = 0
            while count < options.messages // 4:
                count = int(c.select("INBOX")[1][0])
                time.sleep(0.2)
            return len(c.fetch("1:*", "(BODY[])")[1])

    with Cluster(values) as cluster:
        for account in ACCOUNTS:
            cluster.add_account(account, PASSWORD)
        time.sleep(2)
        rest = {p.name: p.rss_kib() // 1024 for p in cluster.pods}
        with concurrent.futures.ThreadPoolExecutor(options.at_once) as pool:
            begin = time.time()
            list(pool.map(send, range(options.messages)))
            print("%d messages of %d MiB accepted in %.1f s" % (options.messages, options.mebibytes, time.time() - begin))
            list(pool.map(read, range(options.at_once)))
        print("%-28s %8s %8s %8s %8s   MiB" % ("pod", "rest", "highest", "request", "limit"))
        for pod in sorted(cluster.pods, key=lambda p: p.name):
            r = pod.container["resources"]
            print("%-28s %8d %8d %8s %8s" % (pod.name, rest[pod.name], peak_mib(pod), r["requests"]["memory"], r["limits"]["memory"]))


if __name__ == "__main__":
    main()
