#!/usr/bin/env python3
"""What `cleave check` tolerates grows with the results, and not beyond: a model with results of thousands
is equal to itself when it is cut, and one of them that is wrong in the fourth digit is told.

    python check.py CLEAVE
"""
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import helper, numpy_helper

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
from refusals import model as graph, value  # noqa: E402

CLEAVE, = sys.argv[1:]


def write(path, random):
    """Two layers, whose results are sums of a thousand products of both signs."""
    weights = [numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name)
               for name, shape in (("a", (1024, 2048)), ("b", (2048, 64)))]
    nodes = [helper.make_node("MatMul", ["x", "a"], ["h"]), helper.make_node("Relu", ["h"], ["r"]),
             helper.make_node("MatMul", ["r", "b"], ["y"])]
    onnx.save(graph(nodes, [value("x", [2, 1024])], [value("y", [2, 64])], weights), path)


def check(*options):
    done = subprocess.run([CLEAVE, "check", *options], capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


with tempfile.TemporaryDirectory() as work:
    model, inputs, outputs = (os.path.join(work, name) for name in ("large.onnx", "in.npz", "out.npz"))
    random = np.random.default_rng(1)
    write(model, random)
    np.savez(inputs, x=random.standard_normal((2, 1024)).astype(np.float32))
    subprocess.run([CLEAVE, "run", model, "--inputs", inputs, "--outputs", outputs], check=True, capture_output=True)
    want = np.load(outputs)["y"]
    assert np.abs(want).max() > 1000
    request = [model, "--mesh", "tp=5", "--inputs", inputs, "--golden", outputs]
    for wrong in (False, True):
        status, text = check(*request)
        assert status == wrong and ("golden" in text) and ("NOT EQUAL" in text) == wrong, text
        want[1, 7] += 1e-4 * np.abs(want).max()
        np.savez(outputs, y=want)
