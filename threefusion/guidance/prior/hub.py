"""Models on the Hugging Face hub: what its local cache holds, and downloading the files that a prior reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from threefusion.errors import first_line
from threefusion.guidance.prior.files import FURTHER_TEXT_PARTS, TEXT_PARTS, VARIANTS, ModelError, defect, weight_names

TIMEOUT = 10
"""Seconds that the hub has for its first answer."""


@dataclass(frozen=True)
class Source:
    """A repository on the Hugging Face hub."""

    repository: str
    revision: str = "main"
    """A commit that was verified, or `main`, which is not pinned."""


def cached(source: Source, part: str = "unet") -> Path | None:
    """The folder of `source` in the hub's local cache, if it has settings of `part`; no network access."""
    from huggingface_hub import try_to_load_from_cache

    # not snapshot_download(local_files_only=True), which since huggingface_hub 1.22 wants all files of the repository
    name = PurePosixPath(part, "scheduler_config.json" if part == "scheduler" else "config.json")
    try:
        file = try_to_load_from_cache(source.repository, str(name), revision=source.revision)
    except (OSError, ValueError):
        return None
    return Path(file).parents[len(name.parts) - 1] if isinstance(file, str) else None


def fetch(sources: Sequence[Source], parts: Sequence[str]) -> Path:
    """Download `parts` from the first source that has them as safetensors; only the files that are read.

    Raises:
        ModelError: none could be downloaded; the message gives the reason for each.
    """
    from huggingface_hub.errors import HfHubHTTPError

    reasons = []
    for source in sources:
        try:
            folder = _fetch(source, parts)
        except Exception as error:
            started = cached(source, parts[0])
            state = f", and its copy in the hub's cache is incomplete: {defect(started, parts)}" if started else ""
            reasons.append(f"{source.repository}: {_reason(error)}{state}")
            if not isinstance(error, HfHubHTTPError):
                # no answer of the hub: its mirrors are as far away
                break
            continue
        if (fault := defect(folder, parts)) is None:
            return folder
        reasons.append(f"{source.repository}: {fault}")
    raise ModelError("; ".join(reasons))


def _fetch(source: Source, parts: Sequence[str]) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    # one request without retries: offline, it fails at once
    info = HfApi().model_info(source.repository, revision=source.revision, timeout=TIMEOUT)
    names = [sibling.rfilename for sibling in info.siblings or ()]
    return Path(snapshot_download(source.repository, revision=source.revision, allow_patterns=wanted(names, parts)))


def wanted(names: Sequence[str], parts: Sequence[str]) -> list[str]:
    """Those of a repository's file names that `parts` are read from, and with the first text encoder all others."""
    chosen = [name for name in names if name == "model_index.json"]
    for part in (*parts, *(FURTHER_TEXT_PARTS if TEXT_PARTS[0] in parts else ())):
        start = "" if part == "." else f"{part}/"
        own = [name.removeprefix(start) for name in names if name.startswith(start) and "/" not in name.removeprefix(start)]
        # what lies at the top may be a network of diffusers or of transformers
        stems = (part,) if start else (part, "encoder")
        weights = next(filter(None, (weight_names(stem, own, variant) for stem in stems for variant in VARIANTS)), [])
        settings = [name for name in own if name.endswith((".json", ".txt", ".model")) and ".index." not in name]
        chosen += [f"{start}{name}" for name in (*settings, *weights) if f"{start}{name}" not in chosen]
    return chosen


def _reason(error: Exception) -> str:
    """The first line of an error of the hub's client; for gated models, what to do."""
    name = type(error).__name__
    if name == "GatedRepoError":
        return "its licence must be accepted on its page, then `hf auth login`"
    if name == "OfflineModeIsEnabled":
        return "HF_HUB_OFFLINE is set"
    return f"{name}: {first_line(error)[:160]}"
