//! Runs the scripts in Lua 5.1, converting values as Redis does.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use mlua::{Error, Function, Lua, LuaOptions, LuaString, StdLib, Table, Value, Variadic};
use sha1::{Digest, Sha1};

use super::answer::Answer;
use super::commands::{Node, run};

/// Lua, with every script it has seen compiled once.
pub(super) struct Scripts {
    lua: Lua,
    compiled: HashMap<String, Function>,
}

/// As in Redis, a script may neither make a global variable nor read one that is not there.
const PROTECT_GLOBALS: &str = "
    local function refuse(_, name)
      error('Script attempted to access nonexistent global variable ' .. tostring(name), 2)
    end
    setmetatable(_G, {__index = refuse, __newindex = refuse})
";

impl Scripts {
    /// Lua whose `redis.call` runs on `node`.
    pub fn new(node: &Rc<RefCell<Node>>) -> mlua::Result<Self> {
        let libraries = StdLib::STRING | StdLib::TABLE | StdLib::MATH;
        let lua = Lua::new_with(libraries, LuaOptions::new())?;
        let redis = lua.create_table()?;
        let called = Rc::clone(node);
        redis.raw_set(
            "call",
            lua.create_function(
                move |lua, words: Variadic<Value>| match call(&called, &words)? {
                    Answer::Error(text) => Err(Error::RuntimeError(text)),
                    answer => to_lua(lua, answer),
                },
            )?,
        )?;
        let called = Rc::clone(node);
        redis.raw_set(
            "pcall",
            lua.create_function(move |lua, words: Variadic<Value>| {
                to_lua(lua, call(&called, &words)?)
            })?,
        )?;
        lua.globals().raw_set("redis", redis)?;
        lua.load(PROTECT_GLOBALS).exec()?;
        Ok(Self {
            lua,
            compiled: HashMap::new(),
        })
    }

    /// Compiles a script and answers its SHA-1.
    pub fn load(&mut self, text: &[u8]) -> mlua::Result<String> {
        let digest = hex(&Sha1::digest(text));
        if !self.compiled.contains_key(&digest) {
            let chunk = self.lua.load(text).set_name("@user_script");
            self.compiled.insert(digest.clone(), chunk.into_function()?);
        }
        Ok(digest)
    }

    /// Runs a compiled script.
    pub fn run(&self, digest: &str, keys: &[&[u8]], arguments: &[&[u8]]) -> Answer {
        let Some(function) = self.compiled.get(digest) else {
            return Answer::Error("NOSCRIPT No matching script. Please use EVAL.".to_owned());
        };
        self.try_run(function, keys, arguments)
            .unwrap_or_else(|error| Answer::Error(described(&error, digest)))
    }

    fn try_run(
        &self,
        function: &Function,
        keys: &[&[u8]],
        arguments: &[&[u8]],
    ) -> mlua::Result<Answer> {
        let globals = self.lua.globals();
        globals.raw_set("KEYS", self.strings(keys)?)?;
        globals.raw_set("ARGV", self.strings(arguments)?)?;
        from_lua(function.call(())?)
    }

    fn strings(&self, words: &[&[u8]]) -> mlua::Result<Table> {
        let table = self.lua.create_table_with_capacity(words.len(), 0)?;
        for word in words {
            table.raw_push(self.lua.create_string(word)?)?;
        }
        Ok(table)
    }
}

/// Runs the command a script gave.
fn call(node: &RefCell<Node>, words: &[Value]) -> mlua::Result<Answer> {
    let words: Vec<_> = words.iter().map(word).collect::<mlua::Result<_>>()?;
    let words: Vec<&[u8]> = words.iter().map(AsRef::as_ref).collect();
    Ok(run(&mut node.borrow_mut(), &words))
}

/// A word of a command: a borrowed string, or a number's digits.
enum Word {
    Borrowed(mlua::BorrowedBytes),
    Digits(String),
}

impl AsRef<[u8]> for Word {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Digits(digits) => digits.as_bytes(),
        }
    }
}

fn word(value: &Value) -> mlua::Result<Word> {
    match value {
        Value::String(text) => Ok(Word::Borrowed(text.as_bytes())),
        Value::Integer(number) => Ok(Word::Digits(number.to_string())),
        // Redis writes numbers with 17 digits: whole ones below 10^17 without point or exponent. Our scripts
        // never hand over any other.
        Value::Number(number) if number.fract() == 0.0 && number.abs() < 1e17 => {
            Ok(Word::Digits(format!("{number:.0}")))
        }
        _ => Err(Error::RuntimeError(
            "ERR Lua redis lib command arguments must be strings or whole numbers".to_owned(),
        )),
    }
}

fn to_lua(lua: &Lua, answer: Answer) -> mlua::Result<Value> {
    Ok(match answer {
        Answer::Nil => Value::Boolean(false),
        // Lua 5.1 counts in doubles, so large integers lose their last digits here as in Redis.
        Answer::Integer(number) => Value::Number(number as f64),
        Answer::Bulk(bytes) => Value::String(lua.create_string(bytes)?),
        Answer::Status(text) => Value::Table(lua.create_table_from([("ok", text)])?),
        Answer::Error(text) => Value::Table(lua.create_table_from([("err", text)])?),
        Answer::Array(members) => {
            let table = lua.create_table_with_capacity(members.len(), 0)?;
            for member in members {
                table.raw_push(to_lua(lua, member)?)?;
            }
            Value::Table(table)
        }
    })
}

fn from_lua(value: Value) -> mlua::Result<Answer> {
    Ok(match value {
        Value::Nil | Value::Boolean(false) => Answer::Nil,
        Value::Boolean(true) => Answer::Integer(1),
        Value::Integer(number) => Answer::Integer(number),
        Value::Number(number) => Answer::Integer(number as i64),
        Value::String(text) => Answer::Bulk(text.as_bytes().to_vec()),
        Value::Table(table) => {
            if let Some(text) = table.raw_get::<Option<LuaString>>("err")? {
                return Ok(Answer::Error(text.to_string_lossy()));
            }
            if let Some(text) = table.raw_get::<Option<LuaString>>("ok")? {
                return Ok(Answer::Status(text.to_string_lossy()));
            }
            let mut members = Vec::with_capacity(table.raw_len());
            // An array ends at its first nil.
            for at in 1.. {
                match table.raw_get(at)? {
                    Value::Nil => break,
                    member => members.push(from_lua(member)?),
                }
            }
            Answer::Array(members)
        }
        _ => Answer::Nil,
    })
}

/// An error as Redis words it.
fn described(error: &Error, digest: &str) -> String {
    match error {
        Error::CallbackError { cause, .. } => described(cause, digest),
        Error::RuntimeError(text) => {
            let text = text.lines().next().unwrap_or_default();
            let kind = if text.starts_with("user_script:") {
                "ERR "
            } else {
                ""
            };
            format!("{kind}{text} script: {digest}, on @user_script.")
        }
        _ => format!("ERR {error} script: {digest}"),
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
