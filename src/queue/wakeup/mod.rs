//! Wake-ups tell the consumers of a queue to look now, in this process and over Redis. A lost one costs latency, never
//! work: consumers also poll.

pub mod local;
pub mod redis;
