#!/usr/bin/env python3
"""Models that were read and written back run in ONNX Runtime to the same bits.

    python round_trip.py CLEAVE_OPT [FOLDER]...

A FOLDER holds MANIFEST.json, models and cases as test/models/README.md says: each model
runs on all its cases. First come small models that are made here, one for each thing
that a file may do. Ends with `N passed, N failed`; status 1 if any failed.
"""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "tools"))
from refusals import gather, model, value  # noqa: E402


def widened(path):
    """The model with f32 for bf16, of which ONNX Runtime has no kernels on CPUs: the change
    keeps every bit, so two models that differ afterwards differed before."""
    built = onnx.load(path)

    def tensors(graph):
        yield from graph.initializer
        yield from (a.t for n in graph.node for a in n.attribute if a.HasField("t"))

    for tensor in tensors(built.graph):
        if tensor.data_type == TensorProto.BFLOAT16:
            bits = numpy_helper.to_array(tensor).view(np.uint16).astype(np.uint32) << 16
            tensor.CopyFrom(numpy_helper.from_array(bits.view(np.float32), tensor.name))
    for value in [*built.graph.input, *built.graph.output, *built.graph.value_info]:
        if value.type.tensor_type.elem_type == TensorProto.BFLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for n in [*built.graph.node, *(n for f in built.functions for n in f.node)]:
        for attribute in n.attribute:
            if attribute.name == "to" and attribute.i == TensorProto.BFLOAT16:
                attribute.i = TensorProto.FLOAT
    return built.SerializeToString()


def run(path, inputs):
    """All outputs as ONNX Runtime gives them, without its optimizations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    brains = {name for name in inputs if name.endswith("@bf16")}
    session = onnxruntime.InferenceSession(widened(path) if brains else path, options,
                                           providers=["CPUExecutionProvider"])
    known = {i.name for i in session.get_inputs()}
    bound = {name.removesuffix("@bf16"):
             (array.astype(np.uint32) << 16).view(np.float32) if name in brains else array
             for name, array in inputs.items()}
    outputs = session.run(None, {name: array for name, array in bound.items() if name in known})
    return [(o.name, o.type, repr(got) if isinstance(got, list) else
             (got.shape, got.tolist() if got.dtype == object else got.tobytes()))
            for o, got in zip(session.get_outputs(), outputs)]


def rewritten(cleave_opt, path, work):
    """The model at `path` as cleave-opt writes it, to another folder."""
    copy = os.path.join(work, "copy.onnx")
    done = subprocess.run([cleave_opt, path, "-o", copy], capture_output=True, text=True, timeout=120)
    if done.returncode or done.stderr:
        raise RuntimeError(f"cleave-opt ends with {done.returncode}: {done.stderr.strip()}")
    return copy


def cases(folder, entry):
    for name in entry["cases"]:
        case = np.load(os.path.join(folder, name))
        yield name, {key[3:]: case[key] for key in case.files if key.startswith("in:")}


#===- Small models, each made for one thing that a file may do --------------===#

def tensor(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), name=f"{op} of {outputs}", **attributes)


X = np.linspace(-2, 2, 6, dtype=np.float32).reshape(2, 3)


def unsorted():
    return model([node("Mul", "b a", "y"), node("Neg", "a", "b"), node("Relu", "x", "a")],
                 [value("x", ["N", 3])], [value("y", ["N", 3])])


def listed_initializers():
    return model([node("Add", "x w", "y")], [value("x", ["N", 3]), value("w", [3])],
                 [value("y", ["N", 3])], [tensor("w", np.float32([1, 2, 3]))])


def shared_initializers():
    w = np.random.default_rng(0).standard_normal((3, 300)).astype(np.float32)
    nodes = [node("MatMul", "x w", "h"), node("Transpose", "w", "t"), node("MatMul", "h t", "y")]
    return model(nodes, [value("x", ["N", 3])], [value("y", ["N", 3]), value("w", [3, 300])],
                 [tensor("w", w)])


def functions():
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("my", 1)]
    scale = node("LeakyRelu", "a", "b")
    scale.attribute.append(onnx.AttributeProto(name="alpha", ref_attr_name="slope",
                                               type=onnx.AttributeProto.FLOAT))
    inner = helper.make_function("my", "Leak", ["a"], ["b"], [scale], opsets, ["slope"])
    outer = helper.make_function("my", "Twice", ["p"], ["r"], [
        node("Leak", "p", "q", domain="my", slope=0.25), node("Leak", "q", "r", domain="my", slope=0.5)],
        opsets)
    built = model([node("Twice", "x", "y", domain="my")], [value("x", ["N", 3])], [value("y", ["N", 3])],
                  functions=[inner, outer])
    built.opset_import.append(helper.make_opsetid("my", 1))
    return built


def unknown_domain():
    """ONNX Runtime's own ops: no schema of the onnx package knows them."""
    built = model([node("QuickGelu", "x", "y", domain="com.microsoft", alpha=1.5)],
                  [value("x", ["N", 3])], [value("y", ["N", 3])])
    built.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return built


def branches():
    then = helper.make_graph([node("Mul", "x w", "out")], "then", [], [value("out", None)])
    other = helper.make_graph([node("Add", "x w", "out")], "else", [], [value("out", None)],
                              [tensor("unused", np.float32([1]))])
    nodes = [node("ReduceSum", "x", "sum", keepdims=0), node("Greater", "sum zero", "c"),
             node("If", "c", "y", then_branch=then, else_branch=other)]
    return model(nodes, [value("x", [2, 3])], [value("y", [2, 3])],
                 [tensor("w", np.float32([1, 2, 3])), tensor("zero", np.float32(0))])


def loops():
    body = helper.make_graph([node("Identity", "c", "d"), node("Add", "v x", "u")], "body",
                             [value("i", [], TensorProto.INT64), value("c", [], TensorProto.BOOL),
                              value("v", [2, 3])], [value("d", [], TensorProto.BOOL), value("u", [2, 3])])
    return model([node("Loop", "n yes x", "y", body=body)], [value("x", [2, 3])], [value("y", [2, 3])],
                 [tensor("n", np.int64(3)), tensor("yes", np.bool_(True))])


def sequences():
    nodes = [node("SplitToSequence", "x", "s", axis=1, keepdims=1), node("SequenceAt", "s i", "y")]
    return model(nodes, [value("x", [2, 3])], [value("y", None)], [tensor("i", np.int64(1))])


def element_types():
    """Every type that ONNX Runtime casts, in typed fields and as raw bytes."""
    nodes, constants, outputs = [], [], []
    for kind in ("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16", "BOOL", "INT8", "INT16", "INT32", "INT64",
                 "UINT8", "UINT16", "UINT32", "UINT64", "INT4", "UINT4", "FLOAT8E4M3FN", "FLOAT8E5M2"):
        number = getattr(TensorProto, kind)
        typed = helper.make_tensor(kind, number, [3], [1, 0, 1])
        constants.append(typed)
        nodes.append(node("Cast", kind, kind + "_y", to=TensorProto.FLOAT))
        outputs.append(value(kind + "_y", [3]))
    words = helper.make_tensor("words", TensorProto.STRING, [2], [b"one", b"\xc3\xa9"])
    nodes.append(node("Identity", "words", "said"))
    outputs.append(value("said", [2], TensorProto.STRING))
    return model([*nodes, node("Relu", "x", "y")], [value("x", ["N", 3])], [*outputs, value("y", None)],
                 [*constants, words], opset=21)


def optional_parts():
    """Inputs and outputs that are left out, names with signs in them, no name at all."""
    nodes = [helper.make_node("Clip", ["x", "", "a/b:c"], ["α"], name=""),
             helper.make_node("Dropout", ["α"], ["y", ""], name="a b/c:0"),
             helper.make_node("Relu", ["y"], ["z"], name="")]
    return model(nodes, [value("x", ["N", 3])], [value("z", ["N", 3])],
                 [tensor("a/b:c", np.float32(1))])


def external_data(work):
    built = shared_initializers()
    path = os.path.join(work, "external.onnx")
    onnx.save(built, path, save_as_external_data=True, all_tensors_to_one_file=True,
              location="weights.bin", size_threshold=0)
    return path


MADE = (unsorted, listed_initializers, shared_initializers, functions, unknown_domain, branches,
        loops, sequences, element_types, optional_parts)


def made(work):
    """(name, path, inputs)."""
    for make in MADE:
        path = os.path.join(work, make.__name__ + ".onnx")
        onnx.save(make(), path)
        yield make.__name__, path, {"x": X}
    listed = os.path.join(work, "listed_initializers.onnx")
    yield "an initializer replaced", listed, {"x": X, "w": np.float32([4, 5, 6])}
    yield "external_data", external_data(work), {"x": X}
    path = os.path.join(work, "gather.onnx")
    onnx.save(gather(), path)
    yield "gather", path, {"ids": np.int64([[0, 3, 1]]), "scale": np.float32([1, 2])}


class Count:
    passed = failed = 0

    def one(self, name, cleave_opt, path, runs):
        try:
            with tempfile.TemporaryDirectory() as work:
                copy = rewritten(cleave_opt, path, work)
                for case, inputs in runs:
                    if run(copy, inputs) != run(path, inputs):
                        raise RuntimeError(f"{case} has other bits")
                    self.passed += 1
        except Exception as error:  # whatever it is, it is this model's failure
            self.failed += 1
            print(f"FAIL {name}: {str(error).strip().splitlines()[0]}")


def main():
    cleave_opt, folders = sys.argv[1], sys.argv[2:]
    count = Count()
    with tempfile.TemporaryDirectory() as work:
        for name, path, inputs in made(work):
            count.one(name, cleave_opt, path, [(name, inputs)])
    for folder in folders:
        with open(os.path.join(folder, "MANIFEST.json")) as file:
            for entry in json.load(file):
                count.one(entry["file"], cleave_opt, os.path.join(folder, entry["file"]),
                          cases(folder, entry))
    print(f"{count.passed} passed, {count.failed} failed")
    sys.exit(count.failed != 0 or count.passed == 0)


main()
