#!/usr/bin/env python3
"""A model whose tensors lie in every field that may hold them.

    python externalize.py OUTPUT.onnx
"""
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

values = np.arange(12, dtype=np.float32)
tensors = [
    numpy_helper.from_array(values, "raw"),
    helper.make_tensor("floats", TensorProto.FLOAT, [12], values),
    helper.make_tensor("doubles", TensorProto.DOUBLE, [12], values),
    # Its elements are 32-bit integers in the file.
    helper.make_tensor("halves", TensorProto.FLOAT16, [12], values),
    # So small that it is part of the code.
    helper.make_tensor("short", TensorProto.FLOAT, [8], values[:8]),
]
nodes = [helper.make_node("Cast", [tensor.name], ["f_" + tensor.name], to=TensorProto.FLOAT) for tensor in tensors]
nodes.append(helper.make_node("Concat", ["f_" + tensor.name for tensor in tensors], ["y"], axis=0))
graph = helper.make_graph(nodes, "g", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [56])], tensors)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), sys.argv[1])
