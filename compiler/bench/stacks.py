"""`--against NAME=FOLDER`: where another stack's networks come from.

FOLDER is a source tree of TFLite Micro or of CMSIS-NN, recognised by what is in it, which we compile; or it holds one
static library a network and back end, NETWORK.BACK_END.a, that whoever wants the comparison has built. Either has the
functions of `firmware/templates/other_stack/sec_other.h`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ai_edge_litert import schema_py_generated as schema

from secateur.compiler.bench.kernels import Subject
from secateur.errors import UserError
from secateur.firmware.other_network import build_library
from secateur.firmware.other_stack import INTERFACE
from secateur.firmware.other_toolchain import NoFloats, find_toolchain
from secateur.firmware.other_trees import FUNCTIONS, INTERPRETER, CmsisNn, Tflm, recognise
from secateur.models.cache_folder import cache_folder
from secateur.targets.target import find

OURS = "secateur"


@dataclass(frozen=True)
class Linkable:
    """`library`: the network; `more`: archives that it calls, in linking order."""

    library: Path
    more: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Stack:
    """`name` as the table shows it; its libraries lie in `folder`."""

    name: str
    folder: Path

    def library(self, network: str, back_end: str) -> Path:
        return self.folder / f"{network}.{back_end}.a"

    def called(self, network: str, back_end: str) -> str:
        """What an error calls it."""
        return str(self.library(network, back_end))

    def left_out(self, network: str, back_end: str) -> str | None:
        """Why there is no row, None where there is one."""
        library = self.library(network, back_end)
        return None if library.is_file() else f"there is no {library}"

    def check(self, subjects: Sequence[Subject], back_ends: Sequence[str]) -> None:
        """Raises UserError when it has a library for none of these networks: a wrong folder, or wrong names."""
        wanted = [self.library(subject.name, back_end) for subject in subjects for back_end in back_ends]
        if not any(path.is_file() for path in wanted):
            more = f" nor any of {len(wanted) - 1} others" if len(wanted) > 1 else ""
            raise UserError(
                f"--against {self.name}={self.folder}: there is no {wanted[0].name}{more}, and it is no source tree of "
                f"TFLite Micro ({INTERPRETER}) or CMSIS-NN ({FUNCTIONS}); give one of these, or build "
                f"NETWORK.BACK_END.a with the functions of {INTERFACE}"
            )

    def linkable(self, subject: Subject, back_end: str, folder: Path, tell: Callable[[str], None]) -> Linkable:
        return Linkable(self.library(subject.name, back_end))


@dataclass(frozen=True)
class SourceStack:
    """TFLite Micro's tree with its reference kernels, or, with CMSIS-NN's tree, those that call CMSIS-NN."""

    name: str
    tflm: Tflm
    cmsis: CmsisNn | None = None

    def called(self, network: str, back_end: str) -> str:
        """What an error calls it."""
        return f"{(self.cmsis or self.tflm).root}, {network} on {back_end}"

    def left_out(self, network: str, back_end: str) -> str | None:
        """Why there is no row, None where there is one."""
        try:
            find_toolchain(find(back_end).environment)
        except NoFloats as error:
            return str(error)
        return None

    def check(self, subjects: Sequence[Subject], back_ends: Sequence[str]) -> None:
        """Raises UserError for a tree that lacks something, and when there would be no row at all."""
        _ = self.tflm.includes
        for subject in subjects:
            names, _ = _operators(subject)
            try:
                self.tflm.operators(names)
            except UserError as error:
                raise UserError(f"{subject.name}: {error}") from error
        reasons = [self.left_out("", back_end) for back_end in back_ends]
        if None not in reasons:
            raise UserError(
                f"--against {self.name}={(self.cmsis or self.tflm).root}: {reasons[0]}; choose other targets"
            )

    def linkable(self, subject: Subject, back_end: str, folder: Path, tell: Callable[[str], None]) -> Linkable:
        """Compile what is not compiled yet, into the cache folder, and the library into `folder`."""
        toolchain = find_toolchain(find(back_end).environment)
        names, variables = _operators(subject)
        library = build_library(
            folder / "libother.a", toolchain, self.tflm, self.cmsis, subject.content, self.tflm.operators(names),
            variables, cache_folder() / "other_stacks", f"{subject.name} on {back_end}: {self.name}", tell,
        )  # fmt: skip
        return Linkable(library, toolchain.archives)


AnyStack = Stack | SourceStack


def parse_stacks(values: Iterable[str]) -> list[AnyStack]:
    """NAME=FOLDER each.

    Raises UserError for another form, a name given twice, a missing folder, and CMSIS-NN without TFLite Micro.
    """
    folders: dict[str, Path] = {}
    for value in values:
        name, equals, folder = value.partition("=")
        if not (name and equals and folder):
            raise UserError(f"--against {value}: give NAME=FOLDER, e.g. --against tflm=../tflite-micro")
        if name == OURS or name in folders:
            raise UserError(f"--against {value}: the name '{name}' is taken; choose another")
        if not Path(folder).is_dir():
            raise UserError(f"--against {value}: there is no folder {folder}")
        folders[name] = Path(folder)
    trees = {name: recognise(folder) for name, folder in folders.items()}
    interpreter = next((tree for tree in trees.values() if isinstance(tree, Tflm)), None)
    return [_stack(name, folders[name], tree, interpreter) for name, tree in trees.items()]


def _stack(name: str, folder: Path, tree: Tflm | CmsisNn | None, interpreter: Tflm | None) -> AnyStack:
    if isinstance(tree, Tflm):
        return SourceStack(name, tree)
    if tree is None:
        return Stack(name, folder)
    if interpreter is None:
        raise UserError(
            f"--against {name}={folder}: CMSIS-NN's kernels are called by TFLite Micro's interpreter; "
            "add --against tflm=FOLDER with its source tree"
        )
    return SourceStack(name, interpreter, tree)


def _operators(subject: Subject) -> tuple[list[str], int]:
    """The builtin operators that the file has, and how many of them are variables."""
    model = schema.ModelT.InitFromPackedBuf(subject.content)
    names = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    codes = [names[max(code.builtinCode, code.deprecatedBuiltinCode)] for code in model.operatorCodes]
    used = [codes[op.opcodeIndex] for graph in model.subgraphs for op in graph.operators]
    return sorted(set(used)), used.count("VAR_HANDLE")
