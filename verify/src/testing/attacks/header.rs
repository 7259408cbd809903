//! Headers that ask for another algorithm, another key or another meaning.

use super::{Signer, Table, b64};
use aws_lc_rs::hmac;
use serde_json::{Value, json};

impl Table<'_> {
    pub(super) fn headers(&mut self) {
        self.algorithms();
        self.symmetric();
        self.key_ids();
        self.keys_brought_along();
        self.critical();
        self.types();
    }

    /// The good claims under a changed header, signed with the genuine key all the same.
    fn under(&self, change: Value) -> String {
        self.signed(self.header_with(change), self.target.claims.clone())
    }

    /// The same with a member that is null rather than absent.
    fn under_null(&self, name: &str) -> String {
        let mut header = self.header();
        header.insert(name.to_owned(), Value::Null);
        self.signed(header, self.target.claims.clone())
    }

    fn algorithms(&mut self) {
        let own = self.target.signer.alg();
        for alg in [
            "none",
            "None",
            "NONE",
            "nOnE",
            "noNE",
            "none ",
            " none",
            "",
            "HS256",
            "HS384",
            "HS512",
            "ES384",
            "ES512",
            "ES256K",
            "PS256",
            "PS384",
            "PS512",
            "RS384",
            "RS512",
            "RS1",
            "Ed448",
            "eddsa",
            "EDDSA",
            "ed25519",
            "es256",
            "Es256",
            "rs256",
            "RSA256",
            "ES256 ",
            " ES256",
            "ES256\0",
            "ES256\n",
            "RS256,ES256",
            "\u{ff25}S256",
            "dir",
            "RSA1_5",
            "ECDH-ES",
            "A128KW",
            "PBES2-HS256+A128KW",
            "ML-DSA-44",
        ] {
            self.bad(format!("alg {alg:?}"), self.under(json!({"alg": alg})), "bad_algorithm");
            let unsigned = format!(
                "{}.{}.{}",
                b64(Value::Object(self.header_with(json!({"alg": alg}))).to_string()),
                b64(Value::Object(self.target.claims.clone()).to_string()),
                b64([0])
            );
            self.bad(format!("alg {alg:?}, signature of one byte"), unsigned, "bad_algorithm");
        }
        for alg in [json!(1), json!(true), json!([own]), json!({"alg": own})] {
            self.bad(format!("alg {alg}"), self.under(json!({"alg": alg})), "bad_header");
        }
        self.bad("alg null", self.under_null("alg"), "bad_header");
        self.bad("alg missing", self.under(json!({"alg": null})), "bad_header");
        let unsigned = format!("{}.{}.", b64(json!({"alg": "none", "typ": self.target.typ}).to_string()), b64("{}"));
        self.bad("none, without signature", unsigned, "bad_parts");
        // Another accepted algorithm, and a key of the attacker's that fits it.
        for other in [Signer::es256(), Signer::ed25519()] {
            if other.alg() != own {
                let header = Value::Object(self.header_with(json!({"alg": other.alg()})));
                let token = other.sign(&header, &Value::Object(self.target.claims.clone()));
                self.bad(format!("{} by a stranger under a key of {own}", other.alg()), token, "wrong_algorithm");
            }
        }
        for alg in ["ES256", "EdDSA", "Ed25519", "RS256"] {
            if alg != own && !(alg == "Ed25519" && own == "EdDSA") {
                self.bad(
                    format!("{alg} named under a key of {own}"),
                    self.under(json!({"alg": alg})),
                    "wrong_algorithm",
                );
            }
        }
    }

    /// The public key taken for a shared secret.
    fn symmetric(&mut self) {
        let jwk = self.target.signer.jwk();
        let mut secrets =
            vec![jwk.to_string().into_bytes(), jwk.to_string().replace(':', ": ").into_bytes(), Vec::new()];
        for name in ["x", "y", "n", "e"] {
            if let Some(text) = jwk.get(name).and_then(Value::as_str) {
                secrets.push(text.as_bytes().to_vec());
                secrets.push(crate::jws::decode(text).unwrap());
            }
        }
        for (number, secret) in secrets.into_iter().enumerate() {
            for (alg, digest) in
                [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)]
            {
                let header = Value::Object(self.header_with(json!({"alg": alg}))).to_string();
                let signed = format!("{}.{}", b64(header), b64(Value::Object(self.target.claims.clone()).to_string()));
                let tag = hmac::sign(&hmac::Key::new(digest, &secret), signed.as_bytes());
                self.bad(
                    format!("{alg} with public key, text {number}"),
                    format!("{signed}.{}", b64(tag)),
                    "bad_algorithm",
                );
                // The genuine algorithm named, the tag in place of the signature.
                let header = Value::Object(self.header()).to_string();
                let signed = format!("{}.{}", b64(header), b64(Value::Object(self.target.claims.clone()).to_string()));
                let tag = hmac::sign(&hmac::Key::new(digest, &secret), signed.as_bytes());
                self.bad(
                    format!("tag of {alg} as a signature, text {number}"),
                    format!("{signed}.{}", b64(tag)),
                    "bad_signature",
                );
            }
        }
    }

    fn key_ids(&mut self) {
        let kid = self.target.kid;
        for text in [
            "",
            " ",
            "../../etc/passwd",
            "/dev/null",
            "a' or '1'='1",
            "x\" or 1=1 --",
            "a;b",
            "a|id",
            "$(id)",
            "`id`",
            "https://attacker.example/jwks.json",
            "file:///dev/null",
            "k1\0",
            "k1\n",
            "\u{212a}1",
            "ü",
            "a b",
            "a,b",
            "{}",
            "%00",
            "*",
            "?",
            "\\",
        ] {
            self.bad(format!("kid {text:?}"), self.under(json!({"kid": text})), "bad_header");
        }
        for value in [json!(1), json!(true), json!([kid]), json!({"kid": kid}), json!("k".repeat(129))] {
            let name: String = value.to_string().chars().take(20).collect();
            self.bad(format!("kid {name}"), self.under(json!({"kid": value})), "bad_header");
        }
        self.bad("kid null", self.under_null("kid"), "bad_header");
        self.bad("kid missing", self.under(json!({"kid": null})), "bad_header");
        for text in [
            kid.to_uppercase(),
            format!("{kid}x"),
            format!("{kid}."),
            kid[..kid.len() - 1].to_owned(),
            format!("0{kid}"),
            "k".repeat(128),
            "none".into(),
            "0".into(),
            "..".into(),
        ] {
            if text != kid && !text.is_empty() {
                self.bad(
                    format!("kid of nobody {:?}", &text[..text.len().min(20)]),
                    self.under(json!({"kid": text})),
                    "unknown_key",
                );
            }
        }
    }

    fn keys_brought_along(&mut self) {
        let stranger = match self.target.signer.alg() {
            "ES256" => Signer::es256(),
            "EdDSA" => Signer::ed25519(),
            _ => Signer::rs256(),
        };
        let mut jwk = stranger.jwk();
        jwk["kid"] = json!(self.target.kid);
        jwk["alg"] = json!(stranger.alg());
        let claims = Value::Object(self.target.claims.clone());
        for (name, change) in [
            ("nothing", json!({})),
            ("jwk", json!({"jwk": jwk})),
            ("jku", json!({"jku": "https://attacker.example/jwks.json"})),
            ("x5u", json!({"x5u": "https://attacker.example/chain.pem"})),
            ("x5c", json!({"x5c": ["MIIB"]})),
            ("x5t", json!({"x5t": "AAAA"})),
            ("x5t#S256", json!({"x5t#S256": "AAAA"})),
            (
                "all of them",
                json!({"jwk": jwk, "jku": "https://attacker.example/", "x5u": "https://attacker.example/", "x5c": ["MIIB"]}),
            ),
        ] {
            let token = stranger.sign(&Value::Object(self.header_with(change.clone())), &claims);
            self.bad(format!("a stranger's signature with {name}"), token, "bad_signature");
            let mut without = self.header_with(change);
            without.insert("kid".into(), json!("attacker"));
            let token = stranger.sign(&Value::Object(without), &claims);
            self.bad(format!("a stranger's key id with {name}"), token, "unknown_key");
        }
        let mut anonymous = self.header_with(json!({"jwk": jwk}));
        anonymous.remove("kid");
        self.bad("a stranger's jwk without kid", stranger.sign(&Value::Object(anonymous), &claims), "bad_header");
    }

    fn critical(&mut self) {
        for (name, change) in [
            ("exp", json!({"crit": ["exp"]})),
            ("nothing", json!({"crit": []})),
            ("b64", json!({"crit": ["b64"], "b64": false})),
            ("b64, true", json!({"crit": ["b64"], "b64": true})),
            ("a name of its own", json!({"crit": ["x"], "x": 1})),
            ("alg", json!({"crit": ["alg"]})),
            ("a text", json!({"crit": "exp"})),
            ("a number", json!({"crit": 1})),
            ("an object", json!({"crit": {}})),
            ("false", json!({"crit": false})),
        ] {
            self.bad(format!("crit: {name}"), self.under(change), "bad_header");
        }
        self.bad("crit null", self.under_null("crit"), "bad_header");
        for b64 in [json!(false), json!(true), json!("false"), json!(0)] {
            self.bad(format!("b64 {b64} without crit"), self.under(json!({"b64": b64})), "bad_header");
        }
    }

    fn types(&mut self) {
        let own = self.target.typ;
        for typ in [
            "",
            " ",
            "JWT",
            "jwt",
            "at+jwt",
            "eligibility+jwt",
            "test-eligibility+jwt",
            "vouch+jwt",
            "decision-receipt+jwt",
            "test-decision-receipt+jwt",
            "statuslist+jwt",
            "dpop+jwt",
            "client-authentication+jwt",
            "secevent+jwt",
            "logout+jwt",
            "token-introspection+jwt",
            "kb+jwt",
            "dc+sd-jwt",
            "oauth-authz-req+jwt",
            "JOSE",
            "application/jwt",
            "*",
            "text/plain",
        ] {
            if typ != own {
                self.bad(format!("typ {typ:?}"), self.under(json!({"typ": typ})), "wrong_type");
            }
        }
        for typ in [
            format!("{own} "),
            format!(" {own}"),
            format!("{own}\0"),
            format!("{own};v=1"),
            format!("application/application/{own}"),
            format!("application/ {own}"),
            format!("text/{own}"),
            own.replace('+', " "),
            own.replace('+', "-"),
            own[1..].to_owned(),
            format!("x{own}"),
            own.replace('t', "\u{ff54}"),
        ] {
            self.bad(format!("typ {typ:?}"), self.under(json!({"typ": typ})), "wrong_type");
        }
        for typ in [json!(1), json!([own]), json!({"typ": own}), json!(true)] {
            self.bad(format!("typ {typ}"), self.under(json!({"typ": typ})), "wrong_type");
        }
        self.bad("typ null", self.under_null("typ"), "wrong_type");
        self.bad("typ missing", self.under(json!({"typ": null})), "wrong_type");
    }
}
