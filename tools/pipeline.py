#!/usr/bin/env python3
"""Where each millisecond goes between a JPEG file and a prediction, beside what else one would run.

    python3 -m venv .venv
    .venv/bin/pip install torch torchvision timm onnx onnxscript openvino pillow
    cargo build --release --workspace --examples
    .venv/bin/python tools/pipeline.py --photographs DIR > pipeline.md

Photographs of DIR are enlarged to 1600x1200 and resized to 500x375, and written as JPEGs of quality 88. Two kinds of
tables: milliseconds of one core to decode and to resize, stage by stage; and images per second of the whole way, with
as many threads for each contestant. The contestants take turns, files are in the system's cache, and a figure is the
median over the rounds with the smallest and the largest. Rivals decode and resize on as many threads of Python as there
are threads, ahead of the model, and OpenVINO computes on as many; draft and reduced decoding go to the same sizes as
`--decode fast`. OpenCV takes part if it is installed; its resizing is bilinear with no antialiasing after a reduced
decoding, as it offers nothing else that is fast.
"""

import argparse
import json
import os
import queue
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

SIZES = {"1600x1200": (1600, 1200), "500x375": (500, 375)}
MODELS = {"Ti": "vit_tiny_patch16_224", "S": "vit_small_patch16_224"}
MERGES = {"none": "none", "r=13": "tome:r=13"}
EDGE, SIDE = 256, 224


def line(*cells):
    print("|", " | ".join(str(cell) for cell in cells), "|", flush=True)


def header(*columns):
    line(*columns)
    print("|" + "---|" * len(columns), flush=True)


def spread(values, digits=1):
    return f"{min(values):.{digits}f} / **{median(values):.{digits}f}** / {max(values):.{digits}f}"


def write_images(folder, photographs, count):
    """The same photographs in both sizes."""
    from PIL import Image

    sources = sorted(path for path in photographs.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not sources:
        sys.exit(f"{photographs}: there are no photographs")
    step = max(1, len(sources) // count)
    for name, size in SIZES.items():
        target = folder / name
        target.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            path = target / f"{number:04}.jpg"
            if not path.exists():
                image = Image.open(sources[number * step % len(sources)]).convert("RGB")
                image.resize(size, Image.Resampling.BICUBIC).save(path, quality=88)


def geometry(width, height):
    """timm's evaluation transform: the shorter edge to 256, the middle 224."""
    short, long = min(width, height), max(width, height)
    size = (EDGE, EDGE * long // short) if width < height else (EDGE * long // short, EDGE)
    return size, (round((size[0] - SIDE) / 2), round((size[1] - SIDE) / 2))


def pillow(path, draft):
    from PIL import Image

    start = time.perf_counter()
    image = Image.open(path)
    size, (left, top) = geometry(*image.size)
    if draft:
        image.draft("RGB", size)
    image = image.convert("RGB")
    decoded = time.perf_counter()
    image = image.resize(size, Image.Resampling.BICUBIC).crop((left, top, left + SIDE, top + SIDE))
    return image, (decoded - start, time.perf_counter() - decoded)


def opencv(path, reduced):
    import cv2

    start = time.perf_counter()
    flag = cv2.IMREAD_COLOR
    if reduced:
        from PIL import Image

        width, height = Image.open(path).size
        size, _ = geometry(width, height)
        by = min(width // size[0], height // size[1])
        flag = next((getattr(cv2, f"IMREAD_REDUCED_COLOR_{s}") for s in (8, 4, 2) if by >= s), flag)
    image = cv2.imread(str(path), flag)
    decoded = time.perf_counter()
    size, (left, top) = geometry(image.shape[1], image.shape[0])
    way = cv2.INTER_LINEAR if reduced else cv2.INTER_AREA
    image = cv2.resize(image, size, interpolation=way)[top : top + SIDE, left : left + SIDE, ::-1]
    return image, (decoded - start, time.perf_counter() - decoded)


def torchvision(path, draft):
    import torch
    from torchvision import io
    from torchvision.transforms.v2 import functional

    start = time.perf_counter()
    image = io.decode_image(io.read_file(str(path)), io.ImageReadMode.RGB)
    decoded = time.perf_counter()
    size, (left, top) = geometry(image.shape[2], image.shape[1])
    image = functional.resize_image(image, [size[1], size[0]], functional.InterpolationMode.BICUBIC, antialias=True)
    image = image[:, top : top + SIDE, left : left + SIDE].permute(1, 2, 0).contiguous()
    return image.numpy(), (decoded - start, time.perf_counter() - decoded)


def readers():
    """What can decode and resize here: the name of each and of its way, the function and whether it is reduced."""
    yield "Pillow", "exact", pillow, False
    yield "Pillow", "draft", pillow, True
    try:
        import torchvision as _

        yield "torchvision", "exact", torchvision, False
    except ImportError:
        print("torchvision is not installed and is left out", file=sys.stderr)
    try:
        import cv2

        cv2.setNumThreads(1)
        yield "OpenCV", "exact", opencv, False
        yield "OpenCV", "reduced", opencv, True
    except ImportError:
        print("OpenCV is not installed and is left out", file=sys.stderr)


def stages(args):
    """Milliseconds of one core."""
    import torch

    torch.set_num_threads(1)
    print("\nMilliseconds of one core per image, decode + resize, medians of the rounds' medians:\n")
    header("size", "decoder", "decode", "resize", "both", "over Pillow exact")
    for name in SIZES:
        files = sorted((args.images / name).iterdir())[: args.stage_images]
        times = {}
        for _ in range(args.rounds):
            command = [args.examples / "decode", "1", *files]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            times.setdefault("tokmerge, decode, then fit", []).append((found["decode"], found["resize"]))
            times.setdefault("tokmerge, exact", []).append((None, found["exact"]))
            times.setdefault("tokmerge, fast", []).append((None, found["fast"]))
            for library, way, read, reduced in readers():
                spent = [read(path, reduced)[1] for path in files]
                middle = [1e3 * median(stage) for stage in zip(*spent)]
                times.setdefault(f"{library}, {way}", []).append(tuple(middle))
        both = {key: [sum(filter(None, pair)) for pair in pairs] for key, pairs in times.items()}
        for key, pairs in times.items():
            ratio = median(pillow / own for pillow, own in zip(both["Pillow, exact"], both[key]))
            decode, resize = (
                "-" if pairs[0][0] is None else f"{median(pair[stage] for pair in pairs):.2f}" for stage in (0, 1)
            )
            line(name, key, decode, resize, f"{median(both[key]):.2f}", f"{ratio:.2f}")


class Rival:
    """A reader and OpenVINO."""

    def __init__(self, compiled, read, reduced, files, args):
        import numpy as np

        self.np, self.compiled, self.read, self.reduced = np, compiled, read, reduced
        self.files, self.args = files, args
        self.request = compiled.create_infer_request()
        self.mean = np.array([0.485, 0.456, 0.406], np.float32)
        self.std = np.array([0.229, 0.224, 0.225], np.float32)

    def load(self, path):
        image = self.np.asarray(self.read(path, self.reduced)[0], self.np.float32)
        return ((image / 255 - self.mean) / self.std).transpose(2, 0, 1)

    def run(self):
        """Seconds of the whole and of the model."""
        batch = self.args.batch
        start, seconds, ready = time.perf_counter(), 0.0, queue.Queue(2)
        with ThreadPoolExecutor(self.args.threads) as pool:

            def feed():
                for at in range(0, len(self.files), batch):
                    ready.put([pool.submit(self.load, path) for path in self.files[at : at + batch]])
                ready.put(None)

            feeder = threading.Thread(target=feed)
            feeder.start()
            while (futures := ready.get()) is not None:
                images = self.np.stack([future.result() for future in futures])
                began = time.perf_counter()
                self.request.infer({0: images}, share_inputs=True, share_outputs=True)
                seconds += time.perf_counter() - began
            feeder.join()
        return time.perf_counter() - start, seconds


class Own:
    """Our example, which stays open between the rounds."""

    def __init__(self, model, dtype, merge, decode, folder, args):
        command = [args.examples / "pipeline", folder, model, dtype, merge, decode]
        command += [args.threads, args.threads if args.workers is None else args.workers, args.batch]
        self.process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        found = json.loads(self.process.stdout.readline())
        return found["whole"], found["model"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def whole(args):
    """Images per second from file to logits."""
    import timm
    import torch
    from engines import exported

    import openvino as ov

    print(f"\nImages per second of the whole way, {args.threads} threads, batches of {args.batch}:\n")
    header("size", "model", "dtype", "pipeline", "img/s", "model alone, ms", "over the best rival")
    for model in args.models:
        net = timm.create_model(MODELS[model]).eval()
        with exported(net, torch.zeros(args.batch, 3, SIDE, SIDE)) as (core, network):
            for dtype in args.dtypes:
                precision = {"f32": ov.Type.f32, "bf16": ov.Type.bf16}[dtype]
                options = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": args.threads}
                compiled = core.compile_model(network, "CPU", {**options, "PERFORMANCE_HINT": "LATENCY"})
                for size in args.sizes:
                    row(args, size, model, dtype, compiled)


def row(args, size, model, dtype, compiled):
    folder = args.images / size
    files = sorted(folder.iterdir())
    files = files[: len(files) // args.batch * args.batch]
    runs = {}
    for library, way, read, reduced in readers():
        if way == "exact" or size == "1600x1200":
            runs[f"{library} {way} + OpenVINO"] = Rival(compiled, read, reduced, files, args)
    for decode in ("exact", "fast") if size == "1600x1200" else ("exact",):
        for merge, spec in MERGES.items():
            runs[f"tokmerge {decode}, {merge}"] = Own(MODELS[model], dtype, spec, decode, folder, args)
    times = {name: [] for name in runs}
    for number in range(args.rounds + 1):
        for name, run in runs.items():
            found = run.run()
            if number:
                times[name].append(found)
    speeds = {name: [len(files) / seconds for seconds, _ in found] for name, found in times.items()}
    kinds = {"exact": ("exact",), "fast": ("draft", "reduced")}
    for name, found in times.items():
        ratio = "-"
        if name.startswith("tokmerge"):
            kind = name.split()[1].rstrip(",")
            rivals = [rival for rival in runs if "OpenVINO" in rival and rival.split()[1] in kinds[kind]]
            ratio = min(median(a / b for a, b in zip(speeds[name], speeds[rival])) for rival in rivals)
            ratio = f"{ratio:.2f}"
        alone = 1e3 * median(seconds for _, seconds in found) / len(files)
        line(size, MODELS[model], dtype, name, spread(speeds[name]), f"{alone:.1f}", ratio)
        print(json.dumps({"row": [size, model, dtype, name], "speeds": speeds[name]}), file=sys.stderr, flush=True)
    for run in runs.values():
        if isinstance(run, Own):
            run.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photographs", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--images", type=Path, default=Path("target/pipeline"), help="where the JPEGs are written")
    parser.add_argument("--examples", type=Path, default=Path("target/release/examples"))
    parser.add_argument("--count", type=int, default=64, help="images of each size")
    parser.add_argument("--stage-images", type=int, default=16, help="of which the stages are timed on one core")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--workers", type=int, help="our threads that read; as many as --threads unless given")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", nargs="*", choices=SIZES, default=list(SIZES))
    parser.add_argument("--models", nargs="*", choices=MODELS, default=list(MODELS))
    parser.add_argument("--dtypes", nargs="*", choices=("f32", "bf16"), default=["f32", "bf16"])
    parser.add_argument("--stages-only", action="store_true", help="no models")
    args = parser.parse_args()
    write_images(args.images, args.photographs, args.count)
    stages(args)
    if not args.stages_only:
        whole(args)


if __name__ == "__main__":
    main()
