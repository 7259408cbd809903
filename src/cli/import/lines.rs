//! A file as numbered lines, with the digest of what was read so far.

use crate::crypto::hex;
use aws_lc_rs::digest::{Context, SHA256};
use std::io::{BufRead, Read as _};

/// Longest line: what the API takes as a body.
pub(super) const LONGEST: usize = 256 * 1024;

/// One line, without its end.
pub(super) struct Line {
    /// From 1.
    pub(super) number: u64,
    /// Empty when it is too long.
    pub(super) bytes: Vec<u8>,
    /// Over [`LONGEST`]: read past, not kept.
    pub(super) too_long: bool,
}

/// What of a file has been read.
#[derive(Clone)]
pub(super) struct Read {
    digest: Context,
    pub(super) bytes: u64,
    pub(super) lines: u64,
}

impl Read {
    fn nothing() -> Self {
        Self { digest: Context::new(&SHA256), bytes: 0, lines: 0 }
    }

    /// SHA-256 of the bytes, hex.
    pub(super) fn sha256(&self) -> String {
        hex(self.digest.clone().finish().as_ref())
    }

    fn take(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
    }
}

pub(super) struct Lines<R> {
    input: R,
    /// All of it.
    pub(super) read: Read,
    /// Up to the last line that was ended: what grows after it is another line.
    pub(super) ended: Read,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, read: Read::nothing(), ended: Read::nothing() }
    }

    /// The next line; `None` at the end.
    pub(super) fn next(&mut self) -> std::io::Result<Option<Line>> {
        let mut bytes = Vec::new();
        let room = LONGEST as u64 + 1;
        if (&mut self.input).take(room).read_until(b'\n', &mut bytes)? == 0 {
            return Ok(None);
        }
        self.read.take(&bytes);
        let mut ended = bytes.last() == Some(&b'\n');
        let too_long = !ended && bytes.len() > LONGEST;
        while too_long && !ended {
            bytes.clear();
            if (&mut self.input).take(room).read_until(b'\n', &mut bytes)? == 0 {
                break;
            }
            self.read.take(&bytes);
            ended = bytes.last() == Some(&b'\n');
        }
        self.read.lines += 1;
        if ended {
            self.ended = self.read.clone();
        }
        if too_long {
            bytes.clear();
        }
        let text = bytes.trim_ascii_end().len();
        bytes.truncate(text);
        Ok(Some(Line { number: self.read.lines, bytes, too_long }))
    }

    /// At most `most` lines.
    pub(super) fn some(&mut self, most: usize) -> std::io::Result<Vec<Line>> {
        let mut lines = Vec::new();
        while lines.len() < most
            && let Some(line) = self.next()?
        {
            lines.push(line);
        }
        Ok(lines)
    }
}

/// Length and digest of a whole file, and the digest of its first `prefix` bytes if it has as many.
pub(super) struct Survey {
    pub(super) bytes: u64,
    pub(super) sha256: String,
    pub(super) prefix: Option<String>,
}

pub(super) fn survey(mut input: impl BufRead, prefix: u64) -> std::io::Result<Survey> {
    let mut read = Read::nothing();
    let mut found = (prefix == 0).then(|| read.sha256());
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(Survey { bytes: read.bytes, sha256: read.sha256(), prefix: found });
        }
        let left = prefix.saturating_sub(read.bytes);
        let most = usize::try_from(left).ok().filter(|left| *left > 0).unwrap_or(buffer.len());
        let taken = buffer.len().min(most);
        read.take(buffer.get(..taken).unwrap_or(buffer));
        input.consume(taken);
        if read.bytes == prefix {
            found = Some(read.sha256());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::sha256_hex;

    #[test]
    fn only_ended_lines_are_settled_and_a_line_too_long_is_one_line() {
        let mut text = b"one\n\n".to_vec();
        text.extend(vec![b'x'; LONGEST * 3]);
        text.extend(b"\nfour\r\nfive");
        let mut lines = Lines::new(&text[..]);
        let all = lines.some(10).unwrap();
        let seen: Vec<_> = all.iter().map(|line| (line.number, line.bytes.len(), line.too_long)).collect();
        assert_eq!(seen, [(1, 3, false), (2, 0, false), (3, 0, true), (4, 4, false), (5, 4, false)]);
        let ended = text.len() - b"five".len();
        assert_eq!((lines.ended.bytes, lines.ended.lines), (ended as u64, 4));
        assert_eq!(lines.ended.sha256(), sha256_hex(&text[..ended]));
        assert_eq!(lines.read.sha256(), sha256_hex(&text));
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_taken_and_one_byte_more_is_not() {
        for (length, too_long) in [(LONGEST, false), (LONGEST + 1, true)] {
            let mut text = vec![b'x'; length];
            text.push(b'\n');
            let line = Lines::new(&text[..]).next().unwrap().unwrap();
            assert_eq!((line.too_long, line.bytes.len()), (too_long, if too_long { 0 } else { length }));
        }
    }

    #[test]
    fn a_survey_knows_the_digest_of_any_beginning() {
        let text = b"0123456789";
        for prefix in 0..=10 {
            let found = survey(std::io::BufReader::with_capacity(3, &text[..]), prefix).unwrap();
            let expected = sha256_hex(&text[..usize::try_from(prefix).unwrap()]);
            assert_eq!((found.bytes, found.prefix), (10, Some(expected)), "{prefix}");
            assert_eq!(found.sha256, sha256_hex(text));
        }
        assert_eq!(survey(&text[..], 11).unwrap().prefix, None, "the file is shorter than it was");
    }
}
