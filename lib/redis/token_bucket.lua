-- KEYS: one for each bucket; its value is when it will be full again, in microseconds of this server's clock.
-- ARGV: for each bucket the time that makes the tokens wanted, and the time that fills the bucket.
-- Returns 0 when all are taken, else the microseconds until all could be.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local full, wait = {}, 0
for i, key in ipairs(KEYS) do
    local cost, burst = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
    local at = tonumber(redis.call('GET', key) or 0) or 0
    -- never further ahead than an empty bucket: the clock may have been set back
    full[i] = math.min(math.max(at, now), now + burst) + cost
    wait = math.max(wait, full[i] - now - burst)
end
if wait > 0 then
    return wait
end
for i, key in ipairs(KEYS) do
    redis.call('SET', key, string.format('%.0f', full[i]), 'PX', math.ceil((full[i] - now) / 1000))
end
return 0
