-- The store's clock: Redis' own, microseconds since the Unix epoch.
local reading = redis.call('TIME')
local raw = tonumber(reading[1]) * 1000000 + tonumber(reading[2])
