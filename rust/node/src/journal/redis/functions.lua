#!lua name=invengine_journal
-- The only code that writes a journal in Redis. Each function checks everything first and writes last, and compares
-- texts only: a number of Lua loses digits beyond 2^53.
--
-- KEYS: the state (a hash), the frames (a stream). ARGV[1]: the version the caller was made for.
-- Answers: a status, then what is stored: owner, epoch, last sequence, chain, entries.

local VERSION = '1'
local NOTHING = { '', '0', '0', '', '0' }

local function stored(keys)
  local state = redis.call('HMGET', keys[1], 'owner', 'epoch', 'last', 'chain', 'entries')
  for field = 1, 5 do
    if not state[field] then
      return NOTHING
    end
  end
  return state
end

local function answer(status, state)
  return { status, state[1], state[2], state[3], state[4], state[5] }
end

local function is_whole(keys, state)
  return string.format('%d', redis.call('XLEN', keys[2])) == state[5]
end

-- Adds an entry and moves the state, or does neither. Both rights are checked first: a script that fails half way is not
-- undone. An id that does not fit fails in XADD, before the state.
local function write(keys, id, frame, ...)
  if not redis.acl_check_cmd('XADD', keys[2], id, 'frame', '') or not redis.acl_check_cmd('HSET', keys[1], 'last', '') then
    return redis.error_reply('NOPERM this user may not run XADD and HSET on the keys of this journal')
  end
  redis.call('XADD', keys[2], id, 'frame', frame)
  redis.call('HSET', keys[1], ...)
  return { 'OK' }
end

-- Why this caller may not write, if it may not.
local function refused(keys, state, owner, epoch)
  if state == NOTHING then
    return answer('GONE', state)
  end
  if state[1] ~= owner or state[2] ~= epoch then
    return answer('FENCED', state)
  end
  if not is_whole(keys, state) then
    return answer('DAMAGED', { state[1], state[2], state[3], state[4], string.format('%d', redis.call('XLEN', keys[2])) })
  end
  return nil
end

-- ARGV: version, owner, epoch, then last, chain, entries before and after, then id and frame.
local function append(keys, args)
  local state = stored(keys)
  local no = refused(keys, state, args[2], args[3])
  if no then
    return no
  end
  if state[3] == args[7] and state[4] == args[8] and state[5] == args[9] then
    return answer('OK', state)
  end
  if state[3] ~= args[4] or state[4] ~= args[5] or state[5] ~= args[6] then
    return answer('ELSEWHERE', state)
  end
  return write(keys, args[10], args[11], 'last', args[7], 'chain', args[8], 'entries', args[9])
end

-- ARGV: version, new owner, new epoch, then epoch, last, chain, entries as the caller read them (chain empty: nothing is
-- stored), then chain and entries after the claim, its id and frame, then ledger and format.
local function claim(keys, args)
  local state = stored(keys)
  if not is_whole(keys, state) then
    return answer('DAMAGED', state)
  end
  if state[2] ~= args[4] or state[3] ~= args[5] or state[4] ~= args[6] or state[5] ~= args[7] then
    return answer('ELSEWHERE', state)
  end
  return write(keys, args[10], args[11], 'owner', args[2], 'epoch', args[3], 'last', args[5], 'chain', args[8],
    'entries', args[9], 'ledger', args[12], 'format', args[13])
end

-- ARGV: version, new owner. From now on the writer before is refused, so that the end stands still for a claim.
local function seal(keys, args)
  local state = stored(keys)
  if state == NOTHING then
    return answer('GONE', state)
  end
  redis.call('HSET', keys[1], 'owner', args[2])
  return { 'OK' }
end

-- ARGV: version, owner, epoch. Writes although nothing changes: whoever waits for disks and replicas after it has waited
-- for everything before it.
local function resume(keys, args)
  local state = stored(keys)
  local no = refused(keys, state, args[2], args[3])
  if no then
    return no
  end
  redis.call('HSET', keys[1], 'owner', args[2])
  return answer('OK', state)
end

-- Writes nothing, but the server admits it only if it would admit a write now.
local function room(keys, args)
  return { 'OK' }
end

-- Each function first makes sure that its caller was made for this version.
local function register(name, act)
  redis.register_function(name, function(keys, args)
    if args[1] ~= VERSION then
      return { 'VERSION', VERSION }
    end
    return act(keys, args)
  end)
end

register('invengine_append', append)
register('invengine_claim', claim)
register('invengine_seal', seal)
register('invengine_resume', resume)
register('invengine_room', room)
