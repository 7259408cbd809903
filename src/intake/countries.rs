//! Country codes: ISO 3166-1, and what travel documents print beside it.

/// ISO 3166-1 alpha-2 and alpha-3, all 249.
#[rustfmt::skip]
const ISO: &[(&str, &str)] = &[
    ("AD", "AND"), ("AE", "ARE"), ("AF", "AFG"), ("AG", "ATG"), ("AI", "AIA"), ("AL", "ALB"), ("AM", "ARM"),
    ("AO", "AGO"), ("AQ", "ATA"), ("AR", "ARG"), ("AS", "ASM"), ("AT", "AUT"), ("AU", "AUS"), ("AW", "ABW"),
    ("AX", "ALA"), ("AZ", "AZE"), ("BA", "BIH"), ("BB", "BRB"), ("BD", "BGD"), ("BE", "BEL"), ("BF", "BFA"),
    ("BG", "BGR"), ("BH", "BHR"), ("BI", "BDI"), ("BJ", "BEN"), ("BL", "BLM"), ("BM", "BMU"), ("BN", "BRN"),
    ("BO", "BOL"), ("BQ", "BES"), ("BR", "BRA"), ("BS", "BHS"), ("BT", "BTN"), ("BV", "BVT"), ("BW", "BWA"),
    ("BY", "BLR"), ("BZ", "BLZ"), ("CA", "CAN"), ("CC", "CCK"), ("CD", "COD"), ("CF", "CAF"), ("CG", "COG"),
    ("CH", "CHE"), ("CI", "CIV"), ("CK", "COK"), ("CL", "CHL"), ("CM", "CMR"), ("CN", "CHN"), ("CO", "COL"),
    ("CR", "CRI"), ("CU", "CUB"), ("CV", "CPV"), ("CW", "CUW"), ("CX", "CXR"), ("CY", "CYP"), ("CZ", "CZE"),
    ("DE", "DEU"), ("DJ", "DJI"), ("DK", "DNK"), ("DM", "DMA"), ("DO", "DOM"), ("DZ", "DZA"), ("EC", "ECU"),
    ("EE", "EST"), ("EG", "EGY"), ("EH", "ESH"), ("ER", "ERI"), ("ES", "ESP"), ("ET", "ETH"), ("FI", "FIN"),
    ("FJ", "FJI"), ("FK", "FLK"), ("FM", "FSM"), ("FO", "FRO"), ("FR", "FRA"), ("GA", "GAB"), ("GB", "GBR"),
    ("GD", "GRD"), ("GE", "GEO"), ("GF", "GUF"), ("GG", "GGY"), ("GH", "GHA"), ("GI", "GIB"), ("GL", "GRL"),
    ("GM", "GMB"), ("GN", "GIN"), ("GP", "GLP"), ("GQ", "GNQ"), ("GR", "GRC"), ("GS", "SGS"), ("GT", "GTM"),
    ("GU", "GUM"), ("GW", "GNB"), ("GY", "GUY"), ("HK", "HKG"), ("HM", "HMD"), ("HN", "HND"), ("HR", "HRV"),
    ("HT", "HTI"), ("HU", "HUN"), ("ID", "IDN"), ("IE", "IRL"), ("IL", "ISR"), ("IM", "IMN"), ("IN", "IND"),
    ("IO", "IOT"), ("IQ", "IRQ"), ("IR", "IRN"), ("IS", "ISL"), ("IT", "ITA"), ("JE", "JEY"), ("JM", "JAM"),
    ("JO", "JOR"), ("JP", "JPN"), ("KE", "KEN"), ("KG", "KGZ"), ("KH", "KHM"), ("KI", "KIR"), ("KM", "COM"),
    ("KN", "KNA"), ("KP", "PRK"), ("KR", "KOR"), ("KW", "KWT"), ("KY", "CYM"), ("KZ", "KAZ"), ("LA", "LAO"),
    ("LB", "LBN"), ("LC", "LCA"), ("LI", "LIE"), ("LK", "LKA"), ("LR", "LBR"), ("LS", "LSO"), ("LT", "LTU"),
    ("LU", "LUX"), ("LV", "LVA"), ("LY", "LBY"), ("MA", "MAR"), ("MC", "MCO"), ("MD", "MDA"), ("ME", "MNE"),
    ("MF", "MAF"), ("MG", "MDG"), ("MH", "MHL"), ("MK", "MKD"), ("ML", "MLI"), ("MM", "MMR"), ("MN", "MNG"),
    ("MO", "MAC"), ("MP", "MNP"), ("MQ", "MTQ"), ("MR", "MRT"), ("MS", "MSR"), ("MT", "MLT"), ("MU", "MUS"),
    ("MV", "MDV"), ("MW", "MWI"), ("MX", "MEX"), ("MY", "MYS"), ("MZ", "MOZ"), ("NA", "NAM"), ("NC", "NCL"),
    ("NE", "NER"), ("NF", "NFK"), ("NG", "NGA"), ("NI", "NIC"), ("NL", "NLD"), ("NO", "NOR"), ("NP", "NPL"),
    ("NR", "NRU"), ("NU", "NIU"), ("NZ", "NZL"), ("OM", "OMN"), ("PA", "PAN"), ("PE", "PER"), ("PF", "PYF"),
    ("PG", "PNG"), ("PH", "PHL"), ("PK", "PAK"), ("PL", "POL"), ("PM", "SPM"), ("PN", "PCN"), ("PR", "PRI"),
    ("PS", "PSE"), ("PT", "PRT"), ("PW", "PLW"), ("PY", "PRY"), ("QA", "QAT"), ("RE", "REU"), ("RO", "ROU"),
    ("RS", "SRB"), ("RU", "RUS"), ("RW", "RWA"), ("SA", "SAU"), ("SB", "SLB"), ("SC", "SYC"), ("SD", "SDN"),
    ("SE", "SWE"), ("SG", "SGP"), ("SH", "SHN"), ("SI", "SVN"), ("SJ", "SJM"), ("SK", "SVK"), ("SL", "SLE"),
    ("SM", "SMR"), ("SN", "SEN"), ("SO", "SOM"), ("SR", "SUR"), ("SS", "SSD"), ("ST", "STP"), ("SV", "SLV"),
    ("SX", "SXM"), ("SY", "SYR"), ("SZ", "SWZ"), ("TC", "TCA"), ("TD", "TCD"), ("TF", "ATF"), ("TG", "TGO"),
    ("TH", "THA"), ("TJ", "TJK"), ("TK", "TKL"), ("TL", "TLS"), ("TM", "TKM"), ("TN", "TUN"), ("TO", "TON"),
    ("TR", "TUR"), ("TT", "TTO"), ("TV", "TUV"), ("TW", "TWN"), ("TZ", "TZA"), ("UA", "UKR"), ("UG", "UGA"),
    ("UM", "UMI"), ("US", "USA"), ("UY", "URY"), ("UZ", "UZB"), ("VA", "VAT"), ("VC", "VCT"), ("VE", "VEN"),
    ("VG", "VGB"), ("VI", "VIR"), ("VN", "VNM"), ("VU", "VUT"), ("WF", "WLF"), ("WS", "WSM"), ("YE", "YEM"),
    ("YT", "MYT"), ("ZA", "ZAF"), ("ZM", "ZMB"), ("ZW", "ZWE"),
];

/// Codes of ICAO Doc 9303 part 3 that are no ISO country: British nationalities, organisations, persons without a
/// nationality, Kosovo as it prints itself and as it is user-assigned. Kept as they are; the packs know none of them.
const ICAO: &[&str] = &[
    "EUE", "GBD", "GBN", "GBO", "GBP", "GBS", "RKS", "UNA", "UNK", "UNO", "XBA", "XCE", "XCT", "XIM", "XKX", "XMP",
    "XOM", "XPO", "XXA", "XXB", "XXC", "XXX",
];

/// The country of specimen documents.
const SPECIMEN: &str = "UTO";

/// What a country code on a document stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocumentCountry {
    /// An ISO country or one of ICAO's own codes.
    Known(&'static str),
    /// Utopia: not a real document.
    Specimen,
}

/// Alpha-3 of an alpha-2 code, as network databases have it; `XK` is Kosovo. Never cut or guessed.
#[must_use]
pub fn alpha3_of(alpha2: &str) -> Option<&'static str> {
    if alpha2 == "XK" {
        return Some("XKX");
    }
    ISO.binary_search_by(|(key, _)| (*key).cmp(alpha2)).ok().and_then(|at| ISO.get(at)).map(|(_, alpha3)| *alpha3)
}

/// Reads the code of an issuer or a nationality as documents print it: any case, `<` as filler, `D` for Germany.
/// Withdrawn and unknown codes, alpha-2 codes and names are nothing.
#[must_use]
pub fn read_document_country(text: &str) -> Option<DocumentCountry> {
    let code = text.trim().trim_end_matches('<').to_ascii_uppercase();
    if code == "D" {
        return Some(DocumentCountry::Known("DEU"));
    }
    if code == SPECIMEN {
        return Some(DocumentCountry::Specimen);
    }
    let iso = ISO.iter().map(|(_, alpha3)| *alpha3);
    iso.chain(ICAO.iter().copied()).find(|known| *known == code).map(DocumentCountry::Known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_table_is_whole_sorted_and_unique() {
        assert_eq!(ISO.len(), 249);
        assert!(ISO.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(ISO.iter().map(|pair| pair.1).collect::<BTreeSet<_>>().len(), 249);
        let upper = |code: &str| code.bytes().all(|byte| byte.is_ascii_uppercase());
        assert!(ISO.iter().all(|(two, three)| two.len() == 2 && three.len() == 3 && upper(two) && upper(three)));
        assert!(ICAO.is_sorted() && ICAO.iter().all(|code| code.len() == 3 && !ISO.iter().any(|pair| pair.1 == *code)));
    }

    #[test]
    fn alpha_2_is_looked_up_and_never_cut() {
        for (two, three) in [
            ("US", "USA"),
            ("UM", "UMI"),
            ("GB", "GBR"),
            ("IR", "IRN"),
            ("IQ", "IRQ"),
            ("CH", "CHE"),
            ("CN", "CHN"),
            ("KP", "PRK"),
            ("KR", "KOR"),
            ("AT", "AUT"),
            ("AU", "AUS"),
            ("SE", "SWE"),
            ("XK", "XKX"),
        ] {
            assert_eq!(alpha3_of(two), Some(three));
        }
        for wrong in ["UK", "EL", "us", "", "USA", "XX", "EU", "AP", "A1", "A2", "T1", "ZR"] {
            assert_eq!(alpha3_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn document_countries_are_read_as_printed() {
        use DocumentCountry::{Known, Specimen};
        for (text, want) in [
            ("USA", Some(Known("USA"))),
            ("usa", Some(Known("USA"))),
            (" GBR ", Some(Known("GBR"))),
            ("D", Some(Known("DEU"))),
            ("D<<", Some(Known("DEU"))),
            ("DEU", Some(Known("DEU"))),
            ("XXA", Some(Known("XXA"))),
            ("GBN", Some(Known("GBN"))),
            ("RKS", Some(Known("RKS"))),
            ("UTO", Some(Specimen)),
            ("uto", Some(Specimen)),
            ("US", None),
            ("UK", None),
            ("SUN", None),
            ("YUG", None),
            ("SCG", None),
            ("TMP", None),
            ("ROM", None),
            ("ZAR", None),
            ("", None),
            ("<<<", None),
            ("United States", None),
            ("USA1", None),
            ("ÜSA", None),
        ] {
            assert_eq!(read_document_country(text), want, "{text}");
        }
    }
}
