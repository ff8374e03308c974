"""The bundled judge: a small CLIP model (transformers' `CLIPModel`) for text-image scores.

It plays CLIP's role in an evaluation where no weights can be fetched, and never guides a run. Its captions can be enumerated, so
it learns faster than by contrasting a batch (arXiv 2103.00020): each picture is compared with every class in several colours.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize

from threefusion.toyworld.captions import describe, find_color, pair_captions
from threefusion.toyworld.catalogue import ROUND
from training.augment import augment
from training.captions import VIEW_WORDS, CaptionRates, caption
from training.data import NAMES, TEXTURELESS, Batch
from training.folder import FACTS, facts, replaced
from training.muon import MatrixOptimizer
from training.pictures import COLOR_NAMES, draw_pictures
from training.text import LENGTH, build_tokenizer
from training.train import Recipe
from training.views import ViewStore

if TYPE_CHECKING:
    from transformers import CLIPModel, PreTrainedTokenizerFast

SIZE = 48
PALETTE = 6
"""Colours per batch: each image is compared with all classes in these colours."""
STEPS = 10000
"""Training steps of the bundled judge, unless the time limit ends it first."""
FIRST_SEED = 500
"""First seed of the judge's views; the priors' start at 0."""
LOOKS = (0.38, 0.37, 0.25)
"""Probabilities of albedo, lit and textureless images for the judge."""
RATES = CaptionRates(empty=0.0, no_view=0.4, no_color=0.05, synonym=0.2)
MEAN = STD = (0.5, 0.5, 0.5)


def build_clip(vocabulary: int, pad: int, start: int, end: int) -> CLIPModel:
    """A vision transformer over 36 patches of 8 x 8 pixels, and two causal layers over words; 128 common dimensions."""
    from transformers import CLIPConfig, CLIPModel

    vision = {
        "hidden_size": 160, "intermediate_size": 480, "num_hidden_layers": 4, "num_attention_heads": 4, "image_size": SIZE,
        "patch_size": 8, "hidden_act": "relu",
    }  # fmt: skip
    text = {
        "vocab_size": vocabulary, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
        "max_position_embeddings": LENGTH, "pad_token_id": pad, "bos_token_id": start, "eos_token_id": end, "hidden_act": "relu",
    }  # fmt: skip
    # the plain attention: torch's fused one is slower in a bfloat16 backward pass on CPUs
    clip = CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=128, attn_implementation="eager"))
    start_locally(clip.vision_model)
    return clip


@torch.no_grad()
def start_locally(vision: nn.Module) -> None:
    """Mimetic initialisation with positional embeddings (arXiv 2305.09828).

    It saves the first part of a short training. W_q W_kᵀ starts at 0.4 Z + 0.25 I in every head, W_v W_o at 0.4 Z - 0.4 I.
    """
    config = vision.config
    width, heads = config.hidden_size, config.num_attention_heads
    vision.embeddings.position_embedding.weight[1:] = 0.2 * patch_waves(config.image_size // config.patch_size, width)
    for layer in vision.encoder.layers:
        attention = layer.self_attn
        both = [factors(0.4, 0.25, width, width // heads) for _ in range(heads)]
        attention.q_proj.weight.copy_(torch.cat([left.T for left, _ in both]))
        attention.k_proj.weight.copy_(torch.cat([right.T for _, right in both]))
        left, right = factors(0.4, -0.4, width, width)
        attention.v_proj.weight.copy_(left.T)
        attention.out_proj.weight.copy_(right)


def factors(noise: float, identity: float, width: int, rank: int) -> tuple[Float[Tensor, "D r"], Float[Tensor, "D r"]]:
    """Two matrices whose product A Bᵀ is the best of its rank for noise · Z + identity · I, Z normal with variance 1 / D."""
    u, s, vh = torch.linalg.svd(noise * torch.randn(width, width) / width**0.5 + identity * torch.eye(width))
    return u[:, :rank] * s[:rank].sqrt(), vh[:rank].T * s[:rank].sqrt()


def patch_waves(side: int, width: int) -> Float[Tensor, "P D"]:
    """Sines and cosines of each patch's column and row (arXiv 1706.03762, section 3.5, along both axes)."""
    rate = 1.5 * torch.logspace(0, -1, width // 4)
    wave = torch.arange(side)[:, None] * rate
    wave = torch.cat([wave.sin(), wave.cos()], -1)
    return torch.cat([wave.repeat(side, 1), wave.repeat_interleave(side, 0)], -1)


def see(clip: CLIPModel, images: Float[Tensor, "B 3 h w"]) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B P W"]]:
    """Normalised embeddings of images in [-1, 1], and the patch tokens of the last layer."""
    with torch.autocast("cpu", torch.bfloat16):
        features = clip.get_image_features(pixel_values=images)
    return normalize(features.pooler_output.float(), dim=-1), features.last_hidden_state[:, 1:].float()


def embed_images(clip: CLIPModel, images: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B D"]:
    """Normalised embeddings of images in [-1, 1]."""
    return see(clip, images)[0]


def embed_texts(clip: CLIPModel, tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> Float[Tensor, "B D"]:
    """Normalised embeddings of captions."""
    tokens = tokenizer(texts, padding="longest", max_length=LENGTH, truncation=True, return_tensors="pt")
    with torch.autocast("cpu", torch.bfloat16):
        features = clip.get_text_features(input_ids=tokens.input_ids).pooler_output
    return normalize(features.float(), dim=-1)


def choice_loss(logits: Float[Tensor, "B K"], right: Bool[Tensor, "B K"]) -> Float[Tensor, ""]:
    """Negative log of the total softmax probability of the positives, for images that have any."""
    some = right.any(-1)
    chosen = logits[some].masked_fill(~right[some], -torch.inf)
    return (logits[some].logsumexp(-1) - chosen.logsumexp(-1)).mean()


@dataclass(frozen=True)
class JudgeBatch(Batch):
    """Images, captions, labels and geometry."""

    geometry: Float[Tensor, "B 7 16 16"]


class JudgeRecipe(Recipe):
    """Training of the judge on renderings of all pairs."""

    image_size = SIZE

    def __init__(self, batch_size: int = 32, learning_rate: float = 1e-3, seed: int = 0) -> None:
        torch.manual_seed(FIRST_SEED + seed)
        self.batch_size, self.learning_rate = batch_size, learning_rate
        self.tokenizer = build_tokenizer(start=True)
        ids = [self.tokenizer.pad_token_id, self.tokenizer.bos_token_id, self.tokenizer.eos_token_id]
        clip = build_clip(len(self.tokenizer), *ids)
        width = clip.config.vision_config.hidden_size
        # auxiliary, not exported; see `patch_loss`
        patch = nn.ModuleDict({"geometry": nn.Linear(width, 7), "name": nn.Linear(width, len(NAMES))})
        self.networks = nn.ModuleDict({"clip": clip, "patch": patch})

    def draw(self, store: ViewStore, generator: torch.Generator) -> JudgeBatch:
        """Images of random pairs, including held-out ones, because this network is the evaluator."""
        return judge_batch(store, self.batch_size, generator)

    def loss(self, batch: JudgeBatch, generator: torch.Generator) -> Float[Tensor, ""]:
        """Contrastive losses over pairs, classes, views of the pair and captions of the batch, and the patch loss."""
        clip = self.networks["clip"]
        classes = torch.tensor([NAMES.index(name) for name in batch.names])
        palette = sorted(set(batch.colors))
        colors = torch.tensor([palette.index(color) for color in batch.colors])
        plain = torch.tensor(batch.looks) == TEXTURELESS
        said = [None if white else color for white, color in zip(plain.tolist(), batch.colors, strict=True)]
        views = [describe(n, c, v) for n, c in zip(batch.names, said, strict=True) for v in VIEW_WORDS]
        # each group padded to its own longest caption
        texts = [pair_captions(palette), [describe(name) for name in NAMES], views, batch.captions]
        pair, name, view, free = [embed_texts(clip, self.tokenizer, group) for group in texts]
        scale = clip.logit_scale.exp().clamp(max=100)
        image, patches = see(clip, batch.images)
        image = scale * image
        # for a white object every colour is positive
        right_pair = nn.functional.one_hot(colors, len(palette)).bool() | plain[:, None]
        right_pair = (right_pair[:, None] & nn.functional.one_hot(classes, len(NAMES)).bool()[..., None]).flatten(1)
        view_logits = (image[:, None] * view.view(len(image), len(VIEW_WORDS), -1)).sum(-1)
        right = matches(batch, said)
        free_logits = image @ free.T
        return (
            self.patch_loss(patches, batch.geometry, classes)
            + choice_loss(image @ pair.T, right_pair)
            + 0.5 * choice_loss(image @ name.T, nn.functional.one_hot(classes, len(NAMES)).bool())
            + choice_loss(view_logits, right_views(batch))
            + 0.25 * (choice_loss(free_logits, right) + choice_loss(free_logits.T, right.T))
        )

    def patch_loss(
        self, patches: Float[Tensor, "B P W"], geometry: Float[Tensor, "B 7 16 16"], classes: Int[Tensor, "B"]
    ) -> Float[Tensor, ""]:
        """Auxiliary loss: geometry and class per patch, so that all tokens are trained.

        Token labelling (arXiv 2104.10858) with exact labels, weighed by how much of the object a patch shows.
        """
        side = SIZE // self.networks["clip"].config.vision_config.patch_size
        shown = nn.functional.adaptive_avg_pool2d(geometry, side).flatten(2).mT
        coverage = shown[..., 0]
        geometric = (self.networks["patch"]["geometry"](patches) - shown).square().sum(-1).mean()
        logits = self.networks["patch"]["name"](patches).mT
        named = nn.functional.cross_entropy(logits, classes[:, None].expand_as(coverage), reduction="none")
        return 2 * geometric + (coverage * named).sum() / coverage.sum().clamp_min(1)

    def optimizer(self) -> MatrixOptimizer:
        """Muon, as for the priors."""
        return MatrixOptimizer(self.networks, self.learning_rate)

    def exported(self, folder: Path) -> dict[str, nn.Module]:
        """Load the CLIP model; the auxiliary patch head is not exported and starts from scratch."""
        from transformers import CLIPModel

        return {"clip": CLIPModel.from_pretrained(folder)}

    def export(self, networks: nn.ModuleDict, folder: Path) -> None:
        """Write a folder that transformers reads, in half precision."""
        with replaced(folder) as fresh:
            copy.deepcopy(networks["clip"]).half().save_pretrained(fresh)
            self.tokenizer.save_pretrained(fresh)
            (fresh / "preprocessor_config.json").write_text(json.dumps(preprocessor(), indent=1) + "\n")
            # trained on all pairs
            (fresh / FACTS).write_text(json.dumps(facts(SIZE) | {"held_out": []}, indent=1) + "\n")


def preprocessor() -> dict[str, object]:
    """Preprocessing config of transformers' `CLIPImageProcessor`."""
    return {
        "image_processor_type": "CLIPImageProcessor", "do_resize": True, "size": {"height": SIZE, "width": SIZE}, "resample": 2,
        "do_center_crop": False, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "do_convert_rgb": True,
        "image_mean": list(MEAN), "image_std": list(STD),
    }  # fmt: skip


def judge_batch(store: ViewStore, count: int, generator: torch.Generator, looks: tuple[float, ...] = LOOKS) -> JudgeBatch:
    """Images in [-1, 1], half of them augmented, of random pairs of `PALETTE` colours, with paraphrased captions."""
    palette = [COLOR_NAMES[i] for i in torch.randperm(len(COLOR_NAMES), generator=generator)[:PALETTE].tolist()]
    seen = augment(draw_pictures(store, count, SIZE, generator, looks, palette, even=True), generator)
    captions = [
        caption(name, None if look == TEXTURELESS else color, view, generator, RATES)
        for name, color, view, look in zip(seen.names, seen.colors, seen.views, seen.looks, strict=True)
    ]
    return JudgeBatch(seen.images * 2 - 1, captions, seen.names, seen.colors, seen.views, seen.looks, seen.geometry)


def right_views(batch: Batch) -> Bool[Tensor, "B V"]:
    """Positive view captions of each image: for a round object all but overhead, unless seen from above."""
    right = [
        [word == view or (name in ROUND and "overhead" not in (word, view)) for word in VIEW_WORDS]
        for name, view in zip(batch.names, batch.views, strict=True)
    ]
    return torch.tensor(right)


def matches(batch: Batch, said: list[str | None]) -> Bool[Tensor, "B B"]:
    """Whether an image (row) matches a caption of the batch (column); omitted attributes are ignored."""
    told = [(find_color(text), text.endswith(" view")) for text in batch.captions]
    right = [
        [
            name == other and color in (None, shade) and (not viewed or view == seen)
            for other, (color, viewed), seen in zip(batch.names, told, batch.views, strict=True)
        ]
        for name, shade, view in zip(batch.names, said, batch.views, strict=True)
    ]
    return torch.tensor(right)
