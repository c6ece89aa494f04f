"""3,000 users log in at the same instant, as after a restart: each waits its turn, none is refused.

    bazel build -c opt //services/standalone:posthouse-standalone //tools/posthousectl
    PYTHONPATH=tests/harness python3 tests/load/login_herd.py [--users 3000] [--addresses 250] [--smtp 500]

Argon2id has its default cost. The users come from many loopback addresses, over IMAP and (--smtp) submission.
While they wait, users whose password was proven before the herd log in again, too. Prints the waiting times, at
the end one line for all, and exits 1 when a login was refused or cut. tests/load/logins.sh builds and runs it.
"""
import argparse
import asyncio
import base64
import concurrent.futures
import os
import resource
import sys
import time

from posthouse import Posthouse

PASSWORD = "correct horse"
PROVEN = 20


def percentile(times, p):
    return sorted(times)[min(len(times) - 1, len(times) * p // 100)] if times else float("nan")


async def imap(mail, user, source):
    reader, writer = await asyncio.open_connection("127.0.0.1", mail.ports["imap"], local_addr=(source, 0))
    try:
        await reader.readline()
        began = time.monotonic()
        writer.write(b'a LOGIN "%s" "%s"\r\n' % (user.encode(), PASSWORD.encode()))
        while True:
            line = await reader.readline()
            if not line or line.startswith(b"a "):
                return line, line.startswith(b"a OK"), time.monotonic() - began
    finally:
        writer.close()


async def submission(mail, user, source):
    reader, writer = await asyncio.open_connection("127.0.0.1", mail.ports["submission"], local_addr=(source, 0))
    try:
        await reader.readline()
        writer.write(b"EHLO x\r\n")
        while (await reader.readline())[3:4] == b"-":
            pass
        began = time.monotonic()
        writer.write(b"AUTH PLAIN %s\r\n" % base64.b64encode(b"\0%s\0%s" % (user.encode(), PASSWORD.encode())))
        line = await reader.readline()
        return line, line.startswith(b"235"), time.monotonic() - began
    finally:
        writer.close()


async def proven(mail, stop):
    """Logins that need no hash, one after the other, until the herd is through."""
    results = []
    while not stop.is_set():
        results.append(await imap(mail, "p%d@example.org" % (len(results) % PROVEN), "127.8.0.%d" % (len(results) % 200 + 1)))
        await asyncio.sleep(0.05)
    return results


async def herd(mail, args):
    stop = asyncio.Event()
    for n in range(PROVEN):
        await imap(mail, "p%d@example.org" % n, "127.8.1.1")
    again = asyncio.create_task(proven(mail, stop))
    began = time.monotonic()
    results = await asyncio.gather(*(
        (submission if n < args.smtp else imap)(mail, "u%d@example.org" % n,
                                                "127.7.%d.%d" % (n % args.addresses // 250, n % args.addresses % 250 + 1))
        for n in range(args.users)))
    took = time.monotonic() - began
    stop.set()
    return results, await again, took


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--users", type=int, default=3000)
    parser.add_argument("--addresses", type=int, default=250)
    parser.add_argument("--smtp", type=int, default=0, help="how many of them over submission")
    args = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with Posthouse.standalone({"log_level": "warning"}) as mail:
        names = ["p%d@example.org" % n for n in range(PROVEN)] + ["u%d@example.org" % n for n in range(args.users)]
        mail.add_account(names[0], PASSWORD)
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: mail.add_account(name, PASSWORD), names[1:]))
        print("%d accounts in %.0f s" % (len(names), time.monotonic() - began), flush=True)
        mail.terminate("standalone", 60)
        mail.start("standalone")
        mail.wait_ready("standalone")
        results, again, took = asyncio.run(herd(mail, args))
        for what, some in (("herd", results), ("proven", again)):
            times = [seconds for _, ok, seconds in some if ok]
            print("%s: %d of %d logged in; p50 %.2f s, p99 %.2f s, longest %.2f s" % (
                what, len(times), len(some), percentile(times, 50), percentile(times, 99), max(times, default=float("nan"))))
        refused = [line for line, ok, _ in results + again if not ok]
        print("the herd was through after %.1f s; RSS %d MiB" % (took, mail.rss_kib("standalone") // 1024))
        if refused:
            print("refused:", set(refused))
        waits = [seconds for _, ok, seconds in results if ok]
        print("login herd: %s: %d of %d logged in within %.1f s (p50 %.1f s, p99 %.1f s), %d refused; proven users meanwhile p99 %.0f ms" % (
            "FAIL" if refused else "PASS", len(waits), len(results), took, percentile(waits, 50), percentile(waits, 99), len(refused),
            1000 * percentile([seconds for _, ok, seconds in again if ok], 99)))
        return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
