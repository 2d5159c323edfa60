"""The experiments at sizes that take no time."""

from __future__ import annotations

from dataclasses import replace

from mixanalysis.papers.hayase_2024 import fig2, fig2d, fig3, fig4, fig5, fig7, fig_s1, fig_s4, table_s3
from mixanalysis.papers.registry import default
from mixanalysis.papers.runs import Data
from mixanalysis.training import TrainingConfig

PAPER = default()
EXPERIMENTS = PAPER.experiments

DATA = Data("digits", image_size=8, patch=4, limit=96)
TRAINING = TrainingConfig(epochs=2, lr=0.01, batch_size=48)
SGD = replace(TRAINING, optimizer="sgd", weight_decay=0.0)
SHARED = {"data": (DATA,), "seeds": (0, 1)}

SPECS = {
    "fig2": fig2.Fig2(((4, 2),), 1, TRAINING, **SHARED),
    "fig2d": fig2d.Fig2d(TRAINING, **SHARED),
    "fig3": fig3.Fig3(lines=((2.0**10, (2.0, 2.0)), (2.0**10, (1.0, 3.0)))),
    "fig4": fig4.Fig4(2.0**7, 2.0, (2, 4), (24,), 1, TRAINING, 2.0**8, (16, 64), 2, **SHARED),
    "fig5": fig5.Fig5(((125.0, (2, 5, 8)),), (125.0,), 1, SGD, **SHARED),
    "fig6": fig5.Fig5(((125.0, (2, 5, 8)),), (125.0,), 1, SGD, **SHARED),
    "fig7": fig7.Fig7(4, (1, 2), TRAINING, **SHARED),
    "figS1": fig_s1.FigS1(50.0, (0.0, 0.5, 1.5), 3, 2.0**6, (0.2, 0.4), 2, SGD, **SHARED),
    "figS4": fig_s4.FigS4(4, TRAINING, **SHARED),
    "table-s3": table_s3.TableS3(8, 1, 8, 1),
}
