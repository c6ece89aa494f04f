"""Everything of a store that a user or an operator can see, as plain data that survives JSON.

make_store.py writes it beside a store; old_store_test.py compares it with what a newer version shows.
"""
import hashlib
import imaplib
import json
import poplib
import re

PASSWORDS = {"alice@example.org": "wonderland 1", "bob@example.org": "bob's secret", "carol@example.net": "b\u00fccher und mehr"}
LIST = re.compile(rb'\((?P<flags>[^)]*)\) "/" (?P<name>.+)$')


def connect(port, user):
    c = imaplib.IMAP4("127.0.0.1", port, timeout=60)
    c.authenticate("PLAIN", lambda _: b"\0" + user.encode() + b"\0" + PASSWORDS[user].encode())
    ok(c.xatom("ENABLE", "CONDSTORE"))
    return c


def ok(result):
    kind, data = result
    assert kind == "OK", (kind, data)
    return data


def digest(*parts):
    return hashlib.sha256(b"".join(parts)).hexdigest()


def message(c, number):
    data = ok(c.fetch(str(number), "(UID FLAGS MODSEQ INTERNALDATE RFC822.SIZE EMAILID THREADID BODY.PEEK[])"))
    head, body = next(item for item in data if isinstance(item, tuple))
    rest = head + b"".join(item for item in data if isinstance(item, bytes))
    field = lambda pattern: re.search(pattern, rest).group(1).decode()
    return {
        "uid": int(field(rb"UID (\d+)")),
        "flags": sorted(set(field(rb"FLAGS \(([^)]*)\)").split()) - {"\\Recent"}),
        "modseq": int(field(rb"MODSEQ \((\d+)\)")),
        "internal_date": field(rb'INTERNALDATE "([^"]+)"'),
        "size": int(field(rb"RFC822.SIZE (\d+)")),
        "email_id": field(rb"EMAILID \(([^)]*)\)"),
        "thread_id": field(rb"THREADID (\([^)]*\)|NIL)"),
        "envelope": digest(*ok(c.fetch(str(number), "(ENVELOPE)"))),
        "structure": digest(*ok(c.fetch(str(number), "(BODYSTRUCTURE)"))),
        "sha256": digest(body),
    }


def folder(c, name):
    status = ok(c.status(name, "(MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ MAILBOXID)"))[0]
    field = lambda key: re.search(key + rb" \(?([^ )]+)", status).group(1).decode()
    count = int(ok(c.select(name, readonly=True))[0])
    return {
        "uid_validity": int(field(b"UIDVALIDITY")),
        "uid_next": int(field(b"UIDNEXT")),
        "highest_modseq": int(field(b"HIGHESTMODSEQ")),
        "unseen": int(field(b"UNSEEN")),
        "id": field(b"MAILBOXID"),
        "messages": [message(c, number) for number in range(1, count + 1)],
    }


def plain(name):
    """A mailbox name without its quotes; as in LIST, so in modified UTF-7."""
    return name.decode().strip('"')


def account(mail, user):
    c = connect(mail.ports["imap"], user)
    try:
        listed = [LIST.search(line) for line in ok(c.list('""', '"*"'))]
        subscribed = [plain(LIST.search(line).group("name")) for line in ok(c.lsub('""', '"*"')) if line]
        folders = {plain(m.group("name")): folder(c, m.group("name").decode()) for m in listed
                   if b"\\Noselect" not in m.group("flags")}
    finally:
        c.logout()
    p = poplib.POP3("127.0.0.1", mail.ports["pop3"], timeout=60)
    p.user(user)
    p.pass_(PASSWORDS[user])
    try:
        pop3 = [line.decode() for line in p.uidl()[1]]
        sizes = [line.decode() for line in p.list()[1]]
    finally:
        p.quit()
    return {"list": {plain(m.group("name")): sorted(m.group("flags").decode().split()) for m in listed},
            "subscribed": sorted(subscribed), "folders": folders, "pop3_uidl": pop3, "pop3_sizes": sizes}


def set_fields(value):
    """`value` without the zeros, which earlier versions did not print."""
    if isinstance(value, dict):
        return {k: set_fields(v) for k, v in value.items() if v is not False and v != 0}
    return [set_fields(v) for v in value] if isinstance(value, list) else value


def rows(text):
    return [set_fields(json.loads(line)) for line in text.splitlines() if line.startswith("{")]


def without(value, *keys):
    """`value` without fields of these names, at any depth."""
    if isinstance(value, dict):
        return {k: without(v, *keys) for k, v in value.items() if k not in keys}
    return [without(v, *keys) for v in value] if isinstance(value, list) else value


def queue(mail):
    """The items, without what further attempts change."""
    moving = ("attempts", "next_attempt", "last", "history")
    ids = [item["queue_id"] for item in rows(mail.ctl("queue", "list", "--json"))]
    return {i: without(rows(mail.ctl("queue", "show", i, "--json"))[0], *moving) for i in ids}


def everything(mail):
    return {
        "accounts": {user: account(mail, user) for user in sorted(PASSWORDS)},
        "directory": {
            "domains": rows(mail.ctl("domain", "list", "--json")),
            "accounts": sorted(rows(mail.ctl("account", "list", "--json")), key=lambda a: json.dumps(a)),
            "aliases": rows(mail.ctl("alias", "list", "--json")),
        },
        "queue": queue(mail),
        "stats": without(rows(mail.ctl("queue", "stats", "--json"))[0], "oldest"),
    }
