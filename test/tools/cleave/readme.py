#!/usr/bin/env python3
"""The examples of README.md print what it says.

    python readme.py ROOT

A fenced block that begins with `$ build/bin/cleave` is run in ROOT. A line of `…` stands
for any number of lines. What a difference amounts to is a matter of the machine's vectors,
so numbers behind `|difference|` may be others.
"""
import difflib
import re
import shlex
import subprocess
import sys
from pathlib import Path

PROGRAMS = "build/bin/"


def normal(line):
    head, found, rest = line.partition("|difference|")
    return (head + found + re.sub(r"[-+.\de]*\d[-+.\de]*", "N", rest)).rstrip()


def matches(wanted, got):
    if not wanted:
        return not got
    if wanted[0].strip() == "…":
        return any(matches(wanted[1:], got[i:]) for i in range(len(got) + 1))
    return bool(got) and wanted[0] == got[0] and matches(wanted[1:], got[1:])


def main():
    root = Path(sys.argv[1])
    blocks = re.findall(r"^```\n\$ " + PROGRAMS + r"(.*?)\n(.*?)^```$", (root / "README.md").read_text(),
                        re.M | re.S)
    failed = 0
    for command, text in blocks:
        done = subprocess.run(shlex.split(command), cwd=root, capture_output=True, text=True, timeout=120)
        wanted = [normal(line) for line in text.splitlines()]
        got = [normal(line) for line in done.stdout.splitlines()]
        if done.returncode or not matches(wanted, got):
            failed += 1
            print(f"{command}\n  ends with {done.returncode} and prints something else {done.stderr}")
            print("\n".join(difflib.unified_diff(wanted, got, "README.md", "printed", lineterm="")))
    print(f"{len(blocks) - failed} of {len(blocks)} examples are true")
    sys.exit(failed != 0 or not blocks)


main()
