#!/usr/bin/env python3
"""`cleave bench` over meshes and sizes: what it prints, and how it ends.

    python bench.py CLEAVE MODELS
"""
import json
import os
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "e2e"))
from pages import Page  # noqa: E402

CLEAVE, MODELS = sys.argv[1:]
MODEL = os.path.join(MODELS, "llama_mobius.onnx")
CONTRACT = ["latency_ms", "load_ms", "compile_ms", "peak_rss_mb"]
SHARES = ("kernels", "collectives", "transfers", "idle")


def bench(*options, status=0, iters=3):
    done = subprocess.run([CLEAVE, "bench", MODEL, "--iters", str(iters), *options],
                          capture_output=True, text=True)
    assert done.returncode == status, done
    return done


def ranks_of(mesh):
    return json.loads(subprocess.run([CLEAVE, "run", MODEL, "--mesh", mesh, "--json"],
                                     capture_output=True, text=True, check=True).stdout)["ranks"]


def contract():
    """One configuration: the line that engines are compared by, and nothing in it but that."""
    done = bench("--mesh", "tp=2", "--json", "--dim", "batch=2")
    line, = done.stdout.splitlines()
    said = json.loads(line)
    assert list(said) == CONTRACT and len(said["latency_ms"]) == 3, said
    assert all(value > 0 for value in [*said["latency_ms"], *list(said.values())[1:]]), said
    assert done.stderr == "", done
    with tempfile.TemporaryDirectory() as folder:
        trace = os.path.join(folder, "trace.json")
        timed = json.loads(bench("--mesh", "tp=2", "--json", "--trace", trace).stdout)
        with open(trace, encoding="utf-8") as file:
            spans = [(e["tid"], e["dur"]) for e in json.load(file)["traceEvents"] if e["ph"] == "X"]
    assert list(timed) == CONTRACT + ["commands_ms"] and len(timed["commands_ms"]) == 3, timed
    # The trace is of the last run, in microseconds.
    busiest = max(sum(length for rank, length in spans if rank == own) for own in (0, 1)) / 1000
    assert abs(timed["commands_ms"][-1] - busiest) < 1e-3, (timed, busiest)


def lines():
    """Several: a line each, in the order of the meshes, then of the sizes."""
    done = bench("--mesh", "1;tp=2", "--dim", "batch=1,4", "--dim", "sequence_len=8", "--json")
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(s["mesh"], s["dims"]) for s in said] == [
        (mesh, {"batch": batch, "sequence_len": 8}) for mesh in ("1", "tp=2") for batch in (1, 4)], said
    for s in said:
        assert list(s)[2:7] == CONTRACT + ["commands_ms"], s
        assert all(0 < busy <= run for busy, run in zip(s["commands_ms"], s["latency_ms"], strict=True)), s
        assert abs(s["median_ms"] - statistics.median(s["latency_ms"])) < 1e-4, s
        assert abs(s["p95_ms"] - max(s["latency_ms"])) < 1e-4, s
        assert abs(s["rows_per_s"] * s["median_ms"] / 1000 - s["dims"]["batch"]) < 1e-9, s
        assert len(s["ranks"]) == (1 if s["mesh"] == "1" else 2), s
        for rank in s["ranks"]:
            assert all(0 <= rank[share] for share in SHARES), rank
            # Shares of one whole; each of the sums is rounded.
            assert abs(sum(rank[share] for share in SHARES) - 1) < 1e-9, rank
            assert (rank["collectives"] > 0) == (s["mesh"] != "1") and rank["transfers"] == 0, rank
    # A rank of two holds what the same rank of a run does.
    held = bench("--mesh", "tp=2;tp=3", "--json").stdout.splitlines()
    for line, mesh in zip(held, ("tp=2", "tp=3"), strict=True):
        got = [(r["parameters"], r["activations"]) for r in json.loads(line)["ranks"]]
        assert got == [(r["parameters"], r["activations"]) for r in ranks_of(mesh)], (mesh, got)


def table():
    done = bench("--mesh", "1;tp=2", "--dim", "batch=1,2")
    head, *rows = done.stdout.splitlines()
    assert head.split()[0] == "configuration" and "collectives" in head and "bubbles" in head, head
    assert [row[:14].strip() for row in rows] == ["1 batch=1", "1 batch=2", "tp=2 batch=1", "tp=2 batch=2"], rows
    one, = bench().stdout.splitlines()[1:]
    assert one.startswith("1 "), one


def failures():
    """What cannot be met has a row that says why; the rest is measured, and the status tells."""
    reason = "4096"
    done = bench("--mesh", "tp=0;1;tp=5000", "--json", status=2)
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert [s["mesh"] for s in said] == ["tp=0", "1", "tp=5000"], said
    assert list(said[0]) == list(said[2]) == ["mesh", "dims", "error"] and reason in said[0]["error"], said
    assert said[1]["ranks"] and "error" not in said[1], said
    assert done.stderr == "cleave: 2 of 3 configurations did not run; their rows say why\n", done
    row = bench("--mesh", "1;tp=0", status=2).stdout.splitlines()[2]
    assert row.startswith("tp=0 ") and reason in row, row
    none = bench("--mesh", "tp=0;tp=5000", status=2)
    assert none.stdout == "" and none.stderr.count("\n") == 1 and reason in none.stderr, none


def refusals():
    for options, words in ((["--mesh", "1;"], ("--mesh", "empty")), (["--mesh", ";tp=2"], ("--mesh", "empty")),
                           (["--dim", "batch=1,,2"], ("--dim", "batch=1,,2")),
                           (["--dim", "batch=1,x"], ("--dim", "batch=1,x")),
                           (["--dim", "batch=1,2", "--output", "y.npy"], ("--output", "y.npy")),
                           (["--dim", "batch=1,2", "--dim", "batch=3"], ("--dim", "batch", "twice")),
                           (["--dim", "batches=1,2"], ("--dim", "batches"))):
        done = bench(*options, status=2)
        assert done.stdout == "" and done.stderr.count("\n") == 1, done
        assert all(word in done.stderr for word in words), (words, done)


def page():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "bench.html")
        done = bench("--mesh", "1;tp=3;tp=0", "--dim", "batch=1,2", "--html", path, status=2)
        with open(path, encoding="utf-8") as file:
            text = file.read()
        assert f"wrote {path}" in done.stderr and os.listdir(folder) == ["bench.html"]
        bench("--html", os.path.join(folder, "nowhere", "bench.html"), status=2)
    read = Page()
    read.feed(text)
    assert not read.fetched and "://" not in text and "@import" not in text, read.fetched
    assert read.title == "llama_mobius.onnx", read.title
    latency, shares, memory = (read.tables[heading][1:] for heading in
                               ("Latency", "Where the time goes", "Memory of each rank"))
    assert [row[0].strip() for row in latency] == [
        f"{mesh} batch={batch}" for mesh in ("1", "tp=3", "tp=0") for batch in (1, 2)], latency
    assert len(latency[0]) == 7 and len(latency[-1]) == 2 and "4096" in latency[-1][1], latency
    # Four configurations ran, three times; of them two with one rank and two with three.
    assert text.count("<circle ") == 4 * 3 and len(shares) == len(memory) == 2 * (1 + 3), read.tables


for part in (contract, lines, table, failures, refusals, page):
    part()
