//! docs/reference.md names every key that the parser takes, and no other. The parser itself is asked: a key that it takes stands
//! as a word in its source, so every word of the source is tried in every table.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use oneroot_bootconf::load_str;

/// Words of one trial: a report has a limit.
const AT_ONCE: usize = 500;

/// A row of a table of the document.
struct Row {
    key: String,
    example: String,
}

/// The tables of the document that have keys, by how they are written in a file, such as `[profile.NAME]`.
fn documented() -> BTreeMap<String, Vec<Row>> {
    let text = fs::read_to_string("../docs/reference.md").unwrap();
    let mut tables: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for section in text.split("\n## ").skip(1) {
        let Some(head) = section.strip_prefix("`[").and_then(|rest| rest.split('`').next()) else { continue };
        let rows = section.lines().filter_map(|line| {
            let cells: Vec<&str> = line.split(" | ").collect();
            let key = cells[0].strip_prefix("| `")?.strip_suffix('`')?.to_owned();
            let example = cells.get(3)?.trim_matches('`').to_owned();
            Some(Row { key, example })
        });
        let rows: Vec<Row> = rows.collect();
        let keys: BTreeSet<&String> = rows.iter().map(|row| &row.key).collect();
        assert_eq!(keys.len(), rows.len(), "a key of [{head} is there twice");
        tables.insert(format!("[{head}"), rows);
    }
    assert!(tables.len() >= 8, "the tables were not found");
    tables
}

/// A table's heading in a file, with what has to stand above it.
fn heading(table: &str) -> String {
    let table = table.replace("NAME", "x");
    let path = table.trim_matches(['[', ']']);
    // A table of a list's last member.
    match path.split_once('.').filter(|(first, _)| documented().contains_key(&format!("[[{first}]]"))) {
        Some((first, _)) => format!("[[{first}]]\n{table}\n"),
        None => format!("{table}\n"),
    }
}

/// All words in quotes in the parser's source.
fn words() -> BTreeSet<String> {
    fn read(directory: &Path, words: &mut BTreeSet<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, words);
            } else {
                let text = fs::read_to_string(&path).unwrap();
                let is_key = |word: &&str| {
                    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
                    (1..=40).contains(&word.len()) && word.bytes().all(plain)
                };
                words.extend(text.split('"').filter(is_key).map(str::to_owned));
            }
        }
    }
    let mut found = BTreeSet::new();
    read(Path::new("src"), &mut found);
    assert!(found.contains("wait_for_interfaces") && found.contains("ntp"), "the source was not found");
    found
}

/// Which of these words are keys below a heading, as far as the parser is concerned.
fn taken(heading: &str, words: &BTreeSet<String>) -> BTreeSet<String> {
    let words: Vec<&String> = words.iter().collect();
    let mut taken = BTreeSet::new();
    for some in words.chunks(AT_ONCE) {
        let lines: String = some.iter().map(|word| format!("{word} = 1\n")).collect();
        let problems =
            load_str("site.toml", &format!("{heading}{lines}"), Path::new("/site")).unwrap_err().problems;
        let refused = problems.iter().filter(|problem| problem.reason == "is not a key of this table");
        let refused: BTreeSet<&str> =
            refused.map(|problem| problem.key.rsplit('.').next().unwrap()).collect();
        assert!(!refused.is_empty(), "{heading}: every word is taken, or none was looked at: {problems:?}");
        taken.extend(some.iter().filter(|word| !refused.contains(word.as_str())).map(|word| (*word).clone()));
    }
    taken
}

#[test]
fn the_reference_has_every_key_that_is_taken_and_no_other() {
    let (tables, words) = (documented(), words());
    let mut wrong = Vec::new();
    let mut compare = |table: &str, documented: &BTreeSet<String>, taken: &BTreeSet<String>| {
        let missing = taken.difference(documented).map(|key| format!("{table} has no {key}, which is taken"));
        let more = documented.difference(taken).map(|key| format!("{table} has {key}, which is not taken"));
        wrong.extend(missing.chain(more));
    };
    let of_a_site = tables.keys().map(|table| {
        let path = table.trim_matches(['[', ']']);
        path.split('.').next().unwrap().to_owned()
    });
    compare("the page", &of_a_site.collect(), &taken("", &words));
    for (table, rows) in tables.iter().filter(|(_, rows)| !rows.is_empty()) {
        let documented: BTreeSet<String> = rows.iter().map(|row| row.key.clone()).collect();
        let all = words.union(&documented).cloned().collect();
        compare(table, &documented, &taken(&heading(table), &all));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_example_of_the_reference_is_taken() {
    for (table, rows) in documented() {
        for Row { key, example } in rows {
            let text = format!("{}{example}\n", heading(&table));
            let problems = load_str("site.toml", &text, Path::new("/site")).unwrap_err().problems;
            // Other tables are missing, and other keys of this one.
            let needs_more = |reason: &str| {
                let begins =
                    ["there is no ", "is missing", "must say one of", "applies only to", "goes with "];
                begins.iter().any(|begin| reason.starts_with(begin))
                    || reason.contains("is in none of the networks")
            };
            let told = problems.iter().filter(|problem| !needs_more(&problem.reason));
            let told: Vec<String> = told
                .filter(|problem| problem.key.rsplit('.').next() == Some(&key))
                .map(ToString::to_string)
                .collect();
            assert!(example.starts_with(&key) && told.is_empty(), "{table} {example}: {told:?}");
        }
    }
}
