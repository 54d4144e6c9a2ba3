"""What a model can be asked for: the concepts, styles and captions of each experiment, and how much of everything.

All lists of words are here and nowhere else. `WORLDS` holds the models that know little; everything else is asked for
what the paper asked for, at its size.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sliderspace.concepts.templates import expand_templates


@dataclass(frozen=True)
class World:
    """Prompts and amounts.

    `concepts`: prompt -> the list of prompts somebody might write to see it varied. `art` names no style, `styles` all
    that count as the reference, `listed` those that a writer of prompts thinks of; pairs of words are made of them by
    `about`, the same things said in words that follow the prompt `art`.
    """

    concepts: Mapping[str, tuple[str, ...]]
    art: str
    styles: tuple[str, ...]
    listed: tuple[str, ...]
    about: tuple[str, ...]
    sources: Mapping[str, tuple[str, ...]]  # concept -> those that its sliders are tried on
    generic: tuple[str, ...]  # what sliders that give back variety are discovered in
    captions: tuple[str, ...]  # what it is measured on
    pictures: int  # of each arm
    samples: int  # trajectories of a discovery
    sliders: int
    art_sliders: tuple[int, ...]
    transfer_seeds: int
    expanded: tuple[str, ...] = ()  # many prompts of `art` that name none of the styles, as data of a discovery


def world_of(backbone: str) -> World:
    """That of a preset; of any other model the paper's."""
    return WORLDS.get(backbone, ANYTHING)


# ---- models that draw anything

CONCEPTS = ("a toy", "a person", "a dog", "a monster", "a spaceship", "a living room")
ART_STYLES = (
    *("oil painting", "watercolour", "pencil sketch", "charcoal drawing", "ink wash painting", "woodcut print"),
    *("fresco", "mosaic", "stained glass", "pop art", "cubism", "impressionism", "expressionism", "surrealism"),
    *("art nouveau", "art deco", "baroque painting", "ukiyo-e", "pointillism", "abstract expressionism"),
    *("minimalism", "fauvism", "romanticism", "realism", "gothic art", "folk art", "street art", "comic book art"),
    *("pixel art", "low poly render", "paper collage", "photorealism"),
)
SUBJECTS = (
    *("a portrait", "a landscape", "a still life", "a city street", "animals", "the sea", "a crowd", "an interior"),
    *("a battle", "flowers", "a dream", "machines", "a feast", "a forest", "dancers", "an abstract composition"),
)
ANYTHING = World(
    concepts={concept: expand_templates(concept, 50) for concept in CONCEPTS},
    art="artwork in the style of a famous artist",
    styles=tuple(f"artwork, {style}" for style in ART_STYLES),
    listed=tuple(f"artwork, {style}" for style in ART_STYLES),
    about=ART_STYLES,
    sources={"a person": ("a police officer", "an athlete", "a dog"), "a toy": ("a robot", "a car")},
    generic=tuple(expand_templates("a picture", 200)),
    captions=tuple(prompt for concept in CONCEPTS for prompt in expand_templates(concept, 100)),
    pictures=2500,
    samples=5000,
    sliders=32,
    art_sliders=(8, 16, 32, 64),
    transfer_seeds=16,
    expanded=tuple(f"artwork in the style of a famous artist, {subject}" for subject in SUBJECTS),
)

# ---- the built-in model

DRAWN_BY = (
    *("adventurer", "avataaars", "big smile", "dylan", "lorelei", "micah", "miniavs", "notionists", "open peeps"),
    *("personas", "pixel art", "toon head"),
)
THOUGHT_OF = ("pixel art", "big smile", "toon head", "open peeps")
PERSON = "a portrait of a person"
AVATARS = World(
    concepts={
        PERSON: (
            *("a person, smiling", "a person with glasses", "a person with long hair", "a person with a beard"),
            *("a person with red hair", "a person, sad", "a person wearing a hat", "a person, blue background"),
        ),
        "a robot": (
            *("a red robot", "a blue robot", "a green robot", "a robot, smiling", "a robot with glowing eyes"),
            *("a robot with round eyes", "a yellow robot", "a robot, pink background"),
        ),
        "an emoji face": (
            *("an emoji face, crying", "an emoji face, winking", "an emoji face, smiling", "an emoji face, angry"),
            *("an emoji face with sunglasses", "an emoji face, laughing", "an emoji face, sick", "an emoji face, sad"),
        ),
    },
    art=PERSON,
    styles=tuple(f"a person in {style} style" for style in DRAWN_BY),
    listed=tuple(f"a person in {style} style" for style in THOUGHT_OF),
    about=tuple(f"{style} style" for style in THOUGHT_OF),
    sources={PERSON: ("a person in pixel art style", "a robot", "an emoji face")},
    generic=(PERSON, "a robot", "an emoji face"),
    captions=tuple(
        f"{who} with {hair} hair{more}"
        for who in ("a person", "a person in pixel art style", "a person in micah style", "a person in lorelei style")
        for hair in ("red", "blonde", "black", "long brown")
        for more in ("", " and glasses", ", smiling", ", green background")
    ),
    pictures=256,
    samples=1000,
    sliders=16,
    art_sliders=(8, 16, 32),
    transfer_seeds=12,
    expanded=(PERSON, *(f"a person {how}" for how in ("smiling", "with glasses", "with long hair", "with a beard"))),
)
WORLDS = {"mini": AVATARS}
