//! Citations of the contract (`docs/spec.md`) and of the facts about the venue (`docs/venue.md`).
//!
//! A comment cites `spec 7.3` or `venue 1.4`. Each number must be that of a heading, or of a numbered rule below it:
//! `spec 7.1.2` is rule 2 of section 7.1. The reader of a comment can then look the section up.

use std::collections::BTreeSet;

use super::tree::{self, TextFile, assert_none};

const SPEC: &str = include_str!("../../../docs/spec.md");
const VENUE: &str = include_str!("../../../docs/venue.md");

/// What can be cited in a document: `7`, `7.2b`, `7.1.2`.
struct Document {
    sections: BTreeSet<String>,
    anchors: BTreeSet<String>,
}

impl Document {
    fn of(text: &str) -> Self {
        let (mut sections, mut anchors) = (BTreeSet::new(), BTreeSet::new());
        let mut section = String::new();
        for line in text.lines() {
            if let Some(heading) = line.strip_prefix('#').map(|rest| rest.trim_start_matches('#').trim()) {
                anchors.insert(anchor(heading));
                let number = heading.split_whitespace().next().unwrap_or_default().trim_end_matches('.');
                section = if is_number(number) { number.to_owned() } else { String::new() };
                sections.insert(section.clone());
            } else if let Some((rule, _)) = line.split_once(". ")
                && section.contains('.')
                && !rule.is_empty()
                && rule.bytes().all(|byte| byte.is_ascii_digit())
            {
                sections.insert(format!("{section}.{rule}"));
            }
        }
        sections.remove("");
        Self { sections, anchors }
    }
}

/// The anchor that GitHub makes of a heading: `7.2 Target` is `72-target`.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}

/// Whether a word is the number of a section: digits, more digits after dots, and perhaps a letter, as in `7.2b`.
fn is_number(word: &str) -> bool {
    let digits = word.strip_suffix(|c: char| c.is_ascii_lowercase()).unwrap_or(word);
    digits.split('.').all(|part| !part.is_empty() && part.len() <= 2 && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The words of a text with their lines, without the marks of comments.
fn words(text: &str) -> Vec<(usize, &str)> {
    let lines = text.lines().enumerate().map(|(n, line)| {
        let line = line.trim_start();
        let marks = ["//!", "///", "//", "--", "#"];
        (n + 1, marks.iter().find_map(|mark| line.strip_prefix(mark)).unwrap_or(line))
    });
    lines.flat_map(|(n, line)| line.split_whitespace().map(move |word| (n, word))).collect()
}

/// A word without the punctuation around it.
fn bare(word: &str) -> &str {
    word.trim_matches(|c: char| !c.is_alphanumeric())
}

/// Returns a line for each citation of `file` that does not exist or that is not of the right form.
fn wrong(file: &TextFile, spec: &Document, venue: &Document) -> Vec<String> {
    let words = words(&file.text);
    let mut wrong = Vec::new();
    let mut report = |line: usize, problem: String| wrong.push(format!("{}:{line}: {problem}", file.path));
    for (i, (line, word)) in words.iter().enumerate() {
        let next = |n: usize| words.get(i + n).map_or("", |(_, word)| bare(word));
        // A sentence that ends with the name of a document does not cite the number that begins the next one.
        let cited = bare(word).to_lowercase();
        let ends = word.ends_with(['.', ',', ';', ':', ')', '|']);
        let (first, second) = (next(1), next(2));
        let is_section_word = matches!(first.to_lowercase().as_str(), "section" | "sections" | "paragraph" | "rule");
        match cited.as_str() {
            "spec" | "venue" if !ends && is_section_word && is_number(second) => {
                report(*line, format!("`{cited} {first} {second}` is written `{cited} {second}`"));
            }
            "spec" | "venue" if !ends && is_number(first) => {
                let document = if cited == "spec" { spec } else { venue };
                if !document.sections.contains(first) {
                    report(*line, format!("`{cited} {first}` names no section of docs/{cited}.md"));
                }
            }
            "spec.md" | "venue.md" | "polymarket.md" if !ends => {
                let form = if cited == "spec.md" { "spec" } else { "venue" };
                let number = if is_section_word { second } else { first };
                if is_number(number) {
                    report(*line, format!("`{cited} {number}` is written `{form} {number}`"));
                }
            }
            "architecture" | "architecture.md" if !ends && is_section_word && is_number(second) => {
                report(*line, "ARCHITECTURE.md has no numbered sections: cite `spec N` or name the heading".to_owned());
            }
            _ => {}
        }
        for (document, name) in [(spec, "spec.md#"), (venue, "venue.md#")] {
            let Some((_, rest)) = word.split_once(name) else { continue };
            let linked: String = rest.chars().take_while(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect();
            if !document.anchors.contains(&linked) {
                report(*line, format!("`{name}{linked}` leads to no heading"));
            }
        }
    }
    wrong
}

#[test]
fn every_citation_names_a_section_that_exists() {
    let (spec, venue) = (Document::of(SPEC), Document::of(VENUE));
    let folders = ["src", "tests", "benches", "migrations", "docs"];
    let mut files = tree::read(&folders, &[".rs", ".sql", ".md"]);
    let pages = std::fs::read_dir(env!("CARGO_MANIFEST_DIR")).unwrap().map(|entry| entry.unwrap().file_name());
    let pages: Vec<String> = pages.map(|name| name.to_string_lossy().into_owned()).collect();
    let pages: Vec<&str> = pages.iter().map(String::as_str).filter(|name| name.ends_with(".md")).collect();
    files.extend(tree::read(&pages, &[".md"]));
    let wrong: Vec<String> = files.iter().flat_map(|file| wrong(file, &spec, &venue)).collect();
    assert_none(&wrong, "correct each citation: `spec N.M` for docs/spec.md, `venue N.M` for docs/venue.md");
}

#[test]
fn a_citation_is_wrong_by_its_number_or_by_its_form() {
    let document = Document::of(
        "# Title\n## 7. The decision\n### 7.1 Switches\n1. engine paused\n2. user stopped\n#### 7.2b Order rules\n",
    );
    let check = |text: &str, expected: &[&str]| {
        let found = wrong(&TextFile::new("a.rs", text), &document, &document);
        let expected: Vec<String> = expected.iter().map(|problem| format!("a.rs:{problem}")).collect();
        assert_eq!(found, expected, "{text}");
    };
    for right in ["// spec 7", "// (spec 7.1).", "/// Spec 7.2b: at", "-- venue 7.1", "a spec\n// 7.1", "spec 7.1.2"] {
        check(right, &[]);
    }
    // No citations: other words, other numbers, the end of a sentence.
    for other in ["the venue. 20 of them", "spec 2026-01-01", "spec for 9 cases", "in spec.md. 12 are", "venue 250 ms"]
    {
        check(other, &[]);
    }
    check("spec 8", &["1: `spec 8` names no section of docs/spec.md"]);
    check("spec 7.1.3", &["1: `spec 7.1.3` names no section of docs/spec.md"]);
    check("\n// venue 1.4,", &["2: `venue 1.4` names no section of docs/venue.md"]);
    check("// see spec\n// section 7", &["1: `spec section 7` is written `spec 7`"]);
    check("polymarket.md 7.1", &["1: `polymarket.md 7.1` is written `venue 7.1`"]);
    check("`spec.md` section 7", &["1: `spec.md 7` is written `spec 7`"]);
    check(
        "architecture section 4",
        &["1: ARCHITECTURE.md has no numbered sections: cite `spec N` or name the heading"],
    );
    check("[a](docs/spec.md#71-switches) [b](spec.md#8-no)", &["1: `spec.md#8-no` leads to no heading"]);
}
