from pathlib import Path

import pytest
from toys import Classification, teacher

from autocompress.encoding.encoder import Encoder
from autocompress.errors import SpaceError
from autocompress.knowledge.source import Source
from autocompress.searching.openings.uniform import file_size, openings
from autocompress.searching.space.language import Space, load_space
from autocompress.searching.space.questions import UniformAsker, ask_plan, smallest_plan
from autocompress.searching.space.tables import Range, Scalar
from autocompress.structures import Dense, LowRank, Pruned


class Scripted:
    """Answers with the first option and the lower end, unless told otherwise."""

    def __init__(self, **answers: Scalar) -> None:
        self.answers = {key.replace("__", "/"): answer for key, answer in answers.items()}
        self.asked: list[str] = []

    def pick(self, name: str, options: tuple[Scalar, ...]) -> Scalar:
        self.asked.append(name)
        return self.answers.get(name, options[0])

    def pick_number(self, name: str, interval: Range) -> int | float:
        self.asked.append(name)
        answer = self.answers.get(name, interval.low)
        assert not isinstance(answer, str)
        return answer


@pytest.fixture(scope="module")
def source() -> Source:
    return Source.of(teacher(), Classification())


@pytest.fixture(scope="module")
def space() -> Space:
    return load_space("size")


def space_of(rule: str, folder: Path) -> Space:
    path = folder / "space.toml"
    path.write_text(f'description = "for a test"\n{rule}', encoding="utf-8")
    return load_space(path)


def test_a_plan_treats_every_weight(space: Space, source: Source) -> None:
    assert set(ask_plan(space, source, Scripted()).treatments) == set(source.weights.weights)


def test_only_the_hyperparameters_of_the_choice_are_asked(space: Space, source: Source) -> None:
    asker = Scripted()
    asker.answers["embedding.weight/structure"] = "pruned"
    ask_plan(space, source, asker)
    asked = [name for name in asker.asked if name.startswith("embedding.weight/")]
    assert "embedding.weight/pruned.sparsity" in asked
    assert not any("low_rank" in name for name in asked)


def test_a_shared_site_replaces_its_members(space: Space, source: Source) -> None:
    asker = Scripted()
    asker.answers["h:lstm.l0/shared"] = "yes"
    plan = ask_plan(space, source, asker)
    assert "h:lstm.l0" in plan.treatments
    assert not {"lstm.weight_hh_l0", "lstm.weight_ih_l1"} & set(plan.treatments)


def test_a_share_of_the_rank_becomes_a_rank(source: Source, tmp_path: Path) -> None:
    space = space_of(
        "[[rules]]\nname = 'matrices'\nroles = ['embedding', 'input', 'recurrent']\n"
        "structures = [{ kind = 'low_rank', rank = 0.25 }]\nprecisions = [{ kind = 'float32' }]\n"
        "[[rules]]\nname = 'rest'\nstructures = [{ kind = 'dense' }]\n"
        "precisions = [{ kind = 'float32' }]\n",
        tmp_path,
    )
    treatment = ask_plan(space, source, Scripted()).treatments["embedding.weight"]
    assert treatment.structure == LowRank(rank=8)  # a quarter of min(30, 32), rounded


def test_an_impossible_offer_names_the_weight(source: Source, tmp_path: Path) -> None:
    space = space_of(
        "[[rules]]\nname = 'all'\nstructures = [{ kind = 'dense' }]\n"
        "precisions = [{ kind = 'uniform', bits = 9 }]\n",
        tmp_path,
    )
    with pytest.raises(SpaceError, match=r"'embedding\.weight'.*bits"):
        ask_plan(space, source, Scripted())


def test_uniform_answers_repeat_the_plan(space: Space, source: Source) -> None:
    asker = UniformAsker(space.uniform[0], space, source)
    plan = ask_plan(space, source, asker)
    repeated = Scripted()
    repeated.answers = asker.answers
    assert ask_plan(space, source, repeated) == plan


def test_openings_start_where_the_file_fits(space: Space, source: Source) -> None:
    limit = 12_000
    sizes = [
        file_size(Encoder(source), opening.plan)
        for opening in openings(space, Encoder(source), limit)
    ]
    ladder = sizes[-8:]
    assert ladder == sorted(ladder, reverse=True)
    assert ladder[0] <= limit
    assert ladder[0] > 0.95 * limit


def test_openings_without_a_budget_are_all_different(space: Space, source: Source) -> None:
    plans = [opening.plan.dumps() for opening in openings(space, Encoder(source), None)]
    assert len(set(plans)) == len(plans) > 8


def test_the_smallest_plan_is_below_all_openings(space: Space, source: Source) -> None:
    smallest = file_size(Encoder(source), smallest_plan(space, Encoder(source)))
    assert all(
        smallest <= file_size(Encoder(source), opening.plan)
        for opening in openings(space, Encoder(source), None)
    )


def test_a_uniform_plan_outside_of_the_space_is_an_error(source: Source, tmp_path: Path) -> None:
    space = space_of(
        "[[rules]]\nname = 'all'\nstructures = [{ kind = 'dense' }]\n"
        "precisions = [{ kind = 'uniform', bits = [4, 8] }]\n"
        "[[uniform]]\nlabel = 'six'\n"
        "rules = { all = { structure = 'dense', precision = 'uniform', bits = 6 } }\n",
        tmp_path,
    )
    with pytest.raises(SpaceError, match="'six' wants 6"):
        openings(space, Encoder(source), None)


def test_the_parameters_of_an_inner_structure_are_asked_too(source: Source) -> None:
    asker = Scripted()
    asker.answers["lstm.weight_hh_l0/structure"] = "pruned low_rank"
    asker.answers["lstm.weight_hh_l0/pruned low_rank.rank"] = 0.25
    plan = ask_plan(load_space("papers"), source, asker)
    structure = plan.treatments["lstm.weight_hh_l0"].structure
    assert structure == Pruned(sparsity=0.1, of=LowRank(rank=8))
    assert "lstm.weight_hh_l0/pruned low_rank.sparsity" in asker.asked


@pytest.mark.slow
def test_the_papers_space_decomposes_all_matrices(source: Source) -> None:
    space = load_space("papers")
    for opening in openings(space, Encoder(source), None):
        Encoder(source).check(opening.plan)
        for treatment in opening.plan.treatments.values():
            decomposed = isinstance(treatment.structure, LowRank | Pruned)
            assert decomposed != isinstance(treatment.structure, Dense)
    matrices = {name for name, w in source.weights.weights.items() if w.values.ndim == 2}
    for treatment in (smallest_plan(space, Encoder(source)).treatments[name] for name in matrices):
        assert not isinstance(treatment.structure, Dense)


def test_weights_may_run_as_they_are_stored(source: Source, tmp_path: Path) -> None:
    offered = (
        '{ kind = "float16" }, { kind = "uniform", bits = [8, 5, 4, 2] }, '
        '{ kind = "entropy", step = 1 }'
    )
    space = space_of(
        f'[[rules]]\nname = "all"\nruntimes = "as stored"\n'
        f'structures = [{{ kind = "dense" }}]\nprecisions = [{offered}]\n',
        tmp_path,
    )

    def runtime(**answers: Scalar) -> str:
        asker = Scripted(**{f"head.weight/{key}": answer for key, answer in answers.items()})
        treatment = ask_plan(space, source, asker).treatments["head.weight"]
        assert not any(name.endswith("runtime") for name in asker.asked)
        return treatment.runtime

    assert runtime() == "float32"
    assert runtime(precision="entropy") == "float32"
    bits = {8: "int8", 5: "int8", 4: "int4", 2: "int4"}
    for count, expected in bits.items():
        assert runtime(precision="uniform", **{"uniform.bits": count}) == expected
    smallest = smallest_plan(space, Encoder(source)).treatments.values()
    for treatment in smallest:
        is_short = getattr(treatment.precision, "bits", 8) <= 4
        assert (treatment.runtime == "int4") == is_short
