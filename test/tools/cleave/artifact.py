#!/usr/bin/env python3
"""What `cleave compile` writes: it runs elsewhere, says what it holds, and is whole or not there.

    python artifact.py CLEAVE CLEAVE_RUN MODELS
"""
import json
import os
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

import numpy as np
from onnx import helper, numpy_helper

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
from folders import case, contents  # noqa: E402
from refusals import Refusals, gather, model as graph, value  # noqa: E402

CLEAVE, CLEAVE_RUN, MODELS = sys.argv[1:]
LLAMA = os.path.join(MODELS, "llama_mobius.onnx")


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


def equal(a, b):
    a, b = np.load(a), np.load(b)
    return sorted(a.files) == sorted(b.files) and all(np.array_equal(a[k], b[k]) for k in b.files)


def tensors(data):
    """The tensors of a safetensors file by name; they fill it without a hole."""
    length, = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    assert header.pop("__metadata__") and (8 + length) % 4096 == 0
    end = 0
    width = {"F32": 4, "I64": 8, "U8": 1}
    for entry in sorted(header.values(), key=lambda entry: entry["data_offsets"]):
        begin, stop = entry["data_offsets"]
        assert begin == end and stop - begin == int(np.prod(entry["shape"])) * width[entry["dtype"]], entry
        end = stop
    assert 8 + length + end == len(data)
    return header


def runs_anywhere(folder):
    """The same bytes twice; moved, and with the model gone, the same outputs as from the model."""
    model, inputs = os.path.join(folder, "model.onnx"), case(MODELS, folder)
    shutil.copy(LLAMA, model)
    first, second, moved = (os.path.join(folder, name) for name in ("a.cleave", "b.cleave", "elsewhere/c"))
    for artifact in (first, second):
        run(CLEAVE, "compile", model, "--mesh", "dp=2,tp=2", "--inputs", inputs, "-o", artifact)
    assert contents(first) == contents(second), "the same model gives other bytes"
    for name, data in contents(first).items():
        assert folder.encode() not in data, f"{name} says where it was made"
    run(CLEAVE, "run", model, "--mesh", "dp=2,tp=2", "--inputs", inputs, "--outputs", os.path.join(folder, "want.npz"))
    os.remove(model)
    os.mkdir(os.path.join(folder, "elsewhere"))
    os.rename(first, moved)
    for command in ([CLEAVE_RUN, moved], [CLEAVE_RUN, moved, "--verify", "--threads", "1", "--repeat", "3"],
                    [CLEAVE, "run", moved]):
        out = os.path.join(folder, "got.npz")
        run(*command, "--inputs", inputs, "--outputs", out)
        assert equal(out, os.path.join(folder, "want.npz")), command
    assert run(CLEAVE_RUN, moved, "--inputs", inputs) == run(CLEAVE, "run", moved, "--inputs", inputs)


def says_which_sizes_nobody_gave(folder):
    """Those that it has: a guess may have been corrected, here that of a mask over two parts."""
    path, artifact = os.path.join(folder, "parts.onnx"), os.path.join(folder, "parts.cleave")
    nodes = [helper.make_node("Concat", ["a", "b"], ["c"], axis=0), helper.make_node("Add", ["c", "mask"], ["y"])]
    inputs = [value(name, [dim]) for name, dim in (("a", "P"), ("b", "S"), ("mask", "M"))]
    with open(path, "wb") as out:
        out.write(graph(nodes, inputs, [value("y", None)]).SerializeToString())
    assert "for M=32, P=16, S=16, which nobody gave" in run(CLEAVE, "compile", path, "-o", artifact)
    given = [part for size in ("P=3", "S=4", "M=7") for part in ("--dim", size)]
    assert "nobody gave" not in run(CLEAVE, "compile", path, *given, "-o", artifact)


def says_what_it_holds(folder):
    artifact, inputs = os.path.join(folder, "b.cleave"), case(MODELS, folder)
    files = contents(artifact)
    # Ranks that differ in their data alone share their weights.
    assert sorted(files) == ["kernels.so", "manifest.json", "program", "weights-0.safetensors",
                             "weights-1.safetensors", "weights.safetensors"], sorted(files)
    manifest = json.loads(files["manifest.json"])
    assert manifest["mesh"] == "dp=2,tp=2" and manifest["ranks"] == 4 and manifest["weights"] == "shards"
    assert {f["name"]: f["bytes"] for f in manifest["files"]} == {
        name: len(data) for name, data in files.items() if name != "manifest.json"}
    assert [v["name"] for v in manifest["inputs"]] == [k for k in np.load(inputs).files], manifest["inputs"]
    assert "model.norm.weight" in " ".join(
        key for name, data in files.items() if name.endswith(".safetensors") for key in tensors(data))
    report = json.loads(run(CLEAVE_RUN, artifact, "--inputs", inputs, "--json", "--repeat", "2"))
    assert len(report["latency_ms"]) == 2 and len(report["ranks"]) == 4 and report["exchange"] == "threads"
    assert {o["name"] for o in report["outputs"]} == {o["name"] for o in manifest["outputs"]}
    assert report["ranks"][0]["parameters"] > 0 and report["ranks"][0]["sent"]["all_reduce"] > 0
    timed = json.loads(run(CLEAVE, "bench", artifact, "--inputs", inputs, "--iters", "2", "--json"))
    assert len(timed["latency_ms"]) == 2 and timed["compile_ms"] == 0, timed
    assert "dp=2,tp=2" in run(CLEAVE, "bench", artifact, "--inputs", inputs, "--iters", "1")
    trace = os.path.join(folder, "trace.json")
    run(CLEAVE, "run", artifact, "--inputs", inputs, "--trace", trace)
    assert json.load(open(trace))
    text = run(CLEAVE, "inspect", artifact)
    assert "mesh: dp=2,tp=2" in text and "attention_mask" in text and "weights-1.safetensors" in text, text
    assert json.loads(run(CLEAVE, "inspect", artifact, "--json")) == manifest


def weights_stay(folder):
    """With --weights=reference the model's own file is read, wherever both are moved together."""
    home = os.path.join(folder, "home")
    os.mkdir(home)
    model, artifact, inputs = os.path.join(home, "model.onnx"), os.path.join(home, "r"), case(MODELS, folder)
    shutil.copy(LLAMA, model)
    run(CLEAVE, "compile", model, "--mesh", "tp=2", "--inputs", inputs, "--weights", "reference", "-o", artifact)
    assert sorted(os.listdir(artifact)) == ["kernels.so", "manifest.json", "program"]
    assert json.loads(contents(artifact)["manifest.json"])["references"] == ["../model.onnx"]
    os.rename(home, home + "2")
    artifact = os.path.join(home + "2", "r")
    run(CLEAVE_RUN, artifact, "--inputs", inputs, "--outputs", os.path.join(folder, "got.npz"))
    run(CLEAVE, "run", LLAMA, "--mesh", "tp=2", "--inputs", inputs, "--outputs", os.path.join(folder, "want.npz"))
    assert equal(os.path.join(folder, "got.npz"), os.path.join(folder, "want.npz"))


def without_kernels(folder):
    """A model that only hands on what it is given."""
    def path(name):
        return os.path.join(folder, name)
    with open(path("same.onnx"), "wb") as file:
        same = graph([helper.make_node("Identity", ["x"], ["y"])], [value("x", [3])], [value("y", [3])])
        file.write(same.SerializeToString())
    np.savez(path("x.npz"), x=np.arange(3, dtype=np.float32))
    run(CLEAVE, "compile", path("same.onnx"), "-o", path("same"))
    run(CLEAVE_RUN, path("same"), "--inputs", path("x.npz"), "--outputs", path("y.npz"))
    assert np.load(path("y.npz"))["y"].tolist() == [0, 1, 2]


def no_compiler_inside():
    program = shutil.which(CLEAVE_RUN)
    needed = run("ldd", program)
    assert not re.search("LLVM|MLIR|lld", needed), needed
    with tempfile.TemporaryDirectory() as folder:
        stripped = os.path.join(folder, "stripped")
        run("strip", "-o", stripped, program)
        assert os.path.getsize(stripped) < 3 << 20, os.path.getsize(stripped)


def large_model(path, megabytes):
    """y = x + sum of the rows of a table turned around: all of it is made while loading."""
    rows = megabytes << 10
    table = numpy_helper.from_array(np.ones((rows, 256), np.float32), "table")
    nodes = [helper.make_node("Transpose", ["table"], ["turned"], perm=[1, 0]),
             helper.make_node("MatMul", ["x", "turned"], ["y"])]
    with open(path, "wb") as out:
        out.write(graph(nodes, [value("x", [1, 256])], [value("y", None)], [table]).SerializeToString())
    return path


def interrupted(t):
    """A signal while the weights are written leaves nothing, and a kill only what the next one removes."""
    model, target = large_model(t.path("large.onnx"), 128), t.path("large")
    command = [CLEAVE, "compile", model, "-o", target]
    before = t.listing()

    kinds = signal.SIGINT, signal.SIGTERM, signal.SIGHUP

    def unignored():
        # Who runs the tests in the background ignores them, and that is inherited.
        for kind in kinds:
            signal.signal(kind, signal.SIG_DFL)

    def started():
        # On a busy machine it may have ended before this looks again.
        for _ in range(20):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                       preexec_fn=unignored)
            while process.poll() is None and t.listing() == before:
                time.sleep(0.002)
            if process.poll() is None:
                return process
            process.communicate()
            shutil.rmtree(target)
        raise AssertionError("it always ended before the signal")

    for kind in kinds:
        process = started()
        process.send_signal(kind)
        process.communicate()
        assert process.returncode == -kind and t.listing() == before, (process.returncode, t.listing())
    process = started()
    process.kill()
    process.communicate()
    assert t.listing() != before and not os.path.exists(target)
    # Two at a time: the name is that of one of them, whole.
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    np.savez(t.path("x.npz"), x=np.ones((1, 256), np.float32))
    run(CLEAVE_RUN, target, "--verify", "--inputs", t.path("x.npz"))
    assert not [name for name in t.listing() if "partial" in name], t.listing()
    shutil.rmtree(target)


def refusals(t):
    model = t.write("gather.onnx", gather().SerializeToString())
    t.expect([CLEAVE, "compile", model], "-o")
    t.expect([CLEAVE, "compile", model, "-o", ""], "-o")
    t.expect([CLEAVE, "compile", model, "-o", t.path("none/a")], "none/a", "No such file")
    t.expect([CLEAVE, "compile", model, "-o", t.path("a"), "--weights", "elsewhere"], "--weights")
    t.write("file", b"mine")
    os.mkdir(t.path("full"))
    t.write("full/manifest.json", b'{"name": "mine"}')
    t.expect([CLEAVE, "compile", model, "-o", t.path("file")], "file", "no folder")
    t.expect([CLEAVE, "compile", model, "-o", t.path("full")], "full", "holds something else")
    os.mkdir(t.path("pipe"))
    os.mkfifo(t.path("pipe/manifest.json"))
    t.expect([CLEAVE, "compile", model, "-o", t.path("pipe")], "pipe", "holds something else")
    # Less room than the weights or the code take.
    for size, rest, word in ((4096, [], "weights.safetensors"), (4096, ["--weights", "reference"], "kernels.so")):
        t.expect([CLEAVE, "compile", LLAMA, "-o", t.path("a"), *rest], "cannot write", t.path("a/"), word,
                 "File too large", limit=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))

    run(CLEAVE, "compile", model, "--mesh", "tp=2", "-o", t.path("a"))
    np.savez(t.path("in.npz"), ids=np.zeros((16, 3), np.int64), scale=np.ones(2, np.float32))
    inputs = ["--inputs", t.path("in.npz")]
    for flag, word in (("--mesh", "tp=4"), ("--dim", "N=2"), ("--target", "cpu"), ("--stop-after", "graph"),
                       ("--micro-batches", "2")):
        t.expect([CLEAVE, "run", t.path("a"), *inputs, flag, word], "is an artifact", flag)
    for command in (["explain"], ["check", "--mesh", "tp=2"]):
        t.expect([CLEAVE, *command, t.path("a")], "is a folder, as an artifact is; give the model")
    t.expect([CLEAVE, "run", t.path("a")], "--inputs", '"ids", "scale"')
    t.expect([CLEAVE_RUN, t.path("a")], "--inputs", '"ids", "scale"')
    t.expect([CLEAVE_RUN], "artifact")
    t.expect([CLEAVE_RUN, t.path("a"), "--wobble"], "--wobble", "cleave-run --help")
    t.expect([CLEAVE_RUN, t.path("none")], "none", "No such file")
    t.expect([CLEAVE_RUN, t.path("a"), *inputs, "--outputs", ""], "--outputs", "an empty one")
    t.expect([CLEAVE_RUN, model], "gather.onnx", "no folder")
    os.mkdir(t.path("empty"))
    for program in ([CLEAVE_RUN], [CLEAVE, "run"], [CLEAVE, "inspect"], [CLEAVE, "bench"]):
        t.expect([*program, t.path("full")], "manifest.json", "not that of an artifact")
        t.expect([*program, t.path("empty")], "no artifact", "cleave compile")
    np.savez(t.path("wrong.npz"), ids=np.zeros((2, 3), np.int64), scale=np.ones(2, np.float32))
    np.savez(t.path("more.npz"), ids=np.zeros((16, 3), np.int64), scale=np.ones(2, np.float32), more=1)
    np.savez(t.path("range.npz"), ids=np.full((16, 3), 9), scale=np.ones(2, np.float32))
    t.expect([CLEAVE_RUN, t.path("a"), "--inputs", t.path("wrong.npz")], '"ids"', "[16, 3], got: [2, 3]")
    t.expect([CLEAVE_RUN, t.path("a"), "--inputs", t.path("more.npz")], 'no input "more"')
    for program in ([CLEAVE_RUN], [CLEAVE, "run"]):
        t.expect([*program, t.path("a"), "--inputs", t.path("range.npz")], '"ids" holds 9', '"embed"', "-4 to 3")
    t.expect([CLEAVE_RUN, t.path("a"), *inputs, "--outputs", t.path("none/y.npz")], "none/y.npz", "No such file")
    with open("/dev/full", "w") as full:
        t.expect([CLEAVE_RUN, t.path("a"), *inputs], "standard output", stdout=full)
    damaged(t, inputs)
    changed_model(t)


def damaged(t, inputs):
    """Files cut off, exchanged or gone; those of another artifact; weights of another model."""
    other = gather()
    other.graph.initializer[0].float_data[3] += 1
    run(CLEAVE, "compile", t.write("other.onnx", other.SerializeToString()), "--mesh", "tp=2", "-o", t.path("b"))
    run(CLEAVE, "compile", t.path("gather.onnx"), "--mesh", "tp=2", "--dim", "N=4", "-o", t.path("c"))
    files = sorted(os.listdir(t.path("a")))

    def refused(spoil, *words):
        shutil.rmtree(t.path("d"), ignore_errors=True)
        shutil.copytree(t.path("a"), t.path("d"))
        spoil()
        for program in ([CLEAVE_RUN, t.path("d"), *inputs], [CLEAVE, "run", t.path("d"), *inputs],
                        [CLEAVE, "inspect", t.path("d")]):
            t.expect(program, t.path("d"), *words)

    for name in files:
        path, size = t.path("d/" + name), os.path.getsize(t.path("a/" + name))
        refused(lambda: os.remove(path))
        for length in (0, size // 2, size - 1):
            refused(lambda: os.truncate(path, length), name)
        refused(lambda: shutil.copy(t.path("b/manifest.json"), t.path("d/manifest.json")))
        if name != "manifest.json":
            refused(lambda: shutil.copy(t.path("d/manifest.json"), path), name)
    for name in ("program", "kernels.so"):
        refused(lambda: shutil.copy(t.path("c/" + name), t.path("d/" + name)), name)
    for name in files:
        if contents(t.path("a"))[name] != contents(t.path("b"))[name] and name.endswith("safetensors"):
            refused(lambda: shutil.copy(t.path("b/" + name), t.path("d/" + name)), name, "other weights")


def changed_model(t):
    model, inputs = t.path("llama.onnx"), ["--inputs", case(MODELS, t.folder)]
    shutil.copy(LLAMA, model)
    run(CLEAVE, "compile", model, "-o", t.path("r"), *inputs, "--weights", "reference")
    run(CLEAVE_RUN, t.path("r"), *inputs)
    data = open(model, "rb").read()
    t.write("llama.onnx", data[:-5000] + bytes([data[-5000] ^ 1]) + data[-4999:])
    t.expect([CLEAVE_RUN, t.path("r"), *inputs], "llama.onnx", "other weights", "compile the model again")
    t.write("llama.onnx", data + b"x")
    t.expect([CLEAVE_RUN, t.path("r"), *inputs], "llama.onnx", "has changed", "compile the model again")
    os.remove(model)
    t.expect([CLEAVE_RUN, t.path("r"), *inputs], "llama.onnx", "No such file")


def main():
    no_compiler_inside()
    with tempfile.TemporaryDirectory() as folder:
        runs_anywhere(folder)
        says_what_it_holds(folder)
        says_which_sizes_nobody_gave(folder)
        weights_stay(folder)
        without_kernels(folder)
    with tempfile.TemporaryDirectory() as folder:
        t = Refusals(folder)
        interrupted(t)
        refusals(t)
        t.end()


main()
