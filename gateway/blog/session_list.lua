-- KEYS: the list of a user's sessions. Returns one row for each, the newest first, as session_find.lua does.
local rows = {}
for _, id in ipairs(redis.call('ZREVRANGE', KEYS[1], 0, -1)) do
    local s = redis.call('HMGET', 'session:' .. id, 'user', 'role', 'agent', 'address', 'created', 'seen', 'ends')
    if s[1] then
        table.insert(s, 1, id)
        table.insert(rows, s)
    end
end
return rows
