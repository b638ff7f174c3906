"""What a Lua script finds and prints, and how its errors are reported."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lakefs_ops.local.actions.cancellation import Cancellation, HookFailed
from lakefs_ops.local.actions.lua import process, sandbox, times
from lakefs_ops.local.actions.lua.sandbox import ScriptFailed, run


def output(code, request=None):
    printed = []
    run(code, {"args": {"one": 1, "list": ["x"]}}, write=printed.append, request=request)
    return "".join(printed)


def failure(code):
    with pytest.raises(ScriptFailed) as caught:
        output(code)
    return str(caught.value)


REQUIRES = "".join(
    f"local {name.rpartition('/')[2]} = require('{name}')\n"
    for name in (
        "encoding/json", "encoding/yaml", "encoding/base64", "encoding/hex", "path", "net/url", "regexp", "strings",
        "time",
    )
)  # fmt: skip


@pytest.mark.parametrize(
    ("code", "printed"),
    [
        ("1, 2.5, 1e15, 1/3", "1|2.5|1e+15|0.33333333333333"),
        ("('a.b'):find('.'), ('x'):find('b', 1, false)", "2|nil"),
        ("('ÀB'):lower(), ('hé'):reverse(), #'é'", "àb|éh|2"),
        ("string.format('%05.1f %x %s', 2.25, 255, nil)", "002.2 ff nil"),
        ("select(2, pcall(require, 'aws'))", "module 'aws' not found"),
        ("string.match, string.gsub, math.log10, package.loadlib", "nil|nil|nil|nil"),
        ("#args.list, getmetatable(args.list)._is_array, getmetatable(args)", "1|true|nil"),
        ("json.marshal({a = args.list, c = 1e21})", '{"a":["x"],"c":1e+21}\n'),
        ("json.marshal({a = args.list}, {prefix = '>', indent = ' '})", '{\n> "a": [\n>  "x"\n> ]\n>}\n'),
        ("json.unmarshal('[1, {\"a\": null}]')[1]", "1"),
        ("yaml.marshal({a = {b = 1}, c = args.list, d = 'true'})", "a:\n  b: 1\nc:\n- x\nd: 'true'\n"),
        ("yaml.unmarshal('a: yes').a", "yes"),
        ("base64.url_encode('?>'), base64.url_decode('Pz4'), base64.decode('aGVs\\nbG8=')", "Pz4|?>|hello"),
        ("hex.encode(require('crypto/hmac').sign_sha1('msg', 'key'))", "102900b72b7bf1031eec76b4804b66052376896b"),
        ("hex.encode(require('crypto/sha256').digest('x')):sub(1, 8), hex.decode('6A')", "2d711642|j"),
        ("path.join('/', 'a', '/b/', 'c'), path.parse('a/b/').base_name, path.is_hidden('a/_b/c')", "a/b/c|b|true"),
        ("path.extract_dir_name('a/b/c'), path.extract_dir_name('c'), path.default_separator()", "a/b|.|/"),
        ("url.parse('HTTPS://u@h:1/a%20b?q#f').path, url.path_escape('a b/c')", "/a b|a%20b%2Fc"),
        ("url.parse('HTTPS://u@h:1/').host, url.query_unescape('a+b%2Fc')", "h:1|a b/c"),
        ("url.build_url('s3', 'b', '/k', 'x=1', 'f')", "s3://b/k?x=1#/k"),
        ("regexp.compile('(a)(\\\\d)').find_all_submatch('a1 a2', -1)[2][3]", "2"),
        ("regexp.compile('a.').find('ba1'), regexp.match('^b', 'ab'), regexp.quote_meta('a.b')", "a1|false|a\\.b"),
        ("strings.replace('aaa', 'a', 'b', 2), strings.trim(' x '), strings.contains('ab', 'b')", "bba|x|true"),
        ("time.format(1.6e18, '2006-01-02 15:04', 'Europe/Berlin')", "2020-09-13 14:26"),
        ("time.format_iso(1.6e18)", "2020-09-13T12:26:40+00:00"),
        ("time.parse_iso('2020-02-03T04:05:06+02:00'), time.add(0, {minute = 1})", "1.580695506e+18|60000000000"),
        ("#require('uuid').new()", "36"),
    ],
)
def test_output(code, printed):
    assert output(f"{REQUIRES}print({code})") == printed.replace("|", "\t") + "\n"


@pytest.mark.parametrize(
    "code",
    [
        "json.marshal({b = {1.5, true}})",
        "json.unmarshal('{')",
        "base64.decode('a!bc')",
        "hex.decode('6g')",
        "url.query_unescape('%zz')",
        "regexp.match('(', '')",
        "time.parse('2006-01-02', '2020-02-30')",
        "time.format(0, '2006', 'Nowhere')",
        "path.join('/', {})",
        "strings.replace('a', 'b', 'c', 'd')",
    ],
)
def test_an_unusable_argument_is_an_error_at_the_line_of_the_call(code):
    message = failure(f"{REQUIRES}{code}")
    line = REQUIRES.count("\n") + 1
    function = code.partition("(")[0].partition(".")[2]
    assert message.startswith(f'runtime error: [string "lua"]:{line}: ')
    assert message.endswith(
        f"\nstack traceback:\n\t[Go]: in function '{function}'\n\t[string \"lua\"]:{line}: in main chunk"
    )


def test_a_missing_argument_names_its_position_and_type():
    message = failure("require('lakefs').get_object('lake')").splitlines()[0]
    assert message == 'runtime error: [string "lua"]:1: bad argument #2 (string expected, got nil)'


@pytest.mark.parametrize(
    "code",
    [
        "nope()", "local x; x()", "print(args.a.b)", "args.a.b = 1", "io.x = 1", "nope:f()", "print(args.a + 1)",
        "print(args.one + nope)", "print('a' .. args.a)", "print(nope < 1)",
    ],
)  # fmt: skip
def test_a_runtime_error_has_its_line_and_the_line_in_the_main_chunk(code):
    message, *trace = failure("\n" + code).splitlines()
    assert message.startswith('runtime error: [string "lua"]:2: attempt to ')
    assert trace == ["stack traceback:", '\t[string "lua"]:2: in main chunk']


@pytest.mark.parametrize("code", ["error('x')", "error('x') print(1)", "for _, v in ipairs({1}) do error('x') end"])
def test_error_is_a_function_without_a_name(code):
    message = 'runtime error: [string "lua"]:1: x\nstack traceback:\n\t[Go]: in ?\n\t[string "lua"]:1: in main chunk'
    assert failure(code) == message


def test_a_traceback_leaves_out_the_functions_of_the_script():
    message = failure("local function check()\n  error('no value')\nend\ncheck()\nprint(1)").splitlines()
    assert message == [
        'runtime error: [string "lua"]:2: no value', "stack traceback:", "\t[Go]: in ?",
        '\t[string "lua"]:4: in main chunk',
    ]  # fmt: skip


def test_assert_reports_its_line():
    assert failure("\nassert(false)").startswith('runtime error: [string "lua"]:2: assertion failed!\n')
    assert failure("assert(nil, 'no')").startswith('runtime error: [string "lua"]:1: no\n')


def test_any_value_can_be_raised():
    assert failure("error()").startswith("runtime error: nil\nstack traceback:\n")
    assert failure("error({})").startswith("runtime error: table: ")
    assert output("print(pcall(error, 1))") == "false\t1\n"


def test_endless_recursion_is_an_error():
    assert "stack overflow" in failure("local function f() return 1 + f() end\nf()")


def in_process(code, cancellation=None):
    printed = []
    process.run(code, {}, write=printed.append, request=None, cancellation=cancellation or Cancellation())
    return "".join(printed)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("while true do print(string.rep('x', 1e6)) end", "printed too much"),
        ("while true do pcall(string.rep, 'x', 1e8) end", "ran too long"),
        ("for _ = 1, 1e9 do setmetatable({}, {__gc = function() while true do end end}) end", "ran too long"),
        ("require('time').sleep(60 * 1000000000)", "ran too long"),
        ("string.rep('x', 1e9)", "not enough memory"),
    ],
)
def test_the_process_of_a_script_has_limits(monkeypatch, code, problem):
    monkeypatch.setattr(process, "MAX_CPU_SECONDS", 1)
    monkeypatch.setattr(process, "MAX_SECONDS", 2.0 if "sleep" in code else 60.0)
    with pytest.raises(HookFailed, match=problem):
        in_process(code)


def test_a_finalizer_does_not_delay_the_result():
    assert in_process("setmetatable({}, {__gc = function() while true do end end}) print(1)") == "1\n"


def test_a_pattern_matches_in_linear_time():
    assert in_process("print(require('regexp').match('(a*)*b', string.rep('a', 50000)))") == "false\n"


def test_a_script_can_be_canceled():
    cancellation = Cancellation()
    threading.Timer(0.5, cancellation.cancel).start()
    with pytest.raises(HookFailed, match="context canceled"):
        in_process("require('time').sleep(60 * 1000000000)", cancellation)


def test_the_process_of_a_script_imports_little():
    code = "import sys, lakefs_ops.local.actions.lua.sandbox; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"lupa", "re2", "yaml", "uvicorn", "starlette", "pydantic"} & set(modules)


def test_a_refusal_is_found_in_whatever_is_raised():
    assert failure("error('a <HookFailure>b</HookFailure> c')") == "b"
    assert failure("local _, problem = pcall(require('hook').fail, 'b')\nerror(problem)") == "b"


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("x = = 1", "unexpected symbol near ="),
        ("if x then", "'end' expected near <eof>"),
        ("print(1", "')' expected near <eof>"),
        ("x = 5 5", "unexpected symbol near 5"),
        ("local s = 'abc", "unfinished string near <eof>"),
        ("end", "<eof> expected near end"),
    ],
)
def test_scripts_that_cannot_be_parsed(code, problem):
    assert failure(code) == f'syntax error: [string "lua"]:1: {problem}'


def test_lakefs_functions_send_requests_and_decode_the_response():
    sent = []

    def request(*arguments):
        sent.append(arguments)
        return 200, json.dumps({"results": [{"path": "a"}]}).encode()

    code = """
        local lakefs = require("lakefs")
        local status, response = lakefs.list_objects("lake", "main", "a", "b", nil, 5, true)
        print(status, #response.results, response.results[1].path)
        print(lakefs.get_object("lake", "main", "x"))
        lakefs.update_object_user_metadata("lake", "main", "x", {k = "v", n = 1})
    """
    assert output(code, request) == '200\t1\ta\n200\t{"results": [{"path": "a"}]}\n'
    lake = ("repositories", "lake")
    query = {"after": "a", "prefix": "b", "amount": "5", "user_metadata": "true"}
    assert sent == [
        ("GET", (*lake, "refs", "main", "objects", "ls"), query, None),
        ("GET", (*lake, "refs", "main", "objects"), {"path": "x"}, None),
        (
            "PUT", (*lake, "branches", "main", "objects", "stat", "user_metadata"), {"path": "x"},
            {"set": {"k": "v", "n": "1"}},
        ),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("layout", "text"), [("2006-01-02", "x"), ("2006-01-02", "2020-02-30"), ("2006-01-02", "2020-02-03x")]
)
def test_texts_that_are_not_times(layout, text):
    with pytest.raises(ValueError, match=f"cannot parse time '{text}' with layout '{layout}'"):
        times.parse(layout, text)


@pytest.mark.parametrize("layout", ["Mon, 2 Jan 2006 15:04:05 -0700", "January _2 2006, 3:04:05PM Z07:00"])
def test_a_time_is_read_as_it_is_written(layout):
    moment = 1_583_208_306 * times.SECOND
    assert times.parse(layout, times.format_moment(moment, layout, "Asia/Tokyo")) == moment


def test_the_sandbox_imports_nothing_of_the_server():
    inside = {"lakefs", "modules", "sandbox", "times", "values"}
    allowed = inside | {"yaml_loader", "patterns"}
    folder = Path(sandbox.__file__).parent
    outside = [folder.parent / "yaml_loader.py", folder.parent.parent / "patterns.py"]
    for file in [*(folder / f"{name}.py" for name in inside), *outside]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("lakefs_ops"):
                names = [alias.name for alias in node.names] if node.module.endswith(".lua") else [node.module]
                assert {name.rpartition(".")[2] for name in names} <= allowed, f"{file.name} imports {names}"
