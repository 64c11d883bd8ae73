#!/usr/bin/env python3
"""Runs models over meshes and holds the outputs against the expected ones.

    python golden.py CLEAVE FOLDER [--mesh MESH]... [--only PART]... [--refused LIST.json] [--jobs N]
                     [--artifact CLEAVE_RUN [--mpirun MPIRUN]]

MESH may go on with options of `cleave run`: "pp=2 --micro-batches 2".

FOLDER holds MANIFEST.json, models and cases as test/models/README.md says. A model
that LIST.json names has to be refused with the words that stand there, at every mesh.
Where words stand for single meshes instead, a case is either refused with them or right.
With --artifact a model is compiled to a folder, which CLEAVE_RUN runs; with --mpirun also
as one rank a process, which has to give the same bits.
Ends with `N passed, N failed`; status 1 if any failed.
"""
import argparse
import concurrent.futures
import json
import os
import subprocess
import tempfile

import numpy as np

from tally import tally


def widen(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def arrays(case, prefix):
    """The arrays of a case by name, bf16 as f32, and as they are stored."""
    stored = {key[len(prefix):]: case[key] for key in case.files if key.startswith(prefix)}
    plain = {key.removesuffix("@bf16"): widen(a) if key.endswith("@bf16") else a
             for key, a in stored.items()}
    return plain, stored


def visible(name, array, mask, rows):
    """Where rows of padding see no key, nothing is defined: those are left out."""
    if not rows or mask is None or array.ndim < 3:
        return np.ones(array.shape, bool)
    batch, keys = mask.shape
    if array.ndim == 3 and array.shape[0] == batch and array.shape[1] <= keys:
        return np.broadcast_to((mask[:, -array.shape[1]:] != 0)[:, :, None], array.shape)
    if array.ndim == 4 and array.shape[0] == batch and array.shape[2] == keys:
        return np.broadcast_to((mask != 0)[:, None, :, None], array.shape)
    return np.ones(array.shape, bool)


def worst(got, want, tolerance, seen):
    """The largest difference as a share of what is tolerated; above 1 is wrong."""
    if got.shape != want.shape:
        return float("inf")
    if want.dtype.kind != "f":
        return 0.0 if np.array_equal(got, want) else float("inf")
    got, want = got.astype(np.float64)[seen], want.astype(np.float64)[seen]
    if not got.size:
        return 0.0
    same = (got == want) | (np.isnan(got) & np.isnan(want))
    with np.errstate(invalid="ignore"):
        share = np.abs(got - want) / (tolerance["atol"] + tolerance["rtol"] * np.abs(want))
    share = np.where(same, 0, np.where(np.isnan(share), np.inf, share))
    return float(share.max())


def mesh_options(mesh):
    return ["--mesh", *mesh.split()] if mesh != "1" else []


def call(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def run_case(options, model, path, mesh):
    """The largest difference as a share of what is tolerated, and where it is."""
    with tempfile.TemporaryDirectory() as work:
        return compare_case(options, model, path, mesh, work)


def run_model(options, source, mesh, inputs, out, work):
    if not options.artifact:
        return call(options.cleave, "run", source, *mesh_options(mesh), "--inputs", inputs, "--outputs", out)
    target = os.path.join(work, "artifact")
    done = call(options.cleave, "compile", source, *mesh_options(mesh), "--inputs", inputs, "-o", target)
    if done.returncode != 0:
        return done
    done = call(options.artifact, target, "--inputs", inputs, "--outputs", out)
    if done.returncode != 0 or not options.mpirun:
        return done
    return run_processes(options, target, inputs, out)


def run_processes(options, target, inputs, out):
    """One rank a process: fails unless it gives the bits of `out`."""
    with open(os.path.join(target, "manifest.json")) as file:
        ranks = json.load(file)["ranks"]
    own = out + ".processes.npz"
    done = call(options.mpirun, "--allow-run-as-root", "--oversubscribe", "-n", str(ranks),
                options.artifact, target, "--inputs", inputs, "--outputs", own)
    if done.returncode == 0:
        threads, processes = np.load(out), np.load(own)
        for name in threads.files:
            if threads[name].tobytes() != processes[name].tobytes():
                return subprocess.CompletedProcess([], 1, "", f"{name} differs between threads and processes")
    return done


def compare_case(options, model, path, mesh, work):
    case = np.load(os.path.join(options.folder, path))
    inputs, stored = arrays(case, "in:")
    expected, _ = arrays(case, "out:")
    np.savez(os.path.join(work, "in.npz"), **stored)
    out = os.path.join(work, "out.npz")
    done = run_model(options, os.path.join(options.folder, model["file"]), mesh,
                     os.path.join(work, "in.npz"), out, work)
    if done.returncode != 0:
        # mpirun adds lines of its own.
        lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        return float("inf"), next((line for line in lines if line.startswith("cleave")), lines[-1])
    raw = np.load(out)
    got = {key.removesuffix("@bf16"): widen(raw[key]) if key.endswith("@bf16") else raw[key]
           for key in raw.files}
    rows = bool(model.get("masked_rows")) and "case3" in path
    largest, blame = 0.0, ""
    for name, want in expected.items():
        seen = visible(name, want, inputs.get("attention_mask"), rows)
        share = worst(got[name], want, model["tolerance"], seen)
        if share > largest:
            largest, blame = share, name
    return largest, blame


def refusal(cleave, model, mesh, folder, words):
    """Why it is not refused as it should be, or nothing."""
    done = call(cleave, "run", os.path.join(folder, model["file"]), *mesh_options(mesh))
    lines = done.stderr.strip().splitlines()
    if done.returncode != 2 or len(lines) != 1 or words not in lines[0]:
        return f"ends with {done.returncode}, want: 2 and `{words}`, got: {lines}"
    return ""


def checks(options, models, refused):
    """(title, what to call) of all that is asked; a call answers what is wrong, or nothing."""
    def case(model, path, mesh, words):
        share, blame = run_case(options, model, path, mesh)
        if words and words in blame:
            return ""
        return "" if share <= 1 else f"{share:.3g} of the tolerance, {blame}"

    for model in models:
        if options.only and not any(part in model["file"] for part in options.only):
            continue
        for mesh in options.mesh or ["1", "tp=2"]:
            words = refused.get(model["file"])
            if isinstance(words, str):
                yield f"{model['file']} mesh {mesh}", lambda model=model, mesh=mesh, words=words: refusal(
                    options.cleave, model, mesh, options.folder, words)
                continue
            words = words and words.get(mesh)
            for path in model["cases"]:
                yield f"{path} mesh {mesh}", lambda model=model, path=path, mesh=mesh, words=words: case(
                    model, path, mesh, words)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("cleave")
    parser.add_argument("folder")
    parser.add_argument("--mesh", action="append")
    parser.add_argument("--only", action="append")
    parser.add_argument("--refused")
    parser.add_argument("--artifact")
    parser.add_argument("--mpirun")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    with open(os.path.join(options.folder, "MANIFEST.json")) as file:
        models = json.load(file)
    refused = {}
    if options.refused:
        with open(options.refused) as file:
            refused = json.load(file)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        asked = [(title, pool.submit(call)) for title, call in checks(options, models, refused)]
        tally((title, answer.result()) for title, answer in asked)


main()
