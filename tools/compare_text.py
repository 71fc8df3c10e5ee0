"""Times models of texts: tokmerge beside transformers, eager and compiled, in turn on this machine.

    python3 -m venv .venv
    .venv/bin/pip install torch transformers numpy
    .venv/bin/python tools/compare_text.py --tokmerge target/release/tokmerge --minilm FOLDER > text.md

A sentence encoder (a folder of transformers' BERT with its tokenizer) at batch 32 and on long texts, and T5 1.1 small with
random weights: its encoder, and greedy decoding of 32 tokens. Every engine sees texts of the same numbers of tokens. A round
times each engine once; speeds are medians over the rounds, ratios medians of the ratios within a round.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from transformers import AutoModel, T5Config, T5EncoderModel, T5ForConditionalGeneration

MERGES = ["none", "tome:r=5%", "tome:r=10%"]


def timed(run, seconds):
    """Calls per second."""
    count, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        run()
        count += 1
    return count / spent


def ours(args, model, batch, tokens, merges):
    """Texts per second of each merge."""
    command = [args.tokmerge, "bench", *model, "--batch-size", str(batch), "--max-tokens", str(tokens)]
    command += ["--threads", str(args.threads), "--duration", str(args.seconds), "--json"]
    for merge in merges:
        command += ["--merge", merge]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    rows = [json.loads(line) for line in lines]
    return [row["images_per_second"] for row in rows]


def encoder_rows(args, label, model, load, vocabulary, cases, merges):
    eager = load()
    compiled = torch.compile(load(), dynamic=False)
    for batch, tokens in cases:
        ids = torch.randint(1, vocabulary, (batch, tokens))
        mask = torch.ones_like(ids)
        with torch.inference_mode():
            for engine in (eager, compiled):
                engine(input_ids=ids, attention_mask=mask)
            rounds = []
            for _ in range(args.rounds):
                theirs = [
                    batch * timed(lambda: engine(input_ids=ids, attention_mask=mask), args.seconds)
                    for engine in (eager, compiled)
                ]
                rounds.append(theirs + ours(args, model, batch, tokens, merges))
        report(f"{label}, batch {batch}, {tokens} tokens", merges, rounds)


def report(label, merges, rounds):
    print(json.dumps({"row": label, "rounds": rounds}), file=sys.stderr, flush=True)
    speed = lambda column: statistics.median(row[column] for row in rounds)
    for index, merge in enumerate(merges):
        ratio = lambda column: statistics.median(row[2 + index] / row[column] for row in rounds)
        cells = [label, f"`{merge}`", f"{speed(0):.1f}", f"{speed(1):.1f}", f"{speed(2 + index):.1f}"]
        cells += [f"{ratio(0):.2f}, {ratio(1):.2f}"]
        print("| " + " | ".join(cells) + " |", flush=True)


def decoding_rows(args, folder, model, batch):
    """Greedy decoding of as many texts from a file; both engines write as many tokens."""
    texts = folder / "texts.txt"
    texts.write_text("the cat sat on the mat and the dog ran to the house\n" * batch)
    from tokenizers import Tokenizer

    ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(texts.read_text().splitlines()[0]).ids
    ids = torch.tensor([ids] * batch)
    settings = {"max_new_tokens": 32, "min_new_tokens": 32, "num_beams": 1, "do_sample": False}
    rounds = []
    with torch.inference_mode():
        model.generate(input_ids=ids, **settings)
        for _ in range(args.rounds):
            theirs = batch * timed(lambda: model.generate(input_ids=ids, **settings), args.seconds)
            command = [args.tokmerge, "generate", str(texts), "--model", f"local-dir:{folder}", "--max-new-tokens", "32"]
            command += ["--threads", str(args.threads), "--batch-size", str(batch)]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
            rate = float(said.split(" texts, ")[1].split(" ")[0])
            rounds.append([theirs, theirs, rate])
    report(f"T5 1.1 small, greedy, batch {batch}, 32 tokens", ["none"], rounds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokmerge", required=True, metavar="BINARY")
    parser.add_argument("--minilm", required=True, metavar="FOLDER", help="a sentence encoder of transformers")
    parser.add_argument("--tokenizer", metavar="FILE", help="a tokenizer.json of T5, for decoding")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0, help="per engine and round")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    print(f"{args.threads} threads, f32, {args.rounds} rounds of {args.seconds} s; texts/s.\n")
    print("| model, batch | merge | transformers, eager | compiled | tokmerge | tokmerge over each |")
    print("|---|---|---|---|---|---|", flush=True)
    load = lambda: AutoModel.from_pretrained(args.minilm, dtype=torch.float32, add_pooling_layer=False).eval()
    minilm = ["--model", f"local-dir:{args.minilm}"]
    encoder_rows(args, "MiniLM-L6", minilm, load, 30000, [(32, 32), (32, 128), (8, 512)], MERGES)
    config = T5Config.from_dict({
        "vocab_size": 32128, "d_model": 512, "d_kv": 64, "d_ff": 1024, "num_layers": 8, "num_heads": 6,
        "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "decoder_start_token_id": 0,
    })
    t5 = ["--model", "t5_v1_1_small", "--random-weights"]
    encoder_rows(args, "T5 1.1 small, encoder", t5, lambda: T5EncoderModel(config).eval(), 32000, [(8, 128), (8, 512)], MERGES)
    if args.tokenizer:
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            model = T5ForConditionalGeneration(config).eval()
            model.save_pretrained(folder)
            (folder / "tokenizer.json").write_bytes(Path(args.tokenizer).read_bytes())
            for batch in (1, 8):
                decoding_rows(args, folder, model, batch)


if __name__ == "__main__":
    main()
