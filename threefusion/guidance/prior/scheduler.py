"""The noise schedule and the target of a model, from the settings of its diffusers scheduler."""

from __future__ import annotations

from math import exp

from threefusion.guidance.prior.conditioning import Target
from threefusion.guidance.prior.model_settings import FLOWS, ModelSettings, is_number
from threefusion.guidance.prior.schedule import BETA_SCHEDULES, NoiseSchedule, RectifiedFlow, VariancePreserving, alphas_cumprod

TARGETS: dict[str, Target] = {"epsilon": "noise", "v_prediction": "velocity", "sample": "clean"}
"""By the prediction type of a scheduler with a table of betas."""
FLOW_TARGETS: dict[str, Target] = {"flow_prediction": "velocity", "epsilon": "noise", "sample": "clean"}
"""By the prediction type of such a scheduler on a rectified flow."""


def read_schedule(scheduler: ModelSettings, image_tokens: int | None = None) -> NoiseSchedule:
    """The schedule that a model was trained on; how a scheduler samples does not matter.

    A dynamic shift depends on `image_tokens`, the patches of one image, which a U-Net does not have.

    Raises:
        ModelError: a field has an unsupported value.
    """
    length = scheduler.count("num_train_timesteps")
    if is_flow(scheduler):
        scheduler.refuse("invert_sigmas", (False, None), "not supported; expected noise at the end")
        return RectifiedFlow(_shift(scheduler, image_tokens), length)
    if scheduler["prediction_type"] == "v_prediction":
        scheduler.refuse("timestep_type", ("discrete", None), "not supported; expected the timesteps of the table")
    betas = scheduler["trained_betas"]
    if betas is None:
        scheduler.refuse("beta_schedule", BETA_SCHEDULES, f"supported: {', '.join(BETA_SCHEDULES)}")
        for bound in ("beta_start", "beta_end"):
            if scheduler.number(bound) >= 1:
                raise scheduler.error(bound, "expected a number below 1")
    elif not isinstance(betas, list) or len(betas) != length or not all(is_number(beta) and 0 <= beta < 1 for beta in betas):
        raise scheduler.error("trained_betas", f"expected {length} numbers between 0 and 1, as num_train_timesteps says")
    return VariancePreserving(alphas_cumprod(scheduler))


def _shift(scheduler: ModelSettings, image_tokens: int | None) -> float:
    """The shift of a flow, which may depend on the number of patches."""
    if not scheduler.get("use_dynamic_shifting"):
        return scheduler.number("shift" if "shift" in scheduler else "flow_shift")
    if image_tokens is None or "base_shift" not in scheduler:
        raise scheduler.error("use_dynamic_shifting", "not supported; expected a flow of one shift")
    low, high = (scheduler.count(field) for field in ("base_image_seq_len", "max_image_seq_len"))
    first, last = (scheduler.number(field) for field in ("base_shift", "max_shift"))
    if high <= low:
        raise scheduler.error("max_image_seq_len", "expected more than base_image_seq_len")
    scheduler.refuse("time_shift_type", ("exponential", "linear"), "supported: exponential, linear")
    mu = first + (last - first) * (image_tokens - low) / (high - low)
    shift = exp(mu) if scheduler["time_shift_type"] == "exponential" else mu
    if shift <= 0:
        raise scheduler.error("base_shift", f"the shift of {image_tokens} patches is {shift:g}; expected one above 0")
    return shift


def read_target(scheduler: ModelSettings) -> Target:
    """What a model was trained to predict.

    Raises:
        ModelError: the prediction type is not supported.
    """
    if scheduler["_class_name"] in FLOWS:
        return "velocity"
    targets = FLOW_TARGETS if is_flow(scheduler) else TARGETS
    scheduler.refuse("prediction_type", tuple(targets), f"supported: {', '.join(targets)}")
    return targets[scheduler["prediction_type"]]


def is_flow(scheduler: ModelSettings) -> bool:
    """Whether the noised states lie on straight lines."""
    return scheduler["_class_name"] in FLOWS or bool(scheduler.get("use_flow_sigmas"))
