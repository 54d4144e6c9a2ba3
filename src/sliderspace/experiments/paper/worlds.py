"""What a model can be asked for: the concepts, styles and captions of each experiment, and how much of everything.

All lists of words are here and nowhere else. `WORLDS` holds the models that know little; everything else is asked for
what the paper asked for, at its size.
"""

from collections.abc import Iterable, Mapping
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


def in_the_style_of(artists: Iterable[str]) -> tuple[str, ...]:
    """The prompts that ask for each by name."""
    return tuple(f"artwork in the style of {artist}" for artist in artists)


# ---- models that draw anything

CONCEPTS = ("a toy", "a person", "a dog", "a monster", "a spaceship", "a living room")
ART_STYLES = (
    *("oil painting", "watercolour", "pencil sketch", "charcoal drawing", "ink wash painting", "woodcut print"),
    *("fresco", "mosaic", "stained glass", "pop art", "cubism", "impressionism", "expressionism", "surrealism"),
    *("art nouveau", "art deco", "baroque painting", "ukiyo-e", "pointillism", "abstract expressionism"),
    *("minimalism", "fauvism", "romanticism", "realism", "gothic art", "folk art", "street art", "comic book art"),
    *("pixel art", "low poly render", "paper collage", "photorealism"),
)
ARTISTS = (  # of many times and places, all long dead
    *("Giotto", "Jan van Eyck", "Sandro Botticelli", "Leonardo da Vinci", "Albrecht Dürer", "Hieronymus Bosch"),
    *("Michelangelo", "Raphael", "Titian", "Hans Holbein", "Pieter Bruegel the Elder", "Giuseppe Arcimboldo"),
    *("El Greco", "Caravaggio", "Peter Paul Rubens", "Artemisia Gentileschi", "Diego Velázquez", "Rembrandt"),
    *("Johannes Vermeer", "Giovanni Battista Piranesi", "Jean-Honoré Fragonard", "Francisco Goya", "William Blake"),
    *("Jacques-Louis David", "Caspar David Friedrich", "J. M. W. Turner", "John Constable", "Katsushika Hokusai"),
    *("Utagawa Hiroshige", "Eugène Delacroix", "Gustave Doré", "Ivan Aivazovsky", "Jean-François Millet"),
    *("Gustave Courbet", "Dante Gabriel Rossetti", "Édouard Manet", "Edgar Degas", "Claude Monet", "Berthe Morisot"),
    *("Pierre-Auguste Renoir", "Paul Cézanne", "Odilon Redon", "Ilya Repin", "Henri Rousseau", "Paul Gauguin"),
    *("Vincent van Gogh", "Georges Seurat", "Mary Cassatt", "Alphonse Mucha", "Gustav Klimt", "Edvard Munch"),
    *("Henri de Toulouse-Lautrec", "Aubrey Beardsley", "Hilma af Klint", "Wassily Kandinsky", "Piet Mondrian"),
    *("Raja Ravi Varma", "Kazimir Malevich", "Paul Klee", "Franz Marc", "August Macke", "Amedeo Modigliani"),
    *("Egon Schiele", "Umberto Boccioni", "Theo van Doesburg"),
)
SUBJECTS = (
    *("a portrait", "a landscape", "a still life", "a city street", "animals", "the sea", "a crowd", "an interior"),
    *("a battle", "flowers", "a dream", "machines", "a feast", "a forest", "dancers", "an abstract composition"),
)
ANYTHING = World(
    concepts={concept: expand_templates(concept, 50) for concept in CONCEPTS},
    art="artwork in the style of a famous artist",
    styles=in_the_style_of(ARTISTS),
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

STYLES = (
    *("clay", "vinyl", "cartoon", "ink", "pixel art", "pastel", "neon", "blueprint", "woodcut", "stained glass"),
    *("gold", "night"),
)
THOUGHT_OF = ("cartoon", "pixel art", "neon", "gold")
CREATURE = "a creature"  # its kind is the model's choice
ANY_STYLE = tuple(f"{noun} in an art style" for noun in (CREATURE, "a monster", "a dragon", "a bunny", "a robot toy"))
COLOURS = ("red", "blue", "yellow", "pink")
CREATURES = World(
    concepts={
        "a monster": (
            *("a red monster", "a monster with long horns", "a fat monster", "a monster with one eye"),
            *("a monster with spots", "a monster, arms up", "a monster, blue background", "a small monster"),
        ),
        "a dragon": (
            *("a green dragon", "a dragon with spikes", "a dragon with a long tail", "a thin dragon"),
            *("a dragon with big eyes", "a dragon, turned left", "a dragon, pink background", "a big dragon"),
        ),
        "a creature in ink style": (
            *("a monster in ink style", "a dragon in ink style", "a bunny in ink style", "a robot toy in ink style"),
            *(
                "a fat creature in ink style",
                "a creature with long horns in ink style",
                "a small creature in ink style",
            ),
            "a creature with three eyes in ink style",
        ),
    },
    art=ANY_STYLE[0],
    styles=tuple(f"a creature in {style} style" for style in STYLES),
    listed=tuple(f"a creature in {style} style" for style in THOUGHT_OF),
    about=tuple(f"{style} style" for style in THOUGHT_OF),
    sources={"a monster": ("a dragon", "a bunny", "a robot toy", "a monster in pixel art style")},
    generic=(CREATURE, "a monster", "a dragon"),
    captions=tuple(
        f"a {colour} {kind}{more}"
        for kind in ("monster", "dragon", "bunny", "robot toy")
        for colour in COLOURS
        for more in ("", " with spots", ", arms up", ", green background")
    ),
    pictures=256,
    samples=1000,
    sliders=16,
    art_sliders=(8, 16),
    transfer_seeds=12,
    expanded=ANY_STYLE,
)
WORLDS = {"mini": CREATURES, "mini-turbo": CREATURES}
