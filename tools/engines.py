"""Engines that compare.py times: OpenVINO and PyTorch, each as something to call and how many batches a call runs."""

import statistics
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import openvino as ov
import torch


@contextmanager
def exported(net, images, kept=None):
    """OpenVINO, and a network as it reads it. Its file is `kept`, and not written again where it exists, or lives as
    long as the context."""
    with tempfile.TemporaryDirectory() as folder:
        path = kept or Path(folder) / "model.onnx"
        if not path.exists():
            part = path.with_suffix(".part")
            options = {"dynamo": True, "opset_version": 18, "external_data": False, "verbose": False}
            with torch.no_grad():
                torch.onnx.export(net, (images,), str(part), **options)
            part.rename(path)
        core = ov.Core()
        yield core, core.read_model(path)


def torch_engine(net, images, bf16):
    if bf16:
        net, images = net.bfloat16(), images.bfloat16()

    def run():
        with torch.inference_mode():
            net(images)

    return run, 1


def openvino_engines(net, images, bf16, threads, kept=None):
    data = images.numpy()
    with exported(net, images, kept) as (core, model):
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
