#!/usr/bin/env python3
"""Times tokmerge, OpenVINO and PyTorch in turn on this machine and writes the tables of docs/benchmarks.md.

    python3 -m venv .venv
    .venv/bin/pip install torch timm onnx onnxscript openvino numpy
    .venv/bin/python tools/compare.py --tokmerge target/release/tokmerge > comparison.md

Every engine runs the same ViT with random weights on the same random images, merged by the same rule. A round times
each engine once; speeds are given as min / median / max over the rounds, ratios as the median of the ratios within a
round, so that a machine whose speed drifts spoils neither. `--rows` chooses among MODEL:BATCH:DTYPE:R. On AMD
processors MKL, and with it PyTorch in f32, is faster when it is told that the processor is Intel's; preload a library
that does so, if you have one, to give PyTorch its best.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import openvino as ov
import timm
import torch
import torch.nn.functional as F

SHAPES = {"S": "vit_small_patch16_224", "B": "vit_base_patch16_224", "Ti": "vit_tiny_patch16_224"}
ROWS = [f"S:{b}:{d}:{r}" for d in ("f32", "bf16") for b in (8, 1, 32) for r in (0, 13)]
ROWS += [f"{m}:8:{d}:{r}" for m in ("B", "Ti") for d in ("f32", "bf16") for r in (0, 13)]


class Merged(torch.nn.Module):
    """A timm ViT with token merging: ToMe, section 3, with proportional attention (eq. 1)."""

    def __init__(self, vit, r):
        super().__init__()
        self.vit, self.r = vit, r

    def forward(self, images):
        vit = self.vit
        x = vit._pos_embed(vit.patch_embed(images))
        sizes = torch.ones_like(x[:, :, 0])
        for block in vit.blocks:
            x, sizes = self.block(block, x, sizes)
        return vit.forward_head(vit.norm(x))

    def block(self, block, x, sizes):
        batch, count, channels = x.shape
        attn = block.attn
        heads, width = attn.num_heads, channels // attn.num_heads
        qkv = attn.qkv(block.norm1(x)).reshape(batch, count, 3, heads, width)
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
        bias = sizes.log()[:, None, None, :]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        x = x + attn.proj(mixed.transpose(1, 2).reshape(batch, count, channels))
        r = min(self.r, (count - 1) // 2)
        if r:
            x, sizes = self.merge(x, sizes, F.normalize(k.mean(1), dim=-1), r)
        return x + block.mlp(block.norm2(x)), sizes

    @staticmethod
    def merge(x, sizes, keys, r):
        """The r pairs of an even and an odd token with the most similar keys become one; token 0 never proposes."""
        scores = keys[:, 0::2] @ keys[:, 1::2].transpose(1, 2)
        never = torch.zeros_like(scores)
        never[:, 0] = float("-inf")
        best, partner = (scores + never).max(-1)
        order = best.argsort(-1, descending=True)
        gone, stay = order[:, :r], order[:, r:].sort(-1).values
        to = partner.gather(1, gone)

        def join(values):
            even, odd = values[:, 0::2], values[:, 1::2]
            rows = lambda index: index[..., None].expand(-1, -1, values.shape[-1])
            return torch.cat([even.gather(1, rows(stay)), odd.scatter_add(1, rows(to), even.gather(1, rows(gone)))], 1)

        sums, sizes = join(x * sizes[..., None]), join(sizes[..., None])
        return sums / sizes, sizes[..., 0]


def network(name, r):
    torch.manual_seed(0)
    vit = timm.create_model(name, pretrained=False).eval()
    with torch.no_grad():
        for weight in vit.parameters():
            weight += 0.02 * torch.randn_like(weight)
    return Merged(vit, r).eval() if r else vit


def torch_engine(net, images, bf16):
    if bf16:
        net, images = net.bfloat16(), images.bfloat16()

    def run():
        with torch.inference_mode():
            net(images)

    return run, 1


def openvino_engines(net, images, bf16, threads):
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.onnx")
        with torch.no_grad():
            torch.onnx.export(net, (images,), path, dynamo=True, opset_version=18, external_data=False, verbose=False)
        core, data = ov.Core(), images.numpy()
        model = core.read_model(path)
        for hint in ("LATENCY", "THROUGHPUT"):
            precision = ov.Type.bf16 if bf16 else ov.Type.f32
            options = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": hint}
            compiled = core.compile_model(model, "CPU", options)
            if hint == "LATENCY":
                request = compiled.create_infer_request()
                yield "OpenVINO, latency", (lambda: request.infer({0: data}, share_inputs=True, share_outputs=True), 1)
            elif len(images) > 1:
                count = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
                queue = ov.AsyncInferQueue(compiled, count)

                def run():
                    for _ in range(count):
                        queue.start_async({0: data}, share_inputs=True)
                    queue.wait_all()

                yield "OpenVINO, throughput", (run, count)


def speed(engine, batch, seconds):
    """Images per second of the median batch, after one that is not timed."""
    run, batches = engine
    run()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return batch * batches / statistics.median(times)


def tokmerge(args, name, batch, dtype, r):
    merge = f"tome:r={r}" if r else "none"
    command = [args.tokmerge, "bench", "--model", name, "--random-weights", "--json", "--merge", merge, "--dtype", dtype]
    command += ["--batch-size", str(batch), "--threads", str(args.threads), "--duration", str(args.seconds)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["images_per_second"]


def row(args, spec):
    model, batch, dtype, r = spec.split(":")
    batch, r, bf16 = int(batch), int(r), dtype == "bf16"
    images = torch.randn(batch, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    engines = dict(openvino_engines(network(SHAPES[model], r), images, bf16, args.threads))
    if "torch" in args.engines:
        engines["PyTorch"] = torch_engine(network(SHAPES[model], r), images, bf16)
    speeds = {engine: [] for engine in [*engines, "tokmerge"]}
    for _ in range(args.rounds):
        for engine, run in engines.items():
            speeds[engine].append(speed(run, batch, args.seconds))
        speeds["tokmerge"].append(tokmerge(args, SHAPES[model], batch, dtype, r))
    ratio = lambda engine: statistics.median(a / b for a, b in zip(speeds["tokmerge"], speeds[engine]))
    return speeds, {engine: ratio(engine) for engine in engines}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokmerge", required=True, help="the built program")
    parser.add_argument("--rows", nargs="*", default=ROWS, help="MODEL:BATCH:DTYPE:R, such as S:8:f32:13")
    parser.add_argument("--engines", nargs="*", default=["torch"], choices=["torch"], help="beside OpenVINO")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=2.0, help="per engine and round")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    columns = ["OpenVINO, latency", "OpenVINO, throughput"] + (["PyTorch"] if args.engines else []) + ["tokmerge"]
    print(f"{platform.processor() or platform.machine()}, {args.threads} threads, {args.rounds} rounds of {args.seconds} s;")
    print(f"OpenVINO {ov.__version__.split('-')[0]}, PyTorch {torch.__version__}. img/s as min / **median** / max.\n")
    print("| model, batch, dtype | merge |", " | ".join(columns), "| tokmerge over each |")
    print("|" + "---|" * (len(columns) + 3), flush=True)
    for spec in args.rows:
        speeds, ratios = row(args, spec)
        model, batch, dtype, r = spec.split(":")
        show = lambda v: f"{min(v):.1f} / **{statistics.median(v):.1f}** / {max(v):.1f}"
        cells = [show(speeds[column]) if column in speeds else "-" for column in columns]
        over = ", ".join(f"{ratios[column]:.2f}" for column in columns if column in ratios)
        merge = f"`tome:r={r}`" if r != "0" else "`none`"
        print(f"| ViT-{model}, {batch}, {dtype} | {merge} |", " | ".join(cells), f"| {over} |", flush=True)
        print(json.dumps({"row": spec, "speeds": speeds, "ratios": ratios}), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
