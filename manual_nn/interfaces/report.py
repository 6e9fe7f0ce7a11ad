"""A model card: what a network was trained on, how, and how good it is; HTML or Markdown.

Axes: N rows, D inputs, K classes.
"""

import base64
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from manual_nn.arrays import Array
from manual_nn.checks.extras import train_extra
from manual_nn.files.classes import Labels
from manual_nn.files.models import Model
from manual_nn.files.parameters import replacing
from manual_nn.files.scaling import Numbers
from manual_nn.interfaces.pictures import (
    plot_confusion_matrix,
    plot_first_layer,
    plot_history,
    plot_mistakes,
)
from manual_nn.training.early_stopping import Patience, kept_epoch
from manual_nn.training.history import History

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".html", ".md")
IN_SAMPLE = "In-sample"  # the part whose rows it was trained on, or with them chosen
MISTAKES = 10  # listed at most


class Part(NamedTuple):
    """Rows that a network was evaluated on, and how good it is there."""

    name: str
    X: Numbers  # (N, D), not scaled
    y: Labels  # (N,)
    loss: float
    accuracy: float
    rows: Labels | None = None  # (N,), their numbers in the file, or None where they count from 0
    trained_on: bool = False  # whether rows that it was trained on are among those of a whole file


def check_report(path: Path) -> None:
    """Check before the work that a report can be written to a file of this name.

    Raises:
        ValueError: its ending is not that of a format.
        ImportError: jinja2 is not installed.
    """
    if path.suffix not in FORMATS:
        raise ValueError(f"--report must end in {' or '.join(FORMATS)}, got {path.name}")
    with train_extra("jinja2"):
        import jinja2  # noqa: F401, PLC0415, the core needs NumPy alone


def write_report(path: Path, model: Model, parts: list[Part], probabilities: Array) -> list[Path]:
    """Write the card of a model.

    HTML holds its pictures; those of Markdown are files beside it, `NAME_curves.png` and so on.

    Args:
        path: the file, which is replaced; its ending chooses the format.
        model: the network, what its inputs and outputs mean and how it came about.
        parts: the rows that it was evaluated on. Mistakes are shown of the last part.
        probabilities: of the classes in the rows of that part, (N, K).

    Returns:
        The files that were written.

    Raises:
        ImportError: what it takes is not installed.
        OSError: a file cannot be written.
        ValueError: as `check_report`.
    """
    check_report(path)
    import jinja2  # noqa: PLC0415, the core needs NumPy alone

    figures = _figures(model, parts[-1], probabilities)
    pictures = {name: _png(figure) for name, figure in figures.items()}
    files: dict[Path, bytes] = {}
    if path.suffix == ".md":
        files = {path.with_name(f"{path.stem}_{name}.png"): png for name, png in pictures.items()}
        links = dict(zip(pictures, (file.name for file in files), strict=True))
    else:
        links = {name: _data_link(png) for name, png in pictures.items()}
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=jinja2.select_autoescape(["html.jinja"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"cell": _cell, "share": _share}
    template = environment.get_template(f"report{path.suffix}.jinja")
    files[path] = template.render(**_facts(model, parts, probabilities), pictures=links).encode()
    for file, content in files.items():
        with replacing(file) as opened:
            opened.write(content)
    return list(files)


def _figures(model: Model, part: Part, probabilities: Array) -> dict[str, "Figure"]:
    """Draw what there is: curves of whole epochs, and images only of images."""
    history, shape, classes = History(**model.curves), model.image_shape, model.classes
    figures = {}
    if len(history) > 0:
        figures["curves"] = plot_history(history, stopped_early=model.stopped_early)
    predicted = probabilities.argmax(axis=1)
    figures["confusion"] = plot_confusion_matrix(part.y, predicted, classes=classes)
    if shape is not None and len(shape) == 2:
        figures["mistakes"] = plot_mistakes(
            part.X, part.y, probabilities, image_shape=shape, classes=classes
        )
        figures["first_layer"] = plot_first_layer(model.params, image_shape=shape, classes=classes)
    return figures


def _facts(model: Model, parts: list[Part], probabilities: Array) -> dict[str, Any]:
    """Gather what the templates tell."""
    sizes = [len(model.params[0].weight), *(layer.bias.size for layer in model.params)]
    return {
        "model": model,
        "sizes": sizes,
        "dtype": model.params[0].weight.dtype,
        "count": sum(array.size for layer in model.params for array in layer),
        "origin": _origin(model),
        "validation_rows": _validation_rows(model, parts),
        "kept": _kept(model),
        "settings": [(name, _in_words(value)) for name, value in model.settings.items()],
        "parts": parts,
        "by_class": _by_class(model, parts[-1], probabilities),
        "mistakes": _mistakes(model, parts[-1], probabilities),
    }


def _origin(model: Model) -> list[tuple[str, str]]:
    """List what was said of the file that the rows are from."""
    source = model.source
    facts = {
        "Column of the classes": source.target,
        "Columns that are not used": ", ".join(source.drop) or None,
        "Fraction of the rows held out for the test": source.test_fraction,
    }
    return [(name, str(value)) for name, value in facts.items() if value is not None]


def _validation_rows(model: Model, parts: list[Part]) -> int | None:
    """Count those of the rows in sample that were held out for validation, if all are there."""
    fraction = model.settings.get("validation_fraction")
    if fraction is None or parts[0].name != IN_SAMPLE:
        return None
    return math.ceil(fraction * len(parts[0].y))  # as `split_validation` rounds


def _kept(model: Model) -> int | None:
    """Give the number of the epoch whose parameters were kept in place of the last ones."""
    rule = model.settings.get("early_stopping")
    if not isinstance(rule, dict) or rule.get("kind") != Patience.__name__:
        return None
    return kept_epoch(Patience(), History(**model.curves)) or None


def _by_class(model: Model, part: Part, probabilities: Array) -> list[dict[str, Any]]:
    with train_extra("scikit-learn"):
        from sklearn import metrics  # noqa: PLC0415, the core needs NumPy alone
    columns = metrics.precision_recall_fscore_support(
        part.y,
        probabilities.argmax(axis=1),
        labels=np.arange(len(model.classes)),
        zero_division=np.nan,
    )
    names = ("precision", "recall", "f1", "rows")
    return [
        {"name": name, **dict(zip(names, values, strict=True))}
        for name, *values in zip(model.classes, *columns, strict=True)
    ]


def _mistakes(model: Model, part: Part, probabilities: Array) -> list[dict[str, Any]]:
    """List the rows that are given to a wrong class, the surest first."""
    predicted = probabilities.argmax(axis=1)
    certainty = probabilities.max(axis=1)
    rows = np.arange(len(part.y)) if part.rows is None else part.rows
    wrong = np.flatnonzero(predicted != part.y)
    surest = wrong[np.argsort(-certainty[wrong], kind="stable")][:MISTAKES]
    return [
        {
            "row": int(rows[row]),
            "right": model.classes[part.y[row]],
            "taken": model.classes[predicted[row]],
            "certainty": float(certainty[row]),
        }
        for row in surest
    ]


def _png(figure: "Figure") -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _data_link(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _in_words(setting: Any) -> str:
    """Write a setting as a person would; what has settings itself by its kind."""
    if isinstance(setting, dict):
        kind = setting.get("kind", "")
        items = [f"{name} {_in_words(value)}" for name, value in setting.items() if name != "kind"]
        return f"{kind} ({', '.join(items)})" if items else kind
    if isinstance(setting, list):
        return " ".join(map(str, setting)) or "none"
    return "none" if setting is None else str(setting)


def _share(number: float) -> str:
    return "–" if np.isnan(number) else f"{number:.3f}"


def _cell(text: object) -> str:
    """Write what would end a cell of a Markdown table otherwise, or be taken for HTML."""
    line = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;")
    return line.replace("\\", "\\\\").replace("|", "\\|")
