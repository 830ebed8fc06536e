//! JSON pointers (RFC 6901).

use crate::limits::{SCAN_TOKEN_MAX_BYTES, SCAN_TOKENS_MAX};

/// Where in a document a value stands; never the whole document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer(Box<[Token]>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    name: Box<str>,
    /// The token as the number of an array's element, if it is one.
    element: Option<u64>,
}

impl Pointer {
    /// Reads a pointer.
    ///
    /// # Errors
    /// With what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some(tokens) = text.strip_prefix('/') else {
            return Err("does not begin with a slash, such as /usage/total_tokens".to_owned());
        };
        let tokens: Result<Vec<_>, String> = tokens.split('/').map(Token::parse).collect();
        let tokens = tokens?;
        if tokens.len() > SCAN_TOKENS_MAX {
            return Err(format!("has more than {SCAN_TOKENS_MAX} tokens"));
        }
        Ok(Self(tokens.into()))
    }

    /// How many containers the value stands in.
    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the token at `depth` is this member of an object.
    pub(super) fn is_member(&self, depth: usize, name: &str) -> bool {
        self.0.get(depth).is_some_and(|token| *token.name == *name)
    }

    /// Whether the token at `depth` is this element of an array.
    pub(super) fn is_element(&self, depth: usize, element: u64) -> bool {
        self.0
            .get(depth)
            .is_some_and(|token| token.element == Some(element))
    }
}

impl Token {
    fn parse(text: &str) -> Result<Self, String> {
        let is_escape = |part: &str| part.starts_with('0') || part.starts_with('1');
        if !text.split('~').skip(1).all(is_escape) {
            return Err("has a ~ that is neither ~0 nor ~1".to_owned());
        }
        let name = text.replace("~1", "/").replace("~0", "~");
        if name.len() > SCAN_TOKEN_MAX_BYTES {
            return Err(format!(
                "has a token longer than {SCAN_TOKEN_MAX_BYTES} bytes"
            ));
        }
        let is_element = name.bytes().all(|byte| byte.is_ascii_digit())
            && (name.len() == 1 || !name.starts_with('0'));
        Ok(Self {
            element: name.parse().ok().filter(|_| is_element),
            name: name.into(),
        })
    }
}
