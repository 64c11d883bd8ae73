#!/usr/bin/env python3
"""cleave-run as one rank a process: under variables of torchrun, and under mpirun where it is.

    python job.py CLEAVE CLEAVE_RUN MODELS
"""
import os
import shutil
import socket
import subprocess
import sys
import tempfile

import numpy as np

CLEAVE, CLEAVE_RUN, MODELS = sys.argv[1:]
LLAMA = os.path.join(MODELS, "llama_mobius.onnx")
RANKS = 4
PORT = 40000 + os.getpid() % 20000


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def by_variables(command, ranks=RANKS, env=None, size=None, last=()):
    """Exit statuses and what each rank wrote, as torchrun starts them; the last one with more arguments."""
    global PORT
    PORT += 1
    size = str(size or ranks)
    own = [command] * (ranks - 1) + [[*command, *last]]
    processes = [subprocess.Popen(own[rank], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={
        **os.environ, "RANK": str(rank), "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "LOCAL_RANK": str(rank),
        "MASTER_ADDR": "localhost", "MASTER_PORT": str(PORT), **(env or {})}) for rank in range(ranks)]
    texts = [process.communicate(timeout=120) for process in processes]
    return [process.returncode for process in processes], texts


def by_mpi(launcher, command, env=None):
    flags = ["--oversubscribe", "--allow-run-as-root"] if launcher.endswith("openmpi") else []
    done = subprocess.run([launcher, *flags, "-n", str(RANKS), *command], capture_output=True, text=True,
                          env={**os.environ, **(env or {})}, timeout=120)
    return done.returncode, done.stdout, done.stderr


def launchers():
    plugins = os.path.join(os.path.dirname(shutil.which(CLEAVE_RUN)), "../lib")
    return [f"mpirun.{mpi}" for mpi in ("openmpi", "mpich")
            if shutil.which(f"mpirun.{mpi}") and os.path.exists(os.path.join(plugins, f"libcleave-mpi-{mpi}.so"))]


def equal(a, b):
    a, b = np.load(a), np.load(b)
    return sorted(a.files) == sorted(b.files) and all(np.array_equal(a[k], b[k]) for k in b.files)


def runs_as_threads_do(folder, artifact, inputs):
    """Bit for bit, whatever carries the bytes; only rank 0 reads, writes and speaks."""
    want, got = (os.path.join(folder, name) for name in ("want.npz", "got.npz"))
    text = run(CLEAVE_RUN, artifact, "--inputs", inputs, "--outputs", want)
    command = [CLEAVE_RUN, artifact, "--inputs", inputs, "--outputs", got, "--repeat", "2"]
    statuses, texts = by_variables(command)
    assert statuses == [0] * RANKS and equal(got, want), (statuses, texts)
    assert texts == [(text, "")] + [("", "")] * (RANKS - 1), texts
    for launcher in launchers():
        os.remove(got)
        status, out, err = by_mpi(launcher, command)
        assert status == 0 and out == text and equal(got, want), (launcher, status, out, err)


def refused(result, message):
    statuses, texts = result
    told = "".join(out + err for out, err in texts)
    assert all(status == 2 for status in statuses), (statuses, told)
    assert message in told and told.count("cleave-run:") == 1, told


def refuses_once(folder, artifact, inputs):
    command = [CLEAVE_RUN, artifact, "--inputs", inputs]
    refused(by_variables(command, ranks=2), "the program has 4 ranks and 2 processes were started; start 4")
    refused(by_variables(command, ranks=1), "the program has 4 ranks and 1 process was started; start 4")
    refused(by_variables(command, env={"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "4"}, ranks=1),
            "variables of two launchers are set, OMPI_COMM_WORLD_RANK of Open MPI and RANK of torchrun")
    refused(by_variables([CLEAVE_RUN, artifact, "--inputs", os.path.join(folder, "none.npz")]), "none.npz")
    refused(by_variables([CLEAVE_RUN, artifact]), "--inputs")
    refused(by_variables([CLEAVE_RUN, os.path.join(folder, "none")]), "none")
    refused(by_variables(command, last=["--repeat", "3"]),
            f"has --repeat 1, and rank 3 on {socket.gethostname()} has --repeat 3; start all ranks with one")
    # A launcher may kill who is left when the first has gone, so that now and then another status comes out.
    for launcher in launchers() * 4:
        for rest, env, message in (([], {}, "--inputs"),
                                   (["--inputs", inputs], {"CLEAVE_INTERFACE": "none"}, "none"),
                                   (["--inputs", inputs, "--outputs", os.path.join(folder, "none/y.npz")], {}, "none/y")):
            status, text, err = by_mpi(launcher, [CLEAVE_RUN, artifact, *rest], env=env)
            assert status == 2 and err.count("cleave-run:") == 1 and message in err, (launcher, status, text, err)


def ends_as_one(folder, artifact, inputs):
    """A rank is killed in the middle: all end, and one says whose end it was."""
    out = os.path.join(folder, "no.npz")
    command = [CLEAVE_RUN, artifact, "--inputs", inputs, "--outputs", out, "--deadline", "1"]
    for kind in ("kill", "stall", "corrupt"):
        fault = {"CLEAVE_FAULT": f"rank=2,command=3,kind={kind}"}
        statuses, texts = by_variables(command, env=fault)
        told = "".join(text + err for text, err in texts)
        assert statuses == [1, 1, -9 if kind == "kill" else 1, 1], (kind, statuses, told)
        assert told.count("cleave-run:") == 1 and "rank 2 on " in told and "command " in told, (kind, told)
        for launcher in launchers():
            status, text, err = by_mpi(launcher, command, env=fault)
            assert status == 1 if kind == "corrupt" else status != 0, (kind, launcher, status, err)
            # MPICH's launcher kills all others with the first that dies, at times before they speak.
            if (kind, launcher) != ("kill", "mpirun.mpich") or "cleave-run:" in err:
                assert err.count("cleave-run:") == 1 and "rank 2 on " in err, (kind, launcher, err)
    assert not os.path.exists(out)


def main():
    with tempfile.TemporaryDirectory() as folder:
        arrays = np.load(os.path.join(MODELS, "llama_mobius.case0.npz"))
        inputs, artifact = os.path.join(folder, "in.npz"), os.path.join(folder, "model.cleave")
        np.savez(inputs, **{k[3:]: arrays[k] for k in arrays.files if k.startswith("in:")})
        for mesh in (f"tp={RANKS}", "pp=2,tp=2"):
            run(CLEAVE, "compile", LLAMA, "--mesh", mesh, "--inputs", inputs, "-o", artifact)
            runs_as_threads_do(folder, artifact, inputs)
            if mesh.startswith("tp"):
                refuses_once(folder, artifact, inputs)
                ends_as_one(folder, artifact, inputs)
            shutil.rmtree(artifact)


main()
