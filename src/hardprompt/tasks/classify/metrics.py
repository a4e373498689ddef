"""Test metrics of a classifier, with intervals that say how far to trust them."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Int
from numpy.typing import NDArray

from hardprompt.tasks.intervals import bootstrap


def classification_metrics(
    labels: Int[NDArray[Any], " n"], predictions: Int[NDArray[Any], " n"], classes: Sequence[str]
) -> dict[str, Any]:
    """Accuracy, macro-F1, a row per class and the confusion matrix (rows: truth, columns: prediction).

    ``interval`` is the 95 % percentile bootstrap interval of the accuracy, over texts, with a fixed seed.
    """
    # Only here: importing it takes longer than loading a small model.
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support

    index = list(range(len(classes)))
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predictions, labels=index, zero_division=0.0
    )
    return {
        "n": len(labels),
        "accuracy": float(accuracy_score(labels, predictions)),
        "interval": bootstrap((labels == predictions).astype(float)),
        "macro_f1": float(f1_score(labels, predictions, labels=index, average="macro", zero_division=0.0)),
        "classes": [
            {
                "class": name, "precision": float(precision[i]), "recall": float(recall[i]), "f1": float(f1[i]),
                "n": int(support[i]),
            }
            for i, name in enumerate(classes)
        ],
        "never_predicted": never_predicted(labels, predictions, classes),
        "confusion": confusion_matrix(labels, predictions, labels=index).tolist(),
    }  # fmt: skip


def never_predicted(
    labels: Int[NDArray[Any], " n"], predictions: Int[NDArray[Any], " n"], classes: Sequence[str]
) -> list[str]:
    """The classes that some text has and no text is predicted to have."""
    return [name for i, name in enumerate(classes) if (labels == i).any() and not (predictions == i).any()]


def paired_difference(
    labels: Int[NDArray[Any], " n"], predictions: Int[NDArray[Any], " n"], other: Int[NDArray[Any], " n"]
) -> dict[str, Any]:
    """Accuracy of ``predictions`` minus that of ``other`` on the same texts, with a paired bootstrap interval."""
    right = (labels == predictions).astype(float) - (labels == other).astype(float)
    return {"accuracy": float(right.mean()), "interval": bootstrap(right)}
