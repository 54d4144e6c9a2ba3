"""Variety of a distilled model: do sliders of generic prompts give back what distillation took?"""

from sliderspace.core.errors import BadInput
from sliderspace.experiments.paper.experiment import Asked, Cell, Experiment
from sliderspace.experiments.paper.numbers import LIKENESS, REFERENCE, VARIETY, beside_reference
from sliderspace.experiments.paper.pictures import Pictures

ACTIVE = (3, 4)  # sliders on in a picture: the paper's, and one more, for variety has a price that should be seen


def cells(asked: Asked) -> list[Cell]:
    """Beside pictures of the same captions by the teacher from other noise, or a folder's. Raises BadInput without a
    teacher."""
    if not asked.teacher:
        raise BadInput("diversity compares a distilled model with its teacher: name that one, such as --teacher sdxl")
    world, found = asked.world, list[Cell]()
    for seed in range(asked.seeds):
        student, teacher = asked.model(*world.captions), asked.model(*world.captions, teacher=True)
        space = asked.space(*world.generic, seed=seed)
        count = world.pictures
        reference = Pictures(teacher, count, seed, noise=REFERENCE, folder=asked.reference)
        mixes = {
            n: Pictures(student, count, seed, space=space, sliders="mix", active=n)
            for n in ACTIVE
            if n <= space.sliders
        }
        arms = {
            "the teacher": Pictures(teacher, count, seed),
            "the model": Pictures(student, count, seed),
            **{f"the model, {n} of {space.sliders} sliders": mix for n, mix in mixes.items()},
            "the teacher's first step": Pictures(student, count, seed, first=teacher),
            "first step skipped": Pictures(student, count, seed, skipped=1),
        }
        found += [Cell("", arm, seed, {"own": own, REFERENCE: reference}) for arm, own in arms.items()]
    return found


DIVERSITY = Experiment(
    "diversity",
    "Do sliders of generic prompts give a distilled model its variety back?",
    "COCO-30k FID: SDXL 11.72, SDXL-DMD 15.52, with 64 sliders 12.12, base model for the first step 10.79, first step "
    "skipped 10.12",
    (*LIKENESS, *VARIETY),
    cells,
    beside_reference,
    backbone="mini-turbo",
)
