#!/usr/bin/env python3
"""Small models that once were wrong: run uncut and cut, against ONNX Runtime.

    python models.py CLEAVE
"""
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def model(nodes, inputs, functions=(), **weights):
    """With the output `y`; domains of functions are imported."""
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()])
    opsets = [helper.make_opsetid("", 18)] + [helper.make_opsetid(f.domain, 1) for f in functions]
    return helper.make_model(graph, opset_imports=opsets, functions=list(functions), ir_version=10)


def ranks_without_channels():
    """A rank with no channel of a grouped convolution meets the others in every collective."""
    random = np.random.default_rng(1)
    nodes, weights, at = [], {}, "x"
    for block in range(2):
        for name, shape, attributes in (
                ("expand", (6, 4, 1, 1), {}),
                ("depth", (6, 1, 3, 3), {"group": 6, "pads": [1, 1, 1, 1]}),
                ("project", (4, 6, 1, 1), {})):
            key = f"{name}{block}"
            weights["w" + key] = random.normal(size=shape) * 0.3
            out = "y" if key == "project1" else key
            nodes.append(helper.make_node("Conv", [at, "w" + key], [out], name=key, **attributes))
            at = out
    yield model(nodes, {"x": [1, 4, 8, 8]}, **weights), ("tp=2", "tp=4", "tp=5", "tp=9")


def flatten_from_the_end():
    """A negative axis is a dimension, counted from the end."""
    for axis in (-3, -2, -1, 0, 1, 2, 3):
        yield model([helper.make_node("Flatten", ["x"], ["y"], axis=axis)], {"x": [2, 3, 4]}), ("tp=2",)


def attribute_left_out_by_the_caller():
    """In a function it means what its schema says."""
    inner = helper.make_node("LeakyRelu", ["X"], ["Y"])
    inner.attribute.append(onnx.AttributeProto(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT))
    function = helper.make_function("mine", "Leak", ["X"], ["Y"], [inner], [helper.make_opsetid("", 18)], ["slope"])
    for attributes in ({}, {"slope": 0.5}):
        yield model([helper.make_node("Leak", ["x"], ["y"], domain="mine", **attributes)], {"x": [5]},
                    [function]), ()


def elements_as_rows():
    """A reduction over no dimension still squares, or takes the root or the logarithm."""
    for op in ("ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceSum", "ReduceMax"):
        yield model([helper.make_node(op, ["x"], ["y"], noop_with_empty_axes=1)], {"x": [2, 3]}), ("tp=2",)


def scales_of_rows():
    """The scale of a norm broadcasts to its input, not only to what is normalised."""
    random = np.random.default_rng(3)
    for scale, bias in (((1, 4), (1, 4)), ((3, 4), (3, 4)), ((2, 1, 4), (2, 1, 4)), ((4,), (1, 1, 4)), ((3, 1), (4,))):
        node = helper.make_node("LayerNormalization", ["x", "s", "b"], ["y"])
        yield model([node], {"x": [2, 3, 4]}, s=random.normal(size=scale),
                    b=random.normal(size=bias)), ("tp=2", "dp=3")


def activations_of_a_scalar():
    """What is recognised on rows meets a tensor without dimensions."""
    for op in ("Sigmoid", "Erf", "Tanh"):
        yield model([helper.make_node(op, ["x"], ["y"])], {"x": []}), ("tp=2",)


def run(cleave, folder, proto, meshes):
    path = os.path.join(folder, "model.onnx")
    onnx.save(proto, path)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(2)
    inputs = {i.name: np.asarray(random.normal(size=i.shape), np.float32) for i in session.get_inputs()}
    want = session.run(["y"], inputs)[0]
    np.savez(os.path.join(folder, "in.npz"), **inputs)
    for mesh in ("1", *meshes):
        done = subprocess.run([cleave, "run", path, "--mesh", mesh, "--inputs", os.path.join(folder, "in.npz"),
                               "--outputs", os.path.join(folder, "out.npz")], capture_output=True, text=True)
        if done.returncode:
            yield f"mesh {mesh}: {done.stderr.strip()}"
            continue
        got = np.load(os.path.join(folder, "out.npz"))["y"]
        # Sums of up to 54 products in another order.
        if got.shape != want.shape or not np.allclose(got, want, atol=64 * 2.0**-24, rtol=64 * 2.0**-24):
            yield f"mesh {mesh}: {got.shape} {got.ravel()[:4]}, want: {want.shape} {want.ravel()[:4]}"


def main():
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for case in (ranks_without_channels, flatten_from_the_end, attribute_left_out_by_the_caller,
                     elements_as_rows, scales_of_rows, activations_of_a_scalar):
            for proto, meshes in case():
                for wrong in run(sys.argv[1], folder, proto, meshes):
                    failed += 1
                    print(case.__name__, wrong)
    sys.exit(failed != 0)


main()
