//! The commands on data, as Redis 7 answers them; those that a script may call and those only a client may.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::answer::Answer;
use super::data::{Hash, Keys, Scores, Stream, StreamId, WrongType};

/// Everything a command can see or change.
#[derive(Debug)]
pub(super) struct Node {
    pub keys: Keys,
    pub time_us: u64,
    pub replication_id: String,
}

/// Why a command did nothing.
enum Refusal {
    WrongType,
    Other(&'static str),
}

impl From<WrongType> for Refusal {
    fn from(WrongType: WrongType) -> Self {
        Self::WrongType
    }
}

const UNKNOWN: Refusal = Refusal::Other("ERR unknown command or wrong number of arguments");
const NOT_INTEGER: Refusal = Refusal::Other("ERR value is not an integer or out of range");
const NOT_FLOAT: Refusal = Refusal::Other("ERR value is not a valid float");
const NOT_RANGE: Refusal = Refusal::Other("ERR min or max is not a float");
const NOT_STREAM_ID: Refusal =
    Refusal::Other("ERR Invalid stream ID specified as stream command argument");
const OLD_STREAM_ID: Refusal = Refusal::Other(
    "ERR The ID specified in XADD is equal or smaller than the target stream top item",
);

/// Runs one command, given as its words.
pub(super) fn run(node: &mut Node, words: &[&[u8]]) -> Answer {
    let Some((name, arguments)) = words.split_first() else {
        return Answer::Error("ERR empty command".to_owned());
    };
    let name = name.to_ascii_uppercase();
    let result = match name.first() {
        Some(b'H') => hash(&mut node.keys, &name, arguments),
        Some(b'S') => set(&mut node.keys, &name, arguments),
        Some(b'Z') => sorted_set(&mut node.keys, &name, arguments),
        Some(b'X') => stream(&mut node.keys, &name, arguments),
        _ => general(node, &name, arguments),
    };
    match result {
        Ok(answer) => answer,
        Err(Refusal::WrongType) => Answer::Error(
            "WRONGTYPE Operation against a key holding the wrong kind of value".to_owned(),
        ),
        Err(Refusal::Other(text)) => Answer::Error(text.to_owned()),
    }
}

fn general(node: &mut Node, name: &[u8], arguments: &[&[u8]]) -> Result<Answer, Refusal> {
    match (name, arguments) {
        (b"PING", []) => Ok(Answer::Status("PONG".to_owned())),
        (b"TIME", []) => {
            let seconds = (node.time_us / 1_000_000).to_string();
            let rest = (node.time_us % 1_000_000).to_string();
            Ok(Answer::strings([seconds.as_bytes(), rest.as_bytes()]))
        }
        (b"INFO", [b"replication"]) => {
            let text = format!(
                "# Replication\r\nrole:master\r\nmaster_replid:{}\r\n",
                node.replication_id
            );
            Ok(Answer::Bulk(text.into_bytes()))
        }
        (b"DEL", [_, ..]) => {
            let removed = arguments.iter().filter(|key| node.keys.remove(key));
            Ok(Answer::count(removed.count()))
        }
        (b"EXISTS", [_, ..]) => {
            let there = arguments.iter().filter(|key| node.keys.contains(key));
            Ok(Answer::count(there.count()))
        }
        (b"FLUSHALL", []) => {
            node.keys.clear();
            Ok(Answer::ok())
        }
        _ => Err(UNKNOWN),
    }
}

fn hash(keys: &mut Keys, name: &[u8], arguments: &[&[u8]]) -> Result<Answer, Refusal> {
    Ok(match (name, arguments) {
        (b"HSET", [key, pairs @ ..]) if !pairs.is_empty() && pairs.len().is_multiple_of(2) => {
            Answer::count(keys.write(key, |hash: &mut Hash| {
                pairs
                    .chunks_exact(2)
                    .filter(|pair| hash.insert(pair[0].to_vec(), pair[1].to_vec()).is_none())
                    .count()
            })?)
        }
        (b"HSETNX", [key, field, value]) => {
            let absent = read_field(keys, key, field)?.is_none();
            if absent {
                keys.write(key, |hash: &mut Hash| {
                    hash.insert(field.to_vec(), value.to_vec())
                })?;
            }
            Answer::count(usize::from(absent))
        }
        (b"HINCRBY", [key, field, by]) => {
            let before = match read_field(keys, key, field)? {
                Some(value) => integer(value)?,
                None => 0,
            };
            let after = before.checked_add(integer(by)?).ok_or(NOT_INTEGER)?;
            keys.write(key, |hash: &mut Hash| {
                hash.insert(field.to_vec(), after.to_string().into_bytes())
            })?;
            Answer::Integer(after)
        }
        (b"HDEL", [key, fields @ ..]) if !fields.is_empty() => {
            Answer::count(keys.write(key, |hash: &mut Hash| {
                fields
                    .iter()
                    .filter(|field| hash.remove(**field).is_some())
                    .count()
            })?)
        }
        (b"HGET", [key, field]) => Answer::optional(read_field(keys, key, field)?),
        (b"HMGET", [key, fields @ ..]) if !fields.is_empty() => Answer::Array(
            fields
                .iter()
                .map(|field| Ok(Answer::optional(read_field(keys, key, field)?)))
                .collect::<Result<_, Refusal>>()?,
        ),
        (b"HEXISTS", [key, field]) => {
            Answer::count(usize::from(read_field(keys, key, field)?.is_some()))
        }
        (b"HLEN", [key]) => Answer::count(keys.read::<Hash>(key)?.map_or(0, Hash::len)),
        (b"HKEYS", [key]) => {
            let fields = keys.read::<Hash>(key)?.into_iter().flatten();
            Answer::strings(fields.map(|(field, _)| field.as_slice()))
        }
        (b"HGETALL", [key]) => {
            let fields = keys.read::<Hash>(key)?.into_iter().flatten();
            Answer::strings(fields.flat_map(|(field, value)| [field.as_slice(), value.as_slice()]))
        }
        _ => return Err(UNKNOWN),
    })
}

fn read_field<'a>(
    keys: &'a Keys,
    key: &[u8],
    field: &[u8],
) -> Result<Option<&'a Vec<u8>>, Refusal> {
    Ok(keys.read::<Hash>(key)?.and_then(|hash| hash.get(field)))
}

fn set(keys: &mut Keys, name: &[u8], arguments: &[&[u8]]) -> Result<Answer, Refusal> {
    type Set = BTreeSet<Vec<u8>>;
    Ok(match (name, arguments) {
        (b"SADD", [key, members @ ..]) if !members.is_empty() => {
            Answer::count(keys.write(key, |set: &mut Set| {
                let new = members.iter().filter(|member| set.insert(member.to_vec()));
                new.count()
            })?)
        }
        (b"SREM", [key, members @ ..]) if !members.is_empty() => {
            Answer::count(keys.write(key, |set: &mut Set| {
                members.iter().filter(|member| set.remove(**member)).count()
            })?)
        }
        (b"SCARD", [key]) => Answer::count(keys.read::<Set>(key)?.map_or(0, Set::len)),
        (b"SMEMBERS", [key]) => Answer::strings(
            keys.read::<Set>(key)?
                .into_iter()
                .flatten()
                .map(Vec::as_slice),
        ),
        _ => return Err(UNKNOWN),
    })
}

fn sorted_set(keys: &mut Keys, name: &[u8], arguments: &[&[u8]]) -> Result<Answer, Refusal> {
    Ok(match (name, arguments) {
        (b"ZADD", [key, score, member]) => {
            let score = float(score).ok_or(NOT_FLOAT)?;
            Answer::count(keys.write(key, |scores: &mut Scores| {
                usize::from(scores.insert(member.to_vec(), score).is_none())
            })?)
        }
        (b"ZREM", [key, members @ ..]) if !members.is_empty() => {
            Answer::count(keys.write(key, |scores: &mut Scores| {
                members
                    .iter()
                    .filter(|member| scores.remove(**member).is_some())
                    .count()
            })?)
        }
        (b"ZCARD", [key]) => Answer::count(keys.read::<Scores>(key)?.map_or(0, Scores::len)),
        (b"ZSCORE", [key, member]) => {
            let score = keys
                .read::<Scores>(key)?
                .and_then(|scores| scores.get(*member));
            score.map_or(Answer::Nil, |score| {
                Answer::Bulk(score.to_string().into_bytes())
            })
        }
        (b"ZCOUNT", [key, min, max]) => Answer::count(in_range(keys, key, min, max)?.len()),
        (b"ZRANGEBYSCORE", [key, min, max]) => Answer::strings(in_range(keys, key, min, max)?),
        _ => return Err(UNKNOWN),
    })
}

/// The members with a score in the range, by score and then by name.
fn in_range<'a>(
    keys: &'a Keys,
    key: &[u8],
    min: &[u8],
    max: &[u8],
) -> Result<Vec<&'a [u8]>, Refusal> {
    let (min, max) = (score_bound(min)?, score_bound(max)?);
    let scores = keys.read::<Scores>(key)?.into_iter().flatten();
    let mut found: Vec<_> = scores
        .filter(|(_, score)| std::ops::RangeBounds::contains(&(min, max), *score))
        .collect();
    found.sort_by(|one, other| one.1.total_cmp(other.1));
    Ok(found
        .into_iter()
        .map(|(member, _)| member.as_slice())
        .collect())
}

fn score_bound(word: &[u8]) -> Result<Bound<f64>, Refusal> {
    match word {
        [b'(', rest @ ..] => float(rest).map(Bound::Excluded),
        _ => float(word).map(Bound::Included),
    }
    .ok_or(NOT_RANGE)
}

fn stream(keys: &mut Keys, name: &[u8], arguments: &[&[u8]]) -> Result<Answer, Refusal> {
    Ok(match (name, arguments) {
        (b"XADD", [key, b"MAXLEN", b"~", most, id, fields @ ..])
            if !fields.is_empty() && fields.len().is_multiple_of(2) =>
        {
            let most = usize::try_from(integer(most)?).map_err(|_| NOT_INTEGER)?;
            let id = stream_id(id)?;
            if id <= keys.read::<Stream>(key)?.map_or((0, 0), |old| old.last) {
                return Err(OLD_STREAM_ID);
            }
            let fields = fields.iter().map(|field| field.to_vec()).collect();
            keys.write(key, |stream: &mut Stream| {
                stream.last = id;
                stream.entries.insert(id, fields);
                // Redis may keep more than asked for; the model keeps the least that `~` allows.
                while stream.entries.len() > most {
                    stream.entries.pop_first();
                }
            })?;
            Answer::Bulk(format!("{}-{}", id.0, id.1).into_bytes())
        }
        (b"XLEN", [key]) => Answer::count(
            keys.read::<Stream>(key)?
                .map_or(0, |stream| stream.entries.len()),
        ),
        (b"XRANGE", [key, from, b"+", b"COUNT", most]) => {
            let most = usize::try_from(integer(most)?).map_err(|_| NOT_INTEGER)?;
            let from = match from {
                [b'-'] => Bound::Unbounded,
                [b'(', rest @ ..] => Bound::Excluded(stream_id(rest)?),
                _ => Bound::Included(stream_id(from)?),
            };
            let entries = keys
                .read::<Stream>(key)?
                .into_iter()
                .flat_map(|stream| stream.entries.range((from, Bound::Unbounded)));
            Answer::Array(entries.take(most).map(entry).collect())
        }
        _ => return Err(UNKNOWN),
    })
}

fn entry((id, fields): (&StreamId, &Vec<Vec<u8>>)) -> Answer {
    Answer::Array(vec![
        Answer::Bulk(format!("{}-{}", id.0, id.1).into_bytes()),
        Answer::strings(fields.iter().map(Vec::as_slice)),
    ])
}

fn stream_id(word: &[u8]) -> Result<StreamId, Refusal> {
    let parse = || {
        let (first, second) = str::from_utf8(word).ok()?.split_once('-')?;
        Some((first.parse().ok()?, second.parse().ok()?))
    };
    parse().ok_or(NOT_STREAM_ID)
}

/// An integer in the one spelling Redis takes.
fn integer(word: &[u8]) -> Result<i64, Refusal> {
    str::from_utf8(word)
        .ok()
        .and_then(|text| {
            let number: i64 = text.parse().ok()?;
            (number.to_string() == text).then_some(number)
        })
        .ok_or(NOT_INTEGER)
}

fn float(word: &[u8]) -> Option<f64> {
    let number: f64 = str::from_utf8(word).ok()?.parse().ok()?;
    (!number.is_nan()).then_some(number)
}
