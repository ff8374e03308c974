"""Packaging of threefusion."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+?)"', (ROOT / "threefusion" / "__init__.py").read_text(encoding="utf-8")).group(1)

setup(
    name="threefusion",
    version=VERSION,
    description="Text-to-3D by score distillation: a modular PyTorch Lightning toolkit that runs anywhere with pip alone",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[*find_packages(include=["threefusion", "threefusion.*"]), "threefusion.configs"],
    package_dir={"threefusion.configs": "configs"},
    package_data={"threefusion": ["bundled/**/*", "page/**/*"], "threefusion.configs": ["**/*.yaml"]},
    install_requires=[
        # A bare "torch" would fetch gigabytes of CUDA packages newer than what is tested.
        "torch>=2.5,<2.14",
        "pytorch-lightning>=2.6,<3",
        "diffusers>=0.40,<0.43",
        "transformers>=5,<6",
        "accelerate>=1.0",
        "peft>=0.21",
        "sentencepiece>=0.2",
        "safetensors>=0.8",
        "huggingface_hub>=1.23",
        "filelock>=3.15",
        "pyyaml>=6",
        "omegaconf>=2.4,<3",
        "numpy>=1.26",
        "scipy>=1.11",
        "scikit-image>=0.22",
        "trimesh>=4.4",
        # the minor version is fixed: checkpoints hold the tensors of its objects
        "pytorch_optimizer>=4.1,<4.2",
        "uvunwrap>=0.3,<0.4",
        "imageio>=2.34",
        "imageio-ffmpeg>=0.5",
        "pillow>=10.1",
        "rich>=13",
        "tensorboardX>=2.6",
        "wandb>=0.18",
        "jaxtyping>=0.2.30",
        # processors: the hot kernels; torch does their work where it is missing
        "numba>=0.60",
    ],
    extras_require={
        "ray": ["ray>=2.40"],
        "fast": ["openvino>=2025.1"],
        "export": ["lib3mf>=2.4", "usd-core>=25.5"],
        "view": ["viser>=1.1,<2"],
        "test": [
            "pytest>=8",
            "pytest-xdist>=3",
            "nbclient>=0.10",
            "ipykernel>=6.29",
            "beartype>=0.18",
            "hypothesis>=6.100",
            "ruff>=0.6",
            "import-linter>=2.6",
            "ray>=2.40",
            "openvino>=2025.1",
            "lib3mf>=2.4",
            "usd-core>=25.5",
            "viser>=1.1,<2",
            "setuptools>=70.1",
        ],
    },
    entry_points={"console_scripts": ["threefusion=threefusion.cli.main:program"]},
)
