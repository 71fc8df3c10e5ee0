"""Trains one recipe in several ways, several seeds each, and writes a table: mean and deviation.

    python3 tools/study.py sentences --tokmerge target/release/tokmerge --runs runs/sentences --seeds 0 1 2
    python3 tools/study.py rivals --tokmerge target/release/tokmerge --runs runs/rivals
    python3 tools/study.py answers --data easy_vqa/data/test/questions.json --tokmerge target/release/tokmerge --runs runs/answers

What is done is not done again, so that a study can be stopped and gone on with. Training and inference are timed at the end, all ways
in turn on the same items, as often as --rounds says.
"""

import argparse
import csv
import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

# Of every study: the recipe of its ways and what is changed in it, what is trained before them, how what it is evaluated on is made if
# it is drawn, which column of a validation counts, a short training to be timed, and its ways: settings of the recipe.
SENTENCES = {
    "recipe": "recipes/sentences_tiny.toml",
    "changes": {},
    "evaluate": "sentences-val.tsv",
    "make": ["--sentences", "--images"],
    "items": 500,
    "score": "bleu",
    "shown": "BLEU",
    "timed": {"data.train": '"sentences:1280"'},
    "ways": {
        "unmerged": {"merge": "none"},
        "with inflation, p = 2": {"merge": "stm:p=2,layer=2,inflate=on,norm=rms"},
        "without inflation, p = 2": {"merge": "stm:p=2,layer=2,norm=rms"},
        "with inflation, scores not detached": {"merge": "stm:p=2,layer=2,inflate=on,detach=off,norm=rms"},
        "with inflation, p = 4": {"merge": "stm:p=4,layer=2,inflate=on,norm=rms"},
        "random scores, with inflation, p = 2": {"merge": "stm:p=2,layer=2,inflate=on,score=random,norm=rms"},
        "random scores, with inflation, p = 4": {"merge": "stm:p=4,layer=2,inflate=on,score=random,norm=rms"},
        # As many pairs as there are: half of the tokens go.
        "ToMe, the tokens of p = 2 without inflation": {"merge": "tome:r=[0,100,0]"},
    },
}

VILT = {
    "unmerged": {"merge": "none"},
    "STM, p = 2": {"merge": "stm:p=2,layer=2"},
    "ToMe": {"merge": "tome:r=[0,32,0,0]"},
    "PuMer": {"merge": "pumer:prune=10%,merge=40%,layer=2"},
    "random merging": {"merge": "tome:r=[0,32,0,0],matcher=random_merge"},
    "DynamicViT": {"merge": "dynamicvit:keep=50%,layer=2"},
}

QUESTIONS = {
    "recipe": "recipes/questions_tiny.toml",
    "changes": {},
    "evaluate": "questions-val",
    "make": ["--questions", "--images"],
    "items": 2800,
    "timed": {"data.train": '"questions:640"'},
    "score": "accuracy",
    "shown": "accuracy %",
    "ways": VILT,
}

# Questions that people have, given with --data: those about every fifth picture are held out.
EASY = {
    "recipe": "recipes/easy_vqa.toml",
    "changes": {},
    "score": "accuracy",
    "shown": "accuracy %",
    "ways": VILT,
}

# The tower of images, which stays as it is (as in the paper), and the model that every way begins with, are trained first.
ANSWERS = {
    "before": {
        "tower": ("recipes/tower_tiny.toml", {}),
        "start": ("recipes/answers_tiny.toml", {"model.parts.tower": "tower"}),
    },
    "recipe": "recipes/finetune-answers.toml",
    "changes": {},
    "score": "accuracy",
    "shown": "accuracy %",
    "ways": {
        "full": {"merge": "none"},
        "full, STM, p = 2": {"merge": "stm:p=2,layer=5"},
        "LoRA": {"merge": "none", "lora.rank": 16},
        "LoRA, STM, p = 2": {"merge": "stm:p=2,layer=5", "lora.rank": 16},
    },
}


def rival(merge, **more):
    """A way of merging, with what belongs to its training beside the labels."""
    return {"merge": merge, **{key.replace("__", "."): value for key, value in more.items()}}


UNMERGED_SAYS = {"distill__merge": '"none"', "distill__weight": 0.5}

# Methods of several papers at half of the multiply-adds, all from the model that comes with tokmerge (ToMe, Table 4; ATM,
# Table 4). What A-ViT and LTMP come to, training decides.
RIVALS = {
    "recipe": "recipes/rivals_demo.toml",
    "begin": "finetune",
    "changes": {},
    "evaluate": "scenes-val",
    "make": ["--images"],
    "items": 2400,
    # Enough for pictures of all classes.
    "few": 240,
    "timed": {"data.train": '"scenes:960"'},
    "score": "top1",
    "shown": "top-1 %",
    "ways": {
        "unmerged": rival("none"),
        "ToMe": rival("tome:r=17"),
        "ATM": rival("atm:theta=[1,1,0.9913,0.9647,0.9426,0.9426,0.9426,0.9426]"),
        "MCTF": rival("mctf:r=22"),
        "MCTF, two passes": rival("mctf:r=22", consistency__merge='["none","mctf:r=5","mctf:r=10"]'),
        "EViT": rival("evit:keep=50%"),
        "ATC": rival("atc:keep=50%"),
        "DynamicViT": rival("dynamicvit:keep=55%", schedule__backbone_scale=0.1, **UNMERGED_SAYS),
        "SP-ViT": rival("sp_vit:keep=54%", schedule__backbone_scale=0.1),
        "Evo-ViT": rival("evo_vit:keep=38%"),
        "IdleViT": rival("idle_vit:keep=54%", **UNMERGED_SAYS),
        "A-ViT": rival("a_vit:beta=20"),
        "PatchMerger": rival("patchmerger:m=32,layer=3"),
        "STM": rival("stm:p=3,layer=3"),
        "LTMP": rival("ltmp:target=50%", schedule__backbone_scale=0.1),
        "random pruning": rival("tome:r=17,matcher=random_prune"),
        "random merging": rival("tome:r=17,matcher=random_merge"),
    },
}

# Soft token merging beside its baselines (its Tables 8 and 9), from the same model.
POOLING = RIVALS | {
    "ways": {
        "unmerged": rival("none"),
        "learned scores, p = 2": rival("stm:p=2,layer=3"),
        "learned scores, p = 4": rival("stm:p=4,layer=3"),
        "random scores, p = 2": rival("stm:p=2,layer=3,score=random"),
        "random scores, p = 4": rival("stm:p=4,layer=3,score=random"),
        "mean, p = 2": rival("stm:p=2,layer=3,score=mean"),
        "max, p = 2": rival("stm:p=2,layer=3,score=max"),
        "trainable pooling": rival("trainable_pooling:m=72,layer=3"),
    },
}

STUDIES = {"sentences": SENTENCES, "questions": QUESTIONS, "easy": EASY, "answers": ANSWERS, "rivals": RIVALS, "pooling": POOLING}
GIVEN = ("easy", "answers")


def folder(args, way, seed):
    return args.runs / f"{list(args.study['ways']).index(way)}-seed{seed}"


def settings(changes):
    return [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]


def quoted(paths):
    return {key: json.dumps(str(path)) for key, path in paths.items()}


def data(args):
    """Settings that say what is learned and what is validated on."""
    if not args.data:
        return quoted({"data.val": items(args)})
    return quoted({"data.train": listed(args, held_out=False), "data.val": items(args)})


def listed(args, held_out, few=False):
    """The given questions in two lists, and a few of each, as the program takes them."""
    name = f"{'few-' if few else ''}{'held-out' if held_out else 'train'}.jsonl"
    path = args.runs / name
    if not path.exists():
        questions = json.loads(args.data.read_text())
        aside = path.with_suffix(".incomplete")
        with open(aside, "w") as file:
            for question, answer, image in questions[:640] if few else questions:
                if (image % 5 == 4) == held_out:
                    picture = (args.data.parent / "images" / f"{image}.png").resolve()
                    print(json.dumps({"image": str(picture), "question": question, "answer": answer}), file=file)
        aside.replace(path)
    return path


def command(args, way, seed, out):
    """The training of one way, in words of the command line."""
    begin = args.study.get("begin", "finetune" if "before" in args.study else "train")
    words = [args.tokmerge, begin, args.study["recipe"], "-o", str(out)]
    if "before" in args.study:
        words += settings(quoted({"model.name": f"local-dir:{args.runs / 'start'}"}))
    way = args.study["ways"][way]
    ways = {"train.seed": seed, "train.validate": f'["{way["merge"]}"]', "train.threads": args.threads}
    words += settings(data(args) | ways | args.study["changes"] | way)
    return words + [word for change in args.set for word in ("--set", change)]


def train(words, out, name):
    """Trains what is not trained yet, or goes on with it. What was trained otherwise is another study's."""
    said = json.dumps(words[1:])
    done, begun = out / "done", out / "begun"
    for told in (done, begun):
        if told.exists() and told.read_text() != said:
            raise SystemExit(f"{out} was trained otherwise; take other --runs, or remove it:\n  {told.read_text()}\n  {said}")
    if done.exists():
        return
    out.mkdir(parents=True, exist_ok=True)
    begun.write_text(said)
    if (out / "checkpoints").exists() and any((out / "checkpoints").iterdir()):
        words = [*words, "--resume"]
    print(f"{name}: {out}", file=sys.stderr, flush=True)
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    done.write_text(said)


def before(args):
    """The models that the ways need, with a seed of their own."""
    for name, (recipe, parts) in args.study.get("before", {}).items():
        out = args.runs / name
        words = [args.tokmerge, "train", recipe, "-o", str(out)]
        words += settings({"train.seed": 1000, "train.threads": args.threads})
        words += settings(quoted({key: f"local-dir:{args.runs / part}" for key, part in parts.items()}))
        words += settings(data(args) if parts else quoted({"data.val": drawn(args, "scenes-val", ["--images"], 600)}))
        train(words, out, name)


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def measured(args, out):
    """The last validation, and what the steps tell."""
    steps, last = rows(out / "steps.csv"), rows(out / "validation.csv")[-1]
    return {
        # What comes before the ways may be of another kind.
        "score": float(next(last[key] for key in (args.study["score"], "top1") if key in last)),
        "gmacs": float(last["gmacs"]),
        "tokens": float(last["mean_tokens"]),
        "seconds": sum(float(step["seconds"]) for step in steps),
        "loss": statistics.mean(float(step["loss"]) for step in steps[-50:]),
    }


def drawn(args, name, make, count):
    """Items that the program draws, made where they are not there."""
    made = args.runs / name
    if not made.exists():
        # The program writes a list aside, but a folder picture by picture.
        aside = made.with_name(f"incomplete-{name}")
        shutil.rmtree(aside, ignore_errors=True)
        words = [args.tokmerge, "scenes", str(aside), *make, str(count)]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        aside.replace(made)
    return made


def items(args, few=False):
    """What everything is evaluated on, or a few such items."""
    if args.data:
        return listed(args, held_out=True, few=few)
    name = ("few-" if few else "") + args.study["evaluate"]
    return drawn(args, name, args.study["make"], args.study.get("few", 14) if few else args.study["items"])


def answering(args, way):
    """Items per second of one evaluation."""
    words = [args.tokmerge, "eval", str(items(args)), "--model", f"local-dir:{folder(args, way, args.seeds[0])}"]
    words += ["--merge", args.study["ways"][way]["merge"], "--json", "--threads", str(args.threads)]
    line = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    row = json.loads(line.splitlines()[0])
    speeds = ("texts_per_second", "model_questions_per_second", "model_images_per_second")
    return next(row[key] for key in speeds if key in row)


def training(args, way):
    """Items per second of a short training, of whose steps the median counts: the first ones and disturbed ones say little."""
    out = args.runs / "timed"
    shutil.rmtree(out, ignore_errors=True)
    few = quoted({"data.val": items(args, few=True)})
    few |= quoted({"data.train": listed(args, held_out=False, few=True)}) if args.data else args.study["timed"]
    words = command(args, way, args.seeds[0], out) + settings(few | {"train.epochs": 1})
    subprocess.run(words, check=True, capture_output=True)
    rate = statistics.median(float(step["images_per_second"]) for step in rows(out / "steps.csv"))
    shutil.rmtree(out)
    return rate


def speeds(args, measure):
    """Of every way: the median over the rounds, in each of which every way has its turn."""
    found = {way: [] for way in args.study["ways"]}
    for _ in range(args.rounds):
        for way in found:
            found[way].append(measure(args, way))
    return {way: statistics.median(values) for way, values in found.items()}


def spread(values):
    return statistics.stdev(values) if len(values) > 1 else 0.0


def report(args):
    trained, answered = speeds(args, training), speeds(args, answering)
    first = next(iter(args.study["ways"]))
    seconds = 0.0
    for name in args.study.get("before", {}):
        found = measured(args, args.runs / name)
        seconds += found["seconds"]
        print(f"Before that, {name}: {found['seconds'] / 60:.0f} minutes, {found['score']:.1f} %.\n")
    print(f"| | {args.study['shown']} | GMACs | tokens left | training | inference | loss |")
    print("|---|---|---|---|---|---|---|")
    for way, how in args.study["ways"].items():
        found = [measured(args, folder(args, way, seed)) for seed in args.seeds]
        seconds += sum(run["seconds"] for run in found)
        mean = {key: statistics.mean(run[key] for run in found) for key in found[0]}
        score = f"{mean['score']:.1f} ± {spread([run['score'] for run in found]):.1f}"
        print(
            f"| {way} (`{how['merge']}`) | {score} | {mean['gmacs']:.3f} | {mean['tokens']:.1f} "
            f"| {trained[way] / trained[first]:.2f}x | {answered[way] / answered[first]:.2f}x | {mean['loss']:.3f} |"
        )
    print(f"\n{len(args.seeds)} seeds each, {args.threads} threads, {seconds / 60:.0f} minutes of training in all. ", end="")
    print(f"Of {first}: {trained[first]:.0f} items a second in training, {answered[first]:.0f} in inference.")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--tokmerge", required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="of easy and answers: easy-VQA's questions.json")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], help="a further change to the recipe of the ways")
    parser.add_argument("--report-only", action="store_true", help="train nothing")
    args = parser.parse_args()
    if (args.study in GIVEN) != (args.data is not None):
        parser.error(f"--data is for {' and '.join(GIVEN)}, which need it")
    args.study = STUDIES[args.study]
    args.runs.mkdir(parents=True, exist_ok=True)
    items(args)
    if not args.report_only:
        before(args)
        for seed in args.seeds:
            for way in args.study["ways"]:
                out = folder(args, way, seed)
                train(command(args, way, seed, out), out, f"{way}, seed {seed}")
    report(args)


if __name__ == "__main__":
    main()
