#!/usr/bin/env python3
"""Writes one step of a Llama-style decoder over a cache of fixed length, in bf16, with the sizes of
Llama 3.2 1B where no others are given. Its weights are zeros, in a sparse file: what a step reads and
computes is the same. Says how many bytes a step has to move: its weights but for the words, and the cache
twice to copy and once to look at.

    python decoder.py FOLDER [--layers 16] [--hidden 2048] [--heads 32] [--groups 8] [--inner 8192]
                      [--words 128256] [--length 1024]
"""
import argparse
import os

import numpy as np
from onnx import StringStringEntryProto, TensorProto, helper, numpy_helper, save

BF16 = TensorProto.BFLOAT16


class Decoder:
    def __init__(self, sizes):
        self.sizes, self.nodes, self.weights, self.bytes = sizes, [], [], 0
        self.constants = {}

    def weight(self, name, *dims):
        tensor = TensorProto(name=name, data_type=BF16, dims=dims, data_location=TensorProto.EXTERNAL)
        count = 2 * int(np.prod(dims))
        for key, value in (("location", "weights.bin"), ("offset", self.bytes), ("length", count)):
            tensor.external_data.append(StringStringEntryProto(key=key, value=str(value)))
        self.bytes += (count + 4095) // 4096 * 4096
        self.weights.append(tensor)
        return name

    def constant(self, values):
        name = self.constants.setdefault(tuple(values), f"shape{len(self.constants)}")
        if not any(tensor.name == name for tensor in self.weights):
            self.weights.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def node(self, kind, *inputs, outputs=None, **attributes):
        outputs = outputs or [f"v{len(self.nodes)}"]
        self.nodes.append(helper.make_node(kind, inputs, outputs, **attributes))
        return outputs[0]

    def norm(self, x, name):
        return self.node("RMSNormalization", x, self.weight(name, self.sizes.hidden), epsilon=1e-5)

    def product(self, x, name, *dims):
        return self.node("MatMul", x, self.weight(name, *dims))

    def heads(self, x, name, count):
        s = self.sizes
        width = s.hidden // s.heads
        rows = self.node("Reshape", self.product(x, name, s.hidden, count * width), self.constant([1, 1, count, width]))
        return self.node("Transpose", rows, perm=[0, 2, 1, 3])

    def layer(self, x, i):
        s = self.sizes
        y = self.norm(x, f"{i}.norm")
        q, k, v = (self.heads(y, f"{i}.{name}", count) for name, count in (("q", s.heads), ("k", s.groups), ("v", s.groups)))
        q, k = (self.node("RotaryEmbedding", z, "cos", "sin", "position") for z in (q, k))
        keys, values = (self.node("TensorScatter", f"{i}.past_{name}", z, "written", outputs=[f"{i}.{name}s"], axis=2)
                        for name, z in (("key", k), ("value", v)))
        y = self.node("Attention", q, keys, values, "", "", "", "seen")
        y = self.node("Reshape", self.node("Transpose", y, perm=[0, 2, 1, 3]), self.constant([1, 1, s.hidden]))
        x = self.node("Add", x, self.product(y, f"{i}.o", s.hidden, s.hidden))
        y = self.norm(x, f"{i}.norm2")
        gate, up = (self.product(y, f"{i}.{name}", s.hidden, s.inner) for name in ("gate", "up"))
        gate = self.node("Mul", gate, self.node("Sigmoid", gate))
        return self.node("Add", x, self.product(self.node("Mul", gate, up), f"{i}.down", s.inner, s.hidden))

    def model(self):
        s = self.sizes
        width = s.hidden // s.heads
        x = self.node("Gather", self.weight("words", s.words, s.hidden), "word", axis=0)
        for i in range(s.layers):
            x = self.layer(x, i)
        self.node("MatMul", self.norm(x, "norm"), self.weight("head", s.hidden, s.words), outputs=["logits"])
        value = helper.make_tensor_value_info
        inputs = [value("word", TensorProto.INT64, [1, 1]), value("position", TensorProto.INT64, [1, 1]),
                  value("written", TensorProto.INT64, [1]), value("seen", TensorProto.INT64, [1]),
                  value("cos", BF16, [s.length, width // 2]), value("sin", BF16, [s.length, width // 2])]
        cache = [1, s.groups, s.length, width]
        inputs += [value(f"{i}.past_{name}", BF16, cache) for i in range(s.layers) for name in ("key", "value")]
        outputs = [value("logits", BF16, [1, 1, s.words])]
        outputs += [value(f"{i}.{name}s", BF16, cache) for i in range(s.layers) for name in ("key", "value")]
        graph = helper.make_graph(self.nodes, "decoder", inputs, outputs, self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=11)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    sizes = {"layers": 16, "hidden": 2048, "heads": 32, "groups": 8, "inner": 8192, "words": 128256, "length": 1024}
    for name, size in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=size)
    options = parser.parse_args()
    decoder = Decoder(options)
    os.makedirs(options.folder, exist_ok=True)
    save(decoder.model(), os.path.join(options.folder, "decoder.onnx"))
    with open(os.path.join(options.folder, "weights.bin"), "wb") as file:
        file.truncate(decoder.bytes)
    s = options
    cache = s.layers * 2 * s.groups * s.length * (s.hidden // s.heads)
    print(f"{decoder.bytes - 2 * s.words * s.hidden + 6 * cache} bytes a step")


if __name__ == "__main__":
    main()
