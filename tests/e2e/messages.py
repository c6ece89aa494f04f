"""The messages of the corpus tests, as they travel: CRLF line ends, whatever else they hold.

    python-email   47 odd MIME messages, in this repository (tests/corpora)
    notmuch        316 real ones, from $POSTHOUSE_CORPORA/notmuch when that folder is present; they are public
                   posts in a GPL package, so this repository holds no copy. Without it 316 made-up ones take
                   their place.
    ODD            what is at the edge of what SMTP carries, or beyond it

POSTHOUSE_CORPORA names a folder of corpora; tools/test sets it when one is beside the checkout.
"""
import glob
import os
import pathlib
import random
import re

REAL = 316


def crlf(text):
    return re.sub(rb"\r?\n", b"\r\n", text)


def python_email():
    here = os.path.dirname(os.path.abspath(__file__))
    for base in (os.path.join(here, "..", "corpora"), "tests/corpora"):
        paths = sorted(glob.glob(os.path.join(base, "python-email", "data", "*.txt")))
        if paths:
            break
    return [("python-email/" + os.path.basename(p), crlf(pathlib.Path(p).read_bytes())) for p in paths]


def real_or_made():
    """(what they are, [(name, message)])"""
    root = os.path.join(os.environ.get("POSTHOUSE_CORPORA", ""), "notmuch", "corpora")
    if not os.environ.get("POSTHOUSE_CORPORA") or not os.path.isdir(root):
        return "made up: $POSTHOUSE_CORPORA/notmuch is not there", [("made-%03d" % i, made(i)) for i in range(REAL)]
    found = []
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            if name != "README":
                found.append((os.path.relpath(path, root), crlf(pathlib.Path(path).read_bytes())))
    return "from " + root, sorted(found)


# ---- made up, the same in every run

def made(seed):
    r = random.Random(seed)
    word = lambda: "".join(r.choice("abcdefghij") for _ in range(r.randrange(1, 12))).encode()
    wild = lambda n: bytes(r.choice([9, 11, 12, 27, 32, 46, 127, *range(33, 127), *range(128, 256)]) for _ in range(n))
    header = [
        lambda: b"Subject: " + b" ".join(word() for _ in range(r.randrange(12))),
        lambda: b"Subject: =?utf-8?q?" + wild(r.randrange(30)).hex().encode() + b"?=",
        lambda: b"X-Folded: " + b"\r\n\t".join(word() for _ in range(r.randrange(1, 30))),
        lambda: b"X-Only-Space:\r\n   \r\n\t",
        lambda: b"X-Long: " + word() * r.randrange(1, 900),
        lambda: b"X-Raw: " + wild(r.randrange(60)),
        lambda: b"From: \"" + word() + b"\" <" + word() + b"@" + word() + b".example>, broken <<" + word(),
        lambda: b"To: undisclosed-recipients:;",
        lambda: b"Date: " + r.choice([b"Fri, 13 Nov 2009 22:00:00 -0500", b"yesterday", b""]),
        lambda: b"Message-ID: <" + word() + b"@" + word() + b">",
        lambda: word() + b" no colon here",
        lambda: b"Return-Path: <" + word() + b"@old.example>",
        lambda: b"Received: from " + word() + b" by " + word() + b"; whenever",
        lambda: b"Content-Type: " + r.choice([b"text/plain", b"multipart/mixed; boundary=\"b\"", b"multipart/mixed", b"/", b"message/rfc822"]),
        lambda: b"Content-Transfer-Encoding: " + r.choice([b"base64", b"quoted-printable", b"8bit", b"nonsense"]),
    ]
    body = [
        lambda: b"." * r.randrange(1, 5),
        lambda: b"." + word(),
        lambda: b"",
        lambda: b"From " + word(),
        lambda: b"--b",
        lambda: b"--b--",
        lambda: b"Content-Type: text/html\r\n\r\n<p>" + word(),
        lambda: word() + b"  \t ",
        lambda: wild(r.randrange(80)),
        lambda: word() * r.randrange(1, 400),
        lambda: b"> " + word() + b" wrote:",
    ]
    lines = [r.choice(header)() for _ in range(r.randrange(0, 15))]
    if r.random() < 0.95:
        lines.append(b"")
        lines += [r.choice(body)() for _ in range(int(r.choice([0, 1, 5, 40, 400]) * r.random()))]
    message = b"\r\n".join(lines)
    return message + (b"\r\n" if r.random() < 0.7 or not message else b"")  # smtplib sends no empty message


# ---- at the edge

HEAD = (b"From: a@sender.example\r\nTo: user@example.org\r\nDate: Fri, 13 Nov 2009 22:00:00 +0000\r\n"
        b"Message-ID: <odd@sender.example>\r\nSubject: odd\r\n")


def odd():
    every = bytes(range(256))
    cases = [
        ("empty", b""),
        ("only a line end", b"\r\n"),
        ("only dots", b".\r\n..\r\n...\r\n"),
        ("a dot without line end", b"."),
        ("no blank line", HEAD),
        ("header ends in the middle", b"Subject: cut"),
        ("body only", b"\r\nbody\r\n"),
        ("dots everywhere", HEAD + b"\r\n.\r\n..\r\n. \r\n.a\r\na.\r\n\r\n.\r\n"),
        ("8 bits", HEAD + b"\r\n" + bytes(b for b in every if b not in b"\0\r\n") * 10),
        ("8 bits in the header", HEAD + b"X-\xe9: \xff\xfe\r\n\r\nx\r\n"),
        ("long header", HEAD + b"X-Long: " + b"h" * 200000 + b"\r\n\r\nx\r\n"),
        ("line of 998", HEAD + b"\r\n" + b"l" * 998 + b"\r\n"),
        ("line of 999", HEAD + b"\r\n" + b"l" * 999 + b"\r\n"),
        ("line of 2 million", HEAD + b"\r\n" + b"l" * 2000000 + b"\r\n"),
        ("many fields", HEAD + b"".join(b"X-%d: y\r\n" % i for i in range(5000)) + b"\r\nx\r\n"),
        ("49 Received", b"".join(b"Received: from h%d by h; d\r\n" % i for i in range(49)) + HEAD + b"\r\nx\r\n"),
        ("51 Received", b"".join(b"Received: from h%d by h; d\r\n" % i for i in range(51)) + HEAD + b"\r\nx\r\n"),
        ("mbox line", b"From someone Fri Nov 13 22:00:00 2009\r\n" + HEAD + b"\r\nFrom here\r\n"),
        ("spaces at the ends", HEAD + b"X:   \r\n \t \r\n\r\n \t \r\n   \r\n"),
        ("vertical tab, form feed, escape", HEAD + b"\r\n\x0b\x0c\x1b[2J\x7f\x85\r\n"),
        ("smuggling words", HEAD + b"\r\nx\r\n..\r\nMAIL FROM:<a@b>\r\n"),
        ("bare LF", HEAD + b"\r\none\ntwo\r\n"),
        ("bare LF in the header", HEAD + b"X-A: one\nX-B: two\r\n\r\nx\r\n"),
        ("bare CR", HEAD + b"\r\none\rtwo\r\n"),
        ("CR CR LF", HEAD + b"\r\none\r\r\ntwo\r\n"),
        ("CR at the end", HEAD + b"\r\none\r"),
        ("NUL", HEAD + b"\r\none\0two\r\n"),
        ("NUL in the header", HEAD + b"X-\0: y\r\n\r\nx\r\n"),
        ("all octets", HEAD + b"\r\n" + every * 4),
    ]
    for size in (16383, 16384, 65535, 65536, 65537, 1 << 20, (1 << 20) + 1, 3000000):
        line = b"0123456789" * 7 + b"\r\n"
        body = (line * (size // len(line) + 1))[:size - len(HEAD) - 4]
        cases.append(("%d octets" % size, HEAD + b"\r\n" + body.replace(b"\r\n", b"--").replace(b"\r", b"-") + b"\r\n"))
        cases.append(("%d octets in lines" % size, HEAD + b"\r\n" + body.rstrip(b"\r\n") + b"\r\n"))
    return cases


def violates(message):
    """Whether it holds what no line may hold: bare CR, bare LF, NUL (RFC 5321 §2.3.8)."""
    return b"\0" in message or re.search(rb"\r(?!\n)|(?<!\r)\n", message) is not None


def refused_by_mx(message):
    """The code the MX port owes to a message, None when it has to take it."""
    if violates(message):
        return b"550 5.6.0"
    header = message.split(b"\r\n\r\n")[0]
    if len(re.findall(rb"(?mi)^received:", header)) > 50:
        return b"554 5.4.6"
    return None


def delivered(message):
    """What the final delivery keeps of a message: its own Return-Path is the only one (RFC 5321 §4.4)."""
    field, kept, at = re.compile(rb"(?s)(.*?)\r\n(?=[^ \t])"), [], 0
    while (m := field.match(message, at)) and b":" in m[1]:
        if m[1].split(b":")[0].rstrip().lower() != b"return-path":
            kept.append(m[0])
        at = m.end()
    return b"".join(kept) + message[at:]


def submitted(message):
    """What submission makes of a message with Date and Message-ID: the lines that its author meant.

    Bare CR and LF end a line, NULs go, and a line that is no field begins the body, so a blank one is put before it.
    """
    message = re.sub(rb"\r+\n?|\n", b"\r\n", message).replace(b"\0", b"")
    lines = message.split(b"\r\n")
    for i, line in enumerate(lines):
        if line == b"":
            break
        if not re.match(rb"[ \t]|[\x20-\x39\x3b-\x7e\t]+:", line):
            lines.insert(i, b"")
            break
    message = b"\r\n".join(lines)
    return message if message.endswith(b"\r\n") else message + b"\r\n"
