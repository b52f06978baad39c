"""How fast the made-up super-app is written: events a second, peak memory, and how both change with its size.

    python benchmarks/superapp.py [--users 10000] [--workers 2] [--out FOLDER]

Writes two worlds, of a quarter of the users and of all, into a folder that is removed afterwards (or kept, with
--out). Memory is that of the processes which write, the largest of them; if it does not depend on size, the ratio is
about 1. The last line is one JSON object.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path


def measure(users: int, workers: int, out: Path) -> dict[str, float]:
    """Generate in a process of its own; seconds include its start."""
    code = (
        "import sys; from pathlib import Path; from instructue.superapp.write import Wish, generate\n"
        "if __name__ == '__main__':\n"
        "    import json, resource, time\n"
        "    users, workers, out = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])\n"
        "    started = time.perf_counter()\n"
        "    events = sum(generate(Wish(users, users_per_file=1000), out, workers).values())\n"
        "    seconds = time.perf_counter() - started\n"
        "    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)\n"
        "    peak = max(resource.getrusage(w).ru_maxrss for w in who) / 2**20\n"
        "    print(json.dumps({'events': events, 'seconds': seconds, 'peak_gib': peak}))\n"
    )
    script = out.parent / "measure.py"
    script.write_text(code, encoding="utf-8")
    words = [sys.executable, str(script), str(users), str(workers), str(out)]
    root = Path(__file__).parent.parent
    done = subprocess.run(
        words, capture_output=True, text=True, check=True, env={**_environment(), "PYTHONPATH": str(root)}
    )
    return json.loads(done.stdout.splitlines()[-1])


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "OMP_NUM_THREADS": "1"}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, help="keep the larger world here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="superapp-") as scratch:
        small = measure(max(1000, options.users // 4), options.workers, Path(scratch) / "small")
        out = (options.out or Path(scratch) / "large").resolve()
        large = measure(options.users, options.workers, out)
        size = sum(path.stat().st_size for path in out.rglob("*.parquet"))
    rates = {name: run["events"] / run["seconds"] for name, run in (("small", small), ("large", large))}
    for name, run in (("small", small), ("large", large)):
        print(f"{name}: {run['events']:,} events in {run['seconds']:.1f} s, {rates[name]:,.0f} a second, "
              f"peak {run['peak_gib']:.2f} GiB a process")  # fmt: skip
    print(
        json.dumps(
            {
                "users": options.users,
                "workers": options.workers,
                "events": int(large["events"]),
                "events_per_user": round(large["events"] / options.users),
                "generator_events_per_s": round(rates["large"]),
                "rate_large_vs_small": round(rates["large"] / rates["small"], 2),
                "peak_gib": round(large["peak_gib"], 3),
                "peak_large_vs_small": round(large["peak_gib"] / small["peak_gib"], 2),
                "bytes_per_event": round(size / large["events"], 1),
            }
        )
    )


if __name__ == "__main__":
    main()
