//! How long a file and a function may be, so that a reader sees a whole one at a time.

use std::sync::LazyLock;

use syn::visit::{self, Visit};

use super::tree::{self, TextFile, assert_none};

/// Most lines of a file. Inline `mod tests` and folders `tests` are not counted.
const FILE_LINES_MAX: usize = 450;
/// Most lines of a function, from its signature to its last brace.
const FUNCTION_LINES_MAX: usize = 60;

/// Files that are longer because they are one table, with the reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// Functions that are longer because they are one list, with the reason.
const LONG_FUNCTIONS: &[(&str, &str)] = &[
    ("src/domain/decision/decide.rs decide_trade", "the list of checks in the order of spec 7"),
    ("src/web/openapi/paths.rs reads", "the table of the JSON routes that read"),
];

/// A function of the program and the number of its lines.
type Function = (String, usize);

/// The functions of a file and the lines that only tests compile.
struct Measure {
    functions: Vec<Function>,
    test_lines: usize,
}

impl Measure {
    fn of(file: &TextFile) -> Self {
        let parsed = syn::parse_file(&file.text).unwrap_or_else(|error| panic!("{}: {error}", file.path));
        let mut measure = Self { functions: Vec::new(), test_lines: 0 };
        measure.visit_file(&parsed);
        measure
    }

    fn function(&mut self, signature: &syn::Signature, body: &syn::Block) {
        let lines = body.brace_token.span.close().end().line + 1 - signature.fn_token.span.start().line;
        self.functions.push((signature.ident.to_string(), lines));
    }
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let is_cfg_test = attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"));
        is_cfg_test || attribute.path().segments.last().is_some_and(|segment| segment.ident == "test")
    })
}

impl<'a> Visit<'a> for Measure {
    fn visit_item_mod(&mut self, module: &'a syn::ItemMod) {
        match &module.content {
            Some((braces, _)) if is_for_tests(&module.attrs) => {
                self.test_lines += braces.span.close().end().line + 1 - module.mod_token.span.start().line;
            }
            _ => visit::visit_item_mod(self, module),
        }
    }

    fn visit_item_fn(&mut self, function: &'a syn::ItemFn) {
        if !is_for_tests(&function.attrs) {
            self.function(&function.sig, &function.block);
        }
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'a syn::ImplItemFn) {
        self.function(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'a syn::TraitItemFn) {
        if let Some(body) = &function.default {
            self.function(&function.sig, body);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

/// Whether a file of `src` is only compiled for tests; the files of `tests/it` count like those of the program.
fn is_a_test(path: &str) -> bool {
    path.starts_with("src/") && (path.contains("/tests/") || path.ends_with("/tests.rs"))
}

/// Returns what is longer than `most` without being named in `allowed`, and what is named without being longer.
fn too_long(lengths: Vec<Function>, most: usize, allowed: &[(&str, &str)]) -> Vec<String> {
    let is_allowed = |name: &str| allowed.iter().any(|(allowed, _)| *allowed == name);
    let long: Vec<Function> = lengths.into_iter().filter(|(_, lines)| *lines > most).collect();
    let mut found: Vec<String> = long
        .iter()
        .filter(|(name, _)| !is_allowed(name))
        .map(|(name, lines)| format!("{name}: {lines} lines"))
        .collect();
    let stale = allowed.iter().filter(|(name, _)| !long.iter().any(|(long, _)| long == name));
    found.extend(stale.map(|(name, _)| format!("{name}: not longer than {most} lines, remove it from the list")));
    found
}

fn measured(files: &[TextFile]) -> (Vec<Function>, Vec<Function>) {
    let (mut lengths, mut functions) = (Vec::new(), Vec::new());
    for file in files.iter().filter(|file| !is_a_test(&file.path)) {
        let measure = Measure::of(file);
        lengths.push((file.path.clone(), file.text.lines().count() - measure.test_lines));
        functions.extend(measure.functions.into_iter().map(|(name, lines)| (format!("{} {name}", file.path), lines)));
    }
    (lengths, functions)
}

/// The lengths of the files and of the functions of the tree. Parsing it takes seconds, so both tests share them.
static MEASURED: LazyLock<(Vec<Function>, Vec<Function>)> = LazyLock::new(|| measured(&tree::rust()));

#[test]
fn no_file_is_too_long_to_be_read_at_once() {
    let broken = too_long(MEASURED.0.clone(), FILE_LINES_MAX, LONG_FILES);
    assert_none(&broken, &format!("split each file of more than {FILE_LINES_MAX} lines by topic"));
}

#[test]
fn no_function_is_too_long_to_be_seen_at_once() {
    let functions = MEASURED.1.clone();
    assert!(functions.len() > 2_000, "{} functions are too few: the reader is broken", functions.len());
    let broken = too_long(functions, FUNCTION_LINES_MAX, LONG_FUNCTIONS);
    assert_none(&broken, &format!("split each function of more than {FUNCTION_LINES_MAX} lines by its steps"));
}

#[test]
fn lengths_are_those_of_the_program_and_exceptions_do_not_outlive_their_reason() {
    let text = "fn one() {}\n\nimpl S {\n    /// Two.\n    fn two(\n    ) {\n    }\n}\n#[cfg(test)]\nmod tests {\n    fn three() {\n    }\n}\n\
        #[test]\nfn four() {\n    fn five() {\n    }\n}\n";
    let files = [TextFile::new("src/a.rs", text), TextFile::new("src/a/tests.rs", "fn six() {}")];
    let (lengths, functions) = measured(&files);
    assert_eq!(lengths, [("src/a.rs".to_owned(), 14)]);
    let expected = [("src/a.rs one", 1), ("src/a.rs two", 3), ("src/a.rs five", 2)];
    assert_eq!(functions, expected.map(|(name, lines)| (name.to_owned(), lines)));
    assert_eq!(too_long(functions.clone(), 2, &[("src/a.rs two", "a table")]), [""; 0]);
    let broken = too_long(functions, 2, &[("src/a.rs five", "a list")]);
    assert_eq!(broken, ["src/a.rs two: 3 lines", "src/a.rs five: not longer than 2 lines, remove it from the list"]);
}
