#!/usr/bin/env python3
"""Times a model with Cleave and with ONNX Runtime, block by block in turn.

    python peer.py CLEAVE MODEL.onnx [--dim name=size]... [--inputs CASE.npz] [--rounds N] [--target cuda]

One rank against one thread, and two ranks against two threads; with a target for GPUs one rank on a GPU
against ONNX Runtime on it. Each round times a
block of both, in alternating order, so that what else the machine does meets both;
a ratio is the median over the rounds, above 1 where Cleave is faster. Sizes that
are not given are those that Cleave guesses. Without inputs they are drawn: floats as
normal numbers, integers as 0 or 1, which suits ids, masks and kinds of tokens.
"""
import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time

import numpy as np
import onnxruntime as ort

TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16,
         "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(bool)": np.bool_, "tensor(uint8)": np.uint8}


def session(path, threads, provider="CPUExecutionProvider"):
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Its threads would else spin while the other is measured.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return ort.InferenceSession(path, options, providers=[provider])


def sizes_of(cleave, model):
    said = subprocess.run([cleave, "inspect", model, "--json"], check=True, stdout=subprocess.PIPE)
    return json.loads(said.stdout)["dims"]


def drawn(model, dims):
    random = np.random.default_rng(0)
    inputs = {}
    for value in model.get_inputs():
        shape = [size if isinstance(size, int) else dims[size] for size in value.shape]
        dtype = TYPES[value.type]
        if np.issubdtype(dtype, np.floating):
            inputs[value.name] = random.standard_normal(shape).astype(dtype)
        else:
            inputs[value.name] = random.integers(0, 2, shape).astype(dtype)
    return inputs


def of_case(path):
    case = np.load(path)
    return {key[3:]: case[key] for key in case.files if key.startswith("in:")}


class OnnxRuntime:
    def __init__(self, path, threads, inputs, on_gpu):
        provider = "CUDAExecutionProvider" if on_gpu else "CPUExecutionProvider"
        self.session, self.inputs = session(path, threads, provider), inputs
        self.block(2)

    def block(self, iters):
        times = []
        for _ in range(iters):
            start = time.perf_counter()
            self.first = self.session.run(None, self.inputs)[0]
            times.append((time.perf_counter() - start) * 1e3)
        return statistics.median(times)


class Cleave:
    def __init__(self, program, path, ranks, inputs, work, target):
        np.savez(os.path.join(work, "in.npz"), **inputs)
        self.output = os.path.join(work, "out.npy")
        self.command = [program, "bench", path, "--mesh", f"tp={ranks}" if ranks > 1 else "1",
                        "--target", target, "--threads", str(ranks), "--inputs", os.path.join(work, "in.npz"),
                        "--output", self.output, "--json"]

    def block(self, iters):
        done = subprocess.run(self.command + ["--iters", str(iters)], capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(done.stderr.strip())
        self.result = json.loads(done.stdout.strip().splitlines()[-1])
        return statistics.median(self.result["latency_ms"])


def compare(options, cores, inputs, work):
    on_gpu = options.target != "cpu"
    ours = Cleave(options.cleave, options.model, cores, inputs, work, options.target)
    theirs = OnnxRuntime(options.model, cores, inputs, on_gpu)
    # A block lasts about half a second, whatever the model.
    iters = max(3, min(500, int(500 / max(theirs.block(3), 1e-3))))
    pairs = []
    for turn in range(options.rounds):
        sides = [ours, theirs] if turn % 2 == 0 else [theirs, ours]
        times = {side: side.block(iters) for side in sides}
        pairs.append((times[ours], times[theirs]))
    ratios = sorted(b / a for a, b in pairs)
    difference = np.abs(np.load(ours.output) - theirs.first.astype(np.float32)).max()
    names = (f"{cores} ranks", f"{cores} threads")
    if cores == 1:
        names = ("1 rank ", "1 GPU " if on_gpu else "1 thread ")
    print(f"{names[0]} {statistics.median(a for a, _ in pairs):8.3f} ms | ONNX Runtime, {names[1]} "
          f"{statistics.median(b for _, b in pairs):8.3f} ms | {statistics.median(ratios):.2f} times as fast "
          f"({ratios[0]:.2f} to {ratios[-1]:.2f}) | largest difference {difference:.2g}", flush=True)
    return ours.result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("cleave")
    parser.add_argument("model")
    parser.add_argument("--dim", action="append", default=[], metavar="NAME=SIZE")
    parser.add_argument("--inputs", metavar="CASE.npz")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--target", default="cpu")
    options = parser.parse_args()
    dims = sizes_of(options.cleave, options.model)
    dims |= {name: int(size) for name, size in (text.rsplit("=", 1) for text in options.dim)}
    inputs = of_case(options.inputs) if options.inputs else drawn(session(options.model, 1), dims)
    print(f"{options.model}, {options.rounds} rounds in turn")
    with tempfile.TemporaryDirectory() as work:
        for cores in (1, 2) if options.target == "cpu" else (1,):
            result = compare(options, cores, inputs, work)
    print(f"load {result['load_ms']:.0f} ms, compile {result['compile_ms']:.0f} ms, "
          f"peak memory {result['peak_rss_mb']:.0f} MB")


main()
