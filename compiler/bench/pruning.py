"""`secateur bench pruning`: our methods beside their controls, at the same budget and the same total training.

Every run trains `steps` optimizer steps with one recipe and is measured in int8 on test groups that nothing was chosen
on. A *case* is one division of the data with one trained network: `--seeds` of the division that comes with the data,
or `--folds` of recordings, whose network is trained anew on each fold. Methods are compared within a case, so what is
hard for all (a person, a seed) does not count. Each run is saved, so that a stopped benchmark continues.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

from secateur.compiler.bench import saved
from secateur.compiler.bench.pruning_plan import WITHOUT_BUDGET, Job, One, Plan, Row, rows_of
from secateur.compiler.bench.pruning_run import key_of, one, trained
from secateur.compiler.bench.pruning_tables import markdown, plot


def bench(plan: Plan, jobs: int, out: Path, tell: Callable[[str], None]) -> list[Row]:
    """All methods, budgets and cases; runs of the same network, data, budget, steps and code are read from `out`."""
    out.mkdir(parents=True, exist_ok=True)
    key = key_of(plan)
    cases = [(fold, seed) for fold in (range(plan.folds) if plan.folds else (None,)) for seed in range(plan.seeds)]
    with ProcessPoolExecutor(max_workers=jobs) as pool:
        if plan.folds:  # one network a case, for all methods and budgets
            waiting = [pool.submit(trained, plan, fold, seed, str(out)) for fold, seed in cases if fold is not None]
            for network in as_completed(waiting):
                tell(network.result())
        wanted = [
            Job(method, fold, seed, share)
            for fold, seed in cases
            for share in plan.shares or (None,)
            for method in plan.methods
            if method not in WITHOUT_BUDGET
        ]
        wanted += [Job(m, fold, seed, None) for m in WITHOUT_BUDGET if m in plan.methods for fold, seed in cases]
        after_ours = [j for j in wanted if j.method == "scratch"]
        for wave in ([j for j in wanted if j.method != "scratch"], after_ours):
            missing = [j for j in wave if saved.read(out / f"{j.name}.json", key) is None]
            started = {pool.submit(one, plan, j, str(out)): j for j in missing}
            for number, future in enumerate(as_completed(started), 1):
                found, job = future.result(), started[future]
                saved.write(out / f"{job.name}.json", key, asdict(found))
                tell(f"{number} of {len(missing)}: {job.name}: int8 {found.accuracy_int8:.1f} % on test")
    runs = {j: One(**saved.read(out / f"{j.name}.json", key)) for j in wanted}
    rows = []
    for share in plan.shares or (None,):
        for method in plan.methods:
            own = None if method in WITHOUT_BUDGET else share
            rows.append(Row(method, share, tuple(r for j, r in runs.items() if (j.method, j.share) == (method, own))))
    document = {"plan": key, "title": plan.title, "rows": [r.document() for r in rows]}
    (out / "pruning.json").write_text(json.dumps(document, indent=1) + "\n")
    draw(out)
    return rows


def draw(out: Path) -> str:
    """`pruning.md` and `pruning.svg` of the `pruning.json` in `out`; the table is given back."""
    document = json.loads((out / "pruning.json").read_text())
    rows = rows_of(document)
    text = markdown(rows, document["plan"]["steps"])
    (out / "pruning.md").write_text(text)
    plot(rows, out / "pruning.svg", document["title"])
    return text
