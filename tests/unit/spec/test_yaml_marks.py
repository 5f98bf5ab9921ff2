"""Reading YAML with positions, and the values that YAML 1.1 would read otherwise than their author."""

from __future__ import annotations

from pathlib import Path

import pytest

from paretosim.errors import InputError
from paretosim.spec.yaml_marks import Marked, load_marked


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def load(content: str | bytes) -> Marked:
        Path("s.yaml").write_bytes(content.encode() if isinstance(content, str) else content)
        return load_marked("s.yaml")

    return load


@pytest.fixture
def problems(load):
    def problems(content: str | bytes) -> list[str]:
        with pytest.raises(InputError) as caught:
            load(content)
        return str(caught.value).splitlines()

    return problems


def test_keys_and_list_items_are_found_where_they_stand(load) -> None:
    locations = load("# a comment\nspace:\n  tp: [1, 2]\n  pp:\n    - 4\n").locations
    assert locations(("space",)) == "s.yaml:2:1"
    assert locations(("space", "tp")) == "s.yaml:3:3"
    assert locations(("space", "tp", 1)) == "s.yaml:3:11"
    assert locations(("space", "pp", 0)) == "s.yaml:5:7"


def test_a_key_that_is_not_there_is_found_at_its_nearest_ancestor(load) -> None:
    locations = load("name: x\nspace:\n  tp: [1]\n").locations
    assert locations(("space", "batch", 3)) == "s.yaml:2:1"
    assert locations(("slo", "ttft_s")) == "s.yaml:1:1"


def test_plain_values_come_as_they_are_written(load) -> None:
    content = "a: 1\nb: 1.0e+9\nc: true\nd: text\ne: [1, {f: 0.5}]\ng:\nh: 'no'\ni: \"2:1\"\nj: '1e9'\nk: 1_000\n"
    assert load(content).data == {
        "a": 1,
        "b": 1e9,
        "c": True,
        "d": "text",
        "e": [1, {"f": 0.5}],
        "g": None,
        "h": "no",
        "i": "2:1",
        "j": "1e9",
        "k": 1000,
    }


def test_columns_count_characters_and_a_byte_order_mark_is_no_character(load) -> None:
    locations = load("\ufeffé: 1\nb: {ü: 1, c: 2}\n").locations
    assert locations(("é",)) == "s.yaml:1:1"
    assert locations(("b", "c")) == "s.yaml:2:11"


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        ("2:1", "write it as a list [2, 1] or quote it"),
        ("1:30:00", "write it as a list [1, 30, 00] or quote it"),
        ("1:30.5", "write it as a list [1, 30.5] or quote it"),
        ("no", "YAML 1.1 reads 'no' as false: write true/false or quote it"),
        ("Off", "YAML 1.1 reads 'Off' as false: write true/false or quote it"),
        ("yes", "YAML 1.1 reads 'yes' as true: write true/false or quote it"),
        ("ON", "YAML 1.1 reads 'ON' as true: write true/false or quote it"),
        ("1e9", "write 1.0e+9, or quote it"),
        ("-2.5E6", "write -2.5e+6, or quote it"),
        ("3e-4", "write 3.0e-4, or quote it"),
        ("017", "reads '017' as octal: write it without the leading zero"),
        ("2025-01-31", "reads '2025-01-31' as a date: quote it"),
        ("2025-13-31", "reads '2025-13-31' as a date: quote it"),
        ("!!python/name:os.system x", "the tag !!python/name:os.system is not allowed"),
        ("!!binary aGk=", "the tag !!binary is not allowed"),
        ("!secret x", "the tag !secret is not allowed"),
        ("!!int eight", "'eight' cannot be read as !!int"),
        ("!!map x", "the tag !!map is not allowed here"),
        ("!!bool maybe", "'maybe' cannot be read as !!bool"),
    ],
)
def test_a_value_that_yaml_reads_otherwise_is_refused_with_the_remedy(problems, value: str, remedy: str) -> None:
    (as_value,) = problems(f"a: 1\nspace:\n  key: {value}\n")
    assert as_value.startswith("s.yaml:3:3: space.key: ")
    assert remedy in as_value
    (as_item,) = problems(f"a: 1\nspace:\n  - 7\n  - {value}\n")
    assert as_item.startswith("s.yaml:4:5: space.1: ")
    assert remedy in as_item


def test_a_collection_with_a_tag_is_refused(problems) -> None:
    assert problems("a: !!python/object:os.system {b: 1}\n") == [
        "s.yaml:1:1: a: the tag !!python/object:os.system is not allowed here; write text, numbers, lists or mappings"
    ]
    assert problems("!!python/object:os.system\na: 1\n")[0].startswith("s.yaml:1:1: the tag !!python/object")


def test_a_key_given_twice_is_refused_at_its_second_place(problems) -> None:
    assert problems("a: 1\nspace:\n  tp: [1]\n  pp: [1]\n  tp: [2]\n") == [
        "s.yaml:5:3: space.tp: given twice, first on line 3"
    ]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("on", "on: YAML 1.1 reads 'on' as true: write true/false or quote it"),
        ("12", "12: a key must be text: quote it"),
        ("null", "null: a key must be text: quote it"),
        ("? [1, 2]\n", "a key must be text, not a list or a mapping"),
    ],
)
def test_a_key_that_is_not_text_is_refused(problems, key: str, message: str) -> None:
    (line,) = problems(f"a: 1\n{key}: 2\n")
    assert line.startswith("s.yaml:2:")
    assert line.endswith(": " + message)


def test_every_refused_value_is_told_at_once(problems) -> None:
    lines = problems("a: 2:1\nb: [no, 1e9]\na: 3\n")
    assert [line.split(": ")[:2] for line in lines] == [
        ["s.yaml:1:1", "a"],
        ["s.yaml:2:5", "b.0"],
        ["s.yaml:2:9", "b.1"],
        ["s.yaml:3:1", "a"],
    ]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("", "s.yaml:1:1: the file is empty"),
        ("# nothing\n", "s.yaml:1:1: the file is empty"),
        ("- a\n- b\n", "s.yaml:1:1: must be a mapping of `key: value` lines"),
        ("# top\ntp:4\n", "s.yaml:2:1: must be a mapping of `key: value` lines"),
        ("a: 1\nb:\n\tc: 1\n", "s.yaml:3:1: not valid YAML: a tab where spaces belong; indent with spaces"),
        ("a: 1\n b: 2\n", "s.yaml:2:3: not valid YAML: mapping values are not allowed"),
        ("a: 1\n---\nb: 2\n", "s.yaml:2:1: not valid YAML: expected a single document in the stream"),
        (b"a: 1\nb: \xc3\xa9 \xff\n", "s.yaml:2:6: not UTF-8 text"),
        ("a: 1\nb: \x07\n", "s.yaml:2:4: the character '\\x07' is not allowed in YAML"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused_where_it_goes_wrong(problems, content: str | bytes, line: str) -> None:
    (only,) = problems(content)
    assert only.startswith(line)


@pytest.mark.parametrize("opening", ["[", "[\n"])
def test_a_file_of_brackets_is_refused_before_it_overflows_the_stack(problems, opening: str) -> None:
    (only,) = problems("a: " + opening * 100_000)
    assert only.endswith("nested more than 50 deep")


def test_an_open_bracket_is_told_with_the_line_it_stands_on(problems) -> None:
    (line,) = problems("a: 1\nb: [1, 2\nc: 3\n")
    assert line.startswith("s.yaml:3:")
    assert "that starts on line 2" in line


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.yaml: no such file$"):
        load_marked(tmp_path / "absent.yaml")
    with pytest.raises(InputError, match=r"cannot be read"):
        load_marked(tmp_path)


def test_an_alias_repeats_its_anchor(load) -> None:
    marked = load("a: &x {tp: [1, 2]}\nb: *x\n")
    assert marked.data["b"] == {"tp": [1, 2]}
    assert marked.locations(("b",)) == "s.yaml:2:1"
    assert marked.locations(("b", "tp")) == "s.yaml:1:8"


def test_a_merged_mapping_gives_way_to_what_is_written_out(load) -> None:
    marked = load("base: &x {tp: 1, pp: 2}\nmore: &y {pp: 3, ep: 4}\nspace:\n  <<: [*x, *y]\n  tp: 8\n")
    assert marked.data["space"] == {"tp": 8, "pp": 2, "ep": 4}
    assert marked.locations(("space", "tp")) == "s.yaml:5:3"


def test_a_refused_value_under_an_anchor_is_told_once(problems) -> None:
    assert len(problems("a: &x {tp: no}\nb: *x\nc: *x\n")) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: &x [1, *x]\n", "s.yaml:1:4: a.1: contains itself"),
        ("a:\n  <<: 3\n", "s.yaml:2:7: a: `<<` takes an alias of a mapping"),
        ("a: *nowhere\n", "s.yaml:1:4: not valid YAML: found undefined alias"),
    ],
)
def test_an_alias_that_leads_nowhere_is_refused(problems, content: str, message: str) -> None:
    (line,) = problems(content)
    assert line.startswith(message)


def test_aliases_of_aliases_do_not_exhaust_the_memory(problems) -> None:
    levels = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    (line,) = problems("a0: &a0 x\n" + "\n".join(levels))
    assert line.endswith("more than 100000 values")
