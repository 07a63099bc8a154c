"""The results as Markdown, with plots: what was asked for, from the CSV alone."""

import json
import statistics
from pathlib import Path

import plots

NUMBERS = ("users", "images_per_s", "mean_ms", "p50_ms", "p95_ms", "p99_ms", "start_s", "start_cpu_s", "peak_rss_mb", "charged_mb",
           "gateway_rss_mb", "pod_cpu", "throttled", "gateway_cpu", "client_cpu", "images_per_pod_cpu_s", "success")  # fmt: skip
COLUMNS = (("pods", "pods"), ("client", "location"), ("users", "users"), ("mean", "mean_ms"), ("p50", "p50_ms"), ("p95", "p95_ms"),
           ("p99", "p99_ms"), ("images/s", "images_per_s"), ("share of each pod", "shares"), ("ready after, s", "start_s"),
           ("peak RSS, MB", "peak_rss_mb"), ("CPU of a pod", "pod_cpu"), ("throttled", "throttled"),
           ("images per pod CPU second", "images_per_pod_cpu_s"), ("gateway CPU", "gateway_cpu"),
           ("gateway peak RSS, MB", "gateway_rss_mb"), ("client CPU", "client_cpu"), ("repeats", "repeats"))  # fmt: skip


def number(text):
    return float(text) if text not in ("", None) else None


def median(rows, name):
    values = [v for v in (number(row.get(name)) for row in rows) if v is not None]
    return statistics.median(values) if values else None


def grouped(cells):
    """One line for each number of pods and location: medians over the repeats."""
    out = {}
    for row in cells:
        out.setdefault((int(row["pods"]), row["location"]), []).append(row)
    return [summary(pods, location, rows) for (pods, location), rows in sorted(out.items())]


def summary(pods, location, rows):
    told = {name: median(rows, name) for name in NUMBERS}
    users = [int(float(row["users"])) for row in rows]
    shares = [v for row in rows if row["shares"] for v in json.loads(row["shares"]).values()]
    return told | {
        "pods": pods,
        "location": location,
        "least": min(users),
        "greatest": max(users),
        "capped": any(row["capped"] == "1" for row in rows),
        "share": (min(shares), max(shares)) if shares else None,
        "repeats": len(rows),
    }


def cell(line, name):
    if name == "users":
        spread = f" ({line['least']} … {line['greatest']})" if line["least"] != line["greatest"] else ""
        return f"{'≥ ' if line['capped'] else ''}**{line['users']:.0f}**{spread}"
    if name == "shares":
        return f"{100 * line['share'][0]:.1f} … {100 * line['share'][1]:.1f} %" if line["share"] else ""
    value = line[name]
    if value is None:
        return ""
    if name.endswith("_ms"):
        return f"{value:,.0f}"
    return f"{value:.2f}" if isinstance(value, float) and value < 100 else f"{value:.0f}" if isinstance(value, float) else str(value)


def table(lines):
    heads = [head for head, _ in COLUMNS]
    rows = [[cell(line, name) for _, name in COLUMNS] for line in lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in [heads, ["---"] * len(heads), *rows])


def scaling(lines):
    """Throughput against one pod, as it was and by the CPU that the pods had."""
    out = []
    for location in sorted({line["location"] for line in lines}):
        of = {line["pods"]: line for line in lines if line["location"] == location and line["images_per_s"]}
        for pods in sorted(set(of) - {1}) if 1 in of else []:
            plain = of[pods]["images_per_s"] / of[1]["images_per_s"]
            each = of[pods]["images_per_pod_cpu_s"] / of[1]["images_per_pod_cpu_s"]
            out.append(
                f"- {location}, {pods} pods: {plain:.2f} × the images/s of one pod; {pods * each:.2f} × by the CPU time that the pods took"
            )
    return "\n".join(out)


def failures(runs):
    seen = {}
    for row in runs:
        for kind, n in json.loads(row["failures"] or "{}").items():
            seen[kind] = seen.get(kind, 0) + n
    return ", ".join(f"{kind} {n}" for kind, n in sorted(seen.items())) or "none"


def cross_checks(runs):
    """Ours beside Locust, means over the runs of the same users on the same pods."""
    seen = {}
    for row in runs:
        if row["kind"] == "cross":
            seen.setdefault((int(row["pods"]), row["location"], int(row["users"])), {}).setdefault(row["generator"], []).append(row)
    out = []
    for (pods, location, users), of in sorted(seen.items()):
        words = []
        for name, title in (("images_per_s", "images/s"), ("mean_ms", "mean ms"), ("client_cpu", "CPU of the client")):
            a, b = (
                statistics.mean(float(row[name]) for row in of.get(gen, [])) if gen in of else 0 for gen in ("bloginfer-load", "locust")
            )
            words.append(f"{title} {a:.3g} and {b:.3g}" + (f" (ratio {a / b:.3f})" if a and b else ""))
        out.append(f"- {pods} pods, {location}, {users} users: {', '.join(words)}")
    return out


def section(title, words, cells):
    lines = grouped(cells)
    return [f"## {title}", "", words, "", table(lines), "", scaling(lines), ""] if lines else []


def write(o, cells, runs, settings, system):
    """report.md and the plots, of the cells with these settings."""
    cells = [row for row in cells if row["settings"] == settings]
    runs = [row for row in runs if row["settings"] == settings]
    success = [row for row in cells if row["criterion"] == "success"]
    p95 = [row for row in cells if row["criterion"] == "p95"]
    fixed = [row for row in cells if row["criterion"].startswith("fixed")]
    names = plots.draw(o.out, grouped(success), grouped(p95), runs)
    words = (
        f"Back end: {system}. Model {o.model}, pictures of {o.images or 'our own making'}, bodies {o.body}, a request has "
        f"{o.timeout_ms / 1000:g} s, users think for {o.think_ms} ms; settings `{settings}`. Generator: {o.generator}. "
        f"{len(runs)} runs, {len(cells)} cells. Times in ms; every value is the median over the repeats."
    )
    out = ["# How many users do the detectors serve?", "", words, ""]
    how = (f"Confirmed from {100 * o.confirm_from:g} % of the users, {o.confirm_rate:g} user(s) more a second, then held for "
           f"{o.confirm_s:g} s without one failure.")  # fmt: skip
    out += section("Users at 100 % success", how, success)
    out += section(f"Users at p95 ≤ {o.p95_ms / 1000:g} s", f"The same, and 95 % of the answers within {o.p95_ms / 1000:g} s.", p95)
    for criterion in sorted({row["criterion"] for row in fixed}):
        rows = [row for row in fixed if row["criterion"] == criterion]
        good = ", ".join(f"{r['pods']} pods, {r['location']}: {100 * float(r['success']):.3f} % of {r['requests']}" for r in rows)
        out += section(criterion.capitalize(), f"Success: {good}.", rows)
    out += ["## Plots", "", *(f"![{name}]({name}.png)" for name in names), ""]
    out += [f"Failures in all runs, those beyond the limit included: {failures(runs)}.", ""]
    if checks := cross_checks(runs):
        out += ["## bloginfer-load and Locust on the same system", "", *checks, ""]
    out += [Path(__file__).with_name("challenges.md").read_text(encoding="utf-8")]
    (o.out / "report.md").write_text("\n".join(out), encoding="utf-8")
