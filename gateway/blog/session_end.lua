-- KEYS: the list of a user's sessions. ARGV: 'one' and the id of the session to end, or 'but' and that of the one to keep.
-- Returns how many ended.
local n = 0
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    if (id == ARGV[2]) == (ARGV[1] == 'one') then
        n = n + redis.call('DEL', 'session:' .. id)
        redis.call('ZREM', KEYS[1], id)
    end
end
return n
