-- KEYS: the session, the list of its user's sessions (sorted by when they end at the latest).
-- ARGV: id, user, role, agent, address, idle ms, life ms, sessions that a user may have.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local idle, life, most = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
    if redis.call('EXISTS', 'session:' .. id) == 0 then
        redis.call('ZREM', KEYS[2], id)
    end
end
local over = redis.call('ZCARD', KEYS[2]) - most
for _, id in ipairs(over >= 0 and redis.call('ZRANGE', KEYS[2], 0, over) or {}) do
    redis.call('DEL', 'session:' .. id)
    redis.call('ZREM', KEYS[2], id)
end
local ends = string.format('%.0f', now + life)
local stamp = string.format('%.0f', now)
redis.call('HSET', KEYS[1], 'user', ARGV[2], 'role', ARGV[3], 'agent', ARGV[4], 'address', ARGV[5],
    'created', stamp, 'seen', stamp, 'ends', ends)
redis.call('PEXPIRE', KEYS[1], math.min(idle, life))
redis.call('ZADD', KEYS[2], ends, ARGV[1])
redis.call('PEXPIRE', KEYS[2], life)
return 1
