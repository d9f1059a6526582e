"""Scoring posts for harm, in numpy: no torch, no training code. What is not known is said to be unknown."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from core.errors import IntegrityError, InvalidInput
from core.moderation import HARM_CLASSES, HarmClass
from models.moderation.experts import Experts
from models.moderation.features import IMAGE, MODALITIES, FeatureBatch, FeatureScaling, PostFeatures
from models.moderation.logistic import sigmoid
from models.moderation.tempering import MEMBERS, OUTSIDE, STACK, Tempering, text_alone
from models.registry.manifest import WEIGHTS, verify

Floats = NDArray[np.float32]
MODEL = "moderation"
FORMAT = 1
_MEMBERS = "members."


@dataclass(frozen=True)
class HarmScores:
    """What the model says of one post.

    `probabilities` are calibrated; None is unknown (nothing of the post that the model can judge by was there), which
    is not the same as harmless. `present` are the modalities that were there.
    """

    probabilities: dict[HarmClass, float | None]
    present: tuple[str, ...]

    @property
    def unknown(self) -> tuple[HarmClass, ...]:
        """The classes that the model could not judge."""
        return tuple(name for name, value in self.probabilities.items() if value is None)


@dataclass(frozen=True)
class Described:
    """What stands in the weights file beside the arrays: everything that scoring needs."""

    text_encoder: str
    image_encoder: str
    scaling: FeatureScaling
    modalities: tuple[str, ...]
    outputs: tuple[str, ...]
    members: int
    heads: str
    experts: tuple[str, ...]
    judged_from: Mapping[str, tuple[str, ...]]  # modality → the classes it suffices for

    def as_json(self) -> str:
        """Return the metadata of the weights file."""
        return json.dumps(
            {
                "format": FORMAT,
                "text_encoder": self.text_encoder,
                "image_encoder": self.image_encoder,
                "text_dim": self.scaling.text_dim,
                "image_dim": self.scaling.image_dim,
                "mean": dict(self.scaling.mean),
                "deviation": dict(self.scaling.deviation),
                "modalities": list(self.modalities),
                "outputs": list(self.outputs),
                "members": self.members,
                "heads": self.heads,
                "experts": list(self.experts),
                "judged_from": {name: list(classes) for name, classes in self.judged_from.items()},
            },
            sort_keys=True,
        )

    @classmethod
    def of_json(cls, text: str) -> "Described":
        """Read the metadata; raises ValueError, KeyError or TypeError where it is not ours."""
        plain: dict[str, Any] = json.loads(text)
        if plain["format"] != FORMAT:
            raise ValueError(f"it has format {plain['format']!r}, this release reads {FORMAT}")
        if set(plain["outputs"]) != set(HARM_CLASSES):
            raise ValueError(f"it knows the classes {plain['outputs']}, not {list(HARM_CLASSES)}")
        scaling = FeatureScaling(plain["text_dim"], plain["image_dim"], plain["mean"], plain["deviation"])
        judged = {name: tuple(classes) for name, classes in plain["judged_from"].items()}
        return cls(
            plain["text_encoder"],
            plain["image_encoder"],
            scaling,
            tuple(plain["modalities"]),
            tuple(plain["outputs"]),
            int(plain["members"]),
            plain["heads"],
            tuple(plain["experts"]),
            judged,
        )


class HarmModel:
    """A trained harm model. Scoring is pure: it may be called from several threads."""

    def __init__(self, described: Described, arrays: Mapping[str, NDArray[Any]], *, version: str) -> None:
        """`arrays` are those of `weights.save_model`; int8 ones (with `<name>.scale`) are widened here."""
        self._described = described
        self._version = version
        self._arrays = widened(arrays)
        self._scale = self._arrays["calibration.scale"].astype(np.float64)
        self._shift = self._arrays["calibration.shift"].astype(np.float64)
        self._experts = Experts(
            described.experts,
            *(self._arrays[f"experts.{name}"] for name in ("weight", "bias", "mean", "deviation")),
        )
        self._order = [described.outputs.index(name) for name in HARM_CLASSES]
        self._tempering = (
            Tempering(described.experts, self._arrays[STACK][self._order], self._arrays[OUTSIDE][self._order])
            if STACK in self._arrays
            else None
        )
        self._base = MEMBERS if any(name.startswith(MEMBERS) for name in self._arrays) else _MEMBERS

    @classmethod
    def load(cls, folder: Path) -> "HarmModel":
        """Load a model folder (weights, manifest) after checking its hash.

        Raises:
            IntegrityError: the folder is damaged, or holds something else.
        """
        manifest = verify(folder)
        path = folder / WEIGHTS
        try:
            with safe_open(path, framework="numpy") as file:
                described = Described.of_json((file.metadata() or {})["riverlight"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            model = cls(described, arrays, version=f"{MODEL}/{manifest.version}")
            model.judge([PostFeatures(text="a", text_vector=np.zeros(described.scaling.text_dim, np.float32))])
            return model  # whose arrays fit each other: those of another release may not
        except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
            raise IntegrityError(f"{path} does not hold a harm model: {error}") from error

    @property
    def version(self) -> str:
        """E.g. `moderation/3f2a91c0`."""
        return self._version

    @property
    def text_encoder(self) -> str:
        """The version of the text encoder whose vectors the model was trained on; others are meaningless to it."""
        return self._described.text_encoder

    @property
    def image_encoder(self) -> str:
        """The version of the image encoder whose vectors the model was trained on."""
        return self._described.image_encoder

    @property
    def scaling(self) -> FeatureScaling:
        """How features become arrays."""
        return self._described.scaling

    def score(self, posts: Sequence[PostFeatures]) -> list[HarmScores]:
        """Score posts, in the order given; raises InvalidInput where a vector has another width than the encoder's."""
        batch = self.encode(posts)
        return self._scores(posts, batch, self.logits(batch))

    def judge(self, posts: Sequence[PostFeatures]) -> list[tuple[HarmScores, dict[HarmClass, dict[str, float]]]]:
        """Return scores and, by class, what each modality that is there adds to the calibrated logit (occlusion).

        A share is the logit with everything minus the logit without that modality. Shares need not add up: what two
        modalities say together is counted with each. Classes that are unknown are left out. Raises as `score` does.
        """
        batch = self._with_opinions(self.encode(posts))
        of_text = self._of_text(batch)
        logits = self._tempered(batch, of_text)
        return list(zip(self._scores(posts, batch, logits), self._shares(batch, logits, of_text), strict=True))

    def _scores(
        self, posts: Sequence[PostFeatures], batch: FeatureBatch, logits: NDArray[np.float64]
    ) -> list[HarmScores]:
        probabilities, known = sigmoid(self._calibrated(logits)), self.known(batch)
        scores = []
        for post, values, seen in zip(posts, probabilities, known, strict=True):
            named = {
                name: round(float(value), 6) if there else None
                for name, value, there in zip(HARM_CLASSES, values, seen, strict=True)
            }
            scores.append(HarmScores(named, post.present))
        return scores

    def _shares(
        self, batch: FeatureBatch, logits: NDArray[np.float64], of_text: NDArray[np.float64]
    ) -> list[dict[HarmClass, dict[str, float]]]:
        """`logits` are of the whole posts, `of_text` as `_tempered` takes it."""
        known = self.known(batch)
        without = {
            name: (logits - self._tempered(batch.without(name), of_text)) * self._scale
            for name in self._described.modalities
            if batch.present[:, MODALITIES.index(name)].any()
        }
        return [
            {
                harm: {
                    name: round(float(values[row, place]), 4)
                    for name, values in without.items()
                    if batch.present[row, MODALITIES.index(name)]
                }
                for place, harm in enumerate(HARM_CLASSES)
                if known[row, place]
            }
            for row in range(len(batch))
        ]

    def encode(self, posts: Sequence[PostFeatures]) -> FeatureBatch:
        """Return the arrays of posts; raises InvalidInput where a vector has another width than the encoder's."""
        try:
            return self.scaling.encode(posts)
        except ValueError as error:
            raise InvalidInput(
                f"a vector does not fit {self.version}, which was trained with {self.text_encoder} "
                f"({self.scaling.text_dim} dimensions) and {self.image_encoder} ({self.scaling.image_dim}): {error}"
            ) from error

    def probabilities(self, batch: FeatureBatch) -> NDArray[np.float64]:
        """Return calibrated probabilities `(n, 5)`, also of classes that `known` says are not known."""
        return sigmoid(self.calibrated_logits(batch))

    def calibrated_logits(self, batch: FeatureBatch) -> NDArray[np.float64]:
        """Return calibrated logits `(n, 5)`, in the order of `HARM_CLASSES`."""
        return self._calibrated(self.logits(batch))

    def logits(self, batch: FeatureBatch) -> NDArray[np.float64]:
        """Return logits before calibration `(n, 5)`: the mean over the networks, tempered."""
        batch = self._with_opinions(batch)
        return self._tempered(batch, self._of_text(batch))

    def _calibrated(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        return logits * self._scale + self._shift

    def _with_opinions(self, batch: FeatureBatch) -> FeatureBatch:
        return batch.beside(experts=self._experts.opinions(batch))

    def _of_text(self, batch: FeatureBatch) -> NDArray[np.float64]:
        """Return what the networks that are tempered say of the texts alone."""
        if self._tempering is None:
            return np.zeros((len(batch), len(HARM_CLASSES)))
        return self._said(self._base, text_alone(batch))

    def _tempered(self, batch: FeatureBatch, of_text: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return logits before calibration, of posts with opinions beside."""
        said = self._said(_MEMBERS, batch)
        if self._tempering is None:
            return said
        first = said if self._base == _MEMBERS else self._said(self._base, batch)
        return said + self._tempering.change(batch.dense["experts"], first, of_text)

    def _said(self, prefix: str, batch: FeatureBatch) -> NDArray[np.float64]:
        """Return the mean logits of the networks under a prefix."""
        total = np.zeros((len(batch), len(HARM_CLASSES)))
        if len(batch):
            for member in range(self._described.members):
                total += self._member(f"{prefix}{member}.", batch)[:, self._order]
        return total / self._described.members

    def known(self, batch: FeatureBatch) -> NDArray[np.bool_]:
        """Tell which classes can be judged `(n, 5)`: at least one modality is there that suffices for the class."""
        known = np.zeros((len(batch), len(HARM_CLASSES)), bool)
        for name, classes in self._described.judged_from.items():
            there = batch.present[:, MODALITIES.index(name)]
            if name == "image":  # a vector alone says nothing: no harmful images were trained on
                there = there & (batch.dense["image"][:, self.scaling.image_dim + IMAGE.index("nsfw_known")] > 0)
            known |= there[:, None] & np.array([harm in classes for harm in HARM_CLASSES])
        return known

    def _member(self, prefix: str, batch: FeatureBatch) -> Floats:
        """One network's logits, as `model.FusionNetwork.forward` computes them."""
        parts, masks = [], []
        for name in self._described.modalities:
            inputs = batch.dense[name]
            there = batch.present[:, MODALITIES.index(name)].astype(np.float32)[:, None]
            if name == "author":
                table = self._arrays[f"{prefix}places.weight"]
                inputs = np.concatenate([inputs, table[batch.places].reshape(len(inputs), -1)], axis=1)
            elif name == "text" and self._described.experts:
                inputs = np.concatenate([inputs, batch.dense["experts"]], axis=1)
            parts.append(_relu(self._linear(f"{prefix}encoders.{name}", inputs)) * there)
            masks.append(there)
        hidden = np.concatenate(parts + masks, axis=1)
        for layer in ("first", "second"):
            hidden = _relu(self._linear(f"{prefix}{layer}", hidden))
        if self._described.heads == "task":
            deep = np.concatenate(
                [
                    self._linear(f"{prefix}heads.{out}.2", _relu(self._linear(f"{prefix}heads.{out}.0", hidden)))
                    for out in self._described.outputs
                ],
                axis=1,
            )
        else:
            deep = self._linear(f"{prefix}output", hidden)
        if self._described.experts:
            deep = deep + batch.dense["experts"] @ self._arrays[f"{prefix}wide.weight"].T
        logits: Floats = deep
        return logits

    def _linear(self, name: str, inputs: Floats) -> Floats:
        out: Floats = inputs @ self._arrays[f"{name}.weight"].T + self._arrays[f"{name}.bias"]
        return out


def _relu(values: Floats) -> Floats:
    positive: Floats = np.maximum(values, np.float32(0.0))
    return positive


def widened(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
    """Return float32 arrays; an int8 array is multiplied by its scale (one a row)."""
    wide = {}
    for name, values in arrays.items():
        if name.endswith(".int8_scale"):
            continue
        scale = arrays.get(f"{name}.int8_scale")
        wide[name] = (
            np.ascontiguousarray(values, np.float32)
            if scale is None
            else np.ascontiguousarray(values.astype(np.float32) * scale.astype(np.float32)[:, None])
        )
    return wide
