//! How numbers, texts and collections are packed.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use smallvec::{Array, SmallVec};

use super::{Pack, Packer, Text, Unpacker};
use crate::api_key::{TAG_LENGTH, Tag};

impl Pack for u64 {
    fn pack<'v>(&'v self, to: &mut Packer<'v>) {
        to.number(*self);
    }

    fn unpack(from: &mut Unpacker<'_>) -> Option<Self> {
        from.number()
    }
}

impl Pack for u32 {
    fn pack<'v>(&'v self, to: &mut Packer<'v>) {
        to.number(u64::from(*self));
    }

    fn unpack(from: &mut Unpacker<'_>) -> Option<Self> {
        from.number()?.try_into().ok()
    }
}

/// Numbers near 0 are short, on either side of it.
impl Pack for i64 {
    fn pack<'v>(&'v self, to: &mut Packer<'v>) {
        to.number(((self << 1) ^ (self >> 63)).cast_unsigned());
    }

    fn unpack(from: &mut Unpacker<'_>) -> Option<Self> {
        let number = from.number()?;
        Some((number >> 1).cast_signed() ^ -((number & 1).cast_signed()))
    }
}

impl Pack for bool {
    fn pack<'v>(&'v self, to: &mut Packer<'v>) {
        to.number(u64::from(*self));
    }

    fn unpack(from: &mut Unpacker<'_>) -> Option<Self> {
        Some(from.number()? == 1)
    }
}

impl Pack for Rc<str> {
    fn pack<'v>(&'v self, to: &mut Packer<'v>) {
        to.text(self);
    }

    fn unpack(from: &mut Unpacker<'_>) -> Option<Self> {
        from.text(Text::share)
    }
}

impl Pack for String {
    fn pack<'v>(&'v self, to: &mut Packer<'v>) {
        to.text(self);
    }

    fn unpack(from: &mut Unpacker<'_>) -> Option<Self> {
        from.text(|text| text.as_str().to_owned())
    }
}

impl Pack for Tag {
    fn pack<'v>(&'v self, to: &mut Packer<'v>) {
        to.bytes.extend_from_slice(self.as_str().as_bytes());
    }

    fn unpack(from: &mut Unpacker<'_>) -> Option<Self> {
        let (tag, rest) = from.bytes.split_at_checked(TAG_LENGTH)?;
        from.bytes = rest;
        str::from_utf8(tag).ok()?.parse().ok()
    }
}

impl Pack for Box<[u8]> {
    fn pack<'v>(&'v self, to: &mut Packer<'v>) {
        to.bytes(self);
    }

    fn unpack(from: &mut Unpacker<'_>) -> Option<Self> {
        Some(from.bytes()?.into())
    }
}

/// Any JSON, as its text.
impl Pack for serde_json::Value {
    fn pack<'v>(&'v self, to: &mut Packer<'v>) {
        to.bytes(self.to_string().as_bytes());
    }

    fn unpack(from: &mut Unpacker<'_>) -> Option<Self> {
        serde_json::from_slice(from.bytes()?).ok()
    }
}

impl<T: Pack> Pack for Option<T> {
    fn pack<'v>(&'v self, to: &mut Packer<'v>) {
        to.count(self.iter().len());
        self.iter().for_each(|value| value.pack(to));
    }

    fn unpack(from: &mut Unpacker<'_>) -> Option<Self> {
        match from.number()? {
            0 => Some(None),
            _ => T::unpack(from).map(Some),
        }
    }
}

impl<T: Pack> Pack for Vec<T> {
    fn pack<'v>(&'v self, to: &mut Packer<'v>) {
        to.count(self.len());
        self.iter().for_each(|value| value.pack(to));
    }

    fn unpack(from: &mut Unpacker<'_>) -> Option<Self> {
        let count = from.count()?;
        let mut values = Self::with_capacity(count);
        for _ in 0..count {
            values.push(T::unpack(from)?);
        }
        Some(values)
    }
}

impl<T: Pack> Pack for VecDeque<T> {
    fn pack<'v>(&'v self, to: &mut Packer<'v>) {
        to.count(self.len());
        self.iter().for_each(|value| value.pack(to));
    }

    fn unpack(from: &mut Unpacker<'_>) -> Option<Self> {
        Vec::unpack(from).map(Self::from)
    }
}

impl<A: Array<Item: Pack>> Pack for SmallVec<A> {
    fn pack<'v>(&'v self, to: &mut Packer<'v>) {
        to.count(self.len());
        self.iter().for_each(|value| value.pack(to));
    }

    fn unpack(from: &mut Unpacker<'_>) -> Option<Self> {
        Some(Vec::unpack(from)?.into_iter().collect())
    }
}

impl<K: Pack + Ord, V: Pack> Pack for BTreeMap<K, V> {
    fn pack<'v>(&'v self, to: &mut Packer<'v>) {
        to.count(self.len());
        for (key, value) in self {
            key.pack(to);
            value.pack(to);
        }
    }

    fn unpack(from: &mut Unpacker<'_>) -> Option<Self> {
        Some(Vec::<(K, V)>::unpack(from)?.into_iter().collect())
    }
}

impl<A: Pack, B: Pack> Pack for (A, B) {
    fn pack<'v>(&'v self, to: &mut Packer<'v>) {
        self.0.pack(to);
        self.1.pack(to);
    }

    fn unpack(from: &mut Unpacker<'_>) -> Option<Self> {
        Some((A::unpack(from)?, B::unpack(from)?))
    }
}
