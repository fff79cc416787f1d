#!/usr/bin/env python3
"""Measures goldlink-target against tgt and istgt, side by side, and against loopback TCP alone.

All serve a disk of the same size from tmpfs, warm, pinned to core 0, the load generator to core 1
("split"). Rounds are interleaved, so what disturbs the machine disturbs both; figures are medians,
and the ratio of one run is what counts. Two sets: 64 MiB hot shows the software, 1 GiB shows the machine.

    tests/bench/iscsi/run.py [--rounds 3] [--seconds 2] [--targets tgt,goldlink] [--json FILE]
"""

import argparse
import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from bench.peers import GIB, LOAD_CORE, MIB, TARGETS, fill, prefer, prefer_self  # noqa: E402
from harness import processes  # noqa: E402

SETS = {"64 MiB": 64 * MIB, "1 GiB": GIB}


@dataclasses.dataclass(frozen=True)
class Workload:
    name: str
    arguments: dict
    goal: float  # how many times tgt's figure we want
    metric: str = "iops"


WORKLOADS = [
    Workload("4 KiB random read QD1", {"depth": 1}, 3.7),
    Workload("4 KiB random read QD32", {"depth": 32}, 10),
    Workload("4 KiB random write QD1", {"depth": 1, "writes": 100}, 3.7),
    Workload("4 KiB random write QD32", {"depth": 32, "writes": 100}, 8),
    Workload("256 KiB sequential read QD8", {"depth": 8, "block": 262144, "pattern": "sequential"}, 3, "mb_per_s"),
    Workload("256 KiB sequential write QD8",
             {"depth": 8, "block": 262144, "pattern": "sequential", "writes": 100}, 4, "mb_per_s"),
    Workload("32 sessions x QD8, 4 KiB read", {"sessions": 32, "depth": 8}, 8),
    Workload("32 sessions x QD1, 32 KiB read", {"sessions": 32, "depth": 1, "block": 32768}, 2.5),
    Workload("32 sessions x QD2, 4 KiB, 30 % writes", {"sessions": 32, "depth": 2, "writes": 30}, 4.5),
]


def measure(target, workload, set_bytes, seconds, warm_up):
    command = [processes.binary("load_generator"), "--port", str(target.port), "--target", target.target,
               "--lun", str(target.lun), "--set-bytes", str(set_bytes), "--seconds", str(seconds),
               "--warm-up", str(warm_up), "--pid", str(target.pid), "--core", LOAD_CORE,
               *getattr(target, "load_options", ())]
    for name, value in workload.arguments.items():
        command += [f"--{name}", str(value)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + warm_up + 60, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{workload.name} against {target.name}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def can_measure(target, workload):
    return workload.arguments.get("sessions", 1) <= getattr(target, "sessions_at_most", sys.maxsize)


def medians(samples):
    return {key: statistics.median(sample[key] for sample in samples) for key in samples[0]}


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    return f"{os.cpu_count()} x {model}, Linux {platform.release()}"


def figure(workload, sample):
    if sample is None:
        return "-"
    return f"{sample['iops']:,.0f}" if workload.metric == "iops" else f"{sample['mb_per_s']:,.0f} MB/s"


def markdown(results, targets, sets):
    lines = [f"Measured {datetime.date.today().isoformat()} on {machine()}; medians.", ""]
    head = ["workload (IOPS unless MB/s)", "set", *targets]
    against_tgt = "tgt" in targets and len(targets) > 1
    ours = next((name for name in ("goldlink", "ram") if name in targets), None)
    if against_tgt:
        head += ["ratio", "goal"]
    head += [f"{name}: median us" for name in targets] + [f"{name}: CPU us/op" for name in targets]
    lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for workload in WORKLOADS:
        for each in sets:
            samples = {name: results.get((workload.name, each, name)) for name in targets}
            if not any(samples.values()):
                continue
            row = [workload.name, each, *(figure(workload, samples[name]) for name in targets)]
            if against_tgt:
                ratio = samples[ours][workload.metric] / samples["tgt"][workload.metric]
                row += [f"{ratio:.1f}x", f"{workload.goal:g}x"]
            row += [f"{samples[name]['latency_median_us']:,.0f}" if samples[name] else "-" for name in targets]
            row += [f"{samples[name]['target_cpu_us_per_op']:.1f}" if samples[name] else "-" for name in targets]
            lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--warm-up", type=float, default=0.5)
    parser.add_argument("--targets", default="tgt,goldlink", help="of " + ", ".join(TARGETS))
    parser.add_argument("--sets", default="64 MiB,1 GiB")
    parser.add_argument("--only", default="", help="workloads whose name contains this")
    parser.add_argument("--folder", default="/dev/shm", help="where the backing files go")
    parser.add_argument("--prefer", action="store_true", help="run before other work of a machine that is not quiet")
    parser.add_argument("--json", help="write every sample to this file")
    options = parser.parse_args()
    names = options.targets.split(",")
    sets = options.sets.split(",")
    results, samples = {}, {}
    if options.prefer:
        prefer_self()
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(tempfile.mkdtemp(prefix="goldlink-bench-", dir=options.folder))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        image = folder / "image.raw"
        fill(image, max(SETS[each] for each in sets))
        targets = []
        for name in names:
            target = TARGETS[name](folder, image)
            target.start()
            stack.callback(target.stop)
            targets.append(target)
            if options.prefer:
                prefer(target.pid)
        image.unlink()
        for round_number in range(options.rounds):
            for workload in WORKLOADS:
                if options.only not in workload.name:
                    continue
                for each in sets:
                    for target in filter(lambda one: can_measure(one, workload), targets):
                        sample = measure(target, workload, SETS[each], options.seconds, options.warm_up)
                        samples.setdefault((workload.name, each, target.name), []).append(sample)
                        print(f"round {round_number + 1}/{options.rounds}  {workload.name:<40} {each:<7} "
                              f"{target.name:<9} {figure(workload, sample):>14}", file=sys.stderr, flush=True)
    for key, each in samples.items():
        results[key] = medians(each)
    print(markdown(results, names, sets))
    if options.json:
        rows = [{"workload": key[0], "set": key[1], "target": key[2], "median": results[key], "samples": each}
                for key, each in samples.items()]
        pathlib.Path(options.json).write_text(json.dumps(
            {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(), "machine": machine(),
             "seconds": options.seconds, "rounds": options.rounds, "results": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
