//! Changes of a user (RFC 7644 section 3.5.2), as the standard has them and as Okta and Entra send them.

use super::filter::{element_matches, sole_values};
use super::schema::{Attribute, Mutability, PATCH_OP, Type};
use super::{Fault, FaultKind, Found, MAX_VALUES, Profile, check_schemas, fault, find, is_primary, member};
use scim_v2::filter::{PatchPath, ValFilter};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Most operations of one request.
pub const MAX_OPERATIONS: usize = 64;
/// Longest path, bytes.
const MAX_PATH: usize = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Add,
    Replace,
    Remove,
}

impl Profile {
    /// The profile after a change; all of it or none.
    ///
    /// # Errors
    /// A [`Fault`] of the first operation that cannot be carried out.
    pub fn patched(&self, body: &Value) -> Result<Self, Fault> {
        let Value::Object(members) = body else { return fault(FaultKind::InvalidSyntax, "the body is no object") };
        check_schemas(members, PATCH_OP)?;
        let operations = match member(members, "Operations") {
            Some(Value::Array(operations)) if (1..=MAX_OPERATIONS).contains(&operations.len()) => operations,
            _ => return fault(FaultKind::InvalidSyntax, "`Operations` needs 1 to 64 operations"),
        };
        let mut patched = self.clone();
        for operation in operations {
            let Value::Object(operation) = operation else {
                return fault(FaultKind::InvalidSyntax, "an operation is no object");
            };
            patched.operate(operation)?;
        }
        patched.check()?;
        Ok(patched)
    }

    fn operate(&mut self, operation: &Map<String, Value>) -> Result<(), Fault> {
        let op = match member(operation, "op").and_then(Value::as_str).map(str::to_ascii_lowercase).as_deref() {
            Some("add") => Op::Add,
            Some("replace") => Op::Replace,
            Some("remove") => Op::Remove,
            _ => return fault(FaultKind::InvalidSyntax, "`op` must be `add`, `replace` or `remove`"),
        };
        let value = member(operation, "value");
        match (member(operation, "path"), op) {
            (Some(Value::String(path)), _) => self.at_path(op, path, value),
            (Some(Value::Null) | None, Op::Remove) => fault(FaultKind::NoTarget, "what is removed needs a `path`"),
            (Some(Value::Null) | None, _) => {
                let Some(Value::Object(members)) = value else {
                    return fault(FaultKind::InvalidValue, "an operation without `path` needs an object as `value`");
                };
                let mut named = BTreeSet::new();
                for (name, value) in members {
                    // What is ours to say is read over, as in a body; so is what we do not hold.
                    if let Found::Held(attribute, part) = find(name) {
                        if !named.insert((attribute.name, part.map(|part| part.name))) {
                            return fault(FaultKind::InvalidSyntax, "names an attribute twice");
                        }
                        self.set(op, attribute, part, value)?;
                    }
                }
                Ok(())
            }
            _ => fault(FaultKind::InvalidPath, "`path` is no text"),
        }
    }

    fn at_path(&mut self, op: Op, path: &str, value: Option<&Value>) -> Result<(), Fault> {
        let unreadable = Fault { kind: FaultKind::InvalidPath, detail: "`path` does not parse" };
        // Its own parser takes the last part of a bare schema for an attribute.
        if let Found::ReadOnly = find(path) {
            return fault(FaultKind::Mutability, "this is not for a directory to change");
        }
        if path.len() > MAX_PATH {
            return Err(unreadable);
        }
        let (name, filter, last) = match path.parse::<PatchPath>().map_err(|_| unreadable)? {
            PatchPath::Attr(path) => (path.to_string(), None, None),
            PatchPath::Value(path) => (path.attr.to_string(), Some(path.filter), path.sub_attr),
        };
        let (attribute, part) = match find(&name) {
            Found::Held(attribute, part) => (attribute, part),
            Found::ReadOnly => return fault(FaultKind::Mutability, "this is not for a directory to change"),
            Found::Unknown => return Ok(()),
        };
        let none = Value::Null;
        match (op, filter) {
            (Op::Remove, None) => self.remove(attribute, part),
            (_, None) => self.set(op, attribute, part, value.unwrap_or(&none)),
            (_, Some(filter)) => {
                if !attribute.multi || part.is_some() {
                    return fault(FaultKind::InvalidPath, "only an attribute of several values is filtered");
                }
                let part = match last.as_deref().map(|last| attribute.part(last)) {
                    None => None,
                    Some(Some(part)) => Some(part),
                    Some(None) => return Ok(()),
                };
                self.select(op, attribute, &filter, part, value.unwrap_or(&none))
            }
        }
    }

    fn remove(&mut self, attribute: &'static Attribute, part: Option<&'static Attribute>) -> Result<(), Fault> {
        if attribute.required {
            return fault(FaultKind::Mutability, "a required attribute cannot be removed");
        }
        let Some(part) = part else {
            self.0.remove(attribute.name);
            return Ok(());
        };
        match self.0.get_mut(attribute.name) {
            Some(Value::Object(members)) => drop(members.remove(part.name)),
            Some(Value::Array(values)) => {
                for members in values.iter_mut().filter_map(Value::as_object_mut) {
                    members.remove(part.name);
                }
            }
            _ => {}
        }
        self.tidy(attribute);
        Ok(())
    }

    /// Adds or replaces a whole attribute, or one part of it.
    fn set(
        &mut self,
        op: Op,
        attribute: &'static Attribute,
        part: Option<&'static Attribute>,
        value: &Value,
    ) -> Result<(), Fault> {
        if let Some(part) = part {
            return self.set_part(attribute, part, value);
        }
        let Some(read) = attribute.read(value)? else {
            // Whoever replaces by nothing removes (RFC 7643 section 2.5); whoever adds nothing changes nothing.
            return if op == Op::Replace { self.remove(attribute, None) } else { Ok(()) };
        };
        match (self.0.get_mut(attribute.name), read) {
            (Some(Value::Array(held)), Value::Array(added)) if op == Op::Add => {
                for value in added {
                    if !held.contains(&value) {
                        only_primary(held, &value);
                        held.push(value);
                    }
                }
                if held.len() > MAX_VALUES {
                    return fault(FaultKind::InvalidValue, "an attribute has more than 16 values");
                }
            }
            (Some(Value::Object(held)), Value::Object(parts)) => held.extend(parts),
            (_, read) => drop(self.0.insert(attribute.name.to_owned(), read)),
        }
        Ok(())
    }

    fn set_part(
        &mut self,
        attribute: &'static Attribute,
        part: &'static Attribute,
        value: &Value,
    ) -> Result<(), Fault> {
        let Some(read) = part.read(value)? else { return self.remove(attribute, Some(part)) };
        if !attribute.multi {
            let held = self.0.entry(attribute.name).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(held) = held {
                held.insert(part.name.to_owned(), read);
            }
            return Ok(());
        }
        // A part of every value; more than one cannot be the primary one.
        match self.0.get_mut(attribute.name) {
            Some(Value::Array(values)) if values.len() == 1 || read != Value::Bool(true) => {
                for members in values.iter_mut().filter_map(Value::as_object_mut) {
                    members.insert(part.name.to_owned(), read.clone());
                }
                Ok(())
            }
            Some(_) => fault(FaultKind::InvalidValue, "more than one value is the primary one"),
            None => fault(FaultKind::NoTarget, "there is no value to change"),
        }
    }

    /// Changes the values of an attribute that a filter selects.
    fn select(
        &mut self,
        op: Op,
        attribute: &'static Attribute,
        filter: &ValFilter,
        part: Option<&'static Attribute>,
        value: &Value,
    ) -> Result<(), Fault> {
        let mut values = match self.0.remove(attribute.name) {
            Some(Value::Array(values)) => values,
            _ => Vec::new(),
        };
        let mut selected = Vec::with_capacity(values.len());
        for value in &values {
            selected.push(element_matches(attribute, filter, value, FaultKind::InvalidPath)?);
        }
        if !selected.contains(&true) {
            // What is added to a value that is not there makes it, where the filter says what it is: Entra counts on it.
            let made = if op == Op::Add { sole_values(attribute, filter) } else { None };
            let Some(made) = made else {
                return fault(FaultKind::NoTarget, "the filter in `path` selects nothing");
            };
            values.push(Value::Object(made));
            selected.push(true);
        }
        if values.len() > MAX_VALUES {
            return fault(FaultKind::InvalidValue, "an attribute has more than 16 values");
        }
        let read = match part {
            Some(part) => part.read(value)?,
            // One value of the attribute, given alone or as a list of one.
            None => match attribute.read(value)? {
                Some(Value::Array(mut read)) if read.len() == 1 => read.pop(),
                None => None,
                _ => return fault(FaultKind::InvalidValue, "give one value"),
            },
        };
        let remove = op == Op::Remove || read.is_none();
        if remove && part.is_none() {
            let mut selected = selected.iter();
            values.retain(|_| selected.next() != Some(&true));
        } else {
            let mut changed = 0;
            for (value, selected) in values.iter_mut().zip(&selected) {
                let (Some(members), true) = (value.as_object_mut(), selected) else { continue };
                changed += 1;
                match (part, &read) {
                    (Some(part), Some(read)) if !remove => drop(members.insert(part.name.to_owned(), read.clone())),
                    (Some(part), _) => drop(members.remove(part.name)),
                    (None, Some(Value::Object(read))) => members.extend(read.clone()),
                    (None, _) => {}
                }
            }
            let makes_primary = match (part, &read) {
                (Some(part), Some(read)) => part.name == "primary" && *read == Value::Bool(true),
                (None, Some(read)) => is_primary(read),
                _ => false,
            };
            if makes_primary && !remove {
                if changed > 1 {
                    return fault(FaultKind::InvalidValue, "more than one value is the primary one");
                }
                for (members, selected) in values.iter_mut().zip(&selected) {
                    if let (Some(members), false) = (members.as_object_mut(), selected) {
                        members.remove("primary");
                    }
                }
            }
        }
        self.0.insert(attribute.name.to_owned(), Value::Array(values));
        self.tidy(attribute);
        Ok(())
    }

    /// Values of which nothing is left go.
    fn tidy(&mut self, attribute: &'static Attribute) {
        let empty = |value: &Value| value.as_object().is_some_and(Map::is_empty);
        let gone = match self.0.get_mut(attribute.name) {
            Some(Value::Array(values)) => {
                values.retain(|value| !empty(value));
                values.is_empty()
            }
            Some(value) => attribute.kind == Type::Complex && empty(value),
            None => false,
        };
        if gone {
            self.0.remove(attribute.name);
        }
        debug_assert!(attribute.mutability == Mutability::ReadWrite, "nothing else is held");
    }
}

/// A value that becomes the primary one ends the one before (RFC 7644 section 3.5.2).
fn only_primary(held: &mut [Value], added: &Value) {
    if is_primary(added) {
        for members in held.iter_mut().filter_map(Value::as_object_mut) {
            members.remove("primary");
        }
    }
}
