#!/usr/bin/env python3
"""Draws the Grafana dashboards from live data, for the documentation: each panel by its own expressions.

    bazel build //services/... //tools/...
    tools/dashboard_pictures.py                           six processes under load, their Prometheus, docs/images/dashboard-*.png
    tools/dashboard_pictures.py --prometheus http://HOST:9090 --minutes 180 --out DIR      what your Prometheus has

Needs Debian's python3-matplotlib and prometheus, for this only. No Grafana: lines, numbers and heat maps are drawn from the
JSON of the dashboards (place, title, expressions, legend, unit), so a panel that shows nothing here shows nothing there.
"""
import argparse
import glob
import json
import math
import os
import re
import sys
import time
import urllib.parse
import urllib.request

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DASHBOARDS = os.path.join(TOP, "helm/posthouse/files/dashboards/*.json")
POINTS = 120  # of a line
VARIABLES = {"$namespace": ".*", "$instance": ".*"}
MULTIPLES = [(1e9, "G"), (1e6, "M"), (1e3, "k")]


def series(url, expr, start, end, interval):
    """[(labels, [(time, value)])] of a range query."""
    for name, value in {**VARIABLES, "$__rate_interval": "%ds" % interval}.items():
        expr = expr.replace(name, value)
    step = max((end - start) / POINTS, 1)
    query = urllib.parse.urlencode({"query": expr, "start": start, "end": end, "step": step})
    with urllib.request.urlopen(url + "/api/v1/query_range?" + query, timeout=60) as answer:
        result = json.load(answer)["data"]["result"]
    points = [(r["metric"], [(float(t), float(v)) for t, v in r["values"]]) for r in result]
    return [(labels, [(t, v) for t, v in values if math.isfinite(v)]) for labels, values in points]


def named(legend, labels):
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda m: labels.get(m[1], ""), legend) or ", ".join(labels.values()) or "value"


def shown(value, unit):
    if unit in ("s", "dtdurations"):
        for size, name in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "µs")):
            if abs(value) >= size:
                return "%.3g %s" % (value / size, name)
        return "%.2g s" % value
    if unit == "percentunit":
        return "%.4g %%" % (100 * value)
    for size, name in MULTIPLES:
        if abs(value) >= size:
            return "%.3g %s%s" % (value / size, name, "B" if unit.startswith("bytes") else "")
    return "%.3g%s" % (value, " B" if unit.startswith("bytes") else "")


def draw_lines(axes, panel, lines, unit):
    from matplotlib.ticker import FuncFormatter
    start = min((points[0][0] for _, points in lines if points), default=0)
    drawn = [(name, [((t - start) / 60, v) for t, v in points]) for name, points in lines if points]
    stacked = panel["fieldConfig"]["defaults"].get("custom", {}).get("stacking", {}).get("mode") == "normal"
    # What never moved is said in the legend only when all is flat.
    moving = [d for d in drawn if any(v for _, v in d[1])] or drawn[:1]
    base = {}
    for name, points in sorted(moving, key=lambda d: -max(v for _, v in d[1]))[:10]:
        x, y = [t for t, _ in points], [v for _, v in points]
        if stacked:
            below = [base.get(t, 0) for t in x]
            y = [a + b for a, b in zip(y, below)]
            base.update(zip(x, y))
            axes.fill_between(x, below, y, alpha=0.3, linewidth=0)
        axes.plot(x, y, linewidth=1, label=name[:34].lstrip("_"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: shown(v, unit)))
    values = [v for _, points in moving for _, v in points]
    if not any(values):
        axes.set_ylim(-0.1, 1)  # a line of zeros is a line
    elif min(values) >= 0:
        axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25, linewidth=0.4)
    axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda t, _: "%g min" % t))
    axes.legend(fontsize=6, loc="upper left", framealpha=0.6, borderpad=0.2, labelspacing=0.2, handlelength=1)


def draw_number(axes, lines, unit):
    axes.axis("off")
    values = [(name, points[-1][1]) for name, points in lines if points]
    text = "\n".join(("%s  " % name if len(values) > 1 else "") + shown(v, unit) for name, v in values[:5])
    axes.text(0.5, 0.45, text, ha="center", va="center", fontsize=12 if len(values) == 1 else 7, color="#12703a")


def draw_heat(axes, results, unit):
    def bound(labels):
        return float(labels.get("le", "inf").replace("+Inf", "inf"))
    rows = sorted(results, key=lambda r: bound(r[0]))
    times = sorted({t for _, points in rows for t, _ in points})
    below, grid, names = {}, [], []
    for labels, points in rows:
        values = dict(points)
        grid.append([max(values.get(t, 0) - below.get(t, 0), 0) for t in times])
        below = values
        names.append(shown(bound(labels), unit) if math.isfinite(bound(labels)) else "more")
    if grid:
        axes.imshow(grid, aspect="auto", origin="lower", cmap="YlGnBu", interpolation="nearest")
        axes.set_yticks(range(0, len(names), 2), [names[i] for i in range(0, len(names), 2)])
    axes.set_xticks([])


def draw(dashboard, url, start, end, interval, path):
    """Draws a dashboard; returns the titles of panels without data."""
    from matplotlib.figure import Figure
    panels = dashboard["panels"]
    rows = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in panels)
    figure = Figure(figsize=(13, rows * 0.27), dpi=72, facecolor="white")
    empty = []
    for panel in panels:
        g = panel["gridPos"]
        box = (g["x"] / 24 + 0.028, 1 - (g["y"] + g["h"] - 1) / rows, g["w"] / 24 - 0.04, (g["h"] - 2.4) / rows)
        if panel["type"] == "row":
            figure.text(0.008, 1 - (g["y"] + 0.8) / rows, panel["title"], fontsize=10, weight="bold")
            continue
        axes = figure.add_axes(box)
        axes.set_title(panel["title"], fontsize=8, loc="left", pad=3)
        axes.tick_params(labelsize=6, length=2, pad=1)
        unit = panel["fieldConfig"]["defaults"]["unit"]
        found, lines = [], []
        for target in panel["targets"]:
            results = series(url, target["expr"], start, end, interval)
            found += results
            lines += [(named(target.get("legendFormat", ""), labels), points) for labels, points in results]
        if not any(points for _, points in lines):
            empty.append(panel["title"])
            axes.axis("off")
            axes.text(0.5, 0.5, "no data", ha="center", color="#b3261e", fontsize=8)
        elif panel["type"] == "stat":
            draw_number(axes, lines, unit)
        elif panel["type"] == "heatmap":
            draw_heat(axes, found, unit)
        else:
            draw_lines(axes, panel, lines, unit)
    figure.savefig(path, pil_kwargs={"optimize": True})
    from PIL import Image  # comes with matplotlib: fewer colours, a third of the bytes
    Image.open(path).convert("RGB").quantize(48).save(path, optimize=True)
    return empty


def draw_all(url, start, end, interval, out):
    os.makedirs(out, exist_ok=True)
    failed = False
    for path in sorted(glob.glob(DASHBOARDS)):
        with open(path) as f:
            dashboard = json.load(f)
        picture = os.path.join(out, "dashboard-%s.png" % os.path.basename(path)[:-5])
        empty = draw(dashboard, url, start, end, interval, picture)
        print("%s: %d KiB%s" % (picture, os.path.getsize(picture) // 1024, ", empty: " + ", ".join(empty) if empty else ""))
        failed |= bool(empty)
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--prometheus", metavar="URL", help="draw what this Prometheus has; default: start a loaded system")
    parser.add_argument("--minutes", type=float, default=3, help="time shown")
    parser.add_argument("--out", default=os.path.join(TOP, "docs/images"))
    flags = parser.parse_args()
    seconds = flags.minutes * 60
    if flags.prometheus:
        end = time.time()
        return draw_all(flags.prometheus.rstrip("/"), end - seconds, end, max(4 * seconds / POINTS, 60), flags.out)
    os.chdir(TOP)
    sys.path[:0] = [os.path.join(TOP, "tests/harness"), os.path.join(TOP, "tests/monitoring")]
    import dashboards_test
    with dashboards_test.observed() as (load, prometheus):
        start = time.time()
        while time.time() < start + seconds:
            load.round()
        return draw_all("http://127.0.0.1:%d" % prometheus.port, start, time.time(), 20, flags.out)


if __name__ == "__main__":
    sys.exit(main())
