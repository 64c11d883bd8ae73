"""The rules of the house that a program can check.

    house.py ROOT --tblgen LLVM_TBLGEN --mlir-include DIR

Prints one line per violation, `path: what is wrong`, and fails if there is one.
A rule is a function that yields violations; its docstring is the rule.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

STAGE_PREFIX = {"Graph": "graph", "Sharding": "shard", "Kernel": "kernel"}
MAX_LINES = {".cpp": 600, ".c": 600, ".h": 600, ".td": 300, ".py": 600}
MAX_FUNCTION_LINES = 100
MAX_PIPELINE_LINES = 150

SUFFIXES = {".cpp", ".c", ".h", ".td", ".def", ".cmake", ".mlir", ".test", ".py", ".in", ".sh", ".md", ".json", ".fbs"}
NAMES = {"CMakeLists.txt", "Makefile", "requirements.txt", ".gitignore", ".clang-format", "run", "LICENSE"}
# These name what they forbid.
NAMING_NOTES = ("test/house/house.py", "test/house/violations.test")
DATA_FOLDERS = ("test/models/", "test/fuzz/", "test/regression/")


class House:
    def __init__(self, root, tblgen, mlir_include):
        self.root = Path(root)
        self.tblgen = tblgen
        self.mlir_include = mlir_include
        self.files = sorted(self.list_files())

    def list_files(self):
        """What belongs to the tree: known to git or about to be."""
        if (self.root / ".git").exists():
            listed = subprocess.run(
                ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
                cwd=self.root, check=True, capture_output=True, text=True).stdout
            return [path for path in listed.splitlines() if (self.root / path).is_file()]
        return [os.path.relpath(os.path.join(folder, name), self.root)
                for folder, _, names in os.walk(self.root) for name in names]

    def matching(self, pattern):
        return [path for path in self.files if re.fullmatch(pattern, path)]

    def text(self, path):
        return (self.root / path).read_text(errors="replace")

    def sources(self, *suffixes):
        return [path for path in self.files if path.endswith(suffixes)]

    def records(self, path, kind):
        """The records of a class that a .td file itself defines."""
        includes = [self.mlir_include, self.root / "dialects", self.root / "include", (self.root / path).parent]
        run = subprocess.run(
            [self.tblgen, "--dump-json", *(f"-I{folder}" for folder in includes), self.root / path],
            capture_output=True, text=True)
        if run.returncode:
            raise SystemExit(f"{path}: does not parse\n{run.stderr}")
        dump = json.loads(run.stdout)
        own = re.compile(rf"(^|/){re.escape(Path(path).name)}:")
        records = (dump[name] for name in dump["!instanceof"].get(kind, []))
        return [record for record in records if own.search(record["!locs"][0])]


def kebab(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()


def passes_have_file_flag_and_test(house):
    """One name, three spellings: definition, flag and test of a pass."""
    for path in house.matching(r"include/cleave/Transforms/\w+/Passes\.td"):
        stage = path.split("/")[3]
        for record in house.records(path, "PassBase"):
            name, flag = record["!name"], record["argument"]
            wanted = f"{STAGE_PREFIX.get(stage, stage.lower())}-{kebab(name)}"
            if name.endswith("Pass"):
                yield path, f"{name} has the suffix Pass"
            if flag != wanted:
                yield path, f"{name} has the flag --{flag}, not --{wanted}"
            body = f"lib/Transforms/{stage}/{name}.cpp"
            if body not in house.files:
                yield path, f"{name} has no {body}"
            test = f"test/lib/Transforms/{stage}/{kebab(name)}.mlir"
            if test not in house.files:
                yield path, f"{name} has no {test}"
            elif f"--{flag}" not in house.text(test):
                yield test, f"does not run --{flag}"


def conversions_have_folder_and_test(house):
    """Convert<A>To<B> lives in lib/Conversion/AToB and is tested there."""
    for path in house.matching(r"include/cleave/Conversion/Passes\.td"):
        for record in house.records(path, "PassBase"):
            name = record["!name"].removeprefix("Convert")
            if record["argument"] != f"convert-{kebab(name)}":
                yield path, f"{record['!name']} has the flag --{record['argument']}, not --convert-{kebab(name)}"
            if not house.matching(rf"lib/Conversion/{name}/\w+\.cpp"):
                yield path, f"{record['!name']} has no lib/Conversion/{name}"
            if not house.matching(rf"test/lib/Conversion/{kebab(name)}/[\w-]+\.mlir"):
                yield path, f"{record['!name']} has no test/lib/Conversion/{kebab(name)}"


def ops_have_cases(house):
    """Every op stands in ops.mlir, and in invalid.mlir if it has a verifier."""
    for path in house.matching(r"dialects/\w+/\w*Ops\.td"):
        tests = f"test/dialects/{path.split('/')[1]}"

        def cases(stem):
            return "\n".join(house.text(test) for test in house.matching(rf"{tests}/([\w-]+-)?{stem}(-[\w-]+)?\.mlir"))

        ops, invalid = cases("ops"), cases("invalid")
        for record in house.records(path, "Op"):
            prefix = record["opDialect"]["def"].removesuffix("_Dialect").lower()
            op = f"{prefix}.{record['opName']}"
            stands_in = lambda text: re.search(rf"(?<![\w.]){re.escape(op)}(?![\w.])", text)
            if not stands_in(ops):
                yield path, f"{op} has no case in {tests}/ops.mlir"
            if record["hasVerifier"] and not stands_in(invalid):
                yield path, f"{op} has a verifier and no case in {tests}/invalid.mlir"


def sizes_are_kept(house):
    """Files and functions past the limits are split by meaning."""
    for path in house.files:
        limit = MAX_LINES.get(Path(path).suffix)
        # One list of the models, which has no parts.
        if path == "test/models/make.py":
            continue
        if path.startswith("lib/Pipelines/") and path.endswith(".cpp"):
            limit = MAX_PIPELINE_LINES
        if limit and (lines := house.text(path).count("\n")) > limit:
            yield path, f"has {lines} lines, more than {limit}"
    for path in house.sources(".cpp", ".c", ".h"):
        yield from long_functions(path, house.text(path).splitlines())


def long_functions(path, lines):
    """A function ends at the first closing brace of its own indentation."""
    opening = re.compile(r"( *)(?!namespace|class|struct|enum|union|extern|if|for|while|switch|else|do|case)[^\s{].*\{$")
    for number, line in enumerate(lines):
        match = opening.fullmatch(line)
        if not match or len(match[1]) > 4:
            continue
        # What a constructor initialises stands deeper than its brace.
        indent = match[1][4:] if line.lstrip().startswith(": ") else match[1]
        head = line
        for previous in reversed(lines[max(0, number - 6):number]):
            if ")" in head or not previous.startswith(match[1]) or previous.endswith((";", "}", "{")):
                break
            head = previous + head
        if "(" not in head or "=" in head.split("(")[0]:
            continue
        end = next((i for i in range(number + 1, len(lines)) if lines[i].startswith(indent + "}")), number)
        if end - number > MAX_FUNCTION_LINES:
            yield f"{path}:{number + 1}", f"a function has {end - number} lines, more than {MAX_FUNCTION_LINES}"


def no_stray_files(house):
    """Only what the house knows; data in few places; nothing generated."""
    for path in house.files:
        if path.startswith(DATA_FOLDERS):
            continue
        name = Path(path).name
        if name not in NAMES and Path(name).suffix not in SUFFIXES:
            yield path, "is of a kind that the house does not know"
        elif b"\0" in (house.root / path).read_bytes()[:8192]:
            yield path, "is binary"
        elif re.search(r"\.(pb|inc)\.(h|cpp|cc)$|\.(h|cpp)\.inc$", name):
            yield path, "is generated"


def files_say_what_they_are(house):
    """The first line of a source names the file and says what it holds."""
    for path in house.sources(".cpp", ".c", ".h", ".td", ".def"):
        name = Path(path).name
        first = house.text(path).partition("\n")[0]
        if not re.fullmatch(rf"//===- {re.escape(name)} - \S.*-(\*- (C|C\+\+|tablegen) -\*-)?===//", first):
            yield path, f"does not begin with `//===- {name} - what it holds ---===//`"


def headers_are_guarded(house):
    """A header has a guard of its own that ends with its name."""
    seen = {}
    for path in house.sources(".h"):
        match = re.search(r"^#ifndef (\w+)\n#define \1$", house.text(path), re.M)
        ending = re.sub(r"\W", "_", Path(path).name.upper())
        if not match or not match[1].startswith("CLEAVE_") or not match[1].endswith("_" + ending):
            yield path, f"has no guard CLEAVE_..._{ending}"
        elif match[1] in seen:
            yield path, f"has the guard of {seen[match[1]]}"
        else:
            seen[match[1]] = path


def nothing_is_left_behind(house):
    """No notes to oneself, paths of a machine, or ragged ends of lines."""
    notes = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    machine = re.compile(r"(?<![\w.%}])/(work|home|root|Users)/")
    for path in house.files:
        if path.startswith(DATA_FOLDERS) or path in NAMING_NOTES:
            continue
        text = house.text(path)
        for number, line in enumerate(text.splitlines(), 1):
            if note := notes.search(line):
                yield f"{path}:{number}", f"has a {note[0]}"
            if found := machine.search(line):
                yield f"{path}:{number}", f"names a place of a machine, {found[0]}"
            if line != line.rstrip():
                yield f"{path}:{number}", "ends in white space"
            if "\t" in line and Path(path).name != "Makefile":
                yield f"{path}:{number}", "has a tab"
        if text and not text.endswith("\n"):
            yield path, "does not end its last line"


def folders_are_documented(house):
    """Each dialect, each part of the compiler, and the runtime, says why it is."""
    parts = r"dialects/\w+|lib/(?:Conversion|Target|Transforms)/\w+|lib/(?!Conversion|Target|Transforms)\w+"
    folders = {re.match(parts, path)[0] for path in house.matching(rf"(?:{parts})/.+")}
    folders |= {"runtime"} if house.matching(r"runtime/.*") else set()
    for folder in sorted(folders):
        if f"{folder}/README.md" not in house.files:
            yield folder, "has no README.md"


def recipes_are_true(house):
    """Where a row of a README names a file and then what stands in it, it stands there."""
    for path in house.matching(r"(.+/)?README\.md"):
        for number, line in enumerate(house.text(path).splitlines(), 1):
            row = re.match(r"\| `([\w.-]+(?:/[\w.-]+)+)` \| `([^`]+)` \|", line)
            if row and row[1] not in house.files:
                yield f"{path}:{number}", f"names {row[1]}, which is not there"
            elif row and row[2] not in house.text(row[1]):
                yield f"{path}:{number}", f"says that {row[1]} has {row[2]}"


def runtime_stands_alone(house):
    """The runtime includes neither MLIR nor LLVM, nor anything of the compiler."""
    foreign = re.compile(r'#include\s+["<](mlir|llvm|[\w/]*\.inc|cleave/(?!Runtime/))')
    for path in house.matching(r"(runtime|include/cleave/Runtime)/.*\.(h|cpp|def)"):
        for number, line in enumerate(house.text(path).splitlines(), 1):
            if foreign.match(line):
                yield f"{path}:{number}", f"includes what is the compiler's, {line}"


def sources_are_formatted(house):
    """`make format` changes nothing."""
    sources = [house.root / path for path in house.sources(".cpp", ".c", ".h")]
    run = subprocess.run(["clang-format-22", "--dry-run", "--Werror", *sources], capture_output=True, text=True)
    for path in sorted({match[1] for match in re.finditer(r"^(.+?):\d+:\d+: error", run.stderr, re.M)}):
        yield os.path.relpath(path, house.root), "is not formatted; run `make format`"


def targets_are_named(house):
    """Libraries begin with Cleave; programs are called what a user calls them."""
    for path in house.sources("CMakeLists.txt"):
        for name in re.findall(r"\b(?:add|cleave)_library\(\s*([\w-]+)", house.text(path)):
            if not name.startswith("Cleave"):
                yield path, f"the target {name} does not begin with Cleave"


RULES = [
    passes_have_file_flag_and_test, conversions_have_folder_and_test, ops_have_cases, sizes_are_kept,
    no_stray_files, files_say_what_they_are, headers_are_guarded, nothing_is_left_behind,
    folders_are_documented, recipes_are_true, runtime_stands_alone, sources_are_formatted,
    targets_are_named,
]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("root")
    parser.add_argument("--tblgen", required=True)
    parser.add_argument("--mlir-include", required=True)
    arguments = parser.parse_args()
    house = House(arguments.root, arguments.tblgen, arguments.mlir_include)
    violations = sorted({f"{path}: {what}" for rule in RULES for path, what in rule(house)})
    print(*violations, sep="\n")
    return bool(violations)


if __name__ == "__main__":
    sys.exit(main())
