"""Families of Vision Transformers for images, sounds and clips in PyTorch, with and without token merging: what other engines run in compare.py.

Written from the papers; parameters have the names of published checkpoints where that costs nothing.
`check_families.py` compares them with timm and with recorded outputs.
"""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class Family:
    """A model: what it is called here and there, and what it is made of."""

    label: str
    tokmerge: str | dict  # a name, or the config.json of a folder
    options: tuple = ()  # of `tokmerge bench`
    image: tuple = (224, 224)  # of a sound: frames and values of each
    channels: int = 3
    frames: int = 0  # of a clip
    tubelet: int = 2  # frames of a tube
    patch: int | tuple = 16
    width: int = 384
    depth: int = 12
    heads: int = 6
    hidden: int = 1536
    classes: int = 1000
    stem: str = "patches"  # or "patches without bias", "convolutions" (LV-ViT), "tokens to token" (T2T-ViT)
    token_width: int = 64  # of a stem's own layers
    class_token: bool = True
    registers: int = 0
    learned_positions: bool = True
    rotary: str | None = None  # "index" (EVA-02) or "centred" (DINOv3)
    norm_before: bool = False
    bias: str = "qkv"  # of queries, keys and values: "qkv", "qv" or "none"
    mlp: str = "gelu"  # or "quick_gelu", "swiglu"
    layer_scale: bool = False
    divisor: float = 1.0  # of residual branches
    pool: str = "token"  # or "mean, then norm", "norm, then mean", "attention", "token and best patch"
    eps: float = 1e-6
    post_norm: bool = False  # norms behind the residual sums
    final_norm: bool = True
    proportional: bool = True  # attention counts tokens by size
    merged: int | None = None  # r to compare at
    batch: int = 8  # to compare at

    @property
    def prefix(self):
        """Tokens that never merge."""
        return self.class_token + self.registers

    @property
    def grid(self):
        down, across = self.patch if isinstance(self.patch, tuple) else (self.patch, self.patch)
        return self.image[0] // down, self.image[1] // across

    @property
    def input(self):
        """The shape of one item."""
        return (self.channels, *([self.frames] if self.frames else []), *self.image)

    @property
    def tokens(self):
        steps = self.frames // self.tubelet if self.frames else 1
        return self.prefix + steps * self.grid[0] * self.grid[1]

    def left(self, r):
        """Tokens after the last block, where each merges r or as many as it can."""
        tokens = self.tokens
        for _ in range(self.depth):
            tokens -= min(r, (tokens - self.prefix) // 2)
        return tokens

    @property
    def third(self):
        """r that leaves nearest to two thirds of the tokens after the last block, or what the paper takes."""
        return self.merged or round(self.tokens / 3 / self.depth)


def folder(architecture, classes, pool):
    """A timm config.json that makes an architecture as wide and deep as ViT-S."""
    size = {"embed_dim": 384, "depth": 12, "num_heads": 6, "num_classes": classes, "global_pool": pool}
    pixels = {"input_size": [3, 224, 224], "interpolation": "bicubic", "crop_pct": 0.9, "crop_mode": "center"}
    pixels |= {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "num_classes": classes}
    return {"architecture": architecture, "num_classes": classes, "model_args": size, "pretrained_cfg": pixels}


VIT = Family("ViT-S/16", "vit_small_patch16_224")
FAMILIES = {
    "S": VIT,
    "B": replace(VIT, label="ViT-B/16", tokmerge="vit_base_patch16_224", width=768, heads=12, hidden=3072),
    "Ti": replace(VIT, label="ViT-Ti/16", tokmerge="vit_tiny_patch16_224", width=192, heads=3, hidden=768),
    "dinov2": Family(
        "DINOv2 S/14", "vit_small_patch14_dinov2", ("--img-size", "224"), patch=14, layer_scale=True, classes=0
    ),
    "clip": Family(
        "CLIP, S/16", folder("vit_base_patch16_clip_quickgelu_224", 512, "token"), classes=512,
        stem="patches without bias", norm_before=True, mlp="quick_gelu", eps=1e-5,
    ),
    "siglip": Family(
        "SigLIP, S/16", folder("vit_base_patch16_siglip_224", 0, "map"), classes=0, class_token=False, pool="attention"
    ),
    "dinov3": Family(
        "DINOv3 S/16", "vit_small_patch16_dinov3", image=(256, 256), classes=0, registers=4, learned_positions=False,
        rotary="centred", bias="none", layer_scale=True, pool="norm, then mean", eps=1e-5,
    ),
    "eva02": Family(
        "EVA-02 S/14", "eva02_small_patch14_224", patch=14, hidden=1024, classes=0, rotary="index", bias="qv",
        mlp="swiglu", pool="mean, then norm",
    ),
    "lvvit": Family(
        "LV-ViT-S", "lvvit_s", depth=16, hidden=1152, stem="convolutions", bias="none", divisor=2.0,
        pool="token and best patch", eps=1e-5,
    ),
    "kwt": Family(
        "KWT-1", "kwt_1", image=(98, 40), channels=1, patch=(1, 40), width=64, heads=1, hidden=256, classes=12, bias="none",
        mlp="gelu_tanh", post_norm=True, final_norm=False, merged=4,
    ),
    "audiomae": Family(
        "AudioMAE, B/16", "audio_vit_base_patch16_1024x128", image=(1024, 128), channels=1, width=768, heads=12, hidden=3072,
        classes=527, pool="mean, then norm", proportional=False, merged=40,
    ),
    "video-B": Family(
        "ST-MAE, B/16", "st_vit_base_patch16_224", frames=16, width=768, heads=12, hidden=3072, classes=400,
        pool="mean, then norm", proportional=False, merged=65, batch=1,
    ),
    "video-L": Family(
        "ST-MAE, L/16", "st_vit_large_patch16_224", frames=16, width=1024, depth=24, heads=16, hidden=4096, classes=400,
        pool="mean, then norm", proportional=False, merged=65, batch=1,
    ),
    "t2t": Family("T2T-ViT_t-14", "t2t_vit_t_14", depth=14, hidden=1152, stem="tokens to token", bias="none", eps=1e-5),
}
NEW = [name for name in FAMILIES if name not in ("S", "B", "Ti", "video-L")]


class Patches(nn.Module):
    def __init__(self, family):
        super().__init__()
        bias = family.stem == "patches"
        if family.frames:
            tube = (family.tubelet, family.patch, family.patch)
            self.proj = nn.Conv3d(family.channels, family.width, tube, stride=tube)
        else:
            self.proj = nn.Conv2d(family.channels, family.width, family.patch, stride=family.patch, bias=bias)

    def forward(self, images):
        return self.proj(images).flatten(2).transpose(1, 2)


class Convolutions(Patches):
    """LV-ViT, section 3.1: three convolutions at half resolution, then patches of what they give."""

    def __init__(self, family):
        super().__init__(family)
        width = family.token_width
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.conv3 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1, self.bn2, self.bn3 = (nn.BatchNorm2d(width) for _ in range(3))
        self.proj = nn.Conv2d(width, family.width, family.patch // 2, stride=family.patch // 2)

    def forward(self, images):
        x = F.relu(self.bn1(self.conv1(images)))
        x = F.relu(self.bn2(self.conv2(x)))
        return super().forward(F.relu(self.bn3(self.conv3(x))))


class TokenAttention(nn.Module):
    """One head whose values, not its inputs, are the residual: inputs are wider than outputs."""

    def __init__(self, inputs, width):
        super().__init__()
        self.qkv = nn.Linear(inputs, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)
        self.scale = inputs**-0.5

    def forward(self, x):
        q, k, v = self.qkv(x)[:, None].chunk(3, -1)
        mixed = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        return (v + self.proj(mixed))[:, 0]


class TokenTransformer(nn.Module):
    def __init__(self, inputs, width):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(inputs), nn.LayerNorm(width)
        self.attn = TokenAttention(inputs, width)
        self.mlp = Mlp(width, width, "gelu")

    def forward(self, x):
        x = self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class TokensToToken(nn.Module):
    """T2T-ViT, section 3.1: overlapping windows become tokens, three times, with Transformers between."""

    def __init__(self, family):
        super().__init__()
        width = family.token_width
        self.attention1 = TokenTransformer(3 * 7 * 7, width)
        self.attention2 = TokenTransformer(width * 3 * 3, width)
        self.project = nn.Linear(width * 3 * 3, family.width)

    def forward(self, images):
        x = F.unfold(images, 7, stride=4, padding=2).transpose(1, 2)
        height, width = images.shape[2] // 4, images.shape[3] // 4
        for attention in (self.attention1, self.attention2):
            x = attention(x).transpose(1, 2).unflatten(2, (height, width))
            x = F.unfold(x, 3, stride=2, padding=1).transpose(1, 2)
            height, width = height // 2, width // 2
        return self.project(x)


class Mlp(nn.Module):
    def __init__(self, width, hidden, kind):
        super().__init__()
        self.kind = kind
        self.fc1 = nn.Linear(width, 2 * hidden if kind == "swiglu" else hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x):
        x = self.fc1(x)
        if self.kind == "swiglu":
            gate, x = x.chunk(2, -1)
            x = F.silu(gate) * x
        elif self.kind == "quick_gelu":
            x = x * torch.sigmoid(1.702 * x)
        elif self.kind == "gelu_tanh":
            x = F.gelu(x, approximate="tanh")
        else:
            x = F.gelu(x)
        return self.fc2(x)


class Attention(nn.Module):
    def __init__(self, family):
        super().__init__()
        width, self.heads = family.width, family.heads
        self.qkv = nn.Linear(width, 3 * width, bias=family.bias == "qkv")
        self.proj = nn.Linear(width, width)
        self.separate = family.bias == "qv"
        if self.separate:
            self.q_bias, self.v_bias = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x, bias, rotation):
        """Also the keys' mean over heads, before any rotation."""
        qkv = self.qkv(x)
        if self.separate:
            qkv = qkv + torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        q, k, v = qkv.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        keys = k.mean(1)
        if rotation is not None:
            q, k = rotation(q), rotation(k)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(mixed.transpose(1, 2).flatten(2)), keys


class Rotation:
    """Turns pairs of channels by angles that grow with a token's place; [0, 0] is not turned at all."""

    def __init__(self, family, places):
        """Of tokens at `places`: [B or 1, N, 2]."""
        self.halves = family.rotary == "centred"
        count = family.width // family.heads // 4
        steps = torch.arange(count, dtype=places.dtype) / count
        speeds = 2 * math.pi * 100.0**-steps if self.halves else 10000.0**-steps
        angles = (places[..., None] * speeds).flatten(2)
        angles = torch.cat([angles, angles], -1) if self.halves else angles.repeat_interleave(2, -1)
        self.cos, self.sin = angles.cos()[:, None], angles.sin()[:, None]

    def __call__(self, x):
        if self.halves:
            first, second = x.chunk(2, -1)
            across = torch.cat([-second, first], -1)
        else:
            across = torch.stack([-x[..., 1::2], x[..., 0::2]], -1).flatten(-2)
        return x * self.cos.to(x.dtype) + across * self.sin.to(x.dtype)


def places(family):
    """Where tokens stand, [1, N, 2]; the prefix stands where nothing is turned."""
    axes = [torch.arange(side, dtype=torch.float32) for side in family.grid]
    if family.rotary == "centred":
        axes = [2 * (axis + 0.5) / len(axis) - 1 for axis in axes]
    patches = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, 1)
    return torch.cat([torch.zeros(family.prefix, 2), patches])[None]


class Merge:
    """Token merging (ToMe, section 3): the r pairs of an even and an odd token with the most similar keys become one."""

    def __init__(self, keys, r, prefix):
        self.prefix, self.even = prefix, prefix % 2
        keys = F.normalize(keys, dim=-1)
        _, even, odd = self.split(keys)
        best, partner = (even @ odd.transpose(1, 2)).max(-1)
        order = best.argsort(-1, descending=True)
        self.gone, self.stay = order[:, :r], order[:, r:]
        if prefix:
            self.stay = self.stay.sort(-1).values
        self.to = partner.gather(1, self.gone)

    def split(self, values):
        """The prefix, and tokens of even and of odd positions behind it."""
        rest = values[:, self.prefix :]
        return values[:, : self.prefix], rest[:, self.even :: 2], rest[:, 1 - self.even :: 2]

    def __call__(self, values):
        """Sums of `values`, [B, N, C], over tokens that merge."""
        prefix, even, odd = self.split(values)
        rows = lambda index: index[..., None].expand(-1, -1, values.shape[-1])
        joined = odd.scatter_add(1, rows(self.to), even.gather(1, rows(self.gone)))
        return torch.cat([prefix, even.gather(1, rows(self.stay)), joined], 1)


class Scale(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x * self.gamma


class Block(nn.Module):
    def __init__(self, family):
        super().__init__()
        width = family.width
        self.norm1, self.norm2 = (nn.LayerNorm(width, family.eps) for _ in range(2))
        self.attn = Attention(family)
        self.mlp = Mlp(width, family.hidden, family.mlp)
        self.ls1, self.ls2 = (Scale(width) if family.layer_scale else nn.Identity() for _ in range(2))
        self.divisor, self.post_norm = family.divisor, family.post_norm

    def attend(self, x, bias, rotation):
        if self.post_norm:
            mixed, keys = self.attn(x, bias, rotation)
            return self.norm1(x + mixed), keys
        mixed, keys = self.attn(self.norm1(x), bias, rotation)
        return x + self.branch(self.ls1(mixed)), keys

    def think(self, x):
        if self.post_norm:
            return self.norm2(x + self.mlp(x))
        return x + self.branch(self.ls2(self.mlp(self.norm2(x))))

    def branch(self, x):
        return x if self.divisor == 1 else x / self.divisor


class AttentionPool(nn.Module):
    """SigLIP: a learned query attends to all tokens; merged ones count by size."""

    def __init__(self, family):
        super().__init__()
        width, self.heads = family.width, family.heads
        self.latent = nn.Parameter(torch.zeros(1, 1, width))
        self.q, self.kv = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.proj, self.norm = nn.Linear(width, width), nn.LayerNorm(width, family.eps)
        self.mlp = Mlp(width, family.hidden, "gelu")

    def forward(self, x, bias):
        q = self.q(self.latent.expand(len(x), -1, -1)).unflatten(2, (self.heads, -1)).transpose(1, 2)
        k, v = self.kv(x).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        x = self.proj(F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2).flatten(2))
        return (x + self.mlp(self.norm(x)))[:, 0]


STEMS = {"patches": Patches, "patches without bias": Patches}
STEMS |= {"convolutions": Convolutions, "tokens to token": TokensToToken}


class Tower(nn.Module):
    """A model of a family, merging r tokens in each block between attention and MLP."""

    def __init__(self, family, r=0):
        super().__init__()
        self.family, self.r = family, r
        width, norm = family.width, lambda: nn.LayerNorm(family.width, family.eps)
        self.patch_embed = STEMS[family.stem](family)
        if family.class_token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        if family.registers:
            self.reg_token = nn.Parameter(torch.zeros(1, family.registers, width))
        if family.learned_positions:
            self.pos_embed = nn.Parameter(torch.zeros(1, family.tokens, width))
        self.norm_pre = norm() if family.norm_before else nn.Identity()
        self.blocks = nn.ModuleList(Block(family) for _ in range(family.depth))
        late = family.pool == "mean, then norm"
        last = norm() if family.final_norm else nn.Identity()
        self.norm, self.fc_norm = (nn.Identity(), last) if late else (last, nn.Identity())
        if family.pool == "attention":
            self.attn_pool = AttentionPool(family)
        self.head = nn.Linear(width, family.classes) if family.classes else nn.Identity()
        if family.pool == "token and best patch":
            self.aux_head = nn.Linear(width, family.classes)

    def forward(self, images):
        family, x = self.family, self.patch_embed(images)
        names = [name for name in ("cls_token", "reg_token") if hasattr(self, name)]
        x = torch.cat([*(getattr(self, name).expand(len(x), -1, -1) for name in names), x], 1)
        if family.learned_positions:
            x = x + self.pos_embed
        x, sizes, bias, where, rotation = self.norm_pre(x), None, None, None, None
        if family.rotary:
            where = places(family)
            rotation = Rotation(family, where)
        for block in self.blocks:
            x, keys = block.attend(x, bias, rotation)
            r = min(self.r, (x.shape[1] - family.prefix) // 2)
            if r:
                merge = Merge(keys, r, family.prefix)
                sizes = torch.ones_like(x[..., :1]) if sizes is None else sizes
                sums, old, sizes = merge(x * sizes), sizes, merge(sizes)
                x = sums / sizes
                bias = sizes[..., 0].log()[:, None, None, :] if family.proportional else None
                if family.rotary:
                    where = merge(where.to(x.dtype) * old) / sizes
                    rotation = Rotation(family, where)
            x = block.think(x)
        return self.answer(self.norm(x), sizes, bias)

    def answer(self, x, sizes, bias):
        prefix, pool = self.family.prefix, self.family.pool
        if pool == "attention":
            return self.head(self.attn_pool(x, bias))
        if pool == "token and best patch":
            return self.head(x[:, 0]) + 0.5 * self.aux_head(x[:, 1:]).amax(1)
        if pool == "token":
            return self.head(x[:, 0])
        patches = x[:, prefix:]
        if sizes is None:
            return self.head(self.fc_norm(patches.mean(1)))
        weights = sizes[:, prefix:]
        return self.head(self.fc_norm((patches * weights).sum(1) / weights.sum(1)))


def network(name, r=0):
    """A model with random weights, ready to run."""
    torch.manual_seed(0)
    tower = Tower(FAMILIES[name], r).eval()
    with torch.no_grad():
        for weight in tower.parameters():
            weight += 0.02 * torch.randn_like(weight)
    return tower
