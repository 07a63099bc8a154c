"""The plots of the report, as PNG and SVG. Debian's python3-matplotlib; without it the report has no pictures."""

import json

try:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
except ImportError:
    pyplot = None

MARKS = {"same": "o-", "other": "s--", "outside": "^:"}


def save(figure, out, name):
    for ending in ("png", "svg"):
        figure.savefig(out / f"{name}.{ending}", dpi=110, bbox_inches="tight")
    pyplot.close(figure)
    return name


def over_pods(out, name, lines, value, words):
    figure, axes = pyplot.subplots(figsize=(6, 4))
    for location in sorted({line["location"] for line in lines}):
        of = [line for line in lines if line["location"] == location and line[value] is not None]
        axes.plot([line["pods"] for line in of], [line[value] for line in of], MARKS.get(location, "o-"), label=f"client: {location}")
        if value == "users":
            axes.fill_between([x["pods"] for x in of], [x["least"] for x in of], [x["greatest"] for x in of], alpha=0.15)
    axes.set(xlabel="pods", ylabel=words[0], title=words[1], ylim=(0, None))
    axes.set_xticks(sorted({line["pods"] for line in lines}))
    axes.grid(alpha=0.3)
    axes.legend()
    return save(figure, out, name)


def over_users(out, name, runs, value, words):
    figure, axes = pyplot.subplots(figsize=(6, 4))
    for pods in sorted({int(row["pods"]) for row in runs}):
        points = sorted((int(row["users"]), float(row[value])) for row in runs if int(row["pods"]) == pods)
        axes.plot(*zip(*points, strict=True), "o", markersize=4, label=f"{pods} pods")
    axes.set(xlabel="users", ylabel=words[0], title=words[1], xscale="log")
    axes.set_ylim(0, None)
    axes.grid(alpha=0.3)
    axes.legend()
    return save(figure, out, name)


def shares(out, cells):
    """What each pod answered of the longest run of each number of pods."""
    figure, axes = pyplot.subplots(figsize=(6, 4))
    for i, row in enumerate(cells):
        told = list(json.loads(row["shares"]).values())
        axes.bar([i + (k - len(told) / 2 + 0.5) * 0.8 / len(told) for k in range(len(told))], [100 * v for v in told], 0.7 / len(told))
        axes.plot([i - 0.45, i + 0.45], [100 / len(told)] * 2, "k:", linewidth=1)
    axes.set_xticks(range(len(cells)), [f"{row['pods']} pods" for row in cells])
    axes.set(ylabel="share of the pictures, %", title="Each pod's share (dotted: an equal one)", ylim=(0, None))
    return save(figure, out, "shares")


def draw(out, success, p95, runs):
    """Names of the plots that were drawn."""
    if not pyplot:
        return []
    names = []
    for name, lines, title in (("users", success, "Users at 100 % success"), ("users_p95", p95, "Users within the p95 limit")):
        if lines:
            names.append(over_pods(out, name, lines, "users", ("users", title)))
    if success:
        names.append(over_pods(out, "throughput", success, "images_per_s", ("images/s", "Throughput")))
    good = [row for row in runs if row["kind"] in ("step", "confirm", "fixed") and row["failed"] == "0"]
    if good:
        names.append(over_users(out, "response", good, "mean_ms", ("mean response time, ms", "Response time")))
        names.append(over_users(out, "flat", good, "images_per_s", ("images/s", "Throughput stays while users come")))
    longest = {}
    for row in good:
        if row["shares"] and int(row["counted"]) > int(longest.get(row["pods"], {"counted": -1})["counted"]):
            longest[row["pods"]] = row
    if longest:
        names.append(shares(out, [longest[pods] for pods in sorted(longest, key=int)]))
    return names
