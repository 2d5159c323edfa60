"""Hayase & Karakida 2024 (arXiv 2306.01470): the experiments of its figures and tables."""

from mixanalysis.papers.paper import Paper

PAPER = Paper(
    package=__name__,
    title="Understanding MLP-Mixer as a Wide and Sparse MLP",
    reference="Hayase & Karakida, ICML 2024, arXiv 2306.01470",
    figures={
        "fig2": "fig2:EXPERIMENT",
        "fig2d": "fig2d:EXPERIMENT",
        "fig3": "fig3:EXPERIMENT",
        "fig4": "fig4:EXPERIMENT",
        "fig5": "fig5:FIG5",
        "fig6": "fig5:FIG6",
        "fig7": "fig7:EXPERIMENT",
        "figS1": "fig_s1:EXPERIMENT",
        "figS4": "fig_s4:EXPERIMENT",
        "table-s3": "table_s3:EXPERIMENT",
    },
    caveats="""\
Intervals over seeds cover initialisation, masks, permutations and the order of images, not the choice of test images.
Test errors at small scale say what these small networks do on these data, not what the printed ones do.
""",
    has_schemas=True,
    has_demo=True,
)
