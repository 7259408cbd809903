use super::*;
use proptest::prelude::*;

/// 2026-11-21T00:00:00Z.
const NOW: i64 = 1_795_219_200;

fn csv(text: &str) -> Result<Vec<Result<Row, RowError>>, RosterError> {
    parse(Format::Csv, text.as_bytes(), Second::from_epoch(NOW))
}

fn ndjson(text: &str) -> Vec<Result<Row, RowError>> {
    parse(Format::Ndjson, text.as_bytes(), Second::from_epoch(NOW)).unwrap()
}

fn pointers(rows: &[Result<Row, RowError>]) -> Vec<Option<&str>> {
    rows.iter().map(|row| row.as_ref().err().map(|error| error.pointer.as_str())).collect()
}

fn joined(subject: &str) -> Row {
    let said = Said {
        frame: "employer".into(),
        states: BTreeSet::new(),
        employed: Some(true),
        relation: Some("employee".into()),
        basis: Some(Basis::HrRecord),
        fact_date: Some(Second::parse("2024-02-29T00:00:00Z").unwrap()),
        ends_at: None,
    };
    Row { subject: parse_subject(subject).unwrap(), event: Some("e1".into()), asks: Asks::Vouch(said) }
}

#[test]
fn a_table_and_lines_of_json_read_alike() {
    let table = "subject,event_id,employed,relation,basis,fact_date\r\nsub_1,e1,yes,employee,hr_record,2024-02-29\r\n";
    let line = r#"{"subject":"sub_1","event_id":"e1","employed":true,"relation":"employee","basis":"hr_record","fact_date":"2024-02-29"}"#;
    let wanted = vec![Ok(joined("sub_1"))];
    assert_eq!(csv(table).unwrap(), wanted);
    assert_eq!(ndjson(line), wanted);
    assert_eq!(ndjson(&format!("\u{feff}\n{line}\r\n\n")), wanted);
}

#[test]
fn marks_line_ends_and_quotes_of_spreadsheets_are_read() {
    let plain = csv("subject,employed\nsub_1,true\nokta:a-2,no\n").unwrap();
    for same in [
        "\u{feff}subject,employed\r\nsub_1,true\r\nokta:a-2,no\r\n",
        "\"subject\",\"employed\"\n\"sub_1\",\"true\"\n\"okta:a-2\",\"no\"",
        "employed,subject\nTRUE,sub_1\nNo,okta:a-2\n",
        "subject,employed,states\r\nsub_1,true,\r\n\"okta:a-2\",no,\"\"\r\n",
        " subject , employed \n sub_1 , yes \n okta:a-2 , no \n",
    ] {
        assert_eq!(csv(same).unwrap(), plain, "{same}");
    }
    assert!(plain.iter().all(Result::is_ok));
}

#[test]
fn a_bad_row_is_refused_alone_and_by_its_member() {
    let rows = csv("subject,action,frame,states,employed,relation,basis,fact_date,ends_at\n\
        sub_1,,,,yes,,,,\n\
        ,,,,yes,,,,\n\
        =HYPERLINK(1),,,,yes,,,,\n\
        sub_1,remove,,,,,,,\n\
        sub_1,,,,maybe,,,,\n\
        sub_1,,,citizen,yes,,,,\n\
        sub_1,,us_status,,,,,,\n\
        sub_1,,,,yes,A B,,,\n\
        sub_1,,,,yes,,hearsay,,\n\
        sub_1,,,,yes,,,2026-11-22,\n\
        sub_1,,,,yes,,,2025-01-01,2024-01-01\n\
        sub_1,withdraw,,,yes,,,,\n\
        \"sub_1\nsub_2\",,,,yes,,,,\n\
        sub_1,yes\n\
        sub_1,,us_status,citizen lpr,,,,,\n")
    .unwrap();
    let wanted = [
        None,
        Some("/subject"),
        Some("/subject"),
        Some("/action"),
        Some("/employed"),
        Some("/states"),
        Some("/states"),
        Some("/relation"),
        Some("/basis"),
        Some("/fact_date"),
        Some("/ends_at"),
        Some("/employed"),
        Some("/subject"),
        Some(""),
        None,
    ];
    assert_eq!(pointers(&rows), wanted);
    let Ok(Row { asks: Asks::Vouch(said), .. }) = &rows[14] else { panic!() };
    assert_eq!(said.states, BTreeSet::from(["citizen".into(), "lpr".into()]));
}

#[test]
fn a_bad_line_is_refused_alone_and_by_its_member() {
    let rows = ndjson(
        r#"{"subject":"sub_1","employed":true}
{"subject":"sub_1","employed":true
{"subject":"sub_1","employed":true,"employed":false}
[1]
{"subject":"sub_1","employed":"yes"}
{"subject":1,"employed":true}
{"subject":"sub_1","employed":true,"name":"Ada"}
{"subject":"sub_1","states":"lpr","frame":"us_status"}
{"subject":"sub_1","action":"withdraw","employed":null}"#,
    );
    let wanted =
        [None, Some(""), Some(""), Some(""), Some("/employed"), Some("/subject"), Some(""), Some("/states"), None];
    assert_eq!(pointers(&rows), wanted);
    assert_eq!(rows[8].as_ref().unwrap().asks, Asks::Withdraw);
}

#[test]
fn a_header_that_is_not_ours_refuses_all() {
    for (text, header) in [
        ("", "is missing"),
        ("subject,salary\nsub_1,3", "names an unknown column"),
        ("subject,Employed\nsub_1,yes", "names an unknown column"),
        ("subject,employed,employed\nsub_1,yes,no", "names a column twice"),
        ("employed\nyes", "lacks the column `subject`"),
        ("sub_1,yes\n", "names an unknown column"),
        ("subject;employed\nsub_1;yes", "names an unknown column"),
    ] {
        assert_eq!(csv(text), Err(RosterError::Header(header)), "{text}");
    }
}

/// The reader alone would take `"sub_1,yes …` up to the end of the file for one cell.
#[test]
fn a_quote_out_of_place_refuses_all_and_names_its_line() {
    let with = |rows: &str| csv(&format!("subject,employed\n{rows}"));
    assert_eq!(with("sub_1,yes\n\"sub_2,yes\nsub_3,yes\n"), Err(RosterError::Quote(3)));
    assert_eq!(with("sub_\"1,yes\n"), Err(RosterError::Quote(2)));
    assert_eq!(with("\"sub_1\"x,yes\n"), Err(RosterError::Quote(2)));
    assert_eq!(with("\"sub_1\" ,yes\n"), Err(RosterError::Quote(2)));
    assert_eq!(with("\"sub_1\"\"\",yes\nsub_2,yes\n").map(|rows| rows.len()), Ok(2));
}

#[test]
fn rows_end_exactly_at_the_limit() {
    let rows = |count: usize| "sub_1,yes\n".repeat(count);
    assert_eq!(csv(&format!("subject,employed\n{}", rows(MAX_ROWS))).unwrap().len(), MAX_ROWS);
    assert_eq!(csv(&format!("subject,employed\n{}", rows(MAX_ROWS + 1))), Err(RosterError::TooManyRows));
    let line = "{}\n".repeat(MAX_ROWS + 1);
    assert_eq!(parse(Format::Ndjson, line.as_bytes(), Second::from_epoch(NOW)), Err(RosterError::TooManyRows));
}

#[test]
fn what_is_not_utf8_is_refused() {
    assert_eq!(parse(Format::Csv, b"\xff\xfes\0u\0", Second::from_epoch(NOW)), Err(RosterError::NotText));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(body in proptest::collection::vec(any::<u8>(), 0..400), csv in any::<bool>()) {
        let format = if csv { Format::Csv } else { Format::Ndjson };
        let _ = parse(format, &body, Second::from_epoch(NOW));
    }

    /// Whatever stands in the cells, quoted as RFC 4180 says, the rows are as many as were written.
    #[test]
    fn quoted_cells_never_join_or_split_rows(cells in proptest::collection::vec("[a-z\"\n\r, =]{0,12}", 1..20)) {
        let quoted = |cell: &String| format!("sub_1,\"{}\"\r\n", cell.replace('"', "\"\""));
        let text = format!("subject,relation\r\n{}", cells.iter().map(quoted).collect::<String>());
        prop_assert_eq!(csv_rows(&text), Ok(cells.len()));
    }
}

fn csv_rows(text: &str) -> Result<usize, RosterError> {
    csv(text).map(|rows| rows.len())
}
