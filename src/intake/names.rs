//! Names as documents write them, brought to one form so that spelling alone makes no second person.

use std::collections::BTreeSet;

/// One form for the ways in which documents write a name: Latin letters without marks, order and hyphens without
/// meaning, the digraphs by which machine-readable zones replace letters (ICAO 9303-3, section 6) as one letter.
///
/// It errs towards equal: what differs after it is only told, never held against anyone.
#[must_use]
pub fn normalised_name(name: &str) -> String {
    let apart = |c: &char| !matches!(c, '\'' | '’' | 'ʼ' | '`' | '.');
    // Passports write ё as E, whatever it sounds like.
    let joined: String = name.chars().filter(apart).map(|c| if matches!(c, 'ё' | 'Ё') { 'е' } else { c }).collect();
    let latin = deunicode::deunicode(&joined).to_ascii_lowercase();
    let words: BTreeSet<String> =
        latin.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).map(folded).collect();
    words.into_iter().collect::<Vec<_>>().join(" ")
}

/// `Mueller` and `Muller`, `Aase` and `Ase`, `Gross` and `Gros`: the second letter of a digraph and of a double goes.
fn folded(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    for letter in word.chars() {
        match (out.chars().last(), letter) {
            (Some('a' | 'o' | 'u'), 'e') => {}
            (Some(last), next) if last == next => {}
            _ => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Table {
        same: Vec<Vec<String>>,
        different: Vec<[String; 2]>,
    }

    #[test]
    fn the_table_of_hard_names() {
        let table = include_str!("../../fixtures/names/hard.toml");
        let table: Table = toml::from_str(table).unwrap();
        for spellings in &table.same {
            let forms: BTreeSet<String> = spellings.iter().map(|name| normalised_name(name)).collect();
            assert_eq!(forms.len(), 1, "{spellings:?}: {forms:?}");
        }
        for [a, b] in &table.different {
            assert_ne!(normalised_name(a), normalised_name(b), "{a}, {b}");
        }
        assert!(table.same.len() >= 20 && table.different.len() >= 8);
    }

    #[test]
    fn nothing_readable_is_no_name() {
        assert_eq!(normalised_name(" -- ' . "), "");
    }
}
