#!/usr/bin/env python3
"""Writes models of one product each, whose weights are held in the ways that models hold them.

    python products.py DIR [--rows M]... [--depth K] [--columns N]

The models are for peer.py, one at a time. `nbits` are MatMulNBits in blocks of 32; the level of accuracy is said
in the name, since ONNX Runtime quantises the activations from 4 on. `channel` are bytes with a scale a column,
`half` is float16 that is cast, `integer` a product of bytes, `dynamic` quantises its activations itself.
"""
import argparse
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

random = np.random.default_rng(0)


def floats(*shape):
    return (random.standard_normal(shape) * 0.02).astype(np.float32)


def of_bits(bits, level, depth, columns, has_zeros=False):
    blocks = depth // 32
    weights = {"b": random.integers(0, 256, (columns, blocks, 32 * bits // 8), dtype=np.uint8),
               "s": np.abs(floats(columns, blocks)) + np.float32(1e-3)}
    if has_zeros:
        weights["z"] = random.integers(0, 256, (columns, blocks * bits // 8), dtype=np.uint8)
    node = helper.make_node("MatMulNBits", ["x", *weights], ["y"], domain="com.microsoft", K=depth, N=columns,
                            bits=bits, block_size=32, accuracy_level=level)
    return [node], weights, TensorProto.FLOAT


def products(depth, columns):
    byte = random.integers(-128, 128, (depth, columns)).astype(np.int8)
    scale = np.full(columns, 0.01, np.float32)
    yield "f32", ([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": floats(depth, columns)}, TensorProto.FLOAT)
    for bits, level, has_zeros in ((4, 0, False), (4, 0, True), (4, 4, False), (8, 0, False), (8, 4, False)):
        yield (f"nbits{bits}-level{level}" + ("-zeros" if has_zeros else ""),
               of_bits(bits, level, depth, columns, has_zeros))
    yield "channel", ([helper.make_node("DequantizeLinear", ["w", "s"], ["d"], axis=1),
                       helper.make_node("MatMul", ["x", "d"], ["y"])], {"w": byte, "s": scale}, TensorProto.FLOAT)
    yield "half", ([helper.make_node("Cast", ["w"], ["d"], to=TensorProto.FLOAT),
                    helper.make_node("MatMul", ["x", "d"], ["y"])],
                   {"w": floats(depth, columns).astype(np.float16)}, TensorProto.FLOAT)
    yield "integer", ([helper.make_node("MatMulInteger", ["x", "w"], ["y"])], {"w": byte}, TensorProto.UINT8)
    yield "dynamic", ([helper.make_node("DynamicQuantizeMatMul", ["x", "w", "s"], ["y"], domain="com.microsoft")],
                      {"w": byte, "s": scale}, TensorProto.FLOAT)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=pathlib.Path, metavar="DIR")
    parser.add_argument("--rows", type=int, action="append")
    parser.add_argument("--depth", type=int, default=4096)
    parser.add_argument("--columns", type=int, default=4096)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name, (nodes, weights, kind) in products(options.depth, options.columns):
        for rows in options.rows or [1, 16, 128]:
            result = TensorProto.INT32 if name == "integer" else TensorProto.FLOAT
            graph = helper.make_graph(
                nodes, name, [helper.make_tensor_value_info("x", kind, (rows, options.depth))],
                [helper.make_tensor_value_info("y", result, (rows, options.columns))],
                [numpy_helper.from_array(array, key) for key, array in weights.items()])
            model = helper.make_model(graph, ir_version=10, opset_imports=[
                helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)])
            onnx.save(model, options.out / f"{name}-{rows}.onnx")


main()
