"""One byte of a store rots: what was acknowledged is served or named as lost, and nothing else changes.

Stores with live logs, tables and blob files are made once: domains, aliases, folders, appends, flags, expunges, mail
that waits for a relay which nothing listens for, and a restart; then kill -9. Each run copies them, damages one file at
random (a bit flipped, a sector zeroed, the end cut off, the file gone, or an earlier copy of it put back), and starts
`standalone` on the copy. It must start, or refuse with a reason. When it refuses, it starts once more with
--accept-data-loss, and when it refuses that, too, after `salvage store`. What is served then is what was acknowledged: messages byte for byte with their flags, folders, aliases and domains, and waiting mail, which the relay
gets when it listens. What is not served without that flag is an error to its reader and in the log; an address that was
there is never "no such user"; and no UID is given out twice.

DAMAGE_RUNS=n runs that many (20), SEED=n repeats a choice of damages, DAMAGE_FIRST=n begins at one of them,
DAMAGE_KINDS=flip,zero,cut,gone,old are the kinds to choose from.
"""
import hashlib
import imaplib
import json
import os
import random
import re
import shutil
import signal
import smtplib
import stat
import subprocess
import time
import unittest
import urllib.request

from posthouse import Posthouse, binary, free_ports
from smtp_sink import SmtpSink
from wire import Wire

RUNS = int(os.environ.get("DAMAGE_RUNS", "20"))
FIRST = int(os.environ.get("DAMAGE_FIRST", "0"))
SEED = int(os.environ.get("SEED", "20261129"))
KINDS = os.environ.get("DAMAGE_KINDS", "flip,zero,cut,gone,old").split(",")
PASSWORD = "correct horse"
USERS = ["one@example.org", "two@example.org"]
SIZES = [300, 2000, 12000, 30000, 200000]
WAITING_SIZES = [300, 12000, 30000, 200000]
FOLDERS = ["INBOX", "Archive"]
ALIASES = {"team@example.org": ["one@example.org", "two@example.org"], "sales@example.org": ["team@example.org"],
           "info@second.example": ["one@example.org"]}
DOMAINS = ["example.org", "second.example", "third.example"]
KEYWORDS = ["\\Flagged", "\\Seen", "$Work"]
START_SECONDS = 120
RELAY_SECONDS = 20
NAMED = r"DATA_LOSS|[Dd]amaged|[Cc]orrupt"


def make_message(ident, size):
    body = "".join(hashlib.sha256(("%s %d" % (ident, n)).encode()).hexdigest() + "\r\n" for n in range(size // 66 + 1))
    return ("From: sender@example.net\r\nTo: user@example.org\r\nSubject: %s\r\n\r\n%s" % (ident, body)).encode()


def login(mail, user):
    c = imaplib.IMAP4("127.0.0.1", mail.ports["imap"], timeout=60)
    c.login(user, PASSWORD)
    return c


def select(c, folder):
    """UIDVALIDITY, UIDNEXT; None when the folder cannot be opened."""
    kind, _ = c.select(folder)
    if kind != "OK":
        return None
    return int(c.response("UIDVALIDITY")[1][0]), int(c.response("UIDNEXT")[1][0])


def append(c, folder, message):
    """The UID; None when it was refused."""
    kind, data = c.append(folder, None, None, message)
    found = re.search(rb"APPENDUID (\d+) (\d+)", data[0] or b"")
    return (int(found.group(1)), int(found.group(2))) if kind == "OK" else None


def files_of(root):
    files = sorted(os.path.join(d, f) for d, _, names in os.walk(root) for f in names)
    return [f for f in files if stat.S_ISREG(os.lstat(f).st_mode) and os.path.getsize(f) > 0]


def read_file(path):
    with open(path, "rb") as f:
        return f.read()


class Damage:
    def __init__(self, rng, root, earlier):
        self.path = rng.choice(files_of(root))
        size = os.path.getsize(self.path)
        self.kind = rng.choice(KINDS)
        self.offset = rng.randrange(size)
        if self.kind == "old":
            earlier = rng.choice(earlier)
            # Files that have changed since, or that the store has removed.
            names = [os.path.relpath(f, earlier) for f in files_of(earlier)]
            names = [n for n in names if not os.path.isfile(os.path.join(root, n))
                     or read_file(os.path.join(root, n)) != read_file(os.path.join(earlier, n))]
            name = rng.choice(names)
            self.path = os.path.join(root, name)
            there = os.path.isfile(self.path)
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            shutil.copy(os.path.join(earlier, name), self.path)
            self.text = "an earlier %s put back (%s, of %s)" % (
                name, "over another" if there else "it was removed", os.path.basename(earlier))
            return
        if self.kind == "gone":
            os.remove(self.path)
            self.text = "%s is gone (%d bytes)" % (os.path.relpath(self.path, root), size)
            return
        with open(self.path, "r+b") as f:
            if self.kind == "cut":
                f.truncate(self.offset)
            elif self.kind == "zero":
                self.offset -= self.offset % 512
                f.seek(self.offset)
                f.write(b"\0" * min(512, size - self.offset))
            else:
                f.seek(self.offset)
                byte = f.read(1)[0] ^ (1 << rng.randrange(8))
                f.seek(self.offset)
                f.write(bytes([byte]))
        self.text = "%s at %d of %s (%d bytes)" % (self.kind, self.offset, os.path.relpath(self.path, root), size)


class DamageTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        print("SEED=%d DAMAGE_RUNS=%d DAMAGE_FIRST=%d" % (SEED, RUNS, FIRST), flush=True)
        cls.relay = free_ports(1)[0]
        cls.mail = Posthouse.standalone({
            "store": {"min_free_bytes": "1MiB"},
            "queue": {"retry_min": "1h", "retry_max": "1h"},
            "routing": {"transports": [{"domain": "away.example", "host": "127.0.0.1", "port": cls.relay}]}})
        cls.data = cls.mail.path("data-standalone")
        cls.template = cls.mail.path("template")
        # The files of other times, for "old": of a stopped process, and of one that ran on.
        cls.earlier = [cls.mail.path("stopped"), cls.mail.path("running")]
        cls.kept = {}  # (user, folder) -> {uid: sha256}
        cls.ever = {}  # (user, folder) -> UIDs that were ever given out
        cls.validity = {}
        cls.flags = {}  # (user, folder) -> {uid: set of flags}
        cls.waiting = {}  # subject -> body of mail that waits for the relay
        try:
            cls.make_template()
        except BaseException:
            print(cls.mail.log_tail("standalone"))
            cls.mail.stop()
            raise

    @classmethod
    def make_template(cls):
        mail = cls.mail
        mail.start_all()
        for user in USERS:
            mail.add_account(user, PASSWORD)
        for domain in DOMAINS[1:]:
            mail.ctl("domain", "add", domain)
        for alias, targets in list(ALIASES.items())[:2]:
            mail.ctl("alias", "add", alias, *targets)
        cls.fill("first")
        assert mail.terminate("standalone") == 0
        cls.copy(cls.data, cls.earlier[0])
        mail.start_all()  # recovery writes tables
        for alias, targets in list(ALIASES.items())[2:]:
            mail.ctl("alias", "add", alias, *targets)
        cls.fill("second")
        mail.kill("standalone")
        cls.copy(cls.data, cls.template)

    @classmethod
    def fill(cls, label):
        for user in USERS:
            cls.copy(cls.data, cls.earlier[1])
            c = login(cls.mail, user)
            for folder in FOLDERS:
                key = (user, folder)
                kept, ever = cls.kept.setdefault(key, {}), cls.ever.setdefault(key, set())
                for n, size in enumerate(SIZES):
                    message = make_message("%s-%s-%d" % (label, user, n), size)
                    validity, uid = append(c, folder, message)
                    cls.validity[key] = validity
                    ever.add(uid)
                    kept[uid] = hashlib.sha256(message).hexdigest()
                select(c, folder)
                c.uid("STORE", str(min(kept)), "+FLAGS.SILENT", "(\\Deleted)")
                kind, _ = c.expunge()
                assert kind == "OK"
                del kept[min(kept)]
                flags = cls.flags.setdefault(key, {})
                for uid, flag in zip(sorted(kept)[-len(KEYWORDS):], KEYWORDS):
                    kind, _ = c.uid("STORE", str(uid), "+FLAGS.SILENT", "(%s)" % flag)
                    assert kind == "OK"
                    flags.setdefault(uid, set()).add(flag.encode())
            c.logout()
        with smtplib.SMTP("127.0.0.1", cls.mail.ports["submission"], timeout=30) as c:
            c.ehlo("client.example")
            c.login(USERS[0], PASSWORD)
            for n, size in enumerate(WAITING_SIZES):
                subject = "waits-%s-%d" % (label, n)
                message = make_message(subject, size)
                c.sendmail(USERS[0], ["%s@away.example" % subject], message)
                cls.waiting[subject] = message.split(b"\r\n\r\n", 1)[1]

    @classmethod
    def tearDownClass(cls):
        cls.mail.stop()
        shutil.rmtree(cls.mail.dir, ignore_errors=True)

    @staticmethod
    def copy(source, target):
        shutil.rmtree(target, ignore_errors=True)
        special = lambda folder, names: [
            n for n in names if not (stat.S_ISREG(m := os.lstat(os.path.join(folder, n)).st_mode) or stat.S_ISDIR(m))]
        # A file may go while a process runs.
        shutil.copytree(source, target, ignore=special, copy_function=lambda s, t: os.path.exists(s) and shutil.copy2(s, t))

    # ---- one run

    def start(self, *flags):
        """None when the process serves; else why it refuses."""
        mail = self.mail
        self.replies = {}  # of RCPT, by address
        self.log = mail.path("run.log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [binary("posthouse-standalone"), "--config", mail.path("standalone.yaml"), *flags], stdout=log, stderr=log,
                stdin=subprocess.DEVNULL)
        mail.processes["standalone"] = self.process  # stop() ends it
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if self.process.poll() is not None:
                self.assertEqual(self.process.returncode, 1, "it crashed:\n" + self.read_log()[-3000:])
                reason = re.search(r"cannot start: (.{10,})", self.read_log())
                self.assertIsNotNone(reason, "it refuses without a reason:\n" + self.read_log()[-3000:])
                self.assertNotIn("in use by another process", reason.group(1))
                return reason.group(1)
            try:
                if urllib.request.urlopen("http://127.0.0.1:%d/livez" % mail.http["standalone"], timeout=5).status == 200:
                    return None
            except OSError:
                time.sleep(0.05)
        self.fail("it neither starts nor refuses:\n" + self.read_log()[-3000:])

    def read_log(self):
        with open(self.log, "rb") as f:
            return f.read().decode(errors="replace")

    def stop(self):
        self.assertIsNone(self.process.poll(), "it ended by itself:\n" + self.read_log()[-3000:])
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def read_all(self):
        """What is served is what was acknowledged. Returns what is not served, and the UIDs of new messages."""
        missing, given = [], []
        for user in USERS:
            try:
                c = login(self.mail, user)
            except imaplib.IMAP4.error as e:
                missing.append("login of %s: %s" % (user, e))
                continue
            for folder in FOLDERS:
                key = (user, folder)
                opened = select(c, folder)
                if opened is None:
                    missing.append("%s of %s cannot be opened" % (folder, user))
                    continue
                kind, data = c.uid("SEARCH", "ALL")
                uids = [int(u) for u in (data[0] or b"").split()] if kind == "OK" else []
                for uid in uids:
                    self.assertEqual(opened[0], self.validity[key])
                    self.assertIn(uid, self.ever[key], "a message that nobody sent")
                for uid, digest in self.kept[key].items():
                    kind, data = c.uid("FETCH", str(uid), "(FLAGS BODY.PEEK[])") if uid in uids else ("NO", [None])
                    body = next((part[1] for part in data if isinstance(part, tuple)), None)
                    if kind != "OK" or body is None:
                        missing.append("message %d in %s of %s" % (uid, folder, user))
                    else:
                        self.assertEqual(hashlib.sha256(body).hexdigest(), digest, "UID %d has other bytes" % uid)
                        got = set(imaplib.ParseFlags(b" ".join(p if isinstance(p, bytes) else p[0] for p in data))) - {b"\\Recent"}
                        if got != self.flags[key].get(uid, set()):
                            missing.append("flags of message %d in %s of %s: %s" % (uid, folder, user, got))
                new = append(c, folder, make_message("new", 100))
                if new is None:
                    continue
                given.append(key)
                if new[0] == self.validity[key]:
                    self.assertNotIn(new[1], self.ever[key], "a UID is given out twice")
            kind, data = c.list()
            listed = b" ".join(line for line in data if line) if kind == "OK" else b""
            missing += ["folder %s of %s is not listed" % (f, user) for f in FOLDERS if f.encode() not in listed]
            c.logout()
        missing += self.read_directory()
        missing += self.read_queue()
        return missing, given

    def read_directory(self):
        """Domains and aliases that are not served. An address of theirs is never refused for good."""
        missing = []
        with Wire(self.mail.ports["smtp"], timeout=60) as c:
            c.expect(b"220")
            c.expect(b"250", b"EHLO client.example")
            for address in USERS + list(ALIASES):
                c.expect(b"250", b"MAIL FROM:<friend@example.net>")
                reply = c.command(b"RCPT TO:<%s>" % address.encode())
                self.replies[address] = reply
                if not reply.startswith(b"250"):
                    missing.append("RCPT TO:<%s>: %s" % (address, reply))
                c.expect(b"250", b"RSET")
        domains = self.mail.ctl("domain", "list", check=False)
        missing += ["domain %s is not listed" % d for d in DOMAINS if d not in domains]
        listed = {}
        for line in self.mail.ctl("alias", "list", "--json", check=False).splitlines():
            alias = json.loads(line)
            listed[alias["address"]] = alias["targets"]
        missing += ["alias %s is not listed" % a for a, targets in ALIASES.items() if listed.get(a) != targets]
        return missing

    def read_queue(self):
        """Waiting mail that the relay does not get. What it gets is what was submitted."""
        with SmtpSink("127.0.0.1", self.relay) as relay:
            def got():
                return {re.search(rb"Subject: (\S+)", m.data).group(1).decode(): m.data for m in relay.messages}
            end = time.monotonic() + RELAY_SECONDS
            tried = 0
            while len(got()) < len(self.waiting) and time.monotonic() < end:
                if time.monotonic() - tried > 2:
                    tried = time.monotonic()
                    self.mail.ctl("queue", "retry", "--domain", "away.example", check=False)
                if re.search(NAMED, self.read_log()) and time.monotonic() > end - RELAY_SECONDS + 4:
                    break  # what is damaged comes never
                time.sleep(0.05)
            found = got()
            for subject, data in found.items():
                self.assertTrue(data.endswith(self.waiting[subject]), "%s has other bytes" % subject)
        return ["%s waits no longer and did not come" % s for s in self.waiting if s not in found]

    def one_run(self, rng):
        self.copy(self.template, self.data)
        damage = Damage(rng, self.data, self.earlier)
        with self.subTest(damage=damage.text):
            refused = self.start()
            if refused is None:
                missing, given = self.read_all()
                if missing:
                    # Each was an error to its reader; the operator finds it, too.
                    self.assertRegex(self.read_log(), NAMED, "silently missing: %s" % missing)
                for address, reply in self.replies.items():
                    self.assertRegex(reply, rb"^(250|4\d\d) ", "for an address that was there: " + address)
                self.stop()
                print("%s: serves, %d missing" % (damage.text, len(missing)), *missing, sep="\n    ", flush=True)
                return
            print("%s: refuses: %s" % (damage.text, refused), flush=True)
            again = self.start("--accept-data-loss")
            how = "with --accept-data-loss"
            if again is not None:
                print("  and with --accept-data-loss: %s" % again, flush=True)
                advised = re.search(r"'posthousectl salvage store (\S+)'", again)
                if advised is None:
                    return  # another copy of the file is all that helps
                salvaged = subprocess.run([binary("posthousectl"), "salvage", "store", advised.group(1)],
                                          capture_output=True, text=True, timeout=300)
                self.assertEqual(salvaged.returncode, 0, salvaged.stdout + salvaged.stderr)
                print("   ", salvaged.stdout.replace("\n", "\n    "), flush=True)
                self.assertRegex(salvaged.stdout, "lost: ")
                self.assertIsNone(self.start(), "after a salvage")
                how = "after the salvage"
            missing, given = self.read_all()
            self.stop()
            print("  and %s: serves, %d missing" % (how, len(missing)), *missing, sep="\n    ", flush=True)

    def test_damage_is_never_silent(self):
        for run in range(FIRST, FIRST + RUNS):
            try:
                self.one_run(random.Random(SEED * 1000 + run))
            finally:
                self.process.kill()  # a run that failed leaves it
                self.process.wait()

    def test_the_undamaged_copy_serves_everything(self):
        self.copy(self.template, self.data)
        # As an earlier release left it: open to all users of the machine.
        below = [os.path.join(d, n) for d, dirs, names in os.walk(self.data) for n in dirs + names]
        for path in below:
            os.chmod(path, 0o755)
        self.assertIsNone(self.start())
        missing, given = self.read_all()
        self.assertEqual((missing, len(given)), ([], 4))
        self.assertIn("permissions_repaired", self.read_log())
        for folder, dirs, names in os.walk(self.data):
            for path in [os.path.join(folder, n) for n in dirs + names]:
                self.assertEqual(os.lstat(path).st_mode & 0o077, 0, "others may read " + path)
        self.stop()


if __name__ == "__main__":
    unittest.main(verbosity=2)
