"""Prints `passed failed skipped` of a report of lit or GoogleTest.

    counts.py lit|gtest REPORT.json
"""

import json
import sys


def lit(report):
    codes = [test["code"] for test in report["tests"]]
    passed = sum(code in ("PASS", "XFAIL", "FLAKYPASS") for code in codes)
    skipped = sum(code in ("UNSUPPORTED", "SKIPPED", "EXCLUDED") for code in codes)
    return passed, len(codes) - passed - skipped, skipped


def gtest(report):
    tests = [test for suite in report["testsuites"] for test in suite["testsuite"]]
    failed = sum("failures" in test for test in tests)
    skipped = sum(test["result"] in ("SKIPPED", "SUPPRESSED") for test in tests)
    return len(tests) - failed - skipped, failed, skipped


if __name__ == "__main__":
    kind, path = sys.argv[1:]
    with open(path) as file:
        print(*{"lit": lit, "gtest": gtest}[kind](json.load(file)))
