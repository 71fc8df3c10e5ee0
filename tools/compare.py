#!/usr/bin/env python3
"""Times tokmerge against other engines, or against an older build of itself, in turn on this machine.

    python3 -m venv .venv
    .venv/bin/pip install torch onnx onnxscript openvino numpy
    .venv/bin/python tools/compare.py --tokmerge target/release/tokmerge > comparison.md

Four comparisons, each a Markdown table on standard output and a JSON line per row on standard error:

- by itself: plain ViTs beside OpenVINO and PyTorch; `--rows` chooses among MODEL:BATCH:DTYPE:R
- `--families [NAME...]`: other families of ViT-S's size beside the same two, unmerged and with two thirds of the tokens
  left after the last block
- `--baseline OLD`: this build over an older one, `--rows` as above; fails where the median over the rows is below 0.99.
  Needs nothing but Python.
- `--headline [NAME...]`: what merging gains on ViT-L at 512 and ViT-H at 518 pixels, beside the ratio of the operations
  that are run; with `--memory` the memory that each takes instead. Needs nothing but Python.

Every engine runs the same model with random weights on the same random images, merged by the same rule. A round times
each engine once; speeds are given as min / median / max over the rounds, ratios as the median of the ratios within a
round, so that a machine whose speed drifts spoils neither. On AMD processors MKL, and with it PyTorch in f32, is faster
when it is told that the processor is Intel's; preload a library that does so, if you have one, to give PyTorch its best.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

ROWS = [f"S:{b}:{d}:{r}" for d in ("f32", "bf16") for b in (8, 1, 32) for r in (0, 13)]
ROWS += [f"{m}:8:{d}:{r}" for m in ("B", "Ti") for d in ("f32", "bf16") for r in (0, 13)]
OWN_ROWS = [f"S:{b}:{d}:{r}" for d in ("f32", "bf16") for b in (8, 1) for r in (0, 13)]
NAMES = {"S": "vit_small_patch16_224", "B": "vit_base_patch16_224", "Ti": "vit_tiny_patch16_224"}
HEADLINE = {
    "L": ("vit_large_patch16_512.swag_ft_in1k", 1024),
    "H": ("vit_huge_patch14_518.swag_ft_in1k", 1280),
}
HEADLINE_R = 40


def spec(r):
    return f"tome:r={r}" if r else "none"


def spread(values, digits=1):
    low, middle, high = min(values), median(values), max(values)
    return f"{low:.{digits}f} / **{middle:.{digits}f}** / {high:.{digits}f}"


def line(*cells):
    print("|", " | ".join(cells), "|", flush=True)


def header(*columns):
    line(*columns)
    print("|" + "---|" * len(columns), flush=True)


def record(**what):
    print(json.dumps(what), file=sys.stderr, flush=True)


def tokmerge(binary, *options):
    """The JSON lines that a command of ours prints."""
    process = subprocess.run([binary, *options, "--json"], capture_output=True, text=True)
    if process.returncode:
        sys.exit(f"{binary} {' '.join(options)}: {process.stderr.strip()}")
    return [json.loads(text) for text in process.stdout.splitlines()]


def bench(binary, args, model, rs, batch, dtype):
    """Results of `bench` for every r, timed in turn by one process."""
    options = ["bench", "--random-weights", "--dtype", dtype, "--batch-size", str(batch), "--model", *model]
    options += ["--threads", str(args.threads), "--duration", str(args.seconds)]
    for r in rs:
        options += ["--merge", spec(r)]
    return tokmerge(binary, *options)


def grouped(rows):
    """Rows that differ in r alone are run together: (model, batch, dtype) to all of r."""
    groups = {}
    for row in rows:
        model, batch, dtype, r = row.split(":")
        groups.setdefault((model, int(batch), dtype), []).append(int(r))
    return groups.items()


def has_bf16():
    """Whether the processor has products of bf16."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return bool({"avx512_bf16", "amx_bf16"} & set(flags))


def baseline(args):
    """This build over an older one."""
    print(f"{platform.machine()}, {args.threads} threads, {args.rounds} rounds of {args.seconds} s per build and row;")
    print("img/s and the ratios within a round as min / **median** / max.\n")
    header("model, batch, dtype", "merge", "old", "new", "new over old")
    binaries, middle = {"old": args.baseline, "new": args.tokmerge}, []
    for (model, batch, dtype), rs in grouped(args.rows or OWN_ROWS):
        speeds = {build: [[] for _ in rs] for build in binaries}
        for number in range(args.rounds):
            for build in sorted(binaries, reverse=number % 2 == 0):
                results = bench(binaries[build], args, [NAMES[model]], rs, batch, dtype)
                for row, result in zip(speeds[build], results, strict=True):
                    row.append(result["images_per_second"])
        for r, old, new in zip(rs, speeds["old"], speeds["new"], strict=True):
            ratios = [a / b for a, b in zip(new, old)]
            middle.append(median(ratios))
            line(f"ViT-{model}, {batch}, {dtype}", f"`{spec(r)}`", spread(old), spread(new), spread(ratios, 3))
            record(row=f"{model}:{batch}:{dtype}:{r}", old=old, new=new, ratios=ratios)
    print(f"\nNew over old: {median(middle):.3f} in the median of {len(middle)} rows, {min(middle):.3f} at the lowest.")
    if median(middle) < 0.99:
        sys.exit("the new build is slower")


def engines_of(args, name, r, batch, dtype):
    from engines import openvino_engines, torch_engine
    from families import FAMILIES, network
    import torch

    images = torch.randn(batch, *FAMILIES[name].input, generator=torch.Generator().manual_seed(1))
    bf16 = dtype == "bf16"
    kept = args.models / f"{name}-{batch}-{r}.onnx" if args.models else None
    engines = dict(openvino_engines(network(name, r), images, bf16, args.threads, kept))
    if "torch" in args.engines:
        engines["PyTorch"] = torch_engine(network(name, r), images, bf16)
    return engines


def beside_others(args, name, rs, batch, dtype):
    """Per r: the speeds of all engines, and the ratios of ours over each, round by round."""
    from engines import speed
    from families import FAMILIES

    family = FAMILIES[name]
    engines = [engines_of(args, name, r, batch, dtype) for r in rs]
    speeds = [{engine: [] for engine in [*some, "tokmerge"]} for some in engines]
    with tempfile.TemporaryDirectory() as folder:
        model = family.tokmerge
        if isinstance(model, dict):
            (Path(folder) / "config.json").write_text(json.dumps(model))
            model = f"local-dir:{folder}"
        for _ in range(args.rounds):
            for some, row in zip(engines, speeds):
                for engine, run in some.items():
                    row[engine].append(speed(run, batch, args.seconds))
            results = bench(args.tokmerge, args, [model, *family.options], rs, batch, dtype)
            for r, row, result in zip(rs, speeds, results, strict=True):
                left = family.left(r)
                if r == family.third and result["tokens"] != left:
                    sys.exit(f"{name}, r={r}: {result['tokens']} tokens are left here and {left} there")
                row["tokmerge"].append(result["images_per_second"])
    ratios = [{e: [a / b for a, b in zip(row["tokmerge"], row[e])] for e in row if e != "tokmerge"} for row in speeds]
    return list(zip(rs, speeds, ratios))


def others(args):
    """Tables beside OpenVINO and PyTorch."""
    import openvino as ov
    import torch
    from families import FAMILIES, NEW

    torch.set_num_threads(args.threads)
    if args.models:
        args.models.mkdir(parents=True, exist_ok=True)
    families = args.families is not None
    if families:
        names = args.families or NEW
        dtypes = args.dtypes or (["f32", "bf16"] if has_bf16() else ["f32"])
        groups = [((name, FAMILIES[name].batch, dtype), [0, FAMILIES[name].third]) for dtype in dtypes for name in names]
    else:
        groups = grouped(args.rows or ROWS)
    columns = ["OpenVINO, latency", "OpenVINO, throughput"] + (["PyTorch"] if "torch" in args.engines else [])
    print(f"{platform.machine()}, {args.threads} threads, {args.rounds} rounds of {args.seconds} s;")
    print(f"OpenVINO {ov.__version__.split('-')[0]}, PyTorch {torch.__version__}. img/s as min / **median** / max.\n")
    header("model, batch, dtype", "merge", *columns, "tokmerge", "tokmerge over each")
    for (name, batch, dtype), rs in groups:
        family = FAMILIES[name]
        for r, speeds, ratios in beside_others(args, name, rs, batch, dtype):
            cells = [spread(speeds[column]) if column in speeds else "-" for column in [*columns, "tokmerge"]]
            over = ", ".join(f"{median(ratios[column]):.2f}" for column in columns if column in ratios)
            left = f", {family.tokens} tokens to {family.left(r)}" if families and r else ""
            line(f"{family.label}, {batch}, {dtype}", f"`{spec(r)}`{left}", *cells, over)
            record(row=f"{name}:{batch}:{dtype}:{r}", speeds=speeds, ratios=ratios)


def run_gmacs(info, width):
    """GMACs that are really run: in the last block all but the class token are keys and values only."""
    before, after = info["tokens"][-2:]
    norm = 5 * width  # as fvcore counts it, per token
    queries = (before - 1) * (2 * width * width + 2 * before * width)
    rest = (after - 1) * (8 * width * width + 2 * norm)
    return info["gmacs"] - (queries + rest) / 1e9


def headline(args):
    """What merging gains where it gains most."""
    rs = [0, HEADLINE_R]
    if not args.memory:
        print(f"{platform.machine()}, {args.threads} threads, `{spec(HEADLINE_R)}`; img/s as medians, the speed-up as")
        print("min / **median** / max over rounds, its share of the ratio of the operations that are run.\n")
        header("model, batch, dtype", "unmerged", "merged", "speed-up", "operations run", "all operations", "share")
    for name in args.headline or HEADLINE:
        model, width = HEADLINE[name]
        if args.memory:
            for r in rs:
                (result,) = bench(args.tokmerge, args, [model], [r], 1, args.dtype)
                print(f"{model}, 1, {args.dtype}, {spec(r)}: {result['peak_memory_mib']:.0f} MiB at most", flush=True)
                record(model=model, merge=spec(r), peak_memory_mib=result["peak_memory_mib"])
            continue
        merges = [option for r in rs for option in ("--merge", spec(r))]
        infos = tokmerge(args.tokmerge, "info", model, *merges)
        whole = infos[0]["gmacs"] / infos[1]["gmacs"]
        run = run_gmacs(infos[0], width) / run_gmacs(infos[1], width)
        plain, merged = bench(args.tokmerge, args, [model], rs, 1, args.dtype)
        gain = merged["speedup"]
        cells = [f"{result['images_per_second']:.3f}" for result in (plain, merged)]
        cells += [f"{gain['min']:.2f} / **{gain['median']:.2f}** / {gain['max']:.2f}"]
        cells += [f"{run:.2f}", f"{whole:.2f}", f"{gain['median'] / run:.3f}"]
        line(f"{model}, 1, {args.dtype}", *cells)
        record(model=model, plain=plain, merged=merged, operations_run=run, operations=whole)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokmerge", required=True, metavar="BINARY", help="the built program")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--baseline", metavar="BINARY", help="an older build, to compare with")
    what.add_argument("--families", nargs="*", metavar="NAME", help="dinov2, clip, siglip, dinov3, eva02, lvvit, t2t, kwt, audiomae, video-B, video-L")
    what.add_argument("--headline", nargs="*", metavar="NAME", choices=[*HEADLINE], help="L, H")
    parser.add_argument("--rows", nargs="*", help="MODEL:BATCH:DTYPE:R, such as S:8:f32:13")
    parser.add_argument("--dtypes", nargs="*", help="of --families [default: f32, and bf16 where the processor has it]")
    parser.add_argument("--dtype", default="f32", help="of --headline")
    parser.add_argument("--memory", action="store_true", help="of --headline: memory in place of speed")
    parser.add_argument("--engines", nargs="*", default=["torch"], choices=["torch"], help="beside OpenVINO")
    parser.add_argument("--models", type=Path, metavar="FOLDER", help="keep exported models there, for the next time")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=float, default=2.0, help="per engine and round")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    if args.baseline:
        baseline(args)
    elif args.headline is not None:
        headline(args)
    else:
        others(args)


if __name__ == "__main__":
    main()
