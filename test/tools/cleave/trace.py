#!/usr/bin/env python3
"""`--trace` writes what ran: every command of every rank, one after the other.

    python trace.py CLEAVE MODELS
"""
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter

CLEAVE, MODELS = sys.argv[1:]
NANOSECOND = 1e-3
FIELDS = {"ph", "pid", "tid", "ts", "dur", "name", "cat", "args"}


def run(*command):
    return subprocess.run([CLEAVE, *command], capture_output=True, text=True)


def events_of(path, ranks):
    """The events of each rank, checked on the way to be one after the other."""
    with open(path, encoding="utf-8") as file:
        trace = json.load(file)
    assert set(trace) == {"displayTimeUnit", "traceEvents"}, trace.keys()
    names = {e["tid"]: e["args"]["name"] for e in trace["traceEvents"] if e["name"] == "thread_name"}
    assert names == {rank: f"rank {rank}" for rank in range(ranks)}, names
    events = [e for e in trace["traceEvents"] if e["ph"] == "X"]
    assert all(set(e) == FIELDS and e["pid"] == 0 and e["dur"] >= 0 for e in events)
    assert min(e["ts"] for e in events) == 0
    threads = [[e for e in events if e["tid"] == rank] for rank in range(ranks)]
    for thread in threads:
        for before, after in zip(thread, thread[1:]):
            # Both are sums of whole nanoseconds, rounded to doubles.
            assert before["ts"] + before["dur"] <= after["ts"] + NANOSECOND / 2, (before, after)
    return threads


def check_run(name, mesh, ranks, folder):
    path = os.path.join(folder, "trace.json")
    done = run("run", os.path.join(MODELS, name + ".onnx"), "--mesh", mesh, "--json", "--trace", path)
    assert done.returncode == 0 and done.stderr == f"cleave: wrote {path}\n", done
    counted = json.loads(done.stdout)["ranks"]
    threads = events_of(path, ranks)
    for rank, thread in zip(counted, threads, strict=True):
        calls = Counter(e["cat"] for e in thread)
        assert calls == rank["calls"], (name, mesh, calls, rank["calls"])
        sent = Counter()
        for e in thread:
            if e["cat"] == "launch":
                assert set(e["args"]) == {"bytes", "kernel"}, e
            else:
                assert sorted(e["args"]["ranks"]) == e["args"]["ranks"] and e["tid"] in e["args"]["ranks"], e
                sent[e["cat"]] += e["args"]["bytes"]
        assert sent == rank["sent"], (name, mesh, sent, rank["sent"])
    # Nobody leaves a sum before all have come to it.
    sums = [[e for e in thread if e["cat"] == "all_reduce"] for thread in threads]
    assert all(sums), name
    for meeting in zip(*sums, strict=True):
        came, left = max(e["ts"] for e in meeting), min(e["ts"] + e["dur"] for e in meeting)
        assert came <= left + NANOSECOND / 2, meeting
    assert len({e["name"] for e in meeting}) == 1, meeting


def main():
    with tempfile.TemporaryDirectory() as folder:
        check_run("llama_mobius", "tp=2", 2, folder)
        check_run("gpt2_odd_optimum", "tp=3", 3, folder)
        path = os.path.join(folder, "bench.json")
        model = os.path.join(MODELS, "llama_mobius.onnx")
        done = run("bench", model, "--mesh", "tp=2", "--iters", "2", "--trace", path)
        assert done.returncode == 0, done
        assert len(events_of(path, 2)[0]) == len(events_of(os.path.join(folder, path), 2)[1])
        several = run("bench", model, "--mesh", "1;tp=2", "--trace", path + "2")
        assert several.returncode == 2 and "--trace" in several.stderr, several
        nowhere = run("run", model, "--trace", os.path.join(folder, "nowhere", "t.json"))
        assert nowhere.returncode == 2 and "cannot write" in nowhere.stderr, nowhere
        assert sorted(os.listdir(folder)) == ["bench.json", "trace.json"], os.listdir(folder)


main()
