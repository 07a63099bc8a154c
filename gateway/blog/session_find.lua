-- KEYS: the session. ARGV: id, idle ms, how old the mark of the last use may get.
-- Returns nothing, or what session_read() of session.c reads.
local s = redis.call('HMGET', KEYS[1], 'user', 'role', 'agent', 'address', 'created', 'seen', 'ends')
if not s[1] then
    return false
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local left = tonumber(s[7]) - now
if left <= 0 or not redis.call('ZSCORE', 'sessions:' .. s[1], ARGV[1]) then
    redis.call('DEL', KEYS[1])
    return false
end
if now - tonumber(s[6]) >= tonumber(ARGV[3]) then
    s[6] = string.format('%.0f', now)
    redis.call('HSET', KEYS[1], 'seen', s[6])
    redis.call('PEXPIRE', KEYS[1], math.min(tonumber(ARGV[2]), left))
end
table.insert(s, 1, ARGV[1])
return s
