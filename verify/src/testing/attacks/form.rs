//! Texts that are no tokens, and JSON that two parsers would read differently.

use super::{Table, b64, flipped, parts};
use serde_json::{Value, json};

impl Table<'_> {
    pub(super) fn forms(&mut self) {
        self.not_three_parts();
        self.not_base64url();
        self.not_json();
        self.too_long();
    }

    fn not_three_parts(&mut self) {
        let good = self.good_token();
        let (h, c, s) = parts(&good);
        for (token, code) in [
            (String::new(), "bad_parts"),
            (".".into(), "bad_parts"),
            ("..".into(), "bad_parts"),
            ("...".into(), "bad_parts"),
            ("....".into(), "encrypted"),
            (".....".into(), "bad_parts"),
            (h.into(), "bad_parts"),
            (format!("{h}.{c}"), "bad_parts"),
            (format!("{h}.{c}."), "bad_parts"),
            (format!("{h}..{s}"), "bad_parts"),
            (format!(".{c}.{s}"), "bad_parts"),
            (format!(".{c}."), "bad_parts"),
            (format!("{good}."), "bad_parts"),
            (format!(".{good}"), "bad_parts"),
            (format!("{h}.{c}.{s}.{s}"), "bad_parts"),
            (format!("{h}.{c}.{s}.{s}.{s}"), "encrypted"),
            (format!("{good}.{good}"), "bad_parts"),
            ("null".into(), "bad_parts"),
            ("undefined".into(), "bad_parts"),
        ] {
            self.bad(format!("parts: {}", shape(&token)), token, code);
        }
        let encrypted = format!("{}.{s}.{s}.{s}.{s}", b64(r#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#));
        self.bad("an encrypted token", encrypted, "encrypted");
        let flat = json!({"protected": h, "payload": c, "signature": s}).to_string();
        self.bad("json serialisation, flattened", flat, "bad_characters");
        let general = json!({"payload": c, "signatures": [{"protected": h, "signature": s}]}).to_string();
        self.bad("json serialisation, general", general, "bad_characters");
    }

    fn not_base64url(&mut self) {
        let good = self.good_token();
        let (h, c, s) = parts(&good);
        for odd in [
            "=", "==", "+", "/", " ", "\n", "\r\n", "\t", "\0", "%2E", "ü", "\u{200b}", "\u{feff}", "\u{ff0e}", "*",
            "~", ":", "\\",
        ] {
            for token in [
                format!("{odd}{good}"),
                format!("{good}{odd}"),
                format!("{h}{odd}.{c}.{s}"),
                format!("{h}.{odd}{c}.{s}"),
                format!("{h}.{c}{odd}.{s}"),
            ] {
                self.bad(format!("{odd:?} within"), token, "bad_characters");
            }
        }
        self.bad("a scheme before it", format!("Bearer {good}"), "bad_characters");
        self.bad("quotes around it", format!("\"{good}\""), "bad_characters");
        // A length that no bytes have, and bits that no byte has.
        let lengthened = |part: &str| format!("{part}{}", "A".repeat((5 - part.len() % 4) % 4));
        for (name, token) in [
            ("header", format!("{}.{c}.{s}", lengthened(h))),
            ("claims", format!("{h}.{}.{s}", lengthened(c))),
            ("signature", format!("{h}.{c}.{}", lengthened(s))),
        ] {
            self.bad(format!("{name} of a length that no bytes have"), token, "bad_encoding");
        }
        // Claims padded until their last character has stray bits.
        for blanks in 0..3 {
            let header = format!("{}{}", Value::Object(self.header()), " ".repeat(blanks));
            let claims = format!("{}{}", Value::Object(self.target.claims.clone()), " ".repeat(blanks));
            let token = self.target.signer.sign_parts(&header, &claims);
            let (h, c, s) = parts(&token);
            for (name, part, token) in [
                ("header", h, format!("{}.{c}.{s}", stray(h))),
                ("claims", c, format!("{h}.{}.{s}", stray(c))),
                ("signature", s, format!("{h}.{c}.{}", stray(s))),
            ] {
                if part.len() % 4 != 0 {
                    self.bad(format!("{name} with stray bits, {blanks} blanks"), token, "bad_encoding");
                }
            }
        }
    }

    fn not_json(&mut self) {
        let header = Value::Object(self.header()).to_string();
        let claims = Value::Object(self.target.claims.clone()).to_string();
        let typ = self.target.typ;
        let (alg, kid) = (self.target.signer.alg(), self.target.kid);
        let deep = |depth: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        for (name, text) in [
            ("empty list", "[]".to_owned()),
            ("null", "null".into()),
            ("a number", "1".into()),
            ("a text", "\"x\"".into()),
            ("true", "true".into()),
            ("nothing but a blank", " ".into()),
            ("two objects", format!("{header}{header}")),
            ("something after it", format!("{header}x")),
            ("cut short", header[..header.len() - 1].to_owned()),
            ("a byte order mark", format!("\u{feff}{header}")),
            ("a comment", format!("/**/{header}")),
            ("single quotes", header.replace('"', "'")),
            ("nested too deep", deep(32)),
            ("a comma too many", format!("{},}}", &header[..header.len() - 1])),
        ] {
            self.bad(format!("header: {name}"), self.target.signer.sign_parts(&text, &claims), "bad_json");
        }
        for text in [
            "[]",
            "null",
            "1",
            "\"x\"",
            "true",
            " ",
            "{}{}",
            "{}x",
            "{",
            "{\"a\":1,}",
            "{\"a\":NaN}",
            "{\"a\":1e999}",
            "{\"a\":01}",
            "{\"a\":+1}",
            "{\"a\":0x1}",
            "{\"a\":.5}",
            "{\"a\":\"\u{0}\"}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":\"\\x41\"}",
            "{a:1}",
            "{'a':1}",
        ] {
            self.bad(format!("claims: {text:?}"), self.target.signer.sign_parts(&header, text), "bad_json");
        }
        self.bad("claims nested too deep", self.target.signer.sign_parts(&header, &deep(32)), "bad_json");
        self.bad("claims nested far too deep", self.target.signer.sign_parts(&header, &deep(4000)), "bad_json");
        self.bad("a token within a token", self.target.signer.sign_parts(&header, &self.good_token()), "bad_json");
        for (name, part) in [
            ("header", [&header.as_bytes()[..header.len() - 2], b"\xff\"}"].concat()),
            ("header, cut", b"\x7b\xc3\x28\x7d".to_vec()),
        ] {
            let token = format!("{}.{}.{}", b64(part), b64(&claims), b64([0; 64]));
            self.bad(format!("not utf-8: {name}"), token, "bad_json");
        }
        let opening = |text: &str| text[1..].to_owned();
        for (name, twice) in [
            ("alg, the first one none", format!(r#"{{"alg":"none",{}"#, opening(&header))),
            ("alg, the last one none", format!(r#"{},"alg":"none"}}"#, &header[..header.len() - 1])),
            ("alg, the same twice", format!(r#"{{"alg":"{alg}",{}"#, opening(&header))),
            ("alg, escaped", format!(r#"{{"\u0061lg":"none",{}"#, opening(&header))),
            ("kid", format!(r#"{{"kid":"{kid}",{}"#, opening(&header))),
            ("typ", format!(r#"{{"typ":"{typ}",{}"#, opening(&header))),
            ("a member we do not know", format!(r#"{{"x":1,"x":1,{}"#, opening(&header))),
        ] {
            self.bad(format!("header repeats {name}"), self.target.signer.sign_parts(&twice, &claims), "bad_json");
        }
        for (name, member) in [
            ("iss", r#""iss":"https://attacker.example","#),
            ("iss, escaped", r#""\u0069ss":"https://attacker.example","#),
            ("aud", r#""aud":"attacker","#),
            ("exp", r#""exp":253402300799,"#),
            ("sub", r#""sub":"attacker","sub":"attacker","#),
            ("a member within", r#""x":{"y":1,"y":2},"#),
            ("a member within a list", r#""x":[{"y":1,"y":2}],"#),
        ] {
            let twice = format!("{{{member}{}", opening(&claims));
            self.bad(format!("claims repeat {name}"), self.target.signer.sign_parts(&header, &twice), "bad_json");
        }
    }

    fn too_long(&mut self) {
        let padded =
            |length: usize| self.signed(self.header(), self.claims_with(json!({"padding": "x".repeat(length)})));
        let token = padded(self.target.max_length * 3 / 4);
        self.bad("too long by its claims", token, "too_long");
        let good = self.good_token();
        let token = format!("{good}{}", "A".repeat(self.target.max_length + 1 - good.len()));
        self.bad("one byte too long", token, "too_long");
        let token = ".".repeat(self.target.max_length + 1);
        self.bad("nothing but dots, too many", token, "too_long");
        let token = ".".repeat(self.target.max_length);
        self.bad("nothing but dots", token, "bad_parts");
    }
}

/// The same bytes, written with bits that no byte has.
fn stray(part: &str) -> String {
    let last = part.as_bytes()[part.len() - 1];
    format!("{}{}", &part[..part.len() - 1], flipped(last) as char)
}

/// What a text looks like, without being as long.
fn shape(token: &str) -> String {
    token.split('.').map(|part| if part.is_empty() { "" } else { "x" }).collect::<Vec<_>>().join(".")
}
