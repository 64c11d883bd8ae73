#!/usr/bin/env python3
"""What is said beside the results: warnings that help, notes, what a slip of the pen meant.

    python messages.py CLEAVE MODELS
"""
import os
import re
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
from refusals import model, value  # noqa: E402

CLEAVE, MODELS = sys.argv[1:]
failed = 0


def expect(command, out="", err="", status=0):
    """The status, and patterns that the whole of the two streams has to match."""
    global failed
    done = subprocess.run([CLEAVE, *command], capture_output=True, text=True, timeout=120)
    if done.returncode != status or not re.search(out, done.stdout, re.S) or not re.fullmatch(err, done.stderr):
        failed += 1
        print(" ".join(command), f"ends with {done.returncode}, says\n{done.stdout}{done.stderr}")


def axes(bert):
    """A name without a meaning cuts nothing, and an axis that could says what would help."""
    slip = r'cleave: warning: axis "pt" of size 4 cuts nothing: .* tp, ep, dp, sp, cp and pp do; did you mean "tp"\?\n'
    expect(["explain", bert, "--mesh", "pt=4"], r"cut\n  nothing\n.*0-3: .*collectives\n  none\n", slip)
    expect(["check", bert, "--mesh", "pt=4"], "equal\n$", slip)
    expect(["check", bert, "--mesh", "pt=4", "--strict"], "^$", slip.replace("warning: ", ""), status=2)
    idle = (r'cleave: warning: axis "dp" of size 2 cuts nothing: .* by the times of an H100; give larger sizes '
            r'with --dim: "batch_size" is 1, "sequence_length" is 16\n')
    expect(["run", bert, "--mesh", "dp=2"], "", idle)
    large = ["--dim", "batch_size=4096", "--dim", "sequence_length=64"]
    expect(["explain", bert, "--mesh", "dp=2", *large], r"\n +1 x batch_size +4096 over dp ")


def one_rank(bert):
    for mesh in ([], ["--mesh", "1"]):
        expect(["explain", bert, *mesh], r"^mesh 1: one rank, so nothing is cut\nsizes batch_size=1 sequence_length=16\n"
               r"\nranks\n +0: weights +\d.*B\n$")
    expect(["explain", bert, "--json"], r'"mesh": \{\}.*"dims": \{\s*"batch_size": 1,\s*'
           r'"sequence_length": 16\s*\}.*"ranks": \[\s*\{\s*"stage": 0,\s*"weights": [1-9].*"collectives": \[\]')


def empty(bert):
    """An empty batch runs where the model takes it, and is named where it does not."""
    llama = os.path.join(MODELS, "llama_mobius.onnx")
    expect(["check", llama, "--mesh", "tp=2", "--dim", "batch=0"], "equal\n$")
    expect(["run", llama, "--dim", "batch=0"], r"logits: f32 \[0, ")
    expect(["run", bert, "--dim", "batch_size=0"], "^$", r'cleave: .*; "batch_size" is 0, which .*--dim\n', status=2)


def page(bert, folder):
    path = os.path.join(folder, "page.html")
    expect(["explain", bert, "--mesh", "tp=2", "--html", path], "^mesh tp=2\n.*in these lines\n",
           f"cleave: wrote {re.escape(path)}\n")


def positions(bert):
    expect(["run", bert, "--dim", "sequence_length=65"], "^$",
           r'cleave: .*: "/embeddings/Add_1" .*; sequence_length = 65 and 64 have to be equal, or the first at most 64 '
           r"if that is the length of a table of positions; give other sizes with --dim\n", status=2)


def helps(bert):
    """What an option is that nobody gives."""
    shown = {"run": "seed micro-batches virtual-stages", "bench": "iters warmup", "compile": "weights"}
    for command, flags in shown.items():
        for flag in flags.split():
            expect([command, "--help"], rf"--{flag} [^\n]*=\w+\s")


def faults(bert):
    """A fault is for the run that is cut."""
    os.environ["CLEAVE_FAULT"] = "rank=1,command=0,kind=kill"
    expect(["check", bert, "--mesh", "tp=2"], "^$", r"cleave: rank 1, command 0, .*killed by CLEAVE_FAULT\n", status=1)
    del os.environ["CLEAVE_FAULT"]


def silent(bert, folder):
    """What cannot be said changes no status, and goes into no file."""
    global failed
    out = os.path.join(folder, "y.npz")
    for rest, status in ((["--dim", "none=1"], 2), (["--outputs", out, "--trace", os.path.join(folder, "t.json")], 0)):
        for end in ("2>/dev/full", "2>&-"):
            done = subprocess.run(["sh", "-c", f'"$@" {end}', "sh", CLEAVE, "run", bert, *rest], stdout=subprocess.PIPE)
            if done.returncode != status:
                failed += 1
                print(rest, end, f"ends with {done.returncode}")
    np.load(out)


def decode(folder):
    """A model that reads its sixth token does not take the one of a decode step."""
    nodes = [helper.make_node("Concat", ["past", "x"], ["all"], axis=1),
             helper.make_node("Gather", ["x", "five"], ["sixth"], name="sixth", axis=1),
             helper.make_node("Add", ["all", "sixth"], ["next"]),
             helper.make_node("MatMul", ["next", "w"], ["h"]), helper.make_node("Tanh", ["h"], ["t"]),
             helper.make_node("MatMul", ["t", "v"], ["y"])]
    tensors = [*(numpy_helper.from_array(np.eye(64, dtype=np.float32), name) for name in "wv"),
               helper.make_tensor("five", TensorProto.INT64, [1], [5])]
    built = model(nodes, [value("x", ["batch", "seq", 64]), value("past", ["batch", "past_len", 64])],
                  [value("y", None)], tensors)
    path = os.path.join(folder, "short.onnx")
    onnx.save(built, path)
    expect(["check", path, "--mesh", "tp=2"], "equal\n$",
           r"cleave: note: the weights are cut for the sizes of this run and not for a decode step, which the model "
           r'does not take at batch=1, past_len=1024, seq=1: "sixth" .*-1 to 0, got: 5\n')


def chain(folder, name, *nodes, weights=()):
    """y = nodes of x, f32 [batch, 64]."""
    ends = ["x", *(f"t{i}" for i in range(len(nodes) - 1)), "y"]
    made = [helper.make_node(op, [ends[i], *extra], [ends[i + 1]], name=label, **attributes)
            for i, (op, label, extra, attributes) in enumerate(nodes)]
    tensors = [numpy_helper.from_array(np.eye(64, dtype=np.float32), name) for name in weights]
    path = os.path.join(folder, name + ".onnx")
    onnx.save(model(made, [value("x", ["batch", 64])], [value("y", None)], tensors), path)
    return path


def stages(folder):
    """Who mixes rows, of stages that idle how many, why, and once; what micro-batches are for."""
    mixing = chain(folder, "mixing", ("MatMul", "before", ["w"], {}), ("Softmax", "mix", [], {"axis": 0}),
                   ("MatMul", "after", ["v"], {}), weights="wv")
    parts = ["--dim", "batch=4", "--micro-batches", "2"]
    expect(["check", mixing, "--mesh", "pp=2", *parts], "^$", 'cleave: "mix" micro-batches would have .*\n', status=2)
    plain = chain(folder, "plain", ("MatMul", "before", ["w"], {}), ("Tanh", "bend", [], {}),
                  ("MatMul", "after", ["v"], {}), weights="wv")
    few = (r"cleave: warning: \d+ of 64 stages have nothing to compute: 3 of the model's ops cost more [^\n]*, too few for "
           r"64 chunks; [^\n]*\n")
    expect(["check", plain, "--mesh", "pp=64"], "equal\n$", few)
    bends = [("Tanh", f"bend{i}", [], {}) for i in range(4)]
    one = chain(folder, "one", ("MatMul", "wide", ["w"], {}), *bends, weights="w")
    slow = r"cleave: warning: .* nothing to compute: more cuts would not make the slowest stage faster[^\n]*\n"
    expect(["check", one, "--mesh", "pp=4", "--dim", "batch=1"], "equal\n$", slow)
    alone = r'cleave: warning: micro-batches follow each other through the stages of an axis "pp", and [^\n]*\n'
    expect(["check", plain, "--mesh", "1", *parts], "equal\n$", alone)
    expect(["check", plain, "--mesh", "1", *parts, "--strict"], "^$", alone.replace("warning: ", ""), status=2)


def main():
    bert = os.path.join(MODELS, "bert_optimum.onnx")
    expect(["--version"], r"^cleave \d+\.\d+\.\d+ \(LLVM 22\.\d+\.\d+\)\n$")
    axes(bert)
    one_rank(bert)
    empty(bert)
    with tempfile.TemporaryDirectory() as folder:
        page(bert, folder)
        stages(folder)
        positions(bert)
        helps(bert)
        faults(bert)
        silent(bert, folder)
        decode(folder)
    sys.exit(failed != 0)


main()
