-- Prepares the globals of a script and returns the functions that the sandbox needs.
local write, chunk = ...
local getinfo, load, rawget = debug.getinfo, load, rawget
local error, xpcall, type, tostring, select = error, xpcall, type, tostring, select
local setmetatable, getmetatable, find, concat = setmetatable, getmetatable, string.find, table.concat
local pack, unpack = table.pack, table.unpack

-- remove all globals but these, and the functions that lakeFS's Lua does not have
local kept = {}
for _, name in ipairs({"_G", "_VERSION", "assert", "bit32", "error", "getmetatable", "ipairs", "math", "next", "pairs",
                       "pcall", "rawequal", "rawget", "rawlen", "rawset", "select", "setmetatable", "string", "table",
                       "tonumber", "tostring", "type", "xpcall"}) do
  kept[name] = true
end
for name in pairs(_G) do
  if not kept[name] then _G[name] = nil end
end
for _, name in ipairs({"match", "gmatch", "gsub", "dump"}) do string[name] = nil end
math.log10, table.maxn = nil, nil

-- errors
function assert(...)
  if (...) then return ... end
  error(select(2, ...) or "assertion failed!", 2)
end

local function traceback(first)  -- the library function that failed, and the main chunk
  local lines, in_script, called = {"stack traceback:"}, false, nil
  for level = first, first + 200 do  -- deeper levels cost too much time
    local info = getinfo(level, "Sln")
    if not info then break end
    if info.source == chunk then
      if called and not in_script then
        local name = called.name ~= "error" and called.name
        lines[2] = "\t[Go]: in " .. (name and "function '" .. name .. "'" or "?")
      end
      in_script = true
      if info.what == "main" then
        lines[#lines + 1] = "\t" .. info.short_src .. ":" .. info.currentline .. ": in main chunk"
        break
      end
    elseif not in_script then
      called = info
    end
  end
  return concat(lines, "\n")
end

-- the basic library
debug = {traceback = function(message) return (message and message .. "\n" or "") .. traceback(3) end}
function print(...)
  local line = {}
  for at = 1, select("#", ...) do line[at] = tostring((select(at, ...))) end
  write(concat(line, "\t") .. "\n")
end
function collectgarbage() return 0 end
function string.find(text, part, start) return find(text, part, start, true) end
local function as_array(value) return setmetatable(value, {_is_array = true}) end
array = as_array

-- modules
local loaded = {_G = _G, table = table, string = string, math = math, bit32 = bit32, debug = debug}
local preload = {}
package = {loaded = loaded, preload = preload}
loaded.package = package
function require(name)
  if loaded[name] == nil then
    if preload[name] == nil then error("module '" .. tostring(name) .. "' not found", 2) end
    local value = preload[name](name)
    loaded[name] = value == nil and true or value
  end
  return loaded[name]
end

return {
  as_array = as_array,
  is_array = function(value)
    local meta = getmetatable(value)
    return type(meta) == "table" and rawget(meta, "_is_array") and true or false
  end,
  wrap = function(call)  -- call returns whether it succeeded, then its results or the error message
    return function(...)
      local results = pack(call(...))
      if results[1] then return unpack(results, 2, results.n) end
      error(results[2], 2)
    end
  end,
  provide = function(name, functions)
    loaded[name] = loaded[name] or {}
    for key, value in next, functions do loaded[name][key] = value end
  end,
  run = function(source, variables)
    for name, value in next, variables do _G[name] = value end
    local script, problem = load(source, chunk, "t")
    if not script then return "syntax error", problem end
    local passed, message = xpcall(script, function(raised) return tostring(raised) .. "\n" .. traceback(3) end)
    if not passed then return "runtime error", tostring(message) end
  end,
}
