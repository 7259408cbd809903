//! A subject's facts in few bytes: what many attestations have in common is kept once, the rest as binary.
//!
//! Nothing is lost: unpacking gives back exactly what was packed, so a decision from memory and one from the store are
//! the same bytes.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use vouchsafe_core::Second;
use vouchsafe_core::facts::{Attestation, Mark, MarkKind, PersonKey, SubjectFacts, SubjectKind};
use vouchsafe_core::ids::{AttestationId, SubjectId};

/// Most shapes kept; an attestation of any further shape is packed whole, so that odd input cannot fill the memory.
const MAX_SHAPES: usize = 65_536;

/// Longest shape kept, as JSON.
const MAX_SHAPE_BYTES: usize = 1024;

/// Shortest run of hexadecimal digits worth keeping as bytes.
const MIN_HEX: usize = 16;

const HAS_FACT_DATE: u8 = 1;
const HAS_END: u8 = 2;
const HAS_DOUBT: u8 = 4;
const HAS_PERSON: u8 = 8;
const HAS_NAME: u8 = 16;
/// The person is the one of the attestation before.
const SAME_PERSON: u8 = 32;
const HAS_MARKS: u8 = 64;
/// The assessor ends with an id of its own: the subject's, in its own words.
const OWN_ASSESSOR: u8 = 128;

/// The facts of one subject.
#[derive(Debug, PartialEq, Eq)]
pub struct Packed(Box<[u8]>);

/// What attestations have in common, each kind once: an attestation without id, dates, digests and marks.
#[derive(Debug, Default)]
pub struct Shapes {
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_text: HashMap<String, u32>,
    all: Vec<Arc<Attestation>>,
}

impl Shapes {
    /// The number of `shape`; `None` when there are too many.
    fn number(&self, shape: Attestation) -> Option<u32> {
        let text = serde_json::to_string(&shape).ok().filter(|text| text.len() <= MAX_SHAPE_BYTES)?;
        if let Some(number) = self.known.read().unwrap_or_else(PoisonError::into_inner).by_text.get(&text) {
            return Some(*number);
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = known.by_text.get(&text) {
            return Some(*number);
        }
        let number = u32::try_from(known.all.len()).ok().filter(|_| known.all.len() < MAX_SHAPES)?;
        known.all.push(Arc::new(shape));
        known.by_text.insert(text, number);
        Some(number)
    }

    fn get(&self, number: u64) -> Option<Arc<Attestation>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.all.get(usize::try_from(number).ok()?).cloned()
    }
}

/// An attestation without what is its own, the digest that its document ends with, and the id that its assessor does.
fn shape_of(attestation: &Attestation) -> Option<(Attestation, &str, &str)> {
    let (stem, digest) = split_hex(&attestation.facts.document);
    let assessor = attestation.facts.assessor.as_str();
    let (assessor, own) = if assessor.starts_with("self:") { split_hex(assessor) } else { (assessor, "") };
    let mut shape = attestation.clone();
    shape.id = AttestationId::parse("att_0").ok()?;
    shape.recorded_at = Second::from_epoch(0);
    shape.marks = Vec::new();
    shape.facts.checked_at = Second::from_epoch(0);
    shape.facts.fact_date = None;
    shape.facts.ends_at = None;
    shape.facts.doubt = None;
    shape.facts.person = None;
    stem.clone_into(&mut shape.facts.document);
    assessor.clone_into(&mut shape.facts.assessor);
    Some((shape, digest, own))
}

/// A text and the longest even run of lower-case hexadecimal digits that it ends with.
fn split_hex(text: &str) -> (&str, &str) {
    let run = text.bytes().rev().take_while(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).count() & !1;
    let run = if run < MIN_HEX { 0 } else { run };
    text.split_at(text.len() - run)
}

impl Packed {
    /// Packs what is known of one subject, without other parties; its id is the key they are kept under and not in them.
    #[must_use]
    pub fn pack(facts: &SubjectFacts, shapes: &Shapes) -> Self {
        let mut out = Writer(Vec::with_capacity(1 + 64 * facts.attestations.len()));
        out.0.push(facts.kind as u8);
        let mut recorded = 0_i64;
        let mut person = None;
        for attestation in &facts.attestations {
            let shape =
                shape_of(attestation).and_then(|(shape, digest, own)| Some((shapes.number(shape)?, digest, own)));
            let Some((shape, digest, own)) = shape else {
                out.whole(attestation);
                continue;
            };
            out.varint(u64::from(shape) + 1);
            let (facts, at) = (&attestation.facts, attestation.recorded_at.epoch());
            let same = facts.person.is_some() && facts.person.as_ref() == person;
            let flags = [
                (facts.fact_date.is_some(), HAS_FACT_DATE),
                (facts.ends_at.is_some(), HAS_END),
                (facts.doubt.is_some(), HAS_DOUBT),
                (facts.person.is_some(), HAS_PERSON),
                (facts.person.as_ref().is_some_and(|person| person.name.is_some()), HAS_NAME),
                (same, SAME_PERSON),
                (!attestation.marks.is_empty(), HAS_MARKS),
                (!own.is_empty(), OWN_ASSESSOR),
            ];
            out.0.push(flags.iter().filter(|(set, _)| *set).fold(0, |flags, (_, flag)| flags | flag));
            out.text(attestation.id.as_str().strip_prefix("att_").unwrap_or_default());
            out.delta(at, recorded);
            let checked = facts.checked_at.epoch();
            out.delta(checked, at);
            if let Some(date) = facts.fact_date {
                out.delta(date.epoch(), checked);
            }
            if let Some(end) = facts.ends_at {
                out.delta(end.epoch(), checked);
            }
            if let Some(doubt) = facts.doubt {
                out.0.extend_from_slice(&doubt.to_bits().to_le_bytes());
            }
            out.text(digest);
            if !own.is_empty() {
                out.text(own);
            }
            if let Some(person) = facts.person.as_ref().filter(|_| !same) {
                out.text(&person.birth);
                if let Some(name) = &person.name {
                    out.text(name);
                }
            }
            if !attestation.marks.is_empty() {
                out.varint(attestation.marks.len() as u64);
                for mark in &attestation.marks {
                    out.delta(mark.at.epoch(), at);
                    out.0.push(mark.kind as u8 * 2 + u8::from(mark.from_start));
                }
            }
            recorded = at;
            person = facts.person.as_ref();
        }
        Self(out.0.into_boxed_slice())
    }

    /// The facts again; `None` when the bytes are not what these shapes packed.
    #[must_use]
    pub fn unpack(&self, subject: &SubjectId, shapes: &Shapes) -> Option<SubjectFacts> {
        let mut rest = Reader(&self.0);
        let kind = match rest.byte()? {
            0 => SubjectKind::Person,
            1 => SubjectKind::Organisation,
            2 => SubjectKind::Workload,
            _ => return None,
        };
        let mut attestations: Vec<Attestation> = Vec::new();
        let mut recorded = 0;
        let mut person: Option<PersonKey> = None;
        while !rest.0.is_empty() {
            let Some(shape) = rest.varint()?.checked_sub(1) else {
                attestations.push(rest.whole()?);
                continue;
            };
            let mut attestation = Attestation::clone(&*shapes.get(shape)?);
            let flags = rest.byte()?;
            let has = |flag: u8| flags & flag != 0;
            attestation.id = AttestationId::parse(&format!("att_{}", rest.text()?)).ok()?;
            let at = rest.delta(recorded)?;
            let checked = rest.delta(at)?;
            attestation.recorded_at = Second::from_epoch(at);
            let facts = &mut attestation.facts;
            facts.checked_at = Second::from_epoch(checked);
            if has(HAS_FACT_DATE) {
                facts.fact_date = Some(Second::from_epoch(rest.delta(checked)?));
            }
            if has(HAS_END) {
                facts.ends_at = Some(Second::from_epoch(rest.delta(checked)?));
            }
            if has(HAS_DOUBT) {
                facts.doubt = Some(f64::from_bits(u64::from_le_bytes(*rest.take(8)?.first_chunk()?)));
            }
            facts.document.push_str(&rest.text()?);
            if has(OWN_ASSESSOR) {
                facts.assessor.push_str(&rest.text()?);
            }
            if has(HAS_PERSON) && !has(SAME_PERSON) {
                let birth = rest.text()?;
                let name = if has(HAS_NAME) { Some(rest.text()?) } else { None };
                person = Some(PersonKey { birth, name });
            } else if !has(HAS_PERSON) {
                person = None;
            }
            facts.person.clone_from(&person);
            if has(HAS_MARKS) {
                for _ in 0..rest.varint()? {
                    let at = Second::from_epoch(rest.delta(at)?);
                    let byte = rest.byte()?;
                    let kind = match byte / 2 {
                        0 => MarkKind::Revoked,
                        1 => MarkKind::Superseded,
                        2 => MarkKind::Resolved,
                        3 => MarkKind::Suspended,
                        _ => return None,
                    };
                    attestation.marks.push(Mark { at, kind, from_start: byte % 2 == 1 });
                }
            }
            recorded = at;
            attestations.push(attestation);
        }
        Some(SubjectFacts::new(subject.clone(), kind, attestations))
    }

    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is known of the subject.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

struct Writer(Vec<u8>);

impl Writer {
    /// Seven bits a byte, the lowest first.
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push((value & 0x7f) as u8);
    }

    /// The distance, small whichever way it goes.
    fn delta(&mut self, value: i64, from: i64) {
        let distance = value.wrapping_sub(from);
        self.varint((distance.wrapping_shl(1) ^ (distance >> 63)).cast_unsigned());
    }

    /// Even hexadecimal as bytes, anything else as it is; the lowest bit of the length tells which.
    fn text(&mut self, text: &str) {
        let (stem, digits) = split_hex(text);
        if stem.is_empty() && !digits.is_empty() {
            self.varint((digits.len() / 2 * 2 + 1) as u64);
            let digit = |byte: u8| if byte <= b'9' { byte - b'0' } else { byte - b'a' + 10 };
            self.0
                .extend(digits.as_bytes().as_chunks::<2>().0.iter().map(|[high, low]| digit(*high) << 4 | digit(*low)));
        } else {
            self.varint((text.len() * 2) as u64);
            self.0.extend_from_slice(text.as_bytes());
        }
    }

    fn whole(&mut self, attestation: &Attestation) {
        let text = serde_json::to_vec(attestation).unwrap_or_default();
        self.varint(0);
        self.varint(text.len() as u64);
        self.0.extend_from_slice(&text);
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn delta(&mut self, from: i64) -> Option<i64> {
        let coded = self.varint()?;
        let distance = (coded >> 1).cast_signed() ^ -(coded & 1).cast_signed();
        Some(from.wrapping_add(distance))
    }

    fn text(&mut self) -> Option<String> {
        let coded = self.varint()?;
        let bytes = self.take(usize::try_from(coded / 2).ok()?)?;
        if coded & 1 == 1 { Some(crate::crypto::hex(bytes)) } else { String::from_utf8(bytes.to_vec()).ok() }
    }

    fn whole(&mut self) -> Option<Attestation> {
        let length = usize::try_from(self.varint()?).ok()?;
        serde_json::from_slice(self.take(length)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn attestation(n: u64, document: &str) -> Attestation {
        serde_json::from_value(json!({
            "id": format!("att_0192f0a1b2c3{n:020x}"), "source": "src_0192f0a1b2c3d4e5f60718293a4b5c6d",
            "recorded_at": "2026-11-01T10:00:00Z",
            "facts": { "kind": "document_check", "source_kind": "document_vendor", "grade": "STRONG",
                "codes": ["face_match"], "document_type": "passport", "issuing_country": "USA",
                "document": document, "assessor": "vendor", "fact_date": "2020-05-02T00:00:00Z",
                "checked_at": "2026-11-01T09:59:00Z", "ends_at": "2030-05-02T00:00:00Z" } }))
        .unwrap()
    }

    fn subject() -> SubjectId {
        SubjectId::parse("sub_ada").unwrap()
    }

    /// Four documents: 16 bytes of id and 16 of digest each leave 18 for everything else.
    #[test]
    fn four_attestations_fit_in_two_hundred_bytes() {
        let attestations = (0..4).map(|n| attestation(n, &format!("doc:{:032x}", u128::from(n) << 100))).collect();
        let facts = SubjectFacts::person(subject(), attestations);
        let shapes = Shapes::default();
        let packed = Packed::pack(&facts, &shapes);
        assert!(packed.len() <= 200, "{}", packed.len());
        assert_eq!(packed.unpack(&subject(), &shapes).unwrap(), facts);
    }

    #[test]
    fn shapes_that_nobody_knows_give_nothing() {
        let facts = SubjectFacts::person(subject(), vec![attestation(1, "doc:1")]);
        let packed = Packed::pack(&facts, &Shapes::default());
        assert_eq!(packed.unpack(&subject(), &Shapes::default()), None);
    }

    /// Instants anywhere in the range that RFC 3339 can write; seconds beyond it exist in no attestation.
    fn instant() -> impl Strategy<Value = Second> {
        (-62_000_000_000_i64..253_000_000_000).prop_map(Second::from_epoch)
    }

    fn any_person() -> impl Strategy<Value = Option<PersonKey>> {
        let digest = prop_oneof!["[0-9a-f]{32}", "[0-9a-f]{15,17}", "[a-z:/]{0,20}", Just(String::new())];
        let name = proptest::option::of(digest.clone());
        proptest::option::of((digest, name).prop_map(|(birth, name)| PersonKey { birth, name }))
    }

    prop_compose! {
        fn any_attestation()(
            id in prop_oneof!["[0-9a-f]{32}", "[a-z0-9-]{1,64}"], recorded_at in instant(), checked_at in instant(),
            fact_date in proptest::option::of(instant()), ends_at in proptest::option::of(instant()),
            doubt in proptest::option::of(0.01..1.0_f64), person in any_person(),
            document in "[a-z:/]{0,8}[0-9a-f]{0,70}", assessor in "(self:)?[a-z_]{0,6}[0-9a-f]{0,40}", codes in proptest::collection::btree_set("[a-z_]{1,8}", 0..3),
            marks in proptest::collection::vec((instant(), 0..4_u8, any::<bool>()), 0..4),
        ) -> Attestation {
            let mut made = attestation(1, &document);
            made.id = AttestationId::parse(&format!("att_{id}")).unwrap();
            made.recorded_at = recorded_at;
            made.marks = marks.into_iter().map(|(at, kind, from_start)| {
                let kinds = [MarkKind::Revoked, MarkKind::Superseded, MarkKind::Resolved, MarkKind::Suspended];
                let kind = kinds[usize::from(kind)];
                Mark { at, kind, from_start }
            }).collect();
            let facts = &mut made.facts;
            (facts.checked_at, facts.fact_date, facts.ends_at) = (checked_at, fact_date, ends_at);
            (facts.doubt, facts.person, facts.codes, facts.assessor) = (doubt, person, codes, assessor);
            made
        }
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_back(
            mut attestations in proptest::collection::vec(any_attestation(), 0..6), same in any::<bool>(),
            kind in proptest::sample::select(vec![SubjectKind::Person, SubjectKind::Organisation, SubjectKind::Workload]),
        ) {
            if same && let Some(person) = attestations.first().map(|first| first.facts.person.clone()) {
                attestations.iter_mut().for_each(|attestation| attestation.facts.person.clone_from(&person));
            }
            let facts = SubjectFacts::new(subject(), kind, attestations);
            let shapes = Shapes::default();
            prop_assert_eq!(Packed::pack(&facts, &shapes).unpack(&subject(), &shapes), Some(facts));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let shapes = Shapes::default();
            shapes.number(attestation(1, ""));
            let _ = Packed(bytes.into_boxed_slice()).unpack(&subject(), &shapes);
        }
    }

    #[test]
    fn an_attestation_beyond_the_last_shape_is_packed_whole() {
        let shapes = Shapes::default();
        shapes.known.write().unwrap().all = (0..MAX_SHAPES).map(|_| Arc::new(attestation(0, ""))).collect();
        let facts = SubjectFacts::person(subject(), vec![attestation(1, "doc:1"), attestation(2, "x")]);
        let packed = Packed::pack(&facts, &shapes);
        assert_eq!(packed.unpack(&subject(), &shapes).unwrap(), facts);
        assert_eq!(shapes.known.read().unwrap().by_text.len(), 0);
    }
}
