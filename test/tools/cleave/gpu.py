#!/usr/bin/env python3
"""Ranks on GPUs where a machine lacks what they want, as the simulator plays it.

    python gpu.py CLEAVE MODELS
"""
import json
import os
import re
import subprocess
import sys
import tempfile

import numpy as np

CLEAVE, MODELS = sys.argv[1:]
MODEL = os.path.join(MODELS, "llama_mobius.onnx")
failed = 0


def expect(err="", status=0, arguments=(), command=("run", MODEL, "--dim", "sequence_len=2", "--dim",
                                                    "past_sequence_len=2"), **variables):
    """Runs the model; the pattern has to match all that is said beside the results."""
    global failed
    done = subprocess.run([CLEAVE, *command, "--target", "simt", *arguments],
                          capture_output=True, text=True, timeout=300, env=os.environ | variables)
    if done.returncode != status or not re.fullmatch(err, done.stderr):
        failed += 1
        print(variables, f"ends with {done.returncode}, says\n{done.stdout}{done.stderr}")
    return done.stdout


def refusal(ranks, memory):
    """Why the model does not run over so many GPUs with so much memory; empty where it does."""
    done = subprocess.run([CLEAVE, "run", MODEL, "--target", "simt", "--dim", "sequence_len=2", "--dim",
                           "past_sequence_len=2", "--mesh", f"tp={ranks}"], capture_output=True, text=True,
                          env=os.environ | {"CLEAVE_SIMT_MEMORY": memory, "CLEAVE_SIMT_DEVICES": str(min(ranks, 64))})
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""


with tempfile.TemporaryDirectory() as folder:
    outputs = []
    nccl = {"CLEAVE_SIMT_NCCL": "2.28.9"}
    for number, (exchange, err, arguments, variables) in enumerate([
        ("threads", "", [], {}),
        ("threads", "", ["--eager"], {}),
        ("threads",
         r"cleave: warning: the system pins no memory for copies to GPUs, CUDA_ERROR_OUT_OF_MEMORY "
         r"\(out of memory\), so commands are launched one by one; raise what may be locked "
         r"\(ulimit -l\)\n", [], {"CLEAVE_SIMT_PINNED": "1K"}),
        ("NCCL 2.28.9", "", [], {"CLEAVE_SIMT_DEVICES": "2"} | nccl),
        ("NCCL 2.28.9", "", ["--eager"], {"CLEAVE_SIMT_DEVICES": "2"} | nccl),
        ("threads",
         "cleave: warning: NCCL is too old, 2.10.3; install 2.18.1 or newer; until then ranks exchange through "
         "memory of the host\n", [], {"CLEAVE_SIMT_DEVICES": "2", "CLEAVE_SIMT_NCCL": "2.10.3"}),
    ]):
        path = os.path.join(folder, f"{number}.npz")
        report = json.loads(expect(err, 0, ["--mesh", "tp=2", "--outputs", path, "--json", *arguments], **variables))
        assert report["exchange"] == exchange, report
        with np.load(path) as file:
            outputs.append({name: file[name].tobytes() for name in file})
    assert all(its == outputs[0] for its in outputs)

    expect(r"cleave: the GPU has no memory for rank 0, which needs \d+ bytes of weights, \d+ to make "
           r"them, \d+ of activations; \d+ of 262144 are free: cut the model over more GPUs, at least 3, as with --mesh tp=4\n", 2,
           CLEAVE_SIMT_MEMORY="256K")
    # Who follows the advice comes to an end: to ranks that run, or to be told that none will.
    for memory, end in (("1", "no mesh has as many GPUs"), ("64K", "no number of GPUs of this size is enough"),
                        ("120K", "")):
        ranks = 1
        while ranks:
            said = refusal(ranks, memory)
            advised = re.search(r"--mesh tp=(\d+)$", said)
            assert not advised or int(advised[1]) >= 2 * ranks, (memory, said)
            ranks = int(advised[1]) if advised else 0
        assert re.search(end, said) if end else not said, (memory, said)
    # No GPU holds more of a model than its part, and one weight on its way.
    expect("", 0, ["--mesh", "tp=4"], CLEAVE_SIMT_DEVICES="4", CLEAVE_SIMT_MEMORY="256K")
    expect(r"cleave: the simulator libcleave-simt.so cannot be loaded: .*; say with CLEAVE_PLUGINS where it is\n", 2,
           CLEAVE_PLUGINS=folder)
    # That is said before anything is read.
    for command in (["run", "none.onnx"], ["check", "none.onnx", "--mesh", "tp=2"], ["bench", "none.onnx"]):
        expect("cleave: the simulator libcleave-simt.so cannot be loaded: .*\n", 2, command=command, CLEAVE_PLUGINS=folder)
        expect("cleave: none.onnx: .*\n", 2, command=command)
    for name, values, wanted in [
        ("DEVICES", ["", "0", "65", "two", "2 ", "99999999999"], "a number of devices between 1 and 64"),
        ("VISIBLE", ["", "1", "0,", "0,0", "-1"], "numbers of devices that there are, each once, as in 0 or 3,1"),
        ("MEMORY", ["", "0", "-1", "16T", "99999999999G"], "a number of bytes above 0, as in 512M or 16G"),
        ("PINNED", ["0", "1.5G"], "a number of bytes above 0, as in 512M or 16G"),
        ("CAPABILITY", ["9", "9.", "sm_90", "9.0a"], "a compute capability, as in 9.0"),
        ("DRIVER", ["12", "12.4.1", "-12.4"], "a version of CUDA, as in 12.4"),
        ("NCCL", ["2.18", "2..1"], "a version of NCCL, as in 2.18.1"),
        ("SCHEDULE", ["", "wild", "shuffled:", "shuffled:-1"],
         "greedy, shuffled, or shuffled with a seed, as in shuffled:7"),
    ]:
        for value in values:
            expect(re.escape("cleave: the simulator does not start: CUDA_ERROR_INVALID_VALUE (invalid argument): "
                             f'CLEAVE_SIMT_{name} is to be {wanted}, got: "{value}"\n'), 2,
                   **{f"CLEAVE_SIMT_{name}": value})
sys.exit(failed != 0)
