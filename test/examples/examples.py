#!/usr/bin/env python3
"""Installs a build, and builds and runs the examples against what was installed.

    python examples.py ROOT BUILD
"""
import os
import re
import subprocess
import sys
import tempfile

import numpy as np

ROOT, BUILD = sys.argv[1:]


def run(*command, status=0, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == status, (command, done.returncode, done.stdout, done.stderr)
    return done


def cached(name):
    """What BUILD was configured with."""
    with open(os.path.join(BUILD, "CMakeCache.txt")) as file:
        return re.search(rf"^{name}:\w+=(.*)$", file.read(), re.M)[1]


def install(prefix, *options):
    run("cmake", "--install", BUILD, "--prefix", prefix, *options)
    own = BUILD.encode()
    for folder, _, names in os.walk(prefix):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                assert own not in file.read(), f"{folder}/{name} names the build folder"


def configure(example, prefix, folder, status=0):
    compilers = [f"-D{name}={cached(name)}" for name in ("CMAKE_C_COMPILER", "CMAKE_CXX_COMPILER")]
    return run("cmake", "-S", os.path.join(ROOT, "examples", example), "-B", folder, "-G", "Ninja",
               f"-DCMAKE_PREFIX_PATH={prefix};{cached('CMAKE_PREFIX_PATH')}", *compilers, status=status)


def build(example, prefix, folder):
    configure(example, prefix, folder)
    run("cmake", "--build", folder)
    return os.path.join(folder, example)


def passes(work, everything, runtime):
    """The passes of an installed Cleave do what those of cleave-opt do; a runtime alone has none."""
    program = build("passes", everything, os.path.join(work, "passes"))
    layer = os.path.join(ROOT, "test/lib/Plugin/Inputs/layer.mlir")
    cut = run(os.path.join(everything, "bin/cleave-opt"), layer, "--shard-search=mesh=tp=2",
              "--shard-localize", "--cse")
    done = run(program, layer, "tp=2")
    assert done.stdout.strip() == cut.stdout.strip() and "dist.all_reduce" in cut.stdout, (done, cut)
    refused = configure("passes", runtime, os.path.join(work, "refused"), status=1)
    assert "component `compiler` of Cleave is not installed" in refused.stderr, refused.stderr


def c_run(work, everything, runtime):
    """A C program runs artifacts as `cleave run` does the model, and tells every error in a line."""
    program = build("c-run", runtime, os.path.join(work, "c-run"))
    needed = run("ldd", program).stdout
    assert os.path.join(runtime, "lib/libcleave.so.") in needed and "LLVM" not in needed, needed
    cleave, model = os.path.join(everything, "bin/cleave"), os.path.join(ROOT, "test/models/llama_mobius.onnx")
    case = np.load(model.replace(".onnx", ".case0.npz"))
    inputs = {name[len("in:"):]: case[name] for name in case.files if name.startswith("in:")}
    given, expected, artifact = (os.path.join(work, name) for name in ("in.npz", "out.npz", "artifact"))
    np.savez(given, **inputs)
    arguments = {}
    for name, array in inputs.items():
        path = os.path.join(work, name + ".raw")
        array.tofile(path)
        arguments[name] = f"{name}={path}"

    for target in ("cpu", "simt"):
        at = [model, "--mesh", "tp=2", "--target", target, "--inputs", given]
        run(cleave, "run", *at, "--outputs", expected)
        run(cleave, "compile", *at, "-o", artifact)
        want = np.load(expected)
        done = run(program, artifact, *arguments.values(),
                   env=os.environ | {"CLEAVE_PLUGINS": os.path.join(runtime, "lib")})
        lines = dict(line.split(": ", 1) for line in done.stdout.splitlines())
        assert set(lines) == set(want.files), lines
        for name, line in lines.items():
            shape, values = re.fullmatch(r"f32 (\[.*?\]) (.*)", line).groups()
            assert shape == str(list(want[name].shape)), line
            assert np.array_equal(np.array(values.split(), np.float32), want[name].ravel()[:8]), (line, want[name])

    def refused(*command, words):
        done = run(program, *command, status=2)
        assert done.stdout == "" and done.stderr.count("\n") == 1, done
        assert all(word in done.stderr for word in words), (words, done)

    refused(words=["usage"])
    refused(os.path.join(work, "nowhere"), *arguments.values(), words=["nowhere"])
    some = dict(arguments)
    del some["input_ids"]
    refused(artifact, *some.values(), words=["NAME=FILE", "input_ids"])
    refused(artifact, *some.values(), "input_ids=" + os.path.join(work, "none.raw"), words=["none.raw"])
    refused(artifact, *some.values(), "input_ids=" + given, words=["input_ids", "bytes"])
    with open(os.path.join(artifact, "program"), "r+b") as file:
        byte = file.read(1)[0]
        file.seek(0)
        file.write(bytes([byte ^ 1]))
    refused(artifact, *arguments.values(), words=["program"])


def programs(_, everything, runtime):
    """What is installed runs, and finds what it needs, where it lies."""
    model = os.path.join(ROOT, "test/models/llama_mobius.onnx")
    cleave = os.path.join(everything, "bin/cleave")
    assert run(cleave, "check", model, "--mesh", "tp=2", cwd="/").stdout.endswith("equal\n")
    foreign = [name for folder, _, names in os.walk(runtime) for name in names
               if name.endswith((".a", ".td", ".inc"))]
    assert not foreign, foreign
    needed = run("ldd", os.path.join(runtime, "lib/libcleave.so")).stdout
    assert "LLVM" not in needed and "MLIR" not in needed, needed


def main():
    with tempfile.TemporaryDirectory() as work:
        everything, runtime = os.path.join(work, "all"), os.path.join(work, "runtime")
        install(everything)
        install(runtime, "--component", "runtime")
        for part in (passes, c_run, programs):
            part(work, everything, runtime)


main()
