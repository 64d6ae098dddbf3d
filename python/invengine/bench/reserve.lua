-- One reserve as a careful team writes it on Redis: the key first, then what fell due, then the stock, then the hold.
--
-- KEYS[1] stock left, KEYS[2] holds by their end, KEYS[3] the idempotency key.
-- ARGV[1] units, ARGV[2] how long the hold lasts in ms, ARGV[3] how long the key is remembered in ms.
local known = redis.call('GET', KEYS[3])
if known then
  return known
end

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
for _, hold in ipairs(redis.call('ZRANGE', KEYS[2], '-inf', now_ms, 'BYSCORE', 'LIMIT', 0, 100)) do
  redis.call('INCRBY', KEYS[1], redis.call('HGET', hold, 'units'))
  redis.call('ZREM', KEYS[2], hold)
  redis.call('DEL', hold)
end

local units = tonumber(ARGV[1])
if tonumber(redis.call('GET', KEYS[1]) or '0') < units then
  return 'INSUFFICIENT_STOCK'
end
local hold = 'hold:' .. KEYS[3]
local end_ms = now_ms + tonumber(ARGV[2])
redis.call('DECRBY', KEYS[1], units)
redis.call('HSET', hold, 'stock', KEYS[1], 'units', units, 'end_ms', end_ms)
redis.call('ZADD', KEYS[2], end_ms, hold)
redis.call('SET', KEYS[3], hold, 'PX', ARGV[3])
return hold
