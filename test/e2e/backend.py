#!/usr/bin/env python3
"""The ONNX project's own cases of quantised tensors, of 8-bit floats and of pools.

    python backend.py CLEAVE DATA.tgz [--mesh MESH]...

DATA.tgz is the folder onnx/backend/test/data of the ONNX project. A case has to give what it says, within
its tolerance, or to be refused with the words of the table. Ends with `N passed, N failed`; status 1 if any
failed.
"""
import argparse
import glob
import json
import os
import re
import subprocess
import tarfile
import tempfile

import ml_dtypes
import numpy as np
import onnx
from onnx import numpy_helper

from tally import tally

CASES = re.compile(r"test_((de|dynamic)?quantizelinear|matmulinteger|convinteger|qlinear|(global)?maxpool|"
                   r"cast(like)?_.*FLOAT8E(4M3|5M2))")
# By a part of the name, the first that fits.
REFUSED = {
    "FNUZ": "", "float4": "", "_int4": "", "_uint4": "", "_int2": "", "_uint2": "",
    "with_argmax": "the places of the largest elements",
}


def tensor(path):
    with open(path, "rb") as file:
        return numpy_helper.to_array(onnx.TensorProto.FromString(file.read()))


def read(file):
    """The arrays of a file by name; elements that it has as bits, of their own type."""
    kinds = {"f8e4m3fn": ml_dtypes.float8_e4m3fn, "f8e5m2": ml_dtypes.float8_e5m2}
    named = ((*key.partition("@"), array) for key, array in np.load(file).items())
    return {name: array.view(kinds[kind]) if kind in kinds else array for name, _, kind, array in named}


def wrong(cleave, case, mesh):
    """What is wrong, or nothing."""
    name = os.path.basename(case)
    data = os.path.join(case, "test_data_set_0")
    words = next((words for part, words in REFUSED.items() if part in name), None)
    with tempfile.TemporaryDirectory() as work:
        out = os.path.join(work, "out.npz")
        done = subprocess.run([cleave, "run", os.path.join(case, "model.onnx"), "--mesh", *mesh.split(),
                               "--inputs", data, "--outputs", out], capture_output=True, text=True, timeout=300)
        if words is not None:
            fits = done.returncode == 2 and words in done.stderr
            return "" if fits else f"is not refused with `{words}`: {done.returncode} {done.stderr.strip()}"
        if done.returncode:
            return done.stderr.strip()
        tolerance = {"rtol": 1e-3, "atol": 1e-7}
        if os.path.exists(os.path.join(case, "data.json")):
            with open(os.path.join(case, "data.json")) as file:
                tolerance.update({k: v for k, v in json.load(file).items() if k in tolerance})
        got = read(out)
        names = [o.name for o in onnx.load(os.path.join(case, "model.onnx")).graph.output]
        for i, output in enumerate(names):
            want = tensor(os.path.join(data, f"output_{i}.pb"))
            if got[output].shape != want.shape or got[output].dtype != want.dtype:
                return f"{output} is {got[output].dtype}{got[output].shape}, not {want.dtype}{want.shape}"
            if not np.allclose(got[output].astype(np.float64), want.astype(np.float64), equal_nan=True,
                               **tolerance):
                return f"{output} differs"
    return ""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("cleave")
    parser.add_argument("data")
    parser.add_argument("--mesh", action="append")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        with tarfile.open(options.data) as archive:
            archive.extractall(work, filter="data")
        folders = glob.glob(os.path.join(work, "**", "node", "test_*"), recursive=True)
        cases = sorted(c for c in folders if CASES.match(os.path.basename(c)))
        tally((f"{os.path.basename(case)} mesh {mesh}", wrong(options.cleave, case, mesh))
              for case in cases for mesh in options.mesh or ["1"])


main()
