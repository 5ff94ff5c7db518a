//! The words of comments: a worker, a process or a caller is named, and a sentence says what it means.
//!
//! Two counts are ratchets. They may only fall: lower the constant when the measured value is lower.

use super::comments::comments;
use super::tree::{self, TextFile};

/// Words for people. In comments they stood for processes, actors and callers, so that a reader had to guess which.
const PEOPLE: &[&str] =
    &["whoever", "whomever", "somebody", "nobody", "everybody", "anybody", "someone", "anyone", "everyone"];

/// Most of the words above that comments may have, in 100,000 words. One is left, a text of a page.
const PEOPLE_MAX: usize = 2;

/// Phrases that hide the noun, or that a reader has to translate, each with a plain form.
const PHRASES: &[(&str, &str)] = &[
    ("what stands", "the stored rows, the current value"),
    ("what came", "the answer, the new rows"),
    ("what was said", "the answer, the message"),
    ("what is said", "the answer, the message"),
    ("is no", "is not a"),
    ("gives", "returns"),
    ("be had", "is available"),
    ("by now", "already"),
    ("all the same", "anyway"),
    ("of its own", "name what is separate"),
];

/// Most of the phrases above that comments may have, in 100,000 words. The aim is 30.
const PHRASES_MAX: usize = 26;

/// How many files and how many lines a message names.
const NAMED_MAX: usize = 15;

/// What was counted in the comments of some files.
#[derive(Default)]
struct Count {
    words: usize,
    /// The number of hits in each file that has any.
    files: Vec<(usize, String)>,
    lines: Vec<String>,
}

impl Count {
    /// Counts the hits that `hits` returns for the lower-case words of each line of a comment.
    fn of(files: &[TextFile], hits: impl Fn(&[&str]) -> usize) -> Self {
        let mut count = Self::default();
        for file in files {
            let mut n_in_file = 0;
            for comment in comments(&file.text) {
                let text = comment.text.to_lowercase();
                let words: Vec<&str> =
                    text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()).collect();
                count.words += words.len();
                let n = hits(&words);
                n_in_file += n;
                if n > 0 {
                    count.lines.push(format!("{}:{}: {}", file.path, comment.line, comment.text));
                }
            }
            if n_in_file > 0 {
                count.files.push((n_in_file, file.path.clone()));
            }
        }
        count.files.sort_by(|one, other| other.cmp(one));
        count
    }

    fn hits(&self) -> usize {
        self.files.iter().map(|(n, _)| n).sum()
    }

    fn per_100_000(&self) -> usize {
        (self.hits() * 100_000).div_ceil(self.words.max(1))
    }

    /// An error that names the worst files and the first lines, when there are more than `most` in 100,000 words.
    fn at_most(&self, most: usize, what_to_do: &str) -> Result<(), String> {
        let measured = self.per_100_000();
        if measured <= most {
            return Ok(());
        }
        let files = self.files.iter().take(NAMED_MAX).map(|(n, path)| format!("{n:5} {path}"));
        let lines = self.lines.iter().take(NAMED_MAX).cloned();
        let head =
            format!("{} in {} words are {measured} in 100,000, above {most}. {what_to_do}", self.hits(), self.words);
        Err([head].into_iter().chain(files).chain(lines).collect::<Vec<_>>().join("\n"))
    }
}

fn people(words: &[&str]) -> usize {
    words.iter().filter(|word| PEOPLE.contains(word)).count()
}

fn phrases(words: &[&str]) -> usize {
    let text = format!(" {} ", words.join(" "));
    let count = |phrase: &str| text.matches(&format!(" {phrase} ")).count();
    // "is no longer" and "there is no" are plain English.
    let plain = count("is no longer") + count("there is no");
    PHRASES.iter().map(|(phrase, _)| count(phrase)).sum::<usize>().saturating_sub(plain)
}

#[test]
fn words_for_people_stand_for_people() {
    let count = Count::of(&tree::rust(), people);
    let what_to_do = "Name the worker, the process, the caller or the reader";
    count.at_most(PEOPLE_MAX, what_to_do).unwrap_or_else(|message| panic!("{message}"));
}

#[test]
fn comments_use_the_plain_form_of_a_phrase() {
    let count = Count::of(&tree::rust(), phrases);
    let plain: Vec<String> = PHRASES.iter().map(|(phrase, plain)| format!("`{phrase}`: {plain}")).collect();
    let what_to_do = format!("Write the plain form. {}", plain.join("; "));
    count.at_most(PHRASES_MAX, &what_to_do).unwrap_or_else(|message| panic!("{message}"));
}

#[test]
fn a_count_above_its_limit_names_the_worst_file_and_the_line() {
    let files = [
        TextFile::new("a.rs", "// Nobody holds the lease.\nlet nobody = \"somebody\"; // It is no worker's by now."),
        TextFile::new("b.rs", "/// Somebody's job; anyone may claim it. It is no longer due.\nfn f() {}"),
    ];
    let count = Count::of(&files, people);
    assert_eq!((count.words, count.hits(), count.per_100_000()), (23, 3, 13_044));
    assert_eq!(count.at_most(13_044, ""), Ok(()));
    let expected = "3 in 23 words are 13044 in 100,000, above 13043. Name it\n    2 b.rs\n    1 a.rs\n\
        a.rs:1: Nobody holds the lease.\nb.rs:1: Somebody's job; anyone may claim it. It is no longer due.";
    assert_eq!(count.at_most(13_043, "Name it"), Err(expected.to_owned()));
    assert_eq!(Count::of(&files, phrases).hits(), 2);
}
