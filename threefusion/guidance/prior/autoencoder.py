"""What the settings of an autoencoder of diffusers say about its latents."""

from __future__ import annotations

from collections.abc import Sequence

from threefusion.guidance.prior.model_settings import ModelSettings, is_number


def check_autoencoder(vae: ModelSettings) -> None:
    """Check that an autoencoder takes and returns colours, and that its latents can be normalised.

    Raises:
        ModelError: a field has a value that is not supported.
    """
    for field in ("in_channels", "out_channels"):
        vae.refuse(field, (3,), "expected 3, an autoencoder of colour images")
    vae.count("latent_channels")
    normalisation(vae)


def normalisation(vae: ModelSettings) -> tuple[float, float] | tuple[list[float], list[float]]:
    """Shift and factor of the latents, `(latents - shift) * factor`, for all channels or for each one.

    Raises:
        ModelError: a field holds no number, or not one for each channel.
    """
    factor, shift = vae.number("scaling_factor"), vae["shift_factor"] or 0.0
    if not is_number(shift):
        raise vae.error("shift_factor", "expected a number")
    mean, std = vae.get("latents_mean"), vae.get("latents_std")
    if mean is None and std is None:
        return float(shift), factor
    for field, values in (("latents_mean", mean), ("latents_std", std)):
        fits = isinstance(values, list) and len(values) == vae["latent_channels"] and all(map(is_number, values))
        if not fits or (field == "latents_std" and min(values) <= 0):
            raise vae.error(field, "expected a number for each latent channel, above 0 for a standard deviation")
    if shift:
        raise vae.error("shift_factor", "not supported together with latents_mean")
    # as in diffusers' Stable Diffusion XL
    return [float(value) for value in mean], [factor / value for value in std]


def downsampling(vae: ModelSettings) -> int:
    """How many pixels one latent covers in each direction."""
    return 2 ** (len(_blocks(vae)) - 1)


def first_channels(vae: ModelSettings) -> int:
    """Channels of the encoder's first layer."""
    return _blocks(vae)[0]


def _blocks(vae: ModelSettings) -> Sequence[int]:
    """The channels of the encoder's blocks."""
    return vae["encoder_block_out_channels" if vae["_class_name"] == "AutoencoderTiny" else "block_out_channels"]
