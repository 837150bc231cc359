"""Records what the main function of an app returns, for `trident-sweep results` and for sweepers that optimize."""

from __future__ import annotations

from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from trident.protocol.metrics import record_return

__all__ = ["RecordReturn"]


class RecordReturn(Callback):
    """A callback of Hydra, which `hydra.main` itself needs: it drops what the main function of a single run returns."""

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        if job_return.status is JobStatus.COMPLETED:
            record_return(job_return.return_value)
