"""What the tests of artifacts share: inputs for a model, and what a folder holds."""
import os

import numpy as np


def case(models, folder):
    """The inputs of a case of llama_mobius, as a file."""
    arrays = np.load(os.path.join(models, "llama_mobius.case0.npz"))
    path = os.path.join(folder, "in.npz")
    np.savez(path, **{k[3:]: arrays[k] for k in arrays.files if k.startswith("in:")})
    return path


def contents(folder):
    """The bytes of each file by name."""
    return {name: open(os.path.join(folder, name), "rb").read() for name in sorted(os.listdir(folder))}
