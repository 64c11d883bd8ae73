#!/usr/bin/env python3
"""Equal micro-batches share their kernels, however many they are; and ranks cut uneven
ones unevenly.

    python micro_batches.py CLEAVE ROOT
"""
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLEAVE, ROOT = sys.argv[1:]
failed = 0


def kernels(model, mesh, dim, micros, rows):
    path = os.path.join(ROOT, "test", "models", model)
    done = subprocess.run([CLEAVE, "run", path, "--mesh", mesh, "--micro-batches", str(micros),
                           "--dim", f"{dim}={rows}", "--stop-after=kernel"],
                          capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.count("rt.kernel")


# Where GPT-2 is best cut in stages depends on the number of micro-batches.
def products(path):
    """A chain of products and tanhs, with rows enough that an axis dp cuts them."""
    random = np.random.default_rng(1)
    nodes, weights = [], []
    for i in range(4):
        weights.append(numpy_helper.from_array(
            random.normal(0, 0.1, (64, 64)).astype(np.float32), f"w{i}"))
        nodes += [helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"y{i}"]),
                  helper.make_node("Tanh", [f"y{i}"], [f"x{i + 1}"])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 64])
            for name in ("x0", "x4")]
    graph = helper.make_graph(nodes, "products", ends[:1], ends[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)],
                                ir_version=8), path)


def check_uneven(path, mesh):
    global failed
    options = [path, "--mesh", mesh, "--micro-batches", "2", "--dim", "batch=100001"]
    for command, word in (("explain", "over micro-batch,dp"), ("check", "equal")):
        done = subprocess.run([CLEAVE, command, *options], capture_output=True, text=True,
                              timeout=120)
        if done.returncode or word not in done.stdout:
            failed += 1
            print(f"{command} of 100001 rows over {mesh} ends with {done.returncode} and does not "
                  f"say {word}: {done.stderr}{done.stdout}")


with tempfile.TemporaryDirectory() as work:
    products(os.path.join(work, "products.onnx"))
    for mesh in ("dp=3", "pp=2,dp=3"):
        check_uneven(os.path.join(work, "products.onnx"), mesh)

for model, mesh, dim in [("llama_mobius.onnx", "pp=2", "batch"),
                         ("llama_torchscript.onnx", "pp=2", "batch"),
                         ("bert_optimum.onnx", "pp=2", "batch_size"),
                         ("gpt2_odd_optimum.onnx", "tp=2", "batch_size")]:
    few, some, many = (kernels(model, mesh, dim, micros, 2 * micros) for micros in (2, 5, 20))
    uneven = kernels(model, mesh, dim, 5, 8)
    if not few == some == many or uneven > 2 * few:
        failed += 1
        print(f"{model}: {few}, {some} and {many} kernels for 2, 5 and 20 equal micro-batches, "
              f"{uneven} for 5 of 2 sizes")
sys.exit(failed > 0)
