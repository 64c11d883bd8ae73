#!/usr/bin/env python3
"""What cannot be known without a GPU: kernels, models and times on the one of this machine.

    python gpu_check.py [--build DIR] [--shared DIR] [--target cuda|simt] [--parts A,B] [--model F.onnx]...
                        [--seconds N] [--out DIR]

Uses what was built elsewhere and no network. Parts: `kernels` are the unit tests of all kernels, on the
GPU; `nccl` is what the runtime asks of NCCL, over one rank and over as many as there are GPUs; `models`
are those of test/models, and of --shared where it is, over 1, 2 and 4 ranks; `sanitizer` repeats small
ones under compute-sanitizer; `times` measures beside PyTorch and ONNX Runtime where they are installed.
Writes gpu-check.json and gpu-check.md; status 1 if anything failed, 2 where there is
no GPU. --target simt plays all of it in the simulator, whose times mean nothing.
"""
import argparse
import concurrent.futures
import ctypes
import datetime
import importlib
import importlib.util
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Suites that ask ptxas or the simulator, wherever they run.
BESIDE_THE_GPU = ["Boxes", "ByteFloats", "Bytes", "Conflicts", "Cubins", "Groups", "Planted"]
PARTS = ["kernels", "nccl", "models", "sanitizer", "times"]


def libraries(build):
    """What the loader looks through: the bundle's own, and NCCL of a Python package."""
    folders = [os.path.join(build, "bundled")]
    try:
        package = importlib.util.find_spec("nvidia.nccl")
        folders += [os.path.join(place, "lib") for place in package.submodule_search_locations] if package else []
    except ModuleNotFoundError:
        pass
    known = os.environ.get("LD_LIBRARY_PATH")
    return ":".join([folder for folder in folders if os.path.isdir(folder)] + ([known] if known else []))


class NoGpu(Exception):
    pass


class Gpu:
    """The first GPU, asked through the driver."""

    def __init__(self, library):
        try:
            self.driver = ctypes.CDLL(library)
        except OSError as error:
            raise NoGpu(f"there is no driver of NVIDIA's: {error}") from None
        count, self.device = ctypes.c_int(), ctypes.c_int()
        if self.driver.cuInit(0) or self.driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
            raise NoGpu("the driver finds no GPU")
        self.call("cuDeviceGet", ctypes.byref(self.device), 0)
        name, version = ctypes.create_string_buffer(128), ctypes.c_int()
        self.call("cuDeviceGetName", name, 128, self.device)
        self.call("cuDriverGetVersion", ctypes.byref(version))
        major, minor = (self.attribute(75), self.attribute(76))
        # Of Hopper and Blackwell, what was made for this very chip.
        self.chip = f"sm_{major}{minor}" + ("a" if major in (9, 10) else "")
        self.name = name.value.decode()
        self.cuda = f"{version.value // 1000}.{version.value % 1000 // 10}"

    def call(self, name, *arguments):
        if result := getattr(self.driver, name)(*arguments):
            sys.exit(f"gpu-check: {name} fails with {result}")

    def attribute(self, number):
        value = ctypes.c_int()
        self.call("cuDeviceGetAttribute", ctypes.byref(value), number, self.device)
        return value.value

    def bandwidth(self, size):
        """Bytes read and written a second while memory is copied within the GPU."""
        context, source, target = ctypes.c_void_p(), ctypes.c_uint64(), ctypes.c_uint64()
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self.device)
        self.call("cuCtxSetCurrent", context)
        for memory in (source, target):
            self.call("cuMemAlloc_v2", ctypes.byref(memory), ctypes.c_size_t(size))
            self.call("cuMemsetD8Async", memory, 1, ctypes.c_size_t(size), None)
        rounds = []
        for _ in range(5):
            self.call("cuCtxSynchronize")
            start = time.perf_counter()
            for _ in range(8):
                self.call("cuMemcpyDtoDAsync_v2", target, source, ctypes.c_size_t(size), None)
            self.call("cuCtxSynchronize")
            rounds.append(time.perf_counter() - start)
        for memory in (source, target):
            self.call("cuMemFree_v2", memory)
        self.call("cuDevicePrimaryCtxRelease_v2", self.device)
        return 16 * size / min(rounds)


class Check:
    def __init__(self, options, gpu):
        self.options, self.gpu = options, gpu
        self.end = time.monotonic() + options.seconds
        self.simulated = options.target == "simt"
        self.target = "simt" if self.simulated else f"cuda:{gpu.chip}"
        self.cleave = os.path.join(options.build, "bin", "cleave")
        self.results, self.times, self.notes = [], [], []
        self.peer = None
        self.environment = os.environ | {"LD_LIBRARY_PATH": libraries(options.build)}

    def left(self):
        return self.end - time.monotonic()

    def run(self, *command, **environment):
        """(status, output) within what is left of the time; status None: it did not start or end."""
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=max(self.left(), 1),
                                  env=self.environment | environment)
        except subprocess.TimeoutExpired as error:
            return None, (error.stdout or b"").decode()
        except OSError as error:
            note = f"{command[0]} does not start: {error.strerror}"
            if note not in self.notes:
                self.notes.append(note)
            return None, note
        return done.returncode, done.stdout + done.stderr

    def add(self, name, passed, failed, detail=""):
        self.results.append({"name": name, "passed": passed, "failed": failed, "detail": detail[-2000:]})
        if failed:
            with open(os.path.join(self.options.out, re.sub(r"\W+", "-", name) + ".log"), "w") as file:
                file.write(detail)
        print(f"{name}: {passed} passed, {failed} failed", flush=True)

    def tests(self, name, *command):
        """Runs GoogleTest over all cores, and counts its tests; what did not run has failed."""
        shards = os.cpu_count()
        variables = {"GTEST_TOTAL_SHARDS": str(shards)}
        if not self.simulated:
            variables["CLEAVE_TEST_GPU"] = self.gpu.chip
        with concurrent.futures.ThreadPoolExecutor(shards) as pool:
            ends = list(pool.map(lambda i: self.run(*command, GTEST_SHARD_INDEX=str(i), **variables), range(shards)))
        output = "\n".join(text for _, text in ends)
        passed = len(re.findall(r"^\[       OK \]", output, re.M))
        count = sum(int(asked) for asked in re.findall(r"^\[==========\] Running (\d+) test", output, re.M))
        failed = count - passed
        if (any(status != 0 for status, _ in ends) or not count) and not failed:
            failed = 1
        wrong = "\n".join(line for line in output.splitlines() if "OK ]" not in line and "RUN  " not in line)
        self.add(name, passed, failed, wrong if failed else "")

    def kernels(self):
        self.tests("kernels", os.path.join(self.options.build, "bin", "CleaveCudaTests"),
                   "--gtest_filter=-" + ":".join(f"{suite}.*" for suite in BESIDE_THE_GPU))

    def nccl(self):
        try:
            self.simulated or ctypes.CDLL(self.find("libnccl.so.2"))
        except OSError as error:
            return self.notes.append(f"there is no NCCL: {error}")
        self.tests("nccl", os.path.join(self.options.build, "bin", "CleaveNcclTests"))

    def find(self, library):
        """Where the loader of a program that is started would find it."""
        places = [os.path.join(folder, library) for folder in self.environment["LD_LIBRARY_PATH"].split(":")]
        return next((place for place in places if os.path.exists(place)), library)

    def models(self):
        golden = os.path.join(TREE, "test", "e2e", "golden.py")
        folders = [os.path.join(TREE, "test", "models")]
        exported = os.path.join(self.options.shared, "models", "exported")
        folders += [exported] if os.path.isdir(exported) else []
        meshes = [word for ranks in ("1", "tp=2", "tp=4") for word in ("--mesh", f"{ranks} --target {self.target}")]
        for folder in folders:
            status, output = self.run(sys.executable, golden, self.cleave, folder, *meshes, "--jobs", str(min(os.cpu_count(), 8)),
                                      "--refused", os.path.join(TREE, "test", "e2e", "refused.json"))
            count = re.search(r"(\d+) passed, (\d+) failed", output)
            passed, failed = (int(count[1]), int(count[2])) if count else (0, 1)
            self.add(f"models of {os.path.relpath(folder, TREE)}", passed, failed, output if failed or status else "")

    def sanitizer(self):
        tool = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
        if not os.path.exists(tool):
            return self.notes.append("compute-sanitizer is not installed")
        for kind in ("memcheck", "racecheck", "synccheck"):
            self.tests(kind, tool, "--tool", kind, "--error-exitcode", "1",
                       os.path.join(self.options.build, "bin", "CleaveCudaTests"),
                       "--gtest_filter=Softmax.*:Reduce.*:Matmul.*:Kinds/Attention.*")

    # Times: milliseconds, medians.

    def bench(self, model, dims, *more):
        """The time of a run with its copies, and of its kernels alone."""
        # Commands are timed where a trace is wanted.
        with tempfile.TemporaryDirectory() as work:
            trace = os.path.join(work, "trace.json")
            sizes = [word for name, size in dims.items() for word in ("--dim", f"{name}={size}")]
            status, output = self.run(self.cleave, "bench", model, "--target", self.target, *sizes, "--json",
                                      "--iters", "7", "--warmup", "3", "--trace", trace, *more)
            line = next((line for line in output.splitlines() if line.startswith("{")), None)
            if status != 0 or not line:
                self.add(f"time of {os.path.basename(model)}", 0, 1, output)
                return None
        said = json.loads(line)
        return statistics.median(said["latency_ms"]), statistics.median(said["commands_ms"])

    def torch(self, make):
        """What PyTorch takes for `make(torch)()`, where it is there."""
        if self.simulated:
            return None
        try:
            torch = importlib.import_module("torch")
        except ImportError:
            return None
        self.peer = torch.__version__
        try:
            call = make(torch)
            for _ in range(3):
                call()
        except (AttributeError, RuntimeError) as error:
            self.notes.append(f"PyTorch does not do this: {error}")
            return None
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        rounds = []
        for _ in range(7):
            begin.record()
            call()
            end.record()
            torch.cuda.synchronize()
            rounds.append(begin.elapsed_time(end))
        return statistics.median(rounds)

    def kernel(self, name, dims, flops, moved, make):
        found = self.bench(os.path.join(TREE, "test", "models", "gpu", name + ".onnx"), dims)
        if not found:
            return
        _, own = found
        peer = self.torch(make)
        self.times.append({"what": name, "sizes": dims, "ms": own, "tflops": flops / own / 1e9,
                           "gb_per_s": moved / own / 1e6, "pytorch_ms": peer,
                           "ratio": peer / own if peer else None,
                           "share_of_copy": moved / own * 1e3 / self.copy})

    def decode(self):
        """A step of a decoder, which reads all of its weights but the words, and its cache, which it writes too."""
        sizes = {"layers": 2, "hidden": 128, "heads": 4, "groups": 2, "inner": 256, "words": 500,
                 "length": 64} if self.simulated else {}
        with tempfile.TemporaryDirectory() as folder:
            writer = os.path.join(TREE, "test", "gpu", "decoder.py")
            flags = [word for name, size in sizes.items() for word in (f"--{name}", str(size))]
            status, output = self.run(sys.executable, writer, folder, *flags)
            found = self.bench(os.path.join(folder, "decoder.onnx"), {}) if status == 0 else None
            if not found:
                return self.add("time of a decoder", 0, 1, output)
            moved = int(re.search(r"(\d+) bytes a step", output)[1])
        whole, own = found
        self.times.append({"what": "decoder", "sizes": sizes, "ms": own, "with_copies_ms": whole,
                           "gb_per_s": moved / own / 1e6, "share_of_copy": moved / own * 1e3 / self.copy})

    def whole(self, model):
        found = self.bench(model, {})
        if not found:
            return
        name = os.path.basename(model)
        self.times.append({"what": name, "sizes": {}, "ms": found[0], "kernels_ms": found[1]})
        if self.has_onnx_runtime():
            peer = os.path.join(TREE, "test", "bench", "peer.py")
            status, output = self.run(sys.executable, peer, self.cleave, model, "--target", self.target)
            self.notes.append(f"{name}, {output.strip()}")

    def has_onnx_runtime(self):
        try:
            providers = importlib.import_module("onnxruntime").get_available_providers()
        except ImportError:
            return False
        return "CUDAExecutionProvider" in providers and not self.simulated

    def measure(self):
        small = self.simulated
        self.copy = self.gpu.bandwidth(1 << (20 if small else 30))
        self.times.append({"what": "copy", "sizes": {}, "gb_per_s": self.copy / 1e9})
        for size in [64] if small else [1024, 4096, 8192]:
            def product(torch, size=size):
                a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
                return lambda: a @ b
            self.kernel("product", {"m": size, "n": size, "k": size}, 2 * size**3, 6 * size**2, product)
        size = 64 if small else 8192

        def product_int8(torch):
            a, t = (torch.randint(-128, 128, (size, size), device="cuda", dtype=torch.int8) for _ in range(2))
            return lambda: torch._int_mm(a, t.t())

        def product_float8(torch):
            a, t = (torch.randn(size, size, device="cuda").to(torch.float8_e4m3fn) for _ in range(2))
            scale = torch.full((), 0.5, device="cuda")
            return lambda: torch._scaled_mm(a, t.t(), scale, scale, out_dtype=torch.bfloat16)
        for make, moved in ((product_int8, 6), (product_float8, 4)):
            self.kernel(make.__name__, {"m": size, "n": size, "k": size}, 2 * size**3, moved * size**2, make)
        heads, length, width = (2, 64, 64) if small else (32, 4096, 128)

        def attention(torch):
            q, k, v = (torch.randn(1, heads, length, width, device="cuda", dtype=torch.bfloat16) for _ in range(3))
            return lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        self.kernel("attention", {"batch": 1, "heads": heads, "length": length, "width": width},
                    2 * heads * length**2 * width, 8 * heads * length * width, attention)
        rows, columns = (32, 256) if small else (16384, 4096)
        elements = rows * columns

        def one(torch, call):
            x, z = (torch.randn(rows, columns, device="cuda", dtype=torch.bfloat16) for _ in range(2))
            return lambda: call(x, z)
        self.kernel("softmax", {"rows": rows, "columns": columns}, 4 * elements, 4 * elements,
                    lambda torch: one(torch, lambda x, z: torch.softmax(x, -1)))
        self.kernel("add", {"rows": rows, "columns": columns}, elements, 6 * elements,
                    lambda torch: one(torch, lambda x, z: x + z))
        self.kernel("norm", {"rows": rows, "columns": columns}, 4 * elements, 4 * elements,
                    lambda torch: one(torch, lambda x, z: torch.nn.functional.rms_norm(x, x.shape[1:], z[0])))
        self.kernel("sum", {"rows": rows, "columns": columns}, elements, 2 * elements,
                    lambda torch: one(torch, lambda x, z: x.sum(0)))
        self.kernel("transpose", {"rows": rows, "columns": columns}, 0, 4 * elements,
                    lambda torch: one(torch, lambda x, z: x.t().contiguous()))
        self.decode()
        for model in self.options.model or [os.path.join(TREE, "test", "models", "llama_mobius.onnx")]:
            self.whole(model)

    def report(self):
        failed = sum(result["failed"] for result in self.results)
        passed = sum(result["passed"] for result in self.results)
        about = {"date": datetime.date.today().isoformat(), "gpu": self.gpu.name, "chip": self.gpu.chip,
                 "cuda_of_driver": self.gpu.cuda, "simulated": self.simulated, "pytorch": self.peer,
                 "seconds": round(self.options.seconds - self.left())}
        with open(os.path.join(self.options.out, "gpu-check.json"), "w") as file:
            json.dump(about | {"results": self.results, "times": self.times, "notes": self.notes}, file, indent=1)
        with open(os.path.join(self.options.out, "gpu-check.md"), "w") as file:
            file.write(self.page(about))
        print(f"{passed} passed, {failed} failed; see {self.options.out}/gpu-check.md")
        return failed

    def page(self, about):
        lines = [f"# {about['gpu']}, {about['chip']}, driver for CUDA {about['cuda_of_driver']}, {about['date']}", ""]
        if self.peer:
            lines += [f"PyTorch is {self.peer}.", ""]
        if self.simulated:
            lines += ["Played in the simulator: the times mean nothing.", ""]
        lines += ["| | passed | failed |", "|---|---|---|"]
        lines += [f"| {r['name']} | {r['passed']} | {r['failed']} |" for r in self.results]
        lines += ["", "| what | sizes | ms | TFLOP/s | GB/s | of copying | PyTorch, ms | PyTorch / Cleave |",
                  "|---|---|---|---|---|---|---|---|"]
        for t in self.times:
            sizes = " ".join(f"{name}={size}" for name, size in t["sizes"].items())
            numbers = [t.get(key) for key in ("ms", "tflops", "gb_per_s", "share_of_copy", "pytorch_ms", "ratio")]
            lines.append(" | ".join([f"| {t['what']}", sizes] + ["" if n is None else f"{n:.3g}" for n in numbers]) + " |")
        lines += [""] + [f"- {note}" for note in self.notes]
        lines += [f"\n## {r['name']}\n```\n{r['detail']}\n```" for r in self.results if r["failed"]]
        return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default=os.path.join(TREE, "build"))
    parser.add_argument("--shared", default=os.path.join(os.path.dirname(TREE), "shared"))
    parser.add_argument("--target", choices=["cuda", "simt"], default="cuda")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--model", action="append")
    parser.add_argument("--seconds", type=float, default=470)
    parser.add_argument("--out", default=os.path.join(TREE, "build", "gpu-check"))
    options = parser.parse_args()
    parts = options.parts.split(",")
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"--parts knows {', '.join(PARTS)}, got: {', '.join(unknown)}")
    simulator = os.path.join(options.build, "lib", "libcleave-simt.so")
    try:
        gpu = Gpu(simulator if options.target == "simt" else "libcuda.so.1")
    except NoGpu as error:
        print(f"gpu-check: {error}; run it on a machine with a GPU, or play it with --target simt", file=sys.stderr)
        return 2
    os.makedirs(options.out, exist_ok=True)
    check = Check(options, gpu)
    for part in parts:
        {"kernels": check.kernels, "nccl": check.nccl, "models": check.models, "sanitizer": check.sanitizer, "times": check.measure}[part]()
    return 1 if check.report() else 0


if __name__ == "__main__":
    sys.exit(main())
