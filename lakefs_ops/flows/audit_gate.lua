-- Refuses a merge whose source commit has no valid audit certificate for this branch (docs/enforced-audits.md).
-- Arguments: key, certificates (a branch), max_age_hours, exact.
local hook = require("hook")
local lakefs = require("lakefs")
local json = require("encoding/json")
local hex = require("encoding/hex")
local hmac = require("crypto/hmac")
local time = require("time")

local branch = action.branch_id
local result = "; nothing was merged into '" .. branch .. "'"
if action.event_type == "post-merge" then
  result = "; commit " .. action.commit_id .. " of '" .. branch .. "' is not audited: revert it"
end

local function refuse(problem)
  hook.fail("audit gate: " .. problem .. result)
end

if action.event_type == "pre-cherry-pick" then
  refuse("a cherry-pick creates content that no audit has seen; merge an audited commit instead")
end
if type(args.key) ~= "string" or #args.key < 16 then
  refuse("the lakeFS server does not have the audit key: set its environment variable, at least 16 characters")
end

-- The id of a commit is a hash of its content, so a certificate for the id is one for exactly this content.
local source = action.commit.parents[2]
if not source then
  refuse("a squash merge leaves the audited commit out of the history, so it could be merged again; do not squash")
end

local path = "certificates/" .. branch .. "/" .. source .. ".json"
local status, body = lakefs.get_object(action.repository_id, args.certificates, path)
if status == 404 then
  refuse("commit " .. source .. " has no audit certificate for '" .. branch .. "'; run its audit, and merge that commit")
elseif status ~= 200 then
  refuse("the certificate of commit " .. source .. " cannot be read (HTTP " .. status .. ")")
end

local readable, signed = pcall(json.unmarshal, body)
if not readable or type(signed) ~= "table" or type(signed.payload) ~= "string" then
  refuse("the certificate of commit " .. source .. " is not readable")
end
if hex.encode(hmac.sign_sha256(signed.payload, args.key)) ~= signed.signature then
  refuse("the certificate of commit " .. source .. " was signed with another key, or changed after it was signed")
end

local certificate = json.unmarshal(signed.payload)
local expected = {
  kind = "lakefs-ops.audit-certificate/1",
  repository = action.repository_id,
  destination = branch,
  commit = source,
  verdict = "passed",
}
for name, value in pairs(expected) do
  if certificate[name] ~= value then
    refuse("the certificate of commit " .. source .. " is for another " .. name .. ": " .. tostring(certificate[name]))
  end
end

local strategy = action.commit.metadata[".lakefs.merge.strategy"]
if strategy ~= "default" and strategy ~= certificate.strategy then
  refuse("the audit of commit " .. source .. " does not allow the merge strategy " .. tostring(strategy))
end
local age = time.since(time.parse_iso(certificate.date)) / 3.6e12
if age > args.max_age_hours then
  refuse("the audit of commit " .. source .. " is older than " .. args.max_age_hours .. " hours; audit again")
end
if args.exact and action.commit.meta_range_id ~= certificate.tree then
  refuse("'" .. branch .. "' has changed since commit " .. source .. " was created from it, so the merge would have"
    .. " content that no audit has seen; merge '" .. branch .. "' into the source, and audit again")
end
