"""What the applications share: one line of output for each thing that they do."""
import traceback


def check(driver, what):
    """Decorates one thing that a driver does: it runs at once, and it is said how it went."""
    def run(f):
        try:
            f()
            print("ok", driver, what, sep="\t", flush=True)
        except Exception:
            print("not ok", driver, what, traceback.format_exc().replace("\n", " | "), sep="\t", flush=True)
    return run
