"""Writes a small store with the binaries of one version, for old_store_test.py to read with later ones.

    git worktree add /tmp/old v0.1 && (cd /tmp/old && bazel build //services/standalone:posthouse-standalone //tools/posthousectl)
    POSTHOUSE_BIN=/tmp/old/bazel-bin PYTHONPATH=tests/harness python3 tests/compat/make_store.py 0.1

makes testdata/store-0.1.tar.gz (the data directory, stopped) and testdata/store-0.1.json (what one can see of it,
see observe.py). Then name both files in BUILD.bazel. Keep stores of all versions whose data must be readable.

The store has three accounts, aliases, nested and renamed folders, bodies of each kind (a row, a blob, a blob in
pieces), flags, keywords, copies, moves, expunges, a suspended account, and a queue with a deferred message, one with
a failed and a waiting recipient, one for a domain that does not answer, and done marks.
"""
import json
import os
import smtplib
import sys
import tarfile
import time

import observe
from dns_server import DnsServer
from posthouse import Posthouse, free_ports
from smtp_sink import SmtpSink
from wire import wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
CONFIG = {
    "queue": {"retry_min": "10m", "retry_max": "4h", "connect_timeout": "2s", "expire_after": "3650d", "done_retention": "3650d",
              "delay_warning_after": "0s"},
    "store": {"write_buffer_bytes": 1 << 20, "block_cache_bytes": 1 << 20, "min_free_bytes": 1},
}


def body(subject, size=200, sender="friend@example.com", extra=""):
    lines = ("The same line again and again, so that it compresses, about %s.\r\n" % subject) * (1 + size // 80)
    return ("Date: Fri, 13 Nov 2009 22:00:00 +0000\r\nFrom: <%s>\r\nTo: all\r\nMessage-ID: <%s@example.com>\r\n"
            "Subject: %s\r\n%s\r\n%s" % (sender, subject.replace(" ", "."), subject, extra, lines)).encode()


def send(mail, subject, *recipients, sender="friend@example.com", login=None, **kwargs):
    with smtplib.SMTP("127.0.0.1", mail.ports["submission" if login else "smtp"], timeout=60) as s:
        if login:
            s.login(login, observe.PASSWORDS[login])
        s.sendmail(sender, recipients, body(subject, sender=sender, **kwargs))


def wait_messages(mail, user, count):
    c = observe.connect(mail.ports["imap"], user)
    wait_for(lambda: int(observe.ok(c.select("INBOX", readonly=True))[0]) >= count, 60, "message %d of %s" % (count, user))
    c.logout()


def directory(mail):
    for user, password in observe.PASSWORDS.items():
        mail.add_account(user, password)
    mail.add_account("gone@example.org", "suspended later")
    mail.ctl("account", "set", "gone@example.org", "--status", "suspended")
    mail.ctl("account", "set", "alice@example.org", "--display-name", "Alice Liddell")
    mail.ctl("alias", "add", "info@example.org", "alice@example.org")
    mail.ctl("alias", "add", "all@example.org", "alice@example.org", "bob@example.org", "carol@example.net")


def mailboxes(mail):
    for i in range(6):
        send(mail, "letter %d" % i, "alice@example.org")
    send(mail, "to info", "info@example.org")
    send(mail, "to everybody", "all@example.org", size=40000)  # a blob in each of the mailboxes
    send(mail, "large", "bob@example.org", size=2_500_000)     # a blob in pieces
    send(mail, "reply", "carol@example.net", extra="In-Reply-To: <letter.0@example.com>\r\n")
    wait_messages(mail, "alice@example.org", 8)
    c = observe.connect(mail.ports["imap"], "alice@example.org")
    for name in ("Archive/2009", "Work", "Work/Old name", "&AMk-t&AOk-"):
        observe.ok(c.create('"%s"' % name))
        observe.ok(c.subscribe('"%s"' % name))
    observe.ok(c.rename('"Work/Old name"', '"Work/New name"'))
    observe.ok(c.create("Deleted"))
    observe.ok(c.delete("Deleted"))
    for i in range(4):
        observe.ok(c.append("Archive", "(\\Seen $Label%d)" % i, '"13-Nov-2009 2%d:00:00 +0100"' % i, body("archived %d" % i)))
    observe.ok(c.append("Archive/2009", "(\\Draft)", None, body("draft", size=20000)))
    observe.ok(c.select("INBOX"))
    observe.ok(c.store("1:3", "+FLAGS", "(\\Seen \\Flagged)"))
    observe.ok(c.store("2", "-FLAGS", "(\\Flagged)"))
    observe.ok(c.store("4", "FLAGS", "(\\Answered $Important NonJunk)"))
    observe.ok(c.copy("1:2", '"Work/New name"'))
    observe.ok(c.copy("1", '"&AMk-t&AOk-"'))
    observe.ok(c.uid("MOVE", "5", "Archive"))
    observe.ok(c.store("3", "+FLAGS", "(\\Deleted)"))
    observe.ok(c.expunge())
    observe.ok(c.select("Archive"))
    observe.ok(c.uid("MOVE", "1", "Archive/2009"))
    c.logout()
    wait_messages(mail, "bob@example.org", 2)
    wait_messages(mail, "carol@example.net", 2)
    c = observe.connect(mail.ports["imap"], "bob@example.org")
    observe.ok(c.select("INBOX"))
    observe.ok(c.store("1", "+FLAGS", "(\\Seen)"))
    observe.ok(c.append("INBOX", None, None, body("to go", size=50)))
    observe.ok(c.store("3", "+FLAGS", "(\\Deleted)"))
    c.close()
    c.logout()


def queue(mail, dns, sink):
    dns.mx("remote.test", (10, "mx.remote.test"))
    dns.a("mx.remote.test", sink.address)
    dns.mx("away.test", (10, "mx.away.test"))
    dns.fail("away.test", "SERVFAIL")
    alice = dict(sender="alice@example.org", login="alice@example.org")
    send(mail, "sent away", "taken@remote.test", **alice)
    sink.replies = {"RCPT full@remote.test": "452 4.2.2 full", "RCPT none@remote.test": "550 5.1.1 no such user"}
    send(mail, "deferred", "full@remote.test", **alice)
    send(mail, "half failed", "full@remote.test", "none@remote.test", **alice)
    send(mail, "no answer", "someone@away.test", size=50000, **alice)
    send(mail, "failed", "none@remote.test", **alice)
    def settled():
        items = observe.rows(mail.ctl("queue", "list", "--json"))
        stats = observe.rows(mail.ctl("queue", "stats", "--json"))[0]
        return len(items) == 3 and int(stats.get("failed", 0)) == 2 and int(stats.get("relayed", 0)) == 1
    wait_for(settled, 120, "the first attempts")
    wait_messages(mail, "alice@example.org", 8)  # 6 and two bounces


def strip(info):
    """No names and times of the machine that made it."""
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    # RocksDB's own log and options are written anew at each start.
    base = os.path.basename(info.name)
    return None if base.startswith(("LOG", "OPTIONS-")) or base == "LOCK" else info


def main(version):
    with DnsServer() as dns, SmtpSink("127.0.0.11", free_ports(1)[0]) as sink:
        config = dict(CONFIG, routing={"dns_servers": [dns.address], "smtp_port": sink.port, "dns_min_ttl": "0s"})
        mail = Posthouse.standalone(config)
        try:
            mail.start_all()
            directory(mail)
            mailboxes(mail)
            queue(mail, dns, sink)
            # A second start, so that the store has tables as well as a log.
            mail.terminate("standalone")
            mail.start_all()
            seen = observe.everything(mail)
            mail.terminate("standalone")
            target = os.path.join(HERE, "testdata", "store-%s" % version)
            with tarfile.open(target + ".tar.gz", "w:gz", compresslevel=9) as tar:
                tar.add(mail.path("data-standalone"), "data", filter=strip)
            with open(target + ".json", "w") as f:
                json.dump(seen, f, indent=1, sort_keys=True)
                f.write("\n")
            print("%s.tar.gz: %d bytes" % (target, os.path.getsize(target + ".tar.gz")))
        finally:
            mail.stop()


if __name__ == "__main__":
    main(sys.argv[1])
