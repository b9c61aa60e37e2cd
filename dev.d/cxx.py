"""Enough understanding of C++ text for the house rules: code without comments and literals, functions and their length, variables that anybody can change."""
import re
from functools import cache

from machine import ROOT

_LITERAL_OR_COMMENT = re.compile(
    r'//(?:\\\n|[^\n])*'  # comment to the end of the line
    r'|/\*.*?\*/'
    r'|R"(?P<mark>[^\s()\\]{0,16})\(.*?\)(?P=mark)"'  # raw string
    r'|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'",  # not the separator in 1'000
    re.DOTALL,
)
_PREPROCESSOR = re.compile(r"^[ \t]*#(?:\\\n|[^\n])*", re.MULTILINE)
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)


def _blank(match):
    return re.sub(r"[^\n]", " ", match[0])


@cache
def text(path):
    return (ROOT / path).read_text()


@cache
def code(path):
    """The text with comments, literals and preprocessor lines blanked out: offsets and lines stay what they were."""
    return _PREPROCESSOR.sub(_blank, _LITERAL_OR_COMMENT.sub(_blank, text(path)))


def line_of(path, offset):
    return text(path).count("\n", 0, offset) + 1


@cache
def includes(path):
    """(line, '<' or '"', name) of each include."""
    return [(line_of(path, match.start()), match[1], match[2]) for match in _INCLUDE.finditer(text(path))]


@cache
def closure(path):
    """The file and all of ours that it includes, directly or not."""
    found, todo = set(), [path]
    while todo:
        now = todo.pop()
        if now in found:
            continue
        found.add(now)
        for _, _, name in includes(now):
            todo += [root + name for root in ("include/", "src/", "tests/") if (ROOT / root / name).is_file()]
    return sorted(found)


class Function:
    def __init__(self, name, first, last):
        self.name, self.first, self.last = name, first, last


def scan(path):
    """(functions, namespace-scope statements as (line, text)). A scanner, not a parser: it knows scopes by their braces and by what stands before them."""
    text_of = code(path)
    functions, statements, scopes = [], [], []
    head, parens, depth = 0, 0, 0  # where the declaration began; open parentheses in it; open braces inside a body that we do not look into
    for match in re.finditer(r"[{}();]", text_of):
        at, sign = match.start(), match[0]
        if depth > 0:
            depth += {"{": 1, "}": -1}.get(sign, 0)
            if depth == 0:
                kind, begun = scopes.pop()
                if kind == "function":
                    functions.append(Function(_name(text_of[head:begun]), line_of(path, _skip(text_of, head)), line_of(path, at)))
                if kind != "value":
                    head = at + 1
            continue
        if sign in "()":
            parens += 1 if sign == "(" else -1
        elif parens > 0:
            continue
        elif sign == ";":
            if all(kind == "namespace" for kind, _ in scopes):
                statements.append((line_of(path, _skip(text_of, head)), text_of[head:at].strip()))
            head = at + 1
        elif sign == "{":
            kind = _kind(text_of[head:at])
            scopes.append((kind, at))
            if kind in ("namespace", "type"):
                head = at + 1
            else:
                depth = 1
        elif scopes:
            scopes.pop()
            head = at + 1
    return functions, statements


def _skip(text_of, at):
    while at < len(text_of) and text_of[at].isspace():
        at += 1
    return at


def _kind(head):
    """What the brace after this text opens: namespace, type, function, or a value (an initializer, an enumeration)."""
    head = re.sub(r"\btemplate\s*<[^{}();]*>|\balignas\s*\([^)]*\)|\[\[[^\]]*\]\]", " ", head)
    if re.search(r"\bnamespace\b|\bextern\s*$", head):
        return "namespace"
    if "(" not in head:
        return "type" if re.search(r"\b(class|struct|union)\b", head) and "=" not in head else "value"
    if re.search(r"\)\s*(noexcept\s*)?:(?!:)", head) and re.search(r"[\w>]\s*$", head):
        return "value"  # a member's initializer: the body comes later
    return "function"


def _name(head):
    match = re.search(r"([\w:~]+)\s*\(([^(),]*,[^(),]*)?", head)
    if match and match[1].startswith("TEST"):
        return f"{match[1]}({(match[2] or '').strip()})"
    return match[1] if match else "?"


def mutable_globals(path):
    """(line, text) of variables that outlive a call and can change: at namespace scope, or static."""
    for line, statement in scan(path)[1]:
        words = re.sub(r"\[\[.*?\]\]", "", statement)
        if re.match(r"(using|typedef|friend|namespace|static_assert|template|extern|class|struct|union|enum|static|thread_local)\b", words):
            continue
        if re.search(r"\b(const|constexpr)\b", words) or "(" in words.split("=")[0]:
            continue
        if re.match(r"[\w:<>,\s*&]+[\s*&]\w+\s*(\[.*\]\s*)?(=.*|\{.*\})?$", words, re.DOTALL):
            yield line, " ".join(words.split())[:60]
    for match in re.finditer(r"\b(static|thread_local)\b([^;={(]*)([;={(])", code(path)):
        if match[3] != "(" and not re.search(r"\b(const|constexpr)\b", match[2]):
            yield line_of(path, match.start()), " ".join(match[0].split())[:60]
