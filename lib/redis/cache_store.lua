-- KEYS[1]: as above. ARGV: the lease that must still be there, the value, how long it lives in ms.
-- Returns 1 when the value is stored.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 0
end
redis.call('SET', KEYS[1], 'V' .. ARGV[2], 'PX', ARGV[3])
return 1
