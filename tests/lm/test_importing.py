"""Checkpoints of other projects as model folders: names, ties, sizes, what has no such form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from autocompress.errors import AutocompressError, ModelError
from autocompress.lm import (
    LanguageModel,
    LanguageModelConfig,
    Vocabulary,
    import_checkpoint,
    load_model,
    save_model,
    words_as_they_appear,
)

WORDS = Vocabulary((*(f"w{number}" for number in range(9)), "<unk>", "<eos>"))


def made(**changes: Any) -> LanguageModel:
    sizes: dict[str, Any] = {
        "cell": "lstm",
        "embedding_size": 6,
        "hidden_size": 6,
        "num_layers": 2,
    }
    torch.manual_seed(3)
    return LanguageModel(LanguageModelConfig(vocab_size=len(WORDS), **{**sizes, **changes}))


def word_language_model(model: LanguageModel) -> dict[str, Tensor]:
    """The weights as PyTorch's example names them."""
    cell = model.config.cell
    return {
        name.replace("embedding.", "encoder.").replace(f"{cell}.", "rnn."): value
        for name, value in model.state_dict().items()
    }


def awd_lstm(model: LanguageModel) -> dict[str, Tensor]:
    """The weights as AWD-LSTM names them, with a dropout of recurrent weights."""
    renamed = {}
    for name, value in word_language_model(model).items():
        parts = name.split("_l")
        if len(parts) == 1:
            renamed[name] = value
            continue
        new = f"rnns.{parts[1]}.module.{parts[0].removeprefix('rnn.')}_l0"
        if "weight_hh" in new:
            renamed[new] = torch.zeros_like(value)  # what the last dropout left
            new = new.replace("module.", "") + "_raw"
        renamed[new] = value
    return renamed


def fastai(model: LanguageModel) -> dict[str, Tensor]:
    """The same as fastai names them, in two halves."""
    names = {
        ("1." if name.startswith("decoder") else "0.") + name: value
        for name, value in awd_lstm(model).items()
    }
    return {**names, "0.encoder_dp.emb.weight": names["0.encoder.weight"]}


def files(
    folder: Path, tensors: dict[str, Tensor], words: Vocabulary = WORDS
) -> tuple[Path, Path]:
    torch.save(tensors, folder / "model.pt")
    (folder / "words.txt").write_bytes(words.to_bytes())
    return folder / "model.pt", folder / "words.txt"


OTHERS: dict[str, Callable[[LanguageModel], dict[str, Tensor]]] = {
    "ours": nn.Module.state_dict,
    "pytorch": word_language_model,
    "awd": awd_lstm,
    "fastai": fastai,
}
KINDS: dict[str, dict[str, Any]] = {
    "lstm": {},
    "gru": {"cell": "gru", "embedding_size": 5, "num_layers": 1},
    "rnn": {"cell": "rnn"},
    "tied": {"tied": True},
    "no biases": {"bias": False},
}


@pytest.mark.parametrize("prefix", ["", "_orig_mod.model."])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("names", OTHERS)
def test_a_folder_holds_the_same_model(
    names: str, kind: str, prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = made(**KINDS[kind])
    tensors = {f"{prefix}{name}": value.half() for name, value in OTHERS[names](model).items()}
    nonlinearity: Any = "tanh" if kind == "rnn" else None
    checkpoint, words = files(tmp_path, tensors)
    imported = import_checkpoint(checkpoint, words, tmp_path / "m", nonlinearity=nonlinearity)
    loaded, vocabulary = load_model(tmp_path / "m")
    assert vocabulary == WORDS
    assert loaded.config == imported.model.config == model.config
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.half().float())
    said = capsys.readouterr().err
    assert "widened without loss" in said
    assert all(line in said for line in imported.done)
    assert ("taken o" in said) == bool(prefix)  # "off the names", or "out of" them


def test_a_folder_is_read_as_it_lies(tmp_path: Path) -> None:
    model = made(tied=True)
    save_model(tmp_path, model, WORDS)
    tensors = {f"module.{k}": v.bfloat16() for k, v in word_language_model(model).items()}
    tensors["module.decoder.weight"] = tensors["module.encoder.weight"].clone()
    save_file(tensors, tmp_path / "model.safetensors")
    loaded, _ = load_model(tmp_path)
    assert loaded.decoder.weight is loaded.embedding.weight
    assert torch.equal(loaded.decoder.weight, model.decoder.weight.bfloat16().float())


def test_a_tied_weight_may_be_named_once(tmp_path: Path) -> None:
    model = made(tied=True)
    for left_out in ("encoder.weight", "decoder.weight"):
        tensors = word_language_model(model)
        del tensors[left_out]
        imported = import_checkpoint(*files(tmp_path, tensors), tmp_path / left_out)
        assert imported.model.config.tied
        assert torch.equal(imported.model.decoder.weight, model.decoder.weight)


def test_biases_that_only_some_layers_have_become_zeros(tmp_path: Path) -> None:
    tensors = word_language_model(made())
    del tensors["decoder.bias"]
    imported = import_checkpoint(*files(tmp_path, tensors), tmp_path / "m")
    assert imported.model.config.bias
    assert not imported.model.decoder.bias.any()
    assert any("zeros for what has no bias: decoder.bias" in line for line in imported.done)


def of_two_widths(tensors: dict[str, Tensor]) -> None:
    tensors["rnn.weight_ih_l1"] = torch.ones(40, 6)
    tensors["rnn.weight_hh_l1"] = torch.ones(40, 10)


@pytest.mark.parametrize(
    ("spoil", "options", "message"),
    [
        (of_two_widths, {}, r"widths 6, 10 .*one width; .*--model package\.module:factory"),
        (lambda t: t.update({"rnn.weight_hr_l0": torch.ones(2)}), {}, r"not known: .*_hr_l0"),
        (lambda t: t.pop("rnn.weight_hh_l1"), {}, r"lacks lstm\.weight_hh_l1, a matrix"),
        (
            lambda t: t.clear() or t.update({"x.weight": torch.ones(2)}),
            {},
            r"no recurrent .*--model",
        ),
        (lambda t: t.update({"encoder.weight": torch.ones(12, 6)}), {}, "12 words, .* has 11"),
        (lambda t: None, {"end_of_sentence": "</s>"}, "lacks the word '</s>'.*--end-of-sentence"),
    ],
)
def test_what_has_no_form_is_refused(
    spoil: Callable[[dict[str, Tensor]], object],
    options: dict[str, Any],
    message: str,
    tmp_path: Path,
) -> None:
    tensors = word_language_model(made())
    spoil(tensors)
    with pytest.raises(AutocompressError, match=message) as caught:
        import_checkpoint(*files(tmp_path, tensors), tmp_path / "m", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "m").exists()


def test_a_plain_layer_must_be_said_to_be_of_tanh(tmp_path: Path) -> None:
    given = files(tmp_path, word_language_model(made(cell="rnn")))
    with pytest.raises(AutocompressError, match="say so by --nonlinearity"):
        import_checkpoint(*given, tmp_path / "m")
    with pytest.raises(AutocompressError, match=r"apply tanh, not relu; .*--model"):
        import_checkpoint(*given, tmp_path / "m", nonlinearity="relu")


def test_a_model_is_never_overwritten(tmp_path: Path) -> None:
    given = files(tmp_path, word_language_model(made()))
    import_checkpoint(*given, tmp_path / "m")
    before = (tmp_path / "m" / "model.safetensors").read_bytes()
    with pytest.raises(AutocompressError, match="holds a model already, which is not overwritten"):
        import_checkpoint(*given, tmp_path / "m")
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == before


def test_words_are_numbered_as_they_first_appear(tmp_path: Path) -> None:
    """As PyTorch's word_language_model numbers them; the text may hold `<eos>` itself."""
    for split, text in {"train": "b a\n\nb\n", "valid": " c b \n", "test": "<unk> d\na"}.items():
        (tmp_path / f"{split}.txt").write_text(text)
    words = words_as_they_appear(tmp_path)
    assert words.words == ("b", "a", "<eos>", "c", "<unk>", "d")
    model = LanguageModel(LanguageModelConfig("lstm", 6, 4, 4, num_layers=1))
    torch.save(word_language_model(model), tmp_path / "model.pt")
    imported = import_checkpoint(tmp_path / "model.pt", words, tmp_path / "ours")
    assert load_model(imported.folder)[1] == words
    (tmp_path / "test.txt").write_text("<unk> d e")
    with pytest.raises(ModelError, match=r"embeddings of 6 words, but the text has 7 .*--vocab"):
        import_checkpoint(tmp_path / "model.pt", words_as_they_appear(tmp_path), tmp_path / "no")
