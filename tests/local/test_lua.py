"""What a Lua script finds, and what it is told: the words are those of lakeFS 1.84, observed."""

from __future__ import annotations

import pytest

from lakefs_ops.local.actions.lua.layouts import InvalidMoment, read, written
from lakefs_ops.local.actions.lua.library import METHODS, MODULES
from lakefs_ops.local.actions.lua.sandbox import Sandbox
from lakefs_ops.local.actions.web import HookFailed


def run(code):
    printed = []
    sandbox = Sandbox(MODULES, METHODS, printed.append)
    sandbox.set("args", {"one": 1, "list": ["x"]})
    sandbox.run(code)
    return "".join(printed)


def failure(code):
    with pytest.raises(HookFailed) as caught:
        run(code)
    return str(caught.value)


@pytest.mark.parametrize(
    ("code", "printed"),
    [
        ("math.huge, 0/0, 1/0, -1/0, 1e15, 1/3", "1.7976931348623e+308|NaN|+Inf|-Inf|1e+15|0.33333333333333"),
        ("('a.b'):find('.'), ('x'):find('b', 1, false)", "2|nil"),
        ("('ÀB'):lower(), ('hé'):reverse(), #'é'", "àb|éh|2"),
        ("string.format('%05.1f %x %s %g', 2.25, 255, nil, 1/3)", "002.2 ff nil 0.3333333333333333"),
        ("xpcall(function() error('x') end, print)", "false|error in error handling"),
        ("pcall(error, {})", "false|bad argument #-1 to '?' (string expected, got table)"),
        ("select(2, pcall(require, 'aws'))", "module 'aws' not found: \n\tno field package.preload['aws']?.lua"),
        ("string.match, string.gsub, math.log10, package.loadlib", "nil|nil|nil|nil"),
        ("#args.list, getmetatable(args.list)._is_array, getmetatable(args)", "1|true|nil"),
        ("json.marshal({b = {1.5, true}}, {indent = ' '})", None),
        ("json.marshal({a = args.list, b = '<', c = 1e21})", '{"a":["x"],"b":"\\u003c","c":1e+21}\n'),
        ("json.unmarshal('[1, {\"a\": null}]')[1]", "1"),
        ("yaml.marshal({a = {b = 1}, c = args.list, d = 'true'})", 'a:\n    b: 1\nc:\n    - x\nd: "true"\n'),
        ("yaml.unmarshal('a: yes').a", "yes"),
        ("base64.url_encode('?>'), base64.decode('aGVs\\nbG8=')", "Pz4|hello"),
        ("pcall(base64.decode, 'a!bc')", "false|illegal base64 data at input byte 1"),
        ("pcall(hex.decode, '6g')", "false|encoding/hex: invalid byte: U+0067 'g'"),
        ("hex.encode(require('crypto/hmac').sign_sha1('msg', 'key'))", "102900b72b7bf1031eec76b4804b66052376896b"),
        ("path.join('/', 'a', '/b/', 'c'), path.parse('a/b/').base_name, path.is_hidden('a/_b/c')", "a/b/c|b|true"),
        ("url.parse('HTTPS://u@h:1/a%20b?q#f').path, url.path_escape('a b/c')", "/a b|a%20b%2Fc"),
        ("url.build_url('s3', 'b', '/k', 'x=1', 'f')", "s3://b/k?x=1#/k"),
        ("regexp.compile('(a)(\\\\d)').find_all_submatch('a1 a2', -1)[2][3]", "2"),
        ("time.format(1.6e18, '2006-01-02 15:04', 'Europe/Berlin')", "2020-09-13 14:26"),
        ("time.parse_iso('2020-02-03T04:05:06+02:00'), time.add(0, {minute = 1})", "1.580695506e+18|60000000000"),
        ("#require('uuid').new()", "36"),
    ],
)
def test_what_a_script_prints(code, printed):
    modules = "".join(
        f"local {name.rpartition('/')[2]} = require('{name}')\n"
        for name in (
            "encoding/json", "encoding/yaml", "encoding/base64", "encoding/hex", "path", "net/url", "regexp", "time",
        )
    )  # fmt: skip
    if printed is None:
        assert failure(f"{modules}print({code})").startswith("runtime error: invalid key to 'next'\n")
    else:
        assert run(f"{modules}print({code})") == printed.replace("|", "\t") + "\n"


MAIN = '\n\t[string "lua"]:1: in main chunk'


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("nope()", "attempt to call a nil value"),
        ("local x; x()", "attempt to call local 'x' (a nil value)"),
        ("print(args.a.b)", "attempt to index local 'b' (a nil value)"),
        ("args.a.b = 1", "attempt to index local 'a' (a nil value)"),
        ("io.x = 1", "attempt to index global 'io' (a nil value)"),
        ("nope:f()", "attempt to index method 'f' (a nil value)"),
        ("print(args.a + 1)", "attempt to perform arithmetic on a nil value"),
        ("print(args.one + nope)", "attempt to perform arithmetic on global 'nope' (a nil value)"),
        ("print('a' .. args.a)", "attempt to concatenate local 'a' (a nil value)"),
        ("print(nope < 1)", "attempt to compare 'nil' with 'number'"),
    ],
)
def test_values_are_named_as_the_interpreter_of_lakefs_names_them(code, told):
    assert failure(code) == f'runtime error: [string "lua"]:1: {told}\nstack traceback:{MAIN}'


@pytest.mark.parametrize(
    ("code", "caller"),
    [
        ("error('x')", "?"),
        ("error('x') print(1)", "function '__index'"),
        ("for _, v in ipairs({1}) do error('x') end", "function 'for iterator'"),
    ],
)
def test_a_function_is_called_what_the_next_instruction_is_for(code, caller):
    assert failure(code) == f'runtime error: [string "lua"]:1: x\nstack traceback:\n\t[Go]: in {caller}{MAIN}'


def test_a_bad_argument_is_of_the_function_that_is_called_next():
    told = failure("print(string.rep('a', {}))").splitlines()[0]
    assert told.endswith("bad argument #2 to 'print' (number expected, got table)")


def test_a_tail_call_is_told():
    told = failure("local function f() return error('x') end\nreturn f()").splitlines()
    assert told[0] == 'runtime error: [string "lua"]:1: x'
    assert told[-2:] == ['\t[string "lua"]:1: in function <[string "lua"]:1>', "\t(...tail calls...)"]


def test_who_raises_nothing_is_told_nothing():
    assert failure("error()").startswith("runtime error: stack traceback:\n")


def test_a_refusal_is_found_in_whatever_is_raised():
    assert failure("error('a <HookFailure>b</HookFailure> c')") == "b"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("x = = 1", "unexpected symbol near ="),
        ("if x then", "'end' expected near <eof>"),
        ("print(1", ") expected near <eof>"),
        ("x = 5 5", "unexpected symbol near 5.000000"),
        ("local s = 'abc", "unfinished string near "),
        ("end", "<eof> expected near 'end'"),
    ],
)
def test_scripts_that_cannot_be_read(code, told):
    assert failure(code) == f'syntax error: [string "lua"]:1: {told}'


@pytest.mark.parametrize(
    ("layout", "text", "told"),
    [
        ("2006-01-02", "x", 'parsing time "x" as "2006-01-02": cannot parse "x" as "2006"'),
        ("2006-01-02", "2020-02-30", 'parsing time "2020-02-30": day out of range'),
        ("2006-01-02", "2020-02-03x", 'parsing time "2020-02-03x": extra text: "x"'),
    ],
)
def test_moments_that_are_none(layout, text, told):
    with pytest.raises(InvalidMoment) as caught:
        read(layout, text)
    assert str(caught.value) == told


def test_a_moment_is_read_as_it_is_written():
    layout = "Mon, 2 Jan 2006 15:04:05.000 -0700"
    assert written(read(layout, "Tue, 3 Mar 2020 04:05:06.789 +0230"), layout) == "Tue, 3 Mar 2020 04:05:06.789 +0230"
