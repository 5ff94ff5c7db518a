//! Rules of the source tree: what each part may import, how much a folder, a file and a function hold, which sections of
//! the contract comments cite, and which words they use.

mod citations;
mod comments;
mod imports;
mod sizes;
mod tree;
mod words;
