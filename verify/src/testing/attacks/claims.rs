//! Claims of another issuer, for somebody else, of another time, or of no type that means anything.

use super::{Table, Wanted, parts};
use serde_json::{Map, Value, json};

impl Table<'_> {
    pub(super) fn claims(&mut self) {
        self.issuers();
        self.audiences();
        self.instants_that_are_none();
        self.instants_at_their_edges();
        self.names();
    }

    fn saying(&self, change: Value) -> String {
        self.signed(self.header(), self.claims_with(change))
    }

    fn saying_null(&self, name: &str) -> String {
        let mut claims = self.target.claims.clone();
        claims.insert(name.to_owned(), Value::Null);
        self.signed(self.header(), claims)
    }

    fn text(&self, name: &str) -> String {
        self.target.claims[name].as_str().unwrap().to_owned()
    }

    /// Signed claims in which a member's value is written as it stands, whether JSON has a number for it or not.
    fn written(&self, name: &str, value: &str) -> String {
        let mut claims: Map<String, Value> = self.target.claims.clone();
        claims.remove(name);
        let rest = Value::Object(claims).to_string();
        let header = Value::Object(self.header()).to_string();
        self.target.signer.sign_parts(&header, &format!(r#"{{"{name}":{value},{}"#, &rest[1..]))
    }

    fn issuers(&mut self) {
        let iss = self.text("iss");
        self.bad("iss missing", self.saying(json!({"iss": null})), "bad_claim");
        self.bad("iss null", self.saying_null("iss"), "bad_claim");
        for value in [json!(1), json!([iss]), json!({"iss": iss}), json!(true)] {
            self.bad(format!("iss {value}"), self.saying(json!({"iss": value})), "bad_claim");
        }
        for other in near(&iss) {
            self.bad(format!("iss {other:?}"), self.saying(json!({"iss": other})), "wrong_issuer");
        }
        for other in ["", "https://attacker.example", "null", "*", "org_acme", "https://accounts.google.com"] {
            self.bad(format!("iss {other:?}"), self.saying(json!({"iss": other})), "wrong_issuer");
        }
    }

    fn audiences(&mut self) {
        let aud = self.text("aud");
        let (lists, others) = (self.target.lists, self.target.others);
        self.bad("aud missing", self.saying(json!({"aud": null})), "bad_claim");
        self.bad("aud null", self.saying_null("aud"), "bad_claim");
        for value in [
            json!(1),
            json!({"aud": aud}),
            json!(true),
            json!([1]),
            json!([aud, 1]),
            json!([[aud]]),
            json!([aud, null]),
            json!([{"a": aud}]),
        ] {
            self.bad(format!("aud {value}"), self.saying(json!({"aud": value})), "bad_claim");
        }
        for other in near(&aud) {
            self.bad(format!("aud {other:?}"), self.saying(json!({"aud": other})), "wrong_audience");
        }
        for other in ["", "*", "attacker", "null"] {
            self.bad(format!("aud {other:?}"), self.saying(json!({"aud": other})), "wrong_audience");
        }
        // What a list may be depends on the kind; where none may be, each is malformed.
        let when = |may: bool, otherwise: &'static str| match (lists, may) {
            (false, _) => Wanted::Refused("bad_claim"),
            (true, true) => Wanted::Accepted,
            (true, false) => Wanted::Refused(otherwise),
        };
        for (value, wanted) in [
            (json!([aud]), when(true, "")),
            (json!([]), when(false, "wrong_audience")),
            (json!(["attacker"]), when(false, "wrong_audience")),
            (json!([aud, "attacker"]), when(others, "wrong_audience")),
            (json!(["attacker", aud]), when(others, "wrong_audience")),
            (json!([aud, aud]), when(others, "wrong_audience")),
            (json!([format!("{aud} attacker")]), when(false, "wrong_audience")),
            (json!([""]), when(false, "wrong_audience")),
        ] {
            let token = self.saying(json!({"aud": value}));
            self.add(format!("aud {value}"), token, wanted);
        }
    }

    fn instants_that_are_none(&mut self) {
        let at = self.target.at;
        self.bad("exp missing", self.saying(json!({"exp": null})), "bad_claim");
        for name in ["exp", "nbf", "iat"] {
            self.bad(format!("{name} null"), self.saying_null(name), "bad_claim");
            for value in [
                json!(format!("{}", at + 60)),
                json!("never"),
                json!(""),
                json!(true),
                json!(false),
                json!([at + 60]),
                json!({"$date": at + 60}),
            ] {
                self.bad(format!("{name} {value}"), self.saying(json!({name: value})), "bad_claim");
            }
            for value in [
                "-1",
                "-0",
                "-9223372036854775808",
                "-9223372036854775809",
                "9223372036854775807",
                "9223372036854775808",
                "18446744073709551615",
                "18446744073709551616",
                "9223372036854775777",
                "253402300800",
                "1e300",
                "1e308",
                "-1e308",
                "1.5",
                "0.0",
                "1e10",
                "1E10",
                "99999999999999999999999999999999999999",
            ] {
                self.bad(format!("{name} {value}"), self.written(name, value), "bad_claim");
            }
            self.bad(format!("{name} as a float"), self.written(name, &format!("{}.0", at + 10)), "bad_claim");
            self.bad(format!("{name} with a fraction"), self.written(name, &format!("{}.999", at + 10)), "bad_claim");
            for value in
                ["1e999", "-1e999", "NaN", "Infinity", "0x7fffffff", "007", "+1", "1_000", "1.", ".5", "1e", "--1", "٣"]
            {
                self.bad(format!("{name} {value}"), self.written(name, value), "bad_json");
            }
        }
    }

    fn instants_at_their_edges(&mut self) {
        let Self { target, .. } = self;
        let (at, expiry, leeway) = (target.at, target.expiry_leeway, 30);
        for (name, change, wanted) in [
            ("expired at the epoch", json!({"exp": 0, "iat": 0}), Wanted::Refused("expired")),
            ("expired long ago", json!({"exp": at - 86_400, "iat": at - 90_000}), Wanted::Refused("expired")),
            ("a second past the end", json!({"exp": at - expiry - 1, "iat": at - 100}), Wanted::Refused("expired")),
            ("at the end", json!({"exp": at - expiry, "iat": at - 100}), Wanted::Refused("expired")),
            ("a second before the end", json!({"exp": at - expiry + 1, "iat": at - 100}), Wanted::Accepted),
            ("nbf at the leeway's end", json!({"nbf": at + leeway}), Wanted::Accepted),
            ("nbf a second before it", json!({"nbf": at + leeway - 1}), Wanted::Accepted),
            ("nbf a second after it", json!({"nbf": at + leeway + 1}), Wanted::Refused("not_yet_valid")),
            ("nbf in the year 9999", json!({"nbf": 253_402_300_799_i64}), Wanted::Refused("not_yet_valid")),
            ("iat at the leeway's end", json!({"iat": at + leeway}), Wanted::Accepted),
            ("iat a second before it", json!({"iat": at + leeway - 1}), Wanted::Accepted),
            ("iat a second after it", json!({"iat": at + leeway + 1}), Wanted::Refused("issued_later")),
            ("iat in the year 9999", json!({"iat": 253_402_300_799_i64}), Wanted::Refused("issued_later")),
            ("ends before it begins", json!({"iat": at + 20, "exp": at + 19}), Wanted::Refused("lifetime")),
            ("ends when it begins", json!({"iat": at + 20, "exp": at + 20}), Wanted::Refused("lifetime")),
        ] {
            let token = self.saying(change);
            self.add(name, token, wanted);
        }
    }

    /// Names that must be there, and what may not stand for one.
    fn names(&mut self) {
        for name in self.target.required {
            self.bad(format!("{name} missing"), self.saying(json!({*name: null})), "bad_claim");
            self.bad(format!("{name} null"), self.saying_null(name), "bad_claim");
            for value in [
                json!(1),
                json!(true),
                json!(["x"]),
                json!({"x": 1}),
                json!(""),
                json!("a\u{0}b"),
                json!("a\nb"),
                json!("a\u{7f}"),
                json!("x".repeat(2049)),
            ] {
                let shown: String = value.to_string().chars().take(20).collect();
                self.bad(format!("{name} {shown}"), self.saying(json!({*name: value})), "bad_claim");
            }
        }
        // A good signature over other claims.
        let (good, other) = (self.good_token(), self.saying(json!({"sub": "somebody-else"})));
        let ((h, _, s), (_, c, _)) = (parts(&good), parts(&other));
        self.bad("claims of another token", format!("{h}.{c}.{s}"), "bad_signature");
    }
}

/// Texts that are nearly this one.
fn near(text: &str) -> Vec<String> {
    let mut found = vec![
        format!("{text}/"),
        format!("{text} "),
        format!(" {text}"),
        format!("{text}\0"),
        format!("{text}\n"),
        format!("{text}.attacker.example"),
        format!("{text}#"),
        format!("{text}?"),
        format!("x{text}"),
        text[..text.len() - 1].to_owned(),
        text.to_uppercase(),
        text.replace('e', "\u{435}"),
        text.replace("http", "HTTP"),
        text.replace("https://", "http://"),
        text.replace("://", "://attacker@"),
    ];
    found.retain(|other| other != text);
    found.sort();
    found.dedup();
    found
}
