#!/usr/bin/env python3
"""Holds what `cleave explain` says against what runs, and against what is known.

    python explain.py PROPERTY CLEAVE MODELS

PROPERTY is one of the functions below that take a tree; ends with status 1 and a
line for each violation.
"""
import json
import os
import re
import subprocess
import sys
import tempfile

from pages import Page

KINDS = {"all_reduce", "all_gather", "reduce_scatter", "all_to_all"}


class Tree:
    def __init__(self, cleave, models):
        self.cleave, self.models, self.violations = cleave, models, []

    def path(self, name):
        return os.path.join(self.models, name + ".onnx")

    def json(self, command, name, *options):
        done = subprocess.run([self.cleave, command, self.path(name), "--json", *options],
                              capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{command} {name} {' '.join(options)}: {done.stderr}")
        return json.loads(done.stdout)

    def expect(self, true, *what):
        if not true:
            self.violations.append(" ".join(str(part) for part in what))


def batch(name, size):
    """Exporters differ in what they call it."""
    return "--dim", f"{'batch_size' if name.endswith('_optimum') else 'batch'}={size}"


def is_count(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def schema(tree):
    """One object with these keys and types, whatever the model and the mesh."""
    for name, mesh in (("llama_mobius", "tp=4"), ("gpt2_odd_optimum", "tp=8"),
                       ("bert_optimum", "dp=2,tp=2"), ("t5_decoder_past_optimum", "tp=3")):
        said = tree.json("explain", name, "--mesh", mesh, *batch(name, 2))
        tree.expect(list(said) == ["mesh", "dims", "stages", "cuts", "ranks", "tensors", "collectives"],
                    name, "has the keys", list(said))
        axes = dict(axis.split("=") for axis in mesh.split(","))
        tree.expect(said["mesh"] == {axis: int(size) for axis, size in axes.items()}, name, said["mesh"])
        tree.expect(said["stages"] == 1, name, said["stages"])
        ranks = 1
        for size in axes.values():
            ranks *= int(size)
        tree.expect(len(said["ranks"]) == ranks, name, "has", len(said["ranks"]), "ranks")
        rows = [("ranks", rank, {"stage": is_count, "weights": is_count, "activations": is_count, "caches": is_count,
                                 "sent": lambda sent: set(sent) <= KINDS and
                                 all(map(is_count, sent.values()))}) for rank in said["ranks"]]
        texts = lambda value: isinstance(value, list) and all(isinstance(t, str) and t for t in value)
        text = lambda value: isinstance(value, str)
        rows += [("cuts", cut, {"size": is_count, "axes": texts, "role": text, "count": is_count,
                                "weights": is_count, "values": is_count, "first": text})
                 for cut in said["cuts"]]
        rows += [("tensors", tensor, {"name": text, "shape": lambda shape: all(map(is_count, shape)),
                                      "sharding": text})
                 for tensor in said["tensors"]]
        rows += [("collectives", collective,
                  {"kind": lambda kind: kind in KINDS, "axes": texts, "count": is_count,
                   "bytes": is_count, "bound": is_count, "cause": lambda cause: text(cause) and cause,
                   "reason": lambda reason: text(reason) and reason})
                 for collective in said["collectives"]]
        for key, row, types in rows:
            tree.expect(list(row) == list(types) and all(is_right(row[k]) for k, is_right in types.items()),
                        name, key, row)
        tree.expect(said["cuts"] and said["tensors"] and said["collectives"], name, "says too little")


def counters(tree):
    """What the runtime counts on every rank is what was foretold, call by call."""
    meshes = ("tp=2", "tp=3", "tp=4", "tp=8", "dp=2,tp=2")
    names = ("bert_optimum", "gpt2_optimum", "gpt2_odd_optimum", "llama_mobius", "llama_mobius_odd",
             "llama_mobius_fp16", "llama_torchscript", "mixtral_mobius", "t5_decoder_past_optimum")
    cases = [(name, mesh, batch(name, 2))
             for name in names for mesh in meshes]
    # Sums of many tokens are scattered.
    cases.append(("llama_torchscript", "dp=2,tp=2", ("--dim", "batch=8", "--dim", "seq=512")))
    # Between GPUs sums are gathered.
    cases.append(("llama_mobius_fp16", "tp=4", (*batch("llama_mobius_fp16", 2), "--target", "simt")))
    kinds = set()
    for name, mesh, dims in cases:
        said = tree.json("explain", name, "--mesh", mesh, *dims)
        ran = tree.json("run", name, "--mesh", mesh, *dims)
        calls = {}
        for collective in said["collectives"]:
            calls[collective["kind"]] = calls.get(collective["kind"], 0) + collective["count"]
        kinds |= set(calls)
        for rank, (foretold, counted) in enumerate(zip(said["ranks"], ran["ranks"], strict=True)):
            sent = {kind: sent for kind, sent in foretold["sent"].items() if sent}
            tree.expect(counted["sent"] == sent, name, mesh, "rank", rank, "sent", counted["sent"],
                        "not", sent)
            collectives = {kind: n for kind, n in counted["calls"].items() if kind in KINDS}
            tree.expect(collectives == calls, name, mesh, "rank", rank, "calls", collectives,
                        "not", calls)
        for kind in calls:
            # Each collective gives the most that any rank sends, and parts may be uneven.
            sent = [rank["sent"][kind] for rank in said["ranks"]]
            foretold = sum(c["count"] * c["bytes"] for c in said["collectives"] if c["kind"] == kind)
            is_even = mesh in ("tp=2", "tp=4", "dp=2,tp=2") and "odd" not in name
            tree.expect(set(sent) == {foretold} if is_even else max(sent) <= foretold,
                        name, mesh, kind, sent, foretold)
    tree.expect(kinds == KINDS - {"all_to_all"}, "these kinds ran:", kinds)


def layers(tree):
    """Two sums a layer, of T each, at the bound; the rest gathers what is wanted whole."""
    hidden, tokens = 64, 16
    for name, count in (("gpt2_optimum", 2), ("llama_mobius", 2), ("llama_genai_gqa", 2),
                        ("llama_torchscript", 2), ("bert_optimum", 2)):
        for ranks in (2, 4):
            said = tree.json("explain", name, "--mesh", f"tp={ranks}")
            sums = [c for c in said["collectives"] if c["kind"] == "all_reduce"]
            tree.expect(sum(c["count"] for c in sums) == 2 * count, name, ranks, "sums", sums)
            share = 2 * (ranks - 1) * tokens * hidden * 4 // ranks
            for c in sums:
                tree.expect(c["bytes"] == c["bound"] == share, name, ranks, c)
            for c in said["collectives"]:
                whole = c["kind"] == "all_gather" and "whole" in c["reason"]
                tree.expect(c in sums or whole, name, ranks, "has", c)


def decode(tree):
    """One layout of the weights for all sizes, where searches alone would differ."""
    def cuts(name, mesh, *dims):
        said = tree.json("explain", name, "--mesh", mesh,
                         *[part for dim in dims for part in ("--dim", dim)])
        caches = {t["name"] for t in said["tensors"] if t["name"].startswith("past")}
        return {t["name"]: t["sharding"] for t in said["tensors"] if t["name"] not in caches}

    def alone(name, mesh, tokens, past):
        dims = f"batch=64,sequence_len={tokens},past_sequence_len={past},past_seq_len+seq_len={past + tokens}"
        done = subprocess.run(["cleave-opt", tree.path(name), f"--convert-onnx-to-nn=dims={dims}",
                               f"--shard-search=mesh={mesh}", "--mlir-print-local-scope"],
                              capture_output=True, text=True, check=True)
        return re.search(r"dist\.weights = {(.*)}", done.stdout)[1]

    # As many tokens as the tables of positions have rows.
    for name, tokens in (("llama_mobius", 4096), ("llama_genai_gqa", 128), ("llama_mobius_odd", 4096)):
        for mesh in ("tp=2", "tp=4", "tp=8"):
            tree.expect(alone(name, mesh, 1, 1024) != alone(name, mesh, tokens, 0), name, mesh, "is no test")
            step = cuts(name, mesh, "sequence_len=1", "past_sequence_len=40")
            prefill = cuts(name, mesh, "batch=64", f"sequence_len={tokens}", "past_sequence_len=0")
            tree.expect("over" in str(step), name, mesh, "cuts no weight")
            # Small sizes fold what big ones read of the rope's tables.
            both = step.keys() & prefill.keys()
            tree.expect(len(both) >= 10, name, mesh, both)
            tree.expect(all(step[k] == prefill[k] for k in both), name, mesh, "differs:",
                        {k: (step[k], prefill[k]) for k in both if step[k] != prefill[k]})


def page(tree):
    """One file that fetches nothing and says the same, what costs most first."""
    name, mesh = "llama_mobius_odd", "tp=4"
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "page.html")
        said = tree.json("explain", name, "--mesh", mesh, "--html", path)
        with open(path, encoding="utf-8") as file:
            text = file.read()
        refused = subprocess.run([tree.cleave, "explain", tree.path(name), "--mesh", mesh, "--html",
                                  os.path.join(folder, "nowhere", "page.html")], capture_output=True)
        tree.expect(refused.returncode == 2 and b"cannot write" in refused.stderr, refused.stderr)
        tree.expect(os.listdir(folder) == ["page.html"], os.listdir(folder))
    read = Page()
    read.feed(text)
    tree.expect(not read.fetched and "://" not in text and "@import" not in text, read.fetched)
    tree.expect(read.title == name + ".onnx", read.title)
    rows = {heading: rows[1:] for heading, rows in read.tables.items()}
    tree.expect(len(rows["What is cut"]) == len(said["cuts"]), rows["What is cut"])
    tree.expect(len(rows["Memory of each rank"]) > 1, rows["Memory of each rank"])
    by_bytes = sorted(said["collectives"], key=lambda c: -c["count"] * c["bytes"])
    for collective, row in zip(by_bytes, rows["What travels"], strict=True):
        tree.expect(int(row[0]) == collective["count"] and row[1].strip() == collective["kind"] and
                    collective["cause"] in row[-1] and collective["reason"] in row[-1], row, collective)


def axes(tree):
    """Names of axes mean what they say, or are refused; nothing is dropped in silence."""
    def cleave(command, name, *options):
        done = subprocess.run([tree.cleave, command, tree.path(name), *options],
                              capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    def expect(status, text, *command):
        got, out, err = cleave(*command)
        tree.expect(got == status and text in (err if status else out + err), *command, "gives", got, out, err)

    # Rows of a causal mask on 3 ranks, unevenly.
    rows = ("llama_mobius_decomposed", "--mesh", "sp=3", "--dim", "batch=4", "--dim",
            "sequence_len=1000", "--dim", "past_sequence_len=0")
    said = tree.json("explain", *rows)
    tree.expect(any(cut["size"] == 1000 and cut["axes"] == ["sp"] for cut in said["cuts"]), said["cuts"])
    tree.expect(all(" over " not in t["sharding"] for t in said["tensors"]), "sp cuts weights")
    expect(0, "equal\n", "check", *rows)
    expect(0, "equal\n", "check", "mixtral_mobius", "--mesh", "dp=2,ep=2", "--dim", "batch=3")
    expect(0, "equal\n", "check", "bert_optimum", "--mesh", "dp=2,tp=2", "--dim", "batch_size=5")

    idle = ("bert_optimum", "--mesh", "tp=2,dp=2")
    reason = 'axis "dp" of size 2 cuts nothing: it never cuts weights'
    expect(0, reason, "explain", *idle)
    for command in ("run", "check", "explain", "bench"):
        expect(2, reason, command, *idle, "--strict")
    expect(0, "mesh tp=2 pp=1", "explain", "bert_optimum", "--mesh", "tp=2,pp=1")


def stages(tree):
    """The schedule has each chunk of each micro-batch once, in an order that can be kept,
    and what explain says is sent is what the runtime counts."""
    rows = ("bert_optimum", "--mesh", "pp=2,tp=2", "--micro-batches", "3", "--dim", "batch_size=5")
    said = tree.json("explain", *rows)
    blocks = said["schedule"]
    tree.expect(said["stages"] == 2 and 0 < said["bubble"] < 1, said["stages"], said["bubble"])
    tree.expect(sorted((b["chunk"], b["micro_batch"]) for b in blocks) ==
                [(chunk, micro) for chunk in (0, 1) for micro in (0, 1, 2)], blocks)
    ended = {(b["chunk"], b["micro_batch"]): b["end_ns"] for b in blocks}
    for before, after in zip(blocks, blocks[1:]):
        tree.expect(before["stage"] != after["stage"] or before["end_ns"] <= after["begin_ns"],
                    before, after)
    for block in blocks:
        tree.expect(block["chunk"] == 0 or
                    block["begin_ns"] >= ended[block["chunk"] - 1, block["micro_batch"]], block)
    tree.expect([rank["stage"] for rank in said["ranks"]] == [0, 0, 1, 1], said["ranks"])
    sends = [c for c in said["collectives"] if c["kind"] == "send"]
    tree.expect(sends and all(c["axes"] == ["pp"] and c["bytes"] == c["bound"] for c in sends), sends)
    counted = tree.json("run", *rows)
    for foretold, real in zip(said["ranks"], counted["ranks"]):
        tree.expect(foretold["sent"] == real["sent"], foretold, real)


PROPERTIES = {function.__name__: function
              for function in (schema, counters, layers, decode, page, axes, stages)}


def main():
    tree = Tree(*sys.argv[2:4])
    PROPERTIES[sys.argv[1]](tree)
    print(*tree.violations, sep="\n")
    sys.exit(bool(tree.violations))


main()
