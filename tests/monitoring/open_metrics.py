"""A strict reader of OpenMetrics 1.0.0 text, as far as counters, gauges and histograms go. Standard library only."""
import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
NUMBER = r"(?:[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]Inf|NaN)"
LABELS = r'\{(?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*"(?:,(?=[a-zA-Z_])|(?=\})))*\}'
SAMPLE = re.compile(r"(%s)(%s)? (%s)( # (%s) (%s) (%s))?" % (NAME, LABELS, NUMBER, LABELS, NUMBER, NUMBER))
HEAD = re.compile(r"# (TYPE|HELP) (%s) (.*)" % NAME)
SUFFIXES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_count", "_sum"]}


def labels_of(text):
    return dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', text or ""))


def parse(text):
    """{family: (type, [(sample, labels, value, labels of the exemplar or None)])}; ValueError: not OpenMetrics."""
    def refuse(why):
        raise ValueError("line %d: %s: %s" % (number, why, line[:200]))
    families, family, seen = {}, None, set()
    lines = text.split("\n")
    if lines[-2:] != ["# EOF", ""]:
        raise ValueError("the text does not end with # EOF")
    for number, line in enumerate(lines[:-2], 1):
        head = HEAD.fullmatch(line)
        if head:
            what, name, rest = head.groups()
            if family != name:
                if name in families:
                    refuse("a family comes twice")
                if what != "TYPE":
                    refuse("HELP before TYPE")
                families[name], family = (rest, []), name
            if what == "TYPE" and rest not in SUFFIXES:
                refuse("unknown type")
            if what == "HELP" and re.search(r'(?<!\\)(?:\\\\)*(?:"|\\[^"\\n])', rest):
                refuse("HELP is not escaped")
            continue
        found = SAMPLE.fullmatch(line)
        if not found:
            refuse("not a sample")
        name, labels, value, _, exemplar = found.groups()[:5]
        kind, samples = families[family] if family else refuse("a sample without a family")
        if name not in [family + s for s in SUFFIXES[kind]]:
            refuse("not of the family " + family)
        if (name, labels) in seen:
            refuse("a series comes twice")
        seen.add((name, labels))
        if exemplar is not None and (kind != "histogram" or not name.endswith("_bucket")):
            refuse("an exemplar of what may have none")
        if exemplar is not None and sum(len(k) + len(v) for k, v in labels_of(exemplar).items()) > 128:
            refuse("an exemplar longer than 128 characters")
        samples.append((name, labels_of(labels), float(value.replace("Inf", "inf")), labels_of(exemplar) if exemplar else None))
    for name, (kind, samples) in families.items():
        if kind == "histogram":
            check_histogram(name, samples)
    return families


def check_histogram(family, samples):
    buckets, counts = {}, {}
    for name, labels, value, _ in samples:
        key = tuple(sorted((k, v) for k, v in labels.items() if k != "le"))
        if name.endswith("_bucket"):
            if not re.fullmatch(r"\+Inf|.*[.e].*", labels["le"]):
                raise ValueError("%s: the bound %s is no float" % (family, labels["le"]))
            buckets.setdefault(key, []).append((float(labels["le"].replace("Inf", "inf")), value))
        elif name.endswith("_count"):
            counts[key] = value
    for key, bounds in buckets.items():
        values = [v for _, v in bounds]
        if bounds != sorted(bounds) or values != sorted(values) or bounds[-1] != (float("inf"), counts[key]):
            raise ValueError("%s%s: buckets do not rise to the count" % (family, key))
