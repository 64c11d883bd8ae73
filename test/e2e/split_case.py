#!/usr/bin/env python3
"""Splits a case into the inputs and the expected outputs that `cleave` reads.

    python split_case.py CASE.npz INPUTS.npz OUTPUTS.npz
"""
import sys

import numpy as np

case = np.load(sys.argv[1])
for prefix, path in (("in:", sys.argv[2]), ("out:", sys.argv[3])):
    np.savez(path, **{k[len(prefix):]: case[k] for k in case.files if k.startswith(prefix)})
