"""Files of concepts: a name and prompts a line, and no two concepts in one folder."""

from pathlib import Path

import pytest

from sliderspace.concepts.catalogue import Concept, concepts_from
from sliderspace.core.errors import BadInput


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_line_is_a_concept_named_after_its_prompts(tmp_path: Path) -> None:
    path = written(tmp_path, "concepts.txt", "# a comment\n\na dragon\n a Robot toy | a robot: old \n")
    assert concepts_from(path) == (
        Concept("a-dragon", ("a dragon",)),
        Concept("a-robot-toy-and-1-more", ("a Robot toy", "a robot: old")),
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("concepts.csv", "name,prompt\nRobots of old,a robot | a toy\n,a dragon\nempty,\n"),
        (
            "concepts.jsonl",
            '{"Name": "Robots of old", "Prompt": "a robot | a toy"}\n{"prompt": "a dragon"}\n{"prompt": null}\n',
        ),
    ],
)
def test_a_table_names_its_concepts(tmp_path: Path, name: str, text: str) -> None:
    found = concepts_from(written(tmp_path, name, text))
    assert found == (Concept("robots-of-old", ("a robot", "a toy")), Concept("a-dragon", ("a dragon",)))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("same.txt", "a dragon\nA dragon!\n", "both be called a-dragon"),
        ("same.csv", "name,prompt\nx,a dragon\nX,a robot\n", "both be called x"),
        ("empty.txt", "# nothing\n", "holds no prompts"),
        ("blank.csv", "name,prompt\nx,\n", "holds no concepts"),
        ("hole.txt", "a dragon | | a robot\n", "a prompt is empty"),
        ("column.csv", "name,words\nx,a dragon\n", "no column is called prompt"),
        (
            "array.jsonl",
            '{"prompt": "a robot"}\n\n[{"prompt": "a dragon"}]\n',
            r"array\.jsonl: line 3 is no JSON object",
        ),
        ("list.jsonl", '\n{"prompt": ["a dog", "a cat"]}\n', r"list\.jsonl: line 2 is not like"),
        ("number.jsonl", '{"Text": 7}\n', "line 1 is not like"),
        ("concepts.pdf", "a dragon\n", "files are read"),
    ],
)
def test_what_is_no_file_of_concepts(tmp_path: Path, name: str, text: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        concepts_from(written(tmp_path, name, text))


@pytest.mark.parametrize("name", ["../../etc", "/root", "..", ".hidden", "a\\b", "nul\x00l"])
def test_a_name_cannot_leave_the_catalogue(tmp_path: Path, name: str) -> None:
    import json

    path = written(tmp_path, "c.jsonl", json.dumps({"name": name, "prompt": "a dragon"}))
    (found,) = concepts_from(path)
    assert (tmp_path / "out" / found.name).resolve().parent == (tmp_path / "out").resolve()
    assert found.name and not set(found.name) & set("/\\.\x00")
