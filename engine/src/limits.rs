//! Every maximum, in one place, with the relations between them checked when the crate compiles.
//!
//! A limit bounds what bytes from a client, from Redis or from the configuration can make the
//! filter hold or do. The last part of a name is its unit; counts have none.

// Units and totals.

/// Milli-units in one unit: units are integers of 1/1000 everywhere.
pub const MILLI_PER_UNIT: u64 = 1_000;
/// Greatest total of a counter, in milli-units: 9 × 10¹² units.
pub const TOTAL_MAX_MILLI: u64 = 9_000_000_000_000_000;
/// Greatest amount one request may cost on one meter, in milli-units: 10⁹ units.
pub const REQUEST_MAX_MILLI: u64 = 1_000_000_000_000;
/// First integer after which a double, and so Lua, no longer counts exactly.
pub const DOUBLE_EXACT: u64 = 1 << 53;

// Names.

/// Longest slug of a meter, feature or plan, in bytes.
pub const SLUG_MAX_BYTES: usize = 64;
/// Longest id or caller's key in a document or header, in bytes.
pub const ID_MAX_BYTES: usize = 256;
/// Longest Envoy cluster name, Redis user name or environment variable name, in bytes.
pub const NAME_MAX_BYTES: usize = 256;
/// Longest prefix of the Redis names, in bytes.
pub const REDIS_PREFIX_MAX_BYTES: usize = 64;
/// Longest header name or query parameter that may carry a key, in bytes.
pub const FIELD_NAME_MAX_BYTES: usize = 64;
/// Longest key that may have been imported, in bytes.
pub const FOREIGN_KEY_MAX_BYTES: usize = 4 * 1_024;
/// Longest authentication scheme, in bytes.
pub const SCHEME_MAX_BYTES: usize = 32;
/// Longest URL in the configuration, in bytes.
pub const URL_MAX_BYTES: usize = 2_048;

// Requests.

/// Longest path with its query that a decision is made for, in bytes; Envoy's own limit is 60 KiB
/// for all headers together.
pub const PATH_MAX_BYTES: usize = 64 * 1_024;
/// Longest path repeated in a refusal, in bytes.
pub const INSTANCE_MAX_BYTES: usize = 1_024;
/// Longest value of one member of an identity header, in bytes.
pub const IDENTITY_VALUE_MAX_BYTES: usize = ID_MAX_BYTES;
/// Longest header with static entitlements, in bytes: common servers take no longer ones.
pub const ENTITLEMENTS_MAX_BYTES: usize = 8 * 1_024;

// Responses whose bodies are read.

/// Longest token of a pointer into a JSON body, in bytes.
pub const SCAN_TOKEN_MAX_BYTES: usize = 128;
/// Tokens of one pointer.
pub const SCAN_TOKENS_MAX: usize = 16;
/// Objects and arrays within each other in a body; what stands deeper is not read, nor what follows it.
pub const SCAN_DEPTH_MAX: usize = 128;
/// Longest number of a body that is read, in bytes.
pub const SCAN_NUMBER_MAX_BYTES: usize = 64;
/// Bytes of a body that are looked at together.
pub const SCAN_PIECE_MAX_BYTES: usize = 64 * 1_024;

// Configuration.

/// Longest filter configuration, in bytes.
pub const CONFIGURATION_MAX_BYTES: usize = 1_024 * 1_024;
/// Mistakes reported for one configuration; further ones wait until these are mended.
pub const MISTAKES_MAX: usize = 100;
/// Fields of one object of it.
pub const FIELDS_PER_OBJECT_MAX: usize = 64;
/// Rules in one configuration.
pub const RULES_MAX: usize = 1_000;
/// Methods in one rule.
pub const METHODS_PER_RULE_MAX: usize = 32;
/// Longest method, in bytes.
pub const METHOD_MAX_BYTES: usize = 32;
/// Longest path in a rule, in bytes.
pub const RULE_PATH_MAX_BYTES: usize = 2_048;
/// Meters in one rule.
pub const METERS_PER_RULE_MAX: usize = 16;
/// Terms in one sum of `meterFrom`.
pub const TERMS_PER_METER_MAX: usize = 16;
/// Rate limits in one rule.
pub const RATES_PER_RULE_MAX: usize = 4;
/// Required features in one rule.
pub const REQUIRES_PER_RULE_MAX: usize = 16;
/// Ranges in one `meterOnStatusCodes`.
pub const STATUS_RANGES_MAX: usize = 64;
/// Places a key may be taken from.
pub const KEY_SOURCES_MAX: usize = 8;

// Times and rates of the configuration.

/// Shortest wait for an answer of Redis, in milliseconds.
pub const REDIS_TIMEOUT_MIN_MS: u64 = 10;
/// Longest wait for an answer of Redis, in milliseconds.
pub const REDIS_TIMEOUT_MAX_MS: u64 = 10_000;
/// Most calls to Redis per second, worker and node that a configuration may ask for.
pub const CALLS_PER_SECOND_MAX: u64 = 10_000;
/// Shortest time between two settles of a subscription, in milliseconds: one tick.
pub const FLUSH_INTERVAL_MIN_MS: u64 = TICK_MAX_MS;
/// Longest time that usage may stay unsettled, in milliseconds.
pub const UNSETTLED_MAX_MS: u64 = 60_000;
/// Longest life of a lease, in milliseconds.
pub const LEASE_TTL_MAX_MS: u64 = 300_000;
/// Longest wait of a request for units, in milliseconds.
pub const WAIT_FOR_UNITS_MAX_MS: u64 = 10_000;
/// Longest time without Redis during which known keys may go on, in seconds: 72 hours.
pub const STALE_FOR_MAX_SECONDS: u64 = 72 * 3_600;
/// How long claims wait for more of them after Redis has answered the last, in milliseconds.
pub const COMPANY_MAX_MS: u64 = 1;
/// Longest time between two ticks while anything waits, in milliseconds.
pub const TICK_MAX_MS: u64 = 50;

// A worker's memory.

/// Access documents cached by a worker.
pub const CACHED_KEYS_MAX: usize = 100_000;
/// What all cached keys and their chains may take, in bytes.
pub const CACHED_KEYS_MAX_BYTES: usize = 64 * 1_024 * 1_024;
/// Of them for what keys have as texts: their ids and subjects.
pub const KEY_TEXTS_MAX_BYTES: usize = 6 * 1_024 * 1_024;
/// Keys whose last requests made something that the next ones use again.
pub const RECENT_KEYS_MAX: usize = 10_240;
/// Of such keys, most rules for which that is kept.
pub const STANDINGS_PER_KEY_MAX: usize = 8;
/// Of the bytes for headers that such keys send upstream.
pub const RECENT_HEADERS_MAX_BYTES: usize = 6 * 1_024 * 1_024;
/// Longest headers for the upstream that are made for one key, in bytes.
pub const KEY_HEADERS_MAX_BYTES: usize = ENTITLEMENTS_MAX_BYTES + 4_096;
/// Chains that a worker takes part in: those of cached keys, and some of keys that it has forgotten.
pub const CHAINS_MAX: usize = CACHED_KEYS_MAX + RECENT_KEYS_MAX;
/// Of the bytes for chains, with their access documents and all that is not settled yet.
pub const CHAINS_MAX_BYTES: usize = 36 * 1_024 * 1_024;
/// Chains that are not packed.
pub const AWAKE_CHAINS_MAX: usize = RECENT_KEYS_MAX;
/// Of the bytes for chains, for those that are not packed.
pub const AWAKE_CHAINS_MAX_BYTES: usize = 12 * 1_024 * 1_024;
/// Keys a worker recognizes without hashing them, each in 64 bytes beyond those above.
pub const RECOGNIZED_KEYS_MAX: usize = 8_192;
/// Unknown keys remembered by a worker.
pub const UNKNOWN_KEYS_MAX: usize = 10_000;
/// How long an unknown key is remembered, in milliseconds.
pub const UNKNOWN_KEY_TTL_MS: u64 = 10_000;

// Calls to Redis.

/// Keys looked up by one call.
pub const LOOKUPS_PER_CALL_MAX: usize = 200;
/// Changes read by one call.
pub const CHANGES_PER_CALL_MAX: usize = 4_000;
/// Changes kept in the log; a worker that is further behind empties its cache.
pub const CHANGES_KEPT_MAX: usize = 100_000;
/// How long a counted batch is kept in case Redis loses it, in milliseconds.
pub const BATCH_RETAINED_MS: u64 = 10_000;
/// How long a worker whose configuration is replaced may take to settle the rest, in milliseconds.
pub const LEAVE_MAX_MS: u64 = BATCH_RETAINED_MS + 5_000;
/// Counted batches kept for one chain.
pub const BATCHES_RETAINED_MAX: usize = 1_024;
/// Batches of one chain sent again in one call.
pub const BATCHES_PER_CALL_MAX: usize = 64;
/// How long Redis recognises a worker's last batch, in milliseconds: 24 hours.
pub const WORKER_RECORD_TTL_MS: u64 = 24 * 3_600 * 1_000;
/// After how long in doubt a batch is given up, in milliseconds: 23 hours.
pub const BATCH_IN_DOUBT_MAX_MS: u64 = 23 * 3_600 * 1_000;
/// After how long without use a worker forgets a chain, in milliseconds: 12 hours.
pub const CHAIN_IDLE_MAX_MS: u64 = 12 * 3_600 * 1_000;
/// Shortest use of a chain after which it may be forgotten when room is short, in milliseconds.
pub const CHAIN_IDLE_MIN_MS: u64 = 60_000;
/// How long a worker with requests under way whose units Redis has counted may say nothing of them, in milliseconds.
pub const CLAIM_SIGN_MS: u64 = 3_000;
/// After how long without a sign a drain records what a worker claimed, in milliseconds.
pub const CLAIM_SILENCE_MAX_MS: u64 = 10_000;
/// By how much Redis may take a worker's last sign for older than it is, in milliseconds: `settle.lua` notes one a second.
pub const SIGN_NOTED_MS: u64 = 1_000;
/// Batches in one call.
pub const SETTLES_PER_CALL_MAX: usize = 2_000;
/// Wait after the first failed call, in milliseconds; it doubles with each further one.
pub const BREAKER_FIRST_MS: u64 = 100;
/// Longest wait after a failed call, in milliseconds.
pub const BREAKER_LONGEST_MS: u64 = 2_000;
/// How long after a request a worker goes on reading the change log, in milliseconds.
pub const SERVED_LATELY_MS: u64 = 60_000;
/// Age of the last reading at which such a worker reads again, in milliseconds: 400 less one tick.
pub const READING_DUE_MS: u64 = 400 - TICK_MAX_MS;
/// Age of the last reading up to which a worker answers from its cache, in milliseconds.
pub const READING_MAX_AGE_MS: u64 = 800;
/// Subscriptions settled by a worker in a second.
pub const SETTLES_PER_SECOND_MAX: u64 = 2_000;
/// Of them without a pause, so that no request waits long for a call that settles.
pub const SETTLES_AT_ONCE_MAX: u64 = 200;

// Rate limits.

/// Greatest burst of a rate limit, in milli-units: 10⁹ units. Times any number of milliseconds in which it is not full, it
/// is exact in Lua.
pub const RATE_BURST_MAX_MILLI: u64 = REQUEST_MAX_MILLI;
/// Shortest time for which a rate limit gives units, in milliseconds.
pub const RATE_PER_MIN_MS: u64 = 1_000;
/// Longest time for which a rate limit gives units, in milliseconds: a day.
pub const RATE_PER_MAX_MS: u64 = 24 * 3_600 * 1_000;
/// How long a worker may spend what it got of a rate limit, in milliseconds.
pub const RATE_LEASE_MS: u64 = 1_000;
/// Shortest time after which a worker asks again for what was short, in milliseconds.
pub const RATE_ASK_MS: u64 = TICK_MAX_MS;
/// Longest such time, in milliseconds: whatever a plan gives, a change shows by then.
pub const RATE_ASK_MAX_MS: u64 = 1_000;
/// A burst holds at least what the rate gives in this time, in milliseconds, so that none is lost between two calls.
pub const RATE_BURST_MIN_MS: u64 = 4 * RATE_ASK_MS;

// Replies of Redis.

/// Longest answer to one call, in bytes; one that is longer is taken for a broken one. Envoy's own limit is 32 MiB.
pub const ANSWER_MAX_BYTES: usize = 28 * 1_024 * 1_024;
/// Longest line of a reply (a simple string, an error, a length), in bytes.
pub const REPLY_LINE_MAX_BYTES: usize = 16 * 1_024;
/// Longest bulk string of a reply, in bytes.
pub const REPLY_BULK_MAX_BYTES: usize = 4 * 1_024 * 1_024;
/// Values in one reply, counted through all its arrays.
pub const REPLY_VALUES_MAX: usize = 65_536;
/// Arrays within arrays in one reply.
pub const REPLY_DEPTH_MAX: usize = 8;

// A total that takes one more request is still exact in Lua.
const _: () = assert!(TOTAL_MAX_MILLI + REQUEST_MAX_MILLI < DOUBLE_EXACT);
const _: () = assert!(REQUEST_MAX_MILLI.is_multiple_of(MILLI_PER_UNIT));
// Where a key is remembered is told by the last bits of its mark.
const _: () = assert!(RECOGNIZED_KEYS_MAX.is_power_of_two());
// Remembering garbage never takes more room than remembering customers.
const _: () = assert!(UNKNOWN_KEYS_MAX <= CACHED_KEYS_MAX);
const _: () = assert!(LOOKUPS_PER_CALL_MAX <= UNKNOWN_KEYS_MAX);
// Even of the longest headers there is room for those of many keys.
const _: () = assert!(RECENT_HEADERS_MAX_BYTES >= 400 * KEY_HEADERS_MAX_BYTES);
// Each cached key may take a hash, an id and its windows.
const _: () = assert!(CACHED_KEYS_MAX_BYTES / CACHED_KEYS_MAX >= 512);
// Everything that waits does so in whole ticks, in this order.
const _: () = assert!(FLUSH_INTERVAL_MIN_MS >= TICK_MAX_MS);
const _: () = assert!(FLUSH_INTERVAL_MIN_MS <= UNSETTLED_MAX_MS);
const _: () = assert!(UNSETTLED_MAX_MS <= LEASE_TTL_MAX_MS);
const _: () = assert!(REDIS_TIMEOUT_MIN_MS <= REDIS_TIMEOUT_MAX_MS);
const _: () = assert!(REDIS_TIMEOUT_MAX_MS <= LEASE_TTL_MAX_MS);
// Whatever an object may list fits into its fields.
const _: () = assert!(METERS_PER_RULE_MAX <= FIELDS_PER_OBJECT_MAX);
const _: () = assert!(SCAN_TOKENS_MAX <= SCAN_DEPTH_MAX);
// A rule's path fits into a request's, and a slug into an id.
const _: () = assert!(RULE_PATH_MAX_BYTES <= PATH_MAX_BYTES);
const _: () = assert!(INSTANCE_MAX_BYTES <= PATH_MAX_BYTES);
const _: () = assert!(SLUG_MAX_BYTES <= ID_MAX_BYTES);
// A worst-case cached document arrives in one bulk string.
const _: () = assert!(REPLY_LINE_MAX_BYTES <= REPLY_BULK_MAX_BYTES);
const _: () = assert!(REPLY_BULK_MAX_BYTES <= ANSWER_MAX_BYTES);
// A call may bring every document it asks about, each with more than any header makes of it.
const _: () = assert!(
    (SETTLES_PER_CALL_MAX + LOOKUPS_PER_CALL_MAX) * KEY_HEADERS_MAX_BYTES <= ANSWER_MAX_BYTES
);
const _: () = assert!(LOOKUPS_PER_CALL_MAX <= REPLY_VALUES_MAX);
// An answer holds four values of each change, and a chain's few.
const _: () = assert!(4 * CHANGES_PER_CALL_MAX + 16 <= REPLY_VALUES_MAX);
const _: () = assert!(CHANGES_PER_CALL_MAX <= CHANGES_KEPT_MAX);
// A worker gives a batch up, and forgets a chain, before Redis forgets its number.
const _: () = assert!(BATCH_IN_DOUBT_MAX_MS < WORKER_RECORD_TTL_MS);
const _: () = assert!(CHAIN_IDLE_MAX_MS < BATCH_IN_DOUBT_MAX_MS);
const _: () = assert!(BATCH_RETAINED_MS < CHAIN_IDLE_MAX_MS);
// A reading is renewed, twice if need be, before it is too old to answer from.
const _: () = assert!(2 * (READING_DUE_MS + TICK_MAX_MS) <= READING_MAX_AGE_MS);
const _: () = assert!(BREAKER_FIRST_MS < BREAKER_LONGEST_MS);
const _: () = assert!(SETTLES_AT_ONCE_MAX <= SETTLES_PER_CALL_MAX as u64);
// A worker that lives gives a sign in time, however late a call and its repetition are.
const _: () = assert!(CLAIM_SIGN_MS + BREAKER_LONGEST_MS + SIGN_NOTED_MS < CLAIM_SILENCE_MAX_MS);
// What was granted by a call with the longest way is still of use.
const _: () = assert!(RATE_ASK_MS < RATE_ASK_MAX_MS && RATE_ASK_MAX_MS <= RATE_LEASE_MS);
const _: () = assert!(RATE_BURST_MIN_MS <= RATE_PER_MIN_MS);
