#!lua
-- The steps of a restore. Sent with each call, so that no server needs to have it and none keeps it. While there is `restoring`
-- and no owner, no server starts on the ledger; the last step atomically writes everything that makes it valid.
--
-- KEYS: the state (a hash), the frames (a stream), then all snapshot locations (hashes). ARGV[1]: the step, ARGV[2]: a token of
-- this restore. Replies OK, or TAKEN if the ledger belongs to another process.

local step, token = ARGV[1], ARGV[2]
local state = redis.call('HMGET', KEYS[1], 'owner', 'restoring')
local half_made = state[2] and state[2] ~= ''
if state[1] then
  return { 'TAKEN' }
end

-- Reserves an empty ledger, or begins again after an unfinished restore: only the latter needs the right to remove keys.
if step == 'begin' then
  for _, key in ipairs(KEYS) do
    if redis.call('TYPE', key).ok ~= 'none' then
      if not half_made then
        return { 'TAKEN' }
      end
      redis.call('UNLINK', key)
    end
  end
  redis.call('HSET', KEYS[1], 'restoring', token)
  return { 'OK' }
end

if state[2] ~= token then
  return { 'TAKEN' }
end

-- ARGV[3]: number of entries that are stored, then id and frame of each entry to add.
if step == 'frames' or step == 'finish' then
  if redis.call('XLEN', KEYS[2]) ~= tonumber(ARGV[3]) then
    return { 'TAKEN' }
  end
end
if step == 'frames' then
  for at = 4, #ARGV, 2 do
    redis.call('XADD', KEYS[2], ARGV[at], 'frame', ARGV[at + 1])
  end
end

-- ARGV from 3 on: fields of the snapshot.
if step == 'snapshot' then
  redis.call('HSET', KEYS[3], unpack(ARGV, 3))
end

-- ARGV[4], ARGV[5]: id and frame of the claim, ARGV[6]: manifest of the snapshot, empty if there is none, then fields of the
-- state.
if step == 'finish' then
  redis.call('XADD', KEYS[2], ARGV[4], 'frame', ARGV[5])
  if ARGV[6] ~= '' then
    redis.call('HSET', KEYS[3], 'manifest', ARGV[6])
  end
  redis.call('HSET', KEYS[1], 'restoring', '', unpack(ARGV, 7))
end
return { 'OK' }
