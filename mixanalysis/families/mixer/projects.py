"""The MLP-Mixers that people have on disk: names, epsilon and activation of each project's, read in its sources.

What tensors don't tell is the layout's assumption. The weights that Google published run with tanh GELU in Flax; as
timm converted them, they run with the exact one, and their logits differ by some 1e-4.
"""

from __future__ import annotations

from torch import Tensor

from mixanalysis.families.mixer.dialect import Arrangement, Dialect


def _matrix_of_convolution(weight: Tensor) -> Tensor:
    """A convolution of kernel 1, (out, in, 1), as its matrix."""
    return weight.squeeze(-1) if weight.ndim == 3 else weight


def _pixels_of_matrix(weight: Tensor, colours: int) -> Tensor:
    """(C, patch * patch * colours), pixels before colours, as (C, colours, patch, patch)."""
    patch = round((weight.shape[1] / colours) ** 0.5)
    return weight.reshape(weight.shape[0], patch, patch, colours).permute(0, 3, 1, 2)


def _from_hwio(kernel: Tensor) -> Tensor:
    """A convolution's kernel of Flax, (patch, patch, colours, C), as (C, colours, patch, patch)."""
    return kernel.permute(3, 2, 0, 1)


def _to_hwio(weight: Tensor) -> Tensor:
    return weight.permute(2, 3, 1, 0)


def _transposed(kernel: Tensor) -> Tensor:
    """Flax keeps matrices as (in, out)."""
    return kernel.T if kernel.ndim == 2 else kernel


def _transposed_without_singletons(kernel: Tensor) -> Tensor:
    return _transposed(_without_singletons(kernel, 2))


def _vector(bias: Tensor) -> Tensor:
    return _without_singletons(bias, 1)


def _without_singletons(tensor: Tensor, axes: int) -> Tensor:
    """The tensor without its first axes of length one, as far as it has more than that number of axes."""
    while tensor.ndim > axes and 1 in tensor.shape:
        tensor = tensor.squeeze(tensor.shape.index(1))
    return tensor


TIMM = Dialect(
    "timm-mixer",  # timm/models/mlp_mixer.py, MixerBlock
    stem="stem.proj",
    block=(
        "blocks.{i}.norm1",
        "blocks.{i}.mlp_tokens.fc1",
        "blocks.{i}.mlp_tokens.fc2",
        "blocks.{i}.norm2",
        "blocks.{i}.mlp_channels.fc1",
        "blocks.{i}.mlp_channels.fc2",
    ),
    norm="norm",
    head="head",
    norm_eps=1e-6,
    stem_norm="stem.norm",
)

FLAX = Dialect(
    "flax-mixer",  # vit_jax/models_mixer.py, big_vision/models/mlp_mixer.py
    stem="stem/{kernel}",
    block=(
        "MixerBlock_{i}/LayerNorm_0/{scale}",
        "MixerBlock_{i}/token_mixing/Dense_0/{kernel}",
        "MixerBlock_{i}/token_mixing/Dense_1/{kernel}",
        "MixerBlock_{i}/LayerNorm_1/{scale}",
        "MixerBlock_{i}/channel_mixing/Dense_0/{kernel}",
        "MixerBlock_{i}/channel_mixing/Dense_1/{kernel}",
    ),
    norm="pre_head_layer_norm/{scale}",
    head="head/{kernel}",
    norm_eps=1e-6,
    gelu="tanh",
    prefixes=("", "params/", "opt/target/"),
    stem_weight=Arrangement(_from_hwio, _to_hwio),
    matrix=Arrangement(_transposed, _transposed),
)

FLAX_OLD = Dialect(
    "flax-mixer-old",  # what big_vision's loader turned into the names above
    stem="embedding/{kernel}",
    block=(
        "Mixer/encoderblock_{i}/LayerNorm_0/{scale}",
        "Mixer/encoderblock_{i}/token_mixing_phase_0/{kernel}1",
        "Mixer/encoderblock_{i}/token_mixing_phase_0/{kernel}2",
        "Mixer/encoderblock_{i}/LayerNorm_1/{scale}",
        "Mixer/encoderblock_{i}/channel_mixing_phase_0/{kernel}1",
        "Mixer/encoderblock_{i}/channel_mixing_phase_0/{kernel}2",
    ),
    norm="Mixer/encoder_norm/{scale}",
    head="head/{kernel}",
    norm_eps=1e-6,
    gelu="tanh",
    prefixes=("", "params/", "opt/target/"),
    stem_weight=Arrangement(_from_hwio),
    matrix=Arrangement(_transposed_without_singletons),
    vector=Arrangement(_vector),
)


def _lucidrains(name: str, token: tuple[str, str], channel: tuple[str, str]) -> Dialect:
    """mlp_mixer_pytorch/mlp_mixer_pytorch.py: one Sequential, so that modules are numbered."""
    return Dialect(
        name,
        stem="1",
        block=(
            "{i}.0.norm",
            f"{{i}}.0.fn.{token[0]}",
            f"{{i}}.0.fn.{token[1]}",
            "{i}.1.norm",
            f"{{i}}.1.fn.{channel[0]}",
            f"{{i}}.1.fn.{channel[1]}",
        ),
        norm="{after}",
        head="{last}",
        norm_eps=1e-5,
        first=2,
        stem_weight=Arrangement(_pixels_of_matrix),
        flat_stem=True,
        matrix=Arrangement(_matrix_of_convolution),
    )


LUCIDRAINS = _lucidrains("lucidrains-mixer", ("0", "3"), ("0", "3"))
LUCIDRAINS_003 = _lucidrains("lucidrains-mixer-0.0.3", ("1.0", "1.3"), ("0", "3"))
LUCIDRAINS_002 = _lucidrains("lucidrains-mixer-0.0.2", ("1.0", "1.2"), ("0", "2"))

JAKETAE = Dialect(
    "jaketae-mixer",  # mlp_mixer/core.py
    stem="patcher",
    block=(
        "mixers.{i}.token_mixer.norm",
        "mixers.{i}.token_mixer.mlp.fc1",
        "mixers.{i}.token_mixer.mlp.fc2",
        "mixers.{i}.channel_mixer.norm",
        "mixers.{i}.channel_mixer.mlp.fc1",
        "mixers.{i}.channel_mixer.mlp.fc2",
    ),
    norm="",
    head="classifier",
    norm_eps=1e-5,
)

RISHIKKSH20 = Dialect(
    "rishikksh20-mixer",  # mlp-mixer.py; auto-mixer's MLPMixer has the same names, in a backbone without a head
    stem="to_patch_embedding.0",
    block=(
        "mixer_blocks.{i}.token_mix.0",
        "mixer_blocks.{i}.token_mix.2.net.0",
        "mixer_blocks.{i}.token_mix.2.net.3",
        "mixer_blocks.{i}.channel_mix.0",
        "mixer_blocks.{i}.channel_mix.1.net.0",
        "mixer_blocks.{i}.channel_mix.1.net.3",
    ),
    norm="layer_norm",
    head="mlp_head.0",
    norm_eps=1e-5,
    prefixes=("", "backbone."),
)

OMIHUB777 = Dialect(
    "omihub777-mixer",  # mlp_mixer.py; with `off_act` it is a linear Mixer: assume gelu=identity
    stem="patch_emb.0",
    block=(
        "mixer_layers.{i}.mlp1.ln",
        "mixer_layers.{i}.mlp1.fc1",
        "mixer_layers.{i}.mlp1.fc2",
        "mixer_layers.{i}.mlp2.ln",
        "mixer_layers.{i}.mlp2.fc1",
        "mixer_layers.{i}.mlp2.fc2",
    ),
    norm="ln",
    head="clf",
    norm_eps=1e-5,
    class_token="cls_token",
    varies=("gelu",),
    matrix=Arrangement(_matrix_of_convolution),
)

JEONSWORLD = Dialect(
    "jeonsworld-mixer",  # models/modeling.py; post_norm too comes before its MLP
    stem="stem",
    block=(
        "layer.{i}.pre_norm",
        "layer.{i}.token_mlp_block.fc0",
        "layer.{i}.token_mlp_block.fc1",
        "layer.{i}.post_norm",
        "layer.{i}.channel_mlp_block.fc0",
        "layer.{i}.channel_mlp_block.fc1",
    ),
    norm="pre_head_ln",
    head="head",
    norm_eps=1e-6,
)

D_LI14 = Dialect(
    "d-li14-mixer",  # mixer.py
    stem="patch_emb",
    block=(
        "mlp.{i}.ln_token",
        "mlp.{i}.token_mix.mlp.0",
        "mlp.{i}.token_mix.mlp.2",
        "mlp.{i}.ln_channel",
        "mlp.{i}.channel_mix.mlp.0",
        "mlp.{i}.channel_mix.mlp.2",
    ),
    norm="ln",
    head="fc",
    norm_eps=1e-5,
    stem_bias=False,
)

MMPRETRAIN = Dialect(
    "mmpretrain-mixer",  # mmpretrain/models/backbones/mlp_mixer.py; mmcv's LayerNorms have torch's epsilon
    stem="backbone.patch_embed.projection",
    block=(
        "backbone.layers.{i}.ln1",
        "backbone.layers.{i}.token_mix.layers.0.0",
        "backbone.layers.{i}.token_mix.layers.1",
        "backbone.layers.{i}.ln2",
        "backbone.layers.{i}.channel_mix.layers.0.0",
        "backbone.layers.{i}.channel_mix.layers.1",
    ),
    norm="backbone.ln1",
    head="head.fc",
    norm_eps=1e-5,
)

JANKREPL = Dialect(
    "jankrepl-mixer",  # mildlyoverfitted, mixer/official.py
    stem="patch_embedder",
    block=(
        "blocks.{i}.norm_1",
        "blocks.{i}.token_mlp_block.linear_1",
        "blocks.{i}.token_mlp_block.linear_2",
        "blocks.{i}.norm_2",
        "blocks.{i}.channel_mlp_block.linear_1",
        "blocks.{i}.channel_mlp_block.linear_2",
    ),
    norm="pre_head_norm",
    head="head_classifier",
    norm_eps=1e-5,
)

DIALECTS = (
    TIMM,
    FLAX,
    FLAX_OLD,
    LUCIDRAINS,
    LUCIDRAINS_003,
    LUCIDRAINS_002,
    JAKETAE,
    RISHIKKSH20,
    OMIHUB777,
    JEONSWORLD,
    D_LI14,
    MMPRETRAIN,
    JANKREPL,
)
