"""Small models of every op of quantised tensors, with expected outputs of ONNX Runtime.

    python quantised.py [--out DIR]

Run with onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6. Each output of a model is one way to use one op.
What is quantised has to be equal, since all arithmetic in front of a rounding is the same few operations of
f32; floats may differ by 256 roundings of f32, as `cleave check` allows. Writes the models, their cases, and
their entries of MANIFEST.json.
"""
import argparse
import hashlib
import json
import pathlib

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

random = np.random.default_rng(7)
TOLERANCE = {"rtol": 256 * 2.0**-24, "atol": 256 * 2.0**-24}


class Graph:
    """A graph that grows by a node at a time; what nodes give are outputs."""

    def __init__(self, name, opset=21, ir_version=10):
        self.name, self.opset, self.ir_version = name, opset, ir_version
        self.nodes, self.weights, self.outputs, self.inputs = [], [], [], {}

    def input(self, name, array):
        self.inputs[name] = array
        return name

    def weight(self, array, kind=None):
        name = f"w{len(self.weights)}"
        if kind is None:
            self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        else:
            array = np.asarray(array)
            self.weights.append(helper.make_tensor(name, kind, array.shape, array.flatten().tolist()))
        return name

    def __call__(self, op, *inputs, out=1, keep=True, domain="", **attributes):
        names = [f"{op}_{len(self.nodes)}" + ("" if i == 0 else f"_{i}") for i in range(out)]
        inputs = [i if isinstance(i, str) else self.weight(i) for i in inputs]
        self.nodes.append(helper.make_node(op, inputs, names, domain=domain, **attributes))
        if keep:
            self.outputs += names
        return names if out > 1 else names[0]

    def ms(self, op, *inputs, **attributes):
        return self(op, *inputs, domain="com.microsoft", **attributes)

    def model(self):
        of = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.uint8): TensorProto.UINT8,
              np.dtype(np.int8): TensorProto.INT8, np.dtype(np.int64): TensorProto.INT64}
        graph = helper.make_graph(
            self.nodes, self.name,
            [helper.make_tensor_value_info(n, of[a.dtype], a.shape) for n, a in self.inputs.items()],
            [onnx.ValueInfoProto(name=name) for name in self.outputs], self.weights)
        model = helper.make_model(graph, ir_version=self.ir_version, producer_name="cleave", opset_imports=[
            helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)])
        # The types of outputs are what ONNX Runtime infers.
        session = run_session(model)
        kinds = {"tensor(float)": 1, "tensor(uint8)": 2, "tensor(int8)": 3, "tensor(uint16)": 4,
                 "tensor(int16)": 5, "tensor(int32)": 6, "tensor(float16)": 10}
        results = session.run(None, self.inputs)
        del graph.output[:], model.graph.output[:]
        for info, result in zip(session.get_outputs(), results):
            model.graph.output.append(
                helper.make_tensor_value_info(info.name, kinds[info.type], result.shape))
        return model


def run_session(model):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options,
                                        providers=["CPUExecutionProvider"])


def floats(*shape, scale=1.0):
    return (random.standard_normal(shape) * scale).astype(np.float32)


def scales(*shape):
    return (random.random(shape) * 0.02 + 0.005).astype(np.float32)


def integers(kind, *shape):
    info = np.iinfo(kind)
    return random.integers(info.min, info.max + 1, shape).astype(kind)


def elements():
    """Between numbers and integers."""
    g = Graph("quantised_elements")
    x = g.input("x", floats(4, 24, scale=2.0))
    one = np.float32(0.03)
    for zero in (np.uint8(100), np.int8(-5), np.uint16(30000), np.int16(77)):
        q = g("QuantizeLinear", x, one, zero)
        g("DequantizeLinear", q, one, zero)
    g("QuantizeLinear", x, one)
    g("QuantizeLinear", x, one, output_dtype=TensorProto.INT8)
    q = g("QuantizeLinear", x, scales(24), integers(np.uint8, 24), axis=-1)
    g("DequantizeLinear", q, scales(4), integers(np.uint8, 4), axis=0)
    q = g("QuantizeLinear", x, scales(4, 3), integers(np.int8, 4, 3), axis=1, block_size=8)
    g("DequantizeLinear", q, scales(4, 5), axis=1, block_size=5)
    g("DequantizeLinear", q, scales(24).astype(np.float16), np.zeros(24, np.int8))
    g("DequantizeLinear", random.integers(-2**20, 2**20, (3, 24)).astype(np.int32), scales(24))
    g("DynamicQuantizeLinear", x, out=3)
    for kind, low in ((TensorProto.INT4, -8), (TensorProto.UINT4, 0)):
        packed = g.weight(random.integers(low, low + 16, (6, 32)), kind)
        zeros = g.weight(random.integers(low, low + 16, (6,)), kind)
        g("DequantizeLinear", packed, scales(6), zeros, axis=0)
        g("DequantizeLinear", packed, scales(6, 4), axis=1, block_size=8)
        odd = g.weight(random.integers(low, low + 16, (3, 5)), kind)
        g("DequantizeLinear", odd, one)
        q = g("QuantizeLinear", x, np.float32(0.2), g.weight(np.array(low + 9), kind), keep=False)
        g("DequantizeLinear", q, np.float32(0.2), g.weight(np.array(low + 9), kind))
    return g


def floats_of_bytes():
    """8-bit floats as quantised types, beyond what they reach and with what is no number."""
    g = Graph("quantised_floats")
    wide = floats(4, 24, scale=2.0) * np.float32(2.0) ** random.integers(-20, 20, (4, 24)).astype(np.float32)
    wide[0, :5] = [np.inf, -np.inf, np.nan, 0.0, -0.0]
    x, by = g.input("x", floats(4, 24, scale=2.0)), scales(24)
    wide = g.input("wide", wide.astype(np.float32))
    one = np.float32(1024)  # the smallest numbers are seen beside what is tolerated
    for kind in (TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E5M2):
        none = g.weight(np.array(0), kind)
        for saturate in (0, 1):
            q = g("QuantizeLinear", wide, np.float32(0.03), none, saturate=saturate, keep=False)
            g("DequantizeLinear", q, one, none)
        q = g("QuantizeLinear", x, by, g.weight(np.zeros(24), kind), axis=-1, keep=False)
        g("DequantizeLinear", q, one)
        q = g("QuantizeLinear", x, scales(4, 3), axis=1, block_size=8, output_dtype=kind, keep=False)
        g("DequantizeLinear", q, scales(4, 3), axis=1, block_size=8)
        g("DequantizeLinear", g.weight(floats(4, 24), kind), scales(24).astype(np.float16))
    return g


def products_of_floats():
    """Products and convolutions of 8-bit floats, as exporters write them. Their factors are small integers,
    so that no sum has more than the 14 bits that tensor cores keep."""
    def whole(*shape):
        return random.integers(-3, 4, shape).astype(np.float32)

    g = Graph("quantised_float_products")
    step = np.float32(0.02)
    x, image = g.input("x", whole(2, 3, 64) * step), g.input("image", whole(2, 6, 9, 9) * step)
    for left, right in ((17, 17), (19, 17), (17, 19)):
        one = [step, g.weight(np.array(0), left)]
        a = g("DequantizeLinear", g("QuantizeLinear", x, *one, keep=False), *one, keep=False)
        w = g.weight(whole(64, 48), right)
        b = g("DequantizeLinear", w, scales(48), g.weight(np.zeros(48), right), axis=1, keep=False)
        g("MatMul", a, b)
        b = g("DequantizeLinear", g.weight(whole(48, 64), right), np.float32(0.01), keep=False)
        g("MatMul", a, g("Transpose", b, perm=[1, 0], keep=False))
        rows = g("Reshape", a, np.array([6, 64]), keep=False)
        g("Gemm", rows, b, floats(48), transB=1)
    one = [step, g.weight(np.array(0), 17)]
    a = g("DequantizeLinear", g("QuantizeLinear", image, *one, keep=False), *one, keep=False)
    w = g.weight(whole(8, 6, 3, 3), 17)
    g("Conv", a, g("DequantizeLinear", w, scales(8), axis=0, keep=False), pads=[1, 1, 1, 1])
    return g


def products():
    """Products of bytes, and of floats with weights of few bits."""
    g = Graph("quantised_products")
    x = g.input("x", floats(2, 3, 64))
    a = g.input("a", integers(np.uint8, 2, 3, 64))
    w, wu = integers(np.int8, 64, 48), integers(np.uint8, 64, 48)
    g("MatMulInteger", a, w)
    g("MatMulInteger", a, w, np.uint8(131))
    g("MatMulInteger", a, wu, np.uint8(131), integers(np.uint8, 48))
    q, scale, zero = g("DynamicQuantizeLinear", x, out=3, keep=False)
    g("MatMulInteger", q, w, zero, np.int8(3))
    g("QLinearMatMul", a, np.float32(0.02), np.uint8(120), w, np.float32(0.01), np.int8(1),
      np.float32(0.3), np.uint8(128))
    g("QLinearMatMul", a, np.float32(0.02), np.uint8(120), wu, np.float32(0.01), np.uint8(130),
      np.float32(0.3), np.uint8(128))
    left = g("DequantizeLinear", q, scale, zero, keep=False)
    right = g("DequantizeLinear", w, scales(48), axis=1, keep=False)
    g("MatMul", left, right)
    g.ms("MatMulIntegerToFloat", a, w, np.float32(0.02), scales(48), np.uint8(120), np.zeros(48, np.int8), floats(48))
    g.ms("DynamicQuantizeMatMul", x, w, scales(48), np.zeros(48, np.int8), floats(48))
    rows = integers(np.uint8, 5, 64)
    g.ms("QGemm", rows, np.float32(0.02), np.uint8(120), integers(np.int8, 10, 64), scales(10),
         np.zeros(10, np.int8), random.integers(-9999, 9999, 10).astype(np.int32), np.float32(0.4),
         np.uint8(128), transB=1)
    g.ms("QGemm", rows, np.float32(0.02), np.uint8(120), integers(np.int8, 64, 10), np.float32(0.01),
         np.int8(0), alpha=0.5)
    for bits, n, k, block in ((4, 24, 64, 32), (4, 10, 40, 16), (8, 24, 64, 32), (2, 24, 64, 32)):
        blocks = -(-k // block)
        b, s = integers(np.uint8, n, blocks, block * bits // 8), scales(n, blocks)
        left = x if k == 64 else g("Slice", x, np.array([0]), np.array([k]), np.array([2]), keep=False)
        how = {"K": k, "N": n, "bits": bits, "block_size": block}
        g.ms("MatMulNBits", left, b, s, **how)
        packed = integers(np.uint8, n, -(-blocks * bits // 8))
        g.ms("MatMulNBits", left, b, s, packed, **how)
        if bits == 4:
            g.ms("MatMulNBits", left, b, s, packed, "", floats(n), **how)
    return g


def tables():
    """Tables of few bits, and elementwise ops of bytes."""
    g = Graph("quantised_tables")
    ids = g.input("ids", random.integers(0, 40, (2, 5)).astype(np.int64))
    g.ms("GatherBlockQuantized", integers(np.uint8, 40, 32), ids, scales(40, 4), bits=4, block_size=16)
    g.ms("GatherBlockQuantized", integers(np.uint8, 40, 32), ids, scales(40, 4), integers(np.uint8, 40, 2),
         bits=4, block_size=16)
    g.ms("GatherBlockQuantized", integers(np.uint8, 40, 32), ids, scales(40, 2), bits=8, block_size=16)
    narrow = g.weight(random.integers(-8, 8, (40, 32)), TensorProto.INT4)
    g.ms("GatherBlockQuantized", narrow, ids, scales(40, 2), gather_axis=0, quantize_axis=1, block_size=16)
    a, b = g.input("a", integers(np.uint8, 2, 6, 4, 4)), integers(np.uint8, 6, 1, 4)
    by = [np.float32(0.02), np.uint8(120)]
    g.ms("QLinearAdd", a, *by, b, np.float32(0.03), np.uint8(99), np.float32(0.05), np.uint8(128))
    g.ms("QLinearMul", a, *by, b, np.float32(0.03), np.uint8(99), np.float32(0.04), np.uint8(128))
    g.ms("QLinearSigmoid", a, *by, np.float32(1 / 256), np.uint8(0))
    g.ms("QLinearLeakyRelu", a, *by, np.float32(0.018), np.uint8(60), alpha=0.125)
    g.ms("QLinearConcat", np.float32(0.03), np.uint8(120), a, *by, a, np.float32(0.05), np.uint8(100), axis=1)
    g.ms("QLinearGlobalAveragePool", a, *by, np.float32(0.01), np.uint8(128), channels_last=0)
    return g


def windows():
    """Convolutions of bytes, and pools."""
    g = Graph("quantised_windows")
    x, image = g.input("x", integers(np.uint8, 2, 6, 9, 9)), g.input("image", floats(2, 6, 9, 9))
    pads = {"pads": [1, 1, 1, 1]}
    w, wu = integers(np.int8, 8, 6, 3, 3), integers(np.uint8, 8, 3, 3, 3)
    g("ConvInteger", x, wu.repeat(2, axis=1), np.uint8(117), **pads)
    g("ConvInteger", x, wu.repeat(2, axis=1), np.uint8(117), np.uint8(125))
    bias = random.integers(-9999, 9999, 8).astype(np.int32)
    y = [np.float32(0.8), np.uint8(110)]
    g("QLinearConv", x, np.float32(0.02), np.uint8(117), w, scales(8), np.zeros(8, np.int8), *y, bias,
      strides=[2, 2], **pads)
    g("QLinearConv", x, np.float32(0.02), np.uint8(117), wu, np.float32(0.01), np.uint8(125), *y,
      group=2, **pads)
    left = g("DequantizeLinear", x, np.float32(0.02), np.uint8(117), keep=False)
    right = g("DequantizeLinear", w, scales(8), np.zeros(8, np.int8), axis=0, keep=False)
    g("Conv", left, right, **pads)
    for source in (x, image):
        g("MaxPool", source, kernel_shape=[3, 3], strides=[2, 2], **pads)
        g("MaxPool", source, kernel_shape=[2, 5], strides=[2, 3], ceil_mode=1)
    g("MaxPool", image, kernel_shape=[3, 2], dilations=[2, 3], strides=[1, 2])
    g("MaxPool", image, kernel_shape=[4, 4], auto_pad="SAME_UPPER", strides=[2, 2])
    g("GlobalMaxPool", image)
    return g


def write(graph, folder):
    model = graph.model()
    onnx.checker.check_model(model)
    path = folder / f"{graph.name}.onnx"
    path.write_bytes(model.SerializeToString())
    session = run_session(model)
    outputs = dict(zip([o.name for o in session.get_outputs()], session.run(None, graph.inputs)))
    case = f"{graph.name}.case0.npz"
    np.savez(folder / case, **{f"in:{k}": v for k, v in graph.inputs.items()},
             **{f"out:{k}": v for k, v in outputs.items()})
    ops = sorted({(n.domain + "::" if n.domain else "") + n.op_type for n in graph.nodes})
    return {"file": path.name, "exporter": "quantised.py", "family": "ops of quantised tensors",
            "opset": graph.opset, "ir_version": graph.ir_version, "nodes": len(graph.nodes), "ops": ops,
            "cases": [case], "golden_from": "ORT CPU, ORT_DISABLE_ALL", "tolerance": TOLERANCE,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent)
    folder = parser.parse_args().out
    entries = [write(build(), folder) for build in (elements, products, tables, windows, floats_of_bytes, products_of_floats)]
    manifest = folder / "MANIFEST.json"
    kept = [e for e in json.loads(manifest.read_text()) if e["exporter"] != "quantised.py"]
    manifest.write_text(json.dumps(kept + entries, indent=1) + "\n")


main()
