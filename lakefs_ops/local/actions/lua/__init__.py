"""Lua hooks, as lakeFS 1.84 runs them.

`hook` gives a script the repository, `sandbox` runs it behind ``prelude.lua``, which is what the script finds in the
place of Lua's own libraries. `library` has the modules that it may require, `arguments` and `layouts` what they need.
`stacks` words what goes wrong as lakeFS does, by what `bytecode` reads off the script.
"""
