#!/usr/bin/env python3
"""What `cleave compile --target simt` and `--target cuda` write: it runs without the model, by the program
without a compiler too, and what a machine or the folder lacks is said in a line.

    python gpu_artifact.py CLEAVE CLEAVE_RUN MODELS
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

import numpy as np
from onnx import helper

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
from folders import case, contents  # noqa: E402
from refusals import Refusals, gather, model, value  # noqa: E402

CLEAVE, CLEAVE_RUN, MODELS = sys.argv[1:]
LLAMA = os.path.join(MODELS, "llama_mobius.onnx")


def run(*command, err="", **variables):
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | variables)
    assert done.returncode == 0 and err in done.stderr and bool(err) == bool(done.stderr), (command, done)
    return done.stdout


def equal(a, b):
    a, b = np.load(a), np.load(b)
    return sorted(a.files) == sorted(b.files) and all(a[k].tobytes() == b[k].tobytes() for k in b.files)


def runs_anywhere(folder):
    """The same bytes twice; moved, and with the model gone, the same outputs as from the model."""
    inputs, model = case(MODELS, folder), os.path.join(folder, "model.onnx")
    want, got = os.path.join(folder, "want.npz"), os.path.join(folder, "got.npz")
    for mesh in ("1", "tp=2", "pp=2"):
        shutil.copy(LLAMA, model)
        home = os.path.join(folder, mesh)
        os.mkdir(home)
        first, second, moved = (os.path.join(home, name) for name in ("a", "b", "c"))
        options = ["--mesh", mesh, "--target", "simt", "--inputs", inputs]
        for artifact in (first, second):
            run(CLEAVE, "compile", model, *options, "-o", artifact)
        files = contents(first)
        assert files == contents(second), "the same model gives other bytes"
        assert list(files) == ["images", "manifest.json", "program", "weights.safetensors"], list(files)
        # Ranks that have a part each read it where it lies, once.
        assert len(files["weights.safetensors"]) < os.path.getsize(LLAMA) + 16384
        for name, data in files.items():
            assert folder.encode() not in data, f"{name} says where it was made"
        run(CLEAVE, "run", model, *options, "--outputs", want)
        os.remove(model)
        os.rename(first, moved)
        for command, devices in (([CLEAVE, "run", moved], "1"), ([CLEAVE_RUN, moved, "--verify"], "2"),
                                 ([CLEAVE_RUN, moved, "--eager", "--repeat", "2"], "1")):
            run(*command, "--inputs", inputs, "--outputs", got, CLEAVE_SIMT_DEVICES=devices)
            assert equal(got, want), command


def says_what_it_holds(folder):
    artifact, inputs = os.path.join(folder, "tp=2/c"), case(MODELS, folder)
    manifest = json.loads(contents(artifact)["manifest.json"])
    assert (manifest["target"], manifest["chips"], manifest["driver"]) == ("simt", ["sm_80"], "11.1"), manifest
    text = run(CLEAVE, "inspect", artifact)
    assert "images: sm_80, for drivers of CUDA 11.1 or newer\nmesh: tp=2\n" in text and "  images: " in text, text
    assert json.loads(run(CLEAVE, "inspect", artifact, "--json")) == manifest
    timed = json.loads(run(CLEAVE, "bench", artifact, "--inputs", inputs, "--iters", "1", "--json"))
    assert len(timed["latency_ms"]) == 1 and timed["compile_ms"] == 0, timed


def weights_stay(folder):
    """With --weights=reference the model's own file is read."""
    model, artifact, inputs = os.path.join(folder, "r.onnx"), os.path.join(folder, "r"), case(MODELS, folder)
    shutil.copy(LLAMA, model)
    run(CLEAVE, "compile", model, "--mesh", "tp=2", "--target", "simt", "--inputs", inputs, "--weights", "reference",
        "-o", artifact)
    assert list(contents(artifact)) == ["images", "manifest.json", "program"]
    run(CLEAVE_RUN, artifact, "--inputs", inputs, "--outputs", os.path.join(folder, "r.npz"))
    run(CLEAVE_RUN, os.path.join(folder, "tp=2/c"), "--inputs", inputs, "--outputs", os.path.join(folder, "c.npz"))
    assert equal(os.path.join(folder, "r.npz"), os.path.join(folder, "c.npz"))


def chips(t):
    """Each has a version of PTX that knows it, and what ptxas refuses is said in a line."""
    make = [CLEAVE, "compile", t.path("gather.onnx"), "-o"]
    names = "sm_75, sm_86, sm_87, sm_88, sm_89, sm_90, sm_100f, sm_103, sm_103a, sm_110, sm_120, sm_121, sm_121f"
    run(*make, t.path("chips"), "--target", "cuda:" + names.replace(" ", ""))
    assert f"images: {names}, for drivers of CUDA 13.0 or newer" in run(CLEAVE, "inspect", t.path("chips"))
    for chip, version in (("sm_87", "11.4"), ("sm_89", "11.8"), ("sm_100", "12.8"), ("sm_103a", "12.9")):
        run(*make, t.path("of" + chip), "--target", "simt:" + chip)
        assert f"for drivers of CUDA {version} or" in run(CLEAVE, "inspect", t.path("of" + chip))

    def made_by(script):
        with open(t.path("toolkit/bin/ptxas"), "w") as file:
            file.write("#!/bin/sh\n" + script)
        os.chmod(t.path("toolkit/bin/ptxas"), 0o755)
        # Who runs the tests in the background ignores interrupts, and that is inherited.
        return subprocess.run([*make, t.path("refused"), "--target", "cuda:sm_101"], capture_output=True, text=True,
                              env=os.environ | {"CUDA_HOME": t.path("toolkit"), "TMPDIR": t.path("temporary")},
                              preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))

    os.makedirs(t.path("toolkit/bin"))
    os.mkdir(t.path("temporary"))
    done = made_by("printf 'ptxas info    : 0 bytes gmem\\nptxas fatal   : no such chip\\n'\nexit 1\n")
    assert done.returncode == 2, done
    assert done.stderr.endswith(" for sm_101: ptxas fatal   : no such chip\n"), done.stderr
    # What stands between the compiler and ptxas goes with them, however they end.
    done = made_by("kill -INT $PPID\nsleep 1\n")
    assert done.returncode == -signal.SIGINT and not os.listdir(t.path("temporary")), os.listdir(t.path("temporary"))


def lacking(t):
    """What a machine lacks for a folder that is whole."""
    artifact, inputs = t.path("a"), ["--inputs", t.path("in.npz")]
    real = t.path("cuda")
    run(CLEAVE, "compile", t.path("gather.onnx"), "-o", t.path("cores"))
    run(CLEAVE, "compile", t.path("gather.onnx"), "--target", "cuda:sm_80,sm_90a", "-o", real)
    assert "target: cuda\nimages: sm_80, sm_90a, for drivers of CUDA " in run(CLEAVE, "inspect", real)

    def expect(folder, *words, **variables):
        os.environ.update(variables)
        for program in ([CLEAVE_RUN, folder], [CLEAVE, "run", folder]):
            t.expect([*program, *inputs], *words)
        for name in variables:
            del os.environ[name]

    expect(artifact, 'has no code for this GPU, got: sm_75; compile the model with --target simt:sm_75',
           CLEAVE_SIMT_CAPABILITY="7.5")
    expect(artifact, "the driver of NVIDIA's GPUs is too old for the program: it is of CUDA 11.0; install one of "
           "CUDA 11.1 or newer", CLEAVE_SIMT_DRIVER="11.0")
    expect(artifact, "libcleave-simt.so cannot be loaded", "CLEAVE_PLUGINS", CLEAVE_PLUGINS=t.folder)

    def driver(name, source):
        os.mkdir(t.path(name))
        if source:
            os.symlink(source, t.path(name + "/libcuda.so.1"))
        else:
            t.write(name + "/libcuda.so.1", b"")
        return {"LD_LIBRARY_PATH": t.path(name)}

    simulator = os.path.join(os.path.dirname(shutil.which(CLEAVE)), "../lib/libcleave-simt.so")
    expect(real, "this machine has no driver for NVIDIA's GPUs", "install it, or compile the model with --target cpu",
           **driver("none", None))
    # A library without any of the functions.
    expect(real, "the driver of NVIDIA's GPUs is too old: it has no cuInit; install one of CUDA 12 or newer",
           **driver("old", t.path("cores/kernels.so")))
    # The simulator has the driver's functions, and takes no code for a GPU.
    simulated = driver("simulated", os.path.realpath(simulator))
    expect(real, "is too old for the program: it is of CUDA 11.0; install one of CUDA 13.0 or newer",
           CLEAVE_SIMT_DRIVER="11.0", **simulated)
    expect(real, "has no code for this GPU, got: sm_75; compile the model with --target cuda:sm_75",
           CLEAVE_SIMT_CAPABILITY="7.5", **simulated)
    expect(real, "does not load: CUDA_ERROR_NO_BINARY_FOR_GPU", **simulated)


def nccl(folder):
    """Ranks go on through the host where NCCL is too old for them, and say so."""
    run(CLEAVE_RUN, os.path.join(folder, "tp=2/c"), "--inputs", case(MODELS, folder),
        err="cleave-run: warning: NCCL is too old, 2.10.3; install 2.18.1 or newer", CLEAVE_SIMT_DEVICES="2",
        CLEAVE_SIMT_NCCL="2.10.3")


def damaged(t):
    """Files cut off, exchanged or gone; those of another artifact; an older version."""
    inputs = ["--inputs", t.path("in.npz")]
    run(CLEAVE, "compile", t.path("gather.onnx"), "--dim", "N=4", "--target", "simt", "-o", t.path("b"))

    def refused(spoil, *words):
        shutil.rmtree(t.path("d"), ignore_errors=True)
        shutil.copytree(t.path("a"), t.path("d"))
        spoil()
        for program in ([CLEAVE_RUN, t.path("d"), *inputs], [CLEAVE, "inspect", t.path("d")]):
            t.expect(program, t.path("d"), *words)

    for name in sorted(os.listdir(t.path("a"))):
        path, size = t.path("d/" + name), os.path.getsize(t.path("a/" + name))
        refused(lambda: os.remove(path))
        for length in (0, size // 2, size - 1):
            refused(lambda: os.truncate(path, length), name)
        if name != "manifest.json":
            refused(lambda: shutil.copy(t.path("d/manifest.json"), path), name)
    for name in ("program", "images"):
        refused(lambda: shutil.copy(t.path("b/" + name), t.path("d/" + name)), name)


def copies(t):
    """A program without a kernel is for the simulator too."""
    path = t.write("same.onnx", model([helper.make_node("Identity", ["x"], ["y"])], [value("x", [2])],
                                      [value("y", None)]).SerializeToString())
    np.savez(t.path("x.npz"), x=np.ones(2, np.float32))
    run(CLEAVE, "compile", path, "--target", "simt", "-o", t.path("same"))
    for program in ([CLEAVE, "run", path, "--target", "simt"], [CLEAVE_RUN, t.path("same")]):
        run(*program, "--inputs", t.path("x.npz"), "--outputs", t.path("y.npz"))
        assert np.array_equal(np.load(t.path("y.npz"))["y"], np.ones(2))


def main():
    with tempfile.TemporaryDirectory() as folder:
        runs_anywhere(folder)
        says_what_it_holds(folder)
        weights_stay(folder)
        nccl(folder)
    with tempfile.TemporaryDirectory() as folder:
        t = Refusals(folder)
        t.write("gather.onnx", gather().SerializeToString())
        run(CLEAVE, "compile", t.path("gather.onnx"), "--target", "simt", "-o", t.path("a"))
        np.savez(t.path("in.npz"), ids=np.zeros((16, 3), np.int64), scale=np.ones(2, np.float32))
        copies(t)
        chips(t)
        lacking(t)
        damaged(t)
        t.end()


main()
