#!/usr/bin/env python3
"""How often Cohort and math-verify are wrong, and how long a verdict takes, on the same generated rows.

    $(scripts/rewards-python) bench/rewards/compare.py [--per-class 72] [--seed 20261130] [--class NAME...]

Rows are drawn by the classes of rows_*.py: a gold answer, a response, and whether it is right. The label
comes from how the row was made, or from sympy's objects behind its two texts, never from a grader; a row
that sympy cannot decide is not used. Every class has right rows and near misses.

A false accept is a wrong row that is paid, a false reject a right one that is not. math-verify is called as
its documents say for boxed answers, with its own time limits on, and judges the verifiers that have a
counterpart in it; rows without a reply, which it looks for elsewhere, are left out of its totals and of
those beside them. Times are of one verdict, from gold text and response to result, in a running process.
"""

import argparse
import collections
import json
import logging
import pathlib
import statistics
import subprocess
import tempfile
import time

import framework
import rows_algebra  # noqa: F401  each registers its classes
import rows_lists  # noqa: F401
import rows_marked  # noqa: F401
import rows_numbers  # noqa: F401
import rows_numerals  # noqa: F401
import rows_others  # noqa: F401
import rows_replies  # noqa: F401
import rows_sets  # noqa: F401
import rows_words  # noqa: F401

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEER_VERIFIERS = ("rule_math", "rule_gsm8k", "rule_dapo", "rule_number", "rule_last_integer")


def parse():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=20261130)
    parser.add_argument("--per-class", type=int, default=72)
    parser.add_argument("--class", dest="classes", nargs="+", help="only these classes")
    parser.add_argument("--build", default=ROOT / "build" / "release", type=pathlib.Path)
    parser.add_argument("--no-peer", action="store_true", help="Cohort alone")
    parser.add_argument("--errors", type=int, default=0, help="print this many errors of Cohort per class")
    parser.add_argument("--rows",
                        type=pathlib.Path,
                        help="write the rows here, as `cohort score --cases` reads them")
    parser.add_argument("--json", type=pathlib.Path, help="write the numbers here too")
    return parser.parse_args()


def line_of(row):
    """A row as `cohort score --input` reads it."""
    line = {"completion": row.completion, **dict(row.columns), "answer": row.answer}
    if row.options:
        line["options"] = dict(row.options)
    return json.dumps(line, ensure_ascii=False)


def run_cohort(args, rows):
    """[(verdict, seconds)] in the order of the rows: one run of `cohort score` for each verifier."""
    results = [None] * len(rows)
    groups = collections.defaultdict(list)
    for i, row in enumerate(rows):
        groups[row.verifier].append(i)
    with tempfile.TemporaryDirectory() as folder:
        source, out = pathlib.Path(folder) / "rows.jsonl", pathlib.Path(folder) / "verdicts.jsonl"
        for verifier, indices in groups.items():
            source.write_text("".join(line_of(rows[i]) + "\n" for i in indices))
            command = [
                args.build / "bin" / "cohort", "score", "--reward", verifier, "--input", source, "--out", out
            ]
            subprocess.run([str(c) for c in command], stdout=subprocess.DEVNULL, check=True)
            lines = [json.loads(line) for line in out.read_text().splitlines()]
            assert len(lines) == len(indices), f"{verifier}: {len(indices)} rows, {len(lines)} verdicts"
            for i, line in zip(indices, lines):
                results[i] = (line["verdict"], line["microseconds"] * 1e-6)
    return results


class MathVerify:
    """The peer, with the box first, as its documents advise for boxed answers."""

    def __init__(self):
        import math_verify

        logging.getLogger("math_verify").setLevel(logging.CRITICAL)
        self.api = math_verify
        numbers = [
            math_verify.LatexExtractionConfig(boxed_match_priority=0),
            math_verify.ExprExtractionConfig()
        ]
        letters = math_verify.StringExtractionConfig(strings=tuple("ABCDEF"))
        self.configs = {False: numbers, True: [*numbers, letters]}

    def judge(self, gold, completion):
        config = self.configs[gold.strip("()\\text{} ") in tuple("ABCDEF")]
        gold = self.api.parse(
            gold if "\\boxed" in gold or "fbox" in gold or "####" in gold else f"\\boxed{{{gold}}}", config)
        return bool(self.api.verify(gold, self.api.parse(completion, config)))

    def __call__(self, row):
        """(right, seconds); a list of gold answers is right with any of its elements."""
        golds = row.answer if isinstance(row.answer, list) else [row.answer]
        text = row.completion
        if dict(row.options).get("after_thinking"):
            text = text.rpartition("</think>")[2] if "</think>" in text else ""
        start = time.perf_counter()
        right = any(self.judge(str(gold), text) for gold in golds)
        return right, time.perf_counter() - start


def run_peer(rows):
    peer = MathVerify()
    # It knows no "unparsable": without a box it looks elsewhere, which is a rule of its own and no error.
    fits = lambda row: row.verifier in PEER_VERIFIERS and row.expected in ("correct", "wrong")
    peer(next(row for row in rows if fits(row)))  # its imports and caches are no verdict's time
    return [peer(row) if fits(row) else None for row in rows]


def errors(rows, rights):
    """(false accepts, false rejects)."""
    accepts = sum(right and not row.right for row, right in zip(rows, rights))
    return accepts, sum(row.right and not right for row, right in zip(rows, rights))


def quantiles(seconds):
    ordered = sorted(seconds)
    return statistics.median(ordered), ordered[len(ordered) * 95 // 100], ordered[-1]


def time_text(seconds):
    return f"{seconds * 1e6:.1f} us" if seconds < 1e-3 else f"{seconds * 1e3:.1f} ms"


def table_line(name, rows, ours, peer):
    cohort = errors(rows, [verdict == "correct" for verdict, _ in ours])
    shared = [i for i in range(len(rows)) if peer[i] is not None]
    cells = [
        f"{name:22}", f"{len(rows):5}", f"{cohort[0]:4} {cohort[1]:4}",
        f"{time_text(statistics.median(t for _, t in ours)):>9}"
    ]
    result = {"class": name, "rows": len(rows), "cohort": cohort}
    if shared:
        theirs = errors([rows[i] for i in shared], [peer[i][0] for i in shared])
        cells += [
            f"{theirs[0]:4} {theirs[1]:4}", f"{time_text(statistics.median(peer[i][1] for i in shared)):>9}"
        ]
        result["math_verify"] = theirs
    print(" | ".join(cells), flush=True)
    return result


def totals(title, rows, results, key):
    rights = [key(result) for result in results]
    median, p95, longest = quantiles([seconds for _, seconds in results])
    accepts, rejects = errors(rows, rights)
    wrong = sum(not row.right for row in rows)
    print(f"{title:12} {len(rows):6} rows: {accepts:4} false accepts of {wrong}, "
          f"{rejects:4} false rejects of {len(rows) - wrong}; "
          f"time per verdict: median {time_text(median)}, p95 {time_text(p95)}, max {time_text(longest)}")
    return {
        "rows": len(rows),
        "false_accepts": accepts,
        "false_rejects": rejects,
        "median": median,
        "p95": p95,
        "max": longest
    }


def report(rows, ours, peer):
    print(f"{'':22} |  rows | Cohort FA FR, median  | math-verify FA FR, median")
    by_class = collections.defaultdict(list)
    for i, row in enumerate(rows):
        by_class[row.kind].append(i)
    pick = lambda indices: ([rows[i] for i in indices], [ours[i]
                                                         for i in indices], [peer[i] for i in indices])
    result = {"classes": [table_line(name, *pick(indices)) for name, indices in by_class.items()]}
    cohort_right = lambda r: r[0] == "correct"
    result["all"] = totals("Cohort, all", rows, ours, cohort_right)
    of_math = [i for i, row in enumerate(rows) if row.verifier == "rule_math"]
    if of_math:
        result["rule_math"] = totals("of rule_math", *pick(of_math)[:2], cohort_right)
    shared = [i for i in range(len(rows)) if peer[i] is not None]
    if shared:
        common, our_results, peer_results = pick(shared)
        result["cohort"] = totals("Cohort", common, our_results, cohort_right)
        result["math_verify"] = totals("math-verify", common, peer_results, lambda r: r[0])
    unlike = sum(row.expected not in ("correct", "wrong", verdict) for row, (verdict, _) in zip(rows, ours))
    print(f"{unlike} rows that are to be unparsable or unscorable have another verdict of Cohort's")
    return result


def print_errors(rows, ours, count):
    shown = collections.Counter()
    for row, (verdict, _) in zip(rows, ours):
        if (verdict == "correct") != row.right and shown[row.kind] < count:
            shown[row.kind] += 1
            print(f"{row.kind}: expected {row.expected}, got {verdict}: {row.answer!r} <- {row.completion!r} "
                  f"{row.columns or ''}")


def write_cases(path, rows):
    with path.open("w") as out:
        for i, row in enumerate(rows):
            case = {
                "id": f"{row.kind}-{i}",
                "verifier": row.verifier,
                "completion": row.completion,
                "expected": row.expected,
                "class": row.kind,
                "why": "by construction"
            }
            case |= {"columns": dict(row.columns)} if row.columns else {}
            case |= {"options": dict(row.options)} if row.options else {}
            case |= {"answer": row.answer} if row.answer is not None else {}
            case |= {
                "or": "unparsable"
            } if row.expected == "wrong" else {
                "or": "wrong"
            } if row.expected == "unparsable" else {}
            out.write(json.dumps(case, ensure_ascii=False) + "\n")


def main():
    args = parse()
    rows = list(framework.generate(args.seed, args.per_class, args.classes))
    print(
        f"{len(rows)} rows in {len({row.kind for row in rows})} classes, seed {args.seed}, "
        f"{sum(row.right for row in rows)} right",
        flush=True)
    if args.rows:
        write_cases(args.rows, rows)
    ours = run_cohort(args, rows)
    peer = [None] * len(rows) if args.no_peer else run_peer(rows)
    result = report(rows, ours, peer)
    print_errors(rows, ours, args.errors)
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
