#!/usr/bin/env python3
"""Requests that cannot be met: flags, meshes, sizes, inputs, and places to write to.

    python bad_requests.py CLEAVE CLEAVE_OPT CLEAVE_RUN
"""
import os
import resource
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
from refusals import Refusals, gather, model as graph, value  # noqa: E402

CLEAVE, CLEAVE_OPT, CLEAVE_RUN = sys.argv[1:]


def flags(t, model):
    for command in ("run", "check", "explain", "inspect", "bench"):
        mesh = ["--mesh", "tp=2"] if command in ("check", "explain") else []
        t.expect([CLEAVE, command, *mesh], "model")
        t.expect([CLEAVE, command, model, *mesh, "--wobble"], "--wobble")
    t.expect([CLEAVE], "subcommand")
    t.expect([CLEAVE, "wobble", model], 'no subcommand "wobble"; see')
    t.expect([CLEAVE, "chek", model], 'no subcommand "chek"; did you mean "check"?')
    t.expect([CLEAVE, "run", model, "--mehs", "tp=2"], '"--mehs"; did you mean "--mesh"?', "cleave run --help")
    t.expect([CLEAVE, "check", model], "--mesh")
    for mesh in ("1", "tp=2"):
        t.expect([CLEAVE, "run", model, "--mesh", mesh, "--virtual-stages", "2"], 'axis "pp"', "got: 2")
    for rest in (["--json"], ["--outputs", t.path("y.npz")], ["--trace", t.path("t.json")]):
        t.expect([CLEAVE, "run", model, "--stop-after", "graph", *rest], "--stop-after", rest[0])
    for bad in ("x", "-1", "1.5", str(2**64)):
        t.expect([CLEAVE, "run", model, "--seed", bad], "--seed", bad)
    for flag in ("--atol", "--rtol"):
        for bad in ("-1", "inf", "nan", "1e999", "x"):
            t.expect([CLEAVE, "check", model, "--mesh", "tp=2", flag, bad], flag, bad)
    for command, flag in (("run", "--outputs"), ("run", "--inputs"), ("bench", "--output"), ("explain", "--html"),
                          ("run", "--trace"), ("bench", "--trace"), ("bench", "--html")):
        mesh = ["--mesh", "tp=2"] if command == "explain" else []
        t.expect([CLEAVE, command, model, *mesh, flag, ""], flag, "file")
    for flag in ("--threads", "--iters", "--warmup"):
        for bad in ("-1", "x", "1.5", "99999999999999999999"):
            t.expect([CLEAVE, "bench", model, flag, bad], flag, bad)
    t.expect([CLEAVE, "bench", model, "--iters", "0"], "--iters")
    for command, rest in (("run", []), ("check", ["--mesh", "tp=2"]), ("bench", [])):
        for target in ("abacus", "cpu:sm_80", "cuda:", "cuda:sm_60", "cuda:sm_85x", "simt:sm_80,sm_90"):
            t.expect([CLEAVE, command, model, *rest, "--target", target], "--target", target.split(":")[-1])
    for chip in ("sm_77", "sm_91", "sm_999", "sm_80a", "sm_90f", "sm_090"):
        for kind in ("cuda", "simt"):
            t.expect([CLEAVE, "compile", model, "--target", f"{kind}:{chip}", "-o", t.path("bad")], "--target",
                     "sm_75, sm_80, sm_86, sm_87, ", "sm_103a", f', got: "{chip}"')


def meshes(t, model):
    for mesh in ("tp", "tp=", "=2", "tp=0", "tp=-2", "tp=2.5", "tp=x", "tp=2,tp=2", "tp=2,,dp=2", ",",
                 "tp=99999999999999999999", "tp=1000000000", "tp=65536,dp=65536", "tp=2 dp=2"):
        for command in ("run", "check", "explain", "bench"):
            t.expect([CLEAVE, command, model, "--mesh", mesh], "--mesh")


def sizes(t, model):
    for dim in ("N", "N=", "=3", "N=-1", "N=x", "N=99999999999999999999"):
        t.expect([CLEAVE, "run", model, "--dim", dim], "--dim", dim)
    for huge in (2**31, 2**36, 2**40, 2**62):
        t.expect([CLEAVE, "run", model, "--dim", f"N={huge}"])
    t.expect([CLEAVE, "run", model, "--dim", "M=2"], "--dim", '"M"')
    t.expect([CLEAVE, "run", model, "--dim", "N=2", "--dim", "N=3"], "--dim", '"N"', "twice")


def inputs(t, model):
    ids, scale = np.zeros((2, 3), np.int64), np.ones(2, np.float32)

    def given(*words, status=2, **arrays):
        path = t.path("in.npz")
        np.savez(path, **arrays)
        for command, rest in (("run", []), ("check", ["--mesh", "tp=2"]), ("bench", [])):
            t.expect([CLEAVE, command, model, "--inputs", path, *rest], *words, status=status)

    given('"scale"', "missing", ids=ids)
    given('"more"', ids=ids, scale=scale, more=scale)
    given('"ids"', "i64", "f32", ids=ids.astype(np.float32), scale=scale)
    given('"scale"', "f32", "f64", ids=ids, scale=scale.astype(np.float64))
    given('"ids"', "dimensions", ids=ids[0], scale=scale)
    given('"ids"', "3", "4", ids=np.zeros((2, 4), np.int64), scale=scale)
    given('"scale"', ids=ids, scale=np.ones(3, np.float32))
    for bad in (4, -5, 2**40, -2**63):
        given('"ids"', '"embed"', str(bad), "-4 to 3", ids=ids + bad, scale=scale)
    given('"scale"', "c8", ids=ids, scale=scale.astype(np.complex64))
    given("in.npz", ids=np.array([["a", None, "b"]], dtype=object), scale=scale)

    npz = t.path("in.npz")
    np.savez(npz, ids=ids, scale=scale)
    with open(npz, "rb") as file:
        good = file.read()
    for name, data in (("empty", b""), ("text", b"words\n"), ("cut", good[:len(good) // 2]),
                       ("random", os.urandom(500)), ("damaged", good.replace(b"NUMPY", b"NUMPX")),
                       ("flipped", good.replace(ids.tobytes(), (ids ^ 1).tobytes()))):
        path = t.write(name + ".npz", data)
        t.expect([CLEAVE, "run", model, "--inputs", path], name + ".npz")
    t.expect([CLEAVE, "run", model, "--inputs", t.path("missing.npz")], "missing.npz")
    os.mkdir(t.path("folder"))
    t.expect([CLEAVE, "run", model, "--inputs", t.path("folder")], "folder")
    os.mkfifo(t.path("pipe"))
    t.expect([CLEAVE, "run", model, "--inputs", t.path("pipe")], "pipe")
    t.expect([CLEAVE, "run", model, "--inputs", "/dev/zero"], "/dev/zero")
    np.save(t.path("folder/ids.npy"), ids)
    t.expect([CLEAVE, "run", model, "--inputs", t.path("folder")], '"scale"')
    t.write("folder/scale.npy", b"\x93NUMPY\x01\x00\xff\xff{")
    t.expect([CLEAVE, "run", model, "--inputs", t.path("folder")], "scale", "cut off")
    data_sets(t, model, ids, scale)
    golden(t, model, npz)


def positions(t, _):
    """A position is a place in the table of angles; none counts from its end."""
    inputs = [value("x", [1, 2, 3, 4]), value("p", [1, 3], TensorProto.INT64)]
    tables = [helper.make_tensor(n, TensorProto.FLOAT, [5, 2], range(10)) for n in ("cos", "sin")]
    for domain, order in (("", "x cos sin p"), ("com.microsoft", "x p cos sin")):
        node = helper.make_node("RotaryEmbedding", order.split(), ["y"], name="turn", domain=domain)
        built = graph([node], inputs, [value("y", None)], tables, opset=23)
        built.opset_import.append(helper.make_opsetid("com.microsoft", 1))
        path = t.write("turn.onnx", built.SerializeToString())
        for bad in (-1, 5):
            np.savez(t.path("in.npz"), x=np.ones((1, 2, 3, 4), np.float32), p=np.array([[0, bad, 1]]))
            t.expect([CLEAVE, "run", path, "--inputs", t.path("in.npz")], '"p"', '"turn"', "0 to 4", str(bad))


def faults(t, _):
    """What is found out while it runs is no refusal."""
    two = helper.make_tensor("two", TensorProto.INT64, [], [2])
    table = helper.make_tensor("table", TensorProto.FLOAT, [4, 2], range(8))
    nodes = [helper.make_node("Mul", ["ids", "two"], ["twice"]),
             helper.make_node("Gather", ["table", "twice"], ["y"], name="embed")]
    built = graph(nodes, [value("ids", [3], TensorProto.INT64)], [value("y", None)], [table, two])
    path = t.write("far.onnx", built.SerializeToString())
    np.savez(t.path("in.npz"), ids=np.array([0, 1, 2]))
    for command, rest in (("run", []), ("check", ["--mesh", "tp=2"]), ("bench", [])):
        t.expect([CLEAVE, command, path, *rest, "--inputs", t.path("in.npz")], "embed", "out of range", status=1)


def data_sets(t, model, ids, scale):
    folder = t.path("set")
    os.mkdir(folder)

    def given(*words, **parts):
        for i, name in enumerate(("ids", "scale")):
            if name in parts:
                t.write(f"set/input_{i}.pb", parts[name])
        t.expect([CLEAVE, "run", model, "--inputs", folder], *words)

    good = numpy_helper.from_array(ids, "ids").SerializeToString()
    given('"scale"', "missing", ids=good)
    given("input_1.pb", scale=b"words")
    given("input_1.pb", scale=b"")
    given('"scale"', "f64", scale=numpy_helper.from_array(scale.astype(np.float64), "scale").SerializeToString())
    lie = numpy_helper.from_array(scale, "scale")
    lie.dims[0] = 3
    given("input_1.pb", "12 bytes", scale=lie.SerializeToString())
    lie.dims[0] = -2
    given("input_1.pb", "negative", scale=lie.SerializeToString())
    lie.dims[0], lie.data_type = 2, 77
    given("input_1.pb", "77", scale=lie.SerializeToString())
    far = numpy_helper.from_array(scale, "scale")
    far.ClearField("raw_data")
    far.data_location = far.EXTERNAL
    far.external_data.add(key="location", value="/etc/passwd")
    given("input_1.pb", scale=far.SerializeToString())
    given('"ids"', "twice", scale=good)


def golden(t, model, npz):
    """Expected outputs that cannot be compared with."""
    path = t.path("golden.npz")
    check = [CLEAVE, "check", model, "--mesh", "1", "--inputs", npz, "--golden"]
    for words, arrays in ((['"wrong"'], {"wrong": np.ones((2, 3, 2), np.float32)}),
                          (['"y"', "type"], {"y": np.ones((2, 3, 2), np.float64)}),
                          (['"y"', "[2, 3, 1]", "[2, 3, 2]"], {"y": np.ones((2, 3, 1), np.float32)})):
        np.savez(path, **arrays)
        t.expect([*check, path], *words)
    t.expect([*check, t.path("none.npz")], "none.npz")
    np.savez(path)
    t.expect([*check, path], "golden.npz", "holds no outputs")


def outputs(t, model):
    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    run = [CLEAVE, "run", model, "--outputs"]
    bench = [CLEAVE, "bench", model, "--iters", "1", "--output"]
    opt = [CLEAVE_OPT, model, "-o"]
    for command, name in ((run, "y.npz"), (bench, "y.npy"), (opt, "y.onnx")):
        t.expect([*command, t.path("nowhere/" + name)], "nowhere/" + name)
        t.expect([*command, t.path("folder")], "folder")
        t.expect([*command, t.path(name)], name, limit=small_files)
        t.expect([*command, model + "/" + name], name)
        kept = t.write(name, b"kept")
        t.expect([*command, kept], name, limit=small_files)
        with open(kept, "rb") as file:
            if file.read() != b"kept":
                t.report(command, "destroys what was there")
        os.remove(kept)
    overwritten(t, model)
    for command in (run, bench):
        t.expect([*command, t.path("pipe")], "pipe", "regular file")
        t.expect([*command, "/dev/full"], "/dev/full", "regular file")
        if not os.path.exists("/dev/full") or os.path.isfile("/dev/full"):
            t.report(command, "replaces a device")
    replaceable = graph([helper.make_node("Relu", ["w"], ["y"])], [value("w", [2])], [value("y", None)],
                        [helper.make_tensor("w", TensorProto.FLOAT, [2], [1, 2])])
    path = t.write("replaceable.onnx", replaceable.SerializeToString())
    np.savez(t.path("in.npz"), w=np.ones(3, np.float32))
    t.expect([CLEAVE, "run", path, "--inputs", t.path("in.npz")], '"w"', "[2]", "[3]")
    nothing = graph([helper.make_node("Relu", ["x"], ["y"])], [value("x", [2])], [])
    path = t.write("nothing.onnx", nothing.SerializeToString())
    t.expect([CLEAVE, "run", path, "--outputs", t.path("y.npz")], "--outputs", "no outputs")
    t.expect([CLEAVE, "bench", path, "--output", t.path("y.npy")], "--output", "no outputs")
    with open("/dev/full", "w") as full:
        t.expect([CLEAVE, "run", model], "standard output", stdout=full)
        t.expect([CLEAVE, "inspect", model], "standard output", stdout=full)


def overwritten(t, model):
    """What is read, or written by another flag."""
    np.savez(t.path("own.npz"), ids=np.zeros((2, 3), np.int64), scale=np.ones(2, np.float32))
    os.makedirs(t.path("arrays"))
    for name, array in np.load(t.path("own.npz")).items():
        np.save(t.path(f"arrays/{name}.npy"), array)
    os.symlink(t.path("own.npz"), t.path("link.npz"))
    run = [CLEAVE, "run", model]
    over = "would be written over what is read"
    t.expect([*run, "--outputs", model], "--outputs", over, "the model")
    t.expect([*run, "--outputs", os.path.join(t.folder, ".", "model.onnx")], "--outputs", over, "the model")
    t.expect([CLEAVE, "explain", model, "--html", model], "--html", over, "the model")
    t.expect([CLEAVE, "bench", model, "--output", model], "--output", over, "the model")
    for inputs, path in (("own.npz", "own.npz"), ("own.npz", "link.npz"), ("link.npz", "own.npz"),
                         ("arrays", "arrays/ids.npy")):
        t.expect([*run, "--inputs", t.path(inputs), "--outputs", t.path(path)], "--outputs", over, "--inputs")
    t.expect([*run, "--outputs", t.path("new"), "--trace", t.path("new")], "--outputs", "--trace", "two names")
    t.expect([CLEAVE, "bench", model, "--html", t.path("new"), "--trace", t.path("new")], "--html", "--trace", "two names")
    far = gather()
    table = far.graph.initializer[0]
    table.CopyFrom(numpy_helper.from_array(np.zeros((4096, 2), np.float32), "table"))
    onnx.save(far, t.path("far.onnx"), save_as_external_data=True, location="far.bin", size_threshold=0)
    t.expect([CLEAVE, "run", t.path("far.onnx"), "--trace", t.path("far.bin")], "--trace", over, "its weights")
    artifact, inputs = t.path("made"), ["--inputs", t.path("own.npz")]
    compile_it = [CLEAVE, "compile", t.path("far.onnx"), *inputs, "--weights", "reference", "-o", artifact]
    subprocess.run(compile_it, check=True, stdout=subprocess.DEVNULL)
    for program in ([CLEAVE_RUN], [CLEAVE, "run"]):
        t.expect([*program, artifact, *inputs, "--outputs", artifact + "/program"], "--outputs", over)
        t.expect([*program, artifact, *inputs, "--outputs", t.path("own.npz")], "--outputs", over, "--inputs")
        t.expect([*program, artifact, *inputs, "--outputs", t.path("far.bin")], "--outputs", over, "its weights")


def main():
    with tempfile.TemporaryDirectory() as work:
        t = Refusals(work)
        model = t.write("model.onnx", gather().SerializeToString())
        for part in (flags, meshes, sizes, inputs, positions, faults, outputs):
            part(t, model)
        t.end()


main()
