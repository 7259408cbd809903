//! Puts each mutant of a file behind its switch, by inserting text and nothing else, so that lines stay where they are.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Context, Result};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use crate::{Mutant, Place, Span};

/// A file with its switches.
pub(crate) struct Rewritten {
    /// The new text.
    pub(crate) text: String,
    /// Every piece put in, and every expression with the pieces before it.
    pub(crate) places: Vec<Stretch>,
    /// Every `match` that mutants take arms out of.
    pub(crate) matches: Vec<Stretch>,
    /// Mutants with no form that could stand here.
    pub(crate) left: Vec<usize>,
}

/// A stretch of the new text, with the mutants that it is there for.
pub(crate) struct Stretch {
    pub(crate) range: Range<usize>,
    pub(crate) mutants: Vec<usize>,
    /// It is what one mutant says, and nothing else.
    pub(crate) own: bool,
}

/// What can be mutated, by the bytes of what cargo-mutants points at.
#[derive(Default)]
struct Found {
    /// Operators, from where to where, and the expressions that they make.
    operators: BTreeMap<(usize, usize), Range<usize>>,
    guards: Vec<Range<usize>>,
    /// Arms by their begin.
    arms: BTreeMap<usize, Arm>,
    /// Fields of expressions with a base, by their begin.
    fields: BTreeMap<usize, Field>,
}

struct Arm {
    pattern_end: usize,
    guard: Option<Range<usize>>,
    /// The `match` that it is of.
    whole: Range<usize>,
}

struct Field {
    value: Range<usize>,
    name: String,
    shorthand: bool,
    path: Range<usize>,
    base: Range<usize>,
    base_is_place: bool,
}

impl<'a> Visit<'a> for Found {
    fn visit_expr_binary(&mut self, node: &'a syn::ExprBinary) {
        // `&&` before a `let` is no expression that could be put elsewhere.
        if !matches!(*node.left, syn::Expr::Let(_)) && !matches!(*node.right, syn::Expr::Let(_)) {
            let op = node.op.span().byte_range();
            self.operators.insert((op.start, op.end), node.span().byte_range());
        }
        visit::visit_expr_binary(self, node);
    }

    fn visit_expr_unary(&mut self, node: &'a syn::ExprUnary) {
        let op = node.op.span().byte_range();
        self.operators.insert((op.start, op.end), node.span().byte_range());
        visit::visit_expr_unary(self, node);
    }

    fn visit_expr_match(&mut self, node: &'a syn::ExprMatch) {
        for arm in &node.arms {
            let guard = arm.guard.as_ref().map(|(_, guard)| guard.span().byte_range());
            self.guards.extend(guard.clone());
            let known = Arm { pattern_end: arm.pat.span().byte_range().end, guard, whole: node.span().byte_range() };
            self.arms.insert(arm.span().byte_range().start, known);
        }
        visit::visit_expr_match(self, node);
    }

    fn visit_expr_struct(&mut self, node: &'a syn::ExprStruct) {
        if let Some(base) = &node.rest {
            for field in &node.fields {
                let known = Field {
                    value: field.expr.span().byte_range(),
                    name: match &field.member {
                        syn::Member::Named(name) => name.to_string(),
                        syn::Member::Unnamed(index) => index.index.to_string(),
                    },
                    shorthand: field.colon_token.is_none(),
                    path: node.path.span().byte_range(),
                    base: base.span().byte_range(),
                    base_is_place: matches!(**base, syn::Expr::Path(_) | syn::Expr::Field(_)),
                };
                self.fields.insert(field.span().byte_range().start, known);
            }
        }
        visit::visit_expr_struct(self, node);
    }
}

/// One place of the source with the mutants that are switched there.
struct Edit {
    range: Range<usize>,
    /// What stands before it whichever mutant is on.
    head: String,
    /// What stands instead of it, by mutant; for an empty range, what is put there.
    branches: Vec<(String, usize)>,
}

/// The text with every mutant that can stand in it behind its switch.
///
/// # Errors
/// When the text is no Rust, or a mutant lies beyond its end.
pub(crate) fn rewrite<'a>(text: &str, mutants: impl Iterator<Item = (usize, &'a Mutant)>) -> Result<Rewritten> {
    let mut found = Found::default();
    found.visit_file(&syn::parse_file(text)?);
    let lines: Vec<usize> = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
    // What is put in comes first, then the wider before the narrower, so that each lies within what is open or after it.
    let mut edits: BTreeMap<(usize, bool, Reverse<usize>, Kind), Edit> = BTreeMap::new();
    let mut left = Vec::new();
    for (id, mutant) in mutants {
        let bytes = bytes(text, &lines, mutant.span)?;
        let Some((kind, edit)) = switched(text, &found, id, mutant, &bytes) else {
            left.push(id);
            continue;
        };
        let mut add = |kind, edit: Edit| {
            let key = (edit.range.start, !edit.range.is_empty(), Reverse(edit.range.end), kind);
            match edits.get_mut(&key) {
                Some(known) => known.branches.extend(edit.branches),
                None => drop(edits.insert(key, edit)),
            }
        };
        add(kind, edit);
        if let ("MatchArm", Some(arm)) = (mutant.genre.as_str(), found.arms.get(&bytes.start)) {
            add(
                Kind::Match,
                Edit { range: arm.whole.clone(), head: String::new(), branches: vec![(String::new(), id)] },
            );
        }
    }
    let mut out =
        Writer { source: text, at: 0, open: Vec::new(), text: String::new(), places: Vec::new(), matches: Vec::new() };
    for ((.., kind), edit) in edits {
        out.close_before(edit.range.start);
        out.open(kind, edit);
    }
    out.close_before(text.len());
    out.copy_to(text.len());
    Ok(Rewritten { text: out.text, places: out.places, matches: out.matches, left })
}

/// Which of two edits of one place lies in the other: a field's name stands before its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Put,
    /// Nothing is put in; it is only known where it stands.
    Match,
    Field,
    Guard,
    Operator,
}

/// The new text as far as it is written.
struct Writer<'a> {
    source: &'a str,
    at: usize,
    /// Where each open stretch began in the new text, where it ends in the source, whose it is.
    open: Vec<(usize, usize, Kind, Vec<usize>)>,
    text: String,
    places: Vec<Stretch>,
    matches: Vec<Stretch>,
}

impl Writer<'_> {
    fn copy_to(&mut self, end: usize) {
        self.text.push_str(&self.source[self.at..end]);
        self.at = end;
    }

    fn open(&mut self, kind: Kind, edit: Edit) {
        self.copy_to(edit.range.start);
        let begin = self.text.len();
        let ids = edit.branches.iter().map(|(_, id)| *id).collect();
        if kind == Kind::Match {
            self.open.push((begin, edit.range.end, kind, ids));
            return;
        }
        let stretch = !edit.range.is_empty();
        self.text.push_str(&edit.head);
        if stretch {
            self.text.push('(');
        }
        for (piece, id) in &edit.branches {
            let start = self.text.len();
            if stretch {
                self.text.push_str(&format!("if crate::mutation::on({id}) {{ ({piece}) }} else "));
            } else {
                self.text.push_str(piece);
            }
            self.places.push(Stretch { range: start..self.text.len(), mutants: vec![*id], own: true });
        }
        if stretch {
            self.text.push_str("{ (");
            self.open.push((begin, edit.range.end, kind, ids));
        }
    }

    /// Ends what ends before `next`.
    fn close_before(&mut self, next: usize) {
        while let Some((begin, end, kind, ids)) = self.open.pop_if(|(_, end, ..)| *end <= next) {
            self.copy_to(end);
            if kind != Kind::Match {
                self.text.push_str(") })");
            }
            let stretch = Stretch { range: begin..self.text.len(), mutants: ids, own: false };
            if kind == Kind::Match { &mut self.matches } else { &mut self.places }.push(stretch);
        }
    }
}

/// How one mutant is switched, or nothing where it has no form that stands beside the source.
fn switched(text: &str, found: &Found, id: usize, mutant: &Mutant, bytes: &Range<usize>) -> Option<(Kind, Edit)> {
    let put = |at: usize, piece: String| {
        (Kind::Put, Edit { range: at..at, head: String::new(), branches: vec![(piece, id)] })
    };
    let instead = |kind, range: Range<usize>, piece: String| {
        (kind, Edit { range, head: String::new(), branches: vec![(piece, id)] })
    };
    Some(match mutant.genre.as_str() {
        // What is returned first is the type that `impl Iterator` stands for: another one cannot be returned beside it.
        "FnValue" if mutant.replacement.starts_with("::std::iter::") => return None,
        "FnValue" => put(bytes.start, format!("if crate::mutation::on({id}) {{ return {}; }} ", mutant.replacement)),
        "BinaryOperator" | "UnaryOperator" => {
            let whole = found.operators.get(&(bytes.start, bytes.end))?.clone();
            let changed =
                format!("{}{}{}", &text[whole.start..bytes.start], mutant.replacement, &text[bytes.end..whole.end]);
            instead(Kind::Operator, whole, changed)
        }
        "MatchArmGuard" if found.guards.contains(bytes) => {
            instead(Kind::Guard, bytes.clone(), mutant.replacement.clone())
        }
        "MatchArm" => match found.arms.get(&bytes.start)? {
            Arm { guard: Some(guard), .. } => instead(Kind::Guard, guard.clone(), "false".to_owned()),
            Arm { pattern_end, .. } => put(*pattern_end, format!(" if !crate::mutation::on({id})")),
        },
        "StructField" => {
            let field = found.fields.get(&bytes.start)?;
            let base = &text[field.base.clone()];
            let from_base = if field.base_is_place {
                format!("{base}.{}", field.name)
            } else {
                format!("{{ let base: {} = {base}; base.{} }}", &text[field.path.clone()], field.name)
            };
            let head = if field.shorthand { format!("{}: ", field.name) } else { String::new() };
            (Kind::Field, Edit { range: field.value.clone(), head, branches: vec![(from_base, id)] })
        }
        _ => return None,
    })
}

/// The bytes between two places.
fn bytes(text: &str, lines: &[usize], span: Span) -> Result<Range<usize>> {
    let offset = |place: Place| -> Result<usize> {
        let line = *lines.get(place.line - 1).context("a mutant beyond the end of its file")?;
        Ok(text[line..].char_indices().nth(place.column - 1).map_or(text.len(), |(at, _)| line + at))
    };
    Ok(offset(span.start)?..offset(span.end)?)
}
