#!/usr/bin/env python3
"""Models without cases: ONNX Runtime says what they give on drawn inputs.

    python foreign.py CLEAVE FOLDER [--mesh MESH]...

Each .onnx of FOLDER stands in the table below: how its inputs are drawn, or the words
that it has to be refused with. Ends with `N passed, N failed`; status 1 if any failed.
"""
import argparse
import glob
import os
import subprocess
import tempfile

import numpy as np
import onnxruntime

from tally import tally

TYPES = {"tensor(float)": np.float32, "tensor(int32)": np.int32, "tensor(int64)": np.int64}

# A list of integers is the range an input is drawn from, by its name.
RUNS = {
    "blazeface_back_256.onnx": {"dims": {}, "ranges": {}},
    "genai_tiny_random_gpt2_past.onnx": {
        "dims": {"batch_size": 2, "seq_len": 3, "past_seq_len": 4, "total_seq_len": 7},
        "ranges": {"input_ids": (0, 1000), "position_ids": (4, 7), "attention_mask": (1, 2)}},
    "optimum_tiny_bert_classifier.onnx": {
        "dims": {"batch": 2, "sequence": 6},
        "ranges": {"input_ids": (0, 1000), "attention_mask": (0, 2)}},
    "ppocrv4_rec.onnx": {
        "dims": {"p2o.DynamicDimension.0": 1, "p2o.DynamicDimension.1": 64}, "ranges": {}},
    # Its output says that it is a scalar, and its batch has no name.
    "trt_residual_block.onnx": {"dims": {None: 2}, "ranges": {}},
}
REFUSED = {
    "mlsd_320x320_tiny.onnx": "op Resize is not supported",
    "silero_vad_16k_op15.onnx": 'Pad with the mode "reflect" is not supported',
    "silero_vad_op18_ifless.onnx": "a condition that depends on the data is not supported",
}
# 256 roundings of f32, as `cleave check` allows, each as large as those of the largest
# results: sums whose terms cancel have the roundings of their terms.
TOLERANCE = 256 * 2.0**-24


def draw(session, how):
    random = np.random.default_rng(0)
    inputs = {}
    for entry in session.get_inputs():
        shape = [how["dims"].get(dim, dim) for dim in entry.shape]
        kind = TYPES[entry.type]
        inputs[entry.name] = (random.standard_normal(shape).astype(kind) if kind == np.float32 else
                              random.integers(*how["ranges"][entry.name], shape).astype(kind))
    return inputs


def cleave_run(cleave, path, mesh, *options):
    return subprocess.run([cleave, "run", path, "--mesh", *mesh.split(), *options], capture_output=True,
                          text=True, timeout=300)


def differences(cleave, path, meshes):
    """(mesh, what is wrong or nothing)."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs = draw(session, RUNS[os.path.basename(path)])
    wanted = dict(zip((o.name for o in session.get_outputs()), session.run(None, inputs)))
    with tempfile.TemporaryDirectory() as work:
        np.savez(os.path.join(work, "in.npz"), **inputs)
        for mesh in meshes:
            out = os.path.join(work, "out.npz")
            done = cleave_run(cleave, path, mesh, "--inputs", os.path.join(work, "in.npz"),
                              "--outputs", out)
            if done.returncode:
                yield mesh, done.stderr.strip()
                continue
            got = np.load(out)
            worst = max(np.max(np.abs(got[name] - want)) / (TOLERANCE + TOLERANCE * np.max(np.abs(want)))
                        if got[name].shape == want.shape else np.inf
                        for name, want in wanted.items())
            yield mesh, "" if worst <= 1 else f"{worst:.3g} of the tolerance"


def refusals(cleave, path, meshes, words):
    for mesh in meshes:
        done = cleave_run(cleave, path, mesh)
        lines = done.stderr.strip().splitlines()
        good = done.returncode == 2 and len(lines) == 1 and words in lines[0]
        yield mesh, "" if good else f"ends with {done.returncode}, want: 2 and `{words}`: {lines}"


def results(options):
    """(title, what is wrong or nothing) of every model over every mesh."""
    meshes = options.mesh or ["tp=2"]
    for path in sorted(glob.glob(os.path.join(options.folder, "*.onnx"))):
        name = os.path.basename(path)
        if name not in RUNS and name not in REFUSED:
            answers = [("", "stands in no table of foreign.py")]
        elif name in RUNS:
            answers = differences(options.cleave, path, meshes)
        else:
            answers = refusals(options.cleave, path, meshes, REFUSED[name])
        for mesh, wrong in answers:
            yield f"{name} mesh {mesh}", wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("cleave")
    parser.add_argument("folder")
    parser.add_argument("--mesh", action="append")
    tally(results(parser.parse_args()))


main()
