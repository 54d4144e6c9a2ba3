"""The questions of the study, cheapest first, each as a list of settings to compare. All else is the base's."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sliderspace.core.errors import BadInput
from sliderspace.core.recipes import PAPER

# Half the sliders and half the trajectories of the demo and fewer updates, so that the whole study fits an afternoon of
# two cores; and PCA's own axes, each slider by itself, so that what turning and holding add is a question like any
# other.
BASE: Mapping[str, object] = {
    "prompts": ("a monster",),
    "samples": 500,
    "sliders": 8,
    "rotation": "none",
    "hold": 0.0,
    "updates": 150,
}
FULL: Mapping[str, object] = {"samples": 1000, "sliders": 16}
CONCEPTS = {"monster": "a monster", "dragon": "a dragon", "ink": "a creature in ink style"}


@dataclass(frozen=True)
class Variant:
    """One column of a comparison: what it is called and which settings it changes."""

    label: str
    changes: Mapping[str, object]


@dataclass(frozen=True)
class Question:
    """`number`: the labels are numbers, and belong on an axis. `by_slider`: asked of the sliders within a run, not of
    variants.

    `base` is what the variants change.
    """

    name: str
    asks: str
    variants: tuple[Variant, ...]
    number: bool = False
    by_slider: bool = False
    base: Mapping[str, object] = field(default_factory=lambda: BASE)


def _over(key: str, *values: object, said: Mapping[object, str] | None = None) -> tuple[Variant, ...]:
    return tuple(Variant((said or {}).get(value, str(value)), {key: value}) for value in values)


def _on_concepts(*variants: tuple[str, Mapping[str, object]]) -> tuple[Variant, ...]:
    return tuple(
        Variant(f"{concept}: {name}", {"prompts": (prompt,), **changes})
        for concept, prompt in CONCEPTS.items()
        for name, changes in variants
    )


QUESTIONS = {
    question.name: question
    for question in (
        Question(
            "objective",
            "Is a target for the size of the move better than the cosine alone, and should the other directions be "
            "held still?",
            (
                Variant("cosine", {"objective": "published"}),
                Variant("sized", {}),
                Variant("sized, hold 0.05", {"hold": 0.05}),
                Variant("sized, hold 0.2", {"hold": 0.2}),
            ),
        ),
        Question(
            "centring",
            "Is PCA about each step's own mean better than about one mean?",
            _over("centring", "all", "step"),
        ),
        Question(
            "signs",
            "Should strength −1 be trained toward −v, or +1 alone?",
            _over("both_signs", False, True, said={False: "one", True: "both"}),
        ),
        Question(
            "up",
            "Should the up-projection be frozen at random, as published, or trained?",
            _over("up", "frozen", "trained"),
        ),
        Question(
            "steps",
            "Which part of the sampling steps should be trained on, the noisiest first?",
            _over("until", 0.25, 0.4, 0.6, 0.8, 1.0),
            number=True,
        ),
        Question("rank", "Is rank 1 enough, at equal updates?", _over("rank", 1, 2, 4, 8), number=True),
        Question("rate", "Which learning rate?", _over("lr", 2e-3, 3e-3, 5e-3, 1e-2), number=True),
        Question("updates", "How many updates does a slider need?", _over("updates", 75, 150, 300, 600), number=True),
        Question(
            "rotation",
            "Should PCA's axes be turned to where the spread is most uneven, or give way to what varies by itself, and "
            "the other directions be held still then?",
            (
                Variant("none", {}),
                Variant("varimax", {"rotation": "varimax"}),
                Variant("independent", {"rotation": "independent"}),
                Variant("independent, hold 0.05", {"rotation": "independent", "hold": 0.05}),
            ),
        ),
        Question(
            "layers",
            "Which layers should sliders act on?",
            _over("targets", "cross-kv", "cross", "attention", "linear"),
        ),
        Question(
            "controls",
            "What is a score worth: how do sliders trained toward directions that nothing found compare?",
            _on_concepts(
                ("PCA", {}),
                ("random directions", {"control": "random"}),
                ("image differences", {"control": "differences"}),
            ),
        ),
        Question(
            "previews",
            "Should previews of all steps be embedded, or finished images only?",
            _over("embed", "all", "final"),
        ),
        Question(
            "encoder",
            "Which encoder finds the better directions: CLIP, one that learnt without words, the judge, or "
            "plain pixels?",
            (
                Variant("CLIP", {}),
                Variant("without words", {"encoder": "asset:forms"}),
                Variant("judge", {"encoder": "asset:mini/judge"}),
                Variant("pixels", {"encoder": "asset:pixels"}),
            ),
        ),
        Question(
            "ablations",
            "The paper's ablations: what is lost without the encoder, and without the contrastive objective?",
            (
                Variant("whole", {}),
                Variant("no encoder: PCA of pixels", {"encoder": "asset:pixels"}),
                Variant("no PCA: toward single images", {"control": "images"}),
                Variant(
                    "no contrast: customised to images",
                    {"objective": "customised", "control": "images", "both_signs": False},
                ),
            ),
        ),
        Question(
            "trajectories",
            "How many trajectories does PCA need?",
            _over("samples", 250, 500, 1000, 2000, 5000),
            number=True,
        ),
        Question("sliders", "How many directions are worth having?", _over("sliders", 8, 16, 32, 64), number=True),
        Question(
            "prompts",
            "Do several prompts of one concept help?",
            (
                Variant("one", {}),
                Variant(
                    "eight",
                    {
                        "prompts": (
                            "a monster",
                            "a monster, frowning",
                            "a monster with one eye",
                            "a monster in neon style",
                            "a monster with long ears",
                            "a monster in pixel art style",
                            "a monster with a long tail",
                            "a monster, ink style",
                        )
                    },
                ),
            ),
        ),
        Question(
            "recipe",
            "Does the default recipe beat the published one, on several concepts, at the demo's full size?",
            _on_concepts(("default", {}), ("paper", PAPER)),
            base=FULL,
        ),
        Question(
            "variance",
            "Are the directions that hold more variance the more interesting ones?",
            _on_concepts(("default", {})),
            by_slider=True,
            base=FULL,
        ),
    )
}


def question(name: str) -> Question:
    """Raises BadInput for a name that is none."""
    if name not in QUESTIONS:
        raise BadInput(f"no question '{name}': choose among {', '.join(QUESTIONS)}")
    return QUESTIONS[name]
