//! Values in few bytes, for what a worker keeps but does not use at the moment.
//!
//! A number takes as many bytes as it has sevens of bits, a text that was there before takes one, and nothing is named:
//! whoever unpacks knows the type. Packed bytes never leave the process, so they have no versions.

mod values;

use std::rc::Rc;

use smallvec::SmallVec;

/// Texts that are looked for among those before; further ones stand whole wherever they are.
const TEXTS_MAX: usize = 64;

/// A value that can be packed.
pub trait Pack: Sized {
    /// Appends the value.
    fn pack<'v>(&'v self, to: &mut Packer<'v>);

    /// Takes the value from the front; `None` when another type was packed.
    fn unpack(from: &mut Unpacker<'_>) -> Option<Self>;
}

/// Packs a value; `known` is a text that is there when it is unpacked.
pub fn pack<T: Pack>(value: &T, known: &str) -> Box<[u8]> {
    let mut packer = Packer {
        bytes: Vec::with_capacity(256),
        texts: SmallVec::from_slice(&[known]),
    };
    value.pack(&mut packer);
    // Not the buffer itself, which leaves a gap where it is cut.
    packer.bytes.as_slice().into()
}

/// The value that was packed, given the same `known`.
pub fn unpack<T: Pack>(bytes: &[u8], known: &str) -> Option<T> {
    T::unpack(&mut Unpacker {
        bytes,
        texts: SmallVec::from_iter([Text::Packed(known)]),
    })
}

/// The text that a packed value begins with, where nothing is known before.
pub fn leading_text(bytes: &[u8]) -> Option<&str> {
    let mut from = Unpacker {
        bytes,
        texts: SmallVec::new(),
    };
    from.number()?;
    str::from_utf8(from.bytes()?).ok()
}

/// Values as they are packed.
pub struct Packer<'v> {
    bytes: Vec<u8>,
    texts: SmallVec<[&'v str; 8]>,
}

impl<'v> Packer<'v> {
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    fn count(&mut self, count: usize) {
        self.number(count as u64);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// Its place among the texts so far counted from 1, or 0 and the text.
    fn text(&mut self, text: &'v str) {
        if let Some(place) = self.texts.iter().position(|known| *known == text) {
            self.count(place + 1);
            return;
        }
        self.number(0);
        self.bytes(text.as_bytes());
        self.note(text);
    }

    /// Notes a text that will be there when the next values are unpacked.
    pub fn note(&mut self, text: &'v str) {
        if self.texts.len() < TEXTS_MAX {
            self.texts.push(text);
        }
    }
}

/// What is left to unpack.
pub struct Unpacker<'b> {
    bytes: &'b [u8],
    texts: SmallVec<[Text<'b>; 8]>,
}

/// A text that was there before.
enum Text<'b> {
    Packed(&'b str),
    /// One that others share.
    Shared(Rc<str>),
}

impl Text<'_> {
    fn as_str(&self) -> &str {
        match self {
            Self::Packed(text) => text,
            Self::Shared(text) => text,
        }
    }

    fn share(&mut self) -> Rc<str> {
        let text = match self {
            Self::Packed(text) => Rc::from(*text),
            Self::Shared(text) => return Rc::clone(text),
        };
        *self = Self::Shared(Rc::clone(&text));
        text
    }
}

impl<'b> Unpacker<'b> {
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let (byte, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            number |= u64::from(byte & 0x7F) << shift;
            if *byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// How many of something follow, each of a byte or more.
    fn count(&mut self) -> Option<usize> {
        let count = usize::try_from(self.number()?).ok()?;
        Some(count).filter(|count| *count <= self.bytes.len())
    }

    fn bytes(&mut self) -> Option<&'b [u8]> {
        let count = self.count()?;
        let (bytes, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(bytes)
    }

    /// Reads a text, or finds it among those before.
    fn text<T>(&mut self, read: impl FnOnce(&mut Text<'b>) -> T) -> Option<T> {
        if let Some(place) = usize::try_from(self.number()?).ok()?.checked_sub(1) {
            return self.texts.get_mut(place).map(read);
        }
        let mut text = Text::Packed(str::from_utf8(self.bytes()?).ok()?);
        let value = read(&mut text);
        if self.texts.len() < TEXTS_MAX {
            self.texts.push(text);
        }
        Some(value)
    }

    /// Notes a text that was there when the next values were packed.
    pub fn note(&mut self, text: &Rc<str>) {
        if self.texts.len() < TEXTS_MAX {
            self.texts.push(Text::Shared(Rc::clone(text)));
        }
    }
}

/// A struct is packed field by field. A text that follows from fields before is made of them, between semicolons.
macro_rules! pack_fields {
    ($type:ty: $($first:ident),+; $made:ident = $make:expr; $($rest:ident),+) => {
        impl $crate::packed::Pack for $type {
            fn pack<'v>(&'v self, to: &mut $crate::packed::Packer<'v>) {
                $($crate::packed::Pack::pack(&self.$first, to);)+
                to.note(&self.$made);
                $($crate::packed::Pack::pack(&self.$rest, to);)+
            }

            fn unpack(from: &mut $crate::packed::Unpacker<'_>) -> Option<Self> {
                $(let $first = $crate::packed::Pack::unpack(from)?;)+
                let $made = $make;
                from.note(&$made);
                $(let $rest = $crate::packed::Pack::unpack(from)?;)+
                Some(Self { $($first,)+ $made, $($rest),+ })
            }
        }
    };
    ($type:ty: $($field:ident),+) => {
        impl $crate::packed::Pack for $type {
            fn pack<'v>(&'v self, to: &mut $crate::packed::Packer<'v>) {
                $($crate::packed::Pack::pack(&self.$field, to);)+
            }

            fn unpack(from: &mut $crate::packed::Unpacker<'_>) -> Option<Self> {
                Some(Self { $($field: $crate::packed::Pack::unpack(from)?),+ })
            }
        }
    };
}

/// An enum without fields is packed as a number.
macro_rules! pack_variants {
    ($type:ty: $($variant:ident = $number:literal),+) => {
        impl $crate::packed::Pack for $type {
            fn pack<'v>(&'v self, to: &mut $crate::packed::Packer<'v>) {
                let number: &'static u64 = match self {
                    $(Self::$variant => &$number,)+
                };
                $crate::packed::Pack::pack(number, to);
            }

            fn unpack(from: &mut $crate::packed::Unpacker<'_>) -> Option<Self> {
                match <u64 as $crate::packed::Pack>::unpack(from)? {
                    $($number => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

pub(crate) use {pack_fields, pack_variants};

#[cfg(test)]
mod tests;
