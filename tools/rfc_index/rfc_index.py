#!/usr/bin/env python3
"""Writes docs/rfc.md: which section of which RFC is obeyed where, and which test shows it.

    tools/rfc_index/rfc_index.py            writes the page
    tools/rfc_index/rfc_index.py --check    exits 1 when the page is not what would be written

It collects citations such as "RFC 5321 §4.5.3.1.8" from the sources, the tests and the
transcripts of tests/conformance, and sentences that begin with "Departs from RFC ...". A
section without a test in the page has no test that cites it; another test may cover it.
"""
import argparse
import os
import re
import sys

ROOTS = ["protos", "services", "tests", "tools"]
ENDINGS = (".cc", ".h", ".proto", ".py")
PAGE = "docs/rfc.md"
CITATION = re.compile(r"RFC (\d{3,5})((?: and|,)? §\d[\w.]*(?:(?:,| and| or|-) ?§?\d+(?:\.\d+)+)*)?")
SECTION = re.compile(r"\d[\w.]*")
DEPARTS = re.compile(r"Departs from (RFC \d+ §[\w.]+[^.]*\.)")

TITLES = {
    822: "Internet text messages (obsolete)", 1035: "Domain names", 1049: "Content-Type (historic)", 1123: "Requirements for hosts", 1870: "SMTP SIZE",
    1939: "POP3", 2033: "LMTP", 2034: "SMTP ENHANCEDSTATUSCODES", 2045: "MIME: bodies", 2046: "MIME: media types",
    2047: "MIME: encoded words", 2142: "Role mailboxes", 2177: "IMAP IDLE", 2180: "IMAP with several sessions", 2181: "Clarified DNS", 2183: "Content-Disposition",
    2231: "MIME parameter continuations", 2308: "Negative caching of DNS", 2342: "IMAP NAMESPACE", 2449: "POP3 CAPA",
    2595: "TLS with IMAP and POP3", 2606: "Reserved names", 2683: "IMAP advice", 2920: "SMTP PIPELINING", 2971: "IMAP ID", 3030: "SMTP CHUNKING",
    3206: "POP3 SYS and AUTH", 3207: "SMTP STARTTLS", 3339: "Timestamps", 3348: "IMAP CHILDREN", 3461: "SMTP DSN", 3462: "multipart/report",
    3463: "Enhanced status codes", 3464: "Delivery status notifications", 3501: "IMAP4rev1", 3502: "IMAP MULTIAPPEND",
    3516: "IMAP BINARY", 3629: "UTF-8", 3691: "IMAP UNSELECT", 3834: "Automatic responses", 3848: "ESMTP transmission types", 4035: "DNSSEC", 4314: "IMAP ACL", 4343: "Case of DNS names",
    4315: "IMAP UIDPLUS", 4466: "IMAP extended ABNF", 4549: "Disconnected IMAP clients", 4616: "SASL PLAIN",
    4731: "IMAP ESEARCH", 4954: "SMTP AUTH", 4959: "IMAP SASL-IR", 5032: "IMAP WITHIN", 5034: "POP3 AUTH",
    5051: "i;unicode-casemap", 5161: "IMAP ENABLE", 5182: "IMAP SEARCHRES", 5233: "Subaddresses", 5256: "IMAP SORT, THREAD",
    5258: "IMAP LIST-EXTENDED", 5321: "SMTP", 5322: "Message format", 5530: "IMAP response codes", 5598: "Mail architecture",
    5617: "ADSP", 5819: "IMAP LIST-STATUS", 5890: "IDNA", 6066: "TLS SNI", 6125: "Names in TLS", 6152: "SMTP 8BITMIME",
    6154: "IMAP SPECIAL-USE", 6409: "Submission", 6522: "multipart/report", 6531: "SMTPUTF8", 6532: "UTF-8 headers", 6533: "UTF-8 DSN",
    6710: "SMTP MT-PRIORITY", 6724: "Address selection", 6851: "IMAP MOVE", 6855: "IMAP UTF8", 6891: "EDNS", 7162: "IMAP CONDSTORE, QRESYNC",
    7372: "Status codes of authentication", 7435: "Opportunistic security", 7504: "SMTP 521 and 556", 7505: "Null MX",
    7888: "IMAP LITERAL+", 7889: "IMAP APPENDLIMIT", 8259: "JSON", 8314: "TLS for mail access", 8438: "IMAP STATUS=SIZE", 8457: "$Important",
    8461: "MTA-STS", 8474: "IMAP OBJECTID", 8514: "IMAP SAVEDATE", 8601: "Authentication-Results", 8689: "SMTP REQUIRETLS",
    8767: "Stale DNS data", 8970: "IMAP PREVIEW", 8996: "TLS 1.0 and 1.1 are over", 9051: "IMAP4rev2", 9106: "Argon2", 9112: "HTTP/1.1",
}


def sources():
    for root in ROOTS:
        for folder, _, names in os.walk(root):
            for name in names:
                transcript = folder.startswith("tests/conformance") and name.endswith(".txt")
                if (name.endswith(ENDINGS) or transcript) and name != "rfc_index.py":
                    yield os.path.join(folder, name)


def is_test(path):
    return path.startswith("tests/") or "/testing/" in path or re.search(r"_(test|conformance)\.(cc|py)$", path) is not None


def order(section):
    return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in section.split(".")]


def collect():
    """{rfc: {section: (code files, test files)}}, and the departures as (path, text)."""
    index, departures = {}, []
    for path in sorted(sources()):
        with open(path, encoding="utf-8", errors="replace") as file:
            # Comment markers in between, so that what wraps over two lines is still found.
            text = re.sub(r"\n\s*(//|#)\s?", " ", file.read())
        for match in CITATION.finditer(text):
            sections = [s.rstrip(".") for s in SECTION.findall(match[2] or "")] or [""]
            for section in sections:
                places = index.setdefault(int(match[1]), {}).setdefault(section, (set(), set()))
                places[is_test(path)].add(path)
        departures += [(path, " ".join(m[1].split())) for m in DEPARTS.finditer(text)]
    return index, departures


def short(paths):
    return "<br>".join("`%s`" % p.replace("services/", "", 1) for p in sorted(paths)) or "–"


def render():
    index, departures = collect()
    lines = ["# Standards", "",
             "<!-- Written by tools/rfc_index/rfc_index.py from the citations in the code. -->", "",
             "The code that obeys each section, and the tests that cite it. Paths are below `services/` unless they begin with `tests/`,",
             "`protos/` or `tools/`. A dash under *test* means that no test cites the section; a test may still cover it.", "", "## Departures", ""]
    lines += ["- %s (`%s`)" % (text, path) for path, text in departures] + [""]
    for rfc in sorted(index):
        lines += ["## RFC %d%s" % (rfc, ": " + TITLES[rfc] if rfc in TITLES else ""), "", "| section | code | test |",
                  "| --- | --- | --- |"]
        for section in sorted(index[rfc], key=order):
            code, test = index[rfc][section]
            lines.append("| %s | %s | %s |" % ("§" + section if section else "as a whole", short(code), short(test)))
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare the page, write nothing")
    arguments = parser.parse_args()
    # Under Bazel this file is a link to the one in the clone.
    os.chdir(os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", ".."))
    page = render()
    if not arguments.check:
        with open(PAGE, "w", encoding="utf-8") as file:
            file.write(page)
        return
    if not os.path.exists(PAGE) or open(PAGE, encoding="utf-8").read() != page:
        sys.exit("%s does not match the citations: run tools/rfc_index/rfc_index.py" % PAGE)
    print("%s is up to date, %d lines" % (PAGE, page.count("\n")))


if __name__ == "__main__":
    main()
