-- KEYS[1]: a value after 'V', or a lease after 'L'. ARGV: a new lease, how long it holds in ms.
-- Returns what is there; when it was nothing, the new lease.
local there = redis.call('GET', KEYS[1])
if there then
    return there
end
redis.call('SET', KEYS[1], 'L' .. ARGV[1], 'PX', ARGV[2])
return 'L' .. ARGV[1]
