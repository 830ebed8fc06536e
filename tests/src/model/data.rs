//! What a Redis holds. Every collection iterates in the order of its keys, so that a run can be repeated.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Field → value of a hash.
pub type Hash = BTreeMap<Vec<u8>, Vec<u8>>;
/// Member → score of a sorted set.
pub type Scores = BTreeMap<Vec<u8>, f64>;
/// The two numbers of an entry of a stream.
pub type StreamId = (u64, u64);

/// A stream: its entries' fields and values by id, and the greatest id it ever had.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    /// What was not trimmed.
    pub entries: BTreeMap<StreamId, Vec<Vec<u8>>>,
    /// The last id, also when its entry is gone.
    pub last: StreamId,
}

/// The value of a key.
#[derive(Clone, Debug)]
pub enum Value {
    /// `HSET` and the like.
    Hash(Hash),
    /// `SADD` and the like.
    Set(BTreeSet<Vec<u8>>),
    /// `ZADD` and the like.
    Scores(Scores),
    /// `XADD` and the like.
    Stream(Stream),
}

/// A type of value, with its place in [`Value`].
pub(super) trait Kind: Default {
    fn wrap(self) -> Value;
    fn of(value: &Value) -> Option<&Self>;
    fn of_mut(value: &mut Value) -> Option<&mut Self>;
    fn is_empty(&self) -> bool;
}

macro_rules! kind {
    ($type:ty, $variant:ident, $self:ident => $empty:expr) => {
        impl Kind for $type {
            fn wrap(self) -> Value {
                Value::$variant(self)
            }
            fn of(value: &Value) -> Option<&Self> {
                if let Value::$variant(value) = value {
                    Some(value)
                } else {
                    None
                }
            }
            fn of_mut(value: &mut Value) -> Option<&mut Self> {
                if let Value::$variant(value) = value {
                    Some(value)
                } else {
                    None
                }
            }
            fn is_empty(&$self) -> bool {
                $empty
            }
        }
    };
}

kind!(Hash, Hash, self => self.is_empty());
kind!(BTreeSet<Vec<u8>>, Set, self => self.is_empty());
kind!(Scores, Scores, self => self.is_empty());
// An empty stream stays: it still knows its last id.
kind!(Stream, Stream, self => false);

/// A key holds another type of value than the command is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct WrongType;

/// All keys of a Redis; a clone is cheap and shares what neither side writes afterwards.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    values: BTreeMap<Vec<u8>, Rc<Value>>,
}

impl Keys {
    /// The hash under `key`, if there is one.
    #[must_use]
    pub fn hash(&self, key: &str) -> Option<&Hash> {
        self.read(key.as_bytes()).ok().flatten()
    }

    /// The set under `key`, if there is one.
    #[must_use]
    pub fn set(&self, key: &str) -> Option<&BTreeSet<Vec<u8>>> {
        self.read(key.as_bytes()).ok().flatten()
    }

    /// The sorted set under `key`, if there is one.
    #[must_use]
    pub fn scores(&self, key: &str) -> Option<&Scores> {
        self.read(key.as_bytes()).ok().flatten()
    }

    /// The stream under `key`, if there is one.
    #[must_use]
    pub fn stream(&self, key: &str) -> Option<&Stream> {
        self.read(key.as_bytes()).ok().flatten()
    }

    /// The names of all keys, in order.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.values.keys().map(Vec::as_slice)
    }

    pub(super) fn read<K: Kind>(&self, key: &[u8]) -> Result<Option<&K>, WrongType> {
        self.values
            .get(key)
            .map(|value| K::of(value).ok_or(WrongType))
            .transpose()
    }

    /// Lets `change` at the value, made first if need be and removed when it is empty afterwards.
    pub(super) fn write<K: Kind, R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut K) -> R,
    ) -> Result<R, WrongType> {
        if !self.values.contains_key(key) {
            self.values
                .insert(key.to_vec(), Rc::new(K::default().wrap()));
        }
        let Some(value) = self.values.get_mut(key) else {
            return Err(WrongType);
        };
        let value = K::of_mut(Rc::make_mut(value)).ok_or(WrongType)?;
        let result = change(value);
        if value.is_empty() {
            self.values.remove(key);
        }
        Ok(result)
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> bool {
        self.values.remove(key).is_some()
    }

    pub(super) fn contains(&self, key: &[u8]) -> bool {
        self.values.contains_key(key)
    }

    pub(super) fn clear(&mut self) {
        self.values.clear();
    }
}
