#!/usr/bin/env python3
"""Compares families.py with timm and with recorded outputs of LV-ViT, T2T-ViT and AudioMAE, and exported models with both.

    .venv/bin/pip install torch timm safetensors onnx onnxscript openvino numpy
    .venv/bin/python tools/check_families.py ../shared/material/families [NAME...]

Prints the largest differences of the outputs, relative to the largest output, and fails above 1e-4. The names choose
what is exported; everything else is quick.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file

from engines import exported
from families import FAMILIES, Tower, network

TOLERANCE = 1e-4
TIMM = {
    "S": ("vit_small_patch16_224", {}),
    "dinov2": ("vit_small_patch14_dinov2", {"img_size": 224}),
    "clip": ("vit_base_patch16_clip_quickgelu_224", {}),
    "siglip": ("vit_base_patch16_siglip_224", {}),
    "dinov3": ("vit_small_patch16_dinov3", {}),
    "eva02": ("eva02_small_patch14_224", {}),
}
RECORDED = {"lvvit": "lvvit", "t2t": "t2t_vit_t", "audiomae": "audiomae"}
OURS = {"gamma_1": "ls1.gamma", "gamma_2": "ls2.gamma", "tokens_to_token.": "patch_embed."}
failed = []


def compare(what, got, want):
    apart = ((got - want).abs().max() / want.abs().max()).item()
    print(f"{what:40} {apart:.1e}")
    if not apart <= TOLERANCE:
        failed.append(what)


def load(tower, weights):
    for theirs, ours in OURS.items():
        weights = {name.replace(theirs, ours): value for name, value in weights.items()}
    tower.load_state_dict(weights)
    return tower.eval()


def against_timm(name):
    model, options = TIMM[name]
    if isinstance(FAMILIES[name].tokmerge, dict):
        size = FAMILIES[name].tokmerge["model_args"]
        options = options | {key: size[key] for key in ("embed_dim", "depth", "num_heads")}
    torch.manual_seed(0)
    theirs = timm.create_model(model, **options).eval()
    for weight in theirs.parameters():
        weight += 0.05 * torch.randn_like(weight)
    images = torch.randn(2, 3, *FAMILIES[name].image)
    compare(f"{name}, timm", load(Tower(FAMILIES[name]), theirs.state_dict())(images), theirs(images))


def against_recorded(name, place):
    about = json.loads((place / "config.json").read_text())
    golden = load_file(place / "golden.safetensors")
    size = {"image": tuple(about["image_size"]), "width": about["embed_dim"], "depth": about["depth"]}
    size |= {"heads": about["num_heads"], "hidden": int(about["embed_dim"] * about["mlp_ratio"])}
    size |= {"classes": about["num_classes"], "token_width": about.get("token_dim", 64)}
    size |= {"divisor": about.get("skip_lam", 1.0), "proportional": True}
    for key, r in (("base", 0), ("tome_r2_prop", 2), ("tome_rmax_prop", 10**6)):
        tower = load(Tower(replace(FAMILIES[name], **size), r), load_file(place / "model.safetensors"))
        compare(f"{name}, recorded, {key}", tower(golden["input"]), golden[f"{key}.logits"])


def against_export(name):
    family = FAMILIES[name]
    images = torch.randn(2, *family.input, generator=torch.Generator().manual_seed(1))
    for r in (0, family.third):
        net = network(name, r)
        with exported(net, images) as (core, model):
            options = {"INFERENCE_PRECISION_HINT": "f32"}
            got = core.compile_model(model, "CPU", options)({0: images.numpy()})[0]
        compare(f"{name}, OpenVINO, r={r}", torch.from_numpy(got), net(images))


def main():
    material = Path(sys.argv[1])
    with torch.no_grad():
        for name in TIMM:
            against_timm(name)
        for name, place in RECORDED.items():
            against_recorded(name, material / place)
        for name in FAMILIES if len(sys.argv) < 3 else sys.argv[2:]:
            against_export(name)
    if failed:
        sys.exit(f"too far apart: {', '.join(failed)}")


if __name__ == "__main__":
    main()
