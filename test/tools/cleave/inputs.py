#!/usr/bin/env python3
"""One case in every form that --inputs and --golden take; and inputs that are drawn.

    python inputs.py CLEAVE ROOT
"""
import os
import pty
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
from refusals import model, value  # noqa: E402

CLEAVE, ROOT = sys.argv[1:]
failed = 0


def run(*command):
    global failed
    done = subprocess.run([CLEAVE, *command], capture_output=True, text=True, timeout=120)
    if done.returncode:
        failed += 1
        print(" ".join(command), f"ends with {done.returncode}: {done.stderr}", done.stdout)
    return done.returncode == 0


def data_set(folder, tensors, kind, named=True):
    """bf16 has no NumPy type, so its bits are given as ONNX has them."""
    os.makedirs(folder, exist_ok=True)
    for i, (name, array) in enumerate(tensors):
        proto = numpy_helper.from_array(array, name.removesuffix("@bf16") if named else "")
        if name.endswith("@bf16"):
            proto.data_type = TensorProto.BFLOAT16
        with open(os.path.join(folder, f"{kind}_{i}.pb"), "wb") as out:
            out.write(proto.SerializeToString())


def forms(work, case, prefix, kind, order):
    """(title, path) of the arrays of a case in each form."""
    arrays = {key[len(prefix):]: case[key] for key in case.files if key.startswith(prefix)}
    ordered = sorted(arrays.items(), key=lambda item: order.index(item[0].removesuffix("@bf16")))
    np.savez(os.path.join(work, kind + ".npz"), **arrays)
    yield os.path.join(work, kind + ".npz")
    np.savez_compressed(os.path.join(work, kind + "_packed.npz"), **arrays)
    yield os.path.join(work, kind + "_packed.npz")
    folder = os.path.join(work, kind + "_arrays")
    os.mkdir(folder)
    for name, array in arrays.items():
        np.save(os.path.join(folder, name + ".npy"), array)
    yield folder
    data_set(os.path.join(work, "set"), reversed(ordered), kind)
    yield os.path.join(work, "set")
    data_set(os.path.join(work, "unnamed"), ordered, kind, named=False)
    yield os.path.join(work, "unnamed")


def every_form(work, name, tolerance):
    path = os.path.join(ROOT, "test/models", name)
    case = np.load(path + ".case0.npz")
    graph = onnx.load(path + ".onnx", load_external_data=False).graph
    inputs = forms(work, case, "in:", "input", [i.name for i in graph.input])
    golden = forms(work, case, "out:", "output", [o.name for o in graph.output])
    for given, wanted in zip(inputs, golden):
        run("check", path + ".onnx", "--mesh", "tp=2", "--inputs", given, "--golden", wanted,
            "--atol", tolerance, "--rtol", tolerance)


def drawn(work):
    """Ids behind arithmetic: positions with an offset, ids of either sign, two tables."""
    def table(name, rows):
        return helper.make_tensor(name, TensorProto.FLOAT, [rows, 2], range(2 * rows))

    def node(op, inputs, output, **attributes):
        return helper.make_node(op, inputs.split(), [output], **attributes)

    nodes = [node("Gather", "words ids", "a"), node("Add", "places two", "shifted"),
             node("Gather", "positions shifted", "b"), node("Cast", "kinds", "wide", to=TensorProto.INT64),
             node("Less", "wide zero", "negative"), node("Add", "wide three", "from_end"),
             node("Where", "negative from_end wide", "kind"), node("Gather", "types kind", "c"),
             node("Gather", "few ids", "d"), node("Sum", "a b c d", "y")]
    scalars = [helper.make_tensor(n, TensorProto.INT64, [], [v])
               for n, v in (("two", 2), ("zero", 0), ("three", 3))]
    built = model(nodes, [value("ids", ["N", 64], TensorProto.INT64),
                          value("places", ["N", 64], TensorProto.INT64),
                          value("kinds", ["N", 64], TensorProto.INT32)], [value("y", None)],
                  [table("words", 100), table("positions", 5), table("types", 3), table("few", 7), *scalars])
    path = os.path.join(work, "drawn.onnx")
    onnx.save(built, path)
    for seed in range(5):
        run("check", path, "--mesh", "tp=2", "--seed", str(seed))


def replaced(work):
    """An initializer that is an input too is its default."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, [2], [3, 5])
    path = os.path.join(work, "replaced.onnx")
    onnx.save(model([helper.make_node("Mul", ["x", "w"], ["y"])], [value("x", [2]), value("w", [2])],
                    [value("y", [2])], [weight]), path)
    x, other = np.array([1, 2], np.float32), np.array([7, 11], np.float32)
    for given, want in (({"x": x}, x * [3, 5]), ({"x": x, "w": other}, x * other)):
        np.savez(os.path.join(work, "in.npz"), **given)
        np.savez(os.path.join(work, "want.npz"), y=want.astype(np.float32))
        run("check", path, "--mesh", "tp=2", "--inputs", os.path.join(work, "in.npz"),
            "--golden", os.path.join(work, "want.npz"))


def progress(work):
    """A terminal is told what takes longer than a second while it lasts."""
    path = os.path.join(work, "long.onnx")
    onnx.save(model([helper.make_node("Relu", ["x"], ["y"])], [value("x", [1 << 16])], [value("y", None)]), path)
    terminal, other = pty.openpty()
    bench = subprocess.Popen([CLEAVE, "bench", path, "--iters", "1000000", "--warmup", "1000000"],
                             stdout=subprocess.DEVNULL, stderr=other)
    os.close(other)
    said = b""
    try:
        while b"running" not in said:
            said += os.read(terminal, 4096)
    except OSError:  # it has ended, and with it the terminal
        global failed
        failed += 1
        print("progress:", said)
    bench.kill()
    bench.wait()


def main():
    # The tolerances are those of the models' manifest.
    for name, tolerance in (("bert_optimum", "2e-5"), ("llama_mobius_bf16", "0.5")):
        with tempfile.TemporaryDirectory() as work:
            every_form(work, name, tolerance)
    with tempfile.TemporaryDirectory() as work:
        drawn(work)
        replaced(work)
        progress(work)
    sys.exit(failed != 0)


main()
