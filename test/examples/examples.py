#!/usr/bin/env python3
"""Installs a build, and builds and runs the examples against what was installed.

    python examples.py ROOT BUILD
"""
import os
import re
import subprocess
import sys
import tempfile

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
        for part in (passes, programs):
            part(work, everything, runtime)


main()
