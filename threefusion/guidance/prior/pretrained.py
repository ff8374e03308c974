"""Base class of pixel and latent priors: a frozen U-Net of the diffusers library, from a folder or the hub."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from threefusion.errors import UserError
from threefusion.guidance.prior.adapter import AdaptedCritic
from threefusion.guidance.prior.choice import FIRST_STEP, choose, refuse_unavailable
from threefusion.guidance.prior.conditioning import Conditioning, Target
from threefusion.guidance.prior.convert import converted
from threefusion.guidance.prior.critic import Critic
from threefusion.guidance.prior.execution import Call, Offloaded, runner
from threefusion.guidance.prior.files import SCHEDULERS, TEXT_PARTS, ModelError, text_parts
from threefusion.guidance.prior.lora import Lora
from threefusion.guidance.prior.model_settings import ModelSettings, check_text_width, check_unet, model_settings, sample_size
from threefusion.guidance.prior.models import MODELS, NETWORKS, resolve
from threefusion.guidance.prior.precision import network_dtype
from threefusion.guidance.prior.prior import DiffusionPrior, TextEncoder
from threefusion.guidance.prior.reading import read_network
from threefusion.guidance.prior.schedule import NoiseSchedule
from threefusion.guidance.prior.scheduler import read_schedule, read_target
from threefusion.guidance.prior.settings import CriticConfig, PretrainedConfig
from threefusion.guidance.prior.single_file import is_single_file
from threefusion.guidance.prior.text_encoder import PretrainedTextEncoder
from threefusion.guidance.prior.textual_inversion import TextualInversion
from threefusion.messages import Noted, send


class PretrainedPrior(DiffusionPrior):
    """A text-conditional U-Net with its scheduler's settings; its files are looked up at first use.

    A subclass whose network takes more than state, time and tokens overrides `network_inputs` and, if these
    are keywords, `denoiser`.
    """

    parts: ClassVar[tuple[str, ...]] = NETWORKS["pixel"]
    """The folders that are read; the first holds the denoising network."""
    encoder_parts: ClassVar[tuple[str, ...]] = TEXT_PARTS
    """What the model's text encoder is read from."""
    image_channels: ClassVar[int] = 0
    """Channels of a second image that the U-Net takes beside the noised one."""
    class_embed_type: ClassVar[str | None] = None
    """What the U-Net embeds beside the time, by diffusers' name."""
    takes_sizes: ClassVar[bool] = False
    """Whether the U-Net may be told the image's size and a text as a whole, as that of Stable Diffusion XL."""
    cfg: PretrainedConfig

    def __init__(self, cfg: PretrainedConfig) -> None:
        super().__init__(cfg)
        self._folder: Path | None = None
        self._loras: list[Lora] | None = None
        self._settings: dict[str, ModelSettings] = {}
        self._runners: dict[str, Call] = {}
        self._step = 0

    def on_step(self, step: int, generator: torch.Generator) -> None:
        """Remember the step."""
        self._step = step

    @property
    def folder(self) -> Path:
        """The local folder of the model; downloaded once if needed, the text encoder with it, so that all is of one commit.

        A single file is converted once.
        """
        if self._folder is None:
            parts, known = (*self.parts, *self.encoder_parts), MODELS.get(self.cfg.model)
            if known and not set(self.parts) <= set(NETWORKS[known.prior]):
                raise ModelError(f"guidance.prior.model: {self.cfg.model} is a model for {known.prior}, not for this prior")
            if is_single_file(self.cfg.model):
                self._folder = converted(Path(self.cfg.model).expanduser(), self.cfg.single_file_config, parts)
            else:
                self._folder = resolve(self.cfg.model, parts, self.cfg.revision)
        return self._folder

    @property
    def loras(self) -> list[Lora]:
        """The user's LoRA files, checked.

        Raises:
            ModelError: one cannot be read, or changes a network that the model does not have.
        """
        if self._loras is None:
            self._loras = [Lora(cfg) for cfg in self.cfg.lora]
            for lora in self._loras:
                lora.refuse_others((*self.parts, *text_parts(self.folder)))
        return self._loras

    def settings(self, part: str) -> ModelSettings:
        """The model's own settings of one of its `parts`.

        Raises:
            ModelError: a field has a value that is not supported.
        """
        if part not in self._settings:
            settings = self.read_settings(part)
            self.check_settings(part, settings)
            self._settings[part] = settings
        return self._settings[part]

    def read_settings(self, part: str) -> ModelSettings:
        """The settings of a part, with diffusers' defaults for absent fields; not checked yet."""
        return model_settings(self.folder, part)

    def check_settings(self, part: str, settings: ModelSettings) -> None:
        """Check that the prior can honour the settings of a part.

        Raises:
            ModelError: a field has a value that is not supported.
        """
        if part == "unet":
            check_unet(settings, self.image_channels, self.class_embed_type, self.takes_sizes)
        elif part == "scheduler":
            read_schedule(settings)
            read_target(settings)

    def read_schedule(self) -> NoiseSchedule:
        """The schedule of the pipeline's scheduler."""
        return read_schedule(self.settings("scheduler"))

    @property
    def target(self) -> Target:
        """The prediction type of the pipeline's scheduler."""
        return read_target(self.settings("scheduler"))

    @property
    def sample_size(self) -> int:
        """Height and width at which the U-Net was trained."""
        return sample_size(self.settings("unet"))

    def largest_layer(self, views: int) -> int:
        """The U-Net's first layer, at full resolution, under two conditions."""
        return 2 * views * self.settings("unet")["block_out_channels"][0] * self.shape[1] * self.shape[2]

    @property
    def fixed_shapes(self) -> bool:
        """Whether each shape is compiled by torch or captured; OpenVINO fills up batches itself."""
        return self.cfg.execution in ("compile", "cuda-graph")

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the U-Net on the present device."""
        return network_dtype(self.cfg.dtype, self.device)

    def load(self) -> None:
        """Load the networks in their stored precision; each is cast for its device at its first use."""
        for part in self.parts:
            self.settings(part)
        _ = self.shape  # which may be unknown
        if missing := [part for part in self.parts if part not in SCHEDULERS and part not in self._networks]:
            self._networks |= {part: self.read_network(part) for part in missing}
            for lora in self.loras:
                send(Noted(str(lora)))

    def read_network(self, part: str) -> nn.Module:
        """A network, frozen, in the precision of its file."""
        loras = [lora for lora in self.loras if lora.changes(part)]
        # in half precision a small change would be rounded away
        network = self.stored_network(part, torch.float32 if loras else None)
        for lora in loras:
            lora.merge(network, part)
        return self.frozen(network)

    def frozen(self, network: nn.Module) -> nn.Module:
        """A network that is not trained, where weights are stored."""
        return network.requires_grad_(False).to(self.storage, memory_format=torch.channels_last)

    def stored_network(self, part: str, dtype: torch.dtype | None) -> nn.Module:
        """A network as its file has it, by default in the precision of the file."""
        return read_network(network_class(self.settings(part)["_class_name"]), self.folder_of(part), dtype)

    def folder_of(self, part: str) -> Path:
        """Where the files of a part lie."""
        return self.folder / part

    @property
    def storage(self) -> torch.device:
        """Main memory if networks are offloaded."""
        return torch.device("cpu") if self.cfg.offload else self.device

    def network(self, part: str, dtype: torch.dtype) -> nn.Module:
        """A frozen network, ready to run in `dtype`."""
        self.load()
        network = self._networks[part]
        if next(network.parameters()).dtype != dtype:
            # Not the method of diffusers, which warns of parts to be kept in float32 although these networks have none.
            # What is trained stays in float32.
            network._apply(lambda tensor: tensor if tensor.requires_grad or not tensor.is_floating_point() else tensor.to(dtype))
        return network

    def run(self, name: str, network: Callable[[], nn.Module], *inputs: Tensor, **options: Any) -> Any:
        """The output of `network()` for `inputs`, executed as configured; prepared once per `name`.

        Raises:
            UserError: this machine does not support the configured execution.
        """
        with torch.autocast(self.device.type, enabled=False):
            if name == self.parts[0] and self.may_choose(inputs):
                self._runners.clear()
                self.chosen, self._runners[name] = choose(network(), inputs, lambda how: self.prepare(network(), how, **options))
            if name not in self._runners:
                execution = "openvino" if self.execution == "openvino" else self.cfg.execution
                self._runners[name] = self.prepare(network(), execution, **options)
            return self._runners[name](*inputs)

    @property
    def execution(self) -> str:
        """How networks run: eager while `auto` has not chosen."""
        return (self.chosen or "eager") if self.cfg.execution == "auto" else self.cfg.execution

    def may_choose(self, inputs: tuple[Tensor, ...]) -> bool:
        """Whether it is time for `auto` to choose."""
        due = self.cfg.execution == "auto" and self.chosen is None and self._step >= FIRST_STEP
        return due and not any(tensor.requires_grad for tensor in inputs)

    def restore_choice(self, chosen: str | None) -> None:
        """As in the base class."""
        if self.cfg.execution == "auto":
            refuse_unavailable(chosen)
            super().restore_choice(chosen)

    def prepare(self, network: nn.Module, execution: str, **options: Any) -> Call:
        """A callable that runs a frozen network in one of the ways of `runner`, or with weights in main memory if configured."""
        if not self.cfg.offload:
            identity = repr(replace(self.cfg, execution="eager"))
            return runner(network, execution, self.device, identity, self.group_size == 1, **options)
        if self.device.type == "cpu":
            raise UserError("guidance.prior.offload: needs an accelerator; on the CPU networks are in main memory anyway")
        return Offloaded(network, self.device, **options)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> PretrainedPrior:
        """Follow a move, and drop what was prepared for the old device."""
        self._runners.clear()
        return super()._apply(fn, recurse)

    def _predict(self, z: Float[Tensor, "B C h w"], t: Float[Tensor, "B"], condition: Conditioning) -> Float[Tensor, "B C h w"]:
        """The network's output, computed in its own precision; everything around it in float32."""
        output = self.run(self.parts[0], self.denoiser, *self.network_inputs(z, t, condition), return_dict=False)[0]
        # DeepFloyd's networks predict a variance in further channels, which no objective uses.
        return output[:, : z.shape[1]].float().contiguous()

    def denoiser(self) -> nn.Module:
        """The frozen network, as a module that takes `network_inputs` in order."""
        return self.network(self.parts[0], self.dtype)

    def network_inputs(
        self, z: Float[Tensor, "B C h w"], t: Float[Tensor, "B"], condition: Conditioning
    ) -> tuple[Float[Tensor, "B D h w"], Tensor, *tuple[Tensor, ...]]:
        """What the network is given: the noised image, the time, the tokens, then what else `denoiser` takes."""
        image = z.to(self.dtype, memory_format=torch.channels_last)
        return image, self.schedule.timesteps(t), condition.tokens.to(self.dtype)

    def critic(self, cfg: CriticConfig) -> Critic:
        """The network with LoRA in its attention layers, which shares all frozen weights with the prior's.

        Raises:
            UserError: the network has no attention layers, or another time embedding.
        """
        self.load()
        return AdaptedCritic(self._networks[self.parts[0]], cfg, self.with_network).to(self.device)

    def with_network(self, network: nn.Module) -> PretrainedPrior:
        """The same prior with another network in place of the one that predicts; it runs eagerly."""
        twin = copy.copy(self)
        twin.cfg = replace(self.cfg, execution="eager")
        twin._networks = {**self._networks, self.parts[0]: network}
        twin._runners = {}
        return twin

    def text_encoder(self) -> TextEncoder:
        """T5 or CLIP of the same pipeline."""
        encoder = self.read_text_encoder(PretrainedTextEncoder)
        check_text_width(self.settings("unet"), encoder.width)
        return encoder

    def read_text_encoder(self, cls: type[PretrainedTextEncoder], **settings: Any) -> PretrainedTextEncoder:
        """The model's text encoder as a `cls`, with the user's LoRA files and textual inversions."""
        inversions = [TextualInversion(Path(file)) for file in self.cfg.textual_inversion]
        for inversion in inversions:
            send(Noted(str(inversion)))
        return cls(self.folder, self.loras, inversions, **settings)


def network_class(name: str) -> type:
    """A class of diffusers; importing it takes seconds, hence only here."""
    import diffusers

    return getattr(diffusers, name)
