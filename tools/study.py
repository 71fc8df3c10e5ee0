"""Trains one recipe in several ways, several seeds each, and writes a table: mean and deviation.

    python3 tools/study.py sentences --tokmerge target/release/tokmerge --runs runs/sentences --seeds 0 1 2

Ways that are done are not trained again, so that a study can be stopped and gone on with. Inference is timed at the end, all ways in
turn on the same items, as often as --rounds says; training by the seconds of its own steps, to be read with care on a machine that
does other things too.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
from pathlib import Path

SENTENCES = {
    "recipe": "recipes/sentences_tiny.toml",
    "evaluate": ["sentences-val.tsv"],
    "make": ["scenes", "sentences-val.tsv", "--sentences", "--images", "500"],
    "score": "bleu",
    "shown": "BLEU",
    "ways": {
        "unmerged": "none",
        "with inflation, p = 2": "stm:p=2,layer=2,inflate=on,norm=rms",
        "without inflation, p = 2": "stm:p=2,layer=2,norm=rms",
        "with inflation, scores not detached": "stm:p=2,layer=2,inflate=on,detach=off,norm=rms",
        "with inflation, p = 4": "stm:p=4,layer=2,inflate=on,norm=rms",
        "random scores, with inflation, p = 2": "stm:p=2,layer=2,inflate=on,score=random,norm=rms",
        "random scores, with inflation, p = 4": "stm:p=4,layer=2,inflate=on,score=random,norm=rms",
        "ToMe, the tokens of p = 2 without inflation": "tome:r=[0%,50%,0%]",
    },
}

QUESTIONS = {
    "recipe": "recipes/questions_tiny.toml",
    "evaluate": ["questions-val"],
    "make": ["scenes", "questions-val", "--questions", "--images", "1400"],
    "validate_on": "questions-val",
    "score": "top1",
    "shown": "accuracy %",
    "ways": {
        "unmerged": "none",
        "STM, p = 2": "stm:p=2,layer=2",
        "ToMe": "tome:r=[0,32,0,0]",
        "PuMer": "pumer:prune=10%,merge=40%,layer=2",
        "random merging": "tome:r=[0,32,0,0],matcher=random_merge",
    },
}

STUDIES = {"sentences": SENTENCES, "questions": QUESTIONS}


def folder(args, way, seed):
    return args.runs / f"{list(args.study['ways']).index(way)}-seed{seed}"


def train(args, way, seed):
    """Trains one way with one seed, or goes on with it; nothing if it is done."""
    out = folder(args, way, seed)
    if (out / "done").exists():
        return
    merge = args.study["ways"][way]
    command = [args.tokmerge, "train", args.study["recipe"], "-o", str(out)]
    changes = {"merge": merge, "train.seed": seed, "train.validate": f'["{merge}"]', "train.threads": args.threads}
    if "validate_on" in args.study:
        changes["data.val"] = args.runs / args.study["validate_on"]
    for key, value in changes.items():
        command += ["--set", f"{key}={value}"]
    for change in args.set:
        command += ["--set", change]
    if (out / "checkpoints").exists() and any((out / "checkpoints").iterdir()):
        command.append("--resume")
    print(f"{way}, seed {seed}: {out}", file=sys.stderr, flush=True)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (out / "done").touch()


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def measured(args, way, seed):
    """The last validation, and the seconds and items per second of the steps."""
    out = folder(args, way, seed)
    steps, last = rows(out / "steps.csv"), rows(out / "validation.csv")[-1]
    # The first steps of a run, and what another process has slowed down, say little: the median.
    rate = statistics.median(float(step["images_per_second"]) for step in steps)
    return {
        "score": float(last[args.study["score"]]),
        "gmacs": float(last["gmacs"]),
        "tokens": float(last["mean_tokens"]),
        "rate": rate,
        "seconds": sum(float(step["seconds"]) for step in steps),
        "loss": statistics.mean(float(step["loss"]) for step in steps[-50:]),
    }


def items(args):
    """What everything is evaluated on, made where it is not there."""
    name = args.study["evaluate"][0]
    made = args.runs / name
    if not made.exists():
        make = [str(made) if word == name else word for word in args.study["make"]]
        subprocess.run([args.tokmerge, *make], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return made


def inference(args):
    """Items per second of every way: medians over the rounds."""
    made = items(args)
    found = {way: [] for way in args.study["ways"]}
    for _ in range(args.rounds):
        for way, merge in args.study["ways"].items():
            model = f"local-dir:{folder(args, way, args.seeds[0])}"
            command = [args.tokmerge, "eval", str(made), "--model", model, "--merge", merge, "--json"]
            command += ["--threads", str(args.threads)]
            line = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            row = json.loads(line.splitlines()[0])
            found[way].append(row.get("texts_per_second") or row["model_questions_per_second"])
    return {way: statistics.median(values) for way, values in found.items()}


def spread(values):
    return statistics.stdev(values) if len(values) > 1 else 0.0


def report(args):
    speeds = inference(args)
    first = next(iter(args.study["ways"]))
    seconds = 0.0
    print(f"| | {args.study['shown']} | GMACs | tokens left | training | inference | loss |")
    print("|---|---|---|---|---|---|---|")
    rates = {}
    for way in args.study["ways"]:
        found = [measured(args, way, seed) for seed in args.seeds]
        seconds += sum(run["seconds"] for run in found)
        mean = {key: statistics.mean(run[key] for run in found) for key in found[0]}
        rates[way] = mean["rate"]
        score = f"{mean['score']:.1f} ± {spread([run['score'] for run in found]):.1f}"
        print(
            f"| {way} (`{args.study['ways'][way]}`) | {score} | {mean['gmacs']:.3f} | {mean['tokens']:.1f} "
            f"| {rates[way] / rates[first]:.2f}x | {speeds[way] / speeds[first]:.2f}x | {mean['loss']:.3f} |"
        )
    print(f"\n{len(args.seeds)} seeds each, {args.threads} threads, {seconds / 60:.0f} minutes of training in all.")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--tokmerge", required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], help="a further change to the recipe")
    parser.add_argument("--report-only", action="store_true", help="train nothing")
    args = parser.parse_args()
    args.study = STUDIES[args.study]
    args.runs.mkdir(parents=True, exist_ok=True)
    items(args)
    if not args.report_only:
        for seed in args.seeds:
            for way in args.study["ways"]:
                train(args, way, seed)
    report(args)


if __name__ == "__main__":
    main()
