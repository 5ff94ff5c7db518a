//! Keeps the right actors running: one poller for each enabled user, one executor for each followed one.
//!
//! Sends   `DirectoryChanged` to everybody who decides by users or configuration.

use std::sync::Arc;

use actix::Message;

use crate::db::Directory;

/// Users or configuration changed; this is how they stand now.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct DirectoryChanged(pub Arc<Directory>);
