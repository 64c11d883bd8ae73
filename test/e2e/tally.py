"""How the end-to-end tests end."""
import sys


def tally(results):
    """Prints what is wrong of (title, what is wrong or nothing), then the counts, and ends
    the process: with status 1 if anything is."""
    passed = failed = 0
    for title, wrong in results:
        passed += not wrong
        failed += bool(wrong)
        if wrong:
            print(f"FAIL {title}: {wrong}")
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed != 0)
