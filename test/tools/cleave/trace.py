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
LOCAL = ("launch", "copy", "fill")
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


def check_run(name, mesh, ranks, folder, *options):
    """What each rank ran and sent is what the runtime counted; answers the events of each."""
    path = os.path.join(folder, "trace.json")
    done = run("run", os.path.join(MODELS, name + ".onnx"), "--mesh", mesh, "--json", "--trace", path, *options)
    assert done.returncode == 0 and done.stderr == f"cleave: wrote {path}\n", done
    counted = json.loads(done.stdout)["ranks"]
    threads = events_of(path, ranks)
    for rank, thread in zip(counted, threads, strict=True):
        calls = Counter(e["cat"] for e in thread)
        assert calls == rank["calls"], (name, mesh, calls, rank["calls"])
        sent = Counter()
        for e in thread:
            if e["cat"] in LOCAL:
                assert set(e["args"]) == {"bytes", *(["kernel"] if e["cat"] == "launch" else [])}, e
                continue
            assert sorted(e["args"]["ranks"]) == e["args"]["ranks"] and e["tid"] in e["args"]["ranks"], e
            # A receive says what comes, and counts nothing as sent.
            sent[e["cat"]] += e["args"]["bytes"] if e["cat"] != "recv" else 0
        assert +sent == rank["sent"], (name, mesh, sent, rank["sent"])
    return threads


def check_sums(name, threads):
    """Nobody leaves a sum before all have come to it."""
    sums = [[e for e in thread if e["cat"] == "all_reduce"] for thread in threads]
    assert all(sums), name
    for meeting in zip(*sums, strict=True):
        came, left = max(e["ts"] for e in meeting), min(e["ts"] + e["dur"] for e in meeting)
        assert came <= left + NANOSECOND / 2, meeting
    assert len({e["name"] for e in meeting}) == 1, meeting


def check_arrows(path, threads):
    """Each send has an arrow to the receive that takes as many bytes, and no later than its end."""
    with open(path, encoding="utf-8") as file:
        ends = [e for e in json.load(file)["traceEvents"] if e["ph"] in "sf"]
    arrows = {kind: {e["id"]: e for e in ends if e["ph"] == kind} for kind in "sf"}
    sends = [e for thread in threads for e in thread if e["cat"] == "send"]
    assert sends and arrows["s"].keys() == arrows["f"].keys(), arrows
    assert len(arrows["s"]) == len(arrows["f"]) == len(ends) / 2 == len(sends), (len(ends), len(sends))

    def event(end, kind):
        found, = [e for e in threads[end["tid"]] if e["cat"] == kind and
                  e["ts"] - NANOSECOND / 2 <= end["ts"] <= e["ts"] + e["dur"] + NANOSECOND / 2]
        return found

    for name, begin in arrows["s"].items():
        end = arrows["f"][name]
        send, receive = event(begin, "send"), event(end, "recv")
        assert begin["ts"] <= end["ts"] and begin["tid"] != end["tid"], (begin, end)
        assert send["args"]["bytes"] == receive["args"]["bytes"] and send["name"] == receive["name"], (send, receive)


def main():
    with tempfile.TemporaryDirectory() as folder:
        for name, mesh, ranks in (("llama_mobius", "tp=2", 2), ("gpt2_odd_optimum", "tp=3", 3)):
            check_sums(name, check_run(name, mesh, ranks, folder))
        staged = check_run("llama_mobius", "pp=2,tp=2", 4, folder, "--dim", "batch=4", "--micro-batches", "2")
        check_arrows(os.path.join(folder, "trace.json"), staged)
        path = os.path.join(folder, "bench.json")
        model = os.path.join(MODELS, "llama_mobius.onnx")
        done = run("bench", model, "--mesh", "tp=2", "--iters", "2", "--trace", path)
        assert done.returncode == 0, done
        assert len(events_of(path, 2)[0]) == len(events_of(os.path.join(folder, path), 2)[1])
        several = run("bench", model, "--mesh", "1;tp=2", "--trace", path + "2")
        assert several.returncode == 2 and "--trace" in several.stderr, several
        # What can be written waits for what cannot.
        for here, nowhere in (("--outputs", "--trace"), ("--trace", "--outputs")):
            refused = run("run", model, here, os.path.join(folder, "here"), nowhere,
                          os.path.join(folder, "nowhere", "t"))
            assert refused.returncode == 2 and "cannot write" in refused.stderr, refused
        assert sorted(os.listdir(folder)) == ["bench.json", "trace.json"], os.listdir(folder)


main()
