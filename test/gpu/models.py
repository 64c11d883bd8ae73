#!/usr/bin/env python3
"""Writes the models that gpu_check.py times, a few hundred bytes each; their sizes are open.

    python models.py ../models/gpu
"""
import os
import sys

from onnx import TensorProto, checker, helper, save

HALF = TensorProto.BFLOAT16


def write(folder, name, node, inputs, shape, constants=()):
    values = [helper.make_tensor_value_info(i, HALF, dims) for i, dims in inputs.items()]
    result = helper.make_tensor_value_info("y", HALF, shape)
    model = helper.make_model(helper.make_graph([node], name, values, [result], constants),
                              opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    checker.check_model(model)
    save(model, os.path.join(folder, name + ".onnx"))


def main(folder):
    os.makedirs(folder, exist_ok=True)
    write(folder, "product", helper.make_node("MatMul", ["a", "b"], ["y"]),
          {"a": ["m", "k"], "b": ["k", "n"]}, ["m", "n"])
    heads = {name: ["batch", "heads", "length", "width"] for name in "qkv"}
    write(folder, "attention", helper.make_node("Attention", ["q", "k", "v"], ["y"], is_causal=1),
          heads, heads["q"])
    rows = {"x": ["rows", "columns"]}
    write(folder, "softmax", helper.make_node("Softmax", ["x"], ["y"], axis=-1), rows, rows["x"])
    write(folder, "norm", helper.make_node("RMSNormalization", ["x", "z"], ["y"], axis=-1),
          rows | {"z": ["columns"]}, rows["x"])
    write(folder, "sum", helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0), rows, ["columns"],
          [helper.make_tensor("axes", TensorProto.INT64, [1], [0])])
    write(folder, "transpose", helper.make_node("Transpose", ["x"], ["y"], perm=[1, 0]), rows, ["columns", "rows"])
    write(folder, "add", helper.make_node("Add", ["x", "z"], ["y"]), rows | {"z": rows["x"]}, rows["x"])


if __name__ == "__main__":
    main(sys.argv[1])
