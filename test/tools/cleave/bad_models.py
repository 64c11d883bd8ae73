#!/usr/bin/env python3
"""Models that lie, and files that are none, through every program that reads one.

    python bad_models.py CLEAVE CLEAVE_OPT MODEL.onnx

MODEL.onnx is a good one, to be cut off and damaged.
"""
import os
import random
import sys
import tempfile

from onnx import AttributeProto, TensorProto, helper

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
from refusals import Refusals, model, value  # noqa: E402

CLEAVE, CLEAVE_OPT, GOOD = sys.argv[1:]
RELU = helper.make_node("Relu", ["w"], ["y"], name="relu")


def commands(path):
    """Every way of reading a model."""
    for subcommand in ("run", "inspect", "bench"):
        yield [CLEAVE, subcommand, path]
    for subcommand in ("check", "explain"):
        yield [CLEAVE, subcommand, path, "--mesh", "tp=2"]
    yield [CLEAVE_OPT, path]


def with_tensor(**fields):
    """y = relu(w), w a tensor of two floats in which `fields` are changed."""
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [2], [1, 2])
    for name, content in fields.items():
        if isinstance(content, list):
            tensor.ClearField(name)
            getattr(tensor, name).extend(content)
        else:
            setattr(tensor, name, content)
    return model([RELU], [value("x", [2])], [value("y", [2])], [tensor])


def external(location, offset="0", length="8"):
    built = with_tensor(float_data=[], data_location=TensorProto.EXTERNAL)
    for key, text in (("location", location), ("offset", offset), ("length", length)):
        if text is not None:
            built.graph.initializer[0].external_data.add(key=key, value=text)
    return built


def with_node(op, inputs=("x",), domain="", opset=18, dims=(2,), **attributes):
    node = helper.make_node(op, inputs, ["y"], name="the node", domain=domain, **attributes)
    built = model([node], [value("x", dims)], [value("y", None)], opset=opset)
    if domain:
        built.opset_import.append(helper.make_opsetid(domain, 1))
    return built


def mixed_attribute():
    """It says that it is an integer, and holds a float."""
    built = with_node("Softmax")
    built.graph.node[0].attribute.append(AttributeProto(name="axis", type=AttributeProto.INT, f=1))
    return built


def bound(**attributes):
    """A Softmax in a function, whose axis the caller gives."""
    inner = helper.make_node("Softmax", ["a"], ["b"], name="inner")
    inner.attribute.append(AttributeProto(name="axis", ref_attr_name="dim", type=AttributeProto.INT))
    built = with_node("F", domain="f", dims=(2, 3), **attributes)
    built.functions.append(helper.make_function("f", "F", ["a"], ["b"], [inner],
                                                [helper.make_opsetid("", 18)], ["dim"]))
    return built


def off_schema():
    """(node, words of the message) of nodes of which onnx.checker says no more than this either."""
    yield with_node("Softmax", axis=1.0), ["Softmax", '"axis"', "an integer", "a float"]
    yield with_node("Softmax", axis="1"), ['"axis"', "a string"]
    yield with_node("Softmax", axis=[1]), ['"axis"', "a list of integers"]
    yield with_node("Softmax", opset=11, axes=1), ["opset 11", '"axes"', "no such attribute"]
    yield with_node("Cast"), ["Cast", 'lacks attribute "to"']
    yield with_node("Relu", ("x", "x")), ["Relu", "1 inputs", "2"]
    yield with_node("Relu", ("x", "")), ["Relu", "1 inputs", "2"]
    yield with_node("Clip", ("x", "", "", "")), ["Clip", "1 to 3 inputs", "4"]
    yield with_node("Concat", (), axis=0), ["Concat", "1 or more inputs", "0"]
    more = with_node("Relu")
    more.graph.node[0].output.append("z")
    yield more, ["Relu", "1 outputs", "2"]


def with_output(kind=TensorProto.FLOAT, shape=None):
    """relu of two by three floats, said to be something else."""
    return model([helper.make_node("Relu", ["x"], ["y"], name="relu")], [value("x", [2, 3])],
                 [value("y", shape, kind)])


def declared():
    """Outputs that are not what they are declared to be."""
    yield with_output(shape=[2, 4]), ['"y"', "f32 [2, 3]", "f32 [2, 4]"]
    yield with_output(shape=[6]), ['"y"', "f32 [2, 3]", "f32 [6]"]
    yield with_output(shape=["N", 4]), ['"y"', "f32 [2, 3]", "f32 [?, 4]"]
    yield with_output(TensorProto.DOUBLE), ['"y"', "f32 [2, 3]", "f64 of any rank"]


def chosen(op, index, **attributes):
    """Of three rows, one that is not there."""
    shape = [1] if op == "Gather" else [1, 2]
    indices = helper.make_tensor("i", TensorProto.INT64, shape, [index] * shape[-1])
    return model([helper.make_node(op, ["x", "i"], ["y"], name="the node", **attributes)],
                 [value("x", [3, 2])], [value("y", None)], [indices])


def lies():
    """(model, words of the message) of models that cannot be imported."""
    yield with_tensor(dims=[-2]), ['"w"', "negative", "-2"]
    yield with_tensor(dims=[2**62]), ['"w"']
    yield with_tensor(dims=[2**33, 2**33]), ['"w"', "addresses"]
    yield with_tensor(dims=[3]), ['"w"', "want: 3"]
    yield with_tensor(dims=[1]), ['"w"', "want: 1"]
    yield with_tensor(float_data=[], raw_data=b"1234567"), ['"w"', "8 bytes", "7"]
    yield with_tensor(data_type=99), ['"w"', "99"]
    yield with_tensor(data_type=0), ['"w"', "element type"]
    for location in (os.path.abspath(GOOD), "../w.bin", "inner/../../w.bin", "w.bin\0x"):
        yield external(location), ['"w"', "outside the model's folder"]
    for location in (None, ""):
        yield external(location), ['"w"', "without a location"]
    yield external("missing.bin"), ['"w"', "missing.bin"]
    yield external("inner"), ['"w"', "inner"]
    yield external("link.bin"), ['"w"', "symbolic link", "copy the file"]
    yield external("links/w.bin"), ['"w"', "symbolic link"]
    yield external("second.bin"), ['"w"', "plain file"]
    yield external("pipe"), ['"w"', "plain file"]
    yield external("w.bin", "9"), ['"w"', "beyond"]
    yield external("w.bin", str(2**64 - 4)), ['"w"', "beyond"]
    yield external("w.bin", str(2**70)), ['"w"', "offset"]
    yield external("w.bin", "-8"), ['"w"', "offset"]
    yield external("w.bin", "eight"), ['"w"', "offset"]
    yield external("w.bin", "0", "4"), ['"w"', "8 bytes", "4"]
    yield external("w.bin", "0", "-1"), ['"w"', "length"]
    yield with_node("Relu", opset=0), ["opset 0"]
    yield with_node("Relu", opset=-3), ["opset -3"]
    yield with_node("Relu", dims=(-7,)), ['"x"', "negative"]
    yield with_node("Add", ("x", "nowhere")), ['"the node"', '"nowhere"']
    twice = with_tensor()
    twice.graph.initializer.append(twice.graph.initializer[0])
    yield twice, ['"w"', "twice"]
    cycle = [helper.make_node("Add", ["x", "b"], ["a"], name="first"),
             helper.make_node("Relu", ["a"], ["b"], name="second")]
    yield model(cycle, [value("x", [2])], [value("a", None)]), ['"first"', "cycle"]
    yield model([RELU, RELU], [value("w", [2])], [value("y", None)]), ["exists already"]
    yield model([RELU], [value("w", [2])], [value("z", None)]), ['"z"']
    yield mixed_attribute(), ['"the node"', '"axis"', "another type"]
    unnamed = with_node("Relu")
    unnamed.graph.node[0].attribute.append(AttributeProto(type=AttributeProto.INT, i=1))
    yield unnamed, ['"the node"', "attribute"]


def lacks():
    """(model, words of the message) of models that mean nothing, or nothing that is supported."""
    yield with_tensor(dims=[0, 2**62], float_data=[]), ['"w"', "impossible size"]
    yield with_node("Wobble"), ['"the node"', "Wobble"]
    yield with_node("Relu", domain="my.ops"), ['"the node"', "my.ops"]
    yield with_node("LSTM", ("x", "x", "x")), ['"the node"', "LSTM"]
    yield with_node("Relu", dims=(2**40, 2**40)), ['"x"', "impossible size"]
    yield with_node("Add"), ['"the node"']
    yield with_node("Softmax", axis=5), ['"the node"', "5"]
    yield with_node("MatMul", ("x", "x"), dims=(2, 3)), ['"the node"', "f32 [2, 3]"]
    for built, words in off_schema():
        yield built, ['"the node"', *words]
    yield bound(dim=1.0), ['"inner"', '"axis"', "a float"]
    # No schema of com.microsoft is known.
    yield with_node("QuickGelu", domain="com.microsoft", alpha=2), ['"the node"', '"alpha"']
    yield from declared()
    for index in (3, -4, 2**40, -2**63):
        for op in ("Gather", "GatherElements"):
            yield chosen(op, index), ['"the node"', "-3 to 2", str(index)]
    yield model(
        [helper.make_node("Expand", ["x", "s"], ["y"], name="the node")], [value("x", [1])],
        [value("y", None)], [helper.make_tensor("s", TensorProto.INT64, [2], [2**40, 2**40])]), [
            '"the node"', "impossible size"]
    endless = helper.make_function("f", "Endless", ["a"], ["b"], [
        helper.make_node("Endless", ["a"], ["b"], domain="f")], [helper.make_opsetid("f", 1)])
    called = with_node("Endless", domain="f")
    called.functions.append(endless)
    yield called, ["deeper"]
    doubling = with_node("F40", domain="f")
    for i in range(41):
        body = [helper.make_node(f"F{i - 1}", ["a"], ["b"], domain="f") if i else
                helper.make_node("Relu", ["a"], ["b"]),
                helper.make_node(f"F{i - 1}", ["b"], ["c"], domain="f") if i else
                helper.make_node("Relu", ["b"], ["c"])]
        doubling.functions.append(helper.make_function(
            "f", f"F{i}", ["a"], ["c"], body,
            [helper.make_opsetid("f", 1), helper.make_opsetid("", 18)]))
    yield doubling, ["nodes"]


def main():
    with tempfile.TemporaryDirectory() as work:
        t = Refusals(work)
        with open(GOOD, "rb") as file:
            good = file.read()
        t.write("w.bin", b"12345678")
        os.mkdir(t.path("inner"))
        os.symlink(t.path("w.bin"), t.path("link.bin"))
        os.symlink(work, t.path("links"))
        t.write("first.bin", b"12345678")
        os.link(t.path("first.bin"), t.path("second.bin"))
        os.mkfifo(t.path("pipe"))

        draw = random.Random(1)
        files = {"empty.onnx": b"", "text.onnx": b"once upon a time\n" * 40,
                 "zeros.onnx": bytes(1000), "json.onnx": b'{"graph": {}}'}
        for i in range(8):
            files[f"random{i}.onnx"] = draw.randbytes(draw.randrange(1, 4000))
        for name, data in files.items():
            for command in commands(t.write(name, data)):
                t.expect(command, name, "no ONNX model")
        # A cut between two fields of the model is a shorter model, without its graph's end.
        for i in range(40):
            cut = t.write("cut.onnx", good[:draw.randrange(1, len(good) - 1)])
            t.expect([CLEAVE, "inspect", cut], "cut.onnx")
        for command in commands(cut):
            t.expect(command, "cut.onnx")
        for path in ("missing.onnx", "inner", "pipe"):
            for command in commands(t.path(path)):
                if command[0] == CLEAVE or path.endswith(".onnx"):
                    t.expect(command, path)
        for built, words in lies():
            for command in commands(t.write("lie.onnx", built.SerializeToString())):
                t.expect(command, "lie.onnx", *words)
        for built, words in lacks():
            for command in commands(t.write("lie.onnx", built.SerializeToString())):
                if command[1] not in ("inspect", t.path("lie.onnx")):
                    t.expect(command, "lie.onnx", *words)
        t.end()


main()
