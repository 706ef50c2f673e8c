"""`secateur.compile`: the command line's compile for notebooks and training scripts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import nn

from secateur.compiler.budget import Budget
from secateur.compiler.energy import Extras
from secateur.compiler.frontends.data import load_data
from secateur.compiler.frontends.data_options import DataOptions
from secateur.compiler.frontends.preprocess_file import read_scaling
from secateur.compiler.frontends.truth import Wanted, outputs_of, retasked
from secateur.compiler.loading import How, finished, load, sample_shape
from secateur.compiler.out_folder import check_out
from secateur.compiler.proving import Build
from secateur.compiler.search import SearchOptions
from secateur.compiler.session import Result, compile_model
from secateur.errors import UserError
from secateur.models.canonical import to_network
from secateur.models.data import Data
from secateur.models.network import Network
from secateur.models.preprocess import Preprocess
from secateur.models.program import Program
from secateur.passes.network.work import Work, working
from secateur.targets.target import find

__all__ = ["compile", "Budget", "SearchOptions", "Build", "Extras", "Result"]

log = logging.getLogger(__name__)


def compile(
    model: str | Path | Network | nn.Module,
    *,
    target: str,
    out: str | Path,
    data: str | Path | Data | None = None,
    budget: Budget = Budget(),  # noqa: B008 - frozen
    search: SearchOptions = SearchOptions(),  # noqa: B008 - frozen
    build: Build = Build(),  # noqa: B008 - frozen
    input_shape: tuple[int, ...] | None = None,
    weights: str | Path | None = None,
    cut_at: str | None = None,
    layout: str | None = None,
    labels: tuple[str, ...] = (),
    preprocess: Preprocess | str | Path | None = None,
    name: str = "",
    task: str | None = None,
    metric: str | None = None,
    data_options: DataOptions = DataOptions(),  # noqa: B008 - frozen
    extras: Extras = Extras(),  # noqa: B008 - frozen
    resume: bool = False,
    jobs: int = 1,
    tell: Callable[[str], None] = log.info,
) -> Result:
    """Remove until the budget holds; export, build, run, verify. Everything is written to `out`.

    >>> import tempfile
    >>> found = compile(
    ...     "zoo:digits-net", target="esp32", data="zoo:digits", budget=Budget(max_drop=2),
    ...     build=Build(run="none"), out=tempfile.mkdtemp(),
    ... )
    >>> found.exit_code, found.report.budget.met
    (0, 'predicted')

    Args:
        model: MODEL of the command line, a Network, or a trained module (which is left as it is).
        target: name of a device, as `secateur targets` lists them.
        data: DATA of the command line, or the three sets.
        data_options: how recordings are cut, and which columns of a CSV are what.
        search: its `total_steps` and `seed` are the command line's --steps and --seed.
        input_shape: of one sample, channels first, without the batch; a module needs it.
        weights: of a `file.py:factory`.
        cut_at, layout: --cut-at and --layout of the command line, for a MODEL in a file.
        preprocess: what happens to a raw sample before the network and to its outputs after it, or a file that says so
            (--preprocess); a preprocess.toml beside MODEL or the model's own when None.
        name: of a module, in C and in the report; its class's by default.
        extras: what else is measured: --robustness (its number of test samples, 0: none), --energy and
            --carbon-intensity of the command line.
        task, metric: --task and --metric of the command line; found from the labels when None.
        jobs: threads that score candidates; the same bytes.
        tell: gets one line a step.

    Returns: the report, as in report.json, and the command line's exit code: 0 met, 3 too large, 4 inaccurate.

    Raises:
        UserError: model, data or an option is at fault; nothing in `out` is touched then.
        ToolError: a compiler, emulator or board is missing or failed.
        MismatchError: the generated code disagrees with the golden runtime; our bug.
    """
    found, out = find(target), Path(out)
    inputs = [Path(p) for p in (model, weights) if isinstance(p, (str, Path))]
    check_out(out, inputs)
    content: bytes | None = None
    loaded: Network | Program
    path = Path(preprocess) if isinstance(preprocess, (str, Path)) else None
    own = read_scaling(path) if path is not None else preprocess if isinstance(preprocess, Preprocess) else None
    if isinstance(model, (str, Path)):
        file = None if weights is None else Path(weights)
        how = How(file, input_shape, labels, cut_at, layout, None if path else own, path, preprocess is None)
        loaded, content = load(str(model), how, tell)
    elif isinstance(model, Network):
        known = replace(model, labels=labels or model.labels, preprocess=own or model.preprocess)
        loaded = finished(known, path)
    else:
        name = name or type(model).__name__
        if input_shape is None:
            raise UserError(f"{name}: give input_shape, of one sample without the batch, such as (3, 32, 32)")
        loaded = finished(to_network(model, input_shape, name, labels, own or Preprocess()), path)
    wanted = Wanted(task, metric, outputs_of(loaded))
    if isinstance(data, (str, Path)):
        data = load_data(
            str(data), sample_shape(loaded), loaded.labels, search.seed, data_options,
            front_end=loaded.preprocess.front_end, wanted=wanted, tell=tell,
        )  # fmt: skip
    elif data is not None:
        data = retasked(data, wanted)
    with working(Work(jobs)):
        return compile_model(
            loaded, content, data, found, budget, search, build, out, resume, tell, ["secateur.compile"], extras
        )
