"""Real mail clients, without a screen, against `standalone`: curl, mbsync, mutt, fetchmail,
imaplib and poplib; and what Thunderbird, K-9 and Apple Mail say when they are set up.

Each test has an account of its own. A client that is not installed is a failure:
`tools/install-deps --test` installs them all.
"""
import base64
import email
import fcntl
import glob
import imaplib
import os
import poplib
import pty
import re
import select
import shutil
import signal
import smtplib
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

from posthouse import Posthouse

PASSWORD = "correct horse"
mail = None

PLAIN = b"From: Ann <ann@example.net>\r\nTo: joe@example.org\r\nSubject: %s\r\nMessage-ID: <%s@example.net>\r\nDate: Tue, 1 Jul 2025 10:00:00 +0200\r\n\r\nHello %s\r\n"
DOTS = b"Subject: dots\r\n\r\n.\r\n..\r\n.leading\r\nend .\r\n"
NESTED = (
    b"From: Ann <ann@example.net>\r\nTo: joe@example.org\r\nSubject: =?UTF-8?Q?nested_=C3=BC?=\r\n"
    b"Message-ID: <nested@example.net>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=outer\r\n\r\n"
    b"preamble\r\n--outer\r\nContent-Type: multipart/alternative; boundary=inner\r\n\r\n"
    b"--inner\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n"
    b"--inner\r\nContent-Type: text/html\r\n\r\n<p>Hello</p>\r\n--inner--\r\n"
    b"--outer\r\nContent-Type: message/rfc822\r\n\r\nSubject: inside\r\nContent-Type: text/plain\r\n\r\nInner text\r\n"
    b"--outer\r\nContent-Type: application/octet-stream; name=a.bin\r\nContent-Transfer-Encoding: base64\r\n"
    b"Content-Disposition: attachment; filename=a.bin\r\n\r\nAAECAwQF\r\n--outer--\r\n")
TUID = re.compile(rb"X-TUID: \S+\r?\n")  # mbsync's mark on messages on their way
BIG = b"Subject: big\r\n\r\n" + b"".join(b"%07d 0123456789 .........................................\r\n" % i for i in range(40000))


def plain(word):
    word = word.encode()
    return PLAIN % (word, word, word)


def run(*args, input=None, codes=(0,), env=None, timeout=120):
    if shutil.which(args[0]) is None:
        raise AssertionError("%s is not installed: run tools/install-deps --test" % args[0])
    r = subprocess.run(args, input=input, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout,
                       env=dict(os.environ, **(env or {})))
    if r.returncode not in codes:
        raise AssertionError("%s: exit %d\n%s\n%s" % (" ".join(args), r.returncode, r.stdout.decode(errors="replace")[-3000:],
                                                      r.stderr.decode(errors="replace")[-3000:]))
    return r.stdout


class Client(unittest.TestCase):
    """An account, a directory, and an imaplib session that looks at the server's side."""

    def setUp(self):
        self.user = "%s@example.org" % self.id().rsplit(".", 1)[1].replace("test_", "")[:40].replace("_", "-")
        mail.add_account(self.user, PASSWORD)
        self.dir = tempfile.mkdtemp(dir=mail.dir)
        self.env = {"HOME": self.dir, "LC_ALL": "C.UTF-8", "TERM": "xterm", "FETCHMAILHOME": self.dir}
        self.imap = self.login()

    def tearDown(self):
        self.imap.logout()

    def login(self):
        c = imaplib.IMAP4("127.0.0.1", mail.ports["imap"], timeout=30)
        c.login(self.user, PASSWORD)
        return c

    def ok(self, answer):
        self.assertEqual(answer[0], "OK", answer)
        return answer[1]

    def put(self, message, folder="INBOX", flags=""):
        self.ok(self.imap.append(folder, flags, None, message))

    def count(self, folder="INBOX"):
        return int(re.search(rb"MESSAGES (\d+)", self.ok(self.imap.status('"%s"' % folder, "(MESSAGES)"))[0]).group(1))

    def all_messages(self, folder="INBOX"):
        """Subject to (UID, flags, bytes)."""
        self.ok(self.imap.select('"%s"' % folder, readonly=True))
        found = {}
        for item in self.ok(self.imap.uid("FETCH", "1:*", "(UID FLAGS BODY.PEEK[])")):
            if isinstance(item, tuple):
                uid = int(re.search(rb"UID (\d+)", item[0]).group(1))
                flags = set(re.search(rb"FLAGS \(([^)]*)\)", item[0]).group(1).decode().split()) - {"\\Recent"}
                found[email.message_from_bytes(item[1])["Subject"]] = (uid, flags, item[1])
        self.ok(self.imap.unselect() if hasattr(self.imap, "unselect") else self.imap.close())
        return found

    def deliver(self, message):
        with smtplib.SMTP("127.0.0.1", mail.ports["smtp"], timeout=30) as c:
            c.sendmail("ann@example.net", [self.user], message)

    def wait_count(self, count, folder="INBOX", seconds=30):
        end = time.time() + seconds
        while self.count(folder) != count and time.time() < end:
            time.sleep(0.02)
        self.assertEqual(self.count(folder), count)

    def file(self, name, content=None):
        path = os.path.join(self.dir, name)
        if content is not None:
            with open(path, "wb") as f:
                f.write(content if isinstance(content, bytes) else content.encode())
            os.chmod(path, 0o600)
        return path


# ---- curl

class Curl(Client):
    def curl(self, scheme, path, *args, codes=(0,)):
        url = "%s://localhost:%d/%s" % (scheme, mail.ports[scheme], path)
        return run("curl", "-sS", "--max-time", "60", "--cacert", mail.path("mail.crt"), "-u", self.user + ":" + PASSWORD, url,
                   *args, codes=codes, env=self.env)

    def test_curl_imap(self):
        for scheme, options in (("imap", ()), ("imap", ("--ssl-reqd",)), ("imaps", ())):
            with self.subTest(scheme=scheme, options=options):
                word = "via %s %s" % (scheme, len(options))
                before = self.count()
                self.assertIn(b'(\\HasNoChildren \\Sent) "/" "Sent"', self.curl(scheme, "", *options))
                for message in (plain(word), NESTED, BIG):
                    self.curl(scheme, "INBOX", *options, "-T", self.file("up.eml", message))
                self.assertEqual(self.count(), before + 3)
                found = self.curl(scheme, "INBOX?SUBJECT%20%22" + word.replace(" ", "%20") + "%22", *options)
                self.assertEqual(found.strip(), b"* SEARCH %d" % (before + 1))
                self.assertEqual(self.curl(scheme, "INBOX;MAILINDEX=%d" % (before + 1), *options), plain(word))
                self.assertEqual(self.curl(scheme, "INBOX;UID=%d" % (before + 2), *options), NESTED)
                self.assertEqual(self.curl(scheme, "INBOX;UID=%d" % (before + 3), *options), BIG)
                self.assertEqual(self.curl(scheme, "INBOX;UID=%d;SECTION=HEADER.FIELDS%%20(SUBJECT)" % (before + 1), *options),
                                 b"Subject: %s\r\n\r\n" % word.encode())
                self.assertEqual(self.curl(scheme, "INBOX;UID=%d;SECTION=1.1" % (before + 2), *options), b"Gr\xc3\xbc\xc3\x9fe")
        self.assertIn(b"FLAGS (\\Flagged", self.curl("imap", "INBOX", "-X", "STORE 1 +FLAGS (\\Flagged)"))
        self.curl("imap", "INBOX", "-X", "NOPE", codes=(21, 56, 78, 67, 8))
        run("curl", "-sS", "-u", self.user + ":wrong", "imap://localhost:%d/" % mail.ports["imap"], codes=(67,))

    def test_curl_pop3(self):
        messages = [plain("one"), DOTS, BIG, b"Subject: no line end\r\n\r\nlast line"]
        for m in messages:
            self.put(m)
        for scheme, options in (("pop3", ()), ("pop3", ("--ssl-reqd",)), ("pop3s", ())):
            with self.subTest(scheme=scheme, options=options):
                listing = self.curl(scheme, "", *options).split()
                self.assertEqual(listing, [x for i, m in enumerate(messages) for x in (b"%d" % (i + 1), b"%d" % len(m))])
                for i, m in enumerate(messages):
                    whole = m if m.endswith(b"\r\n") else m + b"\r\n"
                    self.assertEqual(self.curl(scheme, str(i + 1), *options), whole)
        self.assertEqual(len(self.curl("pop3", "", "-X", "UIDL").split()), 8)
        self.assertEqual(self.curl("pop3", "1%200", "-X", "TOP"), plain("one").split(b"\r\n\r\n")[0] + b"\r\n\r\n")
        self.curl("pop3", "2", "-X", "DELE", "-I")  # and QUIT
        self.assertEqual(self.count(), 3)
        self.assertNotIn("dots", self.all_messages())


# ---- mbsync

class Mbsync(Client):
    def near(self, folder="INBOX"):
        """Subject to (path, flags) of a folder of the Maildir."""
        found = {}
        for path in glob.glob(os.path.join(self.dir, "mail", folder, "[cn]*", "*")):
            if os.path.basename(os.path.dirname(path)) not in ("cur", "new"):
                continue
            with open(path, "rb") as f:
                found[email.message_from_bytes(f.read())["Subject"]] = (path, set(path.partition(":2,")[2]))
        return found

    def sync(self, tls):
        config = "IMAPAccount far\nHost localhost\nPort %d\nUser %s\nPass \"%s\"\n" % (
            mail.ports["imaps" if tls else "imap"], self.user, PASSWORD)
        config += "SSLType IMAPS\nSystemCertificates no\nCertificateFile %s\n" % mail.path("mail.crt") if tls else \
            "SSLType None\nAuthMechs LOGIN\n"
        config += ("\nIMAPStore far\nAccount far\n\nMaildirStore near\nPath %s/mail/\nInbox %s/mail/INBOX\nSubFolders Verbatim\n"
                   "\nChannel all\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nRemove Both\nExpunge Both\nSyncState *\n"
                   "CopyArrivalDate yes\n" % (self.dir, self.dir))
        os.makedirs(self.file("mail"), exist_ok=True)
        return run("mbsync", "-c", self.file("mbsyncrc", config), "-V", "-a", env=self.env)

    def snapshot(self):
        files = {}
        for path in glob.glob(os.path.join(self.dir, "mail", "**"), recursive=True) + \
                glob.glob(os.path.join(self.dir, "mail", "**", ".*"), recursive=True):
            if os.path.isfile(path) and not path.endswith(".lock"):
                with open(path, "rb") as f:
                    files[path] = f.read()
        folders = [re.search(rb'"/" (.*)', line).group(1).decode() for line in self.ok(self.imap.list())]
        states = {f: self.ok(self.imap.status(f, "(MESSAGES UNSEEN UIDNEXT UIDVALIDITY HIGHESTMODSEQ)")) for f in folders}
        return files, states

    def two_way(self, tls):
        for word in ("first", "second", "third"):
            self.put(plain(word))
        self.put(NESTED, flags="(\\Seen \\Answered)")
        self.ok(self.imap.create('"Work/&ANw-bung"'))
        self.put(plain("in folder"), "Work/&ANw-bung", "(\\Flagged)")
        self.sync(tls)
        self.assertEqual(set(self.near()), {"first", "second", "third", "=?UTF-8?Q?nested_=C3=BC?="})
        path, flags = self.near()["=?UTF-8?Q?nested_=C3=BC?="]
        self.assertEqual(flags, {"R", "S"})
        with open(path, "rb") as f:
            self.assertEqual(TUID.sub(b"", f.read()), NESTED.replace(b"\r\n", b"\n"))
        self.assertEqual(self.near("Work/&ANw-bung")["in folder"][1], {"F"})

        before = self.snapshot()
        self.sync(tls)  # nothing to do, and nothing done
        self.assertEqual(self.snapshot(), before)

        # Flags, deletions and new messages on both sides at once.
        path, _ = self.near()["first"]
        os.rename(path, re.sub(r"/new/([^/]*?)(:2,[A-Z]*)?$", r"/cur/\1", path).partition(":2,")[0] + ":2,FS")
        os.remove(self.near()["second"][0])
        new = plain("from near")
        self.file("mail/INBOX/cur/1234.5_6.host:2,S", new.replace(b"\r\n", b"\n"))
        far = self.all_messages()
        self.ok(self.imap.select("INBOX"))
        self.ok(self.imap.uid("STORE", str(far["third"][0]), "+FLAGS", "(\\Flagged \\Answered)"))
        self.ok(self.imap.uid("STORE", str(far["=?UTF-8?Q?nested_=C3=BC?="][0]), "+FLAGS", "(\\Deleted)"))
        self.ok(self.imap.expunge())
        self.put(plain("from far"), flags="(\\Draft)")
        os.makedirs(self.file("mail/Near only/cur"))
        os.makedirs(self.file("mail/Near only/new"))
        os.makedirs(self.file("mail/Near only/tmp"))
        self.file("mail/Near only/cur/99.5_6.host:2,", plain("in near folder").replace(b"\r\n", b"\n"))
        self.sync(tls)
        self.sync(tls)  # deletions need the second run to reach the far side's expunge
        far = self.all_messages()
        self.assertEqual(set(far), {"first", "third", "from near", "from far"})
        self.assertEqual(far["first"][1], {"\\Flagged", "\\Seen"})
        self.assertEqual(far["third"][1], {"\\Flagged", "\\Answered"})
        self.assertEqual(far["from near"][1], {"\\Seen"})
        self.assertEqual(TUID.sub(b"", far["from near"][2]), new)
        near = self.near()
        self.assertEqual(set(near), set(far))
        self.assertEqual(near["third"][1], {"F", "R"})
        self.assertEqual(near["from far"][1], {"D"})
        self.assertIn("in near folder", self.all_messages("Near only"))
        before = self.snapshot()
        self.sync(tls)
        self.assertEqual(self.snapshot(), before)

    def test_mbsync_two_way(self):
        self.two_way(tls=False)

    def test_mbsync_two_way_tls(self):
        self.two_way(tls=True)


# ---- fetchmail

class Fetchmail(Client):
    def fetch(self, protocol, options, tls=False, codes=(0,), uidl=False):
        inbox = self.file("fetched")
        os.makedirs(inbox, exist_ok=True)
        scheme = protocol + ("s" if tls else "")
        mda = self.file("mda", "#!/bin/sh\nexec cat > %s/$$.eml\n" % inbox)
        os.chmod(mda, 0o700)
        rc = 'poll localhost protocol %s port %d auth password%s\n user "%s" password "%s" %s\n %s\n mda "%s"\n' % (
            protocol, mail.ports[scheme], " uidl" if uidl else "", self.user, PASSWORD,
            'ssl sslcertck sslcertfile "%s"' % mail.path("mail.crt") if tls else "sslproto ''", options, mda)
        out = run("fetchmail", "-f", self.file("fetchmailrc", rc), "--pidfile", self.file("pid"), "-i", self.file("ids"),
                  "--nosyslog", "--invisible", "--nodetach", "-v", codes=codes, env=self.env)
        got = {}
        for path in glob.glob(os.path.join(inbox, "*.eml")):
            with open(path, "rb") as f:
                m = f.read()
            got[email.message_from_bytes(m)["Subject"]] = m
            os.remove(path)
        return got, out

    def same(self, got, message):
        """fetchmail's mda gets LF, and X-Original fields that it adds stay on top."""
        self.assertTrue(got.replace(b"\r\n", b"\n").endswith(message.replace(b"\r\n", b"\n")), got[:500])

    def everything(self, protocol, tls):
        messages = {"one": plain("one"), "dots": DOTS, "big": BIG}
        for m in messages.values():
            self.put(m)
        got, _ = self.fetch(protocol, "keep", tls, uidl=protocol == "pop3")
        self.assertEqual(set(got), set(messages))
        for subject, m in messages.items():
            self.same(got[subject], m)
        self.assertEqual(self.count(), 3)
        # What was fetched once is not fetched again; what is new is.
        self.assertEqual(self.fetch(protocol, "keep", tls, uidl=protocol == "pop3", codes=(1,))[0], {})
        self.put(plain("later"))
        self.assertEqual(set(self.fetch(protocol, "keep", tls, uidl=protocol == "pop3")[0]), {"later"})
        # Without keep they go.
        self.assertEqual(set(self.fetch(protocol, "fetchall nokeep", tls)[0]), set(messages) | {"later"})
        self.assertEqual(self.count(), 0)
        self.assertEqual(self.fetch(protocol, "fetchall nokeep", tls, codes=(1,))[0], {})

    def test_fetchmail_pop3(self):
        self.everything("pop3", tls=False)

    def test_fetchmail_pop3s(self):
        self.everything("pop3", tls=True)

    def test_fetchmail_imap(self):
        self.everything("imap", tls=False)

    def test_fetchmail_imaps(self):
        self.everything("imap", tls=True)

    def test_fetchmail_delivered_mail(self):
        """Mail that came by SMTP, not by APPEND."""
        self.deliver(plain("by smtp"))
        self.wait_count(1)
        got, _ = self.fetch("pop3", "fetchall nokeep")
        self.same(got["by smtp"], plain("by smtp"))
        self.assertIn(b"Received:", got["by smtp"])
        self.assertEqual(self.count(), 0)


# ---- mutt

def in_terminal(argv, env, seconds=60):
    """Runs a full-screen program to its end; what it wrote."""
    if shutil.which(argv[0]) is None:
        raise AssertionError("%s is not installed: run tools/install-deps --test" % argv[0])
    pid, fd = pty.fork()
    if pid == 0:
        try:
            os.execvpe(argv[0], argv, dict(os.environ, **env))
        finally:
            os._exit(127)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    screen, end = b"", time.time() + seconds
    try:
        while time.time() < end:
            if select.select([fd], [], [], 0.2)[0]:
                try:
                    chunk = os.read(fd, 65536)
                except OSError:  # EIO: it has ended
                    chunk = b""
                if not chunk:
                    break
                screen += chunk
        else:
            os.kill(pid, signal.SIGKILL)
            raise AssertionError("%s did not end:\n%s" % (argv[0], screen[-3000:].decode(errors="replace")))
    finally:
        os.close(fd)
        status = os.waitpid(pid, 0)[1]
    if status != 0:
        raise AssertionError("%s: status %d\n%s" % (argv[0], status, screen[-3000:].decode(errors="replace")))
    return screen


class Mutt(Client):
    def rc(self, tls=False):
        scheme = "imaps" if tls else "imap"
        return self.file("muttrc", "\n".join([
            'set folder="%s://localhost:%d/"' % (scheme, mail.ports[scheme]), 'set imap_user="%s"' % self.user,
            'set imap_pass="%s"' % PASSWORD, 'set spoolfile="=INBOX"', 'set record="=Sent"', 'set postponed="=Drafts"',
            'set from="%s"' % self.user, 'set smtp_pass="%s"' % PASSWORD, 'set smtp_authenticators="plain"',
            'set smtp_url="smtp://%s@localhost:%d/"' % (self.user, mail.ports["submission"]), "set ssl_starttls=no",
            "set ssl_force_tls=no", 'set certificate_file="%s"' % mail.path("mail.crt"), 'set hostname="example.org"',
            'set header_cache=""', 'set message_cachedir=""', "set quit=yes", "set delete=yes", "set move=no", "set copy=yes",
            "set confirmappend=no", "set confirmcreate=no", "set beep=no", "set sleep_time=0", "set wait_key=no",
            "set mail_check=1", "set sort=mailbox-order", "set resolve=no", 'set send_charset="utf-8"', "set imap_condstore=yes", "set imap_qresync=yes", "set imap_idle=yes", ""]))

    def read(self, keys, tls=False, folder="=INBOX"):
        return in_terminal(["mutt", "-F", self.rc(tls), "-n", "-f", folder, "-e", 'push "%s"' % keys], self.env)

    def test_mutt_sends(self):
        attached = self.file("attached.bin", bytes(range(256)) * 40)
        run("mutt", "-F", self.rc(), "-n", "-s", "sent by mutt", "-a", attached, "--", self.user, input=b"Gr\xc3\xbc\xc3\x9fe\n.\n..dot\n",
            env=self.env)
        self.wait_count(1)
        for folder in ("INBOX", "Sent"):
            got = email.message_from_bytes(self.all_messages(folder)["sent by mutt"][2])
            text, binary = got.get_payload()
            self.assertEqual(text.get_payload(decode=True).replace(b"\r\n", b"\n"), "Grüße\n.\n..dot\n".encode())
            self.assertEqual(binary.get_payload(decode=True), bytes(range(256)) * 40)
        self.assertIn("\\Seen", self.all_messages("Sent")["sent by mutt"][1])

    def reads(self, tls):
        for word in ("one", "two", "three"):
            self.put(plain(word))
        self.put(NESTED)
        out = self.file("piped")
        screen = self.read("<first-entry><flag-message><display-message><exit><next-entry><delete-message><next-entry>"
                           "<save-message>=Archive<enter><last-entry><pipe-message>cat > %s<enter><sync-mailbox><quit>" % out, tls)
        self.assertIn(b"Ann", screen)
        left = self.all_messages()
        self.assertEqual(set(left), {"one", "=?UTF-8?Q?nested_=C3=BC?="})
        self.assertEqual(left["one"][1] & {"\\Flagged", "\\Seen"}, {"\\Flagged", "\\Seen"})
        self.assertEqual(self.all_messages("Archive")["three"][2], plain("three"))
        with open(out, "rb") as f:
            self.assertIn("Grüße".encode(), f.read())
        # Again, with what the server remembers: limit, search in bodies, undelete, a new folder.
        self.read("<limit>~b Hello<enter><tag-pattern>~s one<enter><tag-prefix><copy-message>=Made/here<enter><quit>", tls)
        self.assertIn("one", self.all_messages("Made/here"))
        self.assertEqual(self.count(), 2)

    def test_mutt_reads(self):
        self.reads(tls=False)

    def test_mutt_reads_tls(self):
        self.reads(tls=True)

    def test_mutt_pop(self):
        self.put(plain("by pop"))
        self.put(DOTS)
        box = self.file("mbox")
        rc = self.rc()
        with open(rc, "a") as f:
            f.write('set pop_user="%s"\nset pop_pass="%s"\nset pop_authenticators="user"\nset pop_delete=yes\nset pop_last=no\n'
                    'set pop_host="pop://localhost:%d"\nset spoolfile="%s"\n' % (self.user, PASSWORD, mail.ports["pop3"], box))
        self.file("mbox", b"")
        in_terminal(["mutt", "-F", rc, "-n", "-f", box, "-e", 'push "<fetch-mail><sync-mailbox><quit>"'], self.env)
        with open(box, "rb") as f:
            got = f.read()
        self.assertIn(b"Hello by pop\n", got)
        self.assertIn(b"\n.\n..\n.leading\nend .\n", got)
        self.assertEqual(self.count(), 0)


# ---- imaplib and poplib

class Imaplib(Client):
    def fetch(self, item, uid="1"):
        for part in self.ok(self.imap.uid("FETCH", uid, "(BODY.PEEK[%s])" % item)):
            if isinstance(part, tuple):
                return part[1]
        return None

    def test_imaplib_parts(self):
        self.put(NESTED)
        self.put(DOTS)
        self.ok(self.imap.select())
        head, body = NESTED.split(b"\r\n\r\n", 1)
        inner = b"Subject: inside\r\nContent-Type: text/plain\r\n\r\nInner text"
        for item, want in {
                "": NESTED, "HEADER": head + b"\r\n\r\n", "TEXT": body,
                "HEADER.FIELDS (Subject TO x-none)": b"To: joe@example.org\r\nSubject: =?UTF-8?Q?nested_=C3=BC?=\r\n\r\n",
                "HEADER.FIELDS.NOT (From To Subject Message-ID MIME-Version)":
                    b"Content-Type: multipart/mixed; boundary=outer\r\n\r\n",
                "1": b"--inner" + body.split(b"--inner", 1)[1].split(b"\r\n--outer")[0],
                "1.1": "Grüße".encode(), "1.2": b"<p>Hello</p>", "1.2.MIME": b"Content-Type: text/html\r\n\r\n",
                "1.1.MIME": b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n",
                "2": inner, "2.MIME": b"Content-Type: message/rfc822\r\n\r\n",
                "2.HEADER": b"Subject: inside\r\nContent-Type: text/plain\r\n\r\n", "2.TEXT": b"Inner text",
                "2.HEADER.FIELDS (subject)": b"Subject: inside\r\n\r\n", "2.1": b"Inner text", "3": b"AAECAwQF",
                "4": None, "1.3": None, "3.HEADER": None}.items():
            with self.subTest(item=item):
                self.assertEqual(self.fetch(item), want)
        for item, want in {"]<0.5": NESTED[:5], "]<7.100000": NESTED[7:], "]<100000.5": b"", "TEXT]<3.4": body[3:7], "1.1]<1.2": b"r\xc3",
                           "HEADER.FIELDS (Subject)]<9.3": b"=?U"}.items():
            with self.subTest(item=item):
                part = self.ok(self.imap.uid("FETCH", "1", "(BODY.PEEK[%s>)" % item))[0]
                self.assertEqual(part[1], want)
                self.assertIn(b"<%s>" % re.search(r"<(\d+)", item).group(1).encode(), part[0])
        structure = self.ok(self.imap.uid("FETCH", "1", "(BODYSTRUCTURE)"))[0]
        for want in (rb'"alternative"', rb'"message" "rfc822"', rb'"octet-stream" \("name" "a.bin"\)', rb'"filename" "a.bin"'):
            self.assertRegex(structure.lower(), want)
        self.assertIn(b'"nested@example.net"', self.ok(self.imap.uid("FETCH", "1", "(ENVELOPE)"))[0].replace(b"<", b"").replace(b">", b""))
        self.assertEqual(self.ok(self.imap.uid("FETCH", "1", "(FLAGS)"))[0].count(b"\\Seen"), 0)

    def test_imaplib_search(self):
        for i, word in enumerate(("alpha", "beta", "gamma")):
            self.ok(self.imap.append("INBOX", "(\\Seen)" if i == 1 else "", '"0%d-Feb-2024 10:00:00 +0000"' % (i + 1), plain(word)))
        self.put(NESTED)
        self.ok(self.imap.select())
        self.ok(self.imap.store("3", "+FLAGS", "($Label1 \\Flagged)"))
        for program, want in {
                "ALL": "1 2 3 4", "SEEN": "2", "UNSEEN": "1 3 4", "FLAGGED KEYWORD $Label1": "3", "UNKEYWORD $label1": "1 2 4",
                "SUBJECT ALPHA": "1", "BODY gamma": "3", "TEXT Hello": "1 2 3 4", "FROM ann@EXAMPLE": "1 2 3 4", "HEADER Message-ID beta@": "2",
                "HEADER MIME-Version \"\"": "4", "BEFORE 2-Feb-2024": "1", "ON 2-Feb-2024": "2", "SINCE 3-Feb-2024": "3 4",
                "SENTON 1-Jul-2025": "1 2 3", "SENTBEFORE 1-Jul-2025": "", "LARGER 300": "4", "SMALLER 300": "1 2 3", "NOT 2:3": "1 4",
                "OR SUBJECT alpha SUBJECT beta": "1 2", "UID 2:* UNSEEN": "3 4", "(OR FLAGGED SEEN) NOT SUBJECT beta": "3",
                "CHARSET UTF-8 SUBJECT nested": "4", "RECENT SEEN": "2"}.items():
            with self.subTest(program=program):
                self.assertEqual(self.ok(self.imap.search(None, program))[0].decode(), want)
        self.imap.literal = "ü".encode()
        self.assertEqual(self.ok(self.imap.search("UTF-8", "SUBJECT"))[0], b"4")
        self.imap.literal = "Grüße".encode()
        self.assertEqual(self.ok(self.imap.search("UTF-8", "BODY"))[0], b"4")
        self.assertEqual(self.imap.search("KOI8-R", "SUBJECT x")[0], "NO")

    def test_imaplib_move_condstore_idle(self):
        for word in ("one", "two", "three"):
            self.put(plain(word))
        other = self.login()
        other.select()
        self.ok(self.imap.enable("CONDSTORE"))
        self.ok(self.imap.select())
        start = int(self.imap.response("HIGHESTMODSEQ")[1][0])
        self.ok(other.store("1", "+FLAGS", "(\\Flagged)"))
        changed = self.ok(self.imap.uid("FETCH", "1:*", "(FLAGS) (CHANGEDSINCE %d)" % start))
        self.assertRegex(changed[-1], rb"UID 1 FLAGS \(\\Flagged.*\) MODSEQ \(\d+\)")
        self.assertFalse([line for line in changed if not line.startswith(b"1 ")])
        answer = self.imap.uid("STORE", "1:3", "(UNCHANGEDSINCE %d)" % start, "+FLAGS (\\Seen)")
        self.assertEqual(self.imap.response("MODIFIED")[1], [b"1"], answer)
        self.assertEqual(self.ok(self.imap.uid("FETCH", "1:*", "(FLAGS) (CHANGEDSINCE 0)"))[2].count(b"\\Seen"), 1)
        # MOVE, and again the same UID
        self.ok(self.imap.uid("MOVE", "2", "Archive"))
        self.assertRegex(self.imap.response("COPYUID")[1][0], rb"^\d+ 2 1$")
        self.assertEqual(self.imap.response("EXPUNGE")[1], [b"2"])
        self.ok(self.imap.uid("MOVE", "2", "Archive"))
        self.assertEqual((self.count(), self.count("Archive")), (2, 1))
        self.assertEqual(self.imap.uid("MOVE", "1", "Nowhere")[0], "NO")
        # IDLE by raw lines
        c = other
        tag = c._new_tag()
        c.send(tag + b" IDLE\r\n")
        lines = [c.readline()]
        while not lines[-1].startswith(b"+"):
            lines.append(c.readline())
        began = time.time()
        self.deliver(plain("while idle"))
        while not re.match(rb"\* 3 EXISTS", lines[-1]):
            lines.append(c.readline())
        self.ok(self.imap.uid("STORE", "3", "+FLAGS", "(\\Answered)"))
        while b"\\Answered" not in lines[-1]:
            lines.append(c.readline())
        self.ok(self.imap.uid("STORE", "1", "+FLAGS", "(\\Deleted)"))
        self.ok(self.imap.expunge())
        while b"EXPUNGE" not in lines[-1]:
            lines.append(c.readline())
        self.assertEqual(lines[-1], b"* 1 EXPUNGE\r\n")
        self.assertLess(time.time() - began, 20)  # hints, not polls
        # Quirk (iOS 18): commands right behind DONE
        c.send(b"DONE\r\nx1 NOOP\r\nx2 UID FETCH 1:* (FLAGS)\r\n")
        text = b""
        while not re.search(rb"^x2 OK", text, re.M):
            text += c.readline()
        self.assertRegex(text, rb"(?s)" + tag + rb" OK.*x1 OK.*x2 OK")
        other.logout()

    def test_imaplib_folders(self):
        for name in ("Work/Deep/Er", "&AOQA9gD8-", "With &- and \\\" quotes", "Trailing/"):
            self.ok(self.imap.create('"%s"' % name))
        names = {re.search(rb'"/" "(.*)"$', line).group(1).decode() for line in self.ok(self.imap.list())}
        self.assertTrue({"INBOX", "Work", "Work/Deep", "Work/Deep/Er", "&AOQA9gD8-", "With &- and \\\" quotes", "Trailing"} <= names, names)
        top = self.ok(self.imap.list('""', '"%"'))
        self.assertFalse([line for line in top if b"Deep" in line])
        self.assertTrue([line for line in top if rb'(\HasChildren) "/" "Work"' in line], top)
        self.assertEqual(len(self.ok(self.imap.list('"Work/"', '"%"'))), 1)
        validity = self.ok(self.imap.status("Work/Deep/Er", "(UIDVALIDITY)"))[0]
        self.put(plain("kept"), "Work/Deep/Er")
        self.ok(self.imap.rename("Work", "Play"))
        self.assertIn("kept", self.all_messages("Play/Deep/Er"))
        self.ok(self.imap.delete("Play/Deep/Er"))
        self.ok(self.imap.create("Work/Deep/Er"))
        self.assertNotEqual(self.ok(self.imap.status("Work/Deep/Er", "(UIDVALIDITY)"))[0], validity)
        self.ok(self.imap.delete("Play"))  # has a child: its name stays
        self.assertTrue([line for line in self.ok(self.imap.list('""', "Play")) if b"\\Noselect" in line])
        self.assertEqual(self.imap.select("Play")[0], "NO")
        self.assertEqual(self.imap.append("Nope", "", None, plain("x"))[0], "NO")
        self.assertEqual(self.imap.delete("INBOX")[0], "NO")
        self.ok(self.imap.subscribe("Work"))
        self.assertTrue([line for line in self.ok(self.imap.lsub()) if line.endswith(b'"Work"')])
        self.ok(self.imap.unsubscribe("Work"))
        self.assertFalse([line for line in self.ok(self.imap.lsub()) if line and line.endswith(b'"Work"')])
        # RFC 9051 §6.3.6: renaming INBOX moves its messages.
        self.put(plain("in the box"))
        self.ok(self.imap.rename("INBOX", '"Old mail"'))
        self.assertEqual(self.count(), 0)
        self.assertIn("in the box", self.all_messages("Old mail"))


class Poplib(Client):
    def pop(self, tls=None):
        if tls == "pop3s":
            c = poplib.POP3_SSL("localhost", mail.ports["pop3s"], context=ssl.create_default_context(cafile=mail.path("mail.crt")), timeout=30)
        else:
            c = poplib.POP3("localhost", mail.ports["pop3"], timeout=30)
            if tls == "stls":
                c.stls(ssl.create_default_context(cafile=mail.path("mail.crt")))
        c.user(self.user)
        c.pass_(PASSWORD)
        return c

    def test_poplib(self):
        messages = [plain("one"), DOTS, BIG]
        for m in messages:
            self.put(m)
        ids = None
        for tls in (None, "stls", "pop3s"):
            with self.subTest(tls=tls):
                c = self.pop(tls)
                self.assertEqual(c.stat(), (3, sum(map(len, messages))))
                for i, m in enumerate(messages):
                    _, lines, _ = c.retr(i + 1)
                    self.assertEqual(b"\r\n".join(lines) + b"\r\n", m)
                self.assertEqual(b"\r\n".join(c.top(2, 2)[1]), b"Subject: dots\r\n\r\n.\r\n..")
                now = c.uidl()[1]
                self.assertEqual(ids or now, now)  # the same in every session
                ids = now
                self.assertTrue({"TOP", "UIDL", "PIPELINING", "RESP-CODES"} <= set(c.capa()))
                c.dele(1)
                self.assertEqual(len(c.list()[1]), 2)
                self.assertRaises(poplib.error_proto, c.retr, 1)
                c.rset()
                c.dele(2)
                c.close()  # without QUIT
        second = self.pop_when_free()
        with self.assertRaisesRegex(poplib.error_proto, "IN-USE"):
            self.pop()
        self.assertEqual(second.stat()[0], 3)
        second.dele(2)
        self.assertEqual(self.count(), 3)
        second.quit()
        self.assertEqual(self.count(), 2)
        self.assertEqual(self.pop_when_free().uidl()[1], [ids[0], b"2 " + ids[2].split()[1]])

    def pop_when_free(self):
        end = time.time() + 20
        while True:
            try:
                return self.pop()
            except poplib.error_proto as e:
                if "IN-USE" not in str(e) or time.time() > end:
                    raise
                time.sleep(0.02)


# ---- what clients with a screen say

class Transcripts(Client):
    """"C:" lines are sent, "S:" lines must come, "*" in them is anything; "S..." skips lines up to the next "S:"."""

    def play(self, script, tls_at=None):
        s = socket.create_connection(("localhost", mail.ports["imap"]), 30)
        self.lines = s.makefile("rb")
        secret = base64.b64encode(b"\0%s\0%s" % (self.user.encode(), PASSWORD.encode())).decode()
        skipping = False
        for step in script.replace("$PLAIN", secret).strip().split("\n"):
            step = step.strip()
            if not step:
                continue
            kind, _, text = step.partition(" ")
            if kind == "C:":
                s.sendall(text.encode() + b"\r\n")
            elif kind == "TLS":
                s = ssl.create_default_context(cafile=mail.path("mail.crt")).wrap_socket(s, server_hostname="localhost")
                self.lines = s.makefile("rb")
            elif kind == "S...":
                skipping = True
            elif kind == "DELIVER":
                self.deliver(plain(text))
            elif kind in ("S:", "S:*"):
                pattern = re.escape(text).replace(r"\*", ".*") + "\r\n"
                seen = []
                while True:
                    line = self.lines.readline().decode(errors="replace")
                    seen.append(line)
                    if re.fullmatch(pattern, line):
                        break
                    if not skipping or not line:
                        self.fail("expected %s\n     got %s" % (text, "".join(seen)))
                skipping = False
            else:
                self.fail("not a transcript: " + step)
        self.assertEqual(self.lines.readline(), b"")  # closed after LOGOUT
        s.close()

    def fill(self):
        for word in ("one", "two"):
            self.put(plain(word))
        self.put(NESTED)
        self.ok(self.imap.select())  # it has been told of the messages first: to later clients they are not \\Recent
        self.ok(self.imap.unselect())

    def test_thunderbird(self):
        self.fill()
        self.ok(self.imap.subscribe("Sent"))
        self.play(r"""
            S: * OK [CAPABILITY IMAP4rev1 *STARTTLS*] *
            C: 1 capability
            S: * CAPABILITY IMAP4rev1 *
            S: 1 OK *
            C: 2 STARTTLS
            S: 2 OK *
            TLS
            C: 3 capability
            S: * CAPABILITY IMAP4rev1 *AUTH=PLAIN*
            S: 3 OK *
            C: 4 authenticate PLAIN
            S: +*
            C: $PLAIN
            S: 4 OK [CAPABILITY *] *
            C: 5 ID ("name" "Thunderbird" "version" "128.5.0")
            S: * ID ("name" "Posthouse" *)
            S: 5 OK *
            C: 6 namespace
            S: * NAMESPACE (("" "/")) NIL NIL
            S: 6 OK *
            C: 7 list (subscribed) "" "*" return (special-use)
            S...
            S: * LIST (*\Subscribed*\Sent) "/" "Sent"
            S...
            S: 7 OK *
            C: 8 list "" "INBOX"
            S: * LIST (\HasNoChildren) "/" "INBOX"
            S: 8 OK *
            C: 9 list "" "%" return (special-use)
            S...
            S: * LIST (*\Trash) "/" "Trash"
            S: 9 OK *
            C: 10 select "INBOX" (CONDSTORE)
            S: * FLAGS (\Answered \Flagged \Deleted \Seen \Draft*)
            S: * OK [PERMANENTFLAGS *] *
            S: * 3 EXISTS
            S: * 0 RECENT
            S: * OK [UNSEEN 1] *
            S: * OK [UIDVALIDITY *] *
            S: * OK [UIDNEXT 4] *
            S: * OK [HIGHESTMODSEQ *] *
            S: * OK [MAILBOXID *] *
            S: 10 OK [READ-WRITE] *
            C: 11 UID fetch 1:* (FLAGS)
            S: * 1 FETCH (UID 1 FLAGS () MODSEQ (*))
            S: * 2 FETCH (UID 2 FLAGS () MODSEQ (*))
            S: * 3 FETCH (UID 3 FLAGS () MODSEQ (*))
            S: 11 OK *
            C: 12 UID fetch 1:3 (UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (From To Cc Bcc Subject Date Message-ID Priority X-Priority References Newsgroups In-Reply-To Content-Type Reply-To)])
            S: * 1 FETCH (UID 1 FLAGS () MODSEQ (*) RFC822.SIZE * BODY[HEADER.FIELDS (From To Cc Bcc Subject Date Message-ID Priority X-Priority References Newsgroups In-Reply-To Content-Type Reply-To)] {*}
            S: From: Ann <ann@example.net>
            S...
            S: )
            S: * 2 FETCH (*
            S...
            S: * 3 FETCH (*
            S...
            S: Content-Type: multipart/mixed; boundary=outer
            S...
            S: 12 OK *
            C: 13 IDLE
            S: + idling
            DELIVER arrives
            S: * 4 EXISTS
            S: * 1 RECENT
            C: DONE
            S: 13 OK *
            C: 14 noop
            S: 14 OK *
            C: 15 UID fetch 4:* (FLAGS)
            S: * 4 FETCH (UID 4 FLAGS (\Recent) MODSEQ (*))
            S: 15 OK *
            C: 16 UID fetch 3 (UID RFC822.SIZE BODY.PEEK[])
            S: * 3 FETCH (UID 3 RFC822.SIZE * BODY[] {*}
            S...
            S: --outer--
            S: )
            S: 16 OK *
            C: 17 uid store 3 +Flags (\Seen)
            S: * 3 FETCH (UID 3 FLAGS (\Seen) MODSEQ (*))
            S: 17 OK *
            C: 18 uid store 1 +Flags (NonJunk)
            S: * FLAGS *NonJunk*
            S: * OK [PERMANENTFLAGS *NonJunk \*)] *
            S: * 1 FETCH (UID 1 FLAGS (NonJunk) MODSEQ (*))
            S: 18 OK *
            C: 19 uid move 2 "Trash"
            S: * OK [COPYUID * 2 1] *
            S: * 2 EXPUNGE
            S: 19 OK *
            C: 20 uid copy 1 "Archive"
            S: 20 OK [COPYUID * 1 1] *
            C: 21 uid store 1 +FLAGS (\Deleted \Seen)
            S: * 1 FETCH (UID 1 FLAGS (\Deleted \Seen NonJunk) MODSEQ (*))
            S: 21 OK *
            C: 22 expunge
            S: * 1 EXPUNGE
            S: 22 OK *
            C: 23 append "Sent" (\Seen) {34+}
            C: Message-ID: <a@example.org>
            C: 
            C: x
            C: 
            S: 23 OK [APPENDUID * 1] *
            C: 24 status "Sent" (UIDNEXT MESSAGES UNSEEN RECENT)
            S: * STATUS "Sent" (MESSAGES 1 RECENT 1 UIDNEXT 2 UNSEEN 0)
            S: 24 OK *
            C: 25 create "Folder one"
            S: 25 OK *
            C: 26 subscribe "Folder one"
            S: 26 OK *
            C: 27 select "Sent" (CONDSTORE)
            S...
            S: 27 OK [READ-WRITE] *
            C: 28 uid search undeleted header Message-ID <a@example.org>
            S: * SEARCH 1
            S: 28 OK *
            C: 29 close
            S: 29 OK *
            C: 30 logout
            S: * BYE *
            S: 30 OK *
        """)

    def test_k9(self):
        self.fill()
        self.play(r"""
            S: * OK [CAPABILITY *] *
            C: 1 CAPABILITY
            S: * CAPABILITY *
            S: 1 OK *
            C: 2 STARTTLS
            S: 2 OK *
            TLS
            C: 3 CAPABILITY
            S: * CAPABILITY *SASL-IR*AUTH=PLAIN*
            S: 3 OK *
            C: 4 AUTHENTICATE PLAIN $PLAIN
            S: 4 OK [CAPABILITY *] *
            C: 5 ID ("name" "K-9 Mail" "version" "8.0")
            S: * ID (*)
            S: 5 OK *
            C: 6 NAMESPACE
            S: * NAMESPACE (("" "/")) NIL NIL
            S: 6 OK *
            C: 7 LIST "" "*" RETURN (SPECIAL-USE)
            S: * LIST (*\Archive) "/" "Archive"
            S...
            S: 7 OK *
            C: 8 LIST "" ""
            S: * LIST (\Noselect) "/" ""
            S: 8 OK *
            C: 9 SELECT "INBOX"
            S...
            S: * 3 EXISTS
            S...
            S: 9 OK [READ-WRITE] *
            C: 10 UID SEARCH 1:3 NOT DELETED
            S: * SEARCH 1 2 3
            S: 10 OK *
            C: 11 UID FETCH 1,2,3 (UID FLAGS)
            S: * 1 FETCH (UID 1 FLAGS ())
            S...
            S: 11 OK *
            C: 12 UID FETCH 3 (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (date subject from content-type to cc reply-to message-id references in-reply-to list-unsubscribe sender x-k9mail-identity)])
            S: * 3 FETCH (UID 3 FLAGS () INTERNALDATE "*" RFC822.SIZE * BODY[HEADER.FIELDS (date subject from content-type to cc reply-to message-id references in-reply-to list-unsubscribe sender x-k9mail-identity)] {*}
            S...
            S: 12 OK *
            C: 13 UID FETCH 3 (UID BODYSTRUCTURE)
            S: * 3 FETCH (UID 3 BODYSTRUCTURE (((*
            S: 13 OK *
            C: 14 UID FETCH 3 (UID BODY.PEEK[1.1.MIME])
            S: * 3 FETCH (UID 3 BODY[1.1.MIME] {*}
            S...
            S: 14 OK *
            C: 15 UID FETCH 3 (UID BODY.PEEK[]<0.32768>)
            S: * 3 FETCH (UID 3 BODY[]<0> {*}
            S...
            S: 15 OK *
            C: 16 UID STORE 3 +FLAGS.SILENT (\Seen)
            S: 16 OK *
            C: 17 UID STORE 1,2 -FLAGS.SILENT (\Flagged)
            S: 17 OK *
            C: 18 UID MOVE 1 "Trash"
            S: * OK [COPYUID *] *
            S: * 1 EXPUNGE
            S: 18 OK *
            C: 19 IDLE
            S: + idling
            DELIVER push
            S: * 3 EXISTS
            S: * 1 RECENT
            C: DONE
            S: 19 OK *
            C: 20 SELECT "Spam"
            S: * OK [CLOSED] *
            S: 20 NO [NONEXISTENT] *
            C: 21 SELECT "Drafts"
            S...
            S: 21 OK *
            C: 22 UID SEARCH 1:* NOT DELETED
            S: * SEARCH
            S: 22 OK *
            C: 23 LOGOUT
            S: * BYE *
            S: 23 OK *
        """)

    def test_apple_mail(self):
        self.fill()
        self.play(r"""
            S: * OK [CAPABILITY *] *
            C: 1.2 CAPABILITY
            S: * CAPABILITY *
            S: 1.2 OK *
            C: 2.2 STARTTLS
            S: 2.2 OK *
            TLS
            C: 3.2 CAPABILITY
            S: * CAPABILITY *
            S: 3.2 OK *
            C: 4.2 ID ("name" "Mac OS X Mail" "version" "16.0 (3826.300.87)" "os" "Mac OS X" "os-version" "15.2 (24C101)" "vendor" "Apple Inc.")
            S: * ID (*)
            S: 4.2 OK *
            C: 5.2 AUTHENTICATE PLAIN
            S: +*
            C: $PLAIN
            S: 5.2 OK [CAPABILITY *] *
            C: 6.2 CAPABILITY
            S: * CAPABILITY *
            S: 6.2 OK *
            C: 7.2 NAMESPACE
            S: * NAMESPACE (("" "/")) NIL NIL
            S: 7.2 OK *
            C: 8.2 LIST "" ""
            S: * LIST (\Noselect) "/" ""
            S: 8.2 OK *
            C: 9.2 LSUB "" "*"
            S...
            S: 9.2 OK *
            C: 10.2 LIST "" "*" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ))
            S: * LIST (*) "/" "Archive"
            S: * STATUS "Archive" (MESSAGES 0 UIDNEXT 1 UIDVALIDITY * UNSEEN 0 HIGHESTMODSEQ *)
            S...
            S: * LIST (\HasNoChildren) "/" "INBOX"
            S: * STATUS "INBOX" (MESSAGES 3 UIDNEXT 4 UIDVALIDITY * UNSEEN 3 HIGHESTMODSEQ *)
            S...
            S: 10.2 OK *
            C: 11.2 ENABLE CONDSTORE QRESYNC
            S: * ENABLED CONDSTORE QRESYNC
            S: 11.2 OK *
            C: 12.2 SELECT INBOX
            S...
            S: * 3 EXISTS
            S...
            S: 12.2 OK [READ-WRITE] *
            C: 13.2 FETCH 1:3 (FLAGS UID)
            S: * 1 FETCH (UID 1 FLAGS () MODSEQ (*))
            S...
            S: 13.2 OK *
            C: 14.2 UID FETCH 1:3 (INTERNALDATE UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (date subject from to cc message-id in-reply-to references content-type x-priority x-uniform-type-identifier x-universally-unique-identifier list-id list-unsubscribe)])
            S: * 1 FETCH (UID 1 FLAGS () MODSEQ (*) INTERNALDATE "*" RFC822.SIZE * BODY[HEADER.FIELDS (*)] {*}
            S...
            S: 14.2 OK *
            C: 15.2 UID FETCH 3 (BODYSTRUCTURE BODY.PEEK[HEADER])
            S: * 3 FETCH (UID 3 BODYSTRUCTURE (*) BODY[HEADER] {*}
            S...
            S: 15.2 OK *
            C: 16.2 UID FETCH 3 BODY.PEEK[1.1]<0.65536>
            S: * 3 FETCH (UID 3 BODY[1.1]<0> {7}
            S: Grüße)
            S: 16.2 OK *
            C: 17.2 UID STORE 3 +FLAGS.SILENT (\Seen $NotJunk)
            S...
            S: * 3 FETCH (UID 3 MODSEQ (*))
            S: 17.2 OK *
            C: 18.2 UID COPY 2 "Archive"
            S: 18.2 OK [COPYUID *] *
            C: 19.2 UID STORE 2 +FLAGS.SILENT (\Deleted)
            S: * 2 FETCH (UID 2 MODSEQ (*))
            S: 19.2 OK *
            C: 20.2 UID EXPUNGE 2
            S: * VANISHED 2
            S: 20.2 OK [HIGHESTMODSEQ *] *
            C: 21.2 CHECK
            S: 21.2 OK *
            C: 22.2 IDLE
            S: + idling
            DELIVER for the phone
            S: * 3 EXISTS
            S: * 1 RECENT
            C: DONE
            C: 23.2 UID FETCH 4:* (FLAGS UID)
            S: 22.2 OK *
            S: * 3 FETCH (UID 4 FLAGS (\Recent) MODSEQ (*))
            S: 23.2 OK *
            C: 24.2 CLOSE
            S: 24.2 OK *
            C: 25.2 LOGOUT
            S: * BYE *
            S: 25.2 OK *
        """)


if __name__ == "__main__":
    with Posthouse.standalone() as mail:
        result = unittest.main(exit=False, verbosity=2).result
    sys.exit(0 if result.wasSuccessful() and result.testsRun and not result.skipped else 1)
