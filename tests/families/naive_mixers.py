"""Mixers as their projects store and run them: names, shapes and formulas of each, nothing of mixanalysis.

A project is a record in `PROJECTS`; its checkpoint holds float64 values, none of them zero or one, in its own names and
shapes, and its forward pass uses them as they are stored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

PARTS = ("token norm", "token 1", "token 2", "channel norm", "channel 1", "channel 2")


@dataclass(frozen=True)
class Size:
    """Image of `rows` x `columns` patches, C, hidden sizes, patch side, blocks, colours and classes."""

    rows: int
    columns: int
    channels: int
    token_hidden: int
    channel_hidden: int
    patch: int
    depth: int = 2
    colours: int = 3
    classes: int = 5

    @property
    def patches(self):
        return self.rows * self.columns

    @property
    def image(self):
        return f"{self.rows * self.patch}x{self.columns * self.patch}"


SIZES = {
    "square": Size(4, 4, 16, 8, 64, 2),
    "all equal": Size(3, 3, 9, 9, 9, 1),
    "unequal": Size(2, 2, 6, 3, 25, 3),
    "wide tokens": Size(5, 5, 3, 40, 2, 2, depth=1),
    "one token": Size(1, 1, 5, 2, 7, 4),
    "one colour": Size(2, 2, 4, 5, 3, 2, colours=1, depth=3),
    "not square": Size(2, 3, 6, 4, 5, 2),
    "not square, of square number": Size(2, 8, 4, 4, 5, 2),
}
"""S = C leaves only names to tell tokens from channels; equal hidden sizes leave only them to tell fc1 from fc2."""


@dataclass(frozen=True)
class Project:
    """One project's Mixer.

    `stem`, `block` (the parts `PARTS` of block i), `norm` and `head` are names of modules; @ stands for the leaf where
    it isn't appended after a point. `kind` says how tensors are stored and used: "torch" (a convolution and matrices),
    "flat" (the stem as a matrix of (p1 p2 c)) or "flax" (HWIO and (in, out)). `conv1d` tells token matrices that are
    convolutions of kernel 1, `singletons` tensors of blocks that have an axis of length one too many.
    """

    layout: str
    stem: str
    block: tuple[str, str, str, str, str, str]
    norm: str
    head: str
    eps: float
    gelu: str = "erf"
    kind: str = "torch"
    conv1d: bool = False
    first: int = 0
    class_token: str = ""
    stem_bias: bool = True
    prefix: str = ""
    singletons: bool = False
    leaves: tuple[str, str, str] = ("weight", "weight", "bias")

    def name(self, module, leaf):
        """Name of a tensor: leaf 0 is a matrix, 1 a norm's scale, 2 a bias."""
        word = self.leaves[leaf]
        return self.prefix + (module.replace("@", word) if "@" in module else f"{module}.{word}")

    def module(self, part, index):
        return self.block[PARTS.index(part)].format(i=index + self.first)

    def end(self, module, depth):
        return module.format(after=self.first + depth, head=self.first + depth + 2, old_head=self.first + depth + 4)

    def state(self, size, *, seed=0, class_token=False):
        """A checkpoint."""
        generator = torch.Generator().manual_seed(seed + 7 * size.patches + 100 * size.channels)

        def normal(*shape):
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        state = {}

        def norm(module):
            state[self.name(module, 1)] = 1 + 0.3 * normal(size.channels)
            state[self.name(module, 2)] = 0.3 * normal(size.channels)

        def linear(module, out, into, *, conv1d=False):
            shape = (into, out) if self.kind == "flax" else (out, into, 1) if conv1d else (out, into)
            weight, bias = normal(*shape) / math.sqrt(into), 0.5 * normal(out)
            if self.singletons and "Mixer/" in module:
                weight, bias = weight.reshape(shape[0], 1, shape[1]), bias.reshape(1, out)
            state[self.name(module, 0)], state[self.name(module, 2)] = weight, bias

        p, k, c, s = size.patch, size.colours, size.channels, size.patches + class_token
        shapes = {"flax": (p, p, k, c), "flat": (c, p * p * k)}
        state[self.name(self.stem, 0)] = normal(*shapes.get(self.kind, (c, k, p, p))) / math.sqrt(p * p * k)
        if self.stem_bias:
            state[self.name(self.stem, 2)] = normal(c)
        if class_token:
            state[self.class_token] = normal(1, 1, c)
        for i in range(size.depth):
            norm(self.module("token norm", i))
            linear(self.module("token 1", i), size.token_hidden, s, conv1d=self.conv1d)
            linear(self.module("token 2", i), s, size.token_hidden, conv1d=self.conv1d)
            norm(self.module("channel norm", i))
            linear(self.module("channel 1", i), size.channel_hidden, c)
            linear(self.module("channel 2", i), c, size.channel_hidden)
        if self.norm:
            norm(self.end(self.norm, size.depth))
        if size.classes:
            linear(self.end(self.head, size.depth), size.classes, c)
        return state

    def logits(self, state, size, images, *, eps=None, gelu=None):
        """The forward pass; the pooled features where there is no head."""
        eps, gelu = self.eps if eps is None else eps, gelu or self.gelu

        def get(module, leaf):
            tensor = state[self.name(module, leaf)]
            if self.singletons and "Mixer/" in module:
                tensor = tensor[:, 0] if leaf == 0 else tensor.reshape(-1)
            return tensor

        def norm(module, x):
            centred = x - x.sum(dim=-1, keepdim=True) / x.shape[-1]
            variance = (centred**2).sum(dim=-1, keepdim=True) / x.shape[-1]
            return centred / torch.sqrt(variance + eps) * get(module, 1) + get(module, 2)

        def tokens(module, x):
            weight = get(module, 0)
            equation = {2: "bsc,ts->btc", 3: "bsc,tsk->btc"}[weight.ndim]
            if self.kind == "flax":
                equation = "bsc,st->btc"
            return torch.einsum(equation, x, weight) + get(module, 2)[:, None]

        def channels(module, x):
            equation = "...c,cd->...d" if self.kind == "flax" else "...c,dc->...d"
            return torch.einsum(equation, x, get(module, 0)) + get(module, 2)

        x = self.embedded(state, size, images)
        if self.class_token in state:
            x = torch.cat([state[self.class_token].repeat(len(x), 1, 1), x], dim=1)
        for i in range(size.depth):
            part = {name: self.module(name, i) for name in PARTS}
            x = x + tokens(part["token 2"], activation(tokens(part["token 1"], norm(part["token norm"], x)), gelu))
            x = x + channels(
                part["channel 2"], activation(channels(part["channel 1"], norm(part["channel norm"], x)), gelu)
            )
        if self.norm:
            x = norm(self.end(self.norm, size.depth), x)
        x = x[:, 0] if self.class_token in state else x.sum(dim=1) / x.shape[1]
        return channels(self.end(self.head, size.depth), x) if size.classes else x

    def embedded(self, state, size, images):
        """The tokens of the patches, in raster order."""
        p, weight = size.patch, state[self.name(self.stem, 0)]
        cut = images.reshape(len(images), size.colours, size.rows, p, size.columns, p)
        if self.kind == "flax":
            x = torch.einsum("bkiajc,ackd->bijd", cut, weight)
        elif self.kind == "flat":
            x = cut.permute(0, 2, 4, 3, 5, 1).reshape(len(images), size.rows, size.columns, -1) @ weight.T
        else:
            x = torch.einsum("bkiajc,dkac->bijd", cut, weight)
        if self.stem_bias:
            x = x + state[self.name(self.stem, 2)]
        return x.reshape(len(images), size.patches, size.channels)

    def images(self, size, count=7):
        generator = torch.Generator().manual_seed(3)
        shape = (count, size.colours, size.rows * size.patch, size.columns * size.patch)
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def matrices(self, state, size, *, class_token=False):
        """The effective matrices of all mixing layers on vec(features), by their definition."""
        matrices = []
        for i in range(size.depth):
            for part in ("token 1", "token 2", "channel 1", "channel 2"):
                weight = state[self.name(self.module(part, i), 0)]
                if self.singletons:
                    weight = weight.squeeze(1)
                weight = weight.reshape(weight.shape[:2])
                weight = (weight.T if self.kind == "flax" else weight).contiguous()
                if part.startswith("token"):
                    matrices.append(torch.kron(torch.eye(size.channels, dtype=weight.dtype), weight))
                else:
                    matrices.append(torch.kron(weight, torch.eye(size.patches + class_token, dtype=weight.dtype)))
        return matrices


def activation(x, gelu):
    """The exact GELU, its tanh approximation, or nothing."""
    if gelu == "identity":
        return x
    if gelu == "erf":
        return x * (1 + torch.erf(x / math.sqrt(2))) / 2
    return x / 2 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _flax(prefix):
    return Project(
        "flax-mixer",
        "stem/@",
        (
            "MixerBlock_{i}/LayerNorm_0/@",
            "MixerBlock_{i}/token_mixing/Dense_0/@",
            "MixerBlock_{i}/token_mixing/Dense_1/@",
            "MixerBlock_{i}/LayerNorm_1/@",
            "MixerBlock_{i}/channel_mixing/Dense_0/@",
            "MixerBlock_{i}/channel_mixing/Dense_1/@",
        ),
        "pre_head_layer_norm/@",
        "head/@",
        1e-6,
        gelu="tanh",
        kind="flax",
        leaves=("kernel", "scale", "bias"),
        prefix=prefix,
    )


def _flax_old(prefix, *, singletons):
    return Project(
        "flax-mixer-old",
        "embedding/@",
        (
            "Mixer/encoderblock_{i}/LayerNorm_0/@",
            "Mixer/encoderblock_{i}/token_mixing_phase_0/@1",
            "Mixer/encoderblock_{i}/token_mixing_phase_0/@2",
            "Mixer/encoderblock_{i}/LayerNorm_1/@",
            "Mixer/encoderblock_{i}/channel_mixing_phase_0/@1",
            "Mixer/encoderblock_{i}/channel_mixing_phase_0/@2",
        ),
        "Mixer/encoder_norm/@",
        "head/@",
        1e-6,
        gelu="tanh",
        kind="flax",
        leaves=("kernel", "scale", "bias"),
        prefix=prefix,
        singletons=singletons,
    )


def _lucidrains(layout, token, channel, head, *, conv1d):
    return Project(
        layout,
        "1",
        (
            "{i}.0.norm",
            f"{{i}}.0.fn.{token[0]}",
            f"{{i}}.0.fn.{token[1]}",
            "{i}.1.norm",
            f"{{i}}.1.fn.{channel[0]}",
            f"{{i}}.1.fn.{channel[1]}",
        ),
        "{after}",
        head,
        1e-5,
        kind="flat",
        conv1d=conv1d,
        first=2,
    )


def _rishikksh20(prefix, *, head="mlp_head.0"):
    return Project(
        "rishikksh20-mixer",
        "to_patch_embedding.0",
        (
            "mixer_blocks.{i}.token_mix.0",
            "mixer_blocks.{i}.token_mix.2.net.0",
            "mixer_blocks.{i}.token_mix.2.net.3",
            "mixer_blocks.{i}.channel_mix.0",
            "mixer_blocks.{i}.channel_mix.1.net.0",
            "mixer_blocks.{i}.channel_mix.1.net.3",
        ),
        "layer_norm",
        head,
        1e-5,
        prefix=prefix,
    )


PROJECTS = {
    "timm": Project(
        "timm-mixer",
        "stem.proj",
        (
            "blocks.{i}.norm1",
            "blocks.{i}.mlp_tokens.fc1",
            "blocks.{i}.mlp_tokens.fc2",
            "blocks.{i}.norm2",
            "blocks.{i}.mlp_channels.fc1",
            "blocks.{i}.mlp_channels.fc2",
        ),
        "norm",
        "head",
        1e-6,
    ),
    "flax": _flax(""),
    "flax, params": _flax("params/"),
    "flax, opt": _flax("opt/target/"),
    "old flax": _flax_old("", singletons=False),
    "old flax, singletons": _flax_old("opt/target/", singletons=True),
    "lucidrains 0.0.2": _lucidrains("lucidrains-mixer-0.0.2", ("1.0", "1.2"), ("0", "2"), "{old_head}", conv1d=False),
    "lucidrains 0.0.3": _lucidrains("lucidrains-mixer-0.0.3", ("1.0", "1.3"), ("0", "3"), "{old_head}", conv1d=False),
    "lucidrains 0.0.4": _lucidrains("lucidrains-mixer", ("0", "3"), ("0", "3"), "{old_head}", conv1d=True),
    "lucidrains 0.3": _lucidrains("lucidrains-mixer", ("0", "3"), ("0", "3"), "{head}", conv1d=True),
    "jaketae": Project(
        "jaketae-mixer",
        "patcher",
        (
            "mixers.{i}.token_mixer.norm",
            "mixers.{i}.token_mixer.mlp.fc1",
            "mixers.{i}.token_mixer.mlp.fc2",
            "mixers.{i}.channel_mixer.norm",
            "mixers.{i}.channel_mixer.mlp.fc1",
            "mixers.{i}.channel_mixer.mlp.fc2",
        ),
        "",
        "classifier",
        1e-5,
    ),
    "rishikksh20": _rishikksh20(""),
    "auto-mixer": _rishikksh20("backbone."),
    "omihub777": Project(
        "omihub777-mixer",
        "patch_emb.0",
        (
            "mixer_layers.{i}.mlp1.ln",
            "mixer_layers.{i}.mlp1.fc1",
            "mixer_layers.{i}.mlp1.fc2",
            "mixer_layers.{i}.mlp2.ln",
            "mixer_layers.{i}.mlp2.fc1",
            "mixer_layers.{i}.mlp2.fc2",
        ),
        "ln",
        "clf",
        1e-5,
        conv1d=True,
        class_token="cls_token",
    ),
    "jeonsworld": Project(
        "jeonsworld-mixer",
        "stem",
        (
            "layer.{i}.pre_norm",
            "layer.{i}.token_mlp_block.fc0",
            "layer.{i}.token_mlp_block.fc1",
            "layer.{i}.post_norm",
            "layer.{i}.channel_mlp_block.fc0",
            "layer.{i}.channel_mlp_block.fc1",
        ),
        "pre_head_ln",
        "head",
        1e-6,
    ),
    "d-li14": Project(
        "d-li14-mixer",
        "patch_emb",
        (
            "mlp.{i}.ln_token",
            "mlp.{i}.token_mix.mlp.0",
            "mlp.{i}.token_mix.mlp.2",
            "mlp.{i}.ln_channel",
            "mlp.{i}.channel_mix.mlp.0",
            "mlp.{i}.channel_mix.mlp.2",
        ),
        "ln",
        "fc",
        1e-5,
        stem_bias=False,
    ),
    "mmpretrain": Project(
        "mmpretrain-mixer",
        "backbone.patch_embed.projection",
        (
            "backbone.layers.{i}.ln1",
            "backbone.layers.{i}.token_mix.layers.0.0",
            "backbone.layers.{i}.token_mix.layers.1",
            "backbone.layers.{i}.ln2",
            "backbone.layers.{i}.channel_mix.layers.0.0",
            "backbone.layers.{i}.channel_mix.layers.1",
        ),
        "backbone.ln1",
        "head.fc",
        1e-5,
    ),
    "jankrepl": Project(
        "jankrepl-mixer",
        "patch_embedder",
        (
            "blocks.{i}.norm_1",
            "blocks.{i}.token_mlp_block.linear_1",
            "blocks.{i}.token_mlp_block.linear_2",
            "blocks.{i}.norm_2",
            "blocks.{i}.channel_mlp_block.linear_1",
            "blocks.{i}.channel_mlp_block.linear_2",
        ),
        "pre_head_norm",
        "head_classifier",
        1e-5,
    ),
}
