"""Several sessions change one mailbox at random; each must always be told what is there.

Every session keeps a model of its own from what it is told, as a client does: sequence numbers,
UIDs, flags. In the end, after a NOOP, each model is what a fresh session reads. On the way: no
EXPUNGE while a command counts by sequence number, no response about a message that does not
exist, no sequence number whose UID changes. Sessions speak plain IMAP4rev1, CONDSTORE and QRESYNC.
"""
import os
import random
import re
import socket
import sys
import threading
import time
import unittest

from posthouse import Posthouse

ROUNDS = int(os.environ.get("ROUNDS", "4"))
STEPS = int(os.environ.get("STEPS", "150"))
DIALECTS = ["", "CONDSTORE", "QRESYNC", "", "QRESYNC"]
FLAGS = ["\\Seen", "\\Flagged", "\\Answered", "\\Draft", "$A", "$B", "Junk"]
USER, PASSWORD = "user@example.org", "secret"
MESSAGE = b"Subject: x\r\n\r\nbody\r\n"
mail = None


class Row:
    """A message as a client knows it; None: not known yet."""

    def __init__(self):
        self.uid, self.flags = None, None


class View:
    def __init__(self, dialect, seed):
        self.random, self.dialect, self.tags = random.Random(seed), dialect, 0
        self.rows, self.log, self.told, self.by_number = [], [], set(), False
        self.socket = socket.create_connection(("127.0.0.1", mail.ports["imap"]), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")
        self.line()
        self.do("LOGIN %s %s" % (USER, PASSWORD))
        if dialect:
            self.do("ENABLE " + dialect)
        self.do("SELECT INBOX")
        self.learn()

    def close(self):
        self.do("LOGOUT")
        self.file.close()
        self.socket.close()

    # ---- what the server says

    def line(self):
        line = self.file.readline()
        while re.search(rb"\{\d+\}\r\n$", line):
            line += self.file.read(int(re.search(rb"\{(\d+)\}\r\n$", line).group(1))) + self.file.readline()
        self.log.append(line[:160])
        self.check(line, "the server closed")
        return line

    def check(self, good, what):
        if not good:
            raise AssertionError("%s: %s\n%s" % (self.dialect or "plain", what, "\n".join(map(str, self.log[-20:]))))

    def hear(self, line, counting):
        m = re.match(rb"\* (\d+) (EXISTS|EXPUNGE|FETCH)(.*)", line, re.S)
        if m:
            number, what = int(m.group(1)), m.group(2)
            if what == b"EXISTS":
                self.check(number >= len(self.rows), "EXISTS shrinks")
                self.rows += [Row() for _ in range(number - len(self.rows))]
                return
            self.check(1 <= number <= len(self.rows), "no such message")
            if what == b"EXPUNGE":
                self.check(not counting and self.dialect != "QRESYNC", "EXPUNGE is not allowed now")
                del self.rows[number - 1]
            else:
                self.hear_fetch(self.rows[number - 1], m.group(3))
        m = re.match(rb"\* VANISHED ([\d:,]+)", line)
        if m:
            self.check(not counting and self.dialect == "QRESYNC", "VANISHED is not allowed now")
            for part in m.group(1).decode().split(","):
                first, _, last = part.partition(":")
                for uid in range(int(first), int(last or first) + 1):
                    self.vanish(uid)

    def hear_fetch(self, row, items):
        uid, flags = re.search(rb"UID (\d+)", items), re.search(rb"FLAGS \(([^)]*)\)", items)
        if uid:
            self.check(row.uid in (None, int(uid.group(1))), "a sequence number's UID changed")
            row.uid = int(uid.group(1))
        if flags:
            row.flags = set(flags.group(1).decode().split()) - {"\\Recent"}
            self.told.add(row)

    def vanish(self, uid):
        """A message whose UID was not learned yet lies between its neighbours."""
        for i, row in enumerate(self.rows):
            before = max([r.uid for r in self.rows[:i] if r.uid] or [0])
            after = min([r.uid for r in self.rows[i:] if r.uid] or [1 << 32])
            if row.uid == uid or (row.uid is None and before < uid < after):
                del self.rows[i]
                return
        self.check(False, "VANISHED of a message never told")

    # ---- what this client does

    def send(self, text, raw=b""):
        self.tags += 1
        tag = "t%d" % self.tags
        self.log.append(tag + " " + text)
        self.socket.sendall(("%s %s\r\n" % (tag, text)).encode() + raw)
        return tag.encode()

    def wait(self, tag, counting=False):
        while True:
            line = self.line()
            if line.startswith(tag + b" "):
                # RFC 2180: what counts by number is NO when another session has expunged some of it.
                gone = counting or self.by_number
                self.check(line.split()[1] == b"OK" or gone and b" NO [EXPUNGEISSUED] " in line, "not OK")
                return
            if not line.startswith(b"+"):
                self.hear(line, counting)

    def do(self, text, raw=b""):
        command = text.split()[0]
        self.by_number = command in ("COPY", "MOVE")
        self.wait(self.send(text, raw), counting=command in ("FETCH", "STORE", "SEARCH"))

    def learn(self):
        """As clients do when they hear of new messages."""
        unknown = [i for i, row in enumerate(self.rows) if row.uid is None]
        if unknown:
            self.do("FETCH %d:* (UID FLAGS)" % (unknown[0] + 1))

    def store(self):
        first = self.random.randrange(len(self.rows))
        rows = self.rows[first:first + self.random.randrange(1, 5)]
        flags, mode = self.random.sample(FLAGS, self.random.randrange(1, 3)), self.random.choice(["+", "-", "+", "-", ""])
        silent = self.random.random() < 0.6
        by_uid = self.random.random() < 0.5 and all(row.uid for row in rows)
        numbers = (rows[0].uid, rows[-1].uid) if by_uid else (first + 1, first + len(rows))
        self.told = set()
        self.do("%sSTORE %d:%d %sFLAGS%s (%s)" % ("UID " if by_uid else "", *numbers, mode, ".SILENT" if silent else "", " ".join(flags)))
        for row in rows:
            if silent and row not in self.told and row.flags is not None:  # the client works it out itself
                row.flags = row.flags | set(flags) if mode == "+" else row.flags - set(flags) if mode == "-" else set(flags)

    def idle(self):
        tag = self.send("IDLE")
        line = self.line()
        while not line.startswith(b"+"):
            self.hear(line, False)
            line = self.line()
        time.sleep(self.random.random() * 0.01)
        self.socket.sendall(b"DONE\r\n")
        self.wait(tag)

    def step(self):
        self.learn()
        what = self.random.random()
        some = self.random.randrange(len(self.rows)) + 1 if self.rows else 0
        if what < 0.10 or not self.rows:
            self.do("APPEND INBOX (%s) {%d+}" % (self.random.choice(FLAGS), len(MESSAGE)), MESSAGE + b"\r\n")
        elif what < 0.45:
            self.store()
        elif what < 0.55:
            self.do("FETCH %d BODY[]" % some)
        elif what < 0.62:
            self.do(self.random.choice(["SEARCH UNSEEN", "UID SEARCH FLAGGED"]))
        elif what < 0.66:
            self.do("COPY %d INBOX" % some)
        elif what < 0.70:
            self.do("MOVE %d %s" % (some, self.random.choice(["Archive", "INBOX"])))
        elif what < 0.76:
            self.do("STORE %d +FLAGS (\\Deleted)" % some)
        elif what < 0.84:
            self.do(self.random.choice(["EXPUNGE", "UID EXPUNGE 1:*"]))
        elif what < 0.92:
            self.do("NOOP")
        elif what < 0.95:
            self.do("UID FETCH 1:* (FLAGS)")
        else:
            self.idle()

    def state(self):
        self.learn()
        return {row.uid: sorted(row.flags) for row in self.rows}


class Views(unittest.TestCase):
    def test_every_session_is_told_what_is_there(self):
        for seed in range(ROUNDS):
            views = [View(dialect, seed * 100 + i) for i, dialect in enumerate(DIALECTS)]
            errors = []

            def work(view):
                try:
                    for _ in range(STEPS):
                        view.step()
                except Exception as e:  # reported by the main thread
                    errors.append(repr(e))

            threads = [threading.Thread(target=work, args=(view,)) for view in views]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            self.assertEqual(errors, [])
            fresh = View("", seed)
            for view in views:
                view.do("NOOP")
                self.assertEqual(view.state(), fresh.state(), "round %d, %s" % (seed, view.dialect or "plain"))
                view.close()
            if fresh.rows:
                fresh.do("STORE 1:* +FLAGS.SILENT (\\Deleted)")
                fresh.do("EXPUNGE")
            fresh.close()


if __name__ == "__main__":
    with Posthouse.standalone() as mail:
        mail.add_account(USER, PASSWORD)
        result = unittest.main(exit=False, verbosity=2).result
    sys.exit(0 if result.wasSuccessful() and result.testsRun else 1)
