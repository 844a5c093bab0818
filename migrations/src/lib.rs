//! The migration protocol, and nothing else.
#![cfg_attr(not(test), no_std)]
extern crate alloc;
