"""Fuzz the decoders, guided by coverage: `python -m tests.fuzz [target] [--runs N]`.

Each target runs in a process of its own, from seeds made in code and from one number, so that a
run can be repeated. A failure leaves its input in a file that libFuzzer names.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import atheris

# Only our own decoders tell libFuzzer where they have been.
with atheris.instrument_imports(
    include=["service.api", "service.domain", "service.store", "service.decisions"]
):
    from tests.fuzz.targets import TARGETS, Target

SECONDS_MAX = 20  # For one input; a slower one is a failure.
MEGABYTES_MAX = 1_024
# What libFuzzer would be long in finding out, in its own spelling.
WORDS = (
    *(r"\"experiment\":", r"\"unit\":", r"\"units\":", r"\"occasion\":", r"\"eligible\":"),
    *(r"\"context\":", r"\"force\":", r"\"decision_id\":", r"\"event\":", r"\"event_id\":"),
    *(r"\"value\":", r"\"occurred_at\":", r"\"rewards\":[", r"\"2026-11-24T10:00:00Z\""),
    *("null", "true", "1e9", "-1", "[[[[", "]]]]", r"{\"a\":", "}}", r"\\ud800", r"\\u0000"),
    *("%ED%A0%80", "%00", "&unit=", "&key=", "Bearer pb_", "Basic ", r"\xf5PbR", r"\xed\xa0\x80"),
)


def main(arguments: list[str]) -> int:
    """Fuzz one target here, or each in a process of its own."""
    parser = argparse.ArgumentParser(prog="tests.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("target", nargs="?", choices=sorted(TARGETS))
    parser.add_argument("--runs", type=int, help="inputs for each target")
    parser.add_argument("--seed", type=int, default=1, help="where chance begins")
    asked = parser.parse_args(arguments)
    if asked.target is None:
        return max(_apart(name, arguments) for name in TARGETS)
    target = TARGETS[asked.target]
    return fuzz(target, target.runs if asked.runs is None else asked.runs, asked.seed)


def _apart(name: str, arguments: list[str]) -> int:
    print(f"--- {name}", flush=True)  # noqa: T201  It is a command.
    command = [sys.executable, "-m", "tests.fuzz", name, *arguments]
    return abs(subprocess.run(command, check=False).returncode)


def fuzz(target: Target, runs: int, seed: int) -> int:
    """Give a target its seeds, then so many mutations; libFuzzer ends the process."""
    with tempfile.TemporaryDirectory(prefix="pb-fuzz-") as directory:
        corpus, words = Path(directory, "corpus"), Path(directory, "words")
        corpus.mkdir()
        words.write_text("".join(f'"{word}"\n' for word in WORDS))
        for serial, each in enumerate(target.seeds):
            target.run(each)  # As it is, however long: the mutations start from short ones.
            if len(each) <= target.length_max:
                (corpus / f"{serial:04d}").write_bytes(each)
        options = {
            "runs": runs,
            "seed": seed,
            "max_len": target.length_max,
            "timeout": SECONDS_MAX,
            "rss_limit_mb": MEGABYTES_MAX,
            "print_final_stats": 1,
            "verbosity": 0,
            "dict": words,
        }
        flags = [f"-{name}={value}" for name, value in options.items()]
        atheris.Setup([sys.argv[0], *flags, str(corpus)], target.run)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
