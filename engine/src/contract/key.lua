-- Reads the document of a key that stands apart from its chain: an imported one, whose place its hash tells.
--
-- KEYS: guard (named here is only what stands in no slot of its own)
-- ARGV: store, the key's record
-- Answer: {'unready'}, {'unknown'} or {'ok', document}
if redis.call('HGET', ARGV[1], 'ready') ~= '1' then
  return {'unready'}
end
local document = redis.call('HGET', ARGV[2], 'doc')
if not document then
  return {'unknown'}
end
return {'ok', document}
