#!/usr/bin/env python3
"""Writes the models that gpu_check.py times, a few hundred bytes each; their sizes are open.

    python models.py ../models/gpu
"""
import os
import sys

from onnx import TensorProto, checker, helper, save

HALF = TensorProto.BFLOAT16


def write(folder, name, node, inputs, shape, constants=(), kind=HALF, result=HALF):
    nodes = node if isinstance(node, list) else [node]
    values = [helper.make_tensor_value_info(i, kind, dims) for i, dims in inputs.items()]
    result = helper.make_tensor_value_info("y", result, shape)
    model = helper.make_model(helper.make_graph(nodes, name, values, [result], constants),
                              opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    checker.check_model(model)
    save(model, os.path.join(folder, name + ".onnx"))


def main(folder):
    os.makedirs(folder, exist_ok=True)
    write(folder, "product", helper.make_node("MatMul", ["a", "b"], ["y"]),
          {"a": ["m", "k"], "b": ["k", "n"]}, ["m", "n"])
    # Both operands lie along k, as whoever multiplies bytes wants them.
    factors, turn = {"a": ["m", "k"], "t": ["n", "k"]}, helper.make_node("Transpose", ["t"], ["b"], perm=[1, 0])
    write(folder, "product_int8", [turn, helper.make_node("MatMulInteger", ["a", "b"], ["y"])],
          factors, ["m", "n"], kind=TensorProto.INT8, result=TensorProto.INT32)
    numbers = [helper.make_node("DequantizeLinear", [name, "scale"], [name + "n"]) for name in "ab"]
    write(folder, "product_float8", [turn, *numbers, helper.make_node("MatMul", ["an", "bn"], ["y"])],
          factors, ["m", "n"], [helper.make_tensor("scale", HALF, [], [0.5])], kind=TensorProto.FLOAT8E4M3FN)
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
