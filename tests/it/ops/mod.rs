//! How the program is installed, started, measured, documented and kept.

pub(super) mod advisories;
pub(super) mod dependencies;
pub(super) mod deploy;
pub(super) mod documents;
pub(super) mod first_run;
pub(super) mod generate;
pub(super) mod measure;
pub(super) mod runbooks;
