"""Prints `passed failed skipped` of reports of lit or GoogleTest.

    counts.py lit|gtest REPORT.json…
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
    count = {"lit": lit, "gtest": gtest}[sys.argv[1]]
    counts = []
    for path in sys.argv[2:]:
        with open(path) as file:
            counts.append(count(json.load(file)))
    print(*map(sum, zip(*counts)))
