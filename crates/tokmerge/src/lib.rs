//! tokmerge
