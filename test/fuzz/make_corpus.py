#!/usr/bin/env python3
"""Writes the seeds of the fuzzers, and the words they know.

    python make_corpus.py FOLDER [CLEAVE]

FOLDER/frontend gets models of a few kilobytes, each a part of what the front end
reads; FOLDER/tensors gets arrays and archives; FOLDER/artifact, where CLEAVE is given,
programs and manifests that it writes; FOLDER/dictionary.txt the names of ops,
attributes and types.
"""
import io
import os
import struct
import subprocess
import sys
import tempfile
import zipfile

import numpy as np
from onnx import AttributeProto, TensorProto, defs, helper, numpy_helper

F32, F16, BF16, I64, I32, BOOL = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16,
                                  TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL)
MICROSOFT = "com.microsoft"


def value(name, dims, kind=F32):
    return helper.make_tensor_value_info(name, kind, dims)


def tensor(name, dims, values=None, kind=F32):
    count = int(np.prod(dims))
    return helper.make_tensor(name, kind, dims, [i % 3 for i in range(count)]
                              if values is None else values)


def ints(name, *values):
    return tensor(name, [len(values)], values, I64)


def node(op, inputs, outputs, domain="", **attributes):
    return helper.make_node(op, inputs.split(","), outputs.split(","), name=f"a {op}",
                            domain=domain, **attributes)


def model(nodes, inputs, outputs, initializers=(), opset=18, functions=(), domains=()):
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializers)
    opsets = [helper.make_opsetid("", opset)] + [helper.make_opsetid(d, 1) for d in domains]
    return helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=10)


def outputs(*names):
    return [value(name, None) for name in names]


def initializers():
    """Listed as an input, shared by two nodes, in typed fields and of several types."""
    half = tensor("half", [4], [0.5, 1, 2, -1], F16)
    brain = tensor("brain", [4], [0.5, 1, 2, -1], BF16)
    nodes = [node("Gemm", "x,w,b", "y", transB=1, alpha=0.5), node("MatMul", "y,w", "z"),
             node("Cast", "half", "h", to=F32), node("Cast", "brain", "r", to=F32),
             node("Add", "z,h", "s"), node("Add", "s,r", "t")]
    return model(nodes, [value("x", ["N", 4]), value("w", [4, 4])], outputs("t"),
                 [tensor("w", [4, 4]), tensor("b", [4]), half, brain])


def elsewhere():
    """External data."""
    far = tensor("far", [2, 2])
    far.ClearField("float_data")
    far.data_location = TensorProto.EXTERNAL
    for key, text in (("location", "w.bin"), ("offset", "64"), ("length", "16")):
        far.external_data.add(key=key, value=text)
    return model([node("MatMul", "x,far", "y")], [value("x", ["N", 2])], outputs("y"), [far])


def large():
    """Bytes above the size that is kept inline."""
    integers = numpy_helper.from_array(np.arange(300, dtype=np.int64).reshape(2, 150), "integers")
    floats = numpy_helper.from_array(np.zeros((2, 200), np.float32), "floats")
    nodes = [node("Gather", "integers,i", "z", axis=1), node("Cast", "z", "c", to=F32),
             node("MatMul", "x,floats", "y"), node("ReduceSum", "y", "s", keepdims=1),
             node("Add", "s,c", "t")]
    return model(nodes, [value("x", ["N", 2])], outputs("t"), [integers, floats, ints("i", 1, 149)])


def functions():
    """A function that calls another, with a default and an attribute that is passed on."""
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("my", 1)]
    scale = node("LeakyRelu", "a", "b")
    scale.attribute.append(AttributeProto(name="alpha", ref_attr_name="slope",
                                          type=AttributeProto.FLOAT))
    inner = helper.make_function("my", "Inner", ["a"], ["b"], [scale], opsets, ["slope"])
    inner.attribute_proto.append(helper.make_attribute("bias", 1.0))
    call = node("Inner", "p", "q", "my")
    call.attribute.append(AttributeProto(name="slope", ref_attr_name="steep",
                                         type=AttributeProto.FLOAT))
    outer = helper.make_function("my", "Outer", ["p", "o"], ["r"],
                                 [call, node("Add", "q,o", "r")], opsets, ["steep"])
    nodes = [node("Outer", "x,x", "y", "my", steep=0.1), node("Outer", "y,x", "z", "my", steep=0.2)]
    return model(nodes, [value("x", ["N", 3])], outputs("z"), functions=[inner, outer],
                 domains=["my"])


def branches():
    """An If on a constant whose branches read the outer graph, and graphs of other ops."""
    def branch(name, op):
        return helper.make_graph([node(op, "x,w", "out")], name, [], outputs("out"))

    body = helper.make_graph([node("Identity", "c", "d"), node("Add", "v,x", "u")], "body",
                             [value("i", [], I64), value("c", [], BOOL), value("v", [2, 2])],
                             outputs("d", "u"))
    nodes = [node("If", "yes", "y", then_branch=branch("t", "Mul"), else_branch=branch("e", "Add")),
             node("Loop", "n,yes,y", "z", body=body)]
    return model(nodes, [value("x", [2, 2])], outputs("y"),
                 [tensor("yes", [], [True], BOOL), tensor("w", [2, 2]), tensor("n", [], [2], I64)])


def shapes():
    """Shape arithmetic as exporters write it, with the ops that only move."""
    nodes = [node("Shape", "x", "s"), node("Gather", "s,zero", "n"), node("Unsqueeze", "n,axis", "u"),
             node("Concat", "u,minus", "t", axis=0), node("Reshape", "x,t", "r"),
             node("ConstantOfShape", "t2", "k", value=tensor("v", [1], [1.0])),
             node("Range", "zero,n,one", "range"), node("Slice", "x,start,end,axis,step", "part"),
             node("Split", "x", "left,right", axis=1, num_outputs=2), node("Expand", "left,big", "e"),
             node("Tile", "e,rep", "tile"), node("Where", "c,r,k", "w"), node("Trilu", "tile", "tri"),
             node("Transpose", "tri", "turned", perm=[1, 2, 0]), node("Pad", "turned,pads", "padded"),
             node("Squeeze", "u,axis", "sq"), node("CumSum", "range,zero", "sum"),
             node("OneHot", "range,depth,onoff", "hot"), node("Flatten", "padded", "flat"),
             node("GatherElements", "x,idx", "ge", axis=1), node("GatherND", "x,idx", "gn"),
             node("ScatterND", "x,idx,upd", "sc"), node("Size", "flat", "size"),
             node("TopK", "x,k1", "best,where", axis=-1), node("Equal", "s,t", "eq")]
    constants = [tensor("zero", [], [0], I64), tensor("one", [], [1], I64), ints("axis", 0),
                 ints("minus", -1), ints("t2", 2, 4), ints("start", -1), ints("end", -100),
                 ints("step", -1), ints("big", 3, 1, 1), ints("rep", 1, 2, 1),
                 tensor("c", [4], [1, 0, 1, 0], BOOL), ints("pads", 0, 1, 0, 0, 0, 1),
                 tensor("depth", [], [4], I64), tensor("onoff", [2], [0, 1]),
                 tensor("idx", [2, 2], [0, 1, 1, 3], I64), tensor("upd", [2]), ints("k1", 2)]
    return model(nodes, [value("x", ["N", 4])],
                 outputs("w", "flat", "sq", "sum", "hot", "ge", "gn", "sc", "best", "where", "part"),
                 constants)


def attention():
    """The newest standard ops of a decoder with a cache."""
    nodes = [node("RMSNormalization", "x,w", "n", axis=-1, epsilon=1e-5),
             node("RotaryEmbedding", "n,cos,sin,pos", "q", num_heads=2),
             node("Attention", "q,n,n,mask,pk,pv", "y,key,val", q_num_heads=2, kv_num_heads=2,
                  is_causal=1, softcap=2.0),
             node("Gelu", "y", "g", approximate="tanh"), node("Swish", "g", "z", alpha=1.5),
             node("TensorScatter", "pk,fresh", "buffer", axis=2)]
    return model(nodes, [value("x", ["N", "S", 8]), value("mask", ["S", "P+S"], BOOL),
                         value("pk", ["N", 2, "P", 4]), value("pv", ["N", 2, "P", 4]),
                         value("pos", ["N", "S"], I64), value("fresh", ["N", 2, 1, 4])],
                 outputs("z", "key", "val", "buffer"),
                 [tensor("w", [8]), tensor("cos", [8, 2]), tensor("sin", [8, 2])], opset=24)


def contrib():
    """ONNX Runtime's own ops."""
    nodes = [node("SkipLayerNormalization", "x,x,g,b", "n,,,s", MICROSOFT, epsilon=1e-5),
             node("SkipSimplifiedLayerNormalization", "n,s,g", "m", MICROSOFT),
             node("Attention", "m,wqkv,bqkv,am", "a", MICROSOFT, num_heads=2, unidirectional=1),
             node("RotaryEmbedding", "a,pos,cos,sin", "r", MICROSOFT, num_heads=2),
             node("BiasGelu", "r,b", "f", MICROSOFT), node("QuickGelu", "f", "q", MICROSOFT, alpha=1.5),
             node("GroupQueryAttention", "q,m,m,pk,pv,last,total,cos,sin", "o,key,val", MICROSOFT,
                  num_heads=2, kv_num_heads=2, do_rotary=1),
             node("SimplifiedLayerNormalization", "o,g", "z", axis=-1),
             node("EmbedLayerNormalization", "ids,,table,table,,g,b,ids", "emb,len", MICROSOFT)]
    return model(nodes, [value("x", ["N", "S", 8]), value("am", ["N", "S"], I32),
                         value("pos", ["N", "S"], I64), value("pk", ["N", 2, 5, 4]),
                         value("pv", ["N", 2, 5, 4]), value("last", ["N"], I32),
                         value("ids", ["N", "S"], I32)],
                 outputs("z", "key", "val", "emb"),
                 [tensor("g", [8]), tensor("b", [8]), tensor("wqkv", [8, 24]), tensor("bqkv", [24]),
                  tensor("cos", [8, 2]), tensor("sin", [8, 2]), tensor("total", [1], [5], I32),
                  tensor("table", [8, 8])], domains=[MICROSOFT])


def unsorted():
    """Nodes against their order, optional inputs and outputs left out, a name used inside too."""
    nodes = [node("Mul", "b,a", "y"), node("Clip", "x,,hi", "b"), node("Dropout", "x", "a,"),
             node("LayerNormalization", "y,w", "z,,", axis=1)]
    return model(nodes, [value("x", ["N", 3])], outputs("z"),
                 [tensor("hi", [], [2.0]), tensor("w", [3])])


def windows():
    """Convolution, pooling and norms per channel, as opset 9 has them."""
    nodes = [node("Conv", "x,w,b", "c", strides=[2, 1], pads=[1, 0, 1, 0], dilations=[1, 2], group=2),
             node("BatchNormalization", "c,s,s,s,s", "n"), node("Relu", "n", "r"),
             node("AveragePool", "r", "p", kernel_shape=[2, 1], auto_pad="SAME_UPPER"),
             node("GlobalAveragePool", "p", "g"), node("PRelu", "g,slope", "l"),
             node("Softmax", "l", "f", axis=1), node("ReduceMean", "f", "m", axes=[1], keepdims=0),
             node("ArgMax", "m", "k", axis=1), node("HardSigmoid", "m", "h", alpha=0.3)]
    return model(nodes, [value("x", ["N", 4, 5, 6])], outputs("k", "h"),
                 [tensor("w", [4, 2, 2, 2]), tensor("b", [4]), tensor("s", [4]),
                  tensor("slope", [4, 1, 1])], opset=9)


def types():
    """Element types that are computed with, and constants of each form."""
    kinds = [TensorProto.DOUBLE, F16, BF16, I32, I64, TensorProto.INT8, TensorProto.UINT8,
             TensorProto.INT16, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64, BOOL]
    nodes = [node("Cast", "x" if i == 0 else f"c{i - 1}", f"c{i}", to=kind)
             for i, kind in enumerate(kinds)]
    nodes += [node("CastLike", "c11,x", "y"), node("Constant", "", "k", value_floats=[1.0, 2.0]),
              node("Constant", "", "l", value_int=3), node("Constant", "", "m", value=tensor("v", [2])),
              node("Add", "k,m", "z"), node("Cast", "l", "w", to=F32), node("Sum", "y,z,w", "s")]
    return model(nodes, [value("x", [2])], outputs("s"), opset=21)


def unusual():
    """Types that are read, and mostly not computed with."""
    text = helper.make_tensor("text", TensorProto.STRING, [2], [b"a", b"b"])
    nibbles = helper.make_tensor("nibbles", TensorProto.INT4, [3], [1, -2, 3])
    sequence = helper.make_tensor_sequence_value_info("q", F32, ["N", None])
    nodes = [node("SequenceAt", "q,i", "y"), node("Identity", "text", "t"),
             node("DequantizeLinear", "nibbles,s", "d"),
             node("Constant", "", "l", value_strings=[b"u"])]
    return model(nodes, [sequence, value("x", [-1])], outputs("y", "t"),
                 [text, nibbles, tensor("i", [], [0], I64), tensor("s", [])], opset=21)


def array(values, version=(1, 0)):
    out = io.BytesIO()
    np.lib.format.write_array(out, values, version=version)
    return out.getvalue()


def archive(arrays, compression=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as file:
        for name, values in arrays.items():
            file.writestr(zipfile.ZipInfo(name + ".npy"), array(values), compression)
    return out.getvalue()


def tensors():
    grid = np.arange(6, dtype=np.float32).reshape(2, 3)
    yield "matrix", array(grid)
    yield "columns", array(np.asfortranarray(grid.astype(np.int64)))
    yield "scalar", array(np.float16(1.5))
    yield "empty", array(np.zeros((0, 3), np.uint8), (2, 0))
    yield "flags", array(np.array([True, False]), (3, 0))
    yield "archive", archive({"a": grid, "b@bf16": np.array([1, 2], np.uint16)})
    yield "packed", archive({"a": np.zeros(100, np.int32)}, zipfile.ZIP_DEFLATED)


def artifacts(cleave):
    """A program over axes, with collectives and files of weights, and its manifest as far as its digest."""
    product = model([node("MatMul", "x,w", "y"), node("Softmax", "y", "z")], [value("x", [2, 64])], outputs("z"),
                    [tensor("w", [64, 48], np.arange(64 * 48) % 7)])
    with tempfile.TemporaryDirectory() as work:
        source = os.path.join(work, "model.onnx")
        with open(source, "wb") as out:
            out.write(product.SerializeToString())
        for name, rest in (("shards", []), ("reference", ["--weights", "reference"]), ("simt", ["--target", "simt"])):
            target = os.path.join(work, name)
            subprocess.run([os.path.abspath(cleave), "compile", source, "--mesh", "tp=2", *rest, "-o", target],
                           check=True, cwd=work, stdout=subprocess.DEVNULL)
            with open(os.path.join(target, "program"), "rb") as file:
                yield f"program-{name}", file.read()
            with open(os.path.join(target, "manifest.json"), "rb") as file:
                yield f"manifest-{name}", file.read().rpartition(b',\n  "digest"')[0]
    # An image for the simulator, of one segment and one section.
    header = struct.pack("<4sBBB9xHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 3, 62, 1, 0, 64, 120, 0, 64, 56, 1, 64, 1, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 4, 0, 0, 0, 184, 184, 8)
    yield "image", header + segment + struct.pack("<IIQQQQIIQQ", 0, 1, 0, 0, 64, 56, 0, 0, 8, 0)


def words():
    """Names of the standard that a mutation alone would not hit upon."""
    found = {"", "ai.onnx", MICROSOFT, "location", "offset", "length", "..", "/", "NOTSET", "VALID",
             "SAME_LOWER", "constant", "reflect", "none", "max", "tanh"}
    for schema in defs.get_all_schemas():
        if schema.domain == "":
            found.add(schema.name)
            found.update(schema.attributes)
    return sorted(found - {""})


def main(folder, cleave=None):
    for kind, seeds in (("artifact", artifacts(cleave) if cleave else ()), ("frontend", ((make.__name__, make().SerializeToString()) for make in (
            initializers, elsewhere, large, functions, branches, shapes, attention, contrib,
            unsorted, windows, types, unusual))), ("tensors", tensors())):
        os.makedirs(os.path.join(folder, kind), exist_ok=True)
        for name, data in seeds:
            with open(os.path.join(folder, kind, name), "wb") as out:
                out.write(data)
    with open(os.path.join(folder, "dictionary.txt"), "w") as out:
        out.writelines(f'"{word}"\n' for word in words())


main(*sys.argv[1:])
