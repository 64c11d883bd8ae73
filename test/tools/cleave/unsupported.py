#!/usr/bin/env python3
"""Writes a model with ops that Cleave lacks: in the graph, in a function, in a branch.

    python unsupported.py OUTPUT.onnx
"""
import os
import sys

import onnx
from onnx import TensorProto, helper

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
from refusals import model, value  # noqa: E402

OPSETS = [helper.make_opsetid("", 18), helper.make_opsetid("my", 1)]


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), name=f"{op} of {outputs}", **attributes)


inner = helper.make_function("my", "Inner", ["a"], ["b"], [node("Det", "a", "b")], OPSETS)
unused = helper.make_function("my", "Unused", ["a"], ["b"], [node("Hardmax", "a", "b")], OPSETS)
branch = helper.make_graph([node("Multinomial", "x", "out")], "then", [], [value("out", None)])
other = helper.make_graph([node("Relu", "x", "out")], "else", [], [value("out", None)])
built = model(
    [node("LpPool", "x", "p", kernel_shape=[2]), node("LpPool", "p", "q", kernel_shape=[1]),
     *(node("LpPool", f"q{i or ''}", f"q{i + 1}", kernel_shape=[1]) for i in range(3)),
     node("Wobble", "q3", "r", domain="my.ops"), node("Inner", "r", "s", domain="my"),
     node("Inner", "s", "t", domain="my"), node("If", "c", "u", then_branch=branch, else_branch=other)],
    [value("x", ["batch", 3, "length"]), value("c", [], TensorProto.BOOL)], [value("u", None)],
    [helper.make_tensor("w", TensorProto.FLOAT, [5], range(5))], functions=[inner, unused])
built.opset_import.extend([helper.make_opsetid("my", 1), helper.make_opsetid("my.ops", 1)])
onnx.save(built, sys.argv[1])
