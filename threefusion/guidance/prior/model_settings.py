"""The settings of a model's parts, with diffusers' defaults for absent fields; errors name file and field."""

from __future__ import annotations

import inspect
import json
import math
from pathlib import Path
from typing import Any

from threefusion.guidance.prior.files import SCHEDULERS, ModelError, read_settings

TABLES = tuple(
    f"{name}Scheduler"
    for name in (
        "DDIM", "DDIMParallel", "DDPM", "DDPMParallel", "DEISMultistep", "DPMSolverMultistep",
        "DPMSolverSinglestep", "EulerAncestralDiscrete", "EulerDiscrete", "HeunDiscrete", "KDPM2AncestralDiscrete",
        "KDPM2Discrete", "LMSDiscrete", "PNDM", "SASolver", "UniPCMultistep",
    )
)  # fmt: skip
"""Schedulers whose noise is a table of betas: they differ in how they sample, not in what the network was trained on."""
FLOWS = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler")
"""Schedulers of a rectified flow."""
CLASSES = {
    "unet": ("UNet2DConditionModel",),
    "transformer": ("SD3Transformer2DModel", "FluxTransformer2DModel"),
    "vae": ("AutoencoderKL", "AutoencoderTiny"),
    "scheduler": (*TABLES, *FLOWS),
    ".": ("ControlNetModel",),
}
"""The classes of diffusers that are supported, by folder (`.` is a network by itself); a network's first one is meant where no
class is named."""
WHY_NOT = {
    **dict.fromkeys(("LCM", "TCD", "FlowMatchLCM"), "a model distilled to few steps has no score"),
    **dict.fromkeys(("EDMEuler", "EDMDPMSolverMultistep"), "EDM's scaling of inputs and outputs is not implemented"),
    "MultiViewUNetModel": "use the prior `multi-view`",
    "CMStochasticIterative": "a consistency model has no score",
}
"""Reasons for some of the other classes."""
OF_TRAINING = ("prediction_type", "rescale_betas_zero_snr", "use_flow_sigmas", "use_dynamic_shifting", "invert_sigmas")
"""Fields of a scheduler that change what its network was trained on, and that a scheduler without them must not have."""
CLASS_EMBED_TYPES = {
    "timestep": "an upscaler such as stage II of DeepFloyd IF; use the prior `super-resolution`",
    "projection": "expected a network without it; the prior `multi-view` gives one a camera",
}
"""What to do with a U-Net that adds more than class labels to the time."""
HARMLESS = {
    "decay", "min_decay", "optimization_step", "update_after_step", "use_ema_warmup", "inv_gamma", "power", "block_out_channels",
}  # fmt: skip
"""Fields that do not change what a network computes: those of averaged weights, and one that AutoencoderTiny repeats."""

ALL_FIELDS = {
    "UNet2DConditionModel": frozenset(
        """sample_size in_channels out_channels center_input_sample flip_sin_to_cos freq_shift down_block_types mid_block_type
        up_block_types only_cross_attention block_out_channels layers_per_block downsample_padding mid_block_scale_factor dropout
        act_fn norm_num_groups norm_eps cross_attention_dim transformer_layers_per_block reverse_transformer_layers_per_block
        encoder_hid_dim encoder_hid_dim_type attention_head_dim num_attention_heads dual_cross_attention use_linear_projection
        class_embed_type addition_embed_type addition_time_embed_dim num_class_embeds upcast_attention resnet_time_scale_shift
        resnet_skip_time_act resnet_out_scale_factor time_embedding_type time_embedding_dim time_embedding_act_fn
        timestep_post_act time_cond_proj_dim conv_in_kernel conv_out_kernel projection_class_embeddings_input_dim attention_type
        class_embeddings_concat mid_block_only_cross_attention cross_attention_norm addition_embed_type_num_heads""".split()
    ),
    "DDPMScheduler": frozenset(
        """num_train_timesteps beta_start beta_end beta_schedule trained_betas variance_type clip_sample prediction_type
        thresholding dynamic_thresholding_ratio clip_sample_range sample_max_value timestep_spacing steps_offset
        rescale_betas_zero_snr""".split()
    ),
}
"""The fields of some classes: a file that has exactly these is read without diffusers, which takes seconds to import."""


class ModelSettings(dict[str, Any]):
    """The fields of a part, with diffusers' defaults for those that its file does not have."""

    def __init__(self, file: Path, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.file = file

    def error(self, field: str, problem: str) -> ModelError:
        """The error that names the file, the field and its value."""
        return ModelError(f"{self.file}: {field} is {json.dumps(self.get(field))[:60]}: {problem}")

    def number(self, field: str) -> float:
        """A finite number above 0.

        Raises:
            ModelError: the field holds anything else.
        """
        if not is_number(self[field]) or self[field] <= 0:
            raise self.error(field, "expected a number above 0")
        return float(self[field])

    def count(self, field: str) -> int:
        """A whole number above 0.

        Raises:
            ModelError: the field holds anything else.
        """
        if self.number(field) != int(self[field]):
            raise self.error(field, "expected a whole number")
        return int(self[field])

    def refuse(self, field: str, supported: tuple[Any, ...], problem: str) -> None:
        """Check that the field holds one of the supported values.

        Raises:
            ModelError: with the problem, if it does not.
        """
        if self.get(field) not in supported:
            raise self.error(field, problem)


def is_number(value: Any) -> bool:
    """Whether a JSON value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def model_settings(folder: Path, part: str, alone: bool = False) -> ModelSettings:
    """The settings of the `unet`, `vae` or `scheduler` of the model in `folder`, or of the network that is there `alone`.

    Raises:
        ModelError: the file cannot be read, is of an unsupported class, or has a field that diffusers does not know.
    """
    file = folder / ("" if alone else part) / ("scheduler_config.json" if part in SCHEDULERS else "config.json")
    given = ModelSettings(file, read_settings(file))
    name = _class_name(folder, part, given)
    if {field for field in given if field[:1] != "_"} == ALL_FIELDS.get(name):
        return ModelSettings(file, given | {"_class_name": name})
    known = class_defaults(name)
    ignored = known.keys() | HARMLESS
    unknown = [field for field, value in given.items() if field[:1] != "_" and value is not None and field not in ignored]
    if unknown and part in SCHEDULERS:  # a scheduler keeps the fields of the one that it was made from
        others = set().union(*map(class_defaults, CLASSES["scheduler"])) - {field for field in OF_TRAINING if given.get(field)}
        unknown = [field for field in unknown if field not in others]
    if unknown:
        raise given.error(unknown[0], f"not a field of {name}; remove it from the file if it has no effect")
    return ModelSettings(file, known | {field: given[field] for field in given if field in known} | {"_class_name": name})


def _class_name(folder: Path, part: str, given: ModelSettings) -> str:
    """The class of a part, by its own file and by the pipeline's.

    Raises:
        ModelError: they disagree, name none, or one that is not supported.
    """
    index = folder / "model_index.json"
    entry = read_settings(index).get(part) if index.is_file() else None
    listed = entry[1] if isinstance(entry, list) and len(entry) == 2 else None
    own = given.get("_class_name")
    if part in SCHEDULERS and own is None and not given.keys() & {"beta_schedule", "trained_betas", "shift"}:
        raise given.error("_class_name", "the file describes no noise schedule")
    if own and listed and own != listed and not (own in TABLES and listed in TABLES):
        raise given.error("_class_name", f"but {index} lists {listed}")
    classes = CLASSES["scheduler" if part in SCHEDULERS else part]
    name = listed or own or (None if part in (*SCHEDULERS, "transformer") else classes[0])
    if name not in classes:
        supported = ", ".join(each.removesuffix("Scheduler") for each in classes)
        reason = WHY_NOT.get(str(name).removesuffix("Scheduler"), f"supported: {supported}")
        raise ModelSettings(given.file, {"_class_name": name}).error("_class_name", reason)
    return name


def class_defaults(name: str) -> dict[str, Any]:
    """The fields of a class of diffusers, with their defaults."""
    import diffusers

    parameters = inspect.signature(getattr(diffusers, name).__init__).parameters.values()
    defaults = {each.name: each.default for each in parameters if each.name not in ("self", "kwargs")}
    # The default of the class is true, but the files of Stable Diffusion 1 and 2 are older than the field, and their
    # pipelines encode in float16.
    return defaults | ({"force_upcast": False} if name == "AutoencoderKL" else {})


def check_unet(unet: ModelSettings, image_channels: int = 0, class_embed_type: str | None = None, sized: bool = False) -> None:
    """Check that a U-Net needs a noised image, a time and a text, and nothing else but what its prior gives it.

    That is a second image of `image_channels`, what `class_embed_type` embeds, and if `sized` the image's size as for SDXL.

    Raises:
        ModelError: it needs more, or no text.
    """
    more = "the U-Net needs more than a text ({}), which is not supported"
    for field, supported, what in (
        ("addition_embed_type", (None, "text", *(("text_time",) if sized else ())), "an image, or the size and text of SDXL"),
        ("encoder_hid_dim_type", (None, "text_proj"), "an image"),
        ("num_class_embeds", (None,), "class labels"),
        ("dual_cross_attention", (False,), "a second condition"),
    ):
        unet.refuse(field, supported, more.format(what))
    other = f"expected {class_embed_type}" if class_embed_type else more.format("class labels")
    unet.refuse("class_embed_type", (class_embed_type,), CLASS_EMBED_TYPES.get(unet["class_embed_type"], other))
    unet.refuse("time_cond_proj_dim", (None,), "this U-Net takes the guidance scale: it was distilled and has no score")
    blocks = [*unet["down_block_types"], str(unet["mid_block_type"]), *unet["up_block_types"]]
    if not any("CrossAttn" in name for name in blocks) and unet["addition_embed_type"] is None:
        raise unet.error("down_block_types", "without cross-attention the U-Net does not read the text")
    channels = unet.count("in_channels") - image_channels
    unet.refuse("out_channels", (channels, 2 * channels), f"expected {channels}, or twice that with a variance")


def check_text_width(unet: ModelSettings, width: int) -> None:
    """Check that a U-Net takes texts of `width` numbers per token.

    Raises:
        ModelError: it takes others.
    """
    problem = f"but the encoded text has {width} numbers per token"
    if unet["encoder_hid_dim"] is not None:
        unet.refuse("encoder_hid_dim", (width,), problem)
    else:
        dimensions = unet["cross_attention_dim"]
        count = len(dimensions) if isinstance(dimensions, list) else 1
        unet.refuse("cross_attention_dim", (width, [width] * count), problem)


def sample_size(unet: ModelSettings) -> int:
    """Height and width that a U-Net was trained at.

    Raises:
        ModelError: they differ or are not given.
    """
    size = unet["sample_size"]
    sides = size if isinstance(size, list) and len(size) == 2 else [size, size]
    if not is_number(sides[0]) or sides[0] != sides[1] or int(sides[0]) != sides[0] or sides[0] < 1:
        raise unet.error("sample_size", "expected the side of a square, or set guidance.prior.image_size")
    return int(sides[0])
