//! A rules file as a tree of values that knows where each stands, read so that everything wrong with it is told at once.

use crate::check::{Finding, nearest};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A place in a text, counted from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

/// A rules file: TOML with places, or a JSON value without.
#[derive(Debug, Clone, Default)]
pub struct Document {
    /// The content; instants as text.
    pub value: Value,
    /// By JSON pointer: where the name stands, where the value stands.
    places: BTreeMap<String, (Place, Place)>,
}

/// A member of an object, or an element of a list, as a step of a JSON pointer (RFC 6901).
pub(crate) fn step(pointer: &str, member: &str) -> String {
    format!("{pointer}/{}", member.replace('~', "~0").replace('/', "~1"))
}

fn place(text: &str, offset: usize) -> Place {
    let before = text.get(..offset.min(text.len())).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Place {
        line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
        column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
    }
}

impl Document {
    /// Reads TOML.
    ///
    /// # Errors
    /// Every place where the text is not TOML.
    pub fn from_toml(text: &str) -> Result<Self, Vec<Finding>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let finding = |error: &toml::de::Error| {
                let problem = format!("not TOML: {}", error.message().trim_end_matches('.'));
                let mut finding = Finding::refused("", problem);
                finding.place = error.span().map(|span| place(text, span.start));
                finding
            };
            return Err(errors.iter().map(finding).collect());
        }
        let mut document = Self::default();
        let start = table.span().start;
        document.value = document.table(text, "", table.into_inner());
        document.places.insert(String::new(), (place(text, start), place(text, start)));
        Ok(document)
    }

    /// A value that came as JSON.
    #[must_use]
    pub fn from_json(value: Value) -> Self {
        Self { value, places: BTreeMap::new() }
    }

    fn table(&mut self, text: &str, pointer: &str, table: DeTable<'_>) -> Value {
        let mut members = Map::new();
        for (name, value) in table {
            let pointer = step(pointer, name.get_ref());
            self.places.insert(pointer.clone(), (place(text, name.span().start), place(text, value.span().start)));
            members.insert(name.into_inner().into_owned(), self.tree(text, &pointer, value));
        }
        Value::Object(members)
    }

    fn tree(&mut self, text: &str, pointer: &str, value: Spanned<DeValue<'_>>) -> Value {
        match value.into_inner() {
            DeValue::String(text) => json!(text),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| json!(number.as_str()), |number| json!(number)),
            DeValue::Float(number) => {
                number.as_str().parse::<f64>().map_or_else(|_| json!(number.as_str()), |number| json!(number))
            }
            DeValue::Boolean(yes) => json!(yes),
            DeValue::Datetime(instant) => json!(instant.to_string()),
            DeValue::Array(list) => list
                .into_iter()
                .enumerate()
                .map(|(index, item)| {
                    let pointer = format!("{pointer}/{index}");
                    let at = place(text, item.span().start);
                    self.places.insert(pointer.clone(), (at, at));
                    self.tree(text, &pointer, item)
                })
                .collect(),
            DeValue::Table(table) => self.table(text, pointer, table),
        }
    }

    /// Where a finding's member stands; an element of a list is looked for by its text. Without it, where the nearest enclosing member stands.
    #[must_use]
    pub fn located(&self, mut finding: Finding) -> Finding {
        if let (Some(item), Some(Value::Array(list))) = (&finding.item, self.value.pointer(&finding.pointer))
            && let Some(index) = list.iter().position(|value| value.as_str() == Some(item))
        {
            finding.pointer = format!("{}/{index}", finding.pointer);
        }
        let mut pointer = finding.pointer.as_str();
        while finding.place.is_none() {
            if let Some((name, value)) = self.places.get(pointer) {
                finding.place = Some(if finding.about_name { *name } else { *value });
            }
            match pointer.rfind('/') {
                Some(cut) => pointer = pointer.get(..cut).unwrap_or_default(),
                None => break,
            }
        }
        finding
    }

    /// What stands at `written` is found at `meant` too.
    fn rename(&mut self, written: &str, meant: &str) {
        let below = self.places.iter().filter_map(|(pointer, place)| {
            let rest = pointer.strip_prefix(written).filter(|rest| rest.is_empty() || rest.starts_with('/'))?;
            Some((format!("{meant}{rest}"), *place))
        });
        let below: Vec<_> = below.collect();
        self.places.extend(below);
    }

    /// The value as a `T`, with everything that does not fit told and, where it is clear what was meant, mended for the reading of
    /// the rest. `None` when the rest cannot be read.
    pub fn read<T: DeserializeOwned>(&mut self) -> (Option<T>, Vec<Finding>) {
        let mut reader = Reader {
            value: self.value.clone(),
            findings: Vec::new(),
            made_up: BTreeSet::new(),
            renamed: Vec::new(),
            whole: true,
        };
        let mut read = None;
        // Every turn mends one member. Whoever has got more than this wrong reads these first.
        for _ in 0..200 {
            match serde_path_to_error::deserialize::<_, T>(&reader.value) {
                Ok(value) => {
                    read = Some(value).filter(|_| reader.whole);
                    break;
                }
                Err(error) => {
                    let pointer = pointer_of(error.path());
                    if !reader.mend(&pointer, &error.inner().to_string()) {
                        break;
                    }
                }
            }
        }
        self.value = reader.value;
        for (written, meant) in reader.renamed {
            self.rename(&written, &meant);
        }
        (read, reader.findings)
    }
}

fn pointer_of(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter().fold(String::new(), |pointer, segment| match segment {
        Segment::Seq { index } => format!("{pointer}/{index}"),
        Segment::Map { key } => step(&pointer, key),
        Segment::Enum { .. } | Segment::Unknown => pointer,
    })
}

/// The names in backticks of a text.
fn named(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

struct Reader {
    value: Value,
    findings: Vec<Finding>,
    /// Pointers of members that were missing or unreadable, filled so that the rest can be read.
    made_up: BTreeSet<String>,
    /// Pointers of misspelt members, and of what was meant.
    renamed: Vec<(String, String)>,
    /// Whether what is read stands for what was written.
    whole: bool,
}

impl Reader {
    /// Tells what an error of the reading says, and mends the value. False: it cannot be mended.
    fn mend(&mut self, pointer: &str, error: &str) -> bool {
        if let Some(rest) = error.strip_prefix("unknown field ") {
            return self.unknown_member(pointer, &named(rest));
        }
        if let Some(rest) = error.strip_prefix("missing field ") {
            let member = named(rest).first().copied().unwrap_or_default();
            let at = step(pointer, member);
            let problem = format!("member `{member}` is missing");
            if self.made_up.insert(at.clone()) {
                self.findings.push(Finding::refused(at, problem));
            }
            return self.set(pointer, member, json!(""));
        }
        if self.made_up.contains(pointer) {
            // Not a text, then a list or a table.
            let Some(held) = self.value.pointer_mut(pointer) else { return false };
            self.whole = false;
            *held = match held {
                Value::String(_) => json!([]),
                Value::Array(_) => json!({}),
                _ => return false,
            };
            return true;
        }
        if let Some(rest) = error.strip_prefix("unknown variant ") {
            return self.unknown_word(pointer, &named(rest));
        }
        self.findings.push(Finding::refused(pointer, wrong(error)));
        self.whole = false;
        match pointer.rsplit_once('/') {
            // Without it the rest can still be read, if only to tell what else is wrong.
            Some((parent, member)) => {
                let member = member.replace("~1", "/").replace("~0", "~");
                match self.value.pointer_mut(parent) {
                    Some(Value::Object(members)) => {
                        self.made_up.insert(pointer.to_owned());
                        members.remove(&member).is_some()
                    }
                    _ => false,
                }
            }
            None => false,
        }
    }

    fn set(&mut self, pointer: &str, member: &str, value: Value) -> bool {
        match self.value.pointer_mut(pointer) {
            Some(Value::Object(members)) => members.insert(member.to_owned(), value).is_none(),
            _ => false,
        }
    }

    fn unknown_member(&mut self, pointer: &str, names: &[&str]) -> bool {
        let Some((member, known)) = names.split_first() else { return false };
        // The path may or may not end with the member itself.
        let parent = [pointer, pointer.rsplit_once('/').map_or("", |(parent, _)| parent)]
            .into_iter()
            .find(|parent| matches!(self.value.pointer(parent), Some(Value::Object(m)) if m.contains_key(*member)));
        let Some(parent) = parent else { return false };
        let Some(Value::Object(members)) = self.value.pointer_mut(parent) else { return false };
        let Some(value) = members.remove(*member) else { return false };
        let free: Vec<&str> = known.iter().copied().filter(|name| !members.contains_key(*name)).collect();
        let mut finding = Finding::refused(step(parent, member), format!("unknown member `{member}`")).at_name();
        finding = match nearest(member, free.iter().copied()) {
            Some(meant) => {
                members.insert(meant.to_owned(), value);
                self.renamed.push((step(parent, member), step(parent, meant)));
                finding.advise(format!("did you mean `{meant}`?"))
            }
            None => finding.advise(format!("remove it; members here are {}", listed(known))),
        };
        self.findings.push(finding);
        true
    }

    /// A word where one of a few is possible; where a table names its kind by a member, that member is looked for.
    fn unknown_word(&mut self, pointer: &str, names: &[&str]) -> bool {
        let Some((word, known)) = names.split_first() else { return false };
        let pointer = match self.value.pointer(pointer) {
            Some(Value::Object(members)) => match members.iter().find(|(_, value)| value.as_str() == Some(*word)) {
                Some((member, _)) => step(pointer, member),
                None => match members.get_key_value(*word) {
                    Some(_) => return self.unknown_member(pointer, names),
                    None => return false,
                },
            },
            // Keys of a table are words, too.
            None => return self.unknown_member(pointer, names),
            Some(_) => pointer.to_owned(),
        };
        let meant = nearest(word, known.iter().copied());
        let finding = Finding::refused(pointer.clone(), format!("`{word}` is not known here"));
        self.findings.push(match meant {
            Some(meant) => finding.advise(format!("did you mean `{meant}`?")),
            None => finding.advise(format!("choose from {}", listed(known))),
        });
        self.whole &= meant.is_some();
        let (Some(held), Some(first)) = (self.value.pointer_mut(&pointer), meant.or(known.first().copied())) else {
            return false;
        };
        *held = json!(first);
        true
    }
}

pub(crate) fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// What a reading error says, in words of the file's writer and without the offending value.
fn wrong(error: &str) -> String {
    if error.contains("untagged enum Members") {
        return "must be a list of names, or one set as `set:name@date`".to_owned();
    }
    let Some((_, expected)) = error.rsplit_once("expected ").filter(|_| error.starts_with("invalid ")) else {
        return error.to_owned();
    };
    let expected = match expected {
        "f64" => "a number",
        "a boolean" => "`true` or `false`",
        "a string" => "a text",
        "a sequence" => "a list",
        "u8" | "u32" | "i64" | "u64" => "a whole number",
        other if other.starts_with("struct ") || other.starts_with("a map") || other.starts_with("internally") => {
            "a table"
        }
        other => other,
    };
    format!("must be {expected}")
}
