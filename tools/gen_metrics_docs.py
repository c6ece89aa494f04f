#!/usr/bin/env python3
"""Writes docs/metrics.md from what the six running programs export.

    bazel build //services/... //tools/...
    tools/gen_metrics_docs.py            writes the page
    tools/gen_metrics_docs.py --check    exits 1 when the page is not what would be written

A metric without help is an error: the help is its manual.
"""
import argparse
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "harness"))

PAGE = "docs/metrics.md"
# Values of other labels are closed sets of words, which the page names. These grow, or differ between installations.
OPEN_LABELS = {"version", "grpc_service", "grpc_method", "grpc_code", "command", "verb", "le"}
HEAD = """# Metrics

<!-- Written by tools/gen_metrics_docs.py from the running programs: do not edit. -->

Each process serves these at `/metrics`, in the text format of Prometheus; `standalone` has all of them. Counters and gauges show zero from the
start; those of gRPC calls have a series for each method, and further ones once a call ended with another code. Labels come from
closed sets, never from a peer. A process with `backup.directory` also has `posthouse_backup_*`. [monitoring.md](monitoring.md) says what to look at.
"""


class Metric:
    def __init__(self, kind):
        self.kind, self.help, self.processes, self.labels = kind, "", [], {}


def parse(process, text, into):
    """Adds the families of a scrape."""
    for line in text.splitlines():
        found = re.match(r"# (HELP|TYPE) (\S+) (.*)$", line)
        if found:
            what, name, rest = found.groups()
            metric = into.setdefault(name, Metric(""))
            if what == "TYPE":
                metric.kind = rest
                metric.processes.append(process)
            else:
                metric.help = rest
            continue
        found = re.match(r"([\w:]+)(?:\{(.*)\})? ", line)
        if not found:
            continue
        name = found[1]
        metric = into.get(name) or into.get(re.sub(r"_(bucket|sum|count)$", "", name))
        for label, value in re.findall(r'(\w+)="([^"]*)"', found[2] or ""):
            metric.labels.setdefault(label, set()).add(value)


def described(labels):
    out = []
    for label, values in sorted(labels.items()):
        if label == "le":
            continue
        out.append("`%s`" % label if label in OPEN_LABELS else "`%s`: %s" % (label, ", ".join(sorted(values))))
    return "; ".join(out)


def page(scrapes):
    """The page. `scrapes`: the text of /metrics of each process, by its name."""
    metrics = {}
    for process, text in scrapes.items():
        parse(process, text, metrics)
    missing = [name for name, metric in metrics.items() if not metric.help or not metric.kind]
    if missing:
        sys.exit("no help or type: %s" % ", ".join(sorted(missing)))
    groups = {}
    for name, metric in metrics.items():
        area = name.split("_")[1] if name.startswith("posthouse_") else "grpc"
        several = "process" if len(metric.processes) == len(scrapes) and area not in ("rpc", "grpc", "process") else area
        groups.setdefault(several if several not in ("build", "config", "draining", "drain") else "process", []).append(name)
    out = HEAD
    for area in sorted(groups):
        out += "\n## %s\n\n| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n" % area
        for name in sorted(groups[area]):
            metric = metrics[name]
            everywhere = metric.processes == [area] or len(metric.processes) == len(scrapes)
            # Which processes have histograms of calls depends on who has called whom.
            where = "" if everywhere or area == "grpc" else " (%s)" % ", ".join(metric.processes)
            out += "| `%s` | %s | %s | %s%s |\n" % (name, metric.kind, described(metric.labels), metric.help.rstrip("."), where)
    return out


def scrape(mail):
    """/metrics of each process, after one call of each service that the set-up makes."""
    import urllib.request
    mail.add_account("metrics@example.org", "correct horse")
    return {s: urllib.request.urlopen("http://127.0.0.1:%d/metrics" % mail.http[s], timeout=10).read().decode() for s in mail.services}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    from posthouse import Posthouse
    with Posthouse.six() as mail:
        text = page(scrape(mail))
    if args.check:
        with open(PAGE) as f:
            if f.read() != text:
                sys.exit("%s is not current: run tools/gen_metrics_docs.py" % PAGE)
        return
    with open(PAGE, "w") as f:
        f.write(text)


if __name__ == "__main__":
    main()
