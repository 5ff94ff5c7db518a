//! Reads the sources of a crate into modules: what each module defines, imports and mentions.
//!
//! In    the text of every `.rs` file, by its path from `src/`.
//! Out   the modules that `lib.rs` and `main.rs` declare, directly or through others; the root of the library is first.
//! Fails panics on a file that does not parse and on a `mod x;` without a file: a graph of half the tree would prove nothing.
//!
//! Macro calls are not expanded. Their tokens are scanned for paths such as `crate::db::Db` or `overview::page`.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, ImplItem, Item, Meta, TraitItem, UseTree};

/// The text of each file, by its path from `src/`, such as `db/mod.rs`.
pub type Sources = BTreeMap<String, String>;

#[derive(Debug, Default)]
pub struct Module {
    /// `actors::supervise`; empty for the root of the crate.
    pub path: String,
    pub file: String,
    pub parent: Option<usize>,
    /// Only tests compile it: it lies in a `tests` folder, or it or a parent is declared under `#[cfg(test)]`.
    pub is_test_only: bool,
    pub children: BTreeMap<String, usize>,
    /// The names defined here. A name that a macro makes is missing.
    pub items: BTreeSet<String>,
    pub imports: Vec<Import>,
    pub mentions: Vec<Mention>,
    /// The folder that holds the files of its children.
    folder: String,
}

/// One name of a `use`.
#[derive(Debug)]
pub struct Import {
    pub path: Vec<String>,
    /// The name it has here; `None` for a glob.
    pub name: Option<String>,
    pub line: usize,
}

/// A path in an expression, a type, a pattern, an attribute or the tokens of a macro.
#[derive(Debug)]
pub struct Mention {
    pub path: Vec<String>,
    pub line: usize,
}

/// Returns the modules of `lib.rs` and then those of `main.rs`, each after its parent.
pub fn read(sources: &Sources) -> Vec<Module> {
    let mut reader = Reader { sources, modules: Vec::new(), here: 0 };
    for (root, path) in [("lib.rs", ""), ("main.rs", "main")] {
        if sources.contains_key(root) {
            let module = Module { path: path.to_owned(), file: root.to_owned(), ..Module::default() };
            reader.enter(module, Reader::read_file);
        }
    }
    reader.modules
}

struct Reader<'a> {
    sources: &'a Sources,
    modules: Vec<Module>,
    /// The module that is being read.
    here: usize,
}

/// How to read the tokens of a macro or an attribute.
#[derive(Clone, Copy, Default)]
struct Scan<'a> {
    /// Set in the body of a `macro_rules!`: all other paths resolve where the macro is called.
    only_crate: bool,
    /// Set in an attribute: strings such as `with = "crate::text"` hold paths.
    in_strings: bool,
    /// The line of the string that the tokens were read from.
    line: Option<usize>,
    /// The part of a path before its braces: `crate::db` of `crate::db::{Db, DbError}`.
    before: &'a [String],
}

impl Reader<'_> {
    fn enter(&mut self, module: Module, read: impl FnOnce(&mut Self)) {
        self.modules.push(module);
        let outer = std::mem::replace(&mut self.here, self.modules.len() - 1);
        read(self);
        self.here = outer;
    }

    fn module(&mut self) -> &mut Module {
        &mut self.modules[self.here]
    }

    fn read_file(&mut self) {
        let file = self.module().file.clone();
        let parsed = syn::parse_file(&self.sources[&file]).unwrap_or_else(|error| panic!("src/{file}: {error}"));
        self.module().is_test_only |= is_test_only(&parsed.attrs) || file.split('/').any(|part| part == "tests");
        self.visit_file(&parsed);
    }

    fn import(&mut self, tree: &UseTree, before: &mut Vec<String>) {
        let (ident, name) = match tree {
            UseTree::Path(path) => {
                before.push(text(&path.ident));
                self.import(&path.tree, before);
                before.pop();
                return;
            }
            UseTree::Group(group) => return group.items.iter().for_each(|tree| self.import(tree, before)),
            UseTree::Glob(glob) => {
                let line = glob.star_token.spans[0].start().line;
                return self.module().imports.push(Import { path: before.clone(), name: None, line });
            }
            UseTree::Name(name) => (&name.ident, &name.ident),
            UseTree::Rename(rename) => (&rename.ident, &rename.rename),
        };
        let mut path = before.clone();
        if ident != "self" || path.is_empty() {
            path.push(text(ident));
        }
        let name = if name == "self" { path.last().cloned() } else { Some(text(name)) };
        self.module().imports.push(Import { path, name, line: ident.span().start().line });
    }

    fn scan(&mut self, tokens: TokenStream, how: Scan) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let is = |at: usize, sign: char| matches!(tokens.get(at), Some(TokenTree::Punct(it)) if it.as_char() == sign);
        let joins = |at: usize| is(at, ':') && is(at + 1, ':');
        let mut at = 0;
        while at < tokens.len() {
            let begins = at == 0 || is(at - 1, ',');
            // After `.`, `::` or a macro's `$` a name is not the start of a path.
            let follows = at > 0
                && (is(at - 1, '.') && !(at > 1 && is(at - 2, '.')) || at > 1 && joins(at - 2) || is(at - 1, '$'));
            match &tokens[at] {
                TokenTree::Ident(first) => {
                    let mut path = if begins { how.before.to_vec() } else { Vec::new() };
                    path.push(text(first));
                    at += 1;
                    while joins(at)
                        && let Some(TokenTree::Ident(next)) = tokens.get(at + 2)
                    {
                        path.push(text(next));
                        at += 3;
                    }
                    if (follows && first != "crate") || (how.only_crate && path[0] != "crate") {
                        continue;
                    }
                    if joins(at)
                        && let Some(TokenTree::Group(group)) = tokens.get(at + 2)
                    {
                        self.scan(group.stream(), Scan { before: &path, ..how });
                        at += 3;
                    } else {
                        let line = how.line.unwrap_or_else(|| first.span().start().line);
                        self.module().mentions.push(Mention { path, line });
                    }
                    continue;
                }
                TokenTree::Group(group) => self.scan(group.stream(), Scan { before: &[], ..how }),
                TokenTree::Literal(literal) if how.in_strings => {
                    let inside = literal.to_string().trim_matches('"').parse::<TokenStream>();
                    let line = Some(literal.span().start().line);
                    if let Ok(inside) = inside {
                        self.scan(inside, Scan { line, ..Scan::default() });
                    }
                }
                TokenTree::Literal(_) | TokenTree::Punct(_) => {}
            }
            at += 1;
        }
    }
}

impl Visit<'_> for Reader<'_> {
    fn visit_item(&mut self, item: &Item) {
        // A module of tests is read too: it declares files.
        if !matches!(item, Item::Mod(_)) && is_test_only(attributes_of_item(item)) {
            return;
        }
        self.module().items.extend(defined(item));
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, item: &syn::ItemMod) {
        let name = text(&item.ident);
        let parent = &self.modules[self.here];
        let mut module = Module {
            path: format!("{}::{name}", parent.path).trim_start_matches("::").to_owned(),
            file: parent.file.clone(),
            parent: Some(self.here),
            is_test_only: parent.is_test_only || is_test_only(&item.attrs),
            folder: join(&parent.folder, &name),
            ..Module::default()
        };
        // Of two `mod x;` under opposite conditions, the one that ships is the module.
        let child = self.modules.len();
        if !module.is_test_only || !parent.children.contains_key(&name) {
            self.module().children.insert(name.clone(), child);
        }
        if let Some((_, items)) = &item.content {
            return self.enter(module, |reader| items.iter().for_each(|item| reader.visit_item(item)));
        }
        let parent = &self.modules[self.here];
        let choices = match path_of(&item.attrs) {
            // The second choice is that of a `mod x;` inside the braces of another module.
            Some(path) => [parent_of(&parent.file), &parent.folder].map(|it| normal(&join(it, &path))).to_vec(),
            None => vec![format!("{}.rs", module.folder), format!("{}/mod.rs", module.folder)],
        };
        let found = choices.iter().find(|file| self.sources.contains_key(*file));
        module.file = found.unwrap_or_else(|| panic!("src/{}: no file for `mod {name};`", parent.file)).clone();
        if path_of(&item.attrs).is_some() {
            module.folder = parent_of(&module.file).to_owned();
        }
        self.enter(module, Reader::read_file);
    }

    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        if item.leading_colon.is_none() {
            self.import(&item.tree, &mut Vec::new());
        }
    }

    fn visit_path(&mut self, path: &syn::Path) {
        if path.leading_colon.is_none()
            && let Some(first) = path.segments.first()
        {
            let line = first.ident.span().start().line;
            let path = path.segments.iter().map(|segment| text(&segment.ident)).collect();
            self.module().mentions.push(Mention { path, line });
        }
        visit::visit_path(self, path);
    }

    /// `pub(in crate::db)` imports nothing.
    fn visit_visibility(&mut self, _: &syn::Visibility) {}

    fn visit_item_macro(&mut self, item: &syn::ItemMacro) {
        if item.ident.is_some() {
            self.scan(item.mac.tokens.clone(), Scan { only_crate: true, ..Scan::default() });
        } else {
            visit::visit_item_macro(self, item);
        }
    }

    fn visit_macro(&mut self, mac: &syn::Macro) {
        self.scan(mac.tokens.clone(), Scan::default());
        visit::visit_macro(self, mac);
    }

    fn visit_attribute(&mut self, attribute: &Attribute) {
        match &attribute.meta {
            Meta::List(list) if !list.path.is_ident("cfg") => {
                self.visit_path(&list.path);
                self.scan(list.tokens.clone(), Scan { in_strings: true, ..Scan::default() });
            }
            Meta::Path(path) => self.visit_path(path),
            Meta::List(_) | Meta::NameValue(_) => {}
        }
    }

    fn visit_impl_item(&mut self, item: &ImplItem) {
        if !is_test_only(attributes_of_impl_item(item)) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_trait_item(&mut self, item: &TraitItem) {
        if !is_test_only(attributes_of_trait_item(item)) {
            visit::visit_trait_item(self, item);
        }
    }

    fn visit_expr(&mut self, expr: &Expr) {
        if !is_test_only(attributes_of_expr(expr)) {
            visit::visit_expr(self, expr);
        }
    }

    fn visit_local(&mut self, local: &syn::Local) {
        if !is_test_only(&local.attrs) {
            visit::visit_local(self, local);
        }
    }

    fn visit_stmt_macro(&mut self, call: &syn::StmtMacro) {
        if !is_test_only(&call.attrs) {
            visit::visit_stmt_macro(self, call);
        }
    }

    fn visit_field(&mut self, field: &syn::Field) {
        if !is_test_only(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_field_value(&mut self, field: &syn::FieldValue) {
        if !is_test_only(&field.attrs) {
            visit::visit_field_value(self, field);
        }
    }

    fn visit_variant(&mut self, variant: &syn::Variant) {
        if !is_test_only(&variant.attrs) {
            visit::visit_variant(self, variant);
        }
    }

    fn visit_arm(&mut self, arm: &syn::Arm) {
        if !is_test_only(&arm.attrs) {
            visit::visit_arm(self, arm);
        }
    }
}

/// An identifier without the `r#` of a keyword.
fn text(ident: &proc_macro2::Ident) -> String {
    ident.to_string().trim_start_matches("r#").to_owned()
}

/// The name that an item defines in its module.
fn defined(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(it) => &it.ident,
        Item::Enum(it) => &it.ident,
        Item::Fn(it) => &it.sig.ident,
        Item::Macro(it) => it.ident.as_ref()?,
        Item::Static(it) => &it.ident,
        Item::Struct(it) => &it.ident,
        Item::Trait(it) => &it.ident,
        Item::Type(it) => &it.ident,
        Item::Union(it) => &it.ident,
        _ => return None,
    };
    Some(text(ident))
}

macro_rules! attributes {
    ($name:ident: $kind:ident { $($variant:ident),+ }) => {
        fn $name(it: &$kind) -> &[Attribute] {
            match it {
                $($kind::$variant(it) => &it.attrs,)+
                _ => &[],
            }
        }
    };
}
attributes!(attributes_of_item: Item { Const, Enum, Fn, Impl, Macro, Mod, Static, Struct, Trait, Type, Union, Use });
attributes!(attributes_of_impl_item: ImplItem { Const, Fn, Type, Macro });
attributes!(attributes_of_trait_item: TraitItem { Const, Fn, Type, Macro });
attributes!(attributes_of_expr: Expr {
    Array, Assign, Await, Block, Call, Closure, ForLoop, If, Let, Loop, Macro, Match, MethodCall, Path, Return, Struct,
    Try, Tuple, Unsafe, While
});

/// Whether code under these attributes is compiled for tests only.
fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        let is_test = path.segments.last().is_some_and(|last| last.ident == "test");
        is_test || (path.is_ident("cfg") && attribute.parse_args().ok().and_then(|meta| ships(&meta)) == Some(false))
    })
}

/// Whether the condition of a `cfg` holds in the program that ships; `None` where that depends on the machine.
fn ships(condition: &Meta) -> Option<bool> {
    match condition {
        Meta::Path(path) => path.is_ident("test").then_some(false),
        Meta::NameValue(pair) => {
            let is_testkit = matches!(&pair.value, Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(value), .. })
                if pair.path.is_ident("feature") && value.value() == "testkit");
            is_testkit.then_some(false)
        }
        Meta::List(list) => {
            let parts = list.parse_args_with(syn::punctuated::Punctuated::<Meta, syn::Token![,]>::parse_terminated);
            let parts: Vec<Option<bool>> = parts.ok()?.iter().map(ships).collect();
            let agree = |all: bool| if parts.iter().all(|part| *part == Some(all)) { Some(all) } else { None };
            match list.path.get_ident()?.to_string().as_str() {
                "not" => parts.first()?.map(|part| !part),
                "all" if parts.contains(&Some(false)) => Some(false),
                "all" => agree(true),
                "any" if parts.contains(&Some(true)) => Some(true),
                "any" => agree(false),
                _ => None,
            }
        }
    }
}

/// The value of `#[path = "…"]`.
fn path_of(attributes: &[Attribute]) -> Option<String> {
    let pair = attributes.iter().find(|attribute| attribute.path().is_ident("path"))?.meta.require_name_value().ok()?;
    match &pair.value {
        Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(value), .. }) => Some(value.value()),
        _ => None,
    }
}

/// The folder of a file; empty for a file that lies in `src/` itself.
pub fn parent_of(file: &str) -> &str {
    file.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// `a/../b.rs` is `b.rs`.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}
