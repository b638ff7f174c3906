-- What a script finds when it begins, in the place of Lua's own libraries.
local call, write, word, patched, limit, chunk, functions, methods, most_frames = ...
local hook, getinfo, getlocal, getupvalue = debug.sethook, debug.getinfo, debug.getlocal, debug.getupvalue
local loading, dump, xpcall_, error_, text, kind_of = load, string.dump, xpcall, error, tostring, type
local pack, unpack_, concat = table.pack, table.unpack, table.concat
local formatted, find, gsub = string.format, string.find, string.gsub
local select, meta, pairs_, ipairs_, getmeta, rawget, _G = select, setmetatable, pairs, ipairs, getmetatable, rawget, _G
local exhausted = false

-- errors
local function shown(value, seen)  -- a text that is the same for the same value only
  if value == nil or value ~= value then return kind_of(value) end
  if not seen[value] then
    seen.count = seen.count + 1
    seen[value] = kind_of(value) .. " " .. seen.count
  end
  return seen[value]
end
local function stack(most)
  local frames, count, level, seen = {}, 0, 3, {count = 0}
  local last
  while count < most do
    local info = getinfo(level, "Slntf")
    if not info then break end
    local frame = {what = info.what, line = info.currentline, defined = info.linedefined, tail = info.istailcall,
                   name = info.name, kind = info.namewhat}
    if info.source == chunk then
      frame.code = dump(info.func)
      if not last then
        frame.registers, frame.upvalues = {}, {}
        for at = 1, 255 do
          local name, value = getlocal(level, at)
          if not name then break end
          frame.registers[at] = shown(value, seen)
        end
        for at = 1, 255 do
          local name, value = getupvalue(info.func, at)
          if not name then break end
          frame.upvalues[at] = shown(value, seen)
        end
      end
    end
    -- what is not the script's counts as one function, but for what pcall calls
    if frame.code or not last or last.code or info.func == xpcall_ then count = count + 1 end
    frames[count], last = frame, frame
    if frame.code and frame.what == "main" then break end
    level = level + 1
  end
  frames.n = count
  return frames
end
local function refuse() exhausted = true; error_("the script ran too long", 0) end
local function passed_on(...)
  if exhausted then error_("the script ran too long", 0) end  -- a script cannot catch its own end
  return ...
end
local function caught(raised) return (word(text(raised), stack(3), false)) end
local function wrong(number, problem, level)
  error_("bad argument #" .. number .. " to '?' (" .. problem .. ")", (level or 1) + 2)
end
local function expected(number, kind, count, value)
  wrong(number, kind .. " expected, got " .. (count < number and "no value" or kind_of(value)), 2)
end

function error(raised, level)
  local kind = kind_of(raised)
  if kind ~= "string" and kind ~= "number" then
    error_("bad argument #-1 to '?' (string expected, got " .. kind .. ")", 2)
  end
  level = level or 1
  error_(raised, level > 0 and level + 1 or 0)
end
function pcall(...)
  if select("#", ...) == 0 then wrong(1, "value expected") end
  return passed_on(xpcall_((...), caught, select(2, ...)))
end
function xpcall(...)
  if select("#", ...) < 2 then wrong(2, "value expected") end
  local results = pack(passed_on(xpcall_((...), function() end, select(3, ...))))
  if results[1] then return unpack_(results, 1, results.n) end
  return false, "error in error handling"
end
function assert(...)
  if (...) then return ... end
  local message = select(2, ...)
  if message == nil then message = "assertion failed!" end
  local kind = kind_of(message)
  if kind ~= "string" and kind ~= "number" then wrong(2, "string expected, got " .. kind) end
  error_(message, 2)
end

-- the basic library
for _, name in ipairs_({"python", "os", "io", "load", "loadfile", "loadstring", "dofile", "coroutine", "unpack"}) do
  _G[name] = nil
end
for _, name in ipairs_({"match", "gmatch", "gsub", "dump"}) do string[name] = nil end
for _, name in ipairs_({"log10", "maxn"}) do math[name], table[name] = nil, nil end
math.huge = 1.7976931348623157e308
function tostring(...)
  if select("#", ...) == 0 then wrong(1, "value expected") end
  local value = ...
  if kind_of(value) == "number" then
    if value ~= value then return "NaN" end
    if value == 1 / 0 then return "+Inf" end
    if value == -1 / 0 then return "-Inf" end
  end
  return text(value)
end
function print(...)
  local line = {}
  for at = 1, select("#", ...) do
    local shown = tostring((select(at, ...)))
    if kind_of(shown) ~= "string" then error_("'tostring' must return a string to 'print'", 2) end
    line[at] = shown
  end
  write(concat(line, "\t") .. "\n")
end
function collectgarbage(option)
  if option == nil or option == "collect" then return 0 end
  if option == "step" then return true end
  if option == "count" then return 0, 0 end
  return -1
end
function array(...)
  if select("#", ...) == 0 then error_("assertion failure", 0) end
  return meta((...), {_is_array = true})
end
debug = {traceback = function(message)
  local told = word("", stack(most_frames), true)
  return (message and message .. "\n" or "") .. told
end}
function string.format(...)
  local given, at, count = {...}, 1, select("#", ...)
  if kind_of(given[1]) ~= "string" and kind_of(given[1]) ~= "number" then expected(1, "string", count, given[1]) end
  return (gsub(text(given[1]), "%%([-+ #0]*%d?%d?%.?%d?%d?)(.?)", function(flags, kind)
    if kind == "%" and flags == "" then return "%" end
    if kind == "" then return "%" end
    at = at + 1
    if at > count then wrong(at, "no value", 3) end
    local value = given[at]
    if find("diuoxXceEfgG", kind, 1, true) then
      local number = tonumber(value)
      if not number or kind_of(value) == "table" then
        wrong(at, "number expected, got " .. kind_of(value), 3)
      end
      if (kind == "d" or kind == "i") and number % 1 ~= 0 then
        wrong(at, "number has no integer representation", 3)
      elseif kind == "u" and (number % 1 ~= 0 or number < 0) or find("oxX", kind, 1, true) and number < 0 then
        wrong(at, "not a non-negative number in proper range", 3)
      end
      if (kind == "g" or kind == "G") and not find(flags, ".", 1, true) then
        return call("number", "shortest", 3, flags, kind, number)[2]
      end
      return formatted("%" .. flags .. kind, number)
    elseif kind == "q" then
      if kind_of(value) ~= "string" and kind_of(value) ~= "number" then
        wrong(at, "string expected, got " .. kind_of(value), 3)
      end
      return formatted("%q", value)
    elseif kind == "s" then
      return formatted("%" .. flags .. "s", tostring(value))
    end
    error_("invalid option %" .. kind .. " to 'lua_pushfstring'", 0)
  end))
end

-- modules
local function bound(module, name, first, depth)
  return function(...)
    local answer
    if first then
      answer = call(module, name, select("#", ...) + 1, first, ...)
    else
      answer = call(module, name, select("#", ...), ...)
    end
    if answer[1] then return unpack_(answer, 2, answer.n) end
    error_(answer[2], answer[3] > 0 and answer[3] + (depth or 0) or 0)
  end
end
local loaded = {_G = _G, table = table, string = string, math = math, bit32 = bit32, debug = debug}
for module, names in pairs_(functions) do
  loaded[module] = loaded[module] or {}
  for _, name in pairs_(names) do loaded[module][name] = bound(module, name) end
end
local compile = bound("regexp", "compile", nil, 1)
function loaded.regexp.compile(...)
  compile(...)
  local expression = {}
  for _, name in pairs_(methods) do expression[name] = bound("expression", name, (...)) end
  return expression
end
package = {loaded = loaded, preload = {}, path = "?.lua", config = "/\n;\n?\n!\n-\n"}
loaded.package = package
local preload = package.preload
function require(...)
  local name = ...
  if kind_of(name) == "number" then name = text(name) end
  if kind_of(name) ~= "string" then expected(1, "string", select("#", ...), name) end
  if not loaded[name] then
    if preload[name] == nil then
      error_("module '" .. name .. "' not found: \n\tno field package.preload['" .. name .. "']?.lua", 2)
    end
    local made = preload[name](name)
    if made ~= nil then loaded[name] = made elseif loaded[name] == nil then loaded[name] = true end
  end
  return loaded[name]
end

local function is_array(value)
  local its = getmeta(value)
  return kind_of(its) == "table" and rawget(its, "_is_array") and true or false
end
return {is_array = is_array, as_array = function(value) return meta(value, {_is_array = true}) end,
  set = function(name, value) _G[name] = value end,
  run = function(code)
    local started, problem = loading(code, chunk, "t")
    if not started then return "syntax", problem end
    started = loading(patched(dump(started)), chunk, "b")
    hook(refuse, "", limit)
    local ended, what = xpcall_(started, function(raised) return {word(text(raised), stack(most_frames), true)} end)
    hook()
    if ended then return "ended" end
    if kind_of(what) ~= "table" then return "raised", text(what), "" end  -- no memory is left for the handler
    return "raised", what[1], what[2]
  end}
