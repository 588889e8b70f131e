from pathlib import Path
from typing import Annotated, Literal

import pytest
import torch
from toys import teacher

from autocompress.errors import SpaceError
from autocompress.knowledge.weights import ModelWeights
from autocompress.precisions import PRECISIONS, EntropyStep
from autocompress.searching.space.language import Rule, Space, load_space, space_names
from autocompress.searching.space.tables import Range, is_priced, scale_power
from autocompress.structures import Priced, Scaled, Share, method_name

RULE = """
[[rules]]
name = "all"
structures = [{ kind = "dense" }]
precisions = [{ kind = "uniform", bits = [4, 8] }]
"""


def load(text: str, folder: Path) -> Space:
    path = folder / "space.toml"
    path.write_text('description = "for a test"\n' + text, encoding="utf-8")
    return load_space(path)


@pytest.mark.parametrize("name", space_names())
def test_every_shipped_space_loads(name: str) -> None:
    assert load_space(name).rules


def test_the_usual_space_ships() -> None:
    assert "size" in space_names()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (RULE.replace("bits", "bit"), r"rules\.0\.precisions\.0\.uniform\.bit"),
        (RULE + "colour = 1", r"rules\.0\.colour: Extra inputs"),
        (RULE.replace("dense", "dens"), r"rules\.0\.structures\.0.*'dens'"),
        (RULE.replace("[4, 8]", "[]"), r"rules\.0\.precisions\.0\.uniform\.bits"),
        (RULE.replace("[4, 8]", "{ low = 8, high = 4 }"), r"bits\.range.*low < high"),
        (
            RULE.replace('"uniform", bits = [4, 8]', '"entropy", step = {low=0,high=1,log=true}'),
            r"step\.range.*low > 0",
        ),
        ("rules = []", r"rules: "),
        (RULE + "[[uniform]]\nlabel = 'x'\nrules = {}", "must name each of the rules all"),
        ("rules = [", "is not TOML"),
    ],
)
def test_a_wrong_key_is_reported_with_its_path(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=message):
        load(text, tmp_path)


def test_an_unknown_space_lists_the_known_ones() -> None:
    with pytest.raises(SpaceError, match=r"no search space 'missing'.*size"):
        load_space("missing")


def test_a_range_of_integers_stays_one(tmp_path: Path) -> None:
    space = load(RULE.replace("[4, 8]", "{ low = 2, high = 8 }"), tmp_path)
    assert space.rules[0].precisions[0].bits == Range(low=2, high=8)


def test_the_first_matching_rule_decides(tmp_path: Path) -> None:
    first = RULE.replace('"all"', '"recurrent"\nroles = ["recurrent"]')
    second = RULE.replace('"all"', '"named"\nnames = ["lstm.*_l1"]')
    space = load(first + second + RULE, tmp_path)
    weights = ModelWeights.of(teacher()).weights
    decided = {name: space.rule_for(weight, False).name for name, weight in weights.items()}
    assert decided["lstm.weight_hh_l1"] == "recurrent"
    assert decided["lstm.weight_ih_l1"] == "named"
    assert decided["head.weight"] == "all"


def test_a_weight_without_a_rule_is_an_error(tmp_path: Path) -> None:
    space = load(RULE.replace('"all"', '"some"\nroles = ["embedding"]'), tmp_path)
    weight = ModelWeights.of(teacher()).weights["head.weight"]
    with pytest.raises(SpaceError, match=r"no rule .* 'head\.weight'"):
        space.rule_for(weight, False)


@pytest.mark.parametrize(("wanted", "has", "matches"), [
    (None, True, True), (None, False, True), (True, True, True), (True, False, False),
    (False, True, False), (False, False, True),
])  # fmt: skip
def test_rules_tell_weights_with_frequencies(
    wanted: bool | None, has: bool, matches: bool, tmp_path: Path
) -> None:
    base = load(RULE, tmp_path).rules[0]
    rule = Rule(**{**dict(base), "frequencies": wanted})
    weight = ModelWeights.of(teacher()).weights["head.weight"]
    assert rule.matches(weight, has) is matches


def nested(inner: str) -> str:
    offer = "{ kind = 'dense' }, { kind = 'pruned', sparsity = 0.5, of = INNER }"
    return RULE.replace('{ kind = "dense" }', offer.replace("INNER", inner))


def test_a_structure_may_hold_another_one(tmp_path: Path) -> None:
    space = load(nested("{ kind = 'low_rank', rank = { low = 0.1, high = 0.5 } }"), tmp_path)
    names = [method_name(choice) for choice in space.rules[0].structures]
    assert names == ["dense", "pruned low_rank"]


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        ("{ kind = 'low_rank', rnk = 4 }", r"structures\.1\.pruned\.of\.low_rank\.rank: Field"),
        ("{ kind = 'vector_quantized', dimension = 2, bits = 4 }", r"pruned\.of: .*tag 'vector_q"),
        ("{ kind = 'pruned', sparsity = 0.5 }", r"structures\.1\.pruned\.of: .*tag 'pruned'"),
    ],
)
def test_a_wrong_inner_structure_is_reported_with_its_path(
    inner: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(SpaceError, match=message):
        load(nested(inner), tmp_path)


def test_a_method_is_offered_once(tmp_path: Path) -> None:
    twice = RULE.replace('{ kind = "dense" }', '{ kind = "dense" }, { kind = "dense" }')
    with pytest.raises(SpaceError, match="offered once, but dense is repeated"):
        load(twice, tmp_path)


def test_only_the_papers_space_is_a_pipeline() -> None:
    assert [name for name in space_names() if load_space(name).pipeline] == ["papers"]


class Wider(EntropyStep):
    """What a user brings: a step by another name, and a rank that may be a share."""

    kind: Literal["wider"] = "wider"  # type: ignore[assignment]
    width: Annotated[float, Scaled(3), Priced()]
    rank: Annotated[int, Share()] = 1


def test_a_method_that_is_registered_later_is_offered_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = RULE.replace(
        '{ kind = "uniform", bits = [4, 8] }',
        '{ kind = "wider", step = 1.0, width = { low = 0.5, high = 1.5 } }',
    )
    with pytest.raises(SpaceError, match=r"'wider' .*'uniform'"):
        load(text, tmp_path)
    monkeypatch.setitem(PRECISIONS._items, "wider", Wider)
    assert load(text, tmp_path).rules[0].precisions[0].width == Range(low=0.5, high=1.5)
    with pytest.raises(SpaceError, match=r"precisions\.0\.wider\.width: Field required"):
        load(text.replace("width", "wide"), tmp_path)


def test_what_a_hyperparameter_means_is_marked_at_its_field(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(PRECISIONS._items, "wider", Wider)
    assert scale_power("a.b/c/wider.width") == 3
    assert scale_power("w/wider.step") == scale_power("w/entropy.step") == 1
    assert scale_power("w/equal_slope.slope") == 2
    assert scale_power("w/uniform.bits") == scale_power("w/pruned low_rank.rank") == 0
    assert scale_power("w/precision") == scale_power("h:lstm/shared") == 0
    assert is_priced("w/wider.width")
    assert is_priced("w/equal_slope.slope")
    assert not is_priced("w/entropy.step")


def test_a_space_may_name_its_engine(tmp_path: Path) -> None:
    assert load(RULE, tmp_path).engine is None
    assert load('engine = "torch"\n' + RULE, tmp_path).engine == "torch"


def test_scales_and_vectors_of_unknown_use_keep_half_precision_unless_named(
    tmp_path: Path,
) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.LayerNorm(6), torch.nn.PReLU(6))
    with torch.no_grad():
        model.get_parameter("1.bias")[0] = 1e5
    weights = ModelWeights.of(model).weights

    def precisions(rules: str) -> dict[str, str]:
        space = load(rules, tmp_path)
        chosen = {name: space.rule_for(weight, False) for name, weight in weights.items()}
        return {name: rule.precisions[0].kind for name, rule in chosen.items()}

    assert precisions(RULE) == {
        "0.weight": "uniform", "0.bias": "uniform",
        "1.weight": "float16", "1.bias": "float32", "2.weight": "float16",
    }  # fmt: skip
    assert set(precisions(RULE + 'names = ["*"]').values()) == {"uniform", "float16", "float32"}
    assert precisions(RULE + 'names = ["2.*"]' + RULE)["2.weight"] == "uniform"
    named = precisions(RULE + 'roles = ["norm"]' + RULE.replace("uniform", "codebook"))
    assert named == {
        "0.weight": "codebook", "0.bias": "codebook",
        "1.weight": "uniform", "1.bias": "uniform", "2.weight": "float16",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("[" * 10**4 + "1" + "]" * 10**4, "nested too deeply"),
        ("9" * 5000, "limit"),
        (f"[{'1, ' * 10**5}1]", "262,144 that are read"),
        ("nan", "finite number"),
        ("[0.1, inf]", "finite number"),
        ("{ low = 0.1, high = inf }", "finite number"),
        ("{ low = nan, high = 1.0 }", "finite number"),
    ],
)
def test_what_no_search_can_use_is_refused_in_one_line(
    values: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "space.toml"
    precision = f'{{ kind = "entropy", step = {values} }}'
    path.write_text(
        'description = "x"\n[[rules]]\nname = "all"\nstructures = [{ kind = "dense" }]\n'
        f"precisions = [{precision}]\n"
    )
    with pytest.raises(SpaceError, match=message) as caught:
        load_space(path)
    assert str(caught.value).isprintable()
