#!/usr/bin/env python3
"""Posthouse against Debian's Postfix delivering by LMTP to Debian's Dovecot (sdbox), alternating, on this machine.

  tests/load/compare.py [--rounds 3] [--quick] [--only REGEX]

Needs: tools/install-deps --load; bazel build //services/standalone:posthouse-standalone //tools/posthousectl.
Everything is on loopback with data below a temporary directory; fsync is on for both. Prints each workload's
JSON line (mailbench.py) and, at the end, a table of ratios: more than 1 means Posthouse is better.
"""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "harness"))
from posthouse import Posthouse  # noqa: E402

ACCOUNTS = 100


def workloads(quick):
    """(arguments of mailbench, what the row says)."""
    seconds = "2" if quick else "4"
    for sessions in (1, 20, 100):
        yield ["smtp-accept", "--size", "4096", "--sessions", str(sessions), "--seconds", seconds]
        yield ["smtp-accept", "--size", "4096", "--sessions", str(sessions), "--seconds", seconds, "--keep"]
    yield ["e2e", "--size", "4096", "--count", "1000" if quick else "2000", "--users", "20", "--sessions", "20", "--keep"]
    yield ["e2e-latency", "--rate", "20", "--sessions", "2", "--seconds", "5"]
    yield ["e2e-latency", "--rate", "100", "--sessions", "4", "--seconds", "5"]
    yield ["relay", "--size", "4096", "--count", "500" if quick else "2000", "--sessions", "20", "--keep"]
    yield ["append", "--workers", "20", "--seconds", seconds]
    yield ["login", "--workers", "20", "--seconds", seconds]
    yield ["idle", "--seconds", seconds]
    yield ["idle-mem", "--conns", "500"]
    yield ["idle-mem", "--conns", "500", "--tls"]


def start_peers(directory):
    env = dict(os.environ, BENCH_DIR=directory, IN_FLOW_DELAY="0")
    for peer in ("sdbox", "postfix"):
        subprocess.run([os.path.join(HERE, "peers.sh"), "start", peer], check=True, env=env)
    return env, ("name=postfix+dovecot,smtp=23025,accept=23026,relay=23025,imap=23243,imaps=23293,pop3=23210,sink=23900,"
                 "user=u{n},rcpt=u{n}@sdbox.test,root=%s/peers/pfx/queue/pid/master.pid+%s/peers/dc-sdbox/run/master.pid"
                 % (directory, directory))


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--rounds", default="3")
    p.add_argument("--quick", action="store_true")
    p.add_argument("--only", default="")
    a = p.parse_args()
    directory = tempfile.mkdtemp(prefix="posthouse-load-")
    os.chmod(directory, 0o755)
    config = {"ingress": {"relay_networks": ["127.0.0.0/8"]}, "log_level": "warning",
              "routing": {"transports": [{"domain": "sink.test", "host": "127.0.0.1", "port": 23900, "tls": "none"}]}}
    rows, env = [], None
    with Posthouse.standalone(config) as mail:
        try:
            for n in range(ACCOUNTS):
                mail.add_account("u%d@x.test" % n, "pw")
            env, peer = start_peers(directory)
            ours = ("name=posthouse,smtp=%(smtp)d,imap=%(imap)d,imaps=%(imaps)d,pop3=%(pop3)d" % mail.ports +
                    ",sink=23900,user=u{n}@x.test,rcpt=u{n}@x.test,root=%d" % mail.processes["standalone"].pid)
            for arguments in workloads(a.quick):
                if a.only and not re.search(a.only, " ".join(arguments)):
                    continue
                r = subprocess.run([os.path.join(HERE, "mailbench.py"), *arguments, "--a", ours, "--b", peer,
                                    "--rounds", a.rounds, "--quiet", "5"], stdout=subprocess.PIPE, text=True)
                print(r.stdout, end="", flush=True)
                rows.append((" ".join(arguments), r.stdout.strip().splitlines()[-1:] or ["{}"]))
        finally:
            if env:
                for peer in ("postfix", "sdbox"):
                    subprocess.run([os.path.join(HERE, "peers.sh"), "stop", peer], env=env)
    shutil.rmtree(directory, ignore_errors=True)
    print("\n%-64s %8s" % ("workload", "ratio"))
    for name, lines in rows:
        try:
            result = json.loads(lines[0])
            print("%-64s %8s" % (name, result.get("ratio", "failed")))
        except ValueError:
            print("%-64s %8s" % (name, "failed"))


if __name__ == "__main__":
    main()
