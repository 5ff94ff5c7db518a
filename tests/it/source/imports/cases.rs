//! Small made-up trees that show that each kind of import is seen and that each rule can break.

use super::graph::Graph;
use super::rules::{self, never, only, only_from};
use super::source::Sources;

fn sources(files: &[(&str, &str)]) -> Sources {
    files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect()
}

fn graph(files: &[(&str, &str)]) -> Graph {
    Graph::of(&sources(files))
}

/// All edges of a graph as `a.rs -> b.rs`.
fn edges(graph: &Graph) -> Vec<String> {
    graph.all().map(|(from, to, _)| format!("{from} -> {to}")).collect()
}

/// A tree with a façade, `db/mod.rs`. The text of a case is the file `a/here.rs`.
fn tree(text: &str) -> Vec<(&str, &str)> {
    vec![
        ("lib.rs", "mod a; mod b; mod db; #[cfg(test)] mod samples;"),
        ("a.rs", "mod here; mod beside; pub fn of_a() {} fn private() {}"),
        ("a/beside.rs", "pub struct Beside; pub mod inline { pub struct Inner; } macro_rules! made { () => {} }"),
        ("a/here.rs", text),
        ("b.rs", "pub struct Thing; pub fn f() {} pub enum Kind { One, Two } make_ids!(Id);"),
        ("db/mod.rs", "mod rows; pub mod jobs; pub use rows::{Row, Row as Line}; pub use jobs::*; pub fn open() {}"),
        ("db/rows.rs", "pub struct Row;"),
        ("db/jobs.rs", "pub struct Job; pub use chrono::Utc;"),
        ("samples.rs", "pub struct Sample;"),
    ]
}

#[test]
fn each_kind_of_import_leads_to_the_file_that_defines_the_name() {
    let check = |text: &str, expected: &[&str]| {
        let graph = graph(&tree(text));
        assert_eq!(graph.imports("a/here.rs").collect::<Vec<_>>(), expected, "{text}");
    };
    // `use`: plain, renamed, grouped, nested, relative.
    check("use crate::b::Thing;", &["b.rs"]);
    check("use crate::b::Thing as Other;", &["b.rs"]);
    check("use crate::b::Thing as _;", &["b.rs"]);
    check("use crate::{b::{f, Thing}, db::{Row, open}};", &["b.rs", "db/mod.rs", "db/rows.rs"]);
    check("use super::super::b::Thing;", &["b.rs"]);
    check("use super::of_a;", &["a.rs"]);
    check("use super::{beside::Beside, private};", &["a.rs", "a/beside.rs"]);
    check("use super::beside::inline::Inner;", &["a/beside.rs"]);
    check("use crate::b::Kind::{One, Two};", &["b.rs"]);
    check("pub use crate::b::Thing;", &["b.rs"]);
    check("fn f() { use crate::b::Thing; }", &["b.rs"]);
    check("use polymarketspy::b::Thing;", &["b.rs"]);
    // Re-exports: by name, renamed, by glob, of a foreign crate.
    check("use crate::db::Row;", &["db/rows.rs"]);
    check("use crate::db::Line;", &["db/rows.rs"]);
    check("use crate::db::Job;", &["db/jobs.rs"]);
    check("use crate::db::Utc;", &["db/jobs.rs"]);
    check("use crate::db::Unknown;", &["db/mod.rs"]);
    check("use crate::b::Id;", &["b.rs"]);
    // A module: the names taken from it count, or the module when none are.
    check("use crate::db;", &["db/mod.rs"]);
    check("use crate::db; fn f(_: db::Row) {}", &["db/rows.rs"]);
    check("use crate::db as store; fn f() { store::open() }", &["db/mod.rs"]);
    check("use crate::db::{self, jobs}; fn f() { (db::Row, jobs::Job) }", &["db/jobs.rs", "db/rows.rs"]);
    check("use super::beside; fn f() { beside::inline::Inner; }", &["a/beside.rs"]);
    // Globs: of a module, of an enum, through a façade.
    check("use crate::b::*;", &["b.rs"]);
    check("use crate::b::Kind::*;", &["b.rs"]);
    check("use crate::db::*; fn f(_: Row) {}", &["db/rows.rs"]);
    check("use crate::db::*; fn f(_: jobs::Job) {}", &["db/jobs.rs"]);
    check("use crate::db::*; fn f() { vec![Row] }", &["db/rows.rs"]);
    // Paths in expressions, types, patterns, traits, attributes.
    check("fn f() { crate::b::f() }", &["b.rs"]);
    check("fn f(_: Vec<super::beside::Beside>) {}", &["a/beside.rs"]);
    check("fn f(x: u8) { match x { crate::b::Kind::One => {} _ => {} } }", &["b.rs"]);
    check("impl crate::b::Thing { fn f() {} }", &["b.rs"]);
    check("fn f() { <u8 as crate::b::Thing>::g() }", &["b.rs"]);
    check("#[serde(with = \"crate::b\")] struct S;", &["b.rs"]);
    check("struct S { #[serde(default = \"crate::b::f\")] x: u8 }", &["b.rs"]);
    check("#[derive(crate::b::Thing)] struct S;", &["b.rs"]);
    check("mod inner { fn f(_: super::super::beside::Beside) {} }", &["a/beside.rs"]);
    // The tokens of macros.
    check("fn f() { println!(\"{}\", crate::b::f()) }", &["b.rs"]);
    check("routes! { get \"/\" => beside::page } use super::beside;", &["a/beside.rs"]);
    check("list! { a, { x: [super::of_a()] } }", &["a.rs"]);
    check("list! { use crate::{b::Thing, db::{Row, open}}; }", &["b.rs", "db/mod.rs", "db/rows.rs"]);
    check("macro_rules! m { () => { $crate::b::Thing } }", &["b.rs"]);
    check("crate::b::id!(Id);", &["b.rs"]);
    // Not imports of ours.
    check("use std::fmt; use serde::Serialize; use ::b::Thing;", &[]);
    check("use self::Own; pub struct Own; fn f() { Own::new(); self::Own; Self::x() }", &[]);
    check("// use crate::b::Thing;\n/// `crate::b::Thing`\nfn f() { \"crate::b::Thing\"; }", &[]);
    check("pub(in crate::a) struct S; pub(super) struct T;", &[]);
    check("fn f(b: u8) { x.db::<u8>(); b; log!(x.b::f) }", &[]);
    check("macro_rules! m { ($b:ident) => { $b::f(); super::b::f() } }", &[]);
    check("use chrono::Utc; fn f() { Utc::now() }", &[]);
    // Code for tests.
    check("#[cfg(test)] use crate::b::Thing;", &[]);
    check("#[cfg(test)] mod tests { use crate::b::Thing; }", &[]);
    check("#[cfg(any(test, feature = \"testkit\"))] use crate::b::Thing;", &[]);
    check("#[cfg(all(test, unix))] fn f() { crate::b::f() }", &[]);
    check("#[actix::test] async fn f() { crate::b::f() }", &[]);
    check("struct S; impl S { #[cfg(test)] fn f() { crate::b::f() } }", &[]);
    check("fn f() { #[cfg(test)] crate::b::f(); #[cfg(test)] let x = crate::b::Thing; }", &[]);
    check("struct S { #[cfg(test)] x: crate::b::Thing }", &[]);
    check("#[cfg(test)] use crate::samples::Sample;", &[]);
    check("macro_rules! m { () => { #[cfg(test)] use $crate::samples::Sample; } }", &[]);
    // Code for the program.
    check("#[cfg(not(test))] use crate::b::Thing;", &["b.rs"]);
    check("#[cfg(unix)] use crate::b::Thing;", &["b.rs"]);
    check("#[cfg(any(test, unix))] use crate::b::Thing;", &["b.rs"]);
    check("#[cfg(feature = \"fast\")] use crate::b::Thing;", &["b.rs"]);
}

#[test]
fn a_place_is_the_line_of_the_name_and_the_path_as_written() {
    let graph =
        graph(&tree("use crate::{\n    db::Row,\n    b::{\n        f,\n    },\n};\n\nfn g() { super::super::b::f() }"));
    let places: Vec<String> = graph
        .all()
        .filter(|(from, ..)| *from == "a/here.rs")
        .flat_map(|(_, to, places)| places.iter().map(move |place| format!("{}: {} of {to}", place.line, place.path)))
        .collect();
    assert_eq!(places, ["4: crate::b::f of b.rs", "8: super::super::b::f of b.rs", "2: crate::db::Row of db/rows.rs"]);
}

#[test]
fn files_are_found_where_the_compiler_finds_them() {
    let graph = graph(&[
        ("lib.rs", "pub mod a; mod b; #[path = \"odd/place.rs\"] mod c; mod b_user; #[cfg(test)] mod t; mod r#type;"),
        ("a.rs", "mod x; mod inner { mod deep; } use crate::c::C;"),
        ("a/x.rs", "use super::super::b::y::Y; use crate::r#type::T;"),
        ("a/inner/deep.rs", "use super::super::x::X; use super::super::super::c::below::B;"),
        ("b/mod.rs", "pub mod y; #[cfg(test)] mod tests;"),
        ("b/y.rs", "pub struct Y;"),
        ("b/tests/mod.rs", "mod one; use crate::a;"),
        ("b/tests/one.rs", "use crate::a;"),
        ("b_user.rs", "use crate::b::y::Y;"),
        ("odd/place.rs", "pub struct C; pub mod below;"),
        ("odd/below.rs", "pub struct B;"),
        ("t.rs", "mod sub; use crate::a;"),
        ("t/sub.rs", ""),
        ("type.rs", "pub struct T;"),
        ("main.rs", "fn main() { polymarketspy::a::main() }"),
        ("forgotten.rs", "use crate::a;"),
    ]);
    let expected = [
        "a.rs -> odd/place.rs",
        "a/inner/deep.rs -> a/x.rs",
        "a/inner/deep.rs -> odd/below.rs",
        "a/x.rs -> b/y.rs",
        "a/x.rs -> type.rs",
        "b_user.rs -> b/y.rs",
        "main.rs -> a.rs",
    ];
    assert_eq!(edges(&graph), expected);
    assert_eq!(Vec::from_iter(&graph.test_only), ["b/tests/mod.rs", "b/tests/one.rs", "t.rs", "t/sub.rs"]);
    assert_eq!(Vec::from_iter(&graph.undeclared), ["forgotten.rs"]);
    assert_eq!(rules::misplaced_tests(&graph), ["src/t.rs", "src/t/sub.rs"]);
}

#[test]
#[should_panic(expected = "src/lib.rs: no file for `mod a;`")]
fn a_module_without_a_file_is_not_skipped() {
    graph(&[("lib.rs", "mod a;")]);
}

#[test]
#[should_panic(expected = "src/lib.rs: ")]
fn a_file_that_does_not_parse_is_not_skipped() {
    graph(&[("lib.rs", "mod")]);
}

#[test]
fn a_rule_is_broken_by_the_imports_that_it_forbids_and_by_no_other() {
    let table = [
        // The rule, an import, whether the rule forbids it.
        (only("a", &[], ""), "a.rs", "use crate::b::B;", true),
        (only("a", &[], ""), "a/x.rs", "use crate::b::B;", true),
        (only("a", &[], ""), "a/x.rs", "use super::A;", false),
        (only("a", &[], ""), "b/mod.rs", "use crate::a::A;", false),
        (only("a", &["b"], ""), "a.rs", "use crate::b::B;", false),
        (only("a", &["b::part"], ""), "a.rs", "use crate::b::B;", true),
        (only("a", &["b::part"], ""), "a.rs", "use crate::b::part::P;", false),
        (only("a", &["b"], ""), "a.rs", "use crate::bc::C;", true),
        (only("a::x", &["b"], ""), "a/x.rs", "use super::A;", true),
        (never("a", "b", &[], ""), "a/x.rs", "use crate::b::B;", true),
        (never("a", "b", &[], ""), "a/x.rs", "use crate::bc::C;", false),
        (never("a", "b", &["b::part"], ""), "a.rs", "use crate::b::part::P;", false),
        (never("a", "b", &["b::part"], ""), "a.rs", "use crate::b::B;", true),
        (never("a", "b", &[], ""), "bc.rs", "use crate::b::B;", false),
        (only_from("b", &["a"], ""), "a/x.rs", "use crate::b::B;", false),
        (only_from("b", &["a"], ""), "b/part.rs", "use super::B;", false),
        (only_from("b", &["a"], ""), "bc.rs", "use crate::b::part::P;", true),
        (only_from("b", &["a"], ""), "bc.rs", "#[cfg(test)] mod tests { use crate::b::B; }", false),
    ];
    for (rule, file, import, is_broken) in table {
        let mut files = sources(&[
            ("lib.rs", "mod a; mod b; mod bc;"),
            ("a.rs", "mod x; pub struct A;"),
            ("a/x.rs", ""),
            ("b/mod.rs", "pub mod part; pub struct B;"),
            ("b/part.rs", "pub struct P;"),
            ("bc.rs", "pub struct C;"),
        ]);
        files.get_mut(file).unwrap().push_str(import);
        let broken = rules::wrong_directions(&Graph::of(&files), &[rule]);
        assert_eq!(!broken.is_empty(), is_broken, "{file}: {import}\n{broken:?}");
    }
}

#[test]
fn the_message_names_the_rule_and_each_line_that_breaks_it() {
    let graph = graph(&[
        ("lib.rs", "mod web; mod actors;"),
        ("web.rs", "use crate::actors::root::Root;\nfn f() { crate::actors::root::go() }"),
        ("actors/mod.rs", "pub mod root;"),
        ("actors/root.rs", "pub struct Root; pub fn go() {}"),
    ]);
    let broken = rules::wrong_directions(&graph, &[never("web", "actors", &["actors::hub"], "they are two processes")]);
    let expected = [
        "`web` imports nothing of `actors` but `actors::hub`: they are two processes",
        "src/web.rs:1 imports `crate::actors::root::Root` from src/actors/root.rs",
        "src/web.rs:2 imports `crate::actors::root::go` from src/actors/root.rs",
        "there is no module `actors::hub`: correct the table of rules",
    ];
    assert_eq!(broken, [expected.join("\n    ")]);
}

#[test]
fn a_circle_is_an_error_unless_its_files_lie_in_one_folder() {
    let check = |files: &[(&str, &str)], circles: &[&str]| {
        let found = rules::circles_between_folders(&graph(files));
        let first_lines: Vec<&str> = found.iter().filter_map(|circle| circle.lines().next()).collect();
        assert_eq!(first_lines, circles, "{files:?}");
    };
    let root = ("lib.rs", "mod a; mod b;");
    // Two files of one folder, or a file and its folder.
    check(
        &[
            root,
            ("b.rs", ""),
            ("a/mod.rs", "mod x; mod y;"),
            ("a/x.rs", "use super::y::Y;"),
            ("a/y.rs", "use super::x::X;"),
        ],
        &[],
    );
    check(&[root, ("b.rs", ""), ("a/mod.rs", "mod x; use x::X;"), ("a/x.rs", "use super::y;")], &[]);
    check(&[root, ("b.rs", ""), ("a.rs", "mod x; use x::X; fn y() {}"), ("a/x.rs", "use super::y;")], &[]);
    // Two files of `src/`, which is not a folder of one topic.
    check(&[root, ("a.rs", "use crate::b::B;"), ("b.rs", "use crate::a::A;")], &["a circle of 2 files: a.rs b.rs"]);
    check(&[root, ("a.rs", "use crate::b::B;"), ("b.rs", "")], &[]);
    // A circle of folders without a circle of files.
    check(
        &[
            root,
            ("a.rs", "pub mod x; pub mod y;"),
            ("a/x.rs", "use crate::b::B;"),
            ("a/y.rs", ""),
            ("b.rs", "use crate::a::y::Y;"),
        ],
        &[],
    );
    // A folder and a file beside it.
    check(
        &[
            root,
            ("b.rs", ""),
            ("a.rs", "mod x; mod y;"),
            ("a/x.rs", "mod deep; use super::y::Y;"),
            ("a/x/deep.rs", ""),
            ("a/y.rs", "use super::x::X;"),
        ],
        &["a circle of 2 files: a/x.rs a/y.rs"],
    );
    // Through a façade the circle is one of the defining files, or none.
    check(
        &[
            root,
            ("a/mod.rs", "mod x; mod y; pub use x::X; pub use y::Y;"),
            ("a/x.rs", "use crate::b::B;"),
            ("a/y.rs", "pub struct Y;"),
            ("b.rs", "use crate::a::Y;"),
        ],
        &[],
    );
    check(
        &[
            root,
            ("a/mod.rs", "mod x; pub use x::X;"),
            ("a/x.rs", "use crate::b::B; pub struct X;"),
            ("b.rs", "use crate::a::X;"),
        ],
        &["a circle of 2 files: a/x.rs b.rs"],
    );
}

#[test]
fn the_message_of_a_circle_has_its_files_a_shortest_circle_and_its_imports_between_folders() {
    let graph = graph(&[
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a/mod.rs", "pub mod x; pub mod y;"),
        ("a/x.rs", "pub struct X;\nuse super::y::Y;"),
        ("a/y.rs", "pub struct Y;\nuse crate::b::B;\nuse crate::b::B2;\nuse super::x::X;"),
        ("b.rs", "pub struct B; pub struct B2;\nuse crate::c::C;\nuse crate::a::y::Y;"),
        ("c.rs", "pub struct C;\nuse crate::a::x::X;"),
    ]);
    let expected = "a circle of 4 files: a/x.rs a/y.rs b.rs c.rs
  a shortest circle:
    src/a/y.rs:2 imports `crate::b::B` from src/b.rs
    src/b.rs:3 imports `crate::a::y::Y` from src/a/y.rs
  its imports between folders, the fewest first:
    b -> a (1)
        src/b.rs:3 imports `crate::a::y::Y` from src/a/y.rs
    b -> c (1)
        src/b.rs:2 imports `crate::c::C` from src/c.rs
    c -> a (1)
        src/c.rs:2 imports `crate::a::x::X` from src/a/x.rs
    a -> b (2)
        src/a/y.rs:2 imports `crate::b::B` from src/b.rs
        src/a/y.rs:3 imports `crate::b::B2` from src/b.rs";
    assert_eq!(rules::circles_between_folders(&graph), [expected]);
}

#[test]
fn a_folder_is_full_at_fifteen_files_of_its_own() {
    let folder = |n: usize| -> Sources {
        let files = (0..n).map(|n| (format!("web/page{n}.rs"), String::new()));
        files.chain([("web/inner/more.rs".to_owned(), String::new())]).collect()
    };
    assert_eq!(rules::crowded_folders(&folder(15)), [""; 0]);
    assert_eq!(rules::crowded_folders(&folder(16)), ["src/web holds 16 files"]);
}

#[test]
fn files_for_tests_have_their_places() {
    let check = |file: &str, declared: &str, is_misplaced: bool| {
        let graph = graph(&[("lib.rs", declared), (file, "")]);
        assert_eq!(graph.test_only.len(), 1, "{file}");
        assert_eq!(rules::misplaced_tests(&graph).len(), usize::from(is_misplaced), "{file}");
    };
    check("laws.rs", "#[cfg(test)] mod laws;", true);
    check("laws/mod.rs", "#[cfg(any(test, feature = \"testkit\"))] mod laws;", true);
    check("a/laws.rs", "#[cfg(test)] mod a { mod laws; }", true);
    check("tests.rs", "#[cfg(test)] mod tests;", false);
    check("a/tests.rs", "mod a { #[cfg(test)] mod tests; }", false);
    check("tests/laws.rs", "#[cfg(test)] mod tests { mod laws; }", false);
    check("testkit/mod.rs", "#[cfg(any(test, feature = \"testkit\"))] pub mod testkit;", false);
}
