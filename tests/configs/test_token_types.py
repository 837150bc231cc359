"""What ships gives a model all that its tokenizer makes, so that the loss is that of plain transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # Lightning's

SHIPPED = Path(__file__).parents[2] / "configs"
WORDS = ["cat", "dog", "sat", "ran", "on", "the", "mat", "tree", "it", "is", "not", "true"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PLAIN = ["input_ids", "attention_mask"]
"""What a tokenizer without types of tokens makes."""

FIRST, SECOND = "the cat sat on the mat", "it is not true"
ROWS: dict[str, dict[str, Any]] = {
    "text_classification": {"premise": FIRST, "hypothesis": SECOND, "label": 1},
    "regression": {"premise": FIRST, "hypothesis": SECOND, "label": 2},
    "multiple_choice": {"text": FIRST, "choices": [SECOND, "true"], "label": 1},
    "token_classification": {"tokens": FIRST.split(), "ner_tags": [0, 1, 0, 0, 1, 1]},
    "question_answering": {
        "id": "a",
        "question": SECOND,
        "context": FIRST,
        "answers": {"text": ["cat"], "answer_start": [4]},
    },
}
MODELS = {
    "text_classification": "BertForSequenceClassification",
    "regression": "BertForSequenceClassification",
    "multiple_choice": "BertForMultipleChoice",
    "token_classification": "BertForTokenClassification",
    "question_answering": "BertForQuestionAnswering",
}


@pytest.fixture(scope="module", params=[True, False], ids=["types", "no types"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    vocabulary = {word: at for at, word in enumerate([*SPECIAL, *WORDS])}
    names = {} if request.param else {"model_input_names": PLAIN}
    transformers.BertTokenizer(vocab=vocabulary, **names).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        initializer_range=1.0,
    )
    config.save_pretrained(folder)
    return folder


def batch_of(task: str, tokenizer: Path) -> dict[str, torch.Tensor]:
    """The batch that the shipped group makes of two rows."""
    file = tokenizer / f"{task}.json"
    file.write_text("\n".join([json.dumps(ROWS[task])] * 2))
    pairs = task in ("text_classification", "regression")
    columns = "datamodule.val.v.preprocessing.method.map.input_columns=[premise,hypothesis]"
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(SHIPPED), version_base="1.3"):
        cfg = compose(
            "config",
            overrides=[
                f"module={task}",
                f"module.model.pretrained_model_name_or_path={tokenizer}",
                f"+dataspec@datamodule.val.v={task}",
                "+datamodule.val.v.dataset.path=json",
                f"+datamodule.val.v.dataset.data_files={file}",
                "+datamodule.val.v.dataset.split=train",
                "datamodule.val.v.dataloader.num_workers=0",
                *([columns] if pairs else []),
                *(["module.model.num_labels=2"] if "classification" in task else []),
            ],
        )
    datamodule = instantiate(cfg.datamodule)
    datamodule.prepare_data()
    datamodule.setup("validate")
    (loader,) = datamodule.val_dataloader().flattened
    batch: dict[str, torch.Tensor] = dict(next(iter(loader)))
    return batch


@pytest.mark.parametrize("task", ROWS)
def test_batches_hold_what_the_tokenizer_makes_and_the_loss_is_that_of_transformers(
    task: str, tokenizer: Path
) -> None:
    batch = batch_of(task, tokenizer)
    loaded = transformers.AutoTokenizer.from_pretrained(tokenizer)
    row, given = ROWS[task], {"padding": True, "return_tensors": "pt"}
    if task == "multiple_choice":
        choices = row["choices"] * 2
        texts = loaded([row["text"]] * 4, choices, **given)
        plain = {key: value.view(2, 2, -1) for key, value in texts.items()}
        plain["labels"] = torch.tensor([row["label"]] * 2)
    elif task == "token_classification":
        plain = dict(loaded([row["tokens"]] * 2, is_split_into_words=True, **given))
        plain["labels"] = torch.tensor([[-100, *row["ner_tags"], -100]] * 2)
    elif task == "question_answering":
        plain = dict(loaded([row["question"]] * 2, [row["context"]] * 2, **given))
        plain |= {key: torch.tensor([7, 7]) for key in ("start_positions", "end_positions")}
    else:
        plain = dict(loaded([row["premise"]] * 2, [row["hypothesis"]] * 2, **given))
        kind = torch.float32 if task == "regression" else torch.int64
        plain["labels"] = torch.tensor([row["label"]] * 2, dtype=kind)
    assert ("token_type_ids" in batch) == ("token_type_ids" in plain)
    ours = {key: batch[key] for key in plain}
    for key, value in plain.items():
        assert torch.equal(ours[key], value), key
    config = transformers.AutoConfig.from_pretrained(
        tokenizer, num_labels=1 if task == "regression" else 2
    )
    torch.manual_seed(0)
    model = getattr(transformers, MODELS[task])(config).eval()
    if task != "question_answering":
        assert set(batch) == set(plain)
    with torch.no_grad():
        assert float(model(**ours).loss) == float(model(**plain).loss)
