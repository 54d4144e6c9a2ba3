"""The names of sliders, as types: `labels.json` of a run folder, and the changes people and machines make to it.

Names belong to the sliders, not to what was measured of them: the file carries the fingerprint of the sliders' file, so
names outlive another measuring and are not shown for sliders that were trained anew. It is the only place of names.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, ClassVar, Self

from pydantic import BeforeValidator, Field, Strict

from sliderspace.core.errors import BadInput, DamagedFile
from sliderspace.core.text import is_blank, one_line, shown
from sliderspace.measure.results import Number, Record, SpaceFile, Stored
from sliderspace.storage.files import is_done
from sliderspace.storage.locks import holding
from sliderspace.storage.run_folder import RunFolder

MOST = 60  # characters of a name: it is a heading, a column of a table and a part of a file's name
MOST_SAID = 300  # of a sentence


def _fit(most: int) -> BeforeValidator:
    """Strangers' text on one line, no longer than `most`, with marks for what acts unseen; what is no text is left for
    the type to refuse."""

    def fit(value: object) -> object:
        line = " ".join(shown(value).split()) if isinstance(value, str) else value
        return f"{line[: most - 1]}…" if isinstance(line, str) and len(line) > most else line

    return BeforeValidator(fit)


def _none_if_blank(value: object) -> object:
    return None if isinstance(value, str) and is_blank(value) else value


Text = Annotated[str, Strict(), _fit(MOST)]
Sentence = Annotated[str, Strict(), _fit(MOST_SAID)]
Name = Annotated[Text | None, BeforeValidator(_none_if_blank)]


class Checks(Record):
    """How far a proposed name was tested; None where it was not."""

    cosine: Number = None  # of the change of the pictures with the name's text, −1 … 1
    beaten: Number = None  # share of random directions of the same pictures that no word fits as well, 0 … 1
    reach: Number = None  # how far it moves what the name says, in standard deviations of the model's own pictures
    farther: Number = None  # share of random directions that move nothing as far, 0 … 1
    agreement: Number = None  # share of random directions that this very name fits less, 0 … 1
    right: Number = None  # share of blind answers on unseen seeds that were right, 0 … 1
    answers: int | None = None  # how many those were


class Label(Record):
    """One slider's name. `proposed` is the name as `by` gave it: where `name` differs, a person chose it."""

    name: Name = None
    proposed: Name = None
    sentence: Sentence = ""
    low: Text = ""  # what there is more of at −1
    high: Text = ""  # what there is more of at +1
    confidence: Annotated[float, Strict(), Field(ge=0, le=1)] | None = None
    passed: bool = False  # whether the proposed name passed its checks
    by: Text = ""
    checks: Checks = Checks()

    @property
    def by_person(self) -> bool:
        return self.name is not None and self.name != self.proposed

    @property
    def sure(self) -> bool:
        return self.by_person or (self.name is not None and self.passed)

    @property
    def shown(self) -> str | None:
        """The name as it is shown: in parentheses where it is unsure."""
        return self.name if self.name is None or self.sure else f"({self.name})"

    @property
    def sure_name(self) -> str | None:
        return self.name if self.sure else None

    def plain(self) -> dict[str, object]:
        """As programs read it: with what is to be shown, and whether it is sure."""
        return {**self.model_dump(mode="json"), "shown": self.shown, "sure": self.sure}

    def after(self, earlier: "Label") -> "Label":
        """This proposal of a machine in the place of an earlier label, whose name stays if a person chose it."""
        return self.model_copy(update={"name": earlier.name if earlier.by_person else self.proposed})


class Labels(Stored):
    """labels.json: a label for each slider, and what services answered, so that nothing is asked twice."""

    kind: ClassVar[str] = "labels"
    advice: ClassVar[str] = "Undo the last change of it; or delete it, and run `sliderspace label {folder}`."

    sliders: tuple[Label, ...]
    # Fingerprint of a question with its pictures -> the answer as JSON.
    answers: dict[str, str] = Field(default_factory=dict)

    @classmethod
    def none(cls, count: int) -> Self:
        return cls(sliders=(Label(),) * count)


def labels_of(run: RunFolder) -> Labels:
    """The labels of the finished space in a folder: empty ones where there are none of these very sliders.

    DamagedFile where the file is broken, or lists another number of sliders.
    """
    space = _space(run)
    return names_of(run, space.made_from.sliders, len(space.sliders))


def _space(run: RunFolder) -> SpaceFile:
    run.check_exists()
    if (files := run.whole_space()) is None:
        raise BadInput(
            f"{run.root} is not finished, so there is nothing to name yet.\nGo on with it: sliderspace "
            f"discover --out {run.typed}"
        )
    return SpaceFile.read(files["space"])


def names_of(run: RunFolder, made_from: str, count: int) -> Labels:
    """The labels of `count` sliders whose file was made from `made_from`; errors as `labels_of`."""
    if not is_done(run.labels, made_from):
        return Labels.none(count)
    found = Labels.read(run.labels)
    if len(found.sliders) != count:
        raise DamagedFile(f"{run.labels} does not list {count} sliders.\n{Labels.mending(run.labels)}")
    return found


def change(run: RunFolder, how: Callable[[Labels], Labels], of: str = "") -> Labels:
    """Read, change and write the labels of a finished space while nobody else does; returns what was written. BadInput
    where its sliders are not those made from `of` (nothing: whichever they are): a name is of what somebody saw."""
    run.check_exists()
    with holding(run.root / ".labels.lock"):
        space = _space(run)
        if of not in ("", space.made_from.sliders):
            raise BadInput(f"{run.root} holds other sliders by now, and nothing was named: look at them first")
        changed = how(names_of(run, space.made_from.sliders, len(space.sliders)))
        changed.write(run.labels, space.made_from.sliders)
    return changed


def rename(run: RunFolder, names: Mapping[int, str], of: str = "") -> Labels:
    """Give sliders names of a person's choice; an empty one takes a person's name back. BadInput for a slider there is
    not, a name that is too long, or as `change`."""
    for name in names.values():
        if len(name) > MOST:
            raise BadInput(f"a name has at most {MOST} characters, not {len(name)}: “{one_line(name)[:20]}…”")

    def named(labels: Labels) -> Labels:
        sliders = list(labels.sliders)
        for k, name in names.items():
            if not 0 <= k < len(sliders):
                raise BadInput(f"no slider {k}: this space has sliders 0 … {len(sliders) - 1}")
            own = sliders[k]
            chosen = own.proposed if is_blank(name) else name
            sliders[k] = Label.model_validate({**own.model_dump(), "name": chosen})
        return labels.model_copy(update={"sliders": tuple(sliders)})

    return change(run, named, of)


def propose(run: RunFolder, found: Mapping[int, Label], of: str) -> Labels:
    """Put a machine's labels of the sliders made from `of` in the places of earlier ones; names that a person chose
    stay."""

    def proposed(labels: Labels) -> Labels:
        sliders = tuple(found[k].after(own) if k in found else own for k, own in enumerate(labels.sliders))
        return labels.model_copy(update={"sliders": sliders})

    return change(run, proposed, of)


def write_labels(run: RunFolder, labels: Sequence[Label], made_from: str) -> None:
    """The labels of sliders that are put into a folder, where they have any and the folder has none of them yet."""
    if any(label.name for label in labels) and not is_done(run.labels, made_from):
        Labels(sliders=tuple(labels)).write(run.labels, made_from)
