#!lua name=invengine_journal
-- The only code that writes a journal in Redis. Each function checks everything first and writes last, and compares
-- texts where a number could have more digits than Lua keeps, which is beyond 2^53. Nothing is ever deleted: what is no longer
-- valid is overwritten with an empty value, and appends trim old frames, so that the user needs no right to delete or to trim.
--
-- KEYS: the state (a hash), the frames (a stream), then snapshot locations (hashes). ARGV[1]: the version that the caller
-- was built for. Reply: a status, then what is stored: owner, epoch, last sequence, chain, entries.

local VERSION = '2'
local NOTHING = { '', '0', '0', '', '0', '0', '' }
-- At least one node of a stream in any usual configuration, and few enough to free beside an append.
local TRIMMED_AT_ONCE_MAX = 400
-- Pieces of a snapshot that are freed at once.
local CLEARED_AT_ONCE_MAX = 16

local function stored(keys)
  local state = redis.call('HMGET', keys[1], 'owner', 'epoch', 'last', 'chain', 'entries', 'trimmed', 'trim')
  for field = 1, 5 do
    if not state[field] then
      return NOTHING
    end
  end
  state[6] = state[6] or '0'
  state[7] = state[7] or ''
  return state
end

local function answer(status, state)
  return { status, state[1], state[2], state[3], state[4], state[5] }
end

-- Number of entries ever written, according to the stream: those that are stored plus those that were trimmed.
local function found(keys, state)
  return string.format('%d', redis.call('XLEN', keys[2]) + (tonumber(state[6]) or 0))
end

local function damaged(keys, state)
  local entries = found(keys, state)
  if entries == state[5] then
    return nil
  end
  return answer('DAMAGED', { state[1], state[2], state[3], state[4], entries })
end

-- Adds an entry, and trims a few of the entries that may be trimmed: whole nodes only, which costs next to nothing.
local function add(keys, state, id, frame)
  if state[7] == '' then
    redis.call('XADD', keys[2], id, 'frame', frame)
    return
  end
  redis.call('XADD', keys[2], 'MINID', '~', state[7], 'LIMIT', TRIMMED_AT_ONCE_MAX, id, 'frame', frame)
  local trimmed = string.format('%d', tonumber(state[5]) + 1 - redis.call('XLEN', keys[2]))
  if trimmed ~= state[6] then
    redis.call('HSET', keys[1], 'trimmed', trimmed)
  end
end

-- Adds an entry and moves the state, or does neither. Both rights are checked first: a script that fails half way is not
-- undone. An id that does not fit fails in XADD, before the state.
local function write(keys, state, id, frame, ...)
  if not redis.acl_check_cmd('XADD', keys[2], id, 'frame', '') or not redis.acl_check_cmd('HSET', keys[1], 'last', '') then
    return redis.error_reply('NOPERM this user may not run XADD and HSET on the keys of this journal')
  end
  add(keys, state, id, frame)
  redis.call('HSET', keys[1], ...)
  return { 'OK' }
end

-- The reply that rejects this caller's write; nil if it may write.
local function refused(keys, state, owner, epoch)
  if state == NOTHING then
    return answer('GONE', state)
  end
  if state[1] ~= owner or state[2] ~= epoch then
    return answer('FENCED', state)
  end
  return damaged(keys, state)
end

-- ARGV: version, owner, epoch, then last, chain, entries before and after, then id and frame.
local function append(keys, args)
  local state = stored(keys)
  local rejection = refused(keys, state, args[2], args[3])
  if rejection then
    return rejection
  end
  if state[3] == args[7] and state[4] == args[8] and state[5] == args[9] then
    return answer('OK', state)
  end
  if state[3] ~= args[4] or state[4] ~= args[5] or state[5] ~= args[6] then
    return answer('ELSEWHERE', state)
  end
  return write(keys, state, args[10], args[11], 'last', args[7], 'chain', args[8], 'entries', args[9])
end

-- ARGV: version, new owner, new epoch, then epoch, last, chain, entries as the caller read them (chain empty: nothing is
-- stored), then chain and entries after the claim, its id and frame, then ledger and format.
local function claim(keys, args)
  local state = stored(keys)
  local rejection = damaged(keys, state)
  if rejection then
    return rejection
  end
  if state[2] ~= args[4] or state[3] ~= args[5] or state[4] ~= args[6] or state[5] ~= args[7] then
    return answer('ELSEWHERE', state)
  end
  return write(keys, state, args[10], args[11], 'owner', args[2], 'epoch', args[3], 'last', args[5], 'chain', args[8],
    'entries', args[9], 'ledger', args[12], 'format', args[13])
end

-- ARGV: version, new owner. From now on the previous writer is refused, so that the end does not move before a claim.
local function seal(keys, args)
  local state = stored(keys)
  if state == NOTHING then
    return answer('GONE', state)
  end
  redis.call('HSET', keys[1], 'owner', args[2])
  return { 'OK' }
end

-- ARGV: version, owner, epoch. Writes although nothing changes: a wait for disks and replicas after it also waits for
-- everything before it.
local function resume(keys, args)
  local state = stored(keys)
  local rejection = refused(keys, state, args[2], args[3])
  if rejection then
    return rejection
  end
  redis.call('HSET', keys[1], 'owner', args[2])
  return answer('OK', state)
end

-- What a snapshot location holds, and the number of the last snapshot that was begun in any location. Every change of a
-- location names that number, so that a delayed call changes nothing once another snapshot was begun.
local function place(keys)
  local fields = redis.call('HMGET', keys[3], 'header', 'extent', 'manifest')
  return {
    header = fields[1] or '',
    extent = tonumber(fields[2] or '0') or 0,
    manifest = fields[3] or '',
    begun = redis.call('HMGET', keys[1], 'begun')[1] or '0',
  }
end

-- The reply that rejects this caller's change of a location; nil if it may change it.
local function barred(keys, args)
  local rejection = refused(keys, stored(keys), args[2], args[3])
  if rejection then
    return rejection
  end
  if not redis.acl_check_cmd('HSET', keys[1], 'begun', '') or not redis.acl_check_cmd('HSET', keys[3], 'header', '') then
    return redis.error_reply('NOPERM this user may not run HSET on the keys of this journal')
  end
  return nil
end

-- ARGV: version, owner, epoch, number of the last snapshot that was begun. Clears a location and frees some of its pieces,
-- the last ones first.
local function clear(keys, args)
  local rejection = barred(keys, args)
  if rejection then
    return rejection
  end
  local at = place(keys)
  if at.begun ~= args[4] then
    return { 'UNFIT' }
  end
  local left = math.max(at.extent - CLEARED_AT_ONCE_MAX, 0)
  redis.call('HSET', keys[3], 'manifest', '', 'header', '', 'extent', string.format('%d', left))
  for piece = left, at.extent - 1 do
    redis.call('HSET', keys[3], string.format('%d', piece), '')
  end
  return { 'OK' }
end

-- ARGV: version, owner, epoch, number of the snapshot before, number of this one, its header, bytes of frames before it.
-- Begins it in a cleared location.
local function begin(keys, args)
  local rejection = barred(keys, args)
  if rejection then
    return rejection
  end
  local at = place(keys)
  if at.begun == args[5] and at.header == args[6] and at.manifest == '' then
    return { 'OK' }
  end
  if at.begun ~= args[4] or at.extent ~= 0 then
    return { 'UNFIT' }
  end
  redis.call('HSET', keys[1], 'begun', args[5])
  redis.call('HSET', keys[3], 'header', args[6], 'before', args[7], 'manifest', '')
  return { 'OK' }
end

-- ARGV: version, owner, epoch, number of the snapshot, number of the piece, the piece.
local function piece(keys, args)
  local rejection = barred(keys, args)
  if rejection then
    return rejection
  end
  local at = place(keys)
  if at.begun ~= args[4] or at.manifest ~= '' then
    return { 'UNFIT' }
  end
  local extent = math.max(at.extent, tonumber(args[5]) + 1)
  redis.call('HSET', keys[3], args[5], args[6], 'extent', string.format('%d', extent))
  return { 'OK' }
end

-- ARGV: version, owner, epoch, number of the snapshot, its number of pieces, the number of entries of the journal it covers, its
-- manifest. From now on it is valid. A server without those entries must not get such a snapshot either.
local function commit(keys, args)
  local rejection = barred(keys, args)
  if rejection then
    return rejection
  end
  local at = place(keys)
  if at.begun == args[4] and at.manifest == args[7] then
    return { 'OK' }
  end
  if at.begun ~= args[4] or at.manifest ~= '' or at.extent ~= tonumber(args[5]) then
    return { 'UNFIT' }
  end
  if tonumber(stored(keys)[5]) < tonumber(args[6]) then
    return { 'UNFIT' }
  end
  redis.call('HSET', keys[3], 'manifest', args[7])
  return { 'OK' }
end

-- ARGV: version, owner, epoch, number of the last snapshot that was begun, id of the first entry to keep (empty: all),
-- milestones. KEYS[3] and KEYS[4] hold two snapshots that cover what is trimmed; later appends trim it.
local function trim(keys, args)
  local rejection = barred(keys, args)
  if rejection then
    return rejection
  end
  local older = redis.call('HMGET', keys[4], 'manifest')[1] or ''
  local at = place(keys)
  if at.begun ~= args[4] or at.manifest == '' or older == '' or keys[3] == keys[4] then
    return { 'UNFIT' }
  end
  redis.call('HSET', keys[1], 'trim', args[5], 'milestones', args[6])
  return { 'OK' }
end

-- Writes nothing, but the server admits it only if it would admit a write now.
local function room(keys, args)
  return { 'OK' }
end

-- Each function first checks that its caller was built for this version.
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
register('invengine_clear', clear)
register('invengine_begin', begin)
register('invengine_piece', piece)
register('invengine_commit', commit)
register('invengine_trim', trim)
