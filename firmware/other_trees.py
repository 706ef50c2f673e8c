"""Which sources of another stack's tree make up its networks: found by looking at the tree that the user has.

A tree is TFLite Micro's when it holds INTERPRETER, CMSIS-NN's when it holds FUNCTIONS. Nothing of either is here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from secateur.errors import UserError

INTERPRETER = "tensorflow/lite/micro/micro_interpreter.h"
RESOLVER = "tensorflow/lite/micro/micro_mutable_op_resolver.h"
SCHEMA = "tensorflow/lite/schema/schema_generated.h"
KERNELS = "tensorflow/lite/micro/kernels"
FUNCTIONS = "Include/arm_nnfunctions.h"

CORE = (
    "tensorflow/lite",
    "tensorflow/lite/core/api",
    "tensorflow/lite/core/c",
    "tensorflow/lite/kernels",
    "tensorflow/lite/kernels/internal",
    "tensorflow/lite/kernels/internal/reference",
    "tensorflow/lite/micro",
    "tensorflow/lite/micro/arena_allocator",
    "tensorflow/lite/micro/memory_planner",
    "tensorflow/lite/micro/tflite_bridge",
)
"""The interpreter's folders; those below are tests, examples, tools and single vendors' parts."""
TESTS = re.compile(r"_test\.cc$|^(test|fake|mock|recording)_|^hexdump")
FLOATS = re.compile(r"_(f16|f32|flt)\.c$")

HEADERS = {
    "flatbuffers": ("flatbuffers/include", "flatbuffers/flatbuffers.h"),
    "gemmlowp": ("gemmlowp", "fixedpoint/fixedpoint.h"),
    "ruy": ("ruy", "ruy/profiler/instrumentation.h"),
}
"""What TFLite Micro includes of others: folder, and a header in it."""
HEADER_PLACES = ("third_party", "tensorflow/lite/micro/tools/make/downloads")
"""Where those folders are looked for, and then beside the tree: a generated tree, a checkout after its own make."""

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.M)
ADD = re.compile(r"TfLiteStatus\s+(Add\w+)\s*\(")
BUILTIN = re.compile(r"AddBuiltin\(\s*(?:tflite::)?BuiltinOperator_(\w+)")
REGISTER = re.compile(r"\bRegister_(\w+)\(\)")
DEFINED = re.compile(r"^TFLMRegistration\s*\*?\s*(?:\w+::)*Register_(\w+)\(\)\s*\{", re.M)
VERSION = re.compile(r"FLATBUFFERS_VERSION_(MAJOR|MINOR|REVISION)\s*(?:==)?\s*(\d+)")


@dataclass(frozen=True)
class Operator:
    """`name`: as the schema has it; `add`: the resolver's function for it; `source`: its kernel, below the tree."""

    name: str
    add: str
    source: str


@dataclass(frozen=True)
class Tflm:
    """TFLite Micro's tree in `root`."""

    root: Path

    @cached_property
    def includes(self) -> tuple[Path, ...]:
        """Folders for -I. Raises UserError when a header of another project is nowhere, or of another version."""
        folders = []
        for project, (folder, header) in HEADERS.items():
            places = [*(self.root / place / folder for place in HEADER_PLACES), self.root.parent / folder]
            found = next((place for place in places if (place / header).is_file()), None)
            if found is None:
                looked = ", ".join(str(place) for place in places)
                raise UserError(f"{self.root}: needs {project}'s headers; no {header} in {looked}")
            folders.append(found)
        self._check_schema(folders[0])
        return (self.root, *folders)

    def _check_schema(self, folder: Path) -> None:
        """The schema's generated header accepts one version of flatbuffers."""
        wanted = _version(self.root / SCHEMA)
        base = folder / "flatbuffers" / "base.h"
        found = _version(base) if base.is_file() else ""
        if wanted and found and wanted != found:
            raise UserError(
                f"{self.root}: {SCHEMA} was made for flatbuffers {wanted}, {folder} is {found}; "
                f"check out flatbuffers v{wanted}"
            )

    @cached_property
    def core(self) -> tuple[str, ...]:
        """Sources of the interpreter, below the tree: those in CORE, and NAME.cc of each NAME.h that they include."""
        found = (path for folder in CORE for path in sorted((self.root / folder).glob("*.cc")))
        todo = [path.relative_to(self.root).as_posix() for path in found if not TESTS.search(path.name)]
        seen: set[str] = set()
        while todo:
            name = todo.pop()
            if name in seen:
                continue
            seen.add(name)
            for included in INCLUDE.findall(_text(self.root / name)):
                if not included.startswith(KERNELS + "/"):
                    beside = (included, f"{included.removesuffix('.h')}.cc")
                    todo += [path for path in beside if (self.root / path).is_file()]
        return tuple(sorted(name for name in seen if name.endswith(".cc")))

    @cached_property
    def _operators(self) -> dict[str, Operator]:
        """Every operator that the resolver knows and a reference kernel registers."""
        files: dict[str, str] = {}
        for path in sorted((self.root / KERNELS).glob("*.cc")):
            if not TESTS.search(path.name):
                for name in DEFINED.findall(_text(path)):
                    files.setdefault(name, f"{KERNELS}/{path.name}")
        text = _text(self.root / RESOLVER)
        starts = [*ADD.finditer(text)]
        operators = {}
        for start, end in zip(starts, [*(match.start() for match in starts[1:]), len(text)], strict=True):
            block = text[start.start() : end]
            builtin, register = BUILTIN.search(block), REGISTER.search(block)
            if builtin and register and register[1] in files:
                operators[builtin[1]] = Operator(builtin[1], start[1], files[register[1]])
        return operators

    def operators(self, names: Iterable[str]) -> list[Operator]:
        """In order of their names. Raises UserError that lists all that the tree has no kernel for."""
        wanted = sorted(set(names))
        missing = [name for name in wanted if name not in self._operators]
        if missing:
            raise UserError(f"{self.root / KERNELS}: no kernel for {', '.join(missing)}; leave that network out")
        return [self._operators[name] for name in wanted]

    def kernels(self, operators: Sequence[Operator], variant: str = "") -> list[str]:
        """Sources of the operators' kernels and of what they include: NAME.h brings NAME.cc and NAME_common.cc.

        `variant`: a folder of kernels; its files stand for those of the same name.
        """
        todo = [self._variant(operator.source, variant) for operator in operators]
        seen: set[str] = set()
        while todo:
            name = todo.pop()
            if name in seen:
                continue
            seen.add(name)
            todo += self._beside(f"{KERNELS}/{Path(name).name}", variant)
            for included in INCLUDE.findall(_text(self.root / name)):
                if included.startswith(KERNELS + "/"):
                    todo += [included, *self._beside(included, variant)]
        return sorted(name for name in seen if name.endswith(".cc"))

    def _beside(self, name: str, variant: str) -> list[str]:
        stem = name.rpartition(".")[0]
        both = (self._variant(f"{stem}.cc", variant), f"{stem}_common.cc")
        return [path for path in both if (self.root / path).is_file()]

    def _variant(self, name: str, variant: str) -> str:
        other = f"{KERNELS}/{variant}/{Path(name).name}"
        return other if variant and (self.root / other).is_file() else name


@dataclass(frozen=True)
class CmsisNn:
    """CMSIS-NN's tree in `root`. Its kernels run under TFLite Micro's interpreter."""

    root: Path

    @property
    def includes(self) -> tuple[Path, ...]:
        return (self.root, self.root / "Include")

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """Below the tree; its floating-point kernels are left out, they need CMSIS-DSP's types."""
        found = sorted((self.root / "Source").rglob("*.c"))
        return tuple(path.relative_to(self.root).as_posix() for path in found if not FLOATS.search(path.name))


def recognise(root: Path) -> Tflm | CmsisNn | None:
    """What the folder is a source tree of, if it is."""
    root = Path(os.path.abspath(root))  # noqa: PTH100 - a link to it has the headers of others beside the link
    if (root / INTERPRETER).is_file():
        return Tflm(root)
    return CmsisNn(root) if (root / FUNCTIONS).is_file() else None


def _version(header: Path) -> str:
    """MAJOR.MINOR.REVISION, or nothing where the header does not say."""
    found = dict(VERSION.findall(_text(header))) if header.is_file() else {}
    return ".".join(found.get(part, "") for part in ("MAJOR", "MINOR", "REVISION")).strip(".")


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
