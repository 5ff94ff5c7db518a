//! The comments of a Rust source.

/// One line of a comment.
#[derive(Debug, PartialEq, Eq)]
pub struct Comment<'a> {
    pub line: usize,
    pub text: &'a str,
}

/// Returns the comments of `source`, line by line. Strings and characters that look like comments are skipped.
pub fn comments(source: &str) -> Vec<Comment<'_>> {
    let bytes = source.as_bytes();
    let (mut found, mut at) = (Vec::new(), 0);
    let starts = |at: usize, mark: &str| source.as_bytes()[at..].starts_with(mark.as_bytes());
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if starts(at, "//") => {
                let end = source[at..].find('\n').map_or(bytes.len(), |n| at + n);
                found.push((at, &source[at..end]));
                end
            }
            b'/' if starts(at, "/*") => {
                let end = source[at + 2..].find("*/").map_or(bytes.len(), |n| at + 2 + n + 2);
                let mut from = at;
                for line in source[at..end].split_inclusive('\n') {
                    found.push((from, line.trim_end()));
                    from += line.len();
                }
                end
            }
            b'r' if is_raw_string(bytes, at) => end_of_raw_string(source, at),
            b'"' => end_of_string(bytes, at + 1, b'"'),
            b'\'' => end_of_character(source, at),
            _ => at + 1,
        };
        at = end;
    }
    let (mut line, mut counted) = (1, 0);
    found
        .into_iter()
        .map(|(at, text)| {
            line += bytes[counted..at].iter().filter(|byte| **byte == b'\n').count();
            counted = at;
            Comment { line, text: text.trim_start_matches(['/', '!', '*', ' ']) }
        })
        .collect()
}

fn is_raw_string(bytes: &[u8], at: usize) -> bool {
    let is_inside_a_name = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    let is_byte_string = at > 0 && bytes[at - 1] == b'b' && (at < 2 || !bytes[at - 2].is_ascii_alphanumeric());
    let after_hashes = bytes[at + 1..].iter().find(|byte| **byte != b'#');
    (!is_inside_a_name || is_byte_string) && after_hashes == Some(&b'"')
}

fn end_of_raw_string(source: &str, at: usize) -> usize {
    let hashes = source[at + 1..].bytes().take_while(|byte| *byte == b'#').count();
    let begin = at + 1 + hashes + 1;
    let end = format!("\"{}", "#".repeat(hashes));
    source[begin..].find(&end).map_or(source.len(), |n| begin + n + end.len())
}

fn end_of_string(bytes: &[u8], mut at: usize, quote: u8) -> usize {
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// A character ends at its second quote; a lifetime has none.
fn end_of_character(source: &str, at: usize) -> usize {
    let rest = &source[at + 1..];
    let first = rest.chars().next().map_or(1, char::len_utf8);
    if rest.starts_with('\\') {
        end_of_string(source.as_bytes(), at + 1, b'\'')
    } else if rest[first.min(rest.len())..].starts_with('\'') {
        at + 1 + first + 1
    } else {
        at + 1
    }
}

#[test]
fn only_comments_are_comments() {
    let source = "//! One.\nfn f<'a>() { let x = \"// no\"; } // Two, '\"'\n/// Three\nlet c = '\"'; // Four\n\
        let r = r#\"// no \" // no\"#; // Five\n/* Six\n * Seven */ let e = \"\\\"// no\"; let n = '\\''; // Eight\n";
    let found: Vec<(usize, &str)> = comments(source).iter().map(|comment| (comment.line, comment.text)).collect();
    let expected = [
        (1, "One."),
        (2, "Two, '\"'"),
        (3, "Three"),
        (4, "Four"),
        (5, "Five"),
        (6, "Six"),
        (7, "Seven */"),
        (7, "Eight"),
    ];
    assert_eq!(found, expected);
}
