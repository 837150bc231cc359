"""A pretrained encoder with a head that classifies sentences."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import AutoModel


def folder(name: str) -> str:
    """The ``model/`` folder of the installed package ``name``, or ``name`` if there is none.

    So a config value can be a package, a name on the Hugging Face Hub, or a folder. The package is
    not imported.
    """
    module = name.replace("-", "_")
    spec = find_spec(module) if module.isidentifier() else None
    if spec is None or spec.origin is None:
        return name
    model = Path(spec.origin).parent / "model"
    return str(model) if (model / "config.json").is_file() else name


class SentenceClassifier(nn.Module):
    """The mean of the last layer's tokens, and one linear layer over it.

    Sentence transformers are trained with this mean. `AutoModelForSequenceClassification` uses the
    first token instead. In our trials, that was less accurate on tweets after training on movies.

    Args:
        pretrained_model_name_or_path: any encoder that `AutoModel` loads.
        num_labels: the number of classes.
        trainable_layers: how many layers are fine-tuned, from the top. The embeddings never are.
        head_scale: how many times faster the head learns than the encoder. Its weights start at 0.
        dropout: the dropout rate of the mean.
    """

    def __init__(
        self,
        pretrained_model_name_or_path: str,
        num_labels: int,
        trainable_layers: int,
        head_scale: float,
        dropout: float,
    ) -> None:
        super().__init__()
        self.encoder = AutoModel.from_pretrained(pretrained_model_name_or_path, dtype=torch.float32)
        self.encoder.requires_grad_(False)
        # The stack of layers is the longest ModuleList. Its name depends on the architecture.
        stacks = [module for module in self.encoder.modules() if isinstance(module, nn.ModuleList)]
        largest = max(stacks, key=len)
        layers = list(largest)
        for layer in layers[len(layers) - trainable_layers :]:
            layer.requires_grad_(True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.encoder.config.hidden_size, num_labels)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.head_scale = head_scale

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        labels: Tensor,
        token_type_ids: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """A scalar ``loss`` and ``logits`` (batch, num_labels).

        ``input_ids``, ``attention_mask`` and ``token_type_ids`` are (batch, tokens), ``labels`` (batch).
        """
        states = self.encoder(
            input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        ).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        mean = (states * mask).sum(dim=1) / mask.sum(dim=1)
        # The size of Adam's steps does not depend on the gradient, so this scales the head's steps.
        logits = self.head_scale * self.head(self.dropout(mean))
        return {"loss": cross_entropy(logits, labels), "logits": logits}
