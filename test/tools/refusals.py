"""What the tests of bad requests share: run a program, and hold what it says.

A refusal is one line on standard error that begins with the program's name and says
all of the words that are expected; nothing on standard output; the exit status that is
expected; and no file more or less than before.
"""
import os
import re
import subprocess
import sys

from onnx import TensorProto, helper

SECONDS = 60
# Types and ops as those who work on the compiler write them.
FOREIGN = r"\btensor<|'\w+\.\w+' op|#\w+\.\w+<"


class Refusals:
    def __init__(self, folder):
        self.folder = folder
        self.ran = self.failed = 0

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, data):
        with open(self.path(name), "wb") as out:
            out.write(data)
        return self.path(name)

    def listing(self):
        return sorted(os.path.join(at, name) for at, folders, files in os.walk(self.folder)
                      for name in folders + files)

    def expect(self, command, *words, status=2, limit=None, stdout=subprocess.PIPE):
        """Runs `command`, after `limit` in the new process."""
        before = self.listing()
        name = os.path.basename(command[0])
        try:
            done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True,
                                  errors="replace", timeout=SECONDS, preexec_fn=limit,
                                  stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            return self.report(command, f"has not ended after {SECONDS} s")
        lines = done.stderr.splitlines()
        if done.returncode != status:
            self.report(command, f"ends with {done.returncode}, want: {status}", lines)
        elif len(lines) != 1 or not lines[0].startswith(name + ": "):
            self.report(command, f"says something else than one line `{name}: …`", lines)
        elif name == "cleave" and (foreign := re.search(FOREIGN, lines[0])):
            self.report(command, f"speaks MLIR: {foreign[0]}", lines)
        elif missing := [word for word in words if word not in lines[0]]:
            self.report(command, f"does not say {missing}", lines)
        elif done.stdout:
            self.report(command, "has results all the same", done.stdout.splitlines())
        elif self.listing() != before:
            self.report(command, "leaves files", sorted(set(self.listing()) ^ set(before)))
        else:
            self.ran += 1

    def report(self, command, what, lines=()):
        self.failed += 1
        print(" ".join(command), what, *(f"    {line}" for line in lines), sep="\n  ")

    def end(self):
        print(f"{self.ran} refused as they should be, {self.failed} not")
        sys.exit(self.failed != 0 or self.ran == 0)


def value(name, dims, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, dims)


def model(nodes, inputs, outputs, initializers=(), opset=18, **fields):
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)],
                             ir_version=10, **fields)


def gather():
    """y = relu(table[ids]): an id indexes a table of 4 rows."""
    table = helper.make_tensor("table", TensorProto.FLOAT, [4, 2], range(8))
    nodes = [helper.make_node("Gather", ["table", "ids"], ["rows"], name="embed"),
             helper.make_node("Mul", ["rows", "scale"], ["y"], name="scaled")]
    return model(nodes, [value("ids", ["N", 3], TensorProto.INT64), value("scale", [2])],
                 [value("y", None)], [table])
