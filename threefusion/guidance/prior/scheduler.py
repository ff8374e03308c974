"""The noise schedule and the target of a model, from the settings of its diffusers scheduler."""

from __future__ import annotations

from threefusion.guidance.prior.conditioning import Target
from threefusion.guidance.prior.model_settings import FLOWS, ModelSettings, is_number
from threefusion.guidance.prior.schedule import BETA_SCHEDULES, NoiseSchedule, RectifiedFlow, VariancePreserving, alphas_cumprod

TARGETS: dict[str, Target] = {"epsilon": "noise", "v_prediction": "velocity", "sample": "clean"}
"""By the prediction type of a scheduler with a table of betas."""
FLOW_TARGETS: dict[str, Target] = {"flow_prediction": "velocity", "epsilon": "noise", "sample": "clean"}
"""By the prediction type of such a scheduler on a rectified flow."""


def read_schedule(scheduler: ModelSettings) -> NoiseSchedule:
    """The schedule that a model was trained on; how a scheduler samples does not matter.

    Raises:
        ModelError: a field has an unsupported value.
    """
    length = scheduler.count("num_train_timesteps")
    if is_flow(scheduler):
        for field in ("use_dynamic_shifting", "invert_sigmas"):
            scheduler.refuse(field, (False, None), "not supported; expected a flow of one shift")
        return RectifiedFlow(scheduler.number("shift" if "shift" in scheduler else "flow_shift"), length)
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
