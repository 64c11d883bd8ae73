#!/usr/bin/env python3
"""Equal micro-batches share their kernels, however many they are.

    python micro_batches.py CLEAVE ROOT
"""
import os
import subprocess
import sys

CLEAVE, ROOT = sys.argv[1:]
failed = 0


def kernels(model, mesh, dim, micros, rows):
    path = os.path.join(ROOT, "test", "models", model)
    done = subprocess.run([CLEAVE, "run", path, "--mesh", mesh, "--micro-batches", str(micros),
                           "--dim", f"{dim}={rows}", "--stop-after=kernel"],
                          capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.count("rt.kernel")


# Where GPT-2 is best cut in stages depends on the number of micro-batches.
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
