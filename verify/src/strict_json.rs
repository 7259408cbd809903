//! JSON from outside, read without the two freedoms parsers differ on: repeated member names and unbounded nesting.

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// Deepest nesting accepted; vendors' results reach about nine.
pub const MAX_DEPTH: usize = 32;

/// Why a text is not acceptable JSON. Carries no part of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not one JSON value without repeated names, nested at most {MAX_DEPTH} deep")]
pub struct StrictJsonError;

/// Reads exactly one JSON value; repeated member names at any depth are refused, compared after unescaping.
///
/// # Errors
/// When the bytes are not UTF-8 JSON, something follows the value, a name repeats, or it nests too deep.
pub fn parse(bytes: &[u8]) -> Result<Value, StrictJsonError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: MAX_DEPTH }.deserialize(&mut deserializer).map_err(|_| StrictJsonError)?;
    deserializer.end().map_err(|_| StrictJsonError)?;
    Ok(value)
}

/// As [`parse`], for texts that must be an object.
///
/// # Errors
/// As [`parse`], and when the value is not an object.
pub fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, StrictJsonError> {
    match parse(bytes)? {
        Value::Object(members) => Ok(members),
        _ => Err(StrictJsonError),
    }
}

/// How many further levels may open.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        self.depth.checked_sub(1).map(|depth| Self { depth }).ok_or_else(|| E::custom("nested too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut map = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(inner)?;
            if map.insert(name, value).is_some() {
                return Err(de::Error::custom("a name repeats"));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_values_read_as_serde_json_reads_them() {
        for text in
            ["null", "true", "-3", "18446744073709551615", "97.0", "\"ü\"", "[]", "{}", r#" {"a":[1,{"b":null}]} "#]
        {
            assert_eq!(parse(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap(), "{text}");
        }
    }

    #[test]
    fn repeated_names_are_refused_at_every_depth_and_when_escaped() {
        for text in [r#"{"a":1,"a":1}"#, r#"[{"b":{"a":1,"a":2}}]"#, r#"{"a":1,"\u0061":2}"#, r#"{"":1,"":2}"#] {
            assert_eq!(parse(text.as_bytes()), Err(StrictJsonError), "{text}");
        }
        assert!(parse(br#"{"a":{"a":1},"A":2}"#).is_ok());
    }

    #[test]
    fn depth_ends_exactly_at_the_limit() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert!(parse(nested(MAX_DEPTH + 1).as_bytes()).is_err());
        assert!(parse("[".repeat(200_000).as_bytes()).is_err());
        assert!(parse("{\"a\":".repeat(200_000).as_bytes()).is_err());
    }

    #[test]
    fn anything_but_one_utf8_value_is_refused() {
        for bytes in [&b""[..], b"{", b"{} {}", b"{}x", b"\xef\xbb\xbf{}", b"\"\xff\"", b"1e999", b"nul", b"{'a':1}"] {
            assert!(parse(bytes).is_err(), "{bytes:?}");
        }
        assert!(parse_object(b"[]").is_err());
        assert!(parse_object(b"{}").is_ok());
    }
}
