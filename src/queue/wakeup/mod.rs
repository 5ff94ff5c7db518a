//! Wake-ups: "look now" for the consumers of a queue, in this process and over Redis. A lost one costs latency, never work.

pub mod local;
pub mod redis;
