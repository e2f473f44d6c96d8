"""Source text as a graph of definitions: the functions, classes and constants that a function reaches, with digests.

Digests are of the syntax tree: comments, docstrings, layout and Python version do not change them. Names are resolved
like in Python, scope by scope; a class is one definition, unless a single method is requested. Nothing is imported or
executed. `versions` decides what the parameters of an asset function lead to.
"""

import ast
import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from quant_assets.settings.origin import ROOT

PACKAGE = "quant_assets"

#: Modules that are not followed: messages, column declarations and types of settings do not change rows. Columns and
#: settings are compared themselves.
IGNORED = (
    "errors",
    "schemas",
    "settings",
    "io",
    "partitions",
    "grains",
    "dagster_internals",
    "catalogue",
    "checks",
    "provenance",
    "runtime",
)

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_LAYOUT = frozenset({"ctx", "kind", "type_comment"})

#: A name and the attributes after it: `settings.labels.horizons` is ("settings", "labels", "horizons").
Chain = tuple[str, ...]


@dataclass(frozen=True, order=True)
class Symbol:
    """A definition: `name` at the top of `module`, `Class.method`, or `factory.function`.

    The last is for a function in a function.
    """

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module.removeprefix(PACKAGE + '.')}.{self.name}"


@dataclass
class Module:
    """The top-level definitions of a file and what it imports."""

    name: str
    path: Path
    defined: dict[str, list[ast.AST]] = field(default_factory=dict)
    imported: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    #: Statements without a name, such as a registering call: they belong to every definition of the module.
    nameless: list[ast.AST] = field(default_factory=list)
    #: Cache of analysed definitions, since the graph is walked for each asset.
    analysed: dict[str, "Definition"] = field(default_factory=dict)

    def add(self, statements: list[ast.stmt]) -> None:
        """Add top-level statements, including those under an `if` or `try`."""
        for statement in statements:
            match statement:
                case ast.Import() | ast.ImportFrom():
                    self.imported |= imports(statement, self)
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                    self.defined.setdefault(name, []).append(statement)
                case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
                    names = list(_assigned(statement))
                    for name in names:
                        self.defined.setdefault(name, []).append(statement)
                    if not names:  # an assignment to an attribute or item: a registration
                        self.nameless.append(statement)
                case ast.If() | ast.Try():
                    for block in ("body", "handlers", "orelse", "finalbody"):
                        for each in getattr(statement, block, ()):
                            self.add(each.body if isinstance(each, ast.ExceptHandler) else [each])
                case _ if not _says_nothing(statement):
                    self.nameless.append(statement)

    def found(self, name: str) -> list[ast.AST]:
        """Nodes of a definition, also of `Class.method` and `factory.function`; empty without such a name."""
        outer, _, inner = name.partition(".")
        nodes = self.defined.get(outer, [])
        return [each for node in nodes for each in members(node).get(inner, ())] if inner else nodes


def imports(statement: ast.Import | ast.ImportFrom, where: Module) -> dict[str, tuple[str, str | None]]:
    """Local names of an import statement, with module and name in it (None for a module)."""
    if isinstance(statement, ast.Import):
        # `import a.b` binds a; the attributes that follow decide the submodule.
        found = (
            (each.asname, each.name) if each.asname else (each.name.split(".")[0],) * 2 for each in statement.names
        )
        return {local: (name, None) for local, name in found}
    base = statement.module or ""
    if statement.level:
        up = statement.level - (where.path.name == "__init__.py")
        package = where.name.split(".")
        base = ".".join([*package[: max(len(package) - up, 0)], *filter(None, [base])])
    below = {each.name: f"{base}.{each.name}".lstrip(".") for each in statement.names}
    return {
        each.asname or each.name: (below[each.name], None) if located(below[each.name]) else (base, each.name)
        for each in statement.names
    }


def members(node: ast.AST) -> dict[str, list[ast.AST]]:
    """Names that a class or function binds in its body: methods and attributes, or local names and functions."""
    found: dict[str, list[ast.AST]] = {}
    waiting: list[ast.AST] = list(getattr(node, "body", ()))
    for statement in waiting:
        if isinstance(statement, (*_FUNCTIONS, ast.ClassDef)):
            found.setdefault(statement.name, []).append(statement)
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            for name in _assigned(statement):
                found.setdefault(name, []).append(statement)
        elif isinstance(statement, ast.If):
            waiting += [*statement.body, *statement.orelse]
    return found


#: Files of the user's own modules.
_OWN: dict[str, Path] = {}


def register(name: str, folder: Path) -> None:
    """Register a user's module: a file in the settings' folder, else on PYTHONPATH."""
    path = _file(folder, name)
    if path is None:
        try:
            spec = find_spec(name)
        except (ImportError, ValueError):
            spec = None
        path = Path(spec.origin) if spec is not None and spec.origin is not None else None
    if path is not None and _OWN.get(name) != path:
        _OWN[name] = path
        located.cache_clear()


@cache
def located(name: str) -> Path | None:
    """File of a module of the package, or of the user's modules and those beside them; None for others."""
    if name in _OWN:
        return _OWN[name]
    if name != PACKAGE and not name.startswith(f"{PACKAGE}."):
        return next(
            (path for own, each in _OWN.items() for root in _roots(own, each, name) if (path := _file(root, name))),
            None,
        )
    return _file(ROOT, name)


def _file(root: Path, name: str) -> Path | None:
    path = root / name.replace(".", "/")
    return next((each for each in (path.with_name(f"{path.name}.py"), path / "__init__.py") if each.is_file()), None)


def _roots(own: str, path: Path, name: str) -> Iterator[Path]:
    """Folders of modules that a user's module may import.

    These are its own folder and the root of its dotted name.
    """
    installed = "site-packages" in path.parts or "dist-packages" in path.parts
    # Of installed packages, only the user's own one counts.
    if not installed or name.split(".")[0] == own.split(".")[0]:
        yield path.parents[own.count(".") + (path.name == "__init__.py")]
    if not installed:
        yield path.parent


def module(name: str) -> Module | None:
    """The parsed module; None if it is not followed.

    The package's files are read once, like its code; a user's file is read again after a change, as it is executed
    again.
    """
    path = located(name)
    if path is None or _ignored(name):
        return None
    return _parsed(name, path, 0 if name.startswith(PACKAGE) else path.stat().st_mtime_ns)


@cache
def _ignored(name: str) -> bool:
    return any(name == f"{PACKAGE}.{each}" or name.startswith(f"{PACKAGE}.{each}.") for each in IGNORED)


@cache
def _parsed(name: str, path: Path, _changed: int) -> Module:
    parsed = Module(name, path)
    parsed.add(ast.parse(path.read_bytes()).body)
    return parsed


def chains(
    node: ast.AST, bound: frozenset[str] = frozenset(), free: frozenset[str] = frozenset({"self"})
) -> Iterator[Chain]:
    """The names that a node uses but does not bind, with the attributes that follow.

    Parameters in `free`, such as a method's `self`, count as used names.
    """
    match node:
        case ast.Attribute() | ast.Name():
            attributes: list[str] = []
            root: ast.AST = node
            while isinstance(root, ast.Attribute):
                attributes.insert(0, root.attr)
                root = root.value
            if not isinstance(root, ast.Name):
                yield from chains(root, bound, free)
            elif root.id not in bound:
                yield (root.id, *attributes)
            return
        case ast.Expr() if _says_nothing(node):
            return
        case ast.ImportFrom() | ast.Import():
            return
    inside = bound | (frozenset(_bound(node)) - free) if isinstance(node, _SCOPES) else bound
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        outside = name in ("decorator_list", "args") and isinstance(node, _FUNCTIONS)
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from chains(child, bound if outside else inside, free)


def _arguments(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    given = node.args
    return [*given.posonlyargs, *given.args, *given.kwonlyargs]


def _bound(scope: ast.AST) -> Iterator[str]:
    """Names that a function, lambda or comprehension binds, without inner functions."""
    waiting: list[ast.AST] = list(ast.iter_child_nodes(scope))
    while waiting:
        node = waiting.pop()
        match node:
            case ast.arg(arg=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.ExceptHandler(name=str(name)):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
        if not isinstance(node, (*_SCOPES, ast.ClassDef)):
            waiting += ast.iter_child_nodes(node)


def _assigned(statement: ast.Assign | ast.AnnAssign | ast.AugAssign) -> Iterator[str]:
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    return (
        each.id
        for target in targets
        for each in ast.walk(target)
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
    )


def _says_nothing(node: object) -> bool:
    """A docstring."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


class _WithoutTelling(ast.NodeTransformer):
    """Removes statements that only report metadata: `run.tell…(…)` of a parameter of type `Run`."""

    def __init__(self, runs: frozenset[str]) -> None:
        self._runs = runs

    @classmethod
    def of(cls, node: ast.AST) -> ast.AST:
        """The node itself if no function in it takes a `Run`, else a copy without such statements."""
        runs = frozenset(
            each.arg
            for each in ast.walk(node)
            if isinstance(each, ast.arg)
            and isinstance(each.annotation, ast.Name | ast.Attribute)
            and ast.unparse(each.annotation).rpartition(".")[2] == "Run"
        )
        made: ast.AST = cls(runs).visit(copy.deepcopy(node)) if runs else node
        return made

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        """None for a statement that is such a call."""
        called = node.value.func if isinstance(node.value, ast.Call) else None
        told = isinstance(called, ast.Attribute) and called.attr.startswith("tell")
        root = called.value if isinstance(called, ast.Attribute) else None
        return None if told and isinstance(root, ast.Name) and root.id in self._runs else node


def text(node: object) -> str:
    """A syntax tree as text without comments, docstrings and layout.

    It is the same for all Python versions that support the syntax.
    """
    if isinstance(node, ast.AST):
        named = ((name, getattr(node, name, None)) for name in node._fields if name not in _LAYOUT)
        fields = (f"{name}={text(value)}" for name, value in named if value is not None and value != [])
        return f"{type(node).__name__}({','.join(fields)})"
    if isinstance(node, list):
        return f"[{','.join(text(each) for each in node if not _says_nothing(each))}]"
    return repr(node)


def digest(content: str | bytes, size: int = 8) -> str:
    """A hexadecimal digest, two characters per byte of its size."""
    return hashlib.blake2b(content.encode() if isinstance(content, str) else content, digest_size=size).hexdigest()


#: Returns the targets of a chain in a definition, or None for the ordinary rules.
Rule = Callable[[Module, str, Chain], "list[Symbol] | None"]

#: Returns the targets of a chain that begins with a parameter of the first definitions.
Handed = Callable[[Chain], "list[Symbol]"]


@dataclass(frozen=True)
class Definition:
    """An analysed definition."""

    digest: str
    chains: tuple[Chain, ...]
    imported: Mapping[str, tuple[str, str | None]]
    #: Chains that begin with the function's own parameters.
    parameters: tuple[Chain, ...]


def reached(
    start: list[Symbol], rule: Rule, own: dict[str, Path] | None = None, handed: Handed = lambda chain: []
) -> dict[Symbol, str]:
    """Every definition that is reachable from the first ones, with its digest.

    Args:
        start: definitions to begin with.
        rule: for chains with a special meaning.
        own: output: files of the user's modules that were read, by module name.
        handed: for chains that begin with a parameter of the first definitions.

    """
    found: dict[Symbol, str] = {}
    waiting = list(start)
    while waiting:
        symbol = waiting.pop()
        where = None if symbol in found else module(symbol.module)
        if where is None:
            continue
        if own is not None and not where.name.startswith(f"{PACKAGE}."):
            own[where.name] = where.path
        if not where.found(symbol.name):
            handed_on = where.imported.get(symbol.name)
            waiting += _of_import(*handed_on, ()) if handed_on else _inherited(where, symbol.name)
            continue
        looked_into = definition(where, symbol.name)
        found[symbol] = looked_into.digest
        for chain in looked_into.chains:
            special = rule(where, symbol.name, chain)
            waiting += _ordinary(where, symbol.name, looked_into, chain) if special is None else special
        for chain in looked_into.parameters if symbol in start else ():
            waiting += handed(chain)
    return found


def definition(where: Module, name: str) -> Definition:
    """Analyse a definition of a module, with caching."""
    if name not in where.analysed:
        nodes = [*map(_WithoutTelling.of, where.found(name)), *where.nameless]
        content = "".join([*map(text, nodes), *(digest(each.read_bytes()) for each in templates(where.path))])
        imported: dict[str, tuple[str, str | None]] = {}
        for each in (each for node in nodes for each in ast.walk(node)):
            if isinstance(each, ast.Import | ast.ImportFrom):
                imported |= imports(each, where)
        taken = frozenset(each.arg for node in nodes if isinstance(node, _FUNCTIONS) for each in _arguments(node))
        used = dict.fromkeys(chain for node in nodes for chain in chains(node))
        of_parameters = dict.fromkeys(
            chain for node in nodes for chain in chains(node, free=taken) if chain[0] in taken
        )
        where.analysed[name] = Definition(digest(content), tuple(used), imported, tuple(of_parameters))
    return where.analysed[name]


def templates(path: Path) -> list[Path]:
    """Templates beside a module, which count as part of its definitions."""
    return sorted(each for each in (path.parent / "templates").glob("*") if each.is_file())


def _ordinary(where: Module, name: str, definition: Definition, chain: Chain) -> list[Symbol]:
    """The targets of a chain by Python's rules.

    These are names of the enclosing function or class, of the module, or imports.
    """
    outer, _, inner = name.partition(".")
    root, *attributes = chain
    if root == "self":
        return [Symbol(where.name, f"{outer}.{attributes[0]}")] if inner and attributes else []
    own = [Symbol(where.name, f"{outer}.{root}")] if inner and root != inner and where.found(f"{outer}.{root}") else []
    # A method does not see the names of its class, except in defaults and decorators.
    if own and any(isinstance(node, _FUNCTIONS) for node in where.found(outer)):
        return own
    if root in definition.imported:
        return _of_import(*definition.imported[root], tuple(attributes))
    if root in where.defined:
        return [Symbol(where.name, root)]
    return _of_import(*where.imported[root], tuple(attributes)) if root in where.imported else own


def bases(where: Module, name: str) -> list[Symbol]:
    """The base classes of a class of a module, as far as they are followed."""
    found: list[Symbol] = []
    for node in where.found(name):
        for base in node.bases if isinstance(node, ast.ClassDef) else ():
            chain = next(chains(base), ())
            if chain and chain[0] in where.imported:
                found += _of_import(*where.imported[chain[0]], chain[1:])
            elif chain and chain[0] in where.defined:
                found.append(Symbol(where.name, chain[0]))
    return found


def _inherited(where: Module, name: str) -> list[Symbol]:
    """Possible places of a method that a class does not define itself."""
    outer, _, inner = name.partition(".")
    return [Symbol(each.module, f"{each.name}.{inner}") for each in bases(where, outer)] if inner else []


def _of_import(imported: str, name: str | None, attributes: Chain) -> list[Symbol]:
    if name is not None:
        return [Symbol(imported, name)]
    while attributes and located(f"{imported}.{attributes[0]}"):
        imported, attributes = f"{imported}.{attributes[0]}", attributes[1:]
    where = module(imported)
    if where is None:
        return []
    # An attribute of a module; a module that is passed around stands for all its definitions.
    return [Symbol(imported, attributes[0])] if attributes else [Symbol(imported, each) for each in where.defined]
